"""The command line: which command, its exit status, and how it ends."""

import argparse
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import NoReturn

from hpopt_search_spaces import HpoptError, nearest_names

from ..errors import StudyError, io_error
from .options import INTERRUPTED, Parser, option
from .streams import forgiving_streams

COMMANDS = {
    "search": "find how to fine-tune a model within a budget",
    "compare": "searchers at equal cost, on tasks and seeds",
    "resume": "go on with a study or comparison that was cut off, or extend a study",
    "report": "a page with everything about a study or comparison",
    "export": "what a study recommends, as code for a trainer of yours",
    "pretrain": "make a policy for agent learned, from thousands of tiny models",
    "ui": "open MLflow's user interface on this machine",
    "tasks": "list what can be trained",
    "spaces": "list what may be tuned",
    "agents": "list who can decide",
}
LONGEST = 600  # characters of what is said of an error
_DESCRIPTION = (
    "hpopt finds how to fine-tune a language model within a compute budget: learning rate, "
    "batch size, and how hard to hold the model to its reference."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status.

    Returns:
        0; 1 where nothing came out of what ran; 2 for bad input, and where it can't go on; 130
        after Ctrl-C.
    """
    with forgiving_streams():
        return _main(arguments)


def _main(arguments: Sequence[str] | None) -> int:
    # A job that a shell starts with & ignores SIGINT unless we say otherwise; and what stops a
    # service, SIGTERM, ends a study as cleanly as Ctrl-C does.
    before = {n: signal.signal(n, _interrupt) for n in (signal.SIGINT, signal.SIGTERM)}
    typed = sys.argv[1:] if arguments is None else list(arguments)
    try:
        _check(typed)
        asked, unknown = _parser(typed).parse_known_args(typed)
        if unknown:
            raise StudyError(_unknown(unknown[0], asked.options))
        status: int = asked.run(asked)
        return status
    except HpoptError as error:
        print(f"hpopt: {_fitting(_as_option(str(error)))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("hpopt: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        return INTERRUPTED
    except OSError as error:  # of a disk or a folder that nobody looked at before
        print(f"hpopt: {io_error(error)}", file=sys.stderr)
        return 2
    finally:
        for number, handler in before.items():
            if handler is not None:  # what Python didn't install can't be put back
                signal.signal(number, handler)


def _check(typed: Sequence[str]) -> None:
    """Refuse a value that argparse of Python 3.11 takes for the end of the options."""
    for word in typed:
        name, equals, value = word.partition("=")
        if equals and value == "--":
            raise StudyError(f"{name}: must have a value, but got '--'")


def _fitting(line: str) -> str:
    """Return an error as one line that can be read, whatever was typed is in it."""
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
    half = LONGEST // 2
    return line if len(line) <= LONGEST else f"{line[:half]} ... {line[-half:]}"


def _as_option(message: str) -> str:
    """Return an error with the option in place of the setting's name that it begins with."""
    from ..comparison.settings import COMPARISON_FIELDS
    from ..pretraining.settings import PRETRAINING_FIELDS
    from ..settings.study import FIELDS

    name, colon, rest = message.partition(":")
    known = {*FIELDS, *COMPARISON_FIELDS, *PRETRAINING_FIELDS, "config"}
    return f"{option(name)}{colon}{rest}" if name in known else message


def _unknown(argument: str, options: Sequence[str]) -> str:
    from ..settings.study import SAID_WITH_THE_AGENT

    said = SAID_WITH_THE_AGENT.get(argument.partition("=")[0].removeprefix("--"))
    if said:
        return f"{argument}: {said}"
    return f"unknown argument {argument!r} ({nearest_names(argument, options)})"


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _parser(typed: Sequence[str]) -> argparse.ArgumentParser:
    parser = Parser(prog="python -m hpopt", description=_DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"hpopt {version('hpopt')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    for name, what in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=what,
            description=f"{what[0].upper()}{what[1:]}.",
            usage=f"{parser.prog} {name} [OPTION ...]",  # which are many
        )
        if name in typed:  # the others' options would only take time
            from .arguments import fill

            fill(name, command)
    return parser
