"""Errors of the middle floor; the tree is in `hpopt_search_spaces.errors`."""

import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hpopt_search_spaces.errors import HpoptError

# Where nobody looks for a mistake of their own.
_NOT_THEIRS = (
    sysconfig.get_path("stdlib"),
    sysconfig.get_path("purelib"),
    str(Path(__file__).parent),
)


class WorldError(HpoptError):
    """A task, a model or a training run can't be built or used as asked."""


class RenderModeError(WorldError, TypeError):
    """A render mode that there isn't: a TypeError, by which SB3's `make_vec_env` asks for none."""


def describe(error: BaseException) -> str:
    """Return an exception in one line: its kind, its first line, and where it left user's code."""
    first_line = str(error).strip().partition("\n")[0]
    said = f"{type(error).__name__}: {first_line}" if first_line else type(error).__name__
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_file() and not frame.filename.startswith(_NOT_THEIRS)
    ]
    return (
        f"{said} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else said
    )


@contextmanager
def foreign(what: str) -> Iterator[None]:
    """Turn whatever somebody else's code raises into one line: "`what` failed: ..."."""
    try:
        yield
    except HpoptError:
        raise
    except (Exception, SystemExit) as error:
        raise WorldError(f"{what} failed: {describe(error)}") from error


@contextmanager
def told(where: str) -> Iterator[None]:
    """Turn what is wrong with a row, a template's own errors included, into one line with where."""
    try:
        yield
    except HpoptError:
        raise
    except Exception as error:
        raise WorldError(f"{where}: {str(error).partition(chr(10))[0]}") from error
