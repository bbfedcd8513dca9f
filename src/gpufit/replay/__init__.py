"""Is the arithmetic right? The real modelling code, without weights or GPU, followed storage by storage.

The room can be called: ``gpufit.replay(model, workload)`` is ``gpufit.api_runs.replay``, and
``gpufit.replay.replay_module`` takes any module. torch and transformers are imported only when something is replayed.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpufit.replay.front import replay_config, replay_module
    from gpufit.replay.record import Replay

__all__ = ["Replay", "replay_config", "replay_module"]

_HOME = {"Replay": "record", "replay_config": "front", "replay_module": "front"}


def __getattr__(name: str) -> Any:
    if name == "replay":  # what gpufit's own lazy door asks for
        return sys.modules[__name__]
    if name not in _HOME:
        raise AttributeError(f"module 'gpufit.replay' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"gpufit.replay.{_HOME[name]}"), name)


class _Room(ModuleType):
    """Importing a subpackage puts its module under the very name of the function; so the module answers the call."""

    def __call__(self, model: Any, workload: Any = None, **options: Any) -> Replay:
        from importlib import import_module

        front_door = import_module("gpufit.api_runs")  # the room itself knows configurations, not names of models
        result: Replay = front_door.replay(model, workload, **options)
        return result


sys.modules[__name__].__class__ = _Room
