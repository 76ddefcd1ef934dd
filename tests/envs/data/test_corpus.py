import ast
import functools
import inspect
import io
import random
import subprocess
import sys
import tokenize
from pydoc_data.topics import topics

import pytest

from hpopt_envs.data.corpus import Corpus, Domain, read_corpus

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return read_corpus()


def names(domain: Domain, split: str) -> set[str]:
    return set(getattr(domain, split))


def texts(domain: Domain, split: str) -> list[str]:
    return list(getattr(domain, split).values())


@pytest.mark.parametrize(("one", "other"), [("train", "validation"), ("train", "test"), SPLITS[1:]])
def test_no_file_or_topic_is_in_two_splits_of_either_domain(
    corpus: Corpus, one: str, other: str
) -> None:
    def both_domains(split: str) -> set[str]:
        return names(corpus.prose, split) | names(corpus.code, split)

    assert both_domains(one)
    assert both_domains(other)
    assert not both_domains(one) & both_domains(other)


@pytest.mark.parametrize(("one", "other"), [("validation", "train"), ("test", "train"), SPLITS[1:]])
@pytest.mark.parametrize("domain", ["code", "prose"])
def test_200_characters_of_one_split_never_occur_in_another(
    corpus: Corpus, domain: str, one: str, other: str
) -> None:
    pieces = texts(getattr(corpus, domain), one)
    if domain == "prose":  # is told apart by paragraphs: phrases at their joints may recur
        pieces = [paragraph for text in pieces for paragraph in text.split("\n\n")]
    pieces = [piece for piece in pieces if len(piece) >= 200]
    elsewhere = "\0".join(texts(corpus.code, other) + texts(corpus.prose, other))
    draw = random.Random(0)
    for piece in draw.choices(pieces, weights=[len(p) for p in pieces], k=300):
        start = draw.randint(0, len(piece) - 200)
        assert piece[start : start + 200] not in elsewhere


def test_code_has_neither_docstrings_nor_comments(corpus: Corpus) -> None:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for split in SPLITS:
        for name, text in getattr(corpus.code, split).items():
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, documented):
                    assert ast.get_docstring(node) is None, name
    for name, text in corpus.code.validation.items():
        kinds = {token.type for token in tokenize.generate_tokens(io.StringIO(text).readline)}
        assert tokenize.COMMENT not in kinds, name


def test_prose_is_what_help_shows(corpus: Corpus) -> None:
    prose = corpus.prose.train
    assert prose["lambda"] == topics["lambda"]
    for documented in (functools.update_wrapper, functools.partialmethod, functools.lru_cache):
        assert str(inspect.getdoc(documented)) in prose["functools.py"]


def test_the_corpus_is_the_same_in_every_process(corpus: Corpus) -> None:
    code = "from hpopt_envs.data.corpus import read_corpus; print(read_corpus().hash)"
    path = ":".join(entry for entry in sys.path if entry)
    other = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONHASHSEED": "7", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == corpus.hash


def test_held_out_text_does_not_depend_on_how_much_is_trained_on(corpus: Corpus) -> None:
    small = read_corpus(train_characters=50_000)
    assert sum(map(len, small.code.train.values())) < 200_000
    for domain, same in ((corpus.prose, small.prose), (corpus.code, small.code)):
        assert (domain.validation, domain.test) == (same.validation, same.test)
    assert small.hash != corpus.hash
