"""Answers where the modelling code asks for values that a tensor without data cannot give. Each rule is stated.

- Batches are unpadded and hold nothing special, so a truth asked of a mask is the usual one: ``all()`` is True (every
  position is kept, every number finite), ``any()`` is False (no padding, no infinity, no token marked for global
  attention), and any other truth value is True. ``nonzero()`` of such a mask finds every position (each has a label).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gpufit.errors import Undecided

if TYPE_CHECKING:
    import torch


def data_rules() -> dict[Any, Callable[..., Any]]:
    """Overloads of aten operators that ask for data, and the rule that stands in for each."""
    import torch
    from torch.utils.weak import WeakIdKeyDictionary

    aten: Any = torch.ops.aten
    exceptions: Any = WeakIdKeyDictionary()  # what any() returned

    def ask_any(operator: Any) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            result = operator(*args, **kwargs)
            exceptions[result] = True
            return result

        return run

    def answer(tensor: torch.Tensor) -> Any:
        """``.item()``, ``bool()`` and ``if tensor``; the CPU's own values are real."""
        if tensor.device.type != "meta":
            from torch.utils._python_dispatch import _disable_current_modes

            with _disable_current_modes():
                return tensor.item()
        if tensor.dtype is torch.bool:
            return tensor not in exceptions
        raise Undecided(
            f"the modelling code reads a {str(tensor.dtype).removeprefix('torch.')} value that depends on the data",
            hint="a replay has shapes but no values",
        )

    def find_all(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.device.type != "meta" or tensor.dtype is not torch.bool:
            return aten.nonzero.default(tensor)  # type: ignore[no-any-return]
        return torch.zeros((tensor.numel(), tensor.dim()), dtype=torch.int64, device=tensor.device)

    questions = (aten.any.default, aten.any.dim, aten.any.dims)
    rules = {aten._local_scalar_dense.default: answer, aten.nonzero.default: find_all}
    return {**rules, **{operator: ask_any(operator) for operator in questions}}
