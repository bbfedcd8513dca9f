"""A checkpoint as its own headers describe it: every stored tensor, its format and its bytes."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Literal, NamedTuple

from gpufit.records import derived, record

CheckpointFormat = Literal["safetensors", "gguf"]


class StoredTensor(NamedTuple):
    """One tensor in a file. A NamedTuple, since a sharded mixture of experts holds 140,000 of them.

    ``dtype`` is the format's own word: ``BF16``, ``F8_E4M3``, ``Q4_K``. ``shape`` is torch's order, outermost first.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    size_bytes: int

    @property
    def elements(self) -> int:
        """Number of elements (of packed ones, where the format packs several in one)."""
        return prod(self.shape)


@record
class StoredWeights:
    """All tensors of a checkpoint.

    ``method`` is the library that quantized it (``bitsandbytes``, ``gptq``, ``mxfp4``, ...), None for plain numbers;
    ``quant`` says it precisely, in the words of ``--quant`` where one fits (``bnb-nf4-dq``, ``gptq-int4-g128``).
    ``total_bytes`` is tensor data alone, without file headers and alignment. ``device_bytes`` is what reaches the GPU:
    llama.cpp keeps a GGUF's input embedding in main memory and pads rows for its kernels.
    """

    format: CheckpointFormat
    tensors: tuple[StoredTensor, ...]
    files: tuple[str, ...]
    device_bytes: int
    method: str | None = None
    quant: str | None = None
    notes: tuple[str, ...] = ()
    total_bytes: int = derived()

    def __post_init__(self) -> None:
        object.__setattr__(self, "total_bytes", sum(tensor.size_bytes for tensor in self.tensors))

    @property
    def elements(self) -> int:
        """Stored elements; the parameter count where nothing is packed or saved twice."""
        return sum(tensor.elements for tensor in self.tensors)

    @property
    def dtype_bytes(self) -> dict[str, int]:
        """Bytes by stored format, largest first."""
        return sum_by_dtype(self.tensors)


def sum_by_dtype(tensors: Iterable[StoredTensor]) -> dict[str, int]:
    """Bytes by stored format, largest first.

    >>> sum_by_dtype([StoredTensor("a", (2,), "F32", 8), StoredTensor("b", (64,), "BF16", 128)])
    {'BF16': 128, 'F32': 8}
    """
    found: dict[str, int] = {}
    for tensor in tensors:
        found[tensor.dtype] = found.get(tensor.dtype, 0) + tensor.size_bytes
    return dict(sorted(found.items(), key=lambda item: -item[1]))
