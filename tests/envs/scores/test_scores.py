"""Rewards and features: programmed ones, models', and users' functions."""

import itertools
import random
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
)

from hpopt_envs.errors import WorldError
from hpopt_envs.models import load_tokenizer
from hpopt_envs.scores import model as scores_model
from hpopt_envs.scores.scores import Score, make_score, parse_constraint, score

SIZES = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 32,
    "initializer_range": 0.5,  # so that outputs differ
}
NUMBERS = itertools.count()
LABELS = {0: "bad", 1: "so-so", 2: "good"}
PROMPTS = ["Say:", "", "A prompt that is long itself.", "Say:", "", "x" * 200]
RESPONSES = ["yes", "no, not at all", "", "a " * 12, "", "but an end"]


def of(spec: str, *responses: str) -> list[float]:
    numbers: list[float] = score(
        make_score(spec, "reward"), [""] * len(responses), list(responses), "reward"
    ).tolist()
    return numbers


def save_classifier(folder: Path, kind: str, labels: int, **options: Any) -> Any:
    """A classifier with random weights and the embedded tokenizer, in eval mode."""
    tokenizer = load_tokenizer("embedded")
    options |= {"num_labels": labels, "vocab_size": len(tokenizer), **SIZES}
    if labels == len(LABELS):
        options |= {"id2label": LABELS, "label2id": {name: i for i, name in LABELS.items()}}
    bert: Any = (BertForSequenceClassification, BertConfig)
    llama: Any = (LlamaForSequenceClassification, LlamaConfig)
    made, config = bert if kind == "bert" else llama
    torch.manual_seed(0)
    model = made(config(**options))
    model.save_pretrained(folder)
    tokenizer.model_max_length = SIZES["max_position_embeddings"]
    tokenizer.save_pretrained(folder)
    return model.eval()


@torch.no_grad()
def logits_one_by_one(model: Any) -> torch.Tensor:
    """Without padding: (n, outputs); of a text that is too long, the last tokens."""
    tokenizer = load_tokenizer("embedded")
    rows = []
    for prompt, response in zip(PROMPTS, RESPONSES, strict=True):
        ids = tokenizer(prompt + response)["input_ids"][-SIZES["max_position_embeddings"] :]
        rows.append(model(torch.tensor([ids or [0]])).logits[0])
    return torch.stack(rows)


def of_pairs(scored: Score) -> torch.Tensor:
    return score(scored, PROMPTS, RESPONSES, "reward").float()


@pytest.fixture
def function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes a function of the user's, `scored(prompts, responses)`, and names it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(body: str) -> str:
        name = f"own_{next(NUMBERS)}"  # modules are imported once
        Path(f"{name}.py").write_text(
            f"import numpy, torch\ndef scored(prompts, responses):\n {body}\n"
        )
        return f"{name}:scored"

    return write


def test_a_pattern_is_found_anywhere_or_not() -> None:
    assert of(r"regex:\bamazing\b", "So amazing!", "amazingly", "", "a\namazing") == [1, 0, 0, 1]
    assert of("regex:a:b=c", "a:b=c", "a") == [1, 0]
    assert of("regex:", "", "x") == [1, 1]


@given(st.integers(1, 50), st.integers(0, 120))
def test_length_is_closeness_to_a_number_of_words(wanted: int, words: int) -> None:
    expected = 1 - abs(words - wanted) / wanted if words < 2 * wanted else 0
    assert of(f"length:{wanted}", " w\n" * words) == [pytest.approx(expected)]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "",
            "must be pep257, regex:PATTERN, length:N, model:ID, model:ID:LABEL or module:function",
        ),
        ("pep8", "must be pep257, .*, but got 'pep8'"),
        ("regex", "must be pep257, .*, but got 'regex'"),
        ("regex:a(b", r"regex must be a regular expression, but got 'a\(b': missing \), .*"),
        ("length:0", "length must be a whole number > 0 of words, but got '0'"),
        ("length:2.5", "length must be a whole number > 0 of words, but got '2.5'"),
        ("no_such_module:f", "no_such_module:f: importing no_such_module failed: ModuleNotFound.*"),
        ("math:pi", "math:pi must be a function, but is 3.14159.*"),
        ("json:no", r"json:no: module json \(.*\) has no no"),
        ("model:/no/such/folder", "model: must be .* but '/no/such/folder' can't be loaded.*"),
    ],
)
def test_a_score_that_there_is_not_is_one_line(spec: str, message: str) -> None:
    with pytest.raises(WorldError, match=f"^reward: {message}") as error:
        make_score(spec, "reward")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["bert", "llama"])
