"""The text that a penalty on divergence is measured on, as the search drew it."""

import json

from hpopt_envs.models import load_tokenizer, trust_remote_code
from hpopt_envs.tasks import load_task
from hpopt_envs.tasks.base import BASE_SEED

from .exported import Exported

RETAINED = "retained.jsonl"
MOST = 1024  # texts


def retained_text(exported: Exported) -> str:
    """Return a sample of the study's retained training text as JSON lines with "text".

    The texts are the search's sequences, decoded.

    Raises:
        WorldError: data or model can't be loaded any more.
    """
    asked = exported.recommended.history.header["environment"]
    task = load_task(asked["task"], asked["data"])
    source = exported.recommended.history.facts.model
    trust_remote_code(asked.get("trust_remote_code", False))
    data = task.load_data(source, asked["sequence_length"])
    if data.retained_train is None:  # it is what the base model writes
        data, _ = task.prepare(task.load_model(source, BASE_SEED), data)
    assert data.retained_train is not None
    texts = load_tokenizer(source).batch_decode(data.retained_train["input_ids"][:MOST])
    return "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
