"""Rows of which a part is learnt: prompts with completions."""

from typing import Any

import pytest
import torch
from tokenizers.processors import TemplateProcessing

from hpopt_envs import make_env
from hpopt_envs.data.tables import Table
from hpopt_envs.errors import WorldError
from hpopt_envs.models import load_tokenizer
from hpopt_envs.tasks import Data, Source, Split, load_task
from hpopt_envs.tasks.lm import LanguageModeling
from hpopt_envs.tasks.lm_data import encode_rows
from tests.envs.tasks.rows import END, Write, chat, learnt_texts

TASK = LanguageModeling()
SPLITS = ("train", "validation", "test")
# Prompts and completions of all lengths; what they say is no matter.
PAIRS = [(f"{i} = {'1 + ' * (i % 5)}", f"{'x' * (1 + i % 7)}\n" + "é" * (i % 3)) for i in range(40)]


@pytest.fixture
def pairs(write: Write) -> str:
    return write([{"prompt": prompt, "completion": said} for prompt, said in PAIRS])


@pytest.fixture
def data(pairs: str) -> Data:
    return load_task("lm", {"train_file": pairs}).load_data("embedded", None)


@pytest.fixture(scope="module")
def model() -> Any:
    return TASK.load_model("embedded", seed=0).eval()


def labels_of(split: Split) -> torch.Tensor:
    """What transformers is to learn of each row, found again by its text."""
    tokenizer = load_tokenizer("embedded")
    given = {prompt + said + END: prompt for prompt, said in PAIRS}
    labels = torch.full(split["input_ids"].shape, -100)
    for row, (ids, length) in enumerate(zip(split["input_ids"], split["length"], strict=True)):
        prompt = tokenizer(given[tokenizer.decode(ids[:length])])["input_ids"]
        labels[row, len(prompt) : length] = ids[len(prompt) : length]
    return labels


def test_every_pair_is_in_one_split(data: Data) -> None:
    splits = [getattr(data, name) for name in SPLITS]
    assert [len(split["length"]) for split in splits] == [32, 4, 4]
    tokenizer = load_tokenizer("embedded")
    rows = [
        tokenizer.decode(ids[:length])
        for split in splits
        for ids, length in zip(split["input_ids"], split["length"], strict=True)
    ]
    assert sorted(rows) == sorted(prompt + said + END for prompt, said in PAIRS)


def test_the_loss_on_completions_is_the_one_that_transformers_computes(
    model: Any, data: Data
) -> None:
    batch = {name: tensor[:9] for name, tensor in data.train.items()}
    labels = labels_of(batch)
    theirs = model(batch["input_ids"], labels=labels).loss
    assert TASK.loss_count(batch) == int((labels[:, 1:] != -100).sum())
    ours = TASK.loss_sum(model, batch) / TASK.loss_count(batch)
    torch.testing.assert_close(ours, theirs)
    weight = model.model.embed_tokens.weight
    gradients = [torch.autograd.grad(loss, weight)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients)


@torch.no_grad()
def test_label_smoothing_is_the_one_of_torch(model: Any, data: Data) -> None:
    batch = {name: tensor[:9] for name, tensor in data.train.items()}
    logits = model(batch["input_ids"]).logits[:, :-1].flatten(0, 1)
    targets = labels_of(batch)[:, 1:].flatten()
    theirs = torch.nn.functional.cross_entropy(logits, targets, label_smoothing=0.2)
    ours = TASK.loss_sum_with(model, batch, {"label_smoothing": 0.2}) / TASK.loss_count(batch)
    torch.testing.assert_close(ours, theirs)


@torch.no_grad()
def test_padding_changes_no_loss_and_no_distribution(model: Any, data: Data) -> None:
    whole = TASK.predict(model, data.validation)
    garbage = {**data.validation, "input_ids": data.validation["input_ids"].clone()}
    for row, length in enumerate(data.validation["length"]):
        garbage["input_ids"][row, length:] = 5 + row
    torch.testing.assert_close(TASK.predict(model, garbage), whole)
    for row in range(4):
        alone = {name: tensor[row : row + 1] for name, tensor in data.validation.items()}
        logits, mask = TASK.logits(model, alone)
        assert logits.shape[1] == mask.shape[1] == int(alone["length"])
        outputs = TASK.predict(model, alone)
        for name, values in outputs.items():
            torch.testing.assert_close(values, whole[name][row : row + 1])
        together, mask_together = TASK.logits(model, garbage)
        torch.testing.assert_close(logits[mask], together[row][mask_together[row]])


@torch.no_grad()
def test_metrics_count_the_completions_alone(model: Any, data: Data) -> None:
    metrics = TASK.metrics(TASK.predict(model, data.validation))
    labels = labels_of(data.validation)
    loss = float(model(data.validation["input_ids"], labels=labels).loss)
    assert metrics["loss"] == pytest.approx(loss, rel=1e-5)
    tokenizer = load_tokenizer("embedded")
    texts = {
        tokenizer.decode(ids[:length])
        for ids, length in zip(data.validation["input_ids"], data.validation["length"], strict=True)
    }
    size = sum(len(said.encode()) for prompt, said in PAIRS if prompt + said + END in texts)
    bits = loss * int((labels != -100).sum()) / torch.tensor(2.0).log()
    assert metrics["bits_per_byte"] == pytest.approx(float(bits) / size, rel=1e-5)


