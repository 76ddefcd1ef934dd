"""A user's rows in every form, on which the search and what is exported must train alike."""

from collections.abc import Mapping, Sequence
from typing import Any

from hpopt_envs.data.code_labels import summaries
from hpopt_envs.data.corpus import read_corpus
from hpopt_envs.data.locale_formats import new_locale_tables
from hpopt_envs.tasks.preference_data import embedded_pairs

Rows = Sequence[dict[str, Any]]
SIZES = {"train": 256, "validation": 64, "test": 32}
TEMPLATE = (
    "{% if loud %}!{% endif %}"
    "{% for m in messages %}{{ m.role }}: {% if m.role == 'assistant' %}{% generation %}"
    "{{ m.content }}{{ eos_token }}{% endgeneration %}{% else %}{{ m.content }}\n{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
)


def _pieces() -> dict[str, list[str]]:
    """Pieces of code, two hundred characters each but for the blanks around them."""
    code, found = read_corpus().code, {}
    for name, size in SIZES.items():
        joined = "\n".join(getattr(code, name).values())
        found[name] = [joined[i : i + 200].strip() for i in range(0, 200 * size, 200)]
    return found


def texts() -> dict[str, Rows]:
    return {name: [{"body": text} for text in found] for name, found in _pieces().items()}


def completions() -> dict[str, Rows]:
    return {
        name: [{"ask": f"{t[:100].strip()}\n=>", "answer": f" {t[100:].strip()}"} for t in found]
        for name, found in _pieces().items()
    }


def chats() -> dict[str, Rows]:
    roles = ("user", "assistant")
    return {
        name: [
            {"said": [{"role": r, "content": t} for r, t in zip(roles, pair.values(), strict=True)]}
            for pair in found
        ]
        for name, found in completions().items()
    }


def answered() -> dict[str, Rows]:
    """Prompts and completions that are chats."""
    return {
        name: [{"ask": row["said"][:1], "answer": row["said"][1:]} for row in found]
        for name, found in chats().items()
    }


def labels() -> dict[str, Rows]:
    return {
        name: _as_rows({"text": texts, "label": labels}, SIZES[name])
        for name, (texts, labels) in summaries().items()
    }


def sources() -> dict[str, Rows]:
    tables = new_locale_tables().items()
    return {name: _as_rows(table.columns, SIZES[name]) for name, table in tables}


def pairs() -> dict[str, Rows]:
    tables = embedded_pairs()[0].items()
    return {name: _as_rows(table.columns, 2 * SIZES[name]) for name, table in tables}


def _as_rows(columns: Mapping[str, Sequence[Any]], most: int) -> Rows:
    cells = zip(*columns.values(), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in list(cells)[:most]]
