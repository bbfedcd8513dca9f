"""What the allocator counts beyond the tensors after loading, by playing the loading through its simulation."""

from __future__ import annotations

import random
from functools import lru_cache
from itertools import product
from operator import itemgetter

from gpufit.facts.architecture import Architecture
from gpufit.facts.dtypes import DTYPE_BYTES
from gpufit.facts.quant_formats import MATRIX_PARTS
from gpufit.facts.tensors import TensorGroup
from gpufit.memory.ranges import Range
from gpufit.memory.training.adapters import Trained
from gpufit.memory.training.estimate import TrainingEstimate
from gpufit.memory.training.plan import Method, TrainingPlan
from gpufit.memory.training.states import prepared_bytes
from gpufit.memory.versions import holds
from gpufit.memory.weights import GroupBytes, weigh_groups
from gpufit.replay.allocator import CachingAllocator
from gpufit.replay.blocks import Block

# transformers 5.0.0, core_model_loading.py:1118-1136: tensors are fetched in the order of their names by four threads,
# with nothing to bound how many wait in 16 bit until the one thread that quantizes takes them. Which holes the packed
# ones find is up to that race: fifteen published loads of one model differ by 8 MB. (5.17.0:1628-1634 fetches one at a
# time, and yet its six loads of that model differ as much: why is not known.) Half of AHEAD moves the mean of the
# plays by less than 1 MB.
AHEAD, PLAYS = 16, 12


def played_rests(e: TrainingEstimate) -> Range:
    """Bytes that ``memory_allocated`` shows beyond the tensors of weights, buffers and adapters after loading."""
    plan = _what_matters(e.plan)
    trained = e.residents.trained if plan.trains_adapters else ()
    races = plan.quant != "none" and not holds("loading one by one", e.plan.library_version, e.architecture.model_type)
    seeds = range(1, PLAYS + 1) if races else (0,)
    found = sorted(_played(e.architecture, plan, trained, seed) for seed in seeds)
    return Range(found[0], sum(found) // len(found), found[-1])


def _what_matters(plan: TrainingPlan) -> TrainingPlan:
    """The plan less what loading does not depend on, so that plans which differ in that alone share one answer."""
    method: Method = "lora" if plan.trains_adapters else "full"
    return TrainingPlan(
        method=method, weight_dtype=plan.base_dtype, quant=plan.quant, kbit_prepare=plan.kbit_prepare,
        embeddings_cast_back=plan.embeddings_cast_back,
    )  # fmt: skip


@lru_cache(maxsize=512)
def _played(architecture: Architecture, plan: TrainingPlan, trained: tuple[Trained, ...], seed: int) -> int:
    """Tensors arrive one by one; quantized ones leave their packed form and die; what k-bit preparation lifts is made
    anew at the end; then the adapters come. A ``seed`` lets up to AHEAD arrive before the first is quantized."""
    pool = CachingAllocator()
    race = random.Random(seed)
    asked = 0

    def take(size: int) -> Block:
        block = pool.allocate(max(1, size))
        assert block is not None  # no limit is set
        return block

    weighed = weigh_groups(architecture, plan.base_dtype, plan.quant)
    groups = {found.group.name: found for found in weighed}
    if seed:  # modeling_utils.py, caching_allocator_warmup: one block for all, half a byte for what will be 4-bit
        pool.free(take(sum(_warmed_up(found, plan) for found in weighed)))
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

    every = tuple(found.group for found in groups.values())
    for group in _by_name(every) if seed else _in_order(every):
        found = groups[group.name]
        size = group.elements * DTYPE_BYTES[group.dtype or plan.base_dtype]
        waiting.append((found, take(size)))
        while len(waiting) > (race.randint(0, AHEAD) if seed else 0):
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


def _warmed_up(found: GroupBytes, plan: TrainingPlan) -> int:
    """What get_total_byte_count takes a group for (param_element_size of bitsandbytes' quantizers: 0.5 or 1)."""
    group = found.group
    if group.tied_to:
        return 0
    packed = found.quantized_copies * group.elements
    whole = group.copies * group.elements - packed
    return (packed if plan.quant == "bnb-int8" else packed // 2) + whole * DTYPE_BYTES[group.dtype or plan.base_dtype]


def _by_name(groups: tuple[TensorGroup, ...]) -> list[TensorGroup]:
    """One entry a tensor, sorted as dot_natural_key does: part by part, numbers by their value."""
    found = []
    for group in groups:
        for index in product(*group.indices):
            parts = group.name.format(*index).split(".")
            found.append(([(0, int(part)) if part.isdigit() else (1, part) for part in parts], group))
    return [group for _, group in sorted(found, key=itemgetter(0))]


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