def test_an_example_counts_its_tokens_without_padding(data: Data) -> None:
    tokenizer = load_tokenizer("embedded")
    expected = sorted(len(tokenizer(f"{a}{END}{b}")["input_ids"]) for a, b in PAIRS)
    counted = [TASK.example_tokens(getattr(data, name)) for name in SPLITS]
    assert sorted(torch.cat(counted).tolist()) == expected


@pytest.mark.parametrize("single", ["$A", f"{END} $A", f"$A {END}", f"{END} $A {END}"])
def test_a_text_begins_as_the_tokenizer_begins_it(single: str) -> None:
    tokenizer = load_tokenizer("embedded")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=single, special_tokens=[(END, 0)]
    )
    table = Table({"prompt": ["a ="], "completion": [" 1"]}, "rows.csv")
    ((ids, learnt),) = encode_rows(tokenizer, table, Source())
    begin = END if single.startswith(END) else ""
    assert tokenizer.decode(ids) == f"{begin}a = 1{END}"
    assert learnt_texts(ids, learnt) == [f" 1{END}"]


def test_rows_of_a_users_are_trained_on(write: Write) -> None:
    path = write([{"question": n, "answer": 8 + n % 2} for n in range(100, 140)])
    settings = {
        "train_file": path,
        "prompt_column": "question",
        "completion_column": "answer",
    }
    env = make_env("lm", data=settings, segment_tokens=320, trial_tokens=640)
    assert env.facts.epoch_tokens == 32 * 5  # three digits, one, and the end
    env.reset(seed=0)
    for _ in range(2):
        *_, info = env.train({"learning_rate": 3e-3, "batch_size": 4, "divergence_weight": 0.0})
    assert info["trial"].value < env.facts.base_objective - 1


@pytest.mark.parametrize(
    ("settings", "first"),
    [
        ({}, "<user>"),
        ({"prompt_column": "prompt"}, "pc"),
        ({"text_column": "text"}, None),
        ({"text_column": "text", "messages_column": "messages"}, "<user>"),
        ({"text_column": "text", "completion_column": "completion"}, "pc"),
    ],
)
def test_settings_say_which_columns_are_read(
    settings: dict[str, str], first: str | None, write: Write, chat_model: str
) -> None:
    path = write(
        [
            {"text": f"t{i}", "prompt": "p", "completion": f"c{i}", "messages": chat(f"{i}", "ho")}
            for i in range(9)
        ]
    )
    task = load_task("lm", {"train_file": path, **settings})
    data = task.load_data(chat_model, 3 if first is None else None)
    text = load_tokenizer(chat_model).decode(data.train["input_ids"][0])
    assert ("length" in data.train) == (first is not None)
    if first is None:
        assert "t" in text
    else:
        assert text.startswith(first)


def test_examples_that_are_too_long_are_refused_or_cut(pairs: str) -> None:
    with pytest.raises(WorldError) as raised:
        load_task("lm", {"train_file": pairs}).load_data("embedded", 20)
    longer = sum(
        len(load_tokenizer("embedded")(f"{a}{END}{b}")["input_ids"]) > 20 for a, b in PAIRS
    )
    assert str(raised.value).startswith(
        f"sequence_length: examples must fit into sequence_length=20 tokens, but {longer} of 40 are"
    )
    cut = load_task("lm", {"train_file": pairs, "too_long": "truncate"})
    data = cut.load_data("embedded", 20)
    whole = load_task("lm", {"train_file": pairs}).load_data("embedded", None)
    for name in SPLITS:
        one, other = getattr(data, name), getattr(whole, name)
        assert torch.equal(one["length"], other["length"].clamp(max=20))
        width = one["input_ids"].shape[1]
        assert torch.equal(one["input_ids"], other["input_ids"][:, :width])
        assert torch.equal(one["learnt"], other["learnt"][:, :width])
    with pytest.raises(WorldError, match="^sequence_length: every example of train must have som"):
        cut.load_data("embedded", 4)


def test_examples_must_fit_into_the_model(chat_model: str, write: Write) -> None:
    path = write([{"prompt": f"{'x y ' * 120}{i}", "completion": "y"} for i in range(9)])
    with pytest.raises(
        WorldError, match="fit into the model's limit of 200 tokens, but 9 of 9 are"
    ):
        load_task("lm", {"train_file": path}).load_data(chat_model, None)


@pytest.mark.parametrize(
    ("row", "settings", "message"),
    [
        ({"messages": chat("hi", "ho")}, {}, "messages_column: messages needs a tokenizer with a"),
        ({"prompt": "a", "completion": ""}, {}, "completion_column: rows.jsonl must have somethi"),
        ({"prompt": "a"}, {"prompt_column": "prompt"}, "have a column 'completion', but has 'pro"),
        (
            {"prompt": chat("hi"), "completion": chat("", "ho")[1:]},
            {},
            "prompt_column: .*row 1: messages ne",
        ),
    ],
)
def test_rows_that_cannot_be_used_are_refused_in_one_line(
    row: dict[str, Any], settings: dict[str, str], message: str, write: Write
) -> None:
    path = write([{**row, "id": i} for i in range(9)])
    files = {"train_file": path, "validation_file": path, "test_file": path}
    with pytest.raises(WorldError, match=message) as raised:
        load_task("lm", {**files, **settings}).load_data("embedded", None)
    assert "\n" not in str(raised.value)
