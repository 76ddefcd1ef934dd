"""Token ids of texts, and of two texts in a row."""

from typing import Any

from ..errors import WorldError


def plain_ids(tokenizer: Any, text: str) -> list[int]:
    """Return the ids of a text alone, without what tokenizers put around it."""
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return ids


def start(tokenizer: Any) -> list[int]:
    """Return the token that texts begin with, where the tokenizer says so."""
    first: list[int] = tokenizer("a")["input_ids"][:1]
    return first if first == [tokenizer.bos_token_id] else []


def join(tokenizer: Any, prompt: str, said: str) -> tuple[list[int], list[int]]:
    """Return the ids of a prompt and of what is said after it: of the two texts in a row.

    Many a tokenizer marks where a text begins; nothing begins after a prompt. Where a token reaches
    over its end, they are cut apart there, since what a model is given is the prompt alone.
    """
    given, whole = plain_ids(tokenizer, prompt), plain_ids(tokenizer, prompt + said)
    if whole[: len(given)] == given:
        return given, whole[len(given) :]
    return given, _inner_ids(tokenizer, said)


def _inner_ids(tokenizer: Any, text: str) -> list[int]:
    """Return the ids of a text within another one."""
    for before in ("\n", ":", "a"):
        first, whole = plain_ids(tokenizer, before), plain_ids(tokenizer, before + text)
        if first and whole[: len(first)] == first:
            return whole[len(first) :]
    return plain_ids(tokenizer, text)


def check_ids(tokenizer: Any, ids: list[int], vocabulary: int | None, where: str) -> None:
    """Make sure that a model has embeddings for tokens.

    Args:
        tokenizer: of the model.
        ids: of an example.
        vocabulary: tokens that the model has embeddings for; None where it doesn't say.
        where: the example is from.

    Raises:
        WorldError: it lacks one.
    """
    if vocabulary is not None and ids and max(ids) >= vocabulary:
        token = max(ids)
        raise WorldError(
            f"model: must have an embedding for every token of its tokenizer, which has "
            f"{len(tokenizer)}, but has {vocabulary}: {where} has token {token}, "
            f"{tokenizer.decode([token])!r}"
        )
