"""Files of rows that were changed: read by a task, or refused in a line."""

import atexit
import csv
import io
import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from random import Random
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

from hpopt_envs import models
from hpopt_envs.tasks import load_task

from .campaign import attempt
from .mutation import mutated

WHAT = "data in csv, tsv, json, jsonl, ndjson and txt, changed"
COUNT = 5000
ROWS = 40
ENCODINGS = ("utf-8",) * 8 + ("utf-8-sig", "utf-16", "utf-32", "latin-1", "cp1252", "utf-7")
CELLS: tuple[Any, ...] = (
    *(None, "", " ", "\0", "é\u2028\u202e", "\ud83d", "x" * 5000, "a\tb\r\nc", '"', "NA", "nan"),
    *(0, -1, 1.5, 10**30, True, [], ["x"], [None], {}, {"role": "user"}, [[]], [{"role": "user"}]),
    [{"role": "user", "content": None}, {"role": "assistant", "content": ["x"]}],
)
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
Row = dict[str, Any]


def _chat(number: int) -> Row:
    said = (("user", f"what is {number}?"), ("assistant", f"it is the number {number}"))
    return {"messages": [{"role": role, "content": text} for role, text in said]}


ROWS_OF: dict[str, Callable[[int], Row]] = {
    "lm": lambda n: {"text": f"the {n}th paragraph, é, with words " * (1 + n % 5)},
    "lm chats": _chat,
    "classify": lambda n: {"text": f"words {n}, 'quoted' \"x\"", "label": n % 3},
    "text2text": lambda n: {"prompt": f"say {n}", "completion": f"{n} is said"},
    "dpo chats": lambda n: {
        **{"prompt": [{"role": "user", "content": f"say {n}"}]},
        **{"chosen": [{"role": "assistant", "content": f"{n}"}]},
        **{"rejected": [{"role": "assistant", "content": f"not {n}"}]},
    },
    "dpo": lambda n: {"prompt": f"say {n}", "chosen": f"{n}", "rejected": f"not {n}"},
}


def case(seed: int, folder: Path) -> Iterator[str]:
    draw = Random(seed)
    kind = draw.choice(list(ROWS_OF))
    rows = [ROWS_OF[kind](number) for number in range(ROWS)]
    endings: tuple[str, ...] = (".json", ".jsonl", ".ndjson")
    if kind == "lm":
        endings += (".txt",)
    if not kind.endswith("chats"):
        endings += (".csv", ".tsv")
    ending = draw.choice(endings)
    path = folder / f"rows{ending}"
    path.write_bytes(_written(rows, ending, draw))
    task, _, _ = kind.partition(" ")
    read = load_task(task, {"train_file": str(path)})
    _, wrong = attempt(lambda: read.load_data(_model(), None))
    yield wrong and f"{kind} {ending}: {wrong}"


@cache
def _model() -> str:
    """Return where a model is whose tokenizer takes chats; it is there until the process ends."""
    folder = Path(mkdtemp())
    atexit.register(rmtree, folder)
    tokenizer = models.load_tokenizer("embedded")
    tokenizer.chat_template = TEMPLATE
    models.save_model(models.load_model("embedded", 0), folder, tokenizer)
    return str(folder)


def _written(rows: list[Row], ending: str, draw: Random) -> bytes:
    """Return a file of rows, of which cells, rows, the encoding or bytes were changed."""
    how = draw.choice((0, 0, 0, 1, 2, 3))
    if how == 0:
        for _ in range(draw.choice((1, 1, 3, ROWS))):
            _change_row(rows, draw)
    text = _text(rows, ending)
    encoding = draw.choice(ENCODINGS) if how == 1 else "utf-8"
    data = text.encode(encoding, errors="surrogatepass" if encoding == "utf-8" else "replace")
    return mutated(data, draw) if how > 1 or draw.random() < 0.2 else data


def _change_row(rows: list[Row], draw: Random) -> None:
    row = draw.randrange(len(rows))
    name = draw.choice(list(rows[row])) if rows[row] else "text"
    match draw.randrange(6):
        case 0:
            rows[row] = {}
        case 1:
            rows[row].pop(name, None)
        case 2:
            rows[row][draw.choice(("", "text", "x", "tools", "label", "prompt"))] = draw.choice(
                CELLS
            )
        case 3:
            value = draw.choice(CELLS)
            for each in rows:
                each[name] = value
        case _:
            rows[row][name] = draw.choice(CELLS)


def _text(rows: list[Row], ending: str) -> str:
    if ending == ".json":
        return json.dumps(rows)
    if ending in (".jsonl", ".ndjson"):
        return "".join(json.dumps(row) + "\n" for row in rows)
    if ending == ".txt":
        return "\n\n".join(str(row.get("text")) for row in rows)
    names = list(dict.fromkeys(name for row in rows for name in row)) or ["text"]
    file = io.StringIO()
    writer = csv.DictWriter(file, names, delimiter="\t" if ending == ".tsv" else ",")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()
