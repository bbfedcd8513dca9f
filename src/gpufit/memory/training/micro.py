"""One micro-batch above what stays, as the phases of a step take it: the tape's findings in plain bytes."""

from __future__ import annotations

from functools import lru_cache

from gpufit.facts.architecture import Architecture
from gpufit.facts.dtypes import DTYPE_BYTES
from gpufit.memory.training.forward import micro_step
from gpufit.memory.training.plan import Precision, TrainingPlan
from gpufit.memory.training.step import MicroBytes
from gpufit.records import replace


def micro_bytes(architecture: Architecture, plan: TrainingPlan, *, sums_in_place: bool = True) -> MicroBytes:
    """The micro-batch of this plan; ``sums_in_place`` is ``micro_step``'s.

    Raises Undecided where the family's training is not known.

    >>> from gpufit.facts.read import parse_config
    >>> llama = parse_config({"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
    ...                       "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 32000})
    >>> micro_bytes(llama, TrainingPlan(micro_batch=1, seq=2048)).logits_bytes == 2048 * 32000 * 2
    True
    """
    return _micro_bytes(architecture, _what_matters(plan), sums_in_place)


def _what_matters(plan: TrainingPlan) -> TrainingPlan:
    """The plan less what no activation depends on, so that plans which differ in that alone share one answer.

    FSDP gathers weights in the format of the arithmetic and DeepSpeed casts the model to it: no autocast copies there.
    Source: torch 2.13.0, distributed/fsdp, MixedPrecision.param_dtype; DeepSpeed, runtime/engine.py, module.bfloat16().
    """
    cast = plan.gpus > 1 and plan.sharding.startswith(("fsdp", "zero")) and plan.method == "full"
    frozen = plan.frozen_units
    return replace(
        plan, optimizer="sgd", gpus=2 if frozen else 1, sharding="fsdp1" if frozen else "none",
        offload="none", galore_rank=1,
        grad_accum=min(2, plan.grad_accum), keeps_outputs=False, steps_in_backward=False, prefetches=True,
        precision=_plain(plan.compute_dtype) if cast else plan.precision,
        weight_dtype=None if cast else plan.weight_dtype,
    )  # fmt: skip


def _plain(dtype: str) -> Precision:
    return "bf16" if dtype == "bf16" else "fp16" if dtype == "fp16" else "fp32"


@lru_cache(maxsize=1024)
def _micro_bytes(architecture: Architecture, plan: TrainingPlan, sums_in_place: bool) -> MicroBytes:
    accumulates = plan.grad_accum > 1
    found = micro_step(architecture, replace(plan, grad_accum=1), accumulating=accumulates, sums_in_place=sums_in_place)
    layers = sum(stack.layers for stack in architecture.stacks)
    # prepare_model_for_kbit_training lifts the embeddings, and with them their output, to fp32
    stream = 4 if plan.kbit_prepare and not plan.embeddings_cast_back else DTYPE_BYTES[plan.base_dtype]
    hidden = plan.tokens * architecture.stacks[0].hidden * stream
    return MicroBytes(
        forward_bytes=found.forward_peak_bytes,
        forward_moment=found.forward_moment,
        backward=found.moments,
        logits_bytes=found.logits_bytes,
        caches_bytes=found.caches_bytes,
        leaf_bytes=2 * hidden if plan.trains_adapters and plan.checkpointing != "none" else 0,
        saved_layer_bytes=found.saved_bytes // max(1, layers),
    )
