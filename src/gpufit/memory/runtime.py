"""What the driver and the libraries take beside the model: tables with a source, a date and a range."""

from __future__ import annotations

from gpufit.memory.ranges import Range
from gpufit.memory.versions import parse_version
from gpufit.records import record
from gpufit.units import MIB

Capability = tuple[int, int]


@record
class RuntimeFact:
    """A range that holds from compute capability ``since`` on, and where it comes from.

    ``torch`` names the release of torch whose CUDA libraries it was seen with, as far as it matters; None: the current
    ones. ``quantized``: seen beside weights that transformers loaded quantized.
    """

    since: Capability
    bytes: Range
    source: str
    torch: tuple[int, ...] | None = None
    quantized: bool = False


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
        since=(7, 5),
        torch=(1, 4),
        bytes=Range(400 * MIB, 700 * MIB, 900 * MIB),
        source="before CUDA 11.7 all kernels are loaded at once; no measurement at hand, a wide range (2026-11)",
    ),
    RuntimeFact(
        since=(8, 0),
        torch=(2, 0),
        bytes=Range(450 * MIB, 500 * MIB, 760 * MIB),
        source="A100, torch 2.0.1: nvidia-smi less reserved, huggingface/optimum (2023-11), less the driver's part",
    ),
    RuntimeFact(
        since=(8, 0),
        torch=(2, 1),
        bytes=Range(450 * MIB, 735 * MIB, 780 * MIB),
        source="A100, torch 2.1.1+cu118: NVML less reserved, 1,472 to 1,497 MB, optimum-benchmark (2023-12), "
        "less the driver's part",
    ),
    RuntimeFact(
        since=(8, 0),
        torch=(2, 1, 0),
        bytes=Range(450 * MIB, 667 * MIB, 780 * MIB),
        source="A100, torch 2.1.0+cu118: NVML less the played reserve, optimum-benchmark (2023-10), "
        "less the driver's part",
    ),
    # 872 MiB more beside bitsandbytes, GPTQ and AWQ alike, whatever the model and the batch. Most likely every kernel:
    # these loaders ask torch.cuda.is_available(), which initializes the driver before torch asks for lazy loading.
    RuntimeFact(
        since=(8, 0),
        torch=(2, 1, 0),
        quantized=True,
        bytes=Range(1440 * MIB, 1539 * MIB, 1640 * MIB),
        source="A100, torch 2.1.0+cu118, quantized weights, as above",
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


# What the driver keeps of the card for itself, in thousandths of the total: NVML's device-wide "used" counts it.
DRIVER_PART = Range(7, 8, 17)  # totals that older and newer drivers print for one card, gpus.yaml (mib less usable_mib)


def driver_part(total_bytes: int | None, usable_bytes: int | None = None) -> Range:
    """The driver's own part of a card: exact where both totals are known, else a share of the total.

    >>> driver_part(40_960, 40_537).likely_bytes
    423
    """
    if total_bytes is None:
        return Range(0, 0, 0)
    if usable_bytes is not None:
        return Range.exact(total_bytes - usable_bytes)
    return Range(*(total_bytes * share // 1000 for share in (
        DRIVER_PART.low_bytes, DRIVER_PART.likely_bytes, DRIVER_PART.high_bytes)))  # fmt: skip


def runtime_fact(
    table: tuple[RuntimeFact, ...],
    capability: Capability | None,
    torch_version: str | None = None,
    *,
    quantized: bool = False,
) -> RuntimeFact:
    """The row that holds for a device; the first, widest one where the capability is unknown.

    A row of a torch release comes before the current ones, the longest match first.

    >>> runtime_fact(CUBLAS_WORKSPACE, (9, 0)).bytes.likely_bytes
    33554432
    >>> runtime_fact(DRIVER_CONTEXT, (8, 0), "2.1.1").torch, runtime_fact(DRIVER_CONTEXT, (8, 0), "2.1.0").torch
    ((2, 1), (2, 1, 0))
    """
    if capability is None:
        return table[0]
    release = parse_version(torch_version) if torch_version is not None else None
    if release is not None:
        then = [
            fact for fact in table
            if fact.torch and release[: len(fact.torch)] == fact.torch and fact.since <= capability
            and fact.quantized <= quantized
        ]  # fmt: skip
        if then:
            return max(then, key=lambda fact: (len(fact.torch or ()), fact.quantized))
    return next(fact for fact in reversed(table) if fact.since <= capability and fact.torch is None)
