"""One rank's part when several GPUs train together: what it holds, what it gathers for a moment, what the host holds.

Data-parallel ranks are alike, so one stands for all; a pipeline's stages differ (``gpufit.memory.training.stages``).
"""

from __future__ import annotations

from gpufit.facts.architecture import Architecture
from gpufit.facts.dtypes import DTYPE_BYTES
from gpufit.facts.quant_formats import MATRIX_PARTS
from gpufit.memory.training.optimizers import count_optimizer
from gpufit.memory.training.plan import Sharding, TrainingPlan
from gpufit.memory.training.states import Residents
from gpufit.memory.weights import GroupBytes, weigh_groups
from gpufit.records import record, replace

SOURCES: dict[Sharding, str] = {
    "none": "one device holds everything",
    "ddp": "torch 2.13.0, nn/parallel/distributed.py: 25 MiB buckets, together a second copy of the gradients "
    "(gradient_as_bucket_view is False)",
    "fsdp1": "torch 2.13.0, distributed/fsdp: flat parameters cut in N; the block at work and the prefetched one are "
    "whole, the root stays whole from forward to backward",
    "fsdp2": "torch 2.13.0, distributed/fsdp/_fully_shard: every parameter cut in N along its first dimension",
    "zero1": "DeepSpeed ZeRO: 16-bit weights and gradients whole, fp32 weights and optimizer states cut in N",
    "zero2": "DeepSpeed ZeRO: gradients cut in N too, reduced in buckets",
    "zero3": "DeepSpeed ZeRO: weights cut in N too, gathered module by module",
    "pipeline": "accelerate's device_map: whole blocks on each device, one after the other",
}
MASTER_BYTES = 4  # DeepSpeed keeps an fp32 copy of what it trains in 16 bits
# a block's gradients piece by piece, and joined in the one tensor that is reduced (split's backward)
REDUCED_BLOCKS = 2


@record
class Rank:
    """Bytes of one rank.

    ``gathered_bytes`` are whole weights beside the shards as long as a micro-batch runs, ``block_bytes`` those of one
    block, which come and go (``gathered_blocks``); ``reducing_bytes`` whole gradients on their way to be reduced,
    ``buckets_bytes`` lasting communication buffers. ``host_bytes`` is what this rank keeps in host memory,
    ``paged_bytes`` what bitsandbytes keeps in managed memory.
    """

    weights_bytes: int
    adapters_bytes: int
    buffers_bytes: int
    gradients_bytes: int
    states_bytes: int
    step_bytes: int
    rounding_bytes: int
    gathered_bytes: int = 0
    block_bytes: int = 0
    reducing_bytes: int = 0
    buckets_bytes: int = 0
    host_bytes: int = 0
    paged_bytes: int = 0

    @property
    def lasting_bytes(self) -> int:
        """What is there whatever the phase, once the optimizer has made its states."""
        held = self.weights_bytes + self.adapters_bytes + self.buffers_bytes + self.rounding_bytes
        return held + self.states_bytes + self.buckets_bytes


