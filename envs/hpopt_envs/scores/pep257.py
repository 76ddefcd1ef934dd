"""How far a docstring's summary has the form that PEP 257 asks for."""

import math
import re
import string
from collections.abc import Iterable
from functools import lru_cache

from ..data.corpus import read_corpus

SHORTEST, LONGEST = 3, 12  # words
_NEAR = 2  # words; one that is met again this soon doesn't count as known
_WORD = re.compile(r"[a-z]+(?:['-][a-z]+)*")
_NEXT_SENTENCE = re.compile(r"[.!?]\s+[A-Z]")


def pep257(response: str) -> float:
    """Return the form of the first line that isn't blank, in [0, 1]: 0 where there is none.

    It is the product of four marks, since the mean of them is high for nearly any text, and one
    rule kept is little: it begins with a capital letter (0 or 1); it is one sentence with
    a full stop at its end (0 or 1); it has from `SHORTEST` to `LONGEST` words (1, and in proportion
    less for fewer or more); the share of its words that are known, and not the same as one of the
    `_NEAR` before. Known are those that the embedded prose, docstrings mostly, has in its training
    split.
    """
    summary = response.strip().partition("\n")[0].rstrip()
    if not summary:
        return 0.0
    size, words = len(summary.split()), split_words([summary])
    known = known_words()
    fresh = [w in known and w not in words[max(0, i - _NEAR) : i] for i, w in enumerate(words)]
    marks = (  # a capital letter, a sentence, its length, its words
        summary[0].isupper(),
        summary.endswith(".") and not summary.endswith("..") and not _NEXT_SENTENCE.search(summary),
        min(1.0, size / SHORTEST, LONGEST / size),
        sum(fresh) / size,
    )
    return float(math.prod(marks))


@lru_cache(maxsize=1)
def known_words() -> frozenset[str]:
    """Return the words of the embedded prose's training split, in lower case; read once.

    Raises:
        WorldError: this Python comes without the source of its standard library.
    """
    words = split_words(read_corpus().prose.train.values())
    return frozenset(word for word in words if _WORD.fullmatch(word))


def split_words(texts: Iterable[str]) -> list[str]:
    """Return what stands between spaces, in lower case and without the punctuation around it."""
    return [word.strip(string.punctuation).lower() for text in texts for word in text.split()]
