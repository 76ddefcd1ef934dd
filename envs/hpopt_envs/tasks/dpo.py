r"""Direct preference optimization: from pairs of responses, one of which is preferred.

A model π is held to the base model a by an f-divergence while it learns to prefer, and how hard is
the divergence weight β. With the log ratio log t = log π(y|x) − log a(y|x) of a whole response,

    r(x, y) = β f′(t)                                                the implicit reward
    Δ       = f′(t of the chosen) − f′(t of the rejected)
    loss    = −(1 − ε) log σ(βΔ) − ε log σ(−βΔ)

Rafailov et al. 2023 (arXiv 2305.18290) have it for the reverse KL divergence, where f′(t) = log t
but for a constant; Wang et al. 2023 (arXiv 2309.16240) for others:

    reverse_kl       f(t) = t log t                            f′(t) = log t + 1
    forward_kl       f(t) = −log t                             f′(t) = −1/t
    jensen_shannon   f(t) = t log t − (t + 1) log((t + 1)/2)   f′(t) = log(2t/(t + 1))
    alpha            f(t) = (t^α − 1 − α(t − 1))/(α(α − 1))    f′(t) = (t^(α − 1) − 1)/(α − 1)

The constants cancel in Δ; here, f′(1) = 0. Theirs is the usual Jensen–Shannon divergence times 2,
and their α is 1 − α here. The derivation needs a policy that gives up no response: f′(t) → −∞ as
t → 0. So it is with α up to 1, while total variation and χ² are bounded there, and are refused.
ε is the share of pairs that are taken to be the wrong way round (Mitchell 2023, "cDPO").
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import logsigmoid

from hpopt_search_spaces import Value

from .. import models
from ..data.sources import columns_of, notes_of, read_splits
from ..divergences.target import slope
from ..errors import WorldError
from ..models import length_limit
from ..settings import OF_ROWS, Source
from .causal import check_causal
from .data import Data, Split, split_size
from .lm_data import fitting_length
from .micro_batches import MicroBatches, parts
from .preference_data import (
    embedded_pairs,
    encode_pairs,
    pad_pairs,
    pair_columns,
    repeat_prompts,
)
from .roles import ParametricLoss, ParametricMetrics, Reference, Rule, Writing
from .sampling import draw, log_probability, pad_prompts, responses, token_logits

DIVERGENCES = ("reverse_kl", "forward_kl", "jensen_shannon", "alpha")
DIVERGENCE_WEIGHT = 0.1  # where nothing says
DIVERGENCE_ALPHA = 0.5
REFERENCE_TOKENS = 4096  # of a batch, padding included
ROUNDING = 1e-3  # nats: log ratios that differ by no more are equal
POSITIVE: Rule = ("above 0", lambda value: value > 0)


class PreferenceOptimization(ParametricLoss, ParametricMetrics, Reference, Writing):
    """Direct preference optimization. Embedded: docstring summaries, preferred by their length.

    Splits hold `input_ids` and `learnt` (n, 2, longest), `length` (n, 2), of prompt and response,
    the chosen one first, and `reference` (n, 2), the base model's log-probabilities of the
    responses. An example is a pair, and counts the tokens of both sides. The divergence is
    measured on both responses of held-out pairs: where the base model wrote them, that is on what
    it writes.

    Args:
        source: of the user's data.
    """

    name = "dpo"
    objective = "accuracy"
    maximize = True
    hyperparameters = ("divergence_weight", "divergence", "divergence_alpha", "label_smoothing")
    needed = ("divergence_weight",)
    rules: Mapping[str, Rule] = {
        "divergence_weight": POSITIVE,
        "final_divergence_weight": POSITIVE,
        "divergence": (f"among {', '.join(DIVERGENCES)}", lambda value: value in DIVERGENCES),
        "divergence_alpha": ("at most 1", lambda value: value <= 1),
        "label_smoothing": ("below 0.5", lambda value: value < 0.5),
    }
    default_max_divergence = 0.5
    rate_factor = 0.25  # measured, see docs/results.md
    default_model = "embedded"
    default_space = "dpo"
    prepares_reference = True
    adapter_type = "CAUSAL_LM"
    form = "pairs"
    settings = (
        *OF_ROWS,
        "prompt_column",
        "chat_template_kwargs",
        "chosen_column",
        "rejected_column",
    )

    def __init__(self, source: Source = Source()) -> None:  # noqa: B008 (it is frozen)
        self.source = source
        self._drawn = 0  # tokens

    def load_data(self, model_source: str, sequence_length: int | None) -> Data:
        self._tokenizer = tokenizer = models.load_tokenizer(model_source)
        known = models.known_tokens(model_source, tokenizer)
        self._pad = models.pad_token(tokenizer, known)
        limit = length_limit(model_source, tokenizer, sequence_length, least=2)
        tables = read_splits(self.source, used=columns_of(pair_columns, self.source))
        self.notes = notes_of(tables)
        if tables is None:
            tables, self._drawn = embedded_pairs()
        repeated = repeat_prompts(self.source, tables["train"])
        pairs = {
            name: encode_pairs(tokenizer, table, self.source, known, repeated)
            for name, table in tables.items()
        }
        if all(chosen == rejected for chosen, rejected in pairs["train"]):
            raise WorldError(
                f"rejected_column: {tables['train'].where} must have a row whose responses "
                "differ, but has none"
            )
        lengths = [max(len(ids) for ids, _ in pair) for split in pairs.values() for pair in split]
        length = fitting_length(lengths, sequence_length, limit, self.source)
        splits = {name: pad_pairs(split, length, self._pad) for name, split in pairs.items()}
        for name, split in splits.items():
            if not bool(split["learnt"][..., 1:].any(2).all()):
                raise WorldError(
                    f"sequence_length: every response of {name} must have a token within {length} "
                    "tokens, but one has none"
                )
        return Data(**splits)  # type: ignore[arg-type]  # none is called "hash"

    def prepare(self, model: torch.nn.Module, data: Data) -> tuple[Data, float]:
        """Add the base model's log-probabilities, which no trial then needs to compute."""
        check_causal(model, data.train["input_ids"][:, 0])
        splits = (data.train, data.validation, data.test)
        tokens = sum(int(self.example_tokens(split).sum()) for split in splits)
        train, validation, test = (
            {**split, "reference": _reference(model.eval(), split)} for split in splits
        )
        return Data(train, validation, test), (tokens + self._drawn) / 3

    def example_tokens(self, split: Split) -> torch.Tensor:
        return split["length"].sum(1)

    def loss_sum_with(
        self, model: torch.nn.Module, batch: Split, hyperparameters: Mapping[str, Value]
    ) -> torch.Tensor:
        log_ratios = _log_probabilities(model, batch) - batch["reference"]
        rewards = _rewards(log_ratios, hyperparameters)
        margin = rewards[:, 0] - rewards[:, 1]
        right, wrong = -logsigmoid(margin), -logsigmoid(-margin)
        smoothing = float(hyperparameters.get("label_smoothing", 0.0))
        return ((1 - smoothing) * right + smoothing * wrong).sum()

    def logits(self, model: torch.nn.Module, batch: Split) -> tuple[torch.Tensor, torch.Tensor]:
        logits, _, mask = token_logits(model, _apart(batch))
        return _together(logits), _together(mask)

    def logits_count(self, batch: Split) -> int:
        return int(batch["learnt"][..., 1:].sum())

    def predict(self, model: torch.nn.Module, batch: Split) -> dict[str, torch.Tensor]:
        return {"log_ratios": _log_probabilities(model, batch) - batch["reference"]}

    def metrics_with(
        self, outputs: dict[str, torch.Tensor], hyperparameters: Mapping[str, Value]
    ) -> dict[str, float]:
        log_ratios = outputs["log_ratios"].double()
        chosen, rejected = _rewards(log_ratios, hyperparameters).T
        # f′ rises with t: the order of log ratios is that of rewards.
        difference = log_ratios[:, 0] - log_ratios[:, 1]
        right, tied = difference > ROUNDING, difference.abs() <= ROUNDING
        return {
            "loss": -logsigmoid(chosen - rejected).mean().item(),
            "accuracy": (right.double() + tied.double() / 2).mean().item(),
            "margin": (chosen - rejected).mean().item(),
            "chosen_reward": chosen.mean().item(),
            "rejected_reward": rejected.mean().item(),
        }

    def write(self, model: torch.nn.Module, batch: Split) -> list[dict[str, str | float]]:
        """Return what is written to the prompts, with the chosen responses as reference."""
        if not hasattr(model, "generate"):
            return []
        learnt, length = batch["learnt"][:, 0], batch["length"][:, 0]
        rows = zip(batch["input_ids"][:, 0], learnt, length - learnt.sum(1), strict=True)
        prompts, chosen = [], []
        for ids, is_learnt, prompt_length in rows:
            prompts.append(ids[:prompt_length].tolist())
            chosen.append(ids[is_learnt])
        ends = [] if self._tokenizer.eos_token_id is None else [self._tokenizer.eos_token_id]
        padded = pad_prompts(prompts, self._pad)
        padded = {name: tensor.to(learnt.device) for name, tensor in padded.items()}
        written = draw(model, padded, int(learnt.sum(1).max()), ends, self._pad)
        texts = [
            self._tokenizer.batch_decode(ids, skip_special_tokens=True)
            for ids in (prompts, responses(written), chosen)
        ]
        return [
            {"prompt": prompt, "text": text, "reference": reference}
            for prompt, text, reference in zip(*texts, strict=True)
        ]

    def save_model(self, model: torch.nn.Module, folder: Path) -> None:
        models.save_model(model, folder, self._tokenizer)


