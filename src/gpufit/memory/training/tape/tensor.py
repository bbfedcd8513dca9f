"""A tensor without data: shape, strides, number format, the storage it looks at, and how it came about."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING

from gpufit.memory.training.tape.ledger import Ledger

if TYPE_CHECKING:
    from gpufit.memory.training.tape.graph import Node, Tape

Shape = tuple[int, ...]
FORMAT_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2, "int64": 8, "int32": 4, "int8": 1, "bool": 1, "fp64": 8}


class Storage:
    """Bytes that live as long as a tensor looks at them; CPython's reference counts are torch's."""

    __slots__ = ("handle", "ledger")

    def __init__(self, ledger: Ledger | None, size_bytes: int) -> None:
        self.ledger = ledger  # None: a resident, counted elsewhere
        self.handle = ledger.born(size_bytes) if ledger else 0

    def __del__(self) -> None:
        if self.ledger is not None:
            self.ledger.died(self.handle)


class Tensor:
    """A view of a storage. ``node`` is what made it, if a gradient must flow back through it."""

    __slots__ = ("dtype", "node", "shape", "slot", "storage", "strides", "tape")

    def __init__(
        self, tape: Tape, shape: Shape, dtype: str, *, strides: Shape | None = None, storage: Storage | None = None
    ) -> None:
        self.tape = tape
        self.shape = shape
        self.strides = row_major(shape) if strides is None else strides
        self.dtype = dtype
        self.storage = Storage(tape.ledger, prod(shape) * FORMAT_BYTES[dtype]) if storage is None else storage
        self.node: Node | None = None
        self.slot = 0

    @property
    def needs_grad(self) -> bool:
        """Whether a gradient flows back through it."""
        return self.node is not None

    @property
    def elements(self) -> int:
        """How many numbers it shows."""
        return prod(self.shape)

    @property
    def contiguous(self) -> bool:
        """Whether it lies row by row."""
        return self.strides == row_major(self.shape) or _stride_of_ones(self.shape, self.strides)

    def alias(self, shape: Shape | None = None, strides: Shape | None = None) -> Tensor:
        """Another look at the same storage, with no history."""
        return Tensor(
            self.tape, self.shape if shape is None else shape, self.dtype,
            strides=self.strides if strides is None else strides, storage=self.storage,
        )  # fmt: skip


def held_alone(ledger: Ledger, tensors: Iterable[Tensor]) -> int:
    """Bytes of those storages that no other tensor looks at."""
    # counted here: the tensor's reference and getrefcount's own
    alone = (tensor.storage.handle for tensor in tensors if sys.getrefcount(tensor.storage) == 2)
    return sum(ledger.alive[handle].bytes for handle in alone)


@lru_cache(maxsize=4096)
def row_major(shape: Shape) -> Shape:
    """The strides of a contiguous tensor.

    >>> row_major((2, 3, 4))
    (12, 4, 1)
    """
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size or 1
    return tuple(reversed(strides))


def _stride_of_ones(shape: Shape, strides: Shape) -> bool:
    """The stride of a dimension of one says nothing."""
    return all(size == 1 or mine == theirs for size, mine, theirs in zip(shape, strides, row_major(shape), strict=True))


def viewed(shape: Shape, strides: Shape, target: Shape) -> Shape | None:
    """The strides of a view in another shape, or None where only a copy will do (ATen, computeStride).

    >>> viewed((2, 3, 4), (12, 4, 1), (6, 4)), viewed((2, 3, 4), (4, 8, 1), (6, 4))
    ((4, 1), None)
    """
    if strides == row_major(shape):
        return row_major(target)
    found = [0] * len(target)
    place = len(target) - 1
    step, run, count = strides[-1], 1, 1
    for dim in range(len(shape) - 1, -1, -1):
        run *= shape[dim]
        if dim == 0 or (shape[dim - 1] != 1 and strides[dim - 1] != run * step):
            while place >= 0 and (count < run or target[place] == 1):
                found[place] = count * step
                count *= target[place]
                place -= 1
            if count != run:
                return None
            if dim > 0:
                step, run, count = strides[dim - 1], 1, 1
    return tuple(found) if place == -1 else None


def broadcast(*shapes: Shape) -> Shape:
    """The common shape.

    >>> broadcast((2, 1, 4), (3, 1), ())
    (2, 3, 4)
    """
    if shapes.count(shapes[0]) == len(shapes):
        return shapes[0]
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return tuple(max(sizes) for sizes in zip(*padded, strict=True))


def laid_out(shape: Shape, operands: tuple[Tensor, ...]) -> Shape:
    """The strides that an elementwise operation gives its result (ATen, TensorIterator: reorder_dimensions).

    Dense, in the order of its operands' strides: the result of transposed tensors is transposed.
    """
    plain = row_major(shape)
    whole = [t.strides == plain for t in operands if t.shape == shape]
    if whole and all(whole):
        return plain
    rank = len(shape)
    seen = [
        tuple(0 if size == 1 != shape[at + rank - len(t.shape)] else stride
              for at, (size, stride) in enumerate(zip(t.shape, t.strides, strict=True)))
        for t in operands
    ]  # fmt: skip
    seen = [(0,) * (rank - len(strides)) + strides for strides in seen]
    order = list(range(rank - 1, -1, -1))  # fastest first
    for start in range(1, rank):
        right = start
        for left in range(start - 1, -1, -1):
            verdict = _in_order(order[left], order[right], seen, shape)
            if verdict > 0:
                order[left], order[right] = order[right], order[left]
                right = left
            elif verdict < 0:
                break
    strides, step = [0] * rank, 1
    for dim in order:
        strides[dim] = step
        step *= shape[dim]
    return tuple(strides)


def _in_order(left: int, right: int, strides: list[Shape], shape: Shape) -> int:
    """Negative: as it should be; positive: swap; 0: nobody minds."""
    for mine in strides:
        if mine[left] == 0 or mine[right] == 0:
            continue
        if mine[left] != mine[right]:
            return -1 if mine[left] < mine[right] else 1
        if shape[left] > shape[right]:
            return 1
    return 0
