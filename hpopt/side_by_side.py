"""Environments that step together, as Stable-Baselines3 sees them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

Infos = list[dict[str, Any]]
Floats = NDArray[np.float32]


class SideBySide(VecEnv):
    """A `VecEnv` whose environments are no objects of their own, and so have no attributes."""

    def close(self) -> None:
        """Leave open what it stands on: that is its maker's."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        if attr_name == "render_mode":
            return [None for _ in self._get_indices(indices)]
        raise AttributeError(f"environments side by side have no {attr_name!r} here")

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise AttributeError(f"environments side by side have no {attr_name!r} here")

    def env_method(
        self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any
    ) -> list[Any]:
        raise AttributeError(f"environments side by side have no {method_name!r} here")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False for _ in self._get_indices(indices)]
