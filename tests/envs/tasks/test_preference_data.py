"""Pairs of responses: texts, chats, and the embedded ones."""

from collections.abc import Callable
from typing import Any

import pytest

from hpopt_envs.data.tables import Table
from hpopt_envs.errors import WorldError
from hpopt_envs.models import load_tokenizer
from hpopt_envs.scores.scores import make_score
from hpopt_envs.tasks import Source
from hpopt_envs.tasks.preference_data import (
    SCORE,
    Pair,
    embedded_pairs,
    encode_pairs,
    repeat_prompts,
)

END = "<|endoftext|>"
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}<|endoftext|>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
ASKED = [{"role": "user", "content": "Up?"}]
UP, DOWN = ([{"role": "assistant", "content": text}] for text in ("yes, up", "no"))

Encode = Callable[..., list[Pair]]


@pytest.fixture
def encode() -> Encode:
    """Pairs of rows, by a tokenizer with a chat template."""
    tokenizer = load_tokenizer("embedded")

    def encoded(*rows: dict[str, Any], template: str | None = TEMPLATE) -> list[Pair]:
        tokenizer.chat_template = template
        table = Table({name: [row[name] for row in rows] for name in rows[0]}, "rows.jsonl")
        repeated = repeat_prompts(Source(), table)
        return encode_pairs(tokenizer, table, Source(), repeated=repeated)

    return encoded


def texts(pair: Pair) -> list[tuple[str, str]]:
    """What is given and what is to be learnt, of either side."""
    tokenizer = load_tokenizer("embedded")
    split = []
    for ids, learnt in pair:
        size = len(ids) - sum(learnt)
        assert learnt == [False] * size + [True] * (len(ids) - size)
        split.append((tokenizer.decode(ids[:size]), tokenizer.decode(ids[size:])))
    return split


def test_texts_end_once(encode: Encode) -> None:
    row = {"prompt": "Up?", "chosen": f"yes{END}", "rejected": 7}
    (pair,) = encode(row, template=None)
    assert texts(pair) == [("Up?", f"yes{END}"), ("Up?", f"7{END}")]


def test_the_training_rows_say_for_every_split_whether_texts_repeat_the_prompt() -> None:
    tokenizer, source = load_tokenizer("embedded"), Source()
    names = ("prompt", "chosen", "rejected")
    repeats, odd = ("Up?", "Up? yes", "Up? no"), ("Up?", " yes", " no")
    train, held_out = (
        Table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)), "rows.jsonl")
        for rows in ([repeats, repeats], [repeats, odd])
    )
    repeated = repeat_prompts(source, train)
    assert repeated
    assert not repeat_prompts(source, held_out)
    pairs = encode_pairs(tokenizer, held_out, source, repeated=repeated)
    assert texts(pairs[0]) == texts(pairs[1]) == [("Up?", f" yes{END}"), ("Up?", f" no{END}")]


def test_texts_that_all_repeat_the_prompt_lose_it(encode: Encode) -> None:
    row = {"prompt": "Up?", "chosen": "Up? yes", "rejected": "Up? no"}
    other = {"prompt": "Up?", "chosen": " yes", "rejected": " no"}
    expected = [("Up?", f" yes{END}"), ("Up?", f" no{END}")]
    assert [texts(pair) for pair in encode(row, row)] == [expected, expected]
    once, plain = encode(row, other)  # otherwise they are quotes
    assert texts(once)[0] == ("Up?", f"Up? yes{END}")
    assert texts(plain) == expected


def test_without_a_prompt_it_is_what_both_texts_begin_with(encode: Encode) -> None:
    first = {"chosen": "Up? yes, up", "rejected": "Up? no"}
    pairs = encode(first, {"chosen": "yes", "rejected": "no"}, {"chosen": "a", "rejected": "a b"})
    assert texts(pairs[0]) == [(f"{END}Up?", f" yes, up{END}"), (f"{END}Up?", f" no{END}")]
    assert texts(pairs[1]) == [(END, f"yes{END}"), (END, f"no{END}")]
    assert texts(pairs[2]) == [(f"{END}a", END), (f"{END}a", f" b{END}")]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": ASKED, "chosen": UP, "rejected": DOWN},
        {"chosen": ASKED + UP, "rejected": ASKED + DOWN},
        {"prompt": ASKED, "chosen": ASKED + UP, "rejected": ASKED + DOWN},
        # As the best known set has them: the prompt a text that both chats begin with.
        {"prompt": "Up?", "chosen": ASKED + UP, "rejected": ASKED + DOWN},
        {"prompt": "Up?", "chosen": UP, "rejected": DOWN},
    ],
)
def test_chats_go_through_the_template(encode: Encode, row: dict[str, Any]) -> None:
    given = f"<user>Up?{END}<assistant>"
    (pair,) = encode(row)
    assert texts(pair) == [(given, f"yes, up{END}"), (given, f"no{END}")]


@pytest.mark.parametrize(
    ("row", "template", "words"),
    [
        ({"prompt": ASKED, "chosen": UP, "rejected": DOWN}, None, "need a tokenizer with a chat"),
        ({"prompt": ASKED, "chosen": "yes", "rejected": "no"}, TEMPLATE, "but got 'yes'"),
        ({"chosen": UP, "rejected": DOWN}, TEMPLATE, r"but one is \[\]"),
        ({"prompt": "Up?", "chosen": {"a": 1}, "rejected": "no"}, TEMPLATE, "must be text or"),
        (
            {"prompt": ASKED, "chosen": UP, "rejected": DOWN},
            "{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}",
            "must only add",
        ),
        (
            {"prompt": ASKED, "chosen": UP, "rejected": DOWN},
            "{{ raise_exception('no') }}",
            "no$",
        ),
    ],
)
def test_rows_that_are_no_pairs_are_refused(
    encode: Encode, row: dict[str, Any], template: str | None, words: str
) -> None:
    with pytest.raises(WorldError, match=f"^chosen_column: rows.jsonl, row 1: .*{words}"):
        encode(row, template=template)


@pytest.mark.slow
def test_embedded_pairs_are_ranked_by_their_score() -> None:
    tables, tokens = embedded_pairs()
    assert tokens > 0
    for table in tables.values():
        assert len(table) > 200
        prompts, chosen, rejected = (list(table.columns[name]) for name in table.columns)
        better, worse = (make_score(SCORE, "reward")(prompts, t) for t in (chosen, rejected))
        assert all(a > b for a, b in zip(better, worse, strict=True))
