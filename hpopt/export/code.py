"""The code that is exported, put together from templates: only what a schedule needs."""

import json
from collections.abc import Mapping
from pathlib import Path
from string import Template
from textwrap import fill, indent
from typing import Any

from hpopt_envs.training.gradients import DIVERGENCE, DIVERGENCE_ALPHA
from hpopt_envs.training.weights import Structure
from hpopt_search_spaces import Value

from ..record.recommended import LONGER
from .arguments import (
    arguments,
    check_expressible,
    is_classifier,
    is_language_model,
    is_preference,
    needs_trainer,
)
from .exported import Exported

_TEMPLATES = Path(__file__).parent / "templates"
# Terms over the vocabulary, of log-probabilities q of the base model and p of the trained one; see
# `hpopt_envs.divergences.f_divergence` for their f.
_FORMULAS = {
    "forward_kl": "q.exp() * (q - p)",
    "reverse_kl": "p.exp() * (p - q)",
    "jensen_shannon": (
        "p.exp() * (p - torch.logaddexp(p, q) + math.log(2)) / 2"
        " + q.exp() * (q - torch.logaddexp(p, q) + math.log(2)) / 2"
    ),
    "total_variation": "(p.exp() - q.exp()).abs() / 2",
    "chi_squared": "q.exp() * (p - q).expm1() ** 2",
    "squared_hellinger": "q.exp() * ((p - q) / 2).expm1() ** 2",
}
_UNSAID: dict[str, Value] = {
    "schedule_shape": "constant",
    "warmup_fraction": 0.0,
    "final_fraction": 0.0,
    "divergence_weight": 0.0,
}


def code(exported: Exported, to: str) -> str:
    """Return the module for a trainer; it depends on that trainer's library alone.

    Args:
        exported: what is recommended.
        to: "transformers" or "trl".

    Raises:
        StudyError: a trainer can't express it; the text has the reason.
    """
    check_expressible(exported, to)
    trainer = "SFTTrainer" if to == "trl" else "Trainer"
    blocks = [f"ARGUMENTS = {_literal(arguments(exported), width=0)}"]
    if not exported.steady or needs_trainer(exported):
        blocks.append(
            _filled("schedule", schedule=_stretches(exported), reach=exported.recommended.reach)
        )
    blocks += _preparation(exported)
    if needs_trainer(exported):
        blocks.append(_filled("trainer", Trainer=trainer))
    elif not exported.steady:
        blocks.append(_filled("callback"))
    if exported.penalized:
        blocks.append(_penalty(exported))
    body = "\n\n\n".join(blocks)
    return f"{_head(exported, to)}\n\n{_imports(body, to)}{body}\n"


def _stretches(exported: Exported) -> str:
    """Return a list of dictionaries; what the code takes for granted is left out."""
    shown = ({n: v for n, v in s.items() if _UNSAID.get(n) != v} for s in exported.stretches)
    return "[\n" + "".join(f"{indent(_literal(s), '    ')},\n" for s in shown) + "]"


def _literal(values: Mapping[str, Any], width: int = 94) -> str:
    """Return a dictionary, on one line where it fits."""
    entries = [
        f'"{name}": {json.dumps(value) if isinstance(value, str) else repr(value)}'
        for name, value in values.items()
    ]
    line = f"{{{', '.join(entries)}}}"
    return line if len(line) <= width else "{\n" + "".join(f"    {e},\n" for e in entries) + "}"


def _filled(template: str, **values: object) -> str:
    return Template((_TEMPLATES / f"{template}.txt").read_text()).substitute(values).rstrip()


def _imports(body: str, to: str) -> str:
    standard = [f"import {name}" for name in ("copy", "itertools", "math") if f"{name}." in body]
    others = [
        line
        for line, used in (
            ("import torch", "torch."),
            ("from peft import LoraConfig, get_peft_model", "LoraConfig("),
            ("from transformers import TrainerCallback", "(TrainerCallback)"),
            ("from transformers import Trainer", "(Trainer)"),
            ("from trl import SFTTrainer", "(SFTTrainer)"),
        )
        if used in body
    ]
    blocks = ["\n".join(block) for block in (standard, others) if block]
    return "".join(f"{block}\n\n" for block in blocks)


