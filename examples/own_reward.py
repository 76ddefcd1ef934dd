"""A reward of your own: docstrings that say what to do, "Return the name." and not "The name.".

    python -m hpopt search --task align --reward own_reward:command --trials 4

from this folder. Any function will do that takes lists of prompts and of responses, as long as
each other, and returns a finite number for each response: more is better. It may ask a model or
another program; what it raises ends the search with one line. The same functions are features of
constraints: `--constraint own_reward:command=0.9` asks for that mean.
`hpopt.testing.check_score` says whether a function will do.
"""

COMMANDS = {
    *("add", "call", "check", "close", "compare", "convert", "copy", "create", "delete", "find"),
    *("get", "load", "make", "open", "parse", "print", "read", "remove", "return", "run", "send"),
    *("set", "start", "stop", "test", "wait", "write"),
}


def command(prompts: list[str], responses: list[str]) -> list[float]:
    """1 for a response that begins with a command, a half for "Returns ...", 0 for others."""
    return [_begins_with_command(response) for response in responses]


def _begins_with_command(response: str) -> float:
    first = (response.lower().split() or [""])[0]
    if first in COMMANDS:
        return 1.0
    return 0.5 if first.removesuffix("s") in COMMANDS else 0.0
