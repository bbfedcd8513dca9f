"""What decides which moments a phase has, and the sizes that they are evaluated with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from gpufit.memory.activations.symbols import Expr

PhaseName = Literal["encode", "prefill", "decode"]
Kernel = Literal["eager", "fused", "math"]


class Setting(NamedTuple):
    """The case distinctions of the formulas; everything else is a size.

    ``kernel`` is how attention is computed: ``eager`` (torch operations), ``fused`` (flash or memory-efficient), ``math`` (the
    unfused fallback of scaled_dot_product_attention). ``logsumexp`` says whether the fused kernel writes its 4-byte row
    sums (flash does, the memory-efficient one only for training). ``full`` and ``sliding`` say which kinds of layers
    there are, ``windowed`` that the sequence outgrows the window, so that those layers need a mask.
    """

    phase: PhaseName
    dtype: str
    kernel: Kernel
    logsumexp: bool
    grouped: bool
    deep: bool  # more than one layer: the embeddings and the layer's input are two tensors
    full: bool
    sliding: bool
    windowed: bool
    flash: bool
    gated: bool
    variant: str  # model_type, for the few places where families of one form differ
    head: str  # what follows the stack: "last" position, "all" positions, or "none"

    @property
    def half(self) -> bool:
        """Whether the model computes in 2-byte floats, so that an fp32 upcast is a copy."""
        return self.dtype != "fp32"

    @property
    def decode(self) -> bool:
        """One new token per sequence over a filled cache."""
        return self.phase == "decode"


@dataclass(frozen=True, slots=True)
class Moment:
    """One instant of a phase: its name, the bytes alive then, and which tensors they are."""

    name: str
    formula: Expr
    alive: str
