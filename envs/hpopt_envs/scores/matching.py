"""Regular expressions of the user's, matched where that can be ended: some never come to an end."""

import json
import os
import select
import subprocess
import sys
import weakref

SECONDS = 5.0  # for a text, as long as it may be

# Reads a pattern and then lists of texts, as JSON lines; answers "0" or "1" for each text.
_MATCHER = """
import json, re, sys
pattern = re.compile(json.loads(sys.stdin.readline()))
for line in sys.stdin:
    for text in json.loads(line):
        sys.stdout.write("01"[pattern.search(text) is not None])
        sys.stdout.flush()
"""


class Overdue(Exception):
    """A pattern came to no end with a text; its arguments are that text."""


class Matcher:
    """Tells in a process of its own in which texts a pattern is found.

    Args:
        pattern: a regular expression that Python's `re` takes.
    """

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._process: subprocess.Popen[bytes] | None = None

    def found_in(self, texts: list[str]) -> list[bool]:
        """Return for each text whether the pattern is found in it.

        Raises:
            Overdue: it takes more than `SECONDS` to tell.
        """
        try:
            return self._ask(texts)
        except BaseException:
            self.close()
            raise

    def _ask(self, texts: list[str]) -> list[bool]:
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        answers = b""
        process.stdin.write(json.dumps(texts).encode() + b"\n")
        process.stdin.flush()
        while len(answers) < len(texts):
            text = texts[len(answers)]
            if not select.select([process.stdout], [], [], SECONDS)[0]:
                raise Overdue(text)
            some = os.read(process.stdout.fileno(), len(texts))
            if not some:
                raise RuntimeError(f"it died of the text {text!r:.60}")
            answers += some
        return [answer == ord("1") for answer in answers]

    def _running(self) -> "subprocess.Popen[bytes]":
        """Return the process, started where there is none; it ends when its input does."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _MATCHER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is ours to decide on
            )
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(self._pattern).encode() + b"\n")
            weakref.finalize(self, _end, self._process)
        return self._process

    def close(self) -> None:
        """End the process; another one would take its place."""
        process, self._process = self._process, None
        if process is not None:
            _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.communicate()