def hold_rank(architecture: Architecture, plan: TrainingPlan, residents: Residents) -> Rank:
    """What one rank holds under the plan's sharding.

    >>> from gpufit.facts.read import parse_config
    >>> from gpufit.memory.training.states import count_residents
    >>> llama = parse_config({"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
    ...                       "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 32000})
    >>> plan = TrainingPlan(precision="amp-bf16", optimizer="adamw-foreach", sharding="fsdp1", gpus=4)
    >>> rank = hold_rank(llama, plan, count_residents(llama, plan))
    >>> shards = rank.weights_bytes + rank.gradients_bytes + rank.states_bytes + rank.step_bytes
    >>> round(shards * 4 / llama.parameters, 2)
    20.0
    """
    optimizer = residents.optimizer
    whole = Rank(
        weights_bytes=residents.weights_bytes, adapters_bytes=residents.adapters_bytes,
        buffers_bytes=residents.buffers_bytes, gradients_bytes=residents.gradients_bytes,
        states_bytes=optimizer.rounded_bytes, step_bytes=optimizer.step_bytes, paged_bytes=optimizer.paged_bytes,
        rounding_bytes=residents.rounding_bytes,
    )  # fmt: skip
    if plan.steps_in_backward:  # each gradient is used and dropped as soon as it is made
        largest = max(residents.trained, key=lambda tensor: tensor.elements)
        alone = replace(largest, copies=1, blocks=0)
        step = count_optimizer(plan.optimizer, (alone,), galore_rank=plan.galore_rank).step_bytes
        whole = replace(whole, gradients_bytes=alone.rounded_bytes, step_bytes=step)
    if plan.gpus <= 1 or plan.sharding in ("none", "pipeline"):
        return whole
    if plan.sharding == "ddp":
        return replace(whole, buckets_bytes=residents.gradients_bytes)
    if plan.sharding in ("fsdp1", "fsdp2"):
        return _fsdp(architecture, plan, residents, whole)
    return _zero(architecture, plan, residents, whole)


