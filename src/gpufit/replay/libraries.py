"""torch and transformers: asked for before they are needed, and imported without the collector's walks."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from gpufit.errors import UsageError


def require_libraries(what: str = "a replay runs the real modelling code") -> None:
    """Raise UsageError with what to install where torch or transformers is missing; ``what`` begins the sentence."""
    from importlib.util import find_spec

    missing = [name for name in ("torch", "transformers") if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"{what} and needs {' and '.join(missing)}",
            hint='pip install "gpufit[measure]" (the CPU build of torch is enough)',
        )


@contextmanager
def imported_libraries() -> Iterator[None]:
    """Import torch and transformers' model base; inside, Python's cyclic collector passes over all that exists by then.

    Both libraries make hundreds of thousands of objects that live to the end of the process. Walking them, again and
    again while they are made and once or twice while a model runs, is a sixth of a replay's processor time. What the
    run itself makes is collected as ever. Afterwards everything is in the collector's sight again.
    """
    if gc.get_freeze_count():  # the process keeps its own objects aside, or this is inside such a block already
        yield
        return
    enabled = gc.isenabled()
    gc.disable()
    try:
        from transformers import modeling_layers  # noqa: F401  what every modelling file imports
    finally:
        if enabled:
            gc.enable()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
