"""Which weights a trial trains, and pointing one model at one trial's or another's.

The base model is loaded once. A trial owns copies of what it trains; while it is in use, the
model's parameters point at them.
"""

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch

from hpopt_search_spaces import Value

from ..errors import WorldError, foreign

ALPHA_PER_RANK = 2.0  # lora_alpha where it isn't given
ALL_LINEAR = "all-linear"  # lora_targets where it isn't given

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Structure:
    """What of a model is trained; it follows from static hyperparameters.

    Attributes:
        frozen_layers: blocks from the bottom that aren't trained, nor are the embeddings below.
        lora_rank: of adapters (Hu et al. 2021, arXiv 2106.09685); 0 trains the weights themselves.
        lora_alpha: adapters' output is scaled by lora_alpha/lora_rank.
        lora_targets: layers with adapters: "all-linear" (but for the output layer), or a regular
            expression that their names match in full.
    """

    frozen_layers: int = 0
    lora_rank: int = 0
    lora_alpha: float = 0.0
    lora_targets: str = ""

    @classmethod
    def of(cls, hyperparameters: Mapping[str, Value]) -> "Structure":
        frozen = int(hyperparameters.get("frozen_layers", 0))
        rank = int(hyperparameters.get("lora_rank", 0))
        if rank == 0:
            return cls(frozen)
        alpha = float(hyperparameters.get("lora_alpha", ALPHA_PER_RANK * rank))
        return cls(frozen, rank, alpha, str(hyperparameters.get("lora_targets", ALL_LINEAR)))


@dataclass(frozen=True)
class _Trained:
    """What of the model a structure trains.

    Attributes:
        adapter: peft's name of it; empty without one.
        parameters: trained ones, in the model's order.
        slots: these and all buffers, by names that are the same in every process.
        base: what the slots hold in the base model.
    """

    adapter: str
    parameters: list[torch.nn.Parameter]
    slots: Tensors
    base: Tensors


