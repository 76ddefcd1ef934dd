"""What an exported file begins with: what it is, what to know of it, and how to use it."""

from pathlib import Path
from textwrap import fill, indent

from hpopt_envs.models import EMBEDDED
from hpopt_envs.references import is_reference

from ..record.recommended import LONGER
from .arguments import arguments, needs_trainer
from .exported import Exported

_AUTO = {"labels": "AutoModelForSequenceClassification", "sources": "AutoModelForSeq2SeqLM"}
_COLUMNS = {  # of rows that trl is given, or code of ours
    "blocks": ("text",),
    "texts": ("text",),
    "completions": ("prompt", "completion"),
    "chat completions": ("prompt", "completion"),
    "chats": ("messages",),
    "labels": ("text", "label"),
    "sources": ("prompt", "completion"),
    "pairs": ("prompt", "chosen", "rejected"),
}


def trainer_of(exported: Exported, to: str) -> str:
    """Return the class of a library's trainer."""
    if exported.form == "pairs":
        return "DPOTrainer"
    if to == "trl":
        return "SFTTrainer"
    return "Seq2SeqTrainer" if exported.form == "sources" else "Trainer"


def head(exported: Exported, to: str, folder: Path) -> str:
    """Return the docstring of a module that will lie in a folder."""
    notes = [_found(exported), *_notes(exported, to)]
    paragraphs = "\n\n".join(fill(note, 100) for note in notes)
    columns = " and ".join(f'"{name}"' for name in _columns(exported))
    use = f"Use, with train_dataset, rows with {columns} (a datasets.Dataset):"
    lines = indent("\n".join(_usage(exported, to, folder)), "    ")
    text = f"How to fine-tune, for {to}.\n\n{paragraphs}\n\n{use}\n\n{lines}\n"
    escaped = text.replace("\\", "\\\\")
    return f'"""{escaped}"""'


def _columns(exported: Exported) -> list[str]:
    names = [exported.columns[of] for of in _COLUMNS[exported.form]]
    return [one for name in names for one in name.split(",")]


def _found(exported: Exported) -> str:
    """Return where the schedule comes from, and what it is worth."""
    recommended, facts = exported.recommended, exported.recommended.history.facts
    at = recommended.to_json()
    values = [("", at["value"]), ("base model", recommended.base_value)]
    if recommended.name != "default":
        values.append(("default", recommended.default_value))
    told = [f"{name} {value:.4g}".strip() for name, value in values if value is not None]
    test = recommended.test_value
    tested = "" if test is None else f", and {test:.4g} on the test split"
    sizes = sorted({size for _, size in exported.work})
    batches = f"{sizes[0]} to {sizes[-1]}" if sizes[1:] else f"{sizes[0]}"
    steps = sum(steps for steps, _ in exported.work)
    examples = sum(steps * size for steps, size in exported.work)
    worse = "It is no better than the base model: it isn't worth training with. "
    return (
        f"What the hpopt study {at['study']} recommends: {at['objective']}, on validation "
        f"{', '.join(told)}{tested}. {'' if recommended.gains else worse}{at['why']} It was found "
        f"for task {at['task']} on model {at['model']}, with {at['training_tokens']:,} training "
        f"tokens: {steps:,} optimizer steps with batches of {batches} examples of "
        f"{facts.sequence_length} tokens, {examples:,} examples or {exported.epochs:.4g} epochs. "
        f"{LONGER} Everything here is in fractions of the run; num_train_epochs in place of "
        "max_steps says how long."
    )


def _notes(exported: Exported, to: str) -> list[str]:
    notes = _of_data(exported, to)
    if exported.form == "pairs":
        notes.append("A batch counts pairs. The reference is the model that training begins with.")
    if not needs_trainer(exported):
        notes.append(
            "The batch is per_device_train_batch_size × gradient_accumulation_steps × devices: "
            "change them together."
        )
    if arguments(exported, to)["weight_decay"]:
        notes.append("Trainers spare norms and biases from weight decay; the search didn't.")
    if exported.averages:
        notes.append(
            "The package schedulefree must be installed. It trains at one point and is measured at "
            "another, an average: optimizer.eval() goes there before the model is saved."
        )
    if exported.penalized and not exported.takes_retained:
        notes.append("The penalty is measured on the training texts, as in the search.")
    return notes


