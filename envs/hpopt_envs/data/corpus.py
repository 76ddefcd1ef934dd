"""Two domains of text that ship with every Python: prose about Python, and Python.

Prose is `pydoc_data.topics` and the docstrings of the standard library; code is the standard
library's source without docstrings and comments. A file's prose and its code belong to the same
split, which follows from a hash of its name. Text that occurs in two files (or topics: they quote
each other at length) is kept in one of them only, so that nothing leaks between splits.
"""

import ast
import gc
import hashlib
import sys
import sysconfig
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from pydoc_data.topics import topics

from ..errors import WorldError

SPLITS = ("validation", "test", "train")  # held-out text first: training gives way to it
# Tables of data, machine-made text, demonstrations, and copies of other packages' files.
_EXCLUDED = {
    *("antigravity", "distutils", "encodings", "ensurepip", "idlelib", "lib2to3", "pydoc_data"),
    *("stringprep", "this", "turtledemo"),
}
_LIBRARY = Path(sysconfig.get_path("stdlib"))
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_WINDOW = 100  # characters; two splits never share twice as many


@dataclass(frozen=True)
class Domain:
    """Documents of one kind: name of a topic, or of a file below the library -> text."""

    train: dict[str, str] = field(default_factory=dict)
    validation: dict[str, str] = field(default_factory=dict)
    test: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Corpus:
    """Both domains; a name is in the same split of each."""

    prose: Domain
    code: Domain

    @property
    def hash(self) -> str:
        """sha256 of all names and texts in order; it varies with Python's version."""
        digest = hashlib.sha256()
        for domain in (self.prose, self.code):
            for split in SPLITS:
                for name, text in getattr(domain, split).items():
                    digest.update(f"{split}\0{name}\0{text}\0".encode())
        return digest.hexdigest()


def read_corpus(train_characters: int = 1_200_000, held_out_characters: int = 150_000) -> Corpus:
    """Read the corpus of this Python, in an order that depends on names alone.

    Args:
        train_characters: of code in the training split, and a little more: files are read until
            there are as many, or there are no more files; prose is that of the same files and
            all of the split's topics.
        held_out_characters: the same for each of validation and test.

    Raises:
        WorldError: this Python comes without the source of its standard library.
    """
    files = sorted(_standard_library(), key=name_hash)
    if not files:
        raise WorldError(
            "the embedded text is the source of Python's standard library, but there is none in "
            f"{_LIBRARY}"
        )
    corpus, known = Corpus(Domain(), Domain()), _KnownText()
    for split in SPLITS:
        limit = train_characters if split == "train" else held_out_characters
        prose, code = getattr(corpus.prose, split), getattr(corpus.code, split)
        for topic in sorted(topics, key=name_hash):
            if split_of(topic) == split and (text := known.add_new_paragraphs(topics[topic])):
                prose[topic] = text
        with no_garbage_collection():
            _add_files(prose, code, [f for f in files if split_of(f) == split], limit, known)
        if split != "train":
            for text in code.values():
                known.add(text)
    return corpus


def split_of(name: str) -> str:
    """Return the split of a topic or file: train for 80% of names, validation or test for 10%."""
    return {0: "validation", 1: "test"}.get(name_hash(name) % 10, "train")


class _KnownText:
    """Recognizes text of at least `_WINDOW` characters that was met before."""

    def __init__(self) -> None:
        self._windows: set[int] = set()

    def add(self, text: str) -> None:
        starts = range(len(text) - _WINDOW + 1)
        self._windows.update(hash(text[i : i + _WINDOW]) for i in starts)

    def overlaps(self, text: str) -> bool:
        # Steps of a window's length find everything that is twice as long, wherever it begins.
        starts = range(0, len(text) - _WINDOW + 1, _WINDOW)
        return any(hash(text[i : i + _WINDOW]) in self._windows for i in starts)

    def add_new_paragraphs(self, text: str) -> str:
        """Return the text without paragraphs that were met before, and add the others."""
        new = []
        for paragraph in text.split("\n\n"):
            if not self.overlaps(paragraph):
                self.add(paragraph)
                new.append(paragraph)
        return "\n\n".join(new)


def _add_files(
    prose: dict[str, str], code: dict[str, str], files: list[str], limit: int, known: _KnownText
) -> None:
    """Add files to a split until its code has `limit` characters."""
    size = 0
    for file in files:
        if size >= limit:
            return
        tree = ast.parse((_LIBRARY / file).read_bytes())
        if text := known.add_new_paragraphs("\n\n".join(_take_docstrings(tree))):
            prose[file] = text
        if not known.overlaps(text := ast.unparse(tree)):
            code[file] = text
            size += len(text)


def _take_docstrings(node: ast.AST) -> Iterator[str]:
    """Remove the docstrings of a node and of all within it, and yields them in order."""
    if isinstance(node, _DOCUMENTED) and (docstring := ast.get_docstring(node)) is not None:
        node.body = node.body[1:] or [ast.Pass()]
        yield docstring
    for block in ("body", "handlers", "orelse", "finalbody", "cases"):
        for child in getattr(node, block, ()):
            yield from _take_docstrings(child)


def _standard_library() -> Iterator[str]:
    """Return the names of its files, relative to its folder and with slashes."""
    for module in sorted(sys.stdlib_module_names - _EXCLUDED):
        if (_LIBRARY / f"{module}.py").is_file():
            yield f"{module}.py"
        for path in sorted((_LIBRARY / module).rglob("*.py")):
            name = path.relative_to(_LIBRARY).as_posix()
            if not {"test", "tests"} & set(name.split("/")):
                yield name


def name_hash(name: str) -> int:
    return zlib.crc32(name.encode())


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Hold the garbage collector off: parsing's objects would cost it two thirds of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