class Weights:
    """A base model, and what trials train of it: all of them adapters, or none.

    Args:
        model: the base model; adapters are put into it.
        adapter_type: see `Task.adapter_type`.

    Attributes:
        model: to be called; with adapters, peft's wrapper.
        base_parameters: all of the base model.
    """

    def __init__(self, model: torch.nn.Module, adapter_type: str = "") -> None:
        self.model = model
        # Peft's wrappers for one need a model of transformers.
        self._adapter_type = adapter_type if hasattr(model, "config") else ""
        self.base_parameters = list(model.parameters())
        self._trainable = {p for p in self.base_parameters if p.requires_grad}
        self._whole = [(slot, slot.data) for slot in (*model.parameters(), *model.buffers())]
        # By their names before peft wraps the model.
        self._names = {p: name for name, p in model.named_parameters()}
        self._buffers = dict(model.named_buffers())
        self._adapters: dict[tuple[int, str], str] = {}  # peft's names, by rank and targets
        self._numbers = count()
        self._known: dict[Structure, _Trained] = {}
        self._active: Structure | None = None

    def begin(self, structure: Structure, seed: int) -> Tensors:
        """Return the tensors of a new trial; what an adapter draws at random is keyed by `seed`.

        Raises:
            WorldError: the model has no such layers, or nothing is left to train.
        """
        tensors = {name: base.clone() for name, base in self._select(structure).base.items()}
        generator = torch.Generator().manual_seed(seed)
        for name, tensor in tensors.items():
            if "lora_A" in name:  # as in `torch.nn.Linear`; lora_B is 0
                drawn = torch.empty(tensor.shape)
                torch.nn.init.kaiming_uniform_(drawn, a=math.sqrt(5), generator=generator)
                tensor.copy_(drawn)
        return tensors

    def use(self, structure: Structure, tensors: Tensors) -> None:
        """Point the model at a trial's tensors."""
        self._point(self._select(structure), tensors)

    def use_base(self, structure: Structure | None = None) -> None:
        """Point the model at the base weights; adapters are there, and do nothing."""
        structure = structure or self._active or next(iter(self._known), Structure())
        self._point(self._select(structure), self._known[structure].base)

    @contextmanager
    def as_base(self) -> Iterator[None]:
        """Return the model as its own reference: at its base weights, in evaluation mode.

        What is called here must not be followed by a backward pass outside.
        """
        assert self._active is not None
        trained = self._known[self._active]
        held = {name: slot.data for name, slot in trained.slots.items()}
        was_training = self.model.training
        self._point(trained, trained.base)
        self.model.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self._point(trained, held)
            self.model.train(was_training)

    @property
    def total_count(self) -> int:
        """Parameters of the base model."""
        return sum(parameter.numel() for parameter in self.base_parameters)

    @property
    def trained_count(self) -> int:
        """Parameters that are trained in the structure in use."""
        return sum(parameter.numel() for parameter in self.parameters)

    @property
    def has_adapter(self) -> bool:
        """Whether an adapter is trained in the structure in use."""
        return self._active is not None and self._active.lora_rank > 0

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """Those that are trained in the structure in use."""
        assert self._active is not None
        return self._known[self._active].parameters

    def _point(self, trained: _Trained, tensors: Tensors) -> None:
        torch.clear_autocast_cache()  # of what these parameters pointed at before
        for slot, base in self._whole:
            slot.data = base
        for name, slot in trained.slots.items():
            slot.data = tensors[name]

    def _select(self, structure: Structure) -> _Trained:
        """Switch gradients and adapters to a structure."""
        if structure == self._active:
            return self._known[structure]
        self._active = None  # until everything is switched: making a structure may fail
        if structure not in self._known:
            self._known[structure] = self._make(structure)
        trained = self._known[structure]
        if trained.adapter:
            self._set_adapter(trained.adapter, structure)
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)
        for parameter in trained.parameters:
            parameter.requires_grad_(True)
        self._active = structure
        return trained

    def _make(self, structure: Structure) -> _Trained:
        for slot, base in self._whole:
            slot.data = base
        adapter = self._adapter(structure) if structure.lora_rank else ""
        frozen = _lower_parameters(self.model, structure.frozen_layers)
        trained: dict[str, torch.nn.Parameter] = {}
        for name, parameter in self.model.named_parameters():
            if name in frozen:
                continue
            if adapter and adapter in name.split("."):
                trained[name.replace(f".{adapter}", "")] = parameter
            elif not adapter and parameter in self._trainable:
                trained[self._names[parameter]] = parameter
        if not trained:
            raise WorldError("frozen_layers and the model must leave weights to train, but don't")
        slots: Tensors = {**trained, **self._buffers}
        held = {name: slot.data for name, slot in slots.items()}
        return _Trained(adapter, list(trained.values()), slots, held)

    def _adapter(self, structure: Structure) -> str:
        """Return peft's name of an adapter, which is made where there is none of its shape yet."""
        shape = (structure.lora_rank, structure.lora_targets)
        if shape not in self._adapters:
            self._adapters[shape] = self._add_adapter(structure)
        return self._adapters[shape]

    def _add_adapter(self, structure: Structure) -> str:
        import peft

        name = f"adapter{next(self._numbers)}"
        what = f"lora_targets: putting adapters into {structure.lora_targets!r}"
        with foreign(what), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            torch.default_generator.manual_seed(0)  # the same in every process
            warnings.simplefilter("ignore")  # peft asks transformers for what it deprecates
            config = peft.LoraConfig(
                r=structure.lora_rank,
                target_modules=structure.lora_targets,
                task_type=self._adapter_type or None,
            )
            if isinstance(self.model, peft.PeftModel):
                self.model.add_adapter(name, config)
            else:
                self.model = peft.get_peft_model(self._any_model, config, adapter_name=name)
        return name

    def _set_adapter(self, adapter: str, structure: Structure) -> None:
        from peft.tuners.lora import LoraLayer

        self._any_model.set_adapter(adapter)
        # Structures that differ in this number alone share an adapter.
        self._any_model.peft_config[adapter].lora_alpha = structure.lora_alpha
        for module in self.model.modules():
            if isinstance(module, LoraLayer) and adapter in module.scaling:
                module.scaling[adapter] = structure.lora_alpha / structure.lora_rank

    @property
    def _any_model(self) -> Any:
        """The model, whose methods beside torch's have no types."""
        return self.model


def _lower_parameters(model: torch.nn.Module, layers: int) -> set[str]:
    """Return the names of parameters in the lowest blocks, and of those before them.

    Raises:
        WorldError: the model has no, or fewer, blocks.
    """
    if layers == 0:
        return set()
    lists = [(n, m) for n, m in model.named_modules() if isinstance(m, torch.nn.ModuleList)]
    outer = [(n, m) for n, m in lists if not any(n.startswith(f"{other}.") for other, _ in lists)]
    name, blocks = max(outer, key=lambda entry: len(entry[1]), default=("", ()))
    if layers > len(blocks):
        raise WorldError(
            f"frozen_layers: must be at most {len(blocks)}, the model's blocks, but got {layers}"
        )
    # What comes before the blocks are embeddings, what comes after them are norms and heads.
    names = [parameter for parameter, _ in model.named_parameters()]
    frozen = tuple(f"{name}.{block}." for block in range(layers))
    last = max(index for index, parameter in enumerate(names) if parameter.startswith(frozen))
    return set(names[: last + 1])
