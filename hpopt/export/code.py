"""The code that is exported, put together from templates: only what a schedule needs."""

import json
from collections.abc import Mapping
from pathlib import Path
from textwrap import indent
from typing import Any

from hpopt_envs.training.gradients import DIVERGENCE, DIVERGENCE_ALPHA
from hpopt_envs.training.weights import Structure
from hpopt_search_spaces import Value

from .arguments import arguments, needs_trainer
from .encoding import encoding
from .exported import Exported
from .filling import filled
from .refusals import check_expressible
from .script import trainer_of
from .usage import head

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
# Where a model's distributions are, and which of them count: of what is not one of these forms,
# each token predicts the next.
_NEXT_TOKENS = {
    "least": "1",  # a token that another one follows
    "predicted": "[:, :-1]",
    "fillers": '"labels": -100, "attention_mask": 0',
    "counts": '        counts = batch.pop("labels")[:, 1:] != -100\n'
    '        return {**batch, "use_cache": False}, counts',
}
_COUNTED = {
    "labels": {
        "least": "0",
        "predicted": "",
        "fillers": '"attention_mask": 0, "token_type_ids": 0',
        "counts": '        return batch, batch["attention_mask"][:, 0]  # each text has one',
    },
    "sources": {
        "least": "0",
        "predicted": "",
        "fillers": '"labels": -100, "attention_mask": 0',
        "counts": '        return {**batch, "use_cache": False}, batch["labels"] != -100',
    },
}
_TASK_TYPES = {"labels": "SEQ_CLS", "sources": "SEQ_2_SEQ_LM"}
# As the search had it, where the machine can; else what a CPU is for.
_BFLOAT16 = "BFLOAT16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported()"


def code(exported: Exported, to: str, folder: Path) -> str:
    """Return the module for a trainer; it depends on that trainer's library alone.

    Args:
        exported: what is recommended.
        to: "transformers" or "trl".
        folder: that it will lie in.

    Raises:
        StudyError: a trainer can't express it; the text has the reason.
    """
    check_expressible(exported, to)
    blocks = [_arguments(exported, to)]
    if not exported.steady or needs_trainer(exported):
        blocks.append(
            filled("schedule", schedule=_stretches(exported), reach=exported.recommended.reach)
        )
    if to != "trl":
        blocks += encoding(exported)
    blocks += _preparation(exported)
    if needs_trainer(exported):
        blocks.append(filled("trainer", Trainer=trainer_of(exported, to)))
    elif not exported.steady:
        blocks.append(filled("callback"))
    if exported.penalized:
        blocks.append(_penalty(exported))
    body = "\n\n\n".join(blocks)
    return f"{head(exported, to, folder)}\n\n{_imports(body, to)}{body}\n"


def _arguments(exported: Exported, to: str) -> str:
    """Return the arguments, in the precision of the search."""
    made = _literal(arguments(exported, to), width=0)
    if exported.recommended.history.facts.precision == "float32":
        return f'ARGUMENTS = {made[:-1]}    "bf16": False,\n}}'
    return f'{_BFLOAT16}\nARGUMENTS = {made[:-1]}    "bf16": BFLOAT16,\n}}'


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


def _imports(body: str, to: str) -> str:
    standard = [
        *(
            f"import {n}"
            for n in ("copy", "itertools", "json", "math", "random")
            if f"{n}." in body
        ),
        *(["from pathlib import Path"] if "Path(" in body else []),
    ]
    others = [
        line
        for line, used in (
            ("import torch", "torch."),
            ("from peft import LoraConfig, get_peft_model", "LoraConfig("),
            ("from transformers import TrainerCallback", "(TrainerCallback)"),
            ("from transformers import Trainer", "(Trainer)"),
            ("from transformers import Seq2SeqTrainer", "(Seq2SeqTrainer)"),
            ("from trl import SFTTrainer", "(SFTTrainer)"),
        )
        if used in body
    ]
    blocks = ["\n".join(block) for block in (standard, others) if block]
    return "".join(f"{block}\n\n" for block in blocks)


def _preparation(exported: Exported) -> list[str]:
    """Return what makes the base model and its tokenizer ready for the trainer."""
    structure = Structure.of(exported.held)
    blocks, lines = [filled("check")], []
    if exported.form == "labels":
        lines.append("    set_head(model)")
    if structure.lora_rank:
        kind = _TASK_TYPES.get(exported.form, "CAUSAL_LM")
        targets = json.dumps(structure.lora_targets)
        lines += [
            f"    config = LoraConfig(r={structure.lora_rank}, lora_alpha={structure.lora_alpha}, "
            f'target_modules={targets}, task_type="{kind}")',
            "    model = get_peft_model(model, config)",
        ]
    if structure.frozen_layers:
        blocks.append(filled("freeze"))
        lines.append(f"    freeze(model, {structure.frozen_layers})")
    if "dropout" in exported.held and exported.form != "pairs":  # there it is 0, as in trl
        blocks.append(filled("dropout"))
        lines.append(f"    set_dropout(model, {exported.held['dropout']})")
    return [*blocks, filled("prepare", changes="".join(f"{line}\n" for line in lines))]


def _penalty(exported: Exported) -> str:
    name = str(exported.held.get("divergence", DIVERGENCE))
    alpha = float(exported.held.get("divergence_alpha", DIVERGENCE_ALPHA))
    if name == "alpha":  # at 0 and 1 it is a limit
        name = {0.0: "forward_kl", 1.0: "reverse_kl"}.get(alpha, name)
    tilted = f"(({alpha} * (p - q)).expm1() - {alpha} * (p - q).expm1())"
    formula = _FORMULAS.get(name, f"q.exp() * {tilted} / {alpha * (alpha - 1)}")
    penalty = filled(
        "penalty",
        divergence=f"The α-divergence, α = {alpha:g}," if name == "alpha" else f"The {name}",
        formula=formula,
        **_COUNTED.get(exported.form, _NEXT_TOKENS),
    )
    return f"{filled('retained')}\n\n\n{penalty}" if exported.takes_retained else penalty
