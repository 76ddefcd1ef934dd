"""What an environment is made of: the arguments of `hpopt_envs.make_env`."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hpopt_search_spaces import FloatParameter, SearchSpace, SpaceError, Value, load_space
from hpopt_search_spaces.checks import shown

from ..errors import WorldError
from .fields import BUDGET, DATA, MACHINE, TUNED, check_names, setting
from .script import Script
from .source import Source
from .values import check_settings

RATE = "learning_rate"  # what may be displaced
FARTHEST = 30  # octaves: a factor of 1e9


@dataclass(frozen=True)
class EnvironmentSettings:
    """The arguments of `hpopt_envs.make_env`.

    What isn't for users of a command line has no help text: `view` (how actions are read, see
    `hpopt_envs.episode.actions`; by default relative, or absolute where nothing may move during a
    trial), `validate_segments` (measure on validation between segments),
    `threads` (of the CPU for a large model; a small one always gets one), and of a script `folder`
    (where its trials' files are kept) and `silence_limit` (seconds). `data` and `script` may be
    given as mappings; `space` is a name, a TOML file, or `SearchSpace.to_dict()`.
    """

    task: str = setting(
        "lm",
        "what is fine-tuned: a name from `hpopt tasks`, or module:Class of your own (default: lm)",
        group=DATA,
    )
    model: str | None = setting(
        None,
        "base model: a Hugging Face id, a local path or module:factory (default: the task's own)",
        group=DATA,
    )
    space: str | Mapping[str, Any] | None = setting(
        None,
        "search space: a name from `hpopt spaces`, or a TOML file (default: the task's own)",
        group=TUNED,
    )
    data: Source = Source()  # noqa: RUF009 (it is frozen)
    script: Script = Script()  # noqa: RUF009
    view: str | None = None
    validate_segments: bool = True
    sequence_length: int | None = setting(
        None,
        "tokens of the longest example (default: the data's longest; lm on plain text: 64 or 256)",
        group=DATA,
        metavar="N",
    )
    segment_tokens: int | None = setting(
        None,
        "training tokens between decisions (default: 4096, or more where batch sizes need it)",
        group=BUDGET,
        metavar="N",
    )
    trial_tokens: int | None = setting(
        None,
        "training tokens of a full trial (default: 16 segments, or an epoch if that is less)",
        group=BUDGET,
        metavar="N",
    )
    objective: str | None = setting(
        None,
        "metric that is tuned: METRIC, METRIC:min or METRIC:max (default: the task's own)",
        group=DATA,
        metavar="METRIC",
    )
    forgetting_weight: float | None = setting(
        None,
        "weight of forgetting in the objective, where data is retained (default: the task's own)",
        group=DATA,
        metavar="W",
        least=0,
    )
    max_divergence: float | str | None = setting(
        None,
        "most divergence from the base model, in nats a token, or none (default: the task's own)",
        group=TUNED,
        metavar="D",
        above=0,
    )
    baseline: Mapping[str, Value] | None = setting(
        None,
        "values you use now, such as learning_rate=2e-5,batch_size=32 (default: the space's own)",
        group=TUNED,
        metavar="VALUES",
    )
    fixed: Mapping[str, Value] | None = setting(
        None,
        "values held instead of searched, such as optimizer=sgd,lora_rank=16 (default: the task's)",
        group=TUNED,
        metavar="VALUES",
        name="fix",
    )
    displacement: float = setting(
        0.0,
        "octaves by which the learning rate's default and range are moved (default: 0.0)",
        group=TUNED,
        metavar="OCTAVES",
    )
    device: str = setting(
        "auto",
        "where models are trained: cpu, cuda or auto (default: auto, cuda where there is one)",
        group=MACHINE,
        choices=("auto", "cpu", "cuda"),
    )
    precision: str = setting(
        "auto",
        "number format of forward passes: float32, bfloat16 or auto (default: auto, what pays)",
        group=MACHINE,
        choices=("auto", "float32", "bfloat16"),
    )
    gradient_checkpointing: bool = setting(
        False,
        "true: compute activations again in the backward pass, which saves memory (default: false)",
        group=MACHINE,
        metavar="B",
    )
    trust_remote_code: bool = setting(
        False,
        "true: run the code that a model brings, of whose authors you must be sure "
        "(default: false, such a model is refused)",
        group=MACHINE,
        metavar="B",
    )
    threads: int = 1
    folder: str | None = None
    silence_limit: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.data, Source):  # a mapping, as journals have it, or None
            object.__setattr__(self, "data", Source.of(self.data or {}))
        if not isinstance(self.script, Script):
            object.__setattr__(self, "script", Script.of(self.script))
        check_settings(self)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "EnvironmentSettings":
        """Return settings from a mapping; what isn't in it is at its default.

        Raises:
            WorldError: a name is unknown, or what is said of the data is impossible.
        """
        check_names(settings, cls)
        return cls(**settings)

    def refuse(self, what: str, *names: str) -> None:
        """Make sure that what means nothing to a world is left out: all of the data, and `names`.

        Raises:
            WorldError: it isn't.
        """
        fields = {f.name: f for f in dataclasses.fields(self)}
        asked = dict(self.data.given)
        for name in names:
            if getattr(self, name) != fields[name].default:
                asked[fields[name].metadata["name"] or name] = getattr(self, name)
        for name, value in asked.items():
            if value is not None:
                raise WorldError(f"{name}: must be left out for {what}, but got {shown(value)}")

    def load_space(self, own: str | Mapping[str, Any]) -> SearchSpace:
        """Return the space that is asked for, without what is fixed.

        Args:
            own: the space where none is asked for.

        Raises:
            SpaceError, WorldError: there is no such space, or nothing of it is left.
        """
        space = self.space or own
        loaded = SearchSpace.from_dict(space) if isinstance(space, Mapping) else load_space(space)
        try:
            searched = loaded.holding(self.fixed or {})
        except SpaceError as error:
            raise WorldError(f"fix: {error}") from None
        self._check_displacement(searched)
        return searched

    def _check_displacement(self, space: SearchSpace) -> None:
        """Make sure that a space has a learning rate that can be displaced, where that is asked."""
        if not self.displacement:
            return
        if abs(self.displacement) > FARTHEST:
            raise WorldError(
                f"displacement: must be {FARTHEST} octaves at most, either way, but got "
                f"{self.displacement:g}"
            )
        if RATE in (self.fixed or {}):
            raise WorldError(f"displacement: must be left out where {RATE} is fixed")
        if RATE not in space or not isinstance(space[RATE], FloatParameter):
            raise WorldError(
                f"displacement: must go with a space that has a {RATE} of type float, but "
                f"{space.name!r} has none"
            )

    def displaced(self, space: SearchSpace) -> SearchSpace:
        """Return a resolved space, its learning rate displaced as far as is asked for."""
        if not self.displacement:
            return space
        rate = space[RATE]
        assert isinstance(rate, FloatParameter)  # see `load_space`
        moved = rate.displaced(self.displacement)
        parameters = tuple(moved if p is rate else p for p in space.parameters)
        return dataclasses.replace(space, parameters=parameters)

    def held(self, space: SearchSpace, own: Mapping[str, Value]) -> dict[str, Value]:
        """Return what every trial has beside a loaded space's parameters.

        Args:
            space: its fixed values go before the task's, and `fixed` before both.
            own: the task's, which count where the space doesn't say.
        """
        unsaid = {name: value for name, value in own.items() if name not in space}
        return {**unsaid, **space.fixed, **(self.fixed or {})}
