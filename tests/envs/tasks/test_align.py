"""Alignment of the embedded model, end to end in the environment."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from hpopt_envs import FineTuneEnv, Outcome, WorldError, make_env
from hpopt_envs.messages import Advance, Start
from hpopt_envs.serving import serve

SHORT = {"segment_tokens": 2048, "trial_tokens": 4096}
STEP = {
    "learning_rate": 1e-3,
    "batch_size": 16,
    "divergence_weight": 0.1,
    "divergence": "reverse_kl",
}
REWARDS = """
calls = []

def shouting(prompts, responses):
    assert all(isinstance(text, str) for text in (*prompts, *responses))
    return [sum(c.isupper() for c in text) / (1 + len(text)) for text in responses]

def raising(prompts, responses):
    raise KeyError("no such thing")

def short(prompts, responses):
    return [1.0, 2.0]

def nan(prompts, responses):
    return [float("nan")] * len(responses)

def late(prompts, responses):
    if calls:
        raise ValueError("out of service")
    return [float(len(text)) for text in responses]
"""


def align(**data: Any) -> FineTuneEnv:
    return make_env("align", data=data, validate_segments=False, **SHORT)


@pytest.fixture(scope="module")
def rlhf() -> FineTuneEnv:
    return align(max_new_tokens=10)


@pytest.fixture
def rewards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my_rewards.py").write_text(REWARDS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_rewards", raising=False)
    return tmp_path


def trained(env: FineTuneEnv, seed: int = 0, **changes: Any) -> Any:
    env.reset(seed=seed)
    done = False
    while not done:
        _, _, done, _, info = env.train({**STEP, **changes})
    return info["trial"]


def test_training_raises_the_reward_and_moves_away_from_the_base(rlhf: FineTuneEnv) -> None:
    base, trial = rlhf.facts.base_metrics, trained(rlhf)
    end = trial.segments[-1].metrics
    assert trial.outcome is Outcome.COMPLETED
    assert base["divergence"] == pytest.approx(0, abs=1e-6)
    assert end["reward"] > base["reward"] + 0.02
    assert end["divergence"] > 0.01
    assert rlhf.facts.shown(trial.value) == end["reward"]
    assert 0 < end["effective_sample_share"] <= 1
    assert end["target_divergence"] * end["response_tokens"] == pytest.approx(end["loss"])


def test_a_smaller_weight_goes_further_at_the_same_seed(rlhf: FineTuneEnv) -> None:
    held, free = (trained(rlhf, divergence_weight=w).segments[-1].metrics for w in (1.0, 0.03))
    assert held["divergence"] < free["divergence"]


def test_every_token_is_charged_for_what_it_takes(rlhf: FineTuneEnv) -> None:
    """Forward and backward, and three forward passes: generation, and two log-probabilities."""
    trial = trained(rlhf)
    assert trial.segments[0].cost == pytest.approx(2 * trial.segments[0].tokens)
    assert rlhf.facts.token_cost == 2.0
    # Responses end early: a step of 16 has fewer tokens than the longest ones would.
    longest = 16 * (10 + 9)
    assert trial.segments[0].tokens / trial.segments[0].optimizer_steps < longest


def test_a_trial_taken_up_again_goes_on_the_same(rlhf: FineTuneEnv, tmp_path: Path) -> None:
    whole = trained(rlhf, seed=5)
    rlhf.reset(seed=5)
    rlhf.train(STEP)
    rlhf.save(tmp_path / "half")
    other = rlhf.twin()
    other.reset(seed=1)
    other.load(tmp_path / "half", rlhf._study)
    *_, info = other.train(STEP)
    assert info["trial"].segments == whole.segments


def test_the_divergence_to_the_target_is_that_of_the_trials_weight(rlhf: FineTuneEnv) -> None:
    far, near = (
        trained(rlhf, divergence_weight=w, learning_rate=1e-9).segments[-1].metrics["loss"]
        for w in (0.05, 1.0)
    )
    assert far > 5 * near > 0  # of the base model: in proportion to 1/β² where β is large


def test_there_is_a_limit_on_divergence_unless_it_is_switched_off(rlhf: FineTuneEnv) -> None:
    assert rlhf.facts.max_divergence == rlhf.facts.default_max_divergence == 0.5
    free = make_env("align", max_divergence="none", data={"max_new_tokens": 10}, **SHORT)
    assert free.facts.max_divergence is None
    assert not free.facts.has_probe


def test_a_weight_of_zero_is_refused() -> None:
    with pytest.raises(WorldError, match="divergence_weight must be above 0, but got 0.0"):
        make_env("align", space="default")
    with pytest.raises(WorldError, match="must have divergence_weight"):
        make_env("align", space="plain")
    with pytest.raises(WorldError, match="must not be given together"):
        align(reward="pep257", constraint=["regex:a=0.5"])


def test_moments_are_approached_and_have_no_weight() -> None:
    env = align(constraint=["regex:^Return=0.9"], max_new_tokens=8)
    base, held = env.facts.base_metrics, {**STEP, "divergence": "forward_kl"}
    assert env.facts.max_divergence is None
    assert env.facts.objective_name == "moment_error"
    assert "divergence_weight" not in env.space
    assert base["moment_error"] == pytest.approx(abs(base["moment_1"] - 0.9))
    del held["divergence_weight"]
    env.reset(seed=0)
    for _ in range(2):
        *_, info = env.train(held)
    end = info["trial"].segments[-1].metrics
    assert end["moment_error"] < 0.7 * base["moment_error"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"reward": "regex:zzzzzz"}, "must tell responses apart, but all 512"),
        ({"constraint": ["regex:zzzzzz=0.5"]}, "samples have values from 0 to 0"),
        ({"reward": "my_rewards:raising"}, "my_rewards:raising.*KeyError.*no such thing"),
        ({"reward": "my_rewards:short"}, "must return 512 numbers.*but returned 2"),
        ({"reward": "my_rewards:nan"}, "must be finite, but was nan"),
    ],
)
@pytest.mark.usefixtures("rewards")
def test_rewards_that_say_nothing_are_refused_in_one_line(data: Any, said: str) -> None:
    with pytest.raises(WorldError, match=said) as caught:
        align(**data, max_new_tokens=4)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("rewards")
def test_a_reward_that_fails_later_is_the_trials_outcome() -> None:
    env = align(reward="my_rewards:late", max_new_tokens=4)
    sys.modules["my_rewards"].calls.append("from now on")
    serve(env, Start(trial=0, seed=0))
    reply = serve(env, Advance(hyperparameters=STEP))
    assert reply.outcome is Outcome.FAILED
    assert "out of service" in reply.reason
    assert "\n" not in reply.reason


def prompts_file(folder: Path) -> str:
    rows = [{"prompt": text} for text in ("Close the file.\n\n", "Return x", "A", "The") * 8]
    rows = [
        {"prompt": f"{i} {row['prompt']}" if i > 3 else row["prompt"]} for i, row in enumerate(rows)
    ]
    file = folder / "prompts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def test_prompts_of_the_users_are_sampled_many_times_each(rewards: Path) -> None:
    data = {
        "train_file": prompts_file(rewards),
        "reward": "my_rewards:shouting",
        "samples_per_prompt": 4,
        "max_new_tokens": 5,
    }
    env = align(**data)
    seen: list[Any] = []
    task = env.run.task  # type: ignore[attr-defined]
    weigh = task.weigh
    task.weigh = lambda batch, **asked: seen.append(batch) or weigh(batch, **asked)
    env.reset(seed=0)
    env.train(STEP)
    assert all(len(batch["prompt"]) == 16 for batch in seen)
    groups = torch.stack([batch["prompt"] for batch in seen]).view(len(seen), 4, 4)
    assert (groups == groups[..., :1]).all()
    # Epochs and evaluations are of samples, four a prompt, and three forward passes each.
    facts = env.facts
    assert facts.epoch_tokens == 4 * int(task.example_tokens(env.run._splits["task"]).sum())
    planned = int(env.run._evaluator._tokens(env.run._evaluator.data.validation))
    assert facts.final_validation_cost == pytest.approx(4 * planned * 3 / 3)
    env.save_weights(rewards / "best")
    shown = json.loads((rewards / "best" / "samples.json").read_text())
    assert shown["score"] == "my_rewards:shouting"
    assert {"prompt", "before", "after", "score_before", "score_after"} <= set(shown["rows"][0])
    with pytest.raises(WorldError, match="batch_size: must be a multiple of samples_per_prompt=5"):
        align(**{**data, "samples_per_prompt": 5})
    with pytest.raises(WorldError, match="samples_per_prompt: must be at least 2"):
        align(**{**data, "samples_per_prompt": 1})


def test_chats_are_prompts_and_adapters_train(rewards: Path) -> None:
    from hpopt_envs.models import EMBEDDED

    chats = [[{"role": "user", "content": f"number {i}"}] for i in range(12)]
    (rewards / "chats.jsonl").write_text(
        "".join(json.dumps({"prompt": messages}) + "\n" for messages in chats)
    )
    data = {"train_file": str(rewards / "chats.jsonl"), "reward": "my_rewards:shouting"}
    with pytest.raises(WorldError, match="row 1: messages need a tokenizer with a chat template"):
        align(**data)
    model = rewards / "chat-model"
    shutil.copytree(EMBEDDED["embedded"], model)
    (model / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )
    env = make_env(
        "align",
        model=str(model),
        data={**data, "max_new_tokens": 4},
        fixed={"lora_rank": 2},
        validate_segments=False,
        **SHORT,
    )
    assert env.facts.lora
    task = env.run.task  # type: ignore[attr-defined]
    assert "user: number 0\nassistant:" in task._prompts
    assert trained(env).outcome is Outcome.COMPLETED
