"""What the exported code makes of rows: the examples that the search trained on."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpopt.export import export
from hpopt_envs.tasks import Split, load_task
from hpopt_envs.tasks.data import split_size
from hpopt_envs.tasks.lm_data import IGNORED
from tests.hpopt.export import examples
from tests.hpopt.export.export_study import HELD
from tests.hpopt.export.pasting import instructions

# Names that trl uses, and transformers 5.23 has changed.
pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated and will be removed:FutureWarning")

Study = Callable[..., str]
Example = tuple[list[int], Any]  # ids, and labels or a class

TEXT = {"text_column": "body"}
COMPLETIONS = {"prompt_column": "ask", "completion_column": "answer"}
CHATS = {"messages_column": "said", "chat_template_kwargs": '{"loud": true}'}
ALIKE: dict[str, tuple[Callable[[], Any], str, dict[str, Any]]] = {
    "blocks": (examples.texts, "lm", TEXT),
    "texts": (examples.texts, "lm", TEXT | {"packing": False}),
    "completions": (examples.completions, "lm", COMPLETIONS),
    "chats": (examples.chats, "lm", CHATS),
    "chat completions": (examples.answered, "lm", COMPLETIONS),
    "labels": (examples.labels, "classify", {}),
    "sources": (examples.sources, "text2text", {}),
    "pairs": (examples.pairs, "dpo", {}),
}


@pytest.mark.parametrize(
    ("form", "to"),
    [
        *((form, "transformers") for form in ALIKE if form not in ("chat completions", "pairs")),
        *((form, "trl") for form in ALIKE if form not in ("labels", "sources")),
    ],
)
def test_rows_become_the_examples_of_the_search(
    study: Study,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    chatting: str,
    form: str,
    to: str,
) -> None:
    make, task, said = ALIKE[form]
    splits = make()
    files = {f"{name}_file": str(tmp_path / f"{name}.jsonl") for name in splits}
    for name, rows in splits.items():
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    source = "embedded-t5" if form == "sources" else chatting
    loaded = load_task(task, files | said)
    train = loaded.load_data(source, 64 if form == "blocks" else None).train
    assert loaded.form == form
    values = HELD | {"divergence_weight": 0.0}
    runs = study([values], data=files | said, model=source, task=task, form=form)
    pytest.importorskip(to)
    path = export("mine", runs, to, None)[0]
    trainer = set_up(path, splits["train"], monkeypatch)
    if form == "pairs":
        train = {name: tensor.flatten(0, 1) for name, tensor in train.items()}
        sides = [(row, side) for row in trainer.train_dataset for side in ("chosen", "rejected")]
        made = [answered(row["prompt_ids"], row[f"{side}_ids"]) for row, side in sides]
    else:
        made = [(row["input_ids"], row["labels"]) for row in trainer.train_dataset]
    if form == "blocks":  # trl leaves what is less than one at the end
        made = [row for row in made if len(row[0]) == len(made[0][0])]
    assert sorted(made) == sorted(wanted_examples(train, form))


def set_up(path: Path, rows: examples.Rows, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The trainer that a file's own instructions make of rows, before it trains."""
    from datasets import Dataset

    monkeypatch.chdir(path.parent.parent)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, path.stem, raising=False)
    names: dict[str, Any] = {"train_dataset": Dataset.from_list(list(rows))}
    exec(instructions(path).replace("trainer.train()", ""), names)
    monkeypatch.delitem(sys.modules, path.stem)
    return names["trainer"]


def answered(prompt: list[int], response: list[int]) -> Example:
    return prompt + response, [IGNORED] * len(prompt) + response


def wanted_examples(train: Split, form: str) -> list[Example]:
    """The search's examples, as trainers have them."""
    found = []
    for i in range(split_size(train)):
        row = {name: tensor[i].tolist() for name, tensor in train.items()}
        if form == "labels":
            found.append((row["input_ids"][: row["length"]], row["label"]))
        elif form == "sources":
            targets = [token for token in row["labels"] if token != IGNORED]
            found.append((row["source_ids"][: row["source_length"]], targets))
        elif form == "blocks":
            found.append((row["input_ids"], row["input_ids"]))
        else:
            pairs = list(zip(row["input_ids"], row["learnt"], strict=True))[: row["length"]]
            labels = [token if learnt else IGNORED for token, learnt in pairs]
            found.append(([token for token, _ in pairs], labels))
    return found
