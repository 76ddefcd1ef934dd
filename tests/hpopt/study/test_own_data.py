"""Searching on data of one's own from the command line, and what is said of data that won't do."""

import json
import shlex
from pathlib import Path

import pytest

import hpopt_search_spaces as spaces
from hpopt.cli.entry import main

GOOD, BAD = ("fast and friendly service, cheap too", "cold food, and a waiter who yawned")
REVIEWS = "".join(f'"{text} ({n})",{n % 2}\n' for n in range(60) for text in ((GOOD, BAD)[n % 2],))
QUESTIONS = "".join(
    json.dumps({"prompt": f"What is {n} plus one?", "completion": f" {n + 1}."}) + "\n"
    for n in range(60)
)
FILES = {
    "reviews.csv": f"review,stars\n{REVIEWS}",
    "questions.jsonl": QUESTIONS,
    "empty.csv": "",
    "header.csv": "text,label\n",
    "three.csv": "text,label\na b c,1\na b d,2\na b e,1\n",
    "one_class.csv": "text,label\n" + "".join(f"text {n},1\n" for n in range(30)),
    "new_label.csv": "review,stars\nwho knows,7\n",
    "ragged.csv": "text,label\na,1\nb\n",
    "broken.jsonl": '{"text": "a"}\n{"text": \n',
    "short.txt": "A word.\n\nTwo words.\n\nThree more words.\n\nAnd four of them.",
    "gap.csv": "text,label\n" + "".join(f"text {n},{n % 2}\n" for n in range(30)) + ",1\n",
}
SPACE = Path(spaces.__file__).parent / "spaces" / "plain.toml"
FILES["deep.toml"] = SPACE.read_text() + (
    "[parameters.frozen_layers]\ntype = 'integer'\nlow = 0\nhigh = 6\ndefault = 0\n"
)
BYTES = {"latin.csv": "text,label\ncaf\xe9,1\n".encode("latin-1")}
CLASSIFY = "--task classify --label-column stars --text-column review --train-file reviews.csv"

# What is typed after `search`, and what the one line that answers has to say.
MISTAKES = [
    ("--task classify --train-file absent.csv", "--train-file: must be a file that can be read"),
    ("--task classify --train-file .", "--train-file: must be a file that can be read"),
    ("--task classify --train-file empty.csv", "--train-file: empty.csv must have at least one"),
    ("--task classify --train-file header.csv", "--train-file: header.csv must have at least one"),
    ("--task classify --train-file latin.csv", "latin.csv, line 2: must be UTF-8, but byte 14"),
    ("--task classify --train-file ragged.csv", "ragged.csv, line 3: must have 2 cells"),
    ("--task classify --train-file gap.csv", "in every row of column 'text', but row 31 is empty"),
    ("--task classify --train-file three.csv", "must have at least 3 different rows"),
    ("--task classify --train-file one_class.csv", "--label-column: train must have at least two"),
    (
        "--task classify --train-file reviews.csv",
        "--label-column: reviews.csv must have a column 'label', but has 'review', 'stars'",
    ),
    (f"{CLASSIFY} --test-file new_label.csv", "every label of test must occur in train, but '7'"),
    (f"{CLASSIFY} --sequence-length 5", "--sequence-length: examples must fit into"),
    (f"{CLASSIFY} --class-weights even", "--class-weights: must be one of none, balanced"),
    (f"{CLASSIFY} --retain-file short.txt", "--retain-file: must be left out"),
    (f"{CLASSIFY} --dataset folder", "--dataset: must not be given together with train_file"),
    ("--task classify --label-column stars", "--label-column: must come with train_file"),
    ("--task text2text --prompt-template {a}", "--prompt-template: must come with train_file"),
    ("--task lm --train-file broken.jsonl", "broken.jsonl, line 2: must be JSON"),
    ("--task lm --train-file reviews.csv", "--text-column: reviews.csv must have a column 'text'"),
    ("--task lm --train-file short.txt", "--sequence-length: must be at most"),
    ("--task lm --train-file questions.jsonl --sequence-length 4", "--sequence-length: examples"),
    ("--task lm --validation-file short.txt", "--validation-file: must come with train_file"),
    ("--task lm --retain-file short.txt", "--sequence-length: must be at most"),
    ("--task simulated --train-file reviews.csv", "--train-file: must be left out"),
    (
        "--task lm --fix learning_rate=1,batch_size=4,divergence_weight=0",
        "--fix: space 'default' must have a parameter to search",
    ),
    (
        "--task classify --retain-file short.txt --forgetting-weight 0.5",
        "--retain-file: must be left out",
    ),
    (f"{CLASSIFY} --forgetting-weight 0.5", "--forgetting-weight: must be left out, since task"),
    ("--task simulated --precision bfloat16", "--precision: must be left out for the simulated"),
    (
        "--task simulated --gradient-checkpointing true",
        "--gradient-checkpointing: must be left out",
    ),
    ("--task lm --fix lora_alpha=8", "lora_alpha must go with lora_rank"),
    ("--task lm --fix lora_rank=8,lora_targets=nothing", "lora_targets: putting adapters into"),
    ("--task lm --fix frozen_layers=9", "frozen_layers: must be at most 2"),
    ("--task lm --space deep.toml", "frozen_layers: must be at most 2"),
    ("--task lm --fix optimizer=own:Missing", "own:Missing: importing own failed"),
    ("--task lm --precision half", "--precision: must be one of auto, float32, bfloat16"),
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with `FILES`."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    for name, content in BYTES.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("typed", "words"), MISTAKES, ids=lambda text: text[:60])
def test_data_that_will_not_do_is_answered_in_one_line(
    folder: Path, capfd: pytest.CaptureFixture[str], typed: str, words: str
) -> None:
    before = set(folder.rglob("*"))
    assert main(["search", "--trials", "1", *shlex.split(typed)]) == 2
    out, err = capfd.readouterr()
    assert words in err
    assert (out, err.count("\n")) == ("", 1)
    assert set(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("typed", "metrics"),
    [
        (
            f"{CLASSIFY} --class-weights balanced --objective loss",
            {"macro_f1", "f1_0", "f1_1", "divergence"},
        ),
        ("--task lm --train-file questions.jsonl", {"loss", "bits_per_byte", "forgetting"}),
    ],
)
def test_a_search_on_data_of_one_s_own_betters_the_base_model(
    folder: Path, typed: str, metrics: set[str]
) -> None:
    budget = "--trials 1 --confirm-seeds 1 --name own --trial-tokens 4096 --segment-tokens 2048"
    assert main(["search", *shlex.split(f"{typed} {budget} --track parents")]) == 0
    result = json.loads((folder / "runs" / "own" / "result.json").read_text())
    gain = result["best_value"] - result["base_value"]
    assert gain < -0.02
    assert metrics <= result["test"]["winner"]["metrics"][0].keys()
    assert (folder / "runs" / "own" / "best" / "tokenizer.json").is_file()
