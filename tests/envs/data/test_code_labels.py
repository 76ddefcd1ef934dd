import os
import re
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.pipeline import make_pipeline

from hpopt_envs.data import code_labels
from hpopt_envs.data.code_labels import (
    EXCEPTIONS,
    LIBRARIES,
    Rows,
    find_raises,
    find_summaries,
    library_files,
    raises,
    summaries,
)
from hpopt_envs.data.corpus import split_of
from hpopt_envs.errors import WorldError

SPLITS = ("train", "validation", "test")
Read = Callable[[], dict[str, Rows]]
both = pytest.mark.parametrize("read", [summaries, raises])


def test_summaries_are_as_many_of_each_library() -> None:
    for split, least in zip(SPLITS, (400, 80, 80), strict=True):
        counts = Counter(summaries()[split][1])
        assert set(counts) == set(LIBRARIES)
        assert len(set(counts.values())) == 1
        assert least <= counts["torch"] <= 800


def test_raises_are_imbalanced_but_no_class_is_too_rare_to_be_measured() -> None:
    for split, least in zip(SPLITS, (100, 20, 20), strict=True):
        (most, count), *others = Counter(raises()[split][1]).most_common()
        assert most == "ValueError"
        assert {name for name, _ in others} | {most} == set(EXCEPTIONS)
        assert count > 3 * others[0][1]
        assert others[-1][1] >= least
        assert count + sum(n for _, n in others) < 7000


@both
def test_a_text_is_there_once_and_in_one_split(read: Read) -> None:
    texts = [text for split in SPLITS for text in read()[split][0]]
    assert len(texts) == len(set(texts))
    assert min(len(text.split()) for text in texts) >= 3


@both
def test_the_first_rows_are_a_sample_of_all(read: Read) -> None:
    for texts, labels in read().values():
        assert len(texts) == len(labels)
        everywhere, first = (Counter(rows) for rows in (labels, labels[: len(labels) // 4]))
        for label, count in everywhere.items():
            assert first[label] == pytest.approx(count / 4, abs=2 * count**0.5)


def test_held_out_summaries_are_read_from_held_out_files() -> None:
    for library in LIBRARIES:
        for split in ("validation", "test"):
            paths = [path for file, path in library_files(library).items() if in_(file, split)]
            sources = (path.read_text("utf-8") for path in paths)
            source = " ".join(" ".join(sources).replace("\\\n", "").split())
            for text, label in zip(*summaries()[split], strict=True):
                if label == library and "\\" not in text:
                    assert text in source


def in_(file: str, split: str) -> bool:
    """Whether a file is in a split: a tenth of all are held out for each of two."""
    return {0: "validation", 1: "test"}.get(zlib.crc32(file.encode()) % 10, "train") == split


def test_no_summary_names_its_own_library() -> None:
    for texts, labels in summaries().values():
        for text, label in zip(texts, labels, strict=True):
            names = {label, "pytorch" if label == "torch" else label}
            assert not names & set(re.split(r"\W+", text.lower())), text
            assert label != "sklearn" or "scikit-learn" not in text.lower()


def test_rows_are_the_same_in_every_process_and_no_library_is_imported_for_them() -> None:
    code = (
        "import sys, zlib\n"
        "from hpopt_envs.data.code_labels import LIBRARIES, summaries\n"
        "before = set(sys.modules)\n"
        "print(zlib.crc32(repr(sorted(summaries().items())).encode()))\n"
        "print((set(sys.modules) - before) & {*LIBRARIES})"
    )
    other = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )
    rows = zlib.crc32(repr(sorted(summaries().items())).encode())
    assert other.stdout.splitlines() == [str(rows), "set()"]


@pytest.mark.parametrize(("read", "margin"), [(summaries, 0.3), (raises, 0.2)])
def test_words_tell_more_about_a_label_than_the_most_frequent_label(
    read: Read, margin: float
) -> None:
    texts, labels = read()["train"]
    most, _ = Counter(labels).most_common(1)[0]
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2)),
        LogisticRegression(class_weight="balanced", max_iter=300),
    ).fit(texts, labels)
    for split in ("validation", "test"):
        texts, labels = read()[split]
        majority = f1_score(labels, [most] * len(labels), average="macro")
        assert f1_score(labels, model.predict(texts), average="macro") > majority + margin


def test_macro_f1_and_accuracy_disagree_on_raises() -> None:
    _, labels = raises()["test"]
    majority = ["ValueError"] * len(labels)
    accuracy = accuracy_score(labels, majority)
    assert accuracy > 0.5
    assert f1_score(labels, majority, average="macro") < accuracy - 0.3


