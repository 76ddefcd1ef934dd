"""The learning rate is found inside a plain PyTorch loop: `python own_loop.py`."""

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from hpopt.live import Loop

STEPS, BATCH = 1000, 32


def main() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(4096, 16)
    labels = (inputs[:, ::2] * inputs[:, 1::2]).sum(1).gt(0).long()
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)  # sixteen times too low
    fixed = torch.randint(4096, (64,))

    def loss(rows: torch.Tensor) -> torch.Tensor:
        return cross_entropy(model(inputs[rows]), labels[rows])

    with Loop(model, optimizer, steps=STEPS, loss=lambda: loss(fixed)) as loop:
        for _ in range(STEPS):
            loop.before_step()
            optimizer.zero_grad()
            loss(torch.randint(4096, (BATCH,))).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            point = loop.after_step()
            if point and point.why:
                print(f"after step {point.step}, {point.why}")
    with torch.no_grad():
        print(f"loss {loss(torch.arange(4096)):.3f}")


if __name__ == "__main__":
    main()
