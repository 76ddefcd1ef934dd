"""What may be tuned: search spaces of named hyperparameters. Importing this is instant."""

from .auto import TrainingFacts
from .checks import Value, nearest_names
from .choices import ChoiceParameter
from .errors import HpoptError, SpaceError
from .floats import FloatParameter, round_significant
from .integers import IntegerParameter
from .loading import available_spaces, load_space
from .parameters import Parameter
from .space import SearchSpace

__all__ = [
    "ChoiceParameter",
    "FloatParameter",
    "HpoptError",
    "IntegerParameter",
    "Parameter",
    "SearchSpace",
    "SpaceError",
    "TrainingFacts",
    "Value",
    "available_spaces",
    "load_space",
    "nearest_names",
    "round_significant",
]
