"""Templates that write a turn otherwise once others follow, that mark answers, that show tools."""

from collections.abc import Callable
from typing import Any

import pytest

from hpopt_envs.data.chats import render
from hpopt_envs.data.tables import Table
from hpopt_envs.errors import WorldError
from hpopt_envs.models import load_tokenizer
from hpopt_envs.settings import Source
from hpopt_envs.tasks.lm_data import encode_rows
from hpopt_envs.tasks.preference_data import encode_pairs
from tests.envs.tasks.rows import chat, learnt_texts

PLAIN = (
    "{% if tools %}tools:{% for t in tools %} {{ t.function.name }}{% endfor %}{{ '\n' }}"
    "{% endif %}"
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}"
    "{% for c in m.tool_calls or [] %} {{ c.function.arguments | tojson }}{% endfor %}{{ '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
# As Qwen3's: an empty thought before the last answer alone.
THINKING = (
    "{% for m in messages %}<{{ m.role }}>"
    "{% if m.role == 'assistant' and loop.last %}<think></think>{% endif %}{{ m.content }}"
    "{{ '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
# As DeepSeek-R1's: prompts begin a thought that answers come without.
BEGUN = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant><think>{{ '\n' }}{% endif %}"
)
MARKED = (
    "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}"
    "{%- generation -%}{{ m.content }}{% if loop.last %}!{% endif %}{%- endgeneration -%}"
    "{% else %}{{ m.content }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
LAMP = [{"type": "function", "function": {"name": "lamp"}}]

NOTHING = Source()
Encode = Callable[..., list[tuple[str, list[str]]]]


@pytest.fixture
def encode() -> Encode:
    """Rows as texts, each with what of it is learnt."""
    tokenizer = load_tokenizer("embedded")

    def encoded(template: str, source: Source = NOTHING, **row: Any) -> list[tuple[str, list[str]]]:
        tokenizer.chat_template = template
        table = Table({name: [value] for name, value in row.items()}, "rows.jsonl")
        if "chosen" in row:
            found = [side for pair in encode_pairs(tokenizer, table, source) for side in pair]
        else:
            found = encode_rows(tokenizer, table, source)
        return [(tokenizer.decode(ids), learnt_texts(ids, learnt)) for ids, learnt in found]

    return encoded


def test_a_turn_that_is_written_otherwise_later_is_a_row_of_its_own(encode: Encode) -> None:
    first = "<user>hi\n<assistant><think></think>ho\n"
    assert encode(THINKING, messages=chat("hi", "ho", "1?", "2")) == [
        (
            "<user>hi\n<assistant>ho\n<user>1?\n<assistant><think></think>2\n",
            ["<think></think>2\n"],
        ),
        (first, ["<think></think>ho\n"]),
    ]
    assert encode(THINKING, messages=chat("hi", "ho")) == [(first, ["<think></think>ho\n"])]
    # What nobody answered is in no row.
    assert encode(THINKING, messages=chat("hi", "ho", "1?")) == [(first, ["<think></think>ho\n"])]


def test_an_answer_begins_where_it_leaves_its_prompt(encode: Encode) -> None:
    assert encode(BEGUN, messages=chat("hi", "ho", "1?", "2")) == [
        ("<user>hi\n<assistant>ho\n<user>1?\n<assistant>2\n", ["ho\n", "2\n"])
    ]


def test_a_template_says_itself_what_the_assistant_says(encode: Encode) -> None:
    talk = chat("hi", "ho", "1?", "2")
    whole = "<user>hi\n<assistant>ho\n<user>1?\n<assistant>2!\n"
    assert encode(MARKED, messages=talk) == [(whole, ["ho", "2!"])]
    assert encode(MARKED, prompt=talk[:3], completion=talk[3:]) == [(whole, ["2!"])]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": chat("hi", "ho", "1?"), "completion": chat("", "2")[1:]},
        {"prompt": chat("hi", "ho", "1?"), "completion": "2"},
    ],
)
def test_completions_of_chats_are_learnt(encode: Encode, row: dict[str, Any]) -> None:
    whole = "<user>hi\n<assistant>ho\n<user>1?\n<assistant>2\n"
    assert encode(PLAIN, **row) == [(whole, ["2\n"])]
    (found,) = encode(PLAIN, prompt="1?", completion=chat("", "2")[1:])
    assert found == ("<user>1?\n<assistant>2\n", ["2\n"])