def _preparation(exported: Exported) -> list[str]:
    """Return what makes the base model ready for the trainer; nothing where it is as it comes."""
    structure = Structure.of(exported.held)
    blocks, lines = [], []
    if structure.lora_rank:
        kind = "SEQ_CLS" if is_classifier(exported) else "CAUSAL_LM"
        targets = json.dumps(structure.lora_targets)
        lines += [
            f"    config = LoraConfig(r={structure.lora_rank}, lora_alpha={structure.lora_alpha}, "
            f'target_modules={targets}, task_type="{kind}")',
            "    model = get_peft_model(model, config)",
        ]
    if structure.frozen_layers:
        blocks.append(_filled("freeze"))
        lines.append(f"    freeze(model, {structure.frozen_layers})")
    if "dropout" in exported.held and not is_preference(exported):  # there it is 0, as in trl
        blocks.append(_filled("dropout"))
        lines.append(f"    set_dropout(model, {exported.held['dropout']})")
    if not lines:
        return []
    said = '    """Gives the base model the structure that it was trained in."""'
    return [*blocks, "\n".join(["def prepare(model):", said, *lines, "    return model"])]


def _penalty(exported: Exported) -> str:
    name = str(exported.held.get("divergence", DIVERGENCE))
    alpha = float(exported.held.get("divergence_alpha", DIVERGENCE_ALPHA))
    if name == "alpha":  # at 0 and 1 it is a limit
        name = {0.0: "forward_kl", 1.0: "reverse_kl"}.get(alpha, name)
    tilted = f"(({alpha} * (p - q)).expm1() - {alpha} * (p - q).expm1())"
    formula = _FORMULAS.get(name, f"q.exp() * {tilted} / {alpha * (alpha - 1)}")
    return _filled(
        "penalty",
        divergence=f"The α-divergence, α = {alpha:g}," if name == "alpha" else f"The {name}",
        formula=formula,
    )


def _head(exported: Exported, to: str) -> str:
    at = exported.recommended.to_json()
    low, high = at["batch_range"]
    batches = f"{low} to {high}" if low != high else f"{low}"
    value = "" if at["value"] is None else f" = {at['value']:.4g} on validation"
    found = (
        f"What the hpopt study {at['study']} recommends: {at['objective']}{value}. {at['why']} "
        f"It was found for task {at['task']} on model {at['model']}, with runs of "
        f"{at['training_tokens']:,} training tokens and batches of {batches} examples of "
        f"{at['sequence_tokens']} tokens. {LONGER} Everything here is in fractions of the run."
    )
    notes = [found, *_notes(exported)]
    paragraphs = "\n\n".join(fill(note, 100) for note in notes)
    return f'"""How to fine-tune, for {to}.\n\n{paragraphs}\n\nUse:\n\n{_usage(exported, to)}\n"""'


def _notes(exported: Exported) -> list[str]:
    notes = []
    if is_language_model(exported):
        notes.append(
            "A batch counts sequences: of longer ones it has more tokens than it had there."
        )
    if is_preference(exported):
        notes.append("A batch counts pairs. The reference is the model that training begins with.")
    if not needs_trainer(exported):
        notes.append(
            "The batch is per_device_train_batch_size × gradient_accumulation_steps × devices: "
            "change them together."
        )
    if arguments(exported)["weight_decay"]:
        notes.append("Trainers spare norms and biases from weight decay; the search didn't.")
    if exported.averages:
        notes.append(
            "The package schedulefree must be installed. It trains at one point and is measured at "
            "another, an average: optimizer.eval() goes there before the model is saved."
        )
    if is_classifier(exported):
        notes.append(
            "The search began with a head that was fitted to the base model's features by "
            "logistic regression."
        )
    return notes


def _usage(exported: Exported, to: str) -> str:
    config, trainer = (
        ("SFTConfig", "SFTTrainer") if to == "trl" else ("TrainingArguments", "Trainer")
    )
    if is_preference(exported):
        config, trainer = "DPOConfig", "DPOTrainer"
    given = ["model", "arguments", "train_dataset=...", "processing_class=tokenizer"]
    names, lines = ["ARGUMENTS"], []
    library = config if needs_trainer(exported) else f"{config}, {trainer}"
    imports = [f"from {to} import {library}"]
    if needs_trainer(exported):
        trainer = "PenalizedTrainer" if exported.penalized else "ScheduledTrainer"
        names.append(trainer)
    elif not exported.steady:
        names.append("LearningRate")
        given.append("callbacks=[LearningRate()]")
    if exported.penalized:
        imports.insert(0, "import json")
        lines.append('retained = [json.loads(line) for line in open("retained.jsonl")]')
        given.append("retained_dataset=retained")
    if _preparation(exported):
        names.append("prepare")
        lines.append("model = prepare(model)")
    shown = [
        *imports,
        f"from {to}_schedule import {', '.join(names)}",
        *lines,
        f'arguments = {config}("output", num_train_epochs=..., **ARGUMENTS)',
        f"trainer = {trainer}(",
        *(f"    {argument}," for argument in given),
        ")",
        "trainer.train()",
        *(["trainer.optimizer.eval()"] if exported.averages else []),
    ]
    return indent("\n".join(shown), "    ")
