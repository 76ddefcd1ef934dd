"""Keywords of `hpopt.search`, for type checkers; written by scripts/reference.py."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from hpopt_search_spaces import Value


class SearchKeywords(TypedDict, total=False):
    """Settings of a study by their flat names; `python -m hpopt search --help` explains each."""

    task: str
    model: str | None
    space: str | Mapping[str, Any] | None
    train_file: str | None
    validation_file: str | None
    test_file: str | None
    dataset: str | None
    dataset_config: str | None
    retain_file: str | None
    text_column: str | None
    label_column: str | None
    prompt_column: str | None
    completion_column: str | None
    messages_column: str | None
    chat_template_kwargs: str | None
    packing: bool
    chosen_column: str | None
    rejected_column: str | None
    prompt_template: str | None
    completion_template: str | None
    reward: str | None
    constraint: Sequence[str] | None
    max_new_tokens: int | None
    samples_per_prompt: int | None
    class_weights: str
    too_long: str
    command: str | None
    value: str | None
    value_file: str | None
    value_pattern: str | None
    fraction: float | None
    steps: int | None
    sequence_length: int | None
    segment_tokens: int | None
    trial_tokens: int | None
    objective: str | None
    forgetting_weight: float | None
    max_divergence: float | str | None
    baseline: Mapping[str, Value] | None
    fix: Mapping[str, Value] | None
    displacement: float
    device: str
    precision: str
    gradient_checkpointing: bool
    trust_remote_code: bool
    agent: str
    portfolio: Sequence[str] | None
    policy: str | None
    seed: int
    trials: int | None
    cost: float | None
    time_limit: float | None
    target: float | None
    finalists: int
    confirm_seeds: int | None
    name: str | None
    runs: str
    tracking_uri: str | None
    experiment: str | None
    track: str
    workers: int
    in_order: bool
    silence_limit: float | None
