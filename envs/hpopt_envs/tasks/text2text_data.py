"""Sources and targets as tensors, for encoder–decoders and for decoders alone."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from ..data.tables import Table
from ..data.templates import fill
from ..data.tokens import check_ids
from ..errors import WorldError
from ..settings import Source
from .data import Split
from .lm_data import IGNORED, encode_rows, fitting_length, shuffled, texts

_NO_BYTE = 255  # of any UTF-8
Encoded = list[tuple[list[int], list[int]]]  # ids of source and target


def read_pairs(table: Table, source: Source) -> tuple[list[str], list[str]]:
    """Return sources and targets of a table's rows, from columns or templates.

    Raises:
        WorldError: a column is missing or holds something else, or a template comes with a column.
    """
    for side in ("prompt", "completion"):
        column, template = (getattr(source, f"{side}_{form}") for form in ("column", "template"))
        if column is not None and template is not None:
            raise WorldError(f"{side}_template: must not come with {side}_column, but got both")
    if source.prompt_template is not None:
        prompts = fill(source.prompt_template, table, "prompt_template")
    else:
        prompts = texts(table, prompt_column(source, table), "prompt_column")
    if source.completion_template is not None:
        return prompts, fill(source.completion_template, table, "completion_template")
    return prompts, texts(table, completion_column(source), "completion_column")


def prompt_column(source: Source, table: Table) -> str:
    """Return the column of sources, where no template says.

    Raises:
        WorldError: there is none, but one of chats.
    """
    name = source.prompt_column or "prompt"
    if name not in table.columns and "messages" in table.columns:
        raise WorldError(
            f"prompt_column: {table.where} must have a column {name!r}, but has chats, in column "
            "'messages'; task lm reads chats"
        )
    return name


def completion_column(source: Source) -> str:
    """Return the column of targets, where no template says."""
    return source.completion_column or "completion"


def encode(
    tokenizer: Any,
    pairs: tuple[list[str], list[str]],
    table: Table,
    encoder: bool,
    vocabulary: int | None = None,
) -> Encoded:
    """Return ids of pairs; those of decoders alone are as `lm` takes prompts and completions.

    Args:
        tokenizer: of the model.
        pairs: of `read_pairs`.
        table: that they were read from.
        encoder: whether the model has one.
        vocabulary: see `check_ids`.

    Raises:
        WorldError: the model lacks a token.
    """
    prompts, completions = pairs
    if encoder:
        sources = tokenizer(prompts, verbose=False)["input_ids"]
        targets = tokenizer(text_target=completions, verbose=False)["input_ids"]
        for number, both in zip(table.rows, zip(sources, targets, strict=True), strict=True):
            for ids in both:
                check_ids(tokenizer, ids, vocabulary, f"{table.where}, row {number}")
        return list(zip(sources, targets, strict=True))
    columns = {"prompt": prompts, "completion": completions}
    rows = encode_rows(tokenizer, replace(table, columns=columns), Source(), vocabulary)
    given = [learnt.index(True) for _, learnt in rows]
    return [(ids[:size], ids[size:]) for (ids, _), size in zip(rows, given, strict=True)]


def shorten(
    encoded: dict[str, Encoded],
    asked: int | None,
    limit: int | None,
    source: Source,
    encoder: bool,
    end: int | None,
) -> dict[str, Encoded]:
    """Return pairs that fit: source and target of an encoder–decoder each, of a decoder together.

    What is too long loses what is last. An encoder's source keeps its end token; a decoder's leaves
    room for the longest target, or for half of the sequence.

    Args:
        encoded: pairs of each split.
        asked: the setting `sequence_length`.
        limit: of the model, in tokens; None where it has none.
        source: says whether pairs are cut.
        encoder: whether the model has one.
        end: the tokenizer's end token.

    Raises:
        WorldError: one is too long, and wasn't to be cut.
    """

    def size(pair: tuple[list[int], list[int]]) -> int:
        return max(map(len, pair)) if encoder else sum(map(len, pair))

    longest = fitting_length(
        [size(pair) for pairs in encoded.values() for pair in pairs], asked, limit, source
    )

    wanted = max(len(target) for pairs in encoded.values() for _, target in pairs)
    room = min(wanted, longest // 2)

    def cut(given: list[int], target: list[int]) -> tuple[list[int], list[int]]:
        if not encoder:
            if size((given, target)) > longest:
                given = given[: longest - room]
            return given, target[: longest - len(given)]
        if len(given) > longest:
            last = given[-1:] if given[-1] == end else []
            given = given[: longest - len(last)] + last
        return given, target[:longest]

    return {name: [cut(*pair) for pair in pairs] for name, pairs in encoded.items()}


def as_split(encoded: Encoded, pad: int, encoder: bool, references: Sequence[str] = ()) -> Split:
    """Return pairs as tensors, shuffled so that the first ones are a sample of all.

    Args:
        encoded: n pairs.
        pad: a token that is legal, and not looked at.
        encoder: whether the model has one.
        references: the targets as text, for splits that are written for; none for others.

    Returns:
        `length` (n,), and of an encoder–decoder `source_ids` (n, longest), `source_length` (n,)
        and `labels` (n, longest), `IGNORED` where there is padding; of a decoder `input_ids`,
        `learnt` (n, longest) and, where there are references, `prompt_ids` (n, longest), padded at
        the left, and `prompt_length`. With references, `text` (n, longest): in UTF-8, and behind
        it what is in none.
    """
    sources, targets = ([torch.tensor(ids) for ids in side] for side in zip(*encoded, strict=True))
    sizes = torch.tensor([len(ids) for ids in sources])
    split: Split = {"length": torch.tensor([len(a) + len(b) for a, b in encoded])}
    if encoder:
        split |= {
            "source_ids": pad_sequence(sources, True, pad),
            "source_length": sizes,
            "labels": pad_sequence(targets, True, IGNORED),
        }
    else:
        whole = [torch.cat(pair) for pair in zip(sources, targets, strict=True)]
        place = torch.arange(max(map(len, whole)))
        learnt = (place >= sizes[:, None]) & (place < split["length"][:, None])
        split |= {"input_ids": pad_sequence(whole, True, pad), "learnt": learnt}
        if references:
            prompts = pad_sequence(sources, True, pad, padding_side="left")
            split |= {"prompt_ids": prompts, "prompt_length": sizes}
    if references:
        written = [torch.tensor(list(text.encode()), dtype=torch.uint8) for text in references]
        split["text"] = pad_sequence(written, True, _NO_BYTE)
    order = shuffled(len(encoded))
    return {name: tensor[order] for name, tensor in split.items()}


def decode_text(text: torch.Tensor) -> list[str]:
    """Return the texts of `as_split`: (n, longest)."""
    return [bytes(row[row != _NO_BYTE].tolist()).decode() for row in text.cpu()]
