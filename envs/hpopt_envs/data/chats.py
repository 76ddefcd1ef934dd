"""Chats: lists of messages with a role and content, and a model's template for them."""

import json
from collections.abc import Sequence
from typing import Any

Message = dict[str, Any]
Tools = list[Any] | None

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
    """Return messages as templates take them: content is text, arguments of tools are objects.

    Args:
        value: what is in a column.
        must: what is said of anything else.

    Raises:
        ValueError: it is no list of messages, or a message's content isn't text.
    """
    if not is_chat(value) or not all("role" in message for message in value):
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
    if isinstance(calls := read.get("tool_calls"), list):
        read["tool_calls"] = [_call(call) for call in calls]
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


def _call(call: Any) -> Any:
    """Return a call of a tool whose arguments are an object, which some write as JSON."""
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("arguments"), str):
        return call
    try:
        arguments = json.loads(function["arguments"])
    except ValueError:
        return call
    return {**call, "function": {**function, "arguments": arguments}}


def read_tools(value: Any) -> Tools:
    """Return the tools of a row, which may be JSON; None for none.

    Raises:
        ValueError: it is no list of objects.
    """
    read = value
    if isinstance(value, str) and value.strip():
        try:
            read = json.loads(value)
        except ValueError:
            read = value
    if not read:
        return None
    if not is_chat(read):
        raise ValueError(f"tools must be a list of objects, or JSON of one, but got {value!r:.60}")
    return list(read)


def render(
    tokenizer: Any, messages: Sequence[Message], tools: Tools = None, prompt: bool = False
) -> str:
    """Return a chat through the model's template.

    Args:
        tokenizer: has the template.
        messages: of `read_messages`.
        tools: of `read_tools`.
        prompt: whether the assistant is to speak next.

    Raises:
        ValueError: there is no template, or it doesn't show the tools.
        Exception: a template has errors of its own.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError("messages need a tokenizer with a chat template")

    def rendered(some: Tools) -> str:
        text: str = tokenizer.apply_chat_template(
            list(messages), tools=some, add_generation_prompt=prompt, tokenize=False
        )
        return text

    text = rendered(tools)
    if tools and text == rendered(None):
        raise ValueError("the chat template must show the tools of a row, but doesn't")
    return text