def _of_data(exported: Exported, to: str) -> list[str]:
    """Return what must be known of rows, and of what is made of them."""
    source, notes = exported.source, []
    if exported.form == "blocks":
        notes.append(
            "A batch counts sequences: of longer ones it has more tokens than it had there."
        )
    if exported.form == "labels":
        notes.append(
            "The head that training begins with was fitted to the base model's features by "
            "logistic regression; it is in head.json."
        )
    if exported.form == "chats":
        notes.append(
            "What the assistant says is learnt, and the chat template must mark it: {% generation "
            "%} before, {% endgeneration %} behind, with the token that ends the turn inside. TRL "
            "brings such templates for some models. Where there is none, give rows of prompt and "
            "completion, an answer each."
        )
    templates = {"prompt": source.prompt_template, "completion": source.completion_template}
    notes += [
        f"The search made {name}s by the template {template!r}."
        for name, template in templates.items()
        if template is not None
    ]
    return notes


def _usage(exported: Exported, to: str, folder: Path) -> list[str]:
    """Return the lines of a script that trains."""
    trainer = made = trainer_of(exported, to)
    config = {"Trainer": "TrainingArguments", "Seq2SeqTrainer": "Seq2SeqTrainingArguments"}.get(
        trainer, trainer.replace("Trainer", "Config")
    )
    names, given = ["ARGUMENTS", "prepare"], []
    if needs_trainer(exported):
        trainer = "PenalizedTrainer" if exported.penalized else "ScheduledTrainer"
        names.append(trainer)
    elif not exported.steady:
        names.append("LearningRate")
        given.append("callbacks=[LearningRate()]")
    if exported.takes_retained:
        names.append("read_retained")
        given.append("retained_dataset=read_retained()")
    elif exported.penalized:
        given.append("retained_dataset=train_dataset")
    if exported.form == "labels":
        names.append("LABELS")
    data = _rows(exported, to)
    collator = [] if to == "trl" or exported.form == "labels" else ["DataCollatorForSeq2Seq"]
    if collator:
        given.append("data_collator=DataCollatorForSeq2Seq(tokenizer)")
    if to != "trl":
        names.append("encode")
    library = [config, *([] if trainer != made else [made])]
    hugging, loading = _loading(exported)
    of_transformers = [*hugging, *collator, *(library if to == "transformers" else [])]
    epochs = f"{exported.epochs:.4g}"
    return [
        "import sys",
        "",
        "import torch",
        f"from transformers import {', '.join(sorted(of_transformers))}",
        *([f"from trl import {', '.join(library)}"] if to == "trl" else []),
        "",
        f"sys.path.append({str(folder)!r})",
        f"from {to}_schedule import {', '.join(sorted(names))}",
        "",
        *loading,
        "model = prepare(model, tokenizer)",
        *data,
        f"arguments = {config}(",
        '    output_dir="output",',
        f"    max_steps={sum(steps for steps, _ in exported.work)},  # {epochs} epochs there",
        "    **ARGUMENTS,",
        ")",
        f"trainer = {trainer}(",
        "    model=model,",
        "    args=arguments,",
        "    train_dataset=train_dataset,",
        "    processing_class=tokenizer,",
        *(f"    {argument}," for argument in given),
        ")",
        "trainer.train()",
        *(["trainer.optimizer.eval()"] if exported.averages else []),
    ]


def _rows(exported: Exported, to: str) -> list[str]:
    """Return what makes a trainer's data of rows."""
    if to != "trl":
        return ["train_dataset = encode(train_dataset, tokenizer)"]
    if exported.form in ("blocks", "texts"):
        return []  # an argument names the column
    names = {exported.columns[of]: of for of in _COLUMNS[exported.form]}
    renamed = {name: of for name, of in names.items() if name != of}
    return [f"train_dataset = train_dataset.rename_columns({renamed!r})"] if renamed else []


def _loading(exported: Exported) -> tuple[list[str], list[str]]:
    """Return names to import from transformers, and the lines that load tokenizer and model."""
    source = exported.recommended.history.facts.model
    trusts = exported.environment.get("trust_remote_code", False)
    trusted = ", trust_remote_code=True" if trusts else ""
    factory, auto = is_reference(source), _AUTO.get(exported.form, "AutoModelForCausalLM")
    place = EMBEDDED.get("embedded" if factory else source, Path(source))
    where = repr(str(place.resolve()) if place.is_dir() else source)
    tokenizer = f"tokenizer = AutoTokenizer.from_pretrained({where}{trusted})"
    if factory:
        module, _, name = source.partition(":")
        return ["AutoTokenizer"], [f"from {module} import {name}", tokenizer, f"model = {name}()"]
    labels = [
        "    num_labels=len(LABELS),",
        "    id2label=dict(enumerate(LABELS)),",
        "    label2id={label: number for number, label in enumerate(LABELS)},",
        "    ignore_mismatched_sizes=True,",
    ]
    return ["AutoTokenizer", auto], [
        tokenizer,
        f"model = {auto}.from_pretrained(",
        f"    {where},",
        "    dtype=torch.float32,",
        *(labels if exported.form == "labels" else []),
        *(["    trust_remote_code=True,"] if trusts else []),
        ")",
    ]