def _fsdp(architecture: Architecture, plan: TrainingPlan, residents: Residents, whole: Rank) -> Rank:
    """Shards of weights, gradients and states; whole weights of the root and of two blocks in the compute format.

    A reduce-scatter takes the block's gradients whole, in the parameters' format (FSDP1) or in fp32 (FSDP2 with mixed
    precision), and the next block's while the first is under way.
    """
    n = plan.gpus
    block, root = unit_bytes(architecture, plan)
    in_block = sum(t.parameters // t.blocks for t in residents.trained if t.blocks)
    reduced = 4 if plan.sharding == "fsdp2" and plan.autocast else DTYPE_BYTES[plan.compute_dtype]
    uncut = _uncut_bytes(architecture, plan)
    held = Rank(
        weights_bytes=uncut - (-(whole.weights_bytes - uncut) // n), adapters_bytes=-(-whole.adapters_bytes // n),
        buffers_bytes=whole.buffers_bytes, gradients_bytes=-(-whole.gradients_bytes // n),
        states_bytes=-(-whole.states_bytes // n), step_bytes=-(-whole.step_bytes // n), rounding_bytes=0,
        gathered_bytes=root, block_bytes=block, reducing_bytes=REDUCED_BLOCKS * in_block * reduced,
        paged_bytes=-(-whole.paged_bytes // n),
    )  # fmt: skip
    if plan.offload == "none":
        return held
    # FSDP's CPUOffload keeps shards, their gradients and the optimizer on the host; the step runs there
    away = held.weights_bytes + held.adapters_bytes + held.gradients_bytes + held.states_bytes + held.step_bytes
    return replace(
        held, weights_bytes=0, adapters_bytes=0, gradients_bytes=0, states_bytes=0, step_bytes=0,
        host_bytes=away,
    )  # fmt: skip


def _uncut_bytes(architecture: Architecture, plan: TrainingPlan) -> int:
    """Block scales and code books of bitsandbytes: a quant_state beside the parameter, which FSDP does not see.

    Source: bitsandbytes 0.50.2, nn/modules.py, Params4bit.quant_state; torch flattens parameters alone.
    """
    if not plan.quant.startswith("bnb-"):
        return 0
    return sum(
        found.quantized_copies * (sum(parts.values()) - parts["weight"])
        for found in weigh_groups(architecture, plan.base_dtype, plan.quant)
        if found.quantized_copies and (parts := MATRIX_PARTS[plan.quant](*found.matrix))
    )


def _zero(architecture: Architecture, plan: TrainingPlan, residents: Residents, whole: Rank) -> Rank:
    """ZeRO by stage. What is trained in 16 bits has an fp32 copy among the states, cut in N like them.

    The step casts its part of the gradients to fp32. Buckets are those of the configuration that gpufit prints:
    hidden² elements to reduce (the Trainer's ``auto``), as many to gather.
    """
    n, stage = plan.gpus, int(plan.sharding[-1])
    sixteen = plan.compute_dtype != "fp32"
    element = DTYPE_BYTES[plan.compute_dtype]
    trained = residents.trained_parameters
    masters = MASTER_BYTES * trained if sixteen else 0
    as_fp32 = tuple(replace(tensor, dtype="fp32") for tensor in residents.trained)
    states = masters + count_optimizer(plan.optimizer, as_fp32).rounded_bytes
    bucket = architecture.stacks[0].hidden ** 2
    block, _ = unit_bytes(architecture, plan)
    weights = _zero_weights(residents, plan, element)
    adapters = element * trained if plan.trains_adapters else 0
    gradients = element * trained
    held = Rank(
        weights_bytes=-(-weights // n) if stage == 3 else weights,
        adapters_bytes=-(-adapters // n) if stage == 3 else adapters,
        buffers_bytes=whole.buffers_bytes,
        gradients_bytes=gradients if stage == 1 else -(-gradients // n),
        states_bytes=-(-states // n),
        step_bytes=-(-4 * trained // n) if sixteen else 0,
        rounding_bytes=0,
        block_bytes=block if stage == 3 else 0,
        buckets_bytes=2 * bucket * element,
    )  # fmt: skip
    if plan.offload == "none":
        return held
    away = held.states_bytes + held.step_bytes
    held = replace(held, states_bytes=0, step_bytes=0, host_bytes=away)
    if plan.offload == "all" and stage == 3:
        held = replace(
            held, weights_bytes=0, adapters_bytes=0, host_bytes=away + held.weights_bytes + held.adapters_bytes
        )
    return held


def gathered_blocks(plan: TrainingPlan, phase: str, moment: str) -> int:
    """How many blocks' weights are whole at once.

    FSDP1 gathers a block where it begins and frees it where it ends; on the way back BACKWARD_PRE gathers the next one
    beside it, the root's own backward, the loss, being the first to do so. FSDP2 and ZeRO 3 always overlap two.
    Source: torch 2.13.0, distributed/fsdp/_runtime_utils.py, _pre_backward_hook and _prefetch_handle.

    >>> plan = TrainingPlan(gpus=2, sharding="fsdp1")
    >>> [gathered_blocks(plan, *at) for at in (("forward", "loss"), ("backward", "loss"), ("backward", "layers.1"))]
    [0, 1, 2]
    >>> gathered_blocks(plan, "backward", "layers.0"), gathered_blocks(plan, "forward", "layers.0")
    (1, 1)
    """
    if plan.sharding != "fsdp1":
        return 2
    index = moment.rpartition(".")[2]
    within = int(index.isdecimal())
    if phase == "forward" or not plan.prefetches:
        return within
    return within + int(index != "0" and (within or moment == "loss"))


def _zero_weights(residents: Residents, plan: TrainingPlan, element: int) -> int:
    """DeepSpeed casts the whole model to its 16-bit format; what is quantized stays so."""
    if plan.trains_adapters:
        return residents.weights_bytes
    return element * residents.trained_parameters


def unit_bytes(architecture: Architecture, plan: TrainingPlan) -> tuple[int, int]:
    """Whole weights of the largest repeated block, and of everything outside the blocks, in the compute format."""
    blocks: dict[int, int] = {}
    root = 0
    for found in weigh_groups(architecture, plan.base_dtype, plan.quant):
        if found.group.module == "buffer":
            continue
        size = _gathered_bytes(found, plan)
        if found.group.indices:
            layers = len(found.group.indices[0])
            blocks[layers] = blocks.get(layers, 0) + size // layers
        else:
            root += size
    return max(blocks.values(), default=0), root


def _gathered_bytes(found: GroupBytes, plan: TrainingPlan) -> int:
    if found.quantized_copies:
        return found.quantized_bytes + found.kept_bytes
    return found.group.copies * found.group.elements * DTYPE_BYTES[plan.compute_dtype]