def parts(*texts: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text} for text in texts]


def test_content_may_be_parts(encode: Encode) -> None:
    asked = {"role": "user", "content": parts("look:", "1")}
    said = {"role": "assistant", "content": parts("2")}
    whole = "<user>look:\n1\n<assistant>2\n"
    for row in ({"messages": [asked, said]}, {"prompt": [asked], "completion": [said]}):
        assert encode(PLAIN, **row) == [(whole, ["2\n"])]
    pair = encode(PLAIN, chosen=[asked, said], rejected=[asked, *chat("", "3")[1:]])
    assert pair[0] == (whole, ["2\n"])


@pytest.mark.parametrize("tools", [LAMP, '[{"type": "function", "function": {"name": "lamp"}}]'])
def test_tools_are_shown(encode: Encode, tools: Any) -> None:
    call = {"type": "function", "function": {"name": "lamp", "arguments": '{"at": 1}'}}
    talk = [*chat("on"), {"role": "assistant", "content": None, "tool_calls": [call]}]
    for row in (
        {"messages": talk},
        {"prompt": talk[:1], "completion": talk[1:]},
        {"prompt": talk[:1], "chosen": talk[1:], "rejected": chat("", "no")[1:]},
    ):
        text, learnt = encode(PLAIN, **row, tools=tools)[0]
        assert text.startswith("tools: lamp\n<user>on\n")
        assert learnt[0].strip() == '{"at": 1}'
    assert encode(PLAIN, messages=chat("hi", "ho"), tools=None)[0][0].startswith("<user>")


def talk_with_a_call(arguments: Any, nested: bool) -> list[dict[str, Any]]:
    function = {"name": "lamp", "arguments": arguments}
    call = {"type": "function", "function": function} if nested else function
    return [*chat("on"), {"role": "assistant", "content": "", "tool_calls": [call]}]


CALLS = "{% for c in m.tool_calls or [] %}{% set f = c.function or c %}"
AROUND = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}",
    "{% endfor %}{{ '\n' }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}",
)


@pytest.mark.parametrize(
    "shown",
    [
        "{{ f.arguments | tojson }}",  # objects alone: text would come out in quotes
        "{{ f.arguments }}",  # text alone: an object would come out as Python writes it
        "{{ '' + f.arguments }}",  # likewise, and with an error
        "{% if f.arguments is string %}{{ f.arguments }}{% else %}{{ f.arguments | tojson }}"
        "{% endif %}",
    ],
)
@pytest.mark.parametrize("arguments", ['{"at": "1", "on": true}', {"at": "1", "on": True}])
@pytest.mark.parametrize("nested", [True, False])
def test_arguments_of_tools_are_shown_as_json_however_they_are_given(
    shown: str, arguments: Any, nested: bool, encode: Encode
) -> None:
    ((_, learnt),) = encode(
        AROUND[0] + CALLS + shown + AROUND[1], messages=talk_with_a_call(arguments, nested)
    )
    assert learnt == ['{"at": "1", "on": true}\n']


# As Qwen3's: whoever asks for no thoughts gets an empty one.
ASKED = (
    "{% for m in messages %}<{{ m.role }}>"
    "{% if m.role == 'assistant' and loop.last %}<think></think>{% endif %}{{ m.content }}"
    "{{ '\n' }}{% endfor %}{% if add_generation_prompt %}<assistant>"
    "{% if thoughts is defined and not thoughts %}<think></think>{% endif %}{% endif %}"
)


