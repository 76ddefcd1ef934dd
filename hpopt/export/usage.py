"""What an exported file begins with: what it is worth, what to know of it, how to use it."""

from pathlib import Path
from textwrap import fill, indent

from ..record.recommended import LONGER
from .arguments import arguments, needs_trainer
from .exported import Exported
from .script import columns_of, script


def head(exported: Exported, to: str, folder: Path) -> str:
    """Return the docstring of a module that will lie in a folder."""
    notes = [_found(exported), *_notes(exported, to)]
    paragraphs = "\n\n".join(fill(note, 100) for note in notes)
    columns = " and ".join(f'"{name}"' for name in columns_of(exported))
    use = f"Use, with train_dataset, rows with {columns} (a datasets.Dataset):"
    lines = indent(script(exported, to, folder), "    ")
    text = f"How to fine-tune, for {to}.\n\n{paragraphs}\n\n{use}\n\n{lines}\n"
    escaped = text.replace("\\", "\\\\")
    return f'"""{escaped}"""'


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
        notes.append(
            "A batch counts pairs. The reference is the model that training begins with. Responses "
            "must not repeat their prompts."
        )
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
            "What the assistant says is learnt, and the chat template must mark it: "
            "{%generation%} before, {%endgeneration%} behind, with the token that ends the turn "
            "inside. TRL brings such templates for some models. Where there is none, give rows of "
            "prompt and completion, an answer each."
        )
    templates = {"prompt": source.prompt_template, "completion": source.completion_template}
    notes += [
        f"The search made {name}s by the template {template!r}."
        for name, template in templates.items()
        if template is not None
    ]
    return notes