@pytest.mark.parametrize("batch_tokens", [1, 40, 8192])
def test_a_reward_model_scores_as_it_does_one_by_one(
    kind: str, batch_tokens: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_classifier(tmp_path, kind, 1)
    monkeypatch.setattr(scores_model, "_BATCH_TOKENS", batch_tokens)
    scored = make_score(f"model:{tmp_path}", "reward")
    expected = logits_one_by_one(model)[:, 0]
    torch.testing.assert_close(of_pairs(scored), expected)
    assert expected.std() > 0.1
    assert scored.parameters == sum(p.numel() for p in model.parameters())


def test_a_classifier_scores_by_the_probability_of_a_label(tmp_path: Path) -> None:
    model = save_classifier(tmp_path, "bert", 3)
    one, other = (make_score(f"model:{tmp_path}:{label}", "reward") for label in ("good", "bad"))
    probabilities = logits_one_by_one(model).softmax(-1)
    torch.testing.assert_close(of_pairs(one), probabilities[:, 2])
    torch.testing.assert_close(of_pairs(other), probabilities[:, 0])
    assert one.model is other.model  # loaded once


def test_labels_that_are_independent_have_probabilities_of_their_own(tmp_path: Path) -> None:
    model = save_classifier(tmp_path, "bert", 3, problem_type="multi_label_classification")
    scored = make_score(f"model:{tmp_path}:so-so", "reward")
    torch.testing.assert_close(of_pairs(scored), logits_one_by_one(model).sigmoid()[:, 1])


def test_a_label_must_be_one_of_the_model(tmp_path: Path) -> None:
    save_classifier(tmp_path / "three", "bert", 3)
    save_classifier(tmp_path / "one", "bert", 1)
    for spec in (f"model:{tmp_path}/three", f"model:{tmp_path}/three:great"):
        with pytest.raises(WorldError, match=r"^reward: .* which are bad, so-so, good, but got '"):
            make_score(spec, "reward")
    with pytest.raises(WorldError, match="must come without a label: it has one output"):
        make_score(f"model:{tmp_path}/one:good", "reward")


def test_a_model_whose_head_would_be_random_is_refused() -> None:
    with pytest.raises(WorldError, match=r"^constraint: .*trained as .* but is LlamaForCausalLM$"):
        make_score("model:embedded", "constraint")


@pytest.mark.parametrize(
    "body",
    [
        "return [len(p) + 10 * len(r) for p, r in zip(prompts, responses)]",
        "return numpy.array([len(p) + 10.0 * len(r) for p, r in zip(prompts, responses)])",
        "return torch.tensor([len(p) + 10 * len(r) for p, r in zip(prompts, responses)])",
        "yield from (len(p) + 10 * len(r) for p, r in zip(prompts, responses))",
    ],
)
def test_a_function_of_the_users_may_return_any_sequence(function: Any, body: str) -> None:
    scored = make_score(function(body), "reward")
    result = score(scored, ["a", "ab"], ["", "c"], "reward")
    torch.testing.assert_close(result, torch.tensor([1.0, 12.0], dtype=torch.float64))
    assert scored.parameters == 0


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return 1 / 0", r" failed: ZeroDivisionError: division by zero \(.*\.py, line 3\)"),
        ("exit(3)", r" failed: SystemExit: 3.*"),
        ("yield prompts[9]", r" failed: IndexError: .* \(.*\.py, line 3\)"),
        ("return [1.0]", " must return 2 numbers, one a response, but returned 1"),
        ("return None", " must return 2 numbers, one a response, but returned None"),
        ("return 0.5", " must return 2 numbers, one a response, but returned 0.5"),
        ("return [1, 'x']", " must return numbers, but returned 'x' for the response 'two'"),
        ("return ['1', 2]", " must return numbers, but returned '1' for the response 'one'"),
        ("return [None, 2]", " must return numbers, but returned None for the response 'one'"),
        (
            "return torch.ones(2, 2)",
            r" must return numbers, but returned tensor\(\[1., 1.\]\) for the response 'one'",
        ),
        (
            "return numpy.zeros((2, 2, 2))",
            r" must return numbers, but returned array\(\[\[0., 0.\], \[0., 0.\]\]\) for .* 'one'",
        ),
        ("return [1, float('nan')]", " must be finite, but was nan for the response 'two'"),
        ("return [-1e999, 0]", " must be finite, but was -inf for the response 'one'"),
        (
            "return numpy.array([0, numpy.nan])",
            " must be finite, but was nan for the response 'two'",
        ),
    ],
)
def test_a_function_of_the_users_that_fails_is_one_line(
    function: Any, body: str, message: str
) -> None:
    scored = make_score(function(body), "reward")
    with pytest.raises(WorldError) as error:
        score(scored, ["", ""], ["one", "two"], "reward")
    assert re.fullmatch(f"reward: {scored.name}{message}", str(error.value))


