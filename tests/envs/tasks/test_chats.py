"""Chats, of which what the assistant says is learnt."""

from typing import Any

import pytest

from hpopt_envs.data.tables import Table
from hpopt_envs.errors import WorldError
from hpopt_envs.models import load_tokenizer
from hpopt_envs.tasks import Source, load_task
from hpopt_envs.tasks.lm_data import encode_rows
from tests.envs.tasks.rows import END, TEMPLATE, Write, chat, learnt_texts

CHATS = {
    "one turn": chat("hi", "ho"),
    "turns": chat("hi", "ho", "1 + 1?", "2", "thanks"),
    "system": [{"role": "system", "content": "be brief"}, *chat("hi", "ho")],
    "assistant twice": [*chat("hi", "ho"), {"role": "assistant", "content": "ho!"}],
    # The line feed becomes one token with that of the template.
    "begins with space": chat("\n", "    return x", "\n\n", "\n\n        y = 1", " "),
    "says nothing": chat("hi", "", "hi", "ho"),
}


@pytest.mark.parametrize("messages", CHATS.values(), ids=CHATS)
def test_what_the_assistant_says_is_learnt_and_nothing_else(
    messages: list[dict[str, str]], chat_model: str
) -> None:
    tokenizer = load_tokenizer(chat_model)
    theirs = tokenizer.apply_chat_template(
        messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    ((ids, learnt),) = encode_rows(tokenizer, Table({"messages": [messages]}, "chats"), Source())
    assert ids == theirs["input_ids"]
    assert learnt == list(map(bool, theirs["assistant_masks"]))


def test_how_the_assistant_begins_a_chat_answers_nothing(chat_model: str) -> None:
    messages = chat("", "welcome", "hi", "ho")[1:]
    table = Table({"messages": [messages]}, "chats")
    ((ids, learnt),) = encode_rows(load_tokenizer(chat_model), table, Source())
    assert learnt_texts(ids, learnt) == [f"ho{END}\n"]


def test_chats_of_a_users_are_read(chat_model: str, write: Write) -> None:
    chats = [chat(f"{i}", "a" * (1 + i % 5), "more", f"b{i}") for i in range(20)]
    path = write([{"talk": messages} for messages in chats])
    task = load_task("lm", {"train_file": path, "messages_column": "talk"})
    data = task.load_data(chat_model, None)
    split = data.train
    rows = zip(split["input_ids"], split["learnt"], split["length"], strict=True)
    learnt = [
        learnt_texts(ids[:length].tolist(), mask[:length].tolist()) for ids, mask, length in rows
    ]
    expected = [[f"{c[1]['content']}{END}\n", f"{c[3]['content']}{END}\n"] for c in chats]
    assert len(learnt) == 16
    assert all(said in expected for said in learnt)
    # The end of text is learnt, but is no text.
    sizes = {len(f"{c[1]['content']}\n{c[3]['content']}\n") for c in chats}
    assert set(data.validation["bytes"].tolist()) <= sizes


LAST_ALONE = "{{ messages[-1].content }}"
SHOUT = "{% if messages[0].content == 'HI' %}{{ raise_exception('no shouting') }}{% endif %}"


@pytest.mark.parametrize(
    ("template", "messages", "words"),
    [
        (TEMPLATE, chat("hi"), "a chat must have an answer, of the role 'assistant'"),
        (TEMPLATE, chat("", "ho")[1:], "a chat must have an answer, of the role 'assistant'"),
        (TEMPLATE, "hi", "must be a list of messages with a role, but got 'hi'"),
        (TEMPLATE, chat("hi")[0], "must be a list of messages with a role, but got {'role'"),
        (TEMPLATE, ["hi", "ho"], "must be a list of messages with a role, but got ['hi'"),
        (TEMPLATE, [{"content": "hi"}], "must be a list of messages with a role, but got [{"),
        (LAST_ALONE, chat("hi", "ho"), "the chat template must only add to what came before"),
        (SHOUT + TEMPLATE, chat("HI", "ho"), "no shouting"),
        ("{{ messages[2].content }}", chat("hi", "ho"), "list object has no element 2"),
    ],
)
def test_a_chat_that_cannot_be_used_is_refused_in_one_line(
    template: str, messages: Any, words: str
) -> None:
    tokenizer = load_tokenizer("embedded")
    tokenizer.chat_template = template
    with pytest.raises(WorldError) as raised:
        encode_rows(tokenizer, Table({"messages": [messages]}, "chats.jsonl", [7]), Source())
    assert str(raised.value).startswith(f"messages_column: chats.jsonl, row 7: {words}")
    assert "\n" not in str(raised.value)
