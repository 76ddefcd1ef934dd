"""What is probed of somebody's run: a fixed batch of its data, and text that it is to retain."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import IterableDataset

from hpopt_envs.randomness import key

from ..errors import ControllerError
from .measuring import from_first, measuring
from .steering import Probed

# As the pool's trials probe.
TRAINING_EXAMPLES = 16
RETAINED_EXAMPLES = 8
RETAINED_TOKENS = 512  # of a text, at most, and of a batch of them
IGNORED = -100  # in place of a token that isn't to be predicted
STREAMED = 1024  # rows that a probe is drawn from where the data stream


def sample(rows: Any, count: int, seed: int) -> list[Any]:
    """Return some rows, the same ones in every call.

    Args:
        rows: of a data set; of one that streams, its first `STREAMED`.
        count: of rows, at most.
        seed: that they are drawn by.

    Raises:
        ControllerError: it streams but once.
    """
    if isinstance(rows, IterableDataset) or not hasattr(rows, "__getitem__"):
        if iter(rows) is rows:
            raise ControllerError(
                "train_dataset: must begin anew each time it is iterated over, since a probe reads "
                f"its first rows, but {type(rows).__name__} does so once"
            )
        rows = list(islice(iter(rows), STREAMED))
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    return [rows[index] for index in order[:count].tolist()]


def retained_ids(rows: Any, tokenizer: Any) -> list[list[int]]:
    """Return the token ids of some texts that are to be retained.

    Args:
        rows: texts, or rows with "input_ids" or "text".
        tokenizer: of the model; None will do where rows have ids.

    Raises:
        ControllerError: they are something else.
    """
    found = [_ids(row, tokenizer)[:RETAINED_TOKENS] for row in sample(rows, RETAINED_EXAMPLES, 0)]
    long_enough = [ids for ids in found if len(ids) > 1]
    if not long_enough:
        raise ControllerError("retain: must have texts of two tokens or more, but got none")
    return long_enough


def _ids(row: Any, tokenizer: Any) -> list[int]:
    if isinstance(row, Mapping) and "input_ids" in row:
        return [int(token) for token in row["input_ids"]]
    text = row.get("text") if isinstance(row, Mapping) else row
    if not isinstance(text, str):
        kind = f"columns {', '.join(row)}" if isinstance(row, Mapping) else type(row).__name__
        raise ControllerError(
            f'retain: must be texts, or rows with "text" or "input_ids", but got {kind}'
        )
    if tokenizer is None:
        raise ControllerError("retain: texts must go with a processing_class, but there is none")
    return list(getattr(tokenizer, "tokenizer", tokenizer)(text)["input_ids"])


@torch.no_grad()
def retained_loss(model: torch.nn.Module, texts: Sequence[list[int]]) -> float:
    """Return a model's loss on texts, in nats per token.

    Raises:
        ControllerError: the model doesn't predict tokens.
    """
    device = next(model.parameters()).device
    total, count = 0.0, 0
    for part in _parts(texts):
        rows = [torch.tensor(text, device=device) for text in part]
        ids = pad_sequence(rows, batch_first=True)
        following = pad_sequence(rows, batch_first=True, padding_value=IGNORED)[:, 1:]
        mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
        logits = getattr(model(input_ids=ids, attention_mask=mask), "logits", None)
        if logits is None or logits.dim() != 3 or logits.shape[:2] != ids.shape:
            raise ControllerError(
                "retain: must go with a model that predicts the next of each token, but "
                f"{type(model).__name__} does not"
            )
        predicted = logits[:, :-1].float().transpose(1, 2)
        losses = cross_entropy(predicted, following, ignore_index=IGNORED, reduction="sum")
        total, count = total + float(losses), count + int(mask[:, 1:].sum())
    return total / count


def _parts(texts: Sequence[list[int]]) -> Iterator[list[list[int]]]:
    """Cut texts into batches of at most `RETAINED_TOKENS`, padding included, to save memory."""
    part: list[list[int]] = []
    for text in texts:
        longest = max(map(len, [*part, text]))
        if part and longest * (len(part) + 1) > RETAINED_TOKENS:
            yield part
            part = []
        part = [*part, text]
    yield part


class TrainerProbe:
    """Measures the model of a transformers `Trainer`, by that trainer's own loss.

    Args:
        trainer: whose loop is about to begin.
        dataloader: of its training.
        retained: token ids of texts that are to be retained; none for nothing.
        base_retained_loss: what was measured where the run began; None for a run that begins.
    """

    def __init__(
        self,
        trainer: Any,
        dataloader: Any,
        retained: Sequence[list[int]],
        base_retained_loss: float | None,
    ) -> None:
        self._trainer, self._retained = trainer, retained
        self._batches = _batches(trainer, dataloader)
        self.base_retained_loss = base_retained_loss
        if retained and base_retained_loss is None:
            with self._measuring():
                self.base_retained_loss = from_first(retained_loss(trainer.model, retained))

    def __call__(self) -> Probed:
        with self._measuring():
            loss = self._loss()
            if self.base_retained_loss is None:
                return Probed(loss)
            risen = retained_loss(self._trainer.model, self._retained) - self.base_retained_loss
        return Probed(loss, risen)

    def _loss(self) -> float:
        total, weight = 0.0, 0.0
        for batch in self._batches:
            trainer = self._trainer
            inputs = trainer._prepare_inputs(dict(batch))
            counted = _counted(inputs)
            with trainer.compute_loss_context_manager():
                loss = trainer.compute_loss(trainer.model, inputs)
            total, weight = total + counted * float(loss.mean()), weight + counted
        return total / weight if weight else math.nan

    @contextmanager
    def _measuring(self) -> Iterator[None]:
        trainer = self._trainer
        with measuring(trainer.model, inner(trainer.optimizer)), metrics_aside(trainer):
            yield


def inner(optimizer: Any) -> torch.optim.Optimizer:
    """Return torch's optimizer of accelerate's around it."""
    found: torch.optim.Optimizer = getattr(optimizer, "optimizer", optimizer)
    return found


@contextmanager
def metrics_aside(trainer: Any) -> Iterator[None]:
    """Keep TRL's running metrics out of what a probe or a line of the log would do to them."""
    kept = getattr(trainer, "_metrics", None)
    if kept is None:
        yield
        return
    trainer._metrics = {mode: type(found)(list) for mode, found in kept.items()}
    try:
        yield
    finally:
        trainer._metrics = kept


def _batches(trainer: Any, dataloader: Any) -> list[Mapping[str, Any]]:
    """Return the probe batch in parts that the trainer's own batches are as large as."""
    from transformers.trainer_pt_utils import IterableDatasetShard

    rows, args = dataloader.dataset, trainer.args
    if isinstance(rows, IterableDatasetShard):
        rows = rows.dataset  # each process has a part; all probe the same
    # Not the trainer's own seed, by which it draws what it trains on first.
    seed = key(args.seed if args.data_seed is None else args.data_seed, "probe")
    found, size = sample(rows, TRAINING_EXAMPLES, seed), args.per_device_train_batch_size
    cuda = [args.device] if args.device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):  # collators may mask at random
        torch.manual_seed(seed)
        return [dataloader.collate_fn(found[k : k + size]) for k in range(0, len(found), size)]


def _counted(batch: Mapping[str, Any]) -> float:
    """Return what a batch weighs in a mean over parts: its labelled tokens, else its rows."""
    labels = batch.get("labels")
    if isinstance(labels, torch.Tensor) and labels.dim() == 2:
        return float((labels[:, 1:] != IGNORED).sum())
    first = next(value for value in batch.values() if isinstance(value, torch.Tensor))
    return float(len(first))
