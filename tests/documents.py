"""What the documents say, taken apart: blocks of code, commands, words in code."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
OTHERS = [ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "runs" / "README.md"]
LOG = ROOT / "docs" / "results.md"  # of its day's commands, paths and names

_BLOCK = re.compile(r"(<!-- network -->\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"^ {4,}(python -m hpopt .*)$", re.MULTILINE)
_FILE = re.compile(r"# (\S+\.(?:py|toml)): (.*)\n")


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        page: where it stands, from the top of the repository.
        language: "" for the terminal.
        text: of the block.
        network: whether it is marked as needing the network.
    """

    page: str
    language: str
    text: str
    network: bool

    @property
    def file(self) -> str | None:
        """The file that it is to be kept in, where its first line says so."""
        named = _FILE.match(self.text)
        return named[1] if named else None


def blocks() -> list[Block]:
    """Return every fenced block of the pages."""
    return [
        Block(str(page.relative_to(ROOT)), match[2], match[3], bool(match[1]))
        for page in PAGES
        for match in _BLOCK.finditer(page.read_text(encoding="utf-8"))
    ]


def words_in_code(page: Path) -> list[str]:
    """Return what stands between single backticks."""
    return re.findall(r"`([^`\n]+)`", _BLOCK.sub("", page.read_text(encoding="utf-8")))


def commands(text: str) -> list[list[str]]:
    """Return the arguments of each `python -m hpopt` that a terminal's block has."""
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    typed = [line.removeprefix("$ ") for line in lines]
    return [_arguments(line) for line in typed if line.startswith("python -m hpopt")]


def all_commands() -> list[tuple[str, list[str]]]:
    """Return the arguments of every command that a page shows, wherever it stands on it."""
    found = [(b.page, arguments) for b in blocks() for arguments in commands(b.text)]
    for block in blocks():
        named = _FILE.match(block.text)
        found += [(block.page, arguments) for arguments in commands(named[2] if named else "")]
    for page in PAGES:
        if page == LOG:
            continue
        inline = [word for word in words_in_code(page) if word.startswith("python -m hpopt ")]
        indented = _INDENTED.findall(_BLOCK.sub("", page.read_text(encoding="utf-8")))
        where = str(page.relative_to(ROOT))
        found += [(where, _arguments(line)) for line in [*inline, *indented]]
    return found


def _arguments(line: str) -> list[str]:
    return shlex.split(line, comments=True)[3:]
