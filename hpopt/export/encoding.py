"""Code that makes examples of rows as the search did, for a trainer that doesn't do so itself."""

import json

from .exported import Exported
from .filling import filled

_JOINED = """\
    special = [tokenizer.num_special_tokens_to_add(pair=pair) for pair in (False, True)]
    if special[0] == special[1]:  # nothing would stand between the two
        texts = ["\\n".join(texts)]
"""


def encoding(exported: Exported) -> list[str]:
    """Return the blocks of code that define `encode`."""
    names = {of: json.dumps(name)[1:-1] for of, name in exported.columns.items()}
    longest = exported.longest
    if exported.form == "blocks":
        return [filled("blocks", text=names["text"], length=longest)]
    truncated = "" if longest is None else f", truncation=True, max_length={longest}"
    about: dict[str, object] = {
        **names,
        "cut": "" if longest is None else f"[:{longest}]",
        "truncated": truncated,
        "kwargs": exported.template_kwargs or '(row.get("chat_template_kwargs") or {})',
    }
    if exported.form == "labels":
        columns = exported.columns["text"].split(",")
        about["texts"] = ", ".join(f"str(row[{json.dumps(column)}])" for column in columns)
        about["joined"] = _JOINED if len(columns) == 2 else ""
    return [filled(exported.form, **about), filled("rows")]
