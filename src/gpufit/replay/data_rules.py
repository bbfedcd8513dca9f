"""Answers where the modelling code asks for values that a tensor without data cannot give. Each rule is stated.

- A truth asked of a mask is True: batches are unpadded, so every mask test ("are all positions kept?") holds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gpufit.errors import Undecided

if TYPE_CHECKING:
    import torch


def answer_item(tensor: torch.Tensor) -> Any:
    """``.item()``, ``bool()`` and ``if tensor``: True for a truth value, else undecided; the CPU's are real."""
    import torch

    if tensor.device.type != "meta":
        from torch.utils._python_dispatch import _disable_current_modes

        with _disable_current_modes():
            return tensor.item()
    if tensor.dtype is torch.bool:
        return True
    raise Undecided(
        f"the modelling code reads a {str(tensor.dtype).removeprefix('torch.')} value that depends on the data",
        hint="a replay has shapes but no values",
    )


def data_rules() -> dict[Any, Callable[..., Any]]:
    """Overloads of aten operators that have no meta kernel, and the rule that stands in for each."""
    import torch

    aten: Any = torch.ops.aten
    return {aten._local_scalar_dense.default: answer_item}