def test_what_the_template_asks_for_is_given_by_the_setting_or_the_row(encode: Encode) -> None:
    said = Source.of({"chat_template_kwargs": '{"thoughts": false}'})
    talk = chat("hi", "ho")
    whole = "<user>hi\n<assistant><think></think>ho\n"
    assert encode(ASKED, messages=talk) == [(whole, ["<think></think>ho\n"])]
    assert encode(ASKED, said, messages=talk) == [(whole, ["ho\n"])]
    assert encode(ASKED, said, prompt=talk[:1], completion=talk[1:]) == [(whole, ["ho\n"])]
    pair = encode(ASKED, said, chosen=talk, rejected=chat("hi", "no"))
    assert pair[0] == (whole, ["ho\n"])
    for own in ({"thoughts": False}, '{"thoughts": false}'):
        row = {"messages": talk, "chat_template_kwargs": own}
        assert encode(ASKED, **row) == [(whole, ["ho\n"])]
    row = {"messages": talk, "chat_template_kwargs": {"thoughts": True}}
    assert encode(ASKED, said, **row) == [(whole, ["<think></think>ho\n"])]


@pytest.mark.parametrize(
    ("kwargs", "row", "said"),
    [
        ("false", {"messages": chat("hi", "ho")}, "must be an object, or JSON of one, but got"),
        ("{", {"messages": chat("hi", "ho")}, "must be an object, or JSON of one, but got"),
        ('{"thougts": 1}', {"messages": chat("hi", "ho")}, "the chat template must have 'thougts'"),
        ("{}", {"prompt": "hi", "completion": "ho"}, "must come with chats, but rows.jsonl has no"),
        ("{}", {"chosen": "hi", "rejected": "ho"}, "must come with chats, but rows.jsonl has no"),
    ],
)
def test_what_no_template_asks_for_is_refused(
    kwargs: str, row: dict[str, Any], said: str, encode: Encode
) -> None:
    with pytest.raises(WorldError) as raised:
        encode(ASKED, Source.of({"chat_template_kwargs": kwargs}), **row)
    assert said in str(raised.value)


PICTURE = [{"type": "image_url", "image_url": {"url": "x"}}]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            {"messages": chat("hi", "ho"), "tools": "lamp"},
            "tools must be a list of objects, or JSON",
        ),
        (
            {"messages": [{"role": "user", "content": PICTURE}]},
            "content of a message must be text, ",
        ),
        (
            {"messages": [{"role": None, "content": "hi"}, *chat("", "ho")[1:]]},
            "must be a list of messages with a role",
        ),
        ({"messages": [{"role": "user", "content": 3}]}, "the content of a message must be text, "),
        (
            {"messages": [{"role": "assistant", "text": "ho"}]},
            "a message must have content, but one",
        ),
        (
            {"prompt": chat("hi"), "completion": chat("ho")},
            "a chat must have an answer, of the role",
        ),
    ],
)
def test_other_chats_are_refused_in_one_line(
    encode: Encode, row: dict[str, Any], said: str
) -> None:
    with pytest.raises(WorldError, match=f"_column: rows.jsonl, row 1: .*{said}") as raised:
        encode(PLAIN, **row)
    assert "\n" not in str(raised.value)


def test_tools_that_a_template_does_not_show_are_refused(encode: Encode) -> None:
    with pytest.raises(WorldError, match="the chat template must show the tools of a row"):
        encode(THINKING, messages=chat("hi", "ho"), tools=LAMP)
    with pytest.raises(WorldError, match="the chat template must show calls of tools, but doesn't"):
        encode(THINKING, messages=talk_with_a_call({"at": 1}, nested=True))


STRICT = (
    "{% set ns = namespace(last='') %}{% for m in messages %}"
    "{% if m.role == 'tool' and not ns.called %}{{ raise_exception('a tool answers a call') }}"
    "{% endif %}{% set ns.called = 'tool_calls' in m %}[{{ m.role }}]{{ m.content }}"
    "{% for call in m.tool_calls or [] %}<{{ call.function.name }}>{% endfor %}{% endfor %}"
)


def test_a_template_that_insists_on_the_call_before_a_tool_shows_it() -> None:
    """Left out to see whether it is shown, the call is missed by an error of the template."""
    tokenizer = load_tokenizer("embedded")
    tokenizer.chat_template = STRICT
    call = {"type": "function", "function": {"name": "look", "arguments": {"at": "moon"}}}
    chat = [
        {"role": "user", "content": "Up?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "yes"},
        {"role": "assistant", "content": "It is."},
    ]
    assert render(tokenizer, chat, {}) == "[user]Up?[assistant]<look>[tool]yes[assistant]It is."
