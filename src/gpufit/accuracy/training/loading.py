"""What the allocator counts beyond the tensors after loading, by playing the loading through its simulation."""

from __future__ import annotations

from functools import lru_cache

from gpufit.facts.architecture import Architecture
from gpufit.facts.dtypes import DTYPE_BYTES
from gpufit.facts.quant_formats import MATRIX_PARTS
from gpufit.facts.tensors import TensorGroup
from gpufit.memory.ranges import Range
from gpufit.memory.training.adapters import Trained
from gpufit.memory.training.estimate import TrainingEstimate
from gpufit.memory.training.plan import Method, TrainingPlan
from gpufit.memory.training.states import prepared_bytes
from gpufit.memory.weights import GroupBytes, weigh_groups
from gpufit.replay.allocator import CachingAllocator
from gpufit.replay.blocks import Block

# transformers 5, core_model_loading.py, GLOBAL_WORKERS = min(4, cpus): how many 16-bit tensors arrive before the first
# of them is quantized is up to threads, and repeated runs differ by it
AHEAD = (1, 2, 3, 4)


def played_rests(e: TrainingEstimate) -> Range:
    """Bytes that ``memory_allocated`` shows beyond the tensors of weights, buffers and adapters after loading."""
    plan = _what_matters(e.plan)
    trained = e.residents.trained if plan.trains_adapters else ()
    found = sorted(_played(e.architecture, plan, trained, ahead) for ahead in _tries(plan))
    return Range(found[0], sum(found) // len(found), found[-1])


def _what_matters(plan: TrainingPlan) -> TrainingPlan:
    """The plan less what loading does not depend on, so that plans which differ in that alone share one answer."""
    method: Method = "lora" if plan.trains_adapters else "full"
    return TrainingPlan(
        method=method, weight_dtype=plan.base_dtype, quant=plan.quant, kbit_prepare=plan.kbit_prepare
    )  # fmt: skip


def _tries(plan: TrainingPlan) -> tuple[int, ...]:
    return AHEAD if plan.quant != "none" else (0,)


@lru_cache(maxsize=512)
def _played(architecture: Architecture, plan: TrainingPlan, trained: tuple[Trained, ...], ahead: int) -> int:
    """Tensors arrive one by one in the model's order; quantized ones leave their packed form and die; what k-bit
    preparation lifts is made anew at the end; then the adapters come."""
    pool = CachingAllocator()
    asked = 0

    def take(size: int) -> Block:
        block = pool.allocate(max(1, size))
        assert block is not None  # no limit is set
        return block

    groups = {found.group.name: found for found in weigh_groups(architecture, plan.base_dtype, plan.quant)}
    waiting: list[tuple[GroupBytes, Block]] = []
    plain: list[tuple[int, Block]] = []

    def settle() -> int:
        found, block = waiting.pop(0)
        if found.quantized_copies and plan.quant in MATRIX_PARTS:
            parts = MATRIX_PARTS[plan.quant](*found.matrix).values()
            for part in parts:
                take(part)
            pool.free(block)
            return sum(parts)
        copies = max(1, found.group.copies - found.quantized_copies)
        kept, lifted = found.kept_bytes // copies, prepared_bytes(found, plan) // copies
        if lifted != kept:
            plain.append((lifted, block))
        return lifted

    for group in _in_order(tuple(found.group for found in groups.values())):
        found = groups[group.name]
        size = group.elements * DTYPE_BYTES[group.dtype or plan.base_dtype]
        waiting.append((found, take(size)))
        if len(waiting) > ahead:
            asked += settle()
    while waiting:
        asked += settle()
    for lifted, block in plain:
        take(lifted)
        pool.free(block)
    if plan.trains_adapters:
        for tensor in trained:
            for _ in range(tensor.copies):
                size = tensor.elements * DTYPE_BYTES[tensor.dtype]
                take(size)
                asked += size
    return pool.allocated_bytes - asked


def _in_order(groups: tuple[TensorGroup, ...]) -> list[TensorGroup]:
    """One entry a tensor, the repeated layers one after the other."""
    order: list[TensorGroup] = []
    run: list[TensorGroup] = []

    def unroll() -> None:
        for _ in range(max((group.copies for group in run), default=0)):
            order.extend(group for group in run if group.copies)
        run.clear()

    for group in groups:
        if group.indices:
            if run and run[0].copies != group.copies:
                unroll()
            run.append(group)
        else:
            unroll()
            order.append(group)
    unroll()
    return order
