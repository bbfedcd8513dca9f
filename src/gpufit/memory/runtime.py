"""What the driver and the libraries take beside the model: tables with a source, a date and a range."""

from __future__ import annotations

from gpufit.memory.ranges import Range
from gpufit.records import record
from gpufit.units import MIB

Capability = tuple[int, int]


@record
class RuntimeFact:
    """A range that holds from compute capability ``since`` on, and where it comes from."""

    since: Capability
    bytes: Range
    source: str


# The driver's context with PyTorch's kernels, loaded lazily (CUDA 11.7 and later).
DRIVER_CONTEXT: tuple[RuntimeFact, ...] = (
    RuntimeFact(
        since=(0, 0),
        bytes=Range(133 * MIB, 400 * MIB, 600 * MIB),
        source="no measurement at hand for this generation: at least a T4's, at most 600 MiB (2026-11)",
    ),
    RuntimeFact(
        since=(7, 5),
        bytes=Range(133 * MIB, 141 * MIB, 250 * MIB),
        source="Tesla T4, 133 to 147 MiB on torch 2.10+cu128 and 2.14+cu130, published measurements (2026)",
    ),
    RuntimeFact(
        since=(8, 0),
        bytes=Range(133 * MIB, 400 * MIB, 600 * MIB),
        source="no measurement at hand for this generation: at least a T4's, at most 600 MiB (2026-11)",
    ),
)

# cuBLAS workspaces are allocated through torch, once, at the first matrix product.
CUBLAS_WORKSPACE: tuple[RuntimeFact, ...] = (
    RuntimeFact(
        since=(0, 0),
        bytes=Range.exact(8_519_680),
        source="torch 2.13, aten/src/ATen/cuda/CublasHandlePool.cpp, default :4096:2:16:8 = 8 MiB + 128 KiB",
    ),
    RuntimeFact(
        since=(9, 0),
        bytes=Range.exact(32 * MIB),
        source="torch 2.13, aten/src/ATen/cuda/CublasHandlePool.cpp, 32 MiB on Hopper (capability 9.0)",
    ),
    RuntimeFact(
        since=(10, 0),
        bytes=Range(8_519_680, 32 * MIB, 32 * MIB),
        source="torch 2.13, aten/src/ATen/cuda/CublasHandlePool.cpp; which default Blackwell takes is not verified",
    ),
)


def runtime_fact(table: tuple[RuntimeFact, ...], capability: Capability | None) -> RuntimeFact:
    """The row that holds for a device; the first, widest one where the capability is unknown.

    >>> runtime_fact(CUBLAS_WORKSPACE, (9, 0)).bytes.likely_bytes
    33554432
    """
    if capability is None:
        return table[0]
    return next(fact for fact in reversed(table) if fact.since <= capability)
