"""The script that an exported file begins with: it loads a model, prepares it, and trains."""

import re
from collections.abc import Sequence
from pathlib import Path

from hpopt_envs.models import EMBEDDED
from hpopt_envs.references import is_reference

from .arguments import needs_trainer
from .exported import Exported

_MODELS = {"labels": "AutoModelForSequenceClassification", "sources": "AutoModelForSeq2SeqLM"}
_CAUSAL = "AutoModelForCausalLM"
_CONFIGS = {
    "Trainer": "TrainingArguments",
    "Seq2SeqTrainer": "Seq2SeqTrainingArguments",
    "SFTTrainer": "SFTConfig",
    "DPOTrainer": "DPOConfig",
}
_OURS = (
    *("ARGUMENTS", "LABELS", "LearningRate", "PenalizedTrainer", "ScheduledTrainer"),
    *("encode", "prepare", "read_retained"),
)
_COLUMNS = {  # of rows
    "blocks": ("text",),
    "texts": ("text",),
    "completions": ("prompt", "completion"),
    "chat completions": ("prompt", "completion"),
    "chats": ("messages",),
    "labels": ("text", "label"),
    "sources": ("prompt", "completion"),
    "pairs": ("prompt", "chosen", "rejected"),
}
# Of a model with a new head.
_HEAD = """\
    num_labels=len(LABELS),
    id2label=dict(enumerate(LABELS)),
    label2id={label: number for number, label in enumerate(LABELS)},
    ignore_mismatched_sizes=True,
"""


def script(exported: Exported, to: str, folder: Path) -> str:
    """Return a script that trains on rows, `train_dataset`, which are there already.

    Args:
        exported: what is recommended.
        to: "transformers" or "trl".
        folder: that the module lies in.
    """
    trainer = trainer_of(exported, to)
    config, ours = _CONFIGS[trainer], trainer
    if needs_trainer(exported):
        ours = "PenalizedTrainer" if exported.penalized else "ScheduledTrainer"
    steps = sum(steps for steps, _ in exported.work)
    lines = [
        *_loading(exported),
        "model = prepare(model, tokenizer)",
        *_rows(exported, to),
        f"arguments = {config}(",
        '    output_dir="output",',
        f"    max_steps={steps},  # {exported.epochs:.4g} epochs there",
        "    **ARGUMENTS,",
        ")",
        f"trainer = {ours}(",
        "    model=model,",
        "    args=arguments,",
        "    train_dataset=train_dataset,",
        "    processing_class=tokenizer,",
        *(f"    {argument}," for argument in _given(exported, to)),
        ")",
        "trainer.train()",
        *(["trainer.optimizer.eval()"] if exported.averages else []),
    ]
    body = "\n".join(lines)
    hugging = ["AutoTokenizer", _CAUSAL, *_MODELS.values(), "DataCollatorForSeq2Seq"]
    library = [config, trainer]
    imports = [
        "import sys",
        "",
        *(["import torch"] if "torch." in body else []),
        f"from transformers import {_used(body, [*hugging, *(library if to != 'trl' else [])])}",
        *([f"from trl import {_used(body, library)}"] if to == "trl" else []),
        "",
        f"sys.path.append({str(folder)!r})",
        f"from {to}_schedule import {_used(body, _OURS)}",
        "",
    ]
    return "\n".join([*imports, body])


def _used(body: str, names: Sequence[str]) -> str:
    return ", ".join(sorted(name for name in names if re.search(rf"\b{name}\b", body)))


def trainer_of(exported: Exported, to: str) -> str:
    """Return the class of a library's trainer."""
    if exported.form == "pairs":
        return "DPOTrainer"
    if to == "trl":
        return "SFTTrainer"
    return "Seq2SeqTrainer" if exported.form == "sources" else "Trainer"


def columns_of(exported: Exported) -> list[str]:
    """Return the names of the columns that rows must have."""
    names = [exported.columns[of] for of in _COLUMNS[exported.form]]
    return [one for name in names for one in name.split(",")]


def _given(exported: Exported, to: str) -> list[str]:
    """Return what a trainer is given beside what every one is."""
    given = []
    if not needs_trainer(exported) and not exported.steady:
        given.append("callbacks=[LearningRate()]")
    if exported.takes_retained:
        given.append("retained_dataset=read_retained()")
    elif exported.penalized:
        given.append("retained_dataset=train_dataset")
    if to != "trl" and exported.form != "labels":
        given.append("data_collator=DataCollatorForSeq2Seq(tokenizer)")
    return given


def _rows(exported: Exported, to: str) -> list[str]:
    """Return what makes a trainer's data of rows."""
    if to != "trl":
        return ["train_dataset = encode(train_dataset, tokenizer)"]
    if exported.form in ("blocks", "texts"):
        return []  # an argument names the column
    names = {exported.columns[of]: of for of in _COLUMNS[exported.form]}
    renamed = {name: of for name, of in names.items() if name != of}
    lines = [f"train_dataset = train_dataset.rename_columns({renamed!r})"] if renamed else []
    if exported.template_kwargs:
        every = f"[{exported.template_kwargs!r}] * len(train_dataset)"
        lines.append(f'train_dataset = train_dataset.add_column("chat_template_kwargs", {every})')
    return lines


def _loading(exported: Exported) -> list[str]:
    """Return the lines that load tokenizer and model, in float32."""
    source = exported.recommended.history.facts.model
    trusts = exported.environment.get("trust_remote_code", False)
    factory, trusted = is_reference(source), ", trust_remote_code=True" if trusts else ""
    place = EMBEDDED.get("embedded" if factory else source, Path(source))
    where = repr(str(place.resolve()) if place.is_dir() else source)
    tokenizer = f"tokenizer = AutoTokenizer.from_pretrained({where}{trusted})"
    if factory:
        module, _, name = source.partition(":")
        return [f"from {module} import {name}", "", tokenizer, f"model = {name}()"]
    return [
        tokenizer,
        f"model = {_MODELS.get(exported.form, _CAUSAL)}.from_pretrained(",
        f"    {where},",
        "    dtype=torch.float32,",
        *(_HEAD.splitlines() if exported.form == "labels" else []),
        *(["    trust_remote_code=True,"] if trusts else []),
        ")",
    ]