def test_a_function_of_the_users_cannot_change_what_it_is_given(function: Any) -> None:
    scored = make_score(function("return [len(responses.pop()), 1]"), "reward")
    responses = ["one", "three"]
    assert score(scored, ["", ""], responses, "reward").tolist() == [5, 1]
    assert responses == ["one", "three"]


def test_a_constraint_is_a_score_and_its_mean() -> None:
    scored, mean = parse_constraint(r"regex:\b(a=b|c)\b=0.5")
    assert (scored.name, mean) == (r"regex:\b(a=b|c)\b", 0.5)
    assert score(scored, ["", ""], ["so a=b", "b"], "constraint").tolist() == [1, 0]
    assert parse_constraint("length:8=-1e-2")[1] == -0.01


@pytest.mark.parametrize(
    "text", ["", "pep257", "pep257=", "pep257=half", "pep257=nan", "pep257=inf"]
)
def test_a_constraint_without_a_target_is_one_line(text: str) -> None:
    message = re.escape(f"SCORE=TARGET, TARGET being a finite number, but got {text!r}")
    with pytest.raises(WorldError, match=f"^constraint: must be {message}$"):
        parse_constraint(text)


def test_a_constraint_on_no_score_is_one_line() -> None:
    with pytest.raises(WorldError, match="^constraint: must be pep257, .* but got ''$"):
        parse_constraint("=0.5")


def test_every_score_is_within_its_range() -> None:
    random = np.random.default_rng(0)
    texts = ["".join(random.choice(list("Aab .,\n\"'-*"), 30)) for _ in range(200)]
    for spec in ("pep257", "regex:ab", "length:3"):
        assert all(0 <= number <= 1 for number in of(spec, *texts))


def test_a_pattern_that_backtracks_for_ever_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpopt_envs.scores.matching.SECONDS", 0.5)
    endless = make_score(r"regex:^(([a-z ])+)+$", "reward")
    texts = ["a few words", "a" * 60 + "!"]
    with pytest.raises(WorldError, match=r"reward: regex must come to an end .* with 'aaaa"):
        score(endless, ["", ""], texts, "reward")
    assert score(endless, [""], texts[:1], "reward").tolist() == [1.0]


def test_patterns_are_searched_as_python_does() -> None:
    draw = random.Random(0)
    texts = [
        "".join(draw.choices("ab \n\u00e9\ud800é𝕏", k=draw.randrange(12))) for _ in range(2000)
    ]
    for pattern in (r"a\s*b$", "", r"(?i)É", r"^[^a]*\Z", "\ud800"):
        found = score(make_score(f"regex:{pattern}", "reward"), [""] * 2000, texts, "reward")
        assert found.tolist() == [float(re.search(pattern, text) is not None) for text in texts]
