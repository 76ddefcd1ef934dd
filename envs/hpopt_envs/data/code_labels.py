"""Two sets of labeled text, read from the source of libraries that this project requires.

`summaries` pairs what docstrings begin with and the library they are in; `raises` pairs messages
and the exceptions that they are raised with. A file's rows belong to the same split, which follows
from a hash of its name. A text is there once, in one split; or not at all if its labels differ.
Files are read until there are enough rows, so that both sets take seconds.
"""

import ast
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from ..errors import WorldError
from .corpus import SPLITS, name_hash, no_garbage_collection, split_of

Row = tuple[str, str]  # a text and its label
Rows = tuple[list[str], list[str]]  # texts and their labels

# The labels of `summaries`: required libraries with enough docstrings in every split.
LIBRARIES = (
    *("matplotlib", "mlflow", "networkx", "pandas", "scipy"),
    *("sklearn", "sqlalchemy", "sympy", "torch", "transformers"),
)
# The labels of `raises`: of others there are too few held-out rows for a steady F1.
EXCEPTIONS = ("AssertionError", "NotImplementedError", "RuntimeError", "TypeError", "ValueError")
# Those that raise them the most often for the size of their source.
_RAISING = (
    *("accelerate", "datasets", "matplotlib", "numpy", "optuna"),
    *("pandas", "peft", "scipy", "sklearn", "torch"),
)
# Folders of tests, of other projects' files, and of code that a program wrote.
_EXCLUDED = {
    *("test", "test_utils", "testing", "tests"),
    *("_vendor", "array_api_compat", "array_api_extra", "externals", "pyprima"),
    *("_antlr", "auto_generated", "protos"),
}
_OTHER_NAMES = {"sklearn": "scikit-learn", "torch": "pytorch"}
_ENOUGH = {"train": 600, "validation": 150, "test": 150}  # rows of a library
_MIN_WORDS = 3
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@lru_cache(maxsize=1)
def summaries() -> dict[str, Rows]:
    """Return first lines of docstrings, labeled with one of `LIBRARIES`, as many of each.

    Returns:
        By split, its texts and their labels: of each library what the scarcest has, which is
        about 600 in train and 150 in the others. No text names its own library.

    Raises:
        WorldError: a library is not installed, or without its source.
    """

    def find(library: str, source: bytes) -> Iterator[Row]:
        names = re.compile(rf"\b({library}|{_OTHER_NAMES.get(library, library)})\b", re.IGNORECASE)
        return ((text, library) for text in find_summaries(source) if not names.search(text))

    return {split: _columns(_balance(rows)) for split, rows in _read(LIBRARIES, find).items()}


@lru_cache(maxsize=1)
def raises() -> dict[str, Rows]:
    """Return messages, labeled with one of `EXCEPTIONS`, as imbalanced as they occur.

    Returns:
        By split, its texts and their labels: thousands in train, hundreds in the others.

    Raises:
        WorldError: a library is not installed, or without its source.
    """

    def find(_: str, source: bytes) -> Iterator[Row]:
        if b"raise " in source:  # which is sooner known than parsed
            yield from (row for row in find_raises(source) if row[1] in EXCEPTIONS)

    return {split: _columns(rows) for split, rows in _read(_RAISING, find).items()}


def library_files(library: str) -> dict[str, Path]:
    """Return a library's source files by name, relative to its folder's parent, in hashed order.

    Raises:
        WorldError: it is not installed, or without its source.
    """
    spec = find_spec(library)  # imports nothing
    files = {}
    for folder in (spec and spec.submodule_search_locations) or ():
        for path in Path(folder).rglob("*.py"):
            name = f"{library}/{path.relative_to(folder).as_posix()}"
            if not _EXCLUDED & set(name.split("/")):
                files[name] = path
    if not files:
        raise WorldError(
            f"the embedded data is the source of libraries, but this Python has none of {library}"
        )
    return dict(sorted(files.items(), key=lambda item: (name_hash(item[0]), item)))


def find_summaries(source: bytes) -> Iterator[str]:
    """Return the first lines of a file's docstrings."""
    for node in _statements(source):
        if isinstance(node, _DOCUMENTED) and (docstring := ast.get_docstring(node)):
            yield docstring.partition("\n")[0]


def find_raises(source: bytes) -> Iterator[Row]:
    """Return the messages in a file, each with the name of the exception that it is raised with.

    A message is a string, or an f-string with "{}" for what is filled in; others are left out.
    """
    for node in _statements(source):
        match node:
            case ast.Raise(exc=ast.Call(func=ast.Name(id=name), args=[message, *_])):
                if text := _literal(message):
                    yield text, name


def _read(
    libraries: tuple[str, ...], find: Callable[[str, bytes], Iterable[Row]]
) -> dict[str, list[Row]]:
    """Return the rows of each split, in an order that depends on their texts alone.

    Args:
        libraries: whose files are read, each until it has `_ENOUGH` rows.
        find: the rows of a file, given its library and its source.
    """
    files = {library: library_files(library) for library in libraries}
    labels: dict[str, set[str]] = defaultdict(set)  # of each text
    splits: dict[str, list[Row]] = {}
    for split in SPLITS:
        rows = splits[split] = []
        for library in libraries:
            enough = len(rows) + _ENOUGH[split]
            for path in (path for name, path in files[library].items() if split_of(name) == split):
                if len(rows) >= enough:
                    break
                with no_garbage_collection():
                    found = _usable(find(library, path.read_bytes()))
                for text, label in found:
                    if text not in labels:
                        rows.append((text, label))
                    labels[text].add(label)
    return {
        split: sorted(
            (row for row in rows if len(labels[row[0]]) == 1),
            key=lambda row: (name_hash(row[0]), row),
        )
        for split, rows in splits.items()
    }


def _usable(rows: Iterable[Row]) -> list[Row]:
    """Return rows with enough words to tell anything by, which a single space separates."""
    words = ((text.split(), label) for text, label in rows)
    spaced = [(" ".join(words), label) for words, label in words if len(words) >= _MIN_WORDS]
    return [row for row in spaced if row[0].isprintable()]


def _balance(rows: list[Row]) -> list[Row]:
    """Return the first rows of each label, as many as the scarcest has."""
    limit = min(Counter(label for _, label in rows).values())
    seen: Counter[str] = Counter()
    balanced = []
    for row in rows:
        seen[row[1]] += 1
        if seen[row[1]] <= limit:
            balanced.append(row)
    return balanced


def _columns(rows: list[Row]) -> Rows:
    return [text for text, _ in rows], [label for _, label in rows]


def _statements(source: bytes) -> Iterator[ast.AST]:
    """Return a module and all statements in it, in order; nothing if it is for another Python."""
    with warnings.catch_warnings(action="ignore"):  # about invalid escapes and the like
        try:
            module = ast.parse(source)
        except SyntaxError:
            return
    yield from _descend(module)


def _descend(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for block in ("body", "handlers", "orelse", "finalbody", "cases"):
        for child in getattr(node, block, ()):
            yield from _descend(child)


def _literal(message: ast.expr) -> str:
    """Return the text of a string or an f-string; empty for anything else."""
    match message:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_literal(part) or "{}" for part in parts)
    return ""
