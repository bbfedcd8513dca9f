"""gpufit: will this model, doing this work, fit on this GPU?

>>> import gpufit
>>> gpufit.check("llama-2-7b", vram="16GB", quant="bnb-int8").verdict
'fits'
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpufit.__about__ import __version__

if TYPE_CHECKING:
    from gpufit.api import architecture_of, check, list_models
    from gpufit.api_runs import replay
    from gpufit.errors import GpufitError
    from gpufit.memory.estimate import Estimate, estimate
    from gpufit.memory.workload import Workload
    from gpufit.replay import replay_module
    from gpufit.verdict.check import Check

__all__ = [
    "Check",
    "Estimate",
    "GpufitError",
    "Workload",
    "__version__",
    "architecture_of",
    "check",
    "estimate",
    "list_models",
    "replay",
    "replay_module",
]

_HOME = {
    "Check": "gpufit.verdict.check",
    "Estimate": "gpufit.memory.estimate",
    "GpufitError": "gpufit.errors",
    "Workload": "gpufit.memory.workload",
    "architecture_of": "gpufit.api",
    "check": "gpufit.api",
    "estimate": "gpufit.memory.estimate",
    "list_models": "gpufit.api",
    "replay": "gpufit.replay",  # the room itself, which can be called
    "replay_module": "gpufit.replay",
}


def __getattr__(name: str) -> Any:
    """Import public names when first used, so that ``import gpufit`` costs next to nothing."""
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'gpufit' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
