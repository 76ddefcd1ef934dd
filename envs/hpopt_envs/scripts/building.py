"""A script run from its settings: everything that can be wrong is said before anything starts."""

import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

from hpopt_search_spaces import SearchSpace, TrainingFacts

from ..errors import WorldError
from ..records import RunFacts
from ..settings import EnvironmentSettings, Script
from ..training.baseline import note, outside
from ..worlds import SCRIPT
from .run import ScriptRun
from .template import OURS, Template

DIRECTIONS = ("min", "max")
# What pruners reckon with, as the number of a trial's reports isn't known before.
REPORTS_A_TRIAL = 8
COST = (
    "Costs are the tokens that the script reports (num_input_tokens_seen); where it reports none, "
    "they are seconds."
)


def script_run(settings: EnvironmentSettings) -> tuple[ScriptRun, SearchSpace]:
    """Build a training run of a user's own script.

    Returns:
        The run, and the space that is asked for, resolved.

    Raises:
        SpaceError, WorldError: one line, where the command, its placeholders or its value are
            wrong, or the settings ask for what is the script's own affair.
    """
    script = settings.script
    if script.command is None:
        raise WorldError("command: must be given for task script")
    settings.refuse(
        "a command",
        *("model", "sequence_length", "segment_tokens", "trial_tokens", "objective"),
        *("forgetting_weight", "max_divergence", "device", "precision"),
        *("gradient_checkpointing", "trust_remote_code"),
    )
    if settings.space is None:
        raise WorldError("space: must be given with command, as a TOML file of your own")
    name, maximize = _value(script)
    _check_program(script.command)
    space = settings.load_space({})
    held = settings.held(space, {})
    _check_defaults(space)
    _check_placeholders(script, [*space.names, *held])
    resolved = settings.displaced(space.resolve(TrainingFacts(1, 1, 1, 1, lora=False)))
    known = [*space.names, *held]
    for given in settings.baseline or {}:
        if given not in known:
            raise WorldError(
                f"baseline: must have hyperparameters of {', '.join(known)}, but got {given!r}"
            )
    facts = _facts(settings, name, maximize)
    notes = (*facts.notes, *note(outside(resolved, facts.baseline), resolved))
    facts = replace(facts, fixed=held, notes=notes)
    folder = Path(settings.folder or "trials").absolute()
    return ScriptRun(facts, resolved, script, folder, settings.silence_limit), resolved


def _value(script: Script) -> tuple[str, bool]:
    """Return the name of what is tuned, and whether more of it is better."""
    if script.value is None:
        raise WorldError("value: must be given with command, such as eval_loss or accuracy:max")
    name, colon, direction = script.value.partition(":")
    if not name or (colon and direction not in DIRECTIONS):
        raise WorldError(f"value: must be NAME, NAME:min or NAME:max, but got {script.value!r}")
    if script.value_file is not None and Path(script.value_file).is_absolute():
        raise WorldError(
            "value_file: must be a path in the trial's folder, not an absolute one, which all "
            f"trials would share, but got {script.value_file!r}"
        )
    if script.value_pattern is not None:
        _check_pattern(script.value_pattern)
    return name, direction == "max"


def _check_pattern(pattern: str) -> None:
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise WorldError(f"value_pattern: must be a regular expression, but {error}") from None
    if groups != 1:
        raise WorldError(
            f"value_pattern: must have one group, such as loss=([0-9.]+), but {pattern!r} has "
            f"{groups}"
        )


def _check_program(command: str) -> None:
    program = Template.of(command).program
    if "{" not in program and shutil.which(program) is None:
        raise WorldError(f"command: must begin with a program that is there, but got {program!r}")


def _check_defaults(space: SearchSpace) -> None:
    for parameter in space.parameters:
        if parameter.default == "auto":
            raise WorldError(
                f"space {space.name!r}: {parameter.name} must have a default of its own, since "
                "nothing is known of the script that one could follow from, but has auto"
            )
        if parameter.name in OURS:
            raise WorldError(
                f"space {space.name!r}: must leave the names {', '.join(OURS)} to the command's "
                f"own placeholders, but has {parameter.name}"
            )


def _check_placeholders(script: Script, names: list[str]) -> None:
    there = script.placeholders
    for name in there:
        if name not in names and name not in OURS:
            raise WorldError(
                f"command: {{{name}}} must be a hyperparameter of the space ({', '.join(names)}) "
                f"or one of {', '.join(OURS)}, but is neither"
            )
    for name in names:
        if name not in there:
            raise WorldError(f"command: must take {name} of the space, but has no {{{name}}}")
    if script.steps is None and "steps" in there:
        raise WorldError("steps: must be given, since the command has {steps}")
    for name in ("fraction", "steps"):
        if getattr(script, name) is not None and name not in there:
            raise WorldError(f"{name}: must go with a command that has {{{name}}}, but it hasn't")
    if script.fraction is not None and script.fraction > 1.0:
        raise WorldError(f"fraction: must be 1 at most, but got {script.fraction:g}")


def _facts(settings: EnvironmentSettings, value: str, maximize: bool) -> RunFacts:
    """Return facts, of which those on a model are placeholders: `external` says so."""
    script, notes = settings.script, [COST]
    if "seed" not in script.placeholders:
        notes.append("The command has no {seed}: nothing can be confirmed on fresh seeds.")
    if settings.silence_limit is not None:
        notes.append(f"A script that says nothing for {settings.silence_limit:g} s is ended.")
    told = json.dumps(script.given, sort_keys=True)
    digest = hashlib.sha256(told.encode()).hexdigest()
    return RunFacts(
        task=SCRIPT.task,
        model=str(script.command),
        objective_name=value,
        maximize=maximize,
        unit="",
        objective_scale=1.0,
        forgetting_weight=0.0,
        fixed={},
        max_divergence=None,
        has_reference=False,
        sequence_length=1,
        epoch_tokens=REPORTS_A_TRIAL,
        segment_tokens=1,
        trial_tokens=REPORTS_A_TRIAL,
        total_parameters=1,
        trainable_parameters=1,
        lora=False,
        base_metrics={},
        base_objective=0.0,
        base_objective_subset=0.0,
        base_loss=1.0,
        exploded_loss=4.0,
        penalty_cost=0.0,
        validation_cost=0.0,
        final_validation_cost=0.0,
        setup_cost=0.0,
        data_hash=digest,
        model_hash=digest,
        baseline=dict(settings.baseline or {}),
        notes=tuple(notes),
        has_probe=False,
        external=True,
    )
