"""A training script as you may have one: it knows nothing of hpopt but for a line that reports.

    python -m hpopt search --command 'python examples/own_script/train.py --lr {learning_rate} --batch-size {batch_size} --seed {seed}' --space examples/own_script/space.toml --value eval_loss

from the folder above `examples`. It trains a small model to guess the next character of Python's
own help texts, a second or two. Alone it runs as it did before:

    python examples/own_script/train.py --lr 0.003
"""  # noqa: E501

import argparse
from pydoc_data.topics import topics

import torch
from torch import nn
from torch.nn.functional import cross_entropy

import hpopt

CONTEXT, STEPS, BETWEEN = 8, 200, 50

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=1e-4)
parser.add_argument("--batch-size", type=int, default=16)
parser.add_argument("--seed", type=int, default=0)
asked = parser.parse_args()
torch.manual_seed(asked.seed)

text = "".join(topics[name] for name in sorted(topics))[:100_000].encode()
codes = torch.tensor(list(text)).clamp(max=127)
windows = codes.unfold(0, CONTEXT + 1, 1)
held_out, windows = windows[::20], windows[torch.arange(len(windows)) % 20 > CONTEXT]
layers = [nn.Embedding(128, 16), nn.Flatten(), nn.Linear(16 * CONTEXT, 128), nn.ReLU()]
model = nn.Sequential(*layers, nn.Linear(128, 128))
optimizer = torch.optim.AdamW(model.parameters(), lr=asked.lr)


def loss_on(rows: torch.Tensor) -> torch.Tensor:
    return cross_entropy(model(rows[:, :-1]), rows[:, -1])


for step in range(1, STEPS + 1):
    loss = loss_on(windows[torch.randint(len(windows), (asked.batch_size,))])
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    if step % BETWEEN == 0:
        with torch.no_grad():
            eval_loss = loss_on(held_out).item()
        print(f"step {step}: {eval_loss:.4f}")
        seen = step * asked.batch_size * CONTEXT
        hpopt.report(step=step, eval_loss=eval_loss, num_input_tokens_seen=seen)
