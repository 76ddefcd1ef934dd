"""Alignment: a model writes, scores say how good that is, and a divergence is minimised.

What is minimised is the f-divergence between the model and a target distribution, see
`hpopt_envs.divergences.target`: its divergence is a hyperparameter.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from hpopt_search_spaces import Value

from .. import models
from ..data.prompts import PROMPT, encode_prompts, line_ends, prompt_columns, prompt_ids
from ..data.sources import columns_of, notes_of, read_splits
from ..divergences.moments import Moments, fit_moments
from ..divergences.target import effective_sample_share, log_ratios, pseudo_rewards
from ..errors import WorldError
from ..models import length_limit
from ..scores.scores import Score, make_score, parse_constraint, score
from ..settings import OF_ROWS, Source
from .causal import check_causal
from .data import Data, Split
from .lm_data import fitting_length
from .micro_batches import parts
from .roles import AsBase, ParametricLoss, ParametricMetrics, Rollouts, Rule, Writing
from .sampling import compare, draw, log_probability, pad_prompts, responses, token_logits

ROWS = {"train": 4096, "validation": 512, "test": 512}  # samples of that prompt
EMBEDDED_TOKENS = 24  # the longest response, where nothing else says
USUAL_TOKENS = 64
SAMPLES = 8  # of a prompt, where there are many
BASE_SAMPLES = 512  # that say what the base model's responses are like
BASE_PROMPTS = 32  # that these are samples of, at most
BASE_SEED = 0
BASE_BATCH = 128
DIVERGENCE_WEIGHT = 0.1  # where nothing says
POSITIVE: Rule = ("above 0", lambda value: value > 0)


class Alignment(ParametricLoss, ParametricMetrics, Rollouts, Writing):
    """Alignment to a reward (rlhf) or to moments of scores (gdc).

    Splits hold `prompt_ids` (n, longest), `prompt_length` (n,), `prompt` (n,), which of the task's
    prompts it is, and `planned` (n,), the tokens of a sample as far as known beforehand. Rolled
    out, they hold what `hpopt_envs.tasks.sampling` returns, `prompt` and `scores` (n, k).

    Args:
        source: of the user's data, with the reward or the constraints.
    """

    name = "align"
    hyperparameters: tuple[str, ...] = ("divergence_weight", "divergence", "divergence_alpha")
    measures_divergence = True
    rate_factor = 0.5  # measured, see docs/results.md
    default_model = "embedded"
    default_max_divergence: float | None = 0.5
    default_space = "align"
    adapter_type = "CAUSAL_LM"
    chance_loss = float("inf")  # a loss in nats to a target that changes with β: never too large
    rollout_passes = 3.0  # generation, the model's log-probabilities, the base model's
    prediction_passes = 0.0

    settings = (
        *OF_ROWS,
        "prompt_column",
        "chat_template_kwargs",
        "reward",
        "constraint",
        "max_new_tokens",
        "samples_per_prompt",
    )

    def __init__(self, source: Source = Source()) -> None:  # noqa: B008 (it is frozen)
        self.source = source
        if source.reward is not None and source.constraint:
            raise WorldError("reward: must not be given together with constraint")
        self._targets: tuple[float, ...] = ()
        if source.constraint:
            parsed = [parse_constraint(text) for text in source.constraint]
            self._scores: list[Score] = [scored for scored, _ in parsed]
            self._targets = tuple(target for _, target in parsed)
        else:
            self._scores = [make_score(source.reward or "pep257", "reward")]
        self._prompts: list[str] = []
        self._moments: Moments | None = None
        self.score_name = ", ".join(scored.name for scored in self._scores)
        if self._targets:
            self.objective, self.maximize = "moment_error", False
            self.hyperparameters = ("divergence", "divergence_alpha")
            self.default_max_divergence, self.default_space = None, "gdc"
        else:
            self.objective, self.maximize = "reward", True
            self.needed = ("divergence_weight",)
            self.rules = {"divergence_weight": POSITIVE, "final_divergence_weight": POSITIVE}

    @property
    def _setting(self) -> str:
        return "constraint" if self._targets else "reward"

    def load_data(self, model_source: str, sequence_length: int | None) -> Data:
        self._tokenizer = tokenizer = models.load_tokenizer(model_source)
        known = models.known_tokens(model_source, tokenizer)
        self._pad = models.pad_token(tokenizer, known)
        if tokenizer.eos_token_id is None:
            raise WorldError("model: must have an end token, so that a response can end")
        self._ends = [int(tokenizer.eos_token_id)]
        usual = EMBEDDED_TOKENS if model_source == "embedded" else USUAL_TOKENS
        self._new_tokens = self.source.max_new_tokens or usual
        limit = length_limit(model_source, tokenizer, sequence_length, least=self._new_tokens + 1)
        tables = read_splits(self.source, used=columns_of(prompt_columns, self.source))
        self.notes = notes_of(tables)
        if tables is None:
            self._prompts = [PROMPT]
            self._ends += line_ends(tokenizer)
            ids = prompt_ids(tokenizer, PROMPT)
            splits = {name: self._split([ids], [0] * rows) for name, rows in ROWS.items()}
            return Data(splits["train"], splits["validation"], splits["test"])
        encoded = {
            name: encode_prompts(tokenizer, t, self.source, known) for name, t in tables.items()
        }
        lengths = [len(ids) + self._new_tokens for _, many in encoded.values() for ids in many]
        longest = fitting_length(lengths, sequence_length, limit, self.source) - self._new_tokens
        self.samples_per_example = self.source.samples_per_prompt or SAMPLES
        if self.samples_per_example < 2:
            raise WorldError(
                "samples_per_prompt: must be at least 2, which are compared, but got 1"
            )
        splits, self._prompts = {}, []
        for name, (texts, many) in encoded.items():
            first = len(self._prompts)
            self._prompts += texts
            # What is cut is the beginning: a response follows the end.
            splits[name] = self._split([ids[-longest:] for ids in many], range(len(many)), first)
        return Data(splits["train"], splits["validation"], splits["test"])

    def _split(self, prompts: list[list[int]], rows: Any, first: int = 0) -> Split:
        """Return rows of prompts, the first of which is the task's prompt number `first`."""
        split = {
            **pad_prompts(prompts, self._pad),
            "prompt": torch.arange(len(prompts)) + first,
        }
        index = torch.tensor(list(rows))
        return {name: tensor[index] for name, tensor in split.items()}

    def prepare(self, model: torch.nn.Module, data: Data) -> tuple[Data, float]:
        """Learn from the base model's samples how long they are, and what they score."""
        check_causal(model, data.train["prompt_ids"])
        for scored in self._scores:
            scored.to(data.train["prompt"].device)
        prompts = torch.unique(data.train["prompt"])[:BASE_PROMPTS]
        samples = BASE_SAMPLES // len(prompts)
        first = [int((data.train["prompt"] == prompt).nonzero()[0]) for prompt in prompts]
        rows = torch.tensor(first, device=prompts.device).repeat_interleave(samples)
        batch = {name: tensor[rows] for name, tensor in data.train.items()}
        drawn, scores = self._base_samples(model, batch)
        self._check_scores(scores)
        if self._targets:
            names = [scored.name for scored in self._scores]
            self._moments = fit_moments(scores.view(-1, samples, len(names)), self._targets, names)
        elif self.objective == "reward":
            self.objective_scale = max(1.0, float(scores.std()))
        parameters = sum(p.numel() for p in model.parameters())
        scoring = sum(scored.parameters for scored in self._scores) / parameters
        self.rollout_passes = type(self).rollout_passes + scoring
        length = math.ceil(drawn["learnt"].sum(1).double().mean())
        splits = {
            name: {**split, "planned": split["prompt_length"] + length}
            for name in ROWS
            if (split := getattr(data, name))
        }
        complete = Data(splits["train"], splits["validation"], splits["test"])
        return complete, float(drawn["length"].sum()) * (1 + scoring) / 3

    def _base_samples(self, model: torch.nn.Module, batch: Split) -> tuple[Split, torch.Tensor]:
        device = batch["prompt"].device
        devices = [device] if device.type == "cuda" else []
        drawn = []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(BASE_SEED)
            for part in parts(batch, BASE_BATCH):
                drawn.append(self._draw(model.eval(), part))
        whole = {name: torch.cat([part[name] for part in drawn]) for name in drawn[0]}
        return whole, self._score(batch["prompt"], whole)

    def _check_scores(self, scores: torch.Tensor) -> None:
        """Make sure that there is something to tell responses apart by; (n, k)."""
        for scored, column in zip(self._scores, scores.T, strict=True):
            if self._targets == () and bool((column == column[0]).all()):
                raise WorldError(
                    f"reward: {scored.name} must tell responses apart, but all {len(column)} of "
                    f"the base model's samples have {float(column[0]):g}"
                )

    def _draw(self, model: torch.nn.Module, batch: Split) -> Split:
        return draw(model, batch, self._new_tokens, self._ends, self._pad)

    def _score(self, prompt: torch.Tensor, drawn: Split) -> torch.Tensor:
        """Return all scores of responses: (n, k)."""
        prompts = [self._prompts[int(index)] for index in prompt]
        written = self._decode(drawn)
        columns = [score(scored, prompts, written, self._setting) for scored in self._scores]
        return torch.stack(columns, 1).float().to(prompt.device)

    def _decode(self, drawn: Split) -> list[str]:
        texts: list[str] = self._tokenizer.batch_decode(responses(drawn), skip_special_tokens=True)
        return texts

    def example_tokens(self, split: Split) -> torch.Tensor:
        return split["length"] if "length" in split else split["planned"]

    def rollout(self, model: torch.nn.Module, batch: Split, as_base: AsBase) -> Split:
        samples = self.samples_per_example
        repeated = {name: t.repeat_interleave(samples, 0) for name, t in batch.items()}
        drawn = self._draw(model, repeated)
        scores = self._score(repeated["prompt"], drawn)
        likely = compare(model, drawn, as_base)
        return {**drawn, "prompt": repeated["prompt"], "scores": scores, **likely}

    def weigh(self, batch: Split, hyperparameters: Mapping[str, Value]) -> Split:
        divergence = str(hyperparameters.get("divergence", "reverse_kl"))
        alpha = float(hyperparameters.get("divergence_alpha", 0.5))
        log_t = self._log_ratios(batch, hyperparameters)
        slopes = pseudo_rewards(log_t, batch["prompt"], divergence, alpha)
        return {**batch, "log_t": log_t, "slope": slopes}

    def _log_ratios(self, batch: Split, hyperparameters: Mapping[str, Value]) -> torch.Tensor:
        weight = float(hyperparameters.get("divergence_weight", DIVERGENCE_WEIGHT))
        target = self._target_score(batch["scores"], weight)
        return log_ratios(batch["log_policy"], batch["log_reference"], target, batch["prompt"])

    def _target_score(self, scores: torch.Tensor, divergence_weight: float) -> torch.Tensor:
        """Return the s of the target a·e^s: (n,)."""
        if self._moments is not None:
            return self._moments.score(scores)
        return scores[:, 0] / divergence_weight

    def loss_sum_with(
        self, model: torch.nn.Module, batch: Split, hyperparameters: Mapping[str, Value]
    ) -> torch.Tensor:
        """Return a surrogate with the gradient of D_f, and KL(model ‖ target) in nats."""
        surrogate = (batch["slope"] * log_probability(*token_logits(model, batch))).sum()
        return surrogate - surrogate.detach() + batch["log_t"].sum()

    def predict(self, model: torch.nn.Module, batch: Split) -> dict[str, torch.Tensor]:
        return batch

    def metrics_with(
        self, outputs: dict[str, torch.Tensor], hyperparameters: Mapping[str, Value]
    ) -> dict[str, float]:
        log_t = self._log_ratios(outputs, hyperparameters).double()
        tokens = outputs["learnt"].sum(1).double().mean()
        words = [text.split() for text in self._decode(outputs)]
        share = effective_sample_share(-log_t, outputs["prompt"])
        return {
            "loss": log_t.mean().item(),
            **self._judged(outputs["scores"].double().mean(0)),
            "divergence": (outputs["divergence"].double().mean() / tokens).item(),
            "target_divergence": (log_t.mean() / tokens).item(),
            "effective_sample_share": share.mean().item(),
            "distinct_1": _distinct(words, 1),
            "distinct_2": _distinct(words, 2),
            "response_tokens": tokens.item(),
        }

    def _judged(self, means: torch.Tensor) -> dict[str, float]:
        """Return the objective, from the mean of each score (k,)."""
        if not self._targets:
            return {"reward": means[0].item()}
        targets = torch.tensor(self._targets, dtype=means.dtype, device=means.device)
        moments = {f"moment_{k}": mean.item() for k, mean in enumerate(means, start=1)}
        return {"moment_error": (means - targets).abs().sum().item(), **moments}

    def write(self, model: torch.nn.Module, batch: Split) -> list[dict[str, str | float]]:
        drawn = self._draw(model, batch)
        rows: list[dict[str, str | float]] = []
        scores = self._score(batch["prompt"], drawn)
        for prompt, text, scored in zip(batch["prompt"], self._decode(drawn), scores, strict=True):
            rows.append({"prompt": self._prompts[int(prompt)], "text": text})
            if len(scored) == 1:
                rows[-1]["score"] = float(scored[0])
        return rows

    def save_model(self, model: torch.nn.Module, folder: Path) -> None:
        models.save_model(model, folder, self._tokenizer)


def _distinct(texts: Sequence[Sequence[str]], size: int) -> float:
    """Return distinct n-grams over all (Li et al. 2016, arXiv 1510.03055); 1 without any."""
    grams = [tuple(words[i : i + size]) for words in texts for i in range(len(words) - size + 1)]
    return len(set(grams)) / len(grams) if grams else 1.0
