"""Chats: lists of messages with a role and content, and a model's template for them."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ..errors import WorldError
from ..settings import Source
from .tables import Table

Message = dict[str, Any]
Beside = Mapping[str, Any]  # what a template is given beside messages: tools, and what it asks for

# What an assistant may say in place of content.
_INSTEAD = ("tool_calls", "function_call", "reasoning_content", "reasoning", "thinking")


def is_chat(value: Any) -> bool:
    """Return whether something is a list of messages, rather than a text."""
    return isinstance(value, list) and all(isinstance(message, dict) for message in value)


def shown(value: Any) -> Any:
    """Return a chat without what templates don't show, such as ids; anything else as it is."""
    if not is_chat(value):
        return value
    names = ("role", "content", *_INSTEAD)
    return [
        {name: message[name] for name in names if name in message} if "role" in message else message
        for message in value
    ]


def read_messages(
    value: Any, must: str = "must be a list of messages with a role"
) -> list[Message]:
    """Return messages as templates take them: content is text.

    Args:
        value: what is in a column.
        must: what is said of anything else.

    Raises:
        ValueError: it is no list of messages, or a message's content isn't text.
    """
    if not is_chat(value) or not all(isinstance(m.get("role"), str) for m in value):
        raise ValueError(f"{must}, but got {value!r:.60}")
    return [_message(message) for message in value]


def _message(message: Message) -> Message:
    content = message.get("content")
    if content is None:
        if not any(message.get(name) for name in _INSTEAD):
            raise ValueError(f"a message must have content, but one is {message!r:.60}")
        read = dict(message)
    else:
        read = {**message, "content": _text(content)}
    return read


def _text(content: Any) -> str:
    """Return content as text: as it is, or of parts, each a line."""
    if isinstance(content, str):
        return content
    texts = []
    for part in content if isinstance(content, list) else [content]:
        text = part.get("text") if isinstance(part, dict) else part
        kind = part.get("type", "text") if isinstance(part, dict) else "text"
        if kind != "text" or not isinstance(text, str):
            raise ValueError(f"the content of a message must be text, but has {part!r:.60}")
        texts.append(text)
    return "\n".join(texts)


def given_beside(table: Table, source: Source) -> Iterator[Sequence[Any]]:
    """Yield what settings and columns say that the chat template is given beside each row's chat.

    Columns are `chat_template_kwargs`, which goes before the setting of that name, and `tools`.
    """
    names = ("chat_template_kwargs", "tools")
    columns = (table.columns.get(name, [None] * len(table)) for name in names)
    yield from zip([source.chat_template_kwargs] * len(table), *columns, strict=True)


def read_beside(given: Sequence[Any]) -> Beside:
    """Return one row of `given_beside`, of which any may be JSON.

    Raises:
        ValueError: one of them is something else.
    """
    common, own, tools = given
    shown = _read_tools(tools)
    return {**_read_kwargs(common), **_read_kwargs(own)} | ({"tools": shown} if shown else {})


def check_no_kwargs(source: Source, where: str) -> None:
    """Make sure that nothing is to be given to a chat template where there are no chats.

    Raises:
        WorldError: something is.
    """
    if source.chat_template_kwargs is not None:
        raise WorldError(f"chat_template_kwargs: must come with chats, but {where} has none")


def _read_json(value: Any) -> Any:
    """Return what a text of JSON says; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _read_kwargs(value: Any) -> Beside:
    read = {} if value in (None, "") else _read_json(value)
    if not isinstance(read, dict):
        raise ValueError(
            f"chat_template_kwargs must be an object, or JSON of one, but got {value!r:.60}"
        )
    return read


def _read_tools(value: Any) -> list[Any]:
    read = _read_json(value) if value not in (None, "") else []
    if not is_chat(read or []):
        raise ValueError(f"tools must be a list of objects, or JSON of one, but got {value!r:.60}")
    return list(read or [])


def render(
    tokenizer: Any, messages: Sequence[Message], beside: Beside, prompt: bool = False
) -> str:
    """Return a chat through the model's template.

    Args:
        tokenizer: has the template.
        messages: of `read_messages`.
        beside: of `read_beside`.
        prompt: whether the assistant is to speak next.

    Raises:
        ValueError: there is no template, or it doesn't show tools or calls of them, or hasn't a
            name in `beside`.
        Exception: a template has errors of its own.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError("messages need a tokenizer with a chat template")
    shown = fitting(tokenizer, messages, beside)
    text = _rendered(tokenizer, shown, beside, prompt)
    silent = [{k: v for k, v in m.items() if k != "tool_calls"} for m in shown]
    if any(map(_calls, shown)) and not _differs(tokenizer, text, silent, beside, prompt):
        raise ValueError("the chat template must show calls of tools, but doesn't")
    without = {name: value for name, value in beside.items() if name != "tools"}
    if len(without) < len(beside) and not _differs(tokenizer, text, shown, without, prompt):
        raise ValueError("the chat template must show the tools of a row, but doesn't")
    template = tokenizer.get_chat_template(None, beside.get("tools"))
    for name in without:
        if not re.search(rf"\b{re.escape(name)}\b", template):
            raise ValueError(f"the chat template must have {name!r}, but doesn't")
    return text


def _differs(
    tokenizer: Any, text: str, messages: Sequence[Message], beside: Beside, prompt: bool
) -> bool:
    """Return whether a chat in which something is left out is another text, or none at all."""
    try:
        return text != _rendered(tokenizer, messages, beside, prompt)
    except Exception:  # a template's own: it misses what was left out, such as a call before a tool
        return True


def _rendered(
    tokenizer: Any, messages: Sequence[Message], beside: Beside, prompt: bool = False
) -> str:
    text: str = tokenizer.apply_chat_template(
        list(messages), **beside, add_generation_prompt=prompt, tokenize=False
    )
    return text


def fitting(tokenizer: Any, messages: Sequence[Message], beside: Beside) -> Sequence[Message]:
    """Return messages whose calls of tools have arguments as the template takes them.

    Some templates take an object and write it as JSON, others take JSON and write it as it is;
    which one follows from what they make of an object.

    Args:
        tokenizer: has the template.
        messages: of `read_messages`.
        beside: of `read_beside`.
    """
    found = [call for message in messages for call in _calls(message)]
    if not any("arguments" in call for call in found):
        return messages
    objects = [_with_arguments(message, _read_json) for message in messages]
    try:
        text = _rendered(tokenizer, objects, beside)
    except Exception:  # a template's own
        return [_with_arguments(message, _as_json) for message in messages]
    values = [call.get("arguments") for message in objects for call in _calls(message)]
    as_python = any(_as_json(value) != str(value) and str(value) in text for value in values)
    return [_with_arguments(message, _as_json) for message in messages] if as_python else objects


def _calls(message: Message) -> list[dict[str, Any]]:
    """Return the functions that a message calls; some nest them in a call, others don't."""
    calls = message.get("tool_calls")
    found = [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    nested = [call.get("function", call) for call in found]
    return [call for call in nested if isinstance(call, dict)]


def _with_arguments(message: Message, form: Callable[[Any], Any]) -> Message:
    """Return a message whose calls have their arguments in another form."""

    def changed(call: Any) -> Any:
        if not isinstance(call, dict):
            return call
        if isinstance(call.get("function"), dict):
            return {**call, "function": changed(call["function"])}
        return {**call, "arguments": form(call["arguments"])} if "arguments" in call else call

    calls = message.get("tool_calls")
    return (
        {**message, "tool_calls": list(map(changed, calls))} if isinstance(calls, list) else message
    )


def _as_json(value: Any) -> Any:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