SOURCE = b'''"""The module's line.

More of it.
"""
class Kettle:
    r"""Boils \\d liters.
    And more."""

    try:
        async def boil(self):
            """
            Boils on the second line.
            """
            def inside(): "Within a function."
    finally:
        def pour(self): f"Not a docstring."; "Nor is this."
'''


def test_a_summary_is_the_first_line_of_a_docstring() -> None:
    assert list(find_summaries(SOURCE)) == [
        "The module's line.",
        "Boils \\d liters.",
        "Boils on the second line.",
        "Within a function.",
    ]


@pytest.mark.parametrize(
    "statement",
    [
        'raise ValueError("one string")',
        'raise ValueError("two " "strings, implicitly " \'joined\')',
        'raise TypeError(f"{x} and {x!s:>1} are {{literally}} filled in")',
        'raise RuntimeError("part, " f"of {x}, " rf"\\d in {x}" ", and part")',
        'raise OSError("from", x) from None',
        'raise TypeError("with {} but no f")',
        "if x:\n    try:\n        pass\n    finally:\n        raise KeyError(f'{x} nested')",
        "try:\n    1 / 0\nexcept ArithmeticError as e:\n    raise OverflowError('chained') from e",
        "for _ in ():\n    pass\nelse:\n    with memoryview(b''):\n        raise OSError('else')",
        "match x:\n    case str():\n        raise IndexError('in a case')",
        "def f():\n    class Inner:\n        raise NameError('in a class')\nf()",
    ],
)
def test_a_message_is_what_is_raised_with_braces_for_what_is_filled_in(statement: str) -> None:
    with pytest.raises(Exception) as raised:  # noqa: PT011
        exec(statement, {"x": "{}"})
    assert list(find_raises(statement.encode())) == [(raised.value.args[0], raised.type.__name__)]


@pytest.mark.parametrize(
    "statement",
    ["raise", "raise ValueError", "raise ValueError()", "raise error", 'raise ValueError("")']
    + [f"raise ValueError({m})" for m in ("message", "'%s' % x", "'{}'.format(x)", "b'bytes'", "1")]
    + ["print('raise ValueError(\"x\")')"],
)
def test_what_is_not_a_literal_message_is_left_out(statement: str) -> None:
    assert not list(find_raises(statement.encode()))


@pytest.mark.parametrize("find", [find_summaries, find_raises])
def test_source_for_another_python_has_no_rows(find: Callable[[bytes], Iterator[object]]) -> None:
    assert not list(find(b'"""A docstring."""\nprint "text"\nraise ValueError("text")'))


def test_bad_escapes_in_a_library_do_not_warn() -> None:
    assert list(find_summaries(b'"""Digits are \\d."""')) == ["Digits are \\d."]


def write_package(folder: Path, files: dict[str, str]) -> None:
    for name, source in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)


def test_a_text_with_one_label_is_kept_once_and_with_two_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alpha = {f"alpha/m{i}.py": f'"""Summary of file {i}."""' for i in range(60)}
    alpha |= {f"alpha/twice{i}.py": '"""Twice the same."""' for i in range(60)}
    alpha |= {f"alpha/both{i}.py": '"""In both libraries."""' for i in range(60)}
    alpha |= {f"alpha/named{i}.py": '"""What Alpha is."""' for i in range(60)}
    beta = {f"beta/m{i}.py": f'"""Text of {i}."""\ndef f(): "Summary {i}."' for i in range(400)}
    beta |= {f"beta/both{i}.py": '"""In both libraries."""' for i in range(60)}
    write_package(tmp_path, alpha | beta)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(code_labels, "LIBRARIES", ("alpha", "beta"))
    found = {
        split: {text for text, label in zip(*rows, strict=True) if label == "alpha"}
        for split, rows in summaries.__wrapped__().items()
    }
    for split in SPLITS:
        own = {f"Summary of file {i}." for i in range(60) if split_of(f"alpha/m{i}.py") == split}
        assert own
        assert found[split] - {"Twice the same."} == own
    assert sum("Twice the same." in texts for texts in found.values()) == 1


def test_tests_and_copies_of_other_projects_are_no_source_of_a_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["own.py", "sub/own.py", "tests/a.py", "sub/test/b.py", "_vendor/c.py", "note.txt"]
    write_package(tmp_path, {f"mixture/{name}": "" for name in names})
    monkeypatch.syspath_prepend(tmp_path)
    assert set(library_files("mixture")) == {"mixture/own.py", "mixture/sub/own.py"}


def test_a_library_without_source_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_package(tmp_path, {"compiled_only/__init__.pyc": ""})
    monkeypatch.syspath_prepend(tmp_path)
    for library in ("compiled_only", "not_installed_at_all"):
        with pytest.raises(WorldError, match=f"none of {library}$") as refused:
            library_files(library)
        assert "\n" not in str(refused.value)
