"""What decides which moments a phase has, and the sizes that they are evaluated with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple, cast

from gpufit.memory.activations.symbols import Expr, Sizes, factors
from gpufit.memory.traced import Traced, widest
from gpufit.records import record

PhaseName = Literal["encode", "prefill", "decode"]
Kernel = Literal["eager", "fused", "math"]


class Setting(NamedTuple):
    """The case distinctions of the formulas; everything else is a size.

    ``kernel`` is how attention is computed: ``eager`` (torch operations), ``fused`` (flash or memory-efficient),
    ``math`` (the unfused fallback of scaled_dot_product_attention). ``logsumexp`` says whether the fused kernel
    writes its 4-byte row sums (flash does, the memory-efficient one only for training). ``full`` and ``sliding`` say
    which kinds of layers there are, ``masked`` that attention gets a mask: the sequence outgrows the window, say.
    """

    phase: PhaseName
    dtype: str
    kernel: Kernel
    logsumexp: bool
    grouped: bool  # several query heads for each of several key heads
    shared: bool  # one key head for all query heads: repeating it is a view until a kernel needs it whole
    batched: bool  # more than one sequence
    deep: bool  # more than one layer: the embeddings and the layer's input are two tensors
    masks: int  # masks that eager attention builds, one per kind of layer
    full: bool
    sliding: bool
    masked: bool
    mutual: bool  # the mask is the batch's own, and every kind of layer has one: pictures
    flash: bool
    gated: bool
    variant: str  # model_type, for the few places where families of one form differ
    linear: str  # how quantized linear layers multiply: plain, int8, dequantized
    head: str  # what follows the stack: "last" position, "all" positions, or "none"

    @property
    def half(self) -> bool:
        """Whether the model computes in 2-byte floats, so that an fp32 upcast is a copy."""
        return self.dtype != "fp32"

    @property
    def decode(self) -> bool:
        """One new token per sequence over a filled cache."""
        return self.phase == "decode"


@record(kw_only=False)
class Moment:
    """One instant of a phase: its name, the bytes alive then, and which tensors they are."""

    name: str
    formula: Expr
    alive: str


class Contest(tuple[Moment, ...]):
    """Moments that compete for the peak, with the products that they share multiplied once."""

    _products: tuple[tuple[int, ...], ...]
    _sums: tuple[tuple[tuple[int, int], ...], ...]

    def __new__(cls, moments: Iterable[Moment]) -> Contest:
        self = super().__new__(cls, moments)
        places: dict[int, int] = {}
        self._sums = tuple(
            tuple((count, places.setdefault(letters, len(places))) for letters, count in moment.formula.counts.items())
            for moment in self
        )
        self._products = tuple(map(factors, places))
        return self

    def widest(self, sizes: Sizes) -> tuple[int, Moment]:
        """The peak in bytes and the moment that reaches it, the first of equals."""
        if Traced in map(type, sizes):
            traced_peak, winner = widest(sizes, self._products, self._sums)
            return cast("int", traced_peak), self[winner]
        products = []
        for letters in self._products:
            product = 1
            for letter in letters:
                product *= sizes[letter]
            products.append(product)
        peak, winner = -1, 0
        for index, terms in enumerate(self._sums):
            total = 0
            for count, place in terms:
                total += count * products[place]
            if total > peak:
                peak, winner = total, index
        return peak, self[winner]


def contenders(moments: Iterable[Moment]) -> Contest:
    """The moments that can be the widest: those that no other one covers for all sizes."""
    kept: list[Moment] = []
    for moment in moments:
        if any(moment.formula.within(other.formula) for other in kept):
            continue
        kept = [other for other in kept if not other.formula.within(moment.formula)]
        kept.append(moment)
    return Contest(kept)