def _rewards(log_ratios: torch.Tensor, hyperparameters: Mapping[str, Value]) -> torch.Tensor:
    """Return β f′(t) of log t, any shape."""
    weight = float(hyperparameters.get("divergence_weight", DIVERGENCE_WEIGHT))
    divergence = str(hyperparameters.get("divergence", "reverse_kl"))
    alpha = float(hyperparameters.get("divergence_alpha", DIVERGENCE_ALPHA))
    return weight * implicit_rewards(log_ratios, divergence, alpha)


def implicit_rewards(log_ratios: torch.Tensor, divergence: str, alpha: float) -> torch.Tensor:
    """Return f′(t) with f′(1) = 0, of log t, any shape; of `DIVERGENCES`."""
    scale = 2.0 if divergence == "jensen_shannon" else 1.0  # which f is half of theirs elsewhere
    return scale * slope(divergence, log_ratios, alpha)


def _apart(batch: Split) -> Split:
    """Return the two sides of each pair as rows of their own: 2n sequences."""
    return {name: batch[name].flatten(0, 1) for name in ("input_ids", "learnt", "length")}


def _together(rows: torch.Tensor) -> torch.Tensor:
    """Return the way back: from (2n, ...) to (n, 2, ...)."""
    return rows.view(-1, 2, *rows.shape[1:])


def _log_probabilities(model: Any, batch: Split) -> torch.Tensor:
    """Return log-probabilities of the responses: (n, 2)."""
    return _together(log_probability(*token_logits(model, _apart(batch))))


@torch.no_grad()
def _reference(model: Any, split: Split) -> torch.Tensor:
    """Return log-probabilities of a whole split, in batches that fit into memory: (n, 2)."""
    longest, memory = 2 * split["input_ids"].shape[2], MicroBatches()
    values = []
    for batch in parts(split, max(1, REFERENCE_TOKENS // longest)):

        def work(size: int, batch: Split = batch) -> torch.Tensor:
            return torch.cat([_log_probabilities(model, part) for part in parts(batch, size)])

        values.append(memory.run(split_size(batch), longest, work))
    return torch.cat(values)
