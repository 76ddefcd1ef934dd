"""The score of a summary by PEP 257: its rules, how far it is graded, real libraries."""

import math
import re

import pytest

from hpopt_envs.data.code_labels import find_summaries, library_files
from hpopt_envs.scores.pep257 import LONGEST, SHORTEST, pep257

GOOD = [
    "Return the name of the file.",
    "Close the connection.",
    "Read a line, and raise an error if there is none.",
    "Test whether the path exists on this system.",
]


@pytest.mark.parametrize("summary", GOOD)
def test_breaking_any_rule_of_pep_257_lowers_the_score(summary: str) -> None:
    words = summary.split()
    broken = {
        "small letter": summary[0].lower() + summary[1:],
        "no full stop": summary[:-1],
        "an ellipsis": summary + "..",
        "two sentences": f"{words[0]} it. Then {' '.join(words[1:])}",
        "goes on in another line": summary.replace(" ", "\n", 1),
        "too short": f"{words[0]} it.",
        "too long": summary[:-1] + ", and then" * LONGEST + ".",
        "an unknown word": summary.replace(words[1], "xqzt"),
        "a word repeated": summary.replace(words[1], f"{words[1]} {words[1]}"),
    }
    assert pep257(summary) == 1
    for what, text in broken.items():
        assert 0 <= pep257(text) < 1, what


def test_the_score_of_a_summary_is_that_of_its_first_line() -> None:
    assert pep257("\n  Return the name of the file.\n\nnothing of this ... matters") == 1
    assert [pep257(text) for text in ("", " \n ", "\nreturn", ".", "***", "a.")] == [0] * 6


@pytest.mark.parametrize(
    ("summary", "expected"),
    [
        ("Return it.", 2 / SHORTEST),
        ("Return the xqzt file.", 3 / 4),
        ("Return the of of of of of.", 3 / 7),
        ("Return of the of the of the.", 3 / 7),
        ("Return the name of the file of the user.", 1),
        ("Return " + "the name of a file " * 4 + "now.", LONGEST / 22),
    ],
)
def test_how_far_a_summary_has_the_form_is_graded(summary: str, expected: float) -> None:
    assert pep257(summary) == pytest.approx(expected)


def test_summaries_of_a_well_kept_library_score_more_than_the_same_ones_broken() -> None:
    files = list(library_files("sklearn").values())[:40]
    real = [text for file in files for text in find_summaries(file.read_bytes())]
    assert len(real) > 100
    shuffled = [" ".join(reversed(text.split())) for text in real]
    letters = [re.sub(r"\b(\w)(\w*)\b", r"\2\1", text) for text in real]
    means = [math.fsum(map(pep257, texts)) / len(texts) for texts in (real, shuffled, letters)]
    assert means[0] > 0.5 > 0.2 > max(means[1:])
