"""The rows of a training estimate: built once, here; tables and JSON only render them."""

from __future__ import annotations

from gpufit.memory.breakdown import Row
from gpufit.memory.ranges import Range
from gpufit.memory.training import optimizers, sharding
from gpufit.memory.training.estimate import TrainingEstimate


def break_down_training(e: TrainingEstimate) -> tuple[Row, ...]:
    """Every part of the process total at its highest phase. The rows' bytes sum to the total, each end to its own."""
    rank, plan = e.rank, e.plan
    paged = Range(0, 0, rank.paged_bytes)
    return (
        Row(
            name="weights", range=Range.exact(rank.weights_bytes + rank.adapters_bytes), formula=_weights_formula(e),
            source=sharding.SOURCES[plan.sharding] if plan.gpus > 1 else "the model's tensors, one by one",
        ),
        Row(
            name="gradients", range=Range.exact(e.phase.gradients_bytes), formula=_gradients_formula(e),
            source="torch 2.13.0, csrc/autograd/functions/accumulate_grad.h: in the parameter's own format",
        ),
        Row(
            name="optimizer_states", range=Range.exact(rank.states_bytes), formula=_states_formula(e),
            source=optimizers.SOURCES[plan.optimizer],
        ),
        Row(
            name="activations", range=Range.exact(e.phase.temporaries_bytes + e.phase.step_bytes),
            formula=_activations_formula(e), source=f"peak of the step: {e.phase.name}, at {e.phase.moment}",
        ),
        Row(
            name="runtime",
            range=e.context.bytes + e.workspace + e.collectives + paged
            + Range.exact(rank.buffers_bytes + rank.rounding_bytes + rank.buckets_bytes),
            formula=_runtime_formula(e), source=e.context.source,
        ),
        Row(
            name="slack", range=e.slack, formula="what the caching allocator holds beyond what is allocated",
            source="PyTorch's allocation segments and temporaries of unlike sizes from phase to phase",
        ),
    )  # fmt: skip


def _weights_formula(e: TrainingEstimate) -> str:
    held, plan = e.residents, e.plan
    parts = []
    if held.quantized_bytes:
        parts.append(f"{held.quantized_bytes:,} in {plan.quant}")
    kept = held.weights_bytes - held.quantized_bytes - held.upcast_bytes
    parts.append(f"{kept:,} in {plan.base_dtype}")
    if held.upcast_bytes:
        parts.append(f"{held.upcast_bytes:,} more as k-bit preparation lifts them to fp32")
    if plan.trains_adapters:
        parts.append(f"{held.adapters_bytes:,} of adapters ({held.trained_parameters:,} parameters)")
    return _cut(" + ".join(parts), e, e.rank.weights_bytes < held.weights_bytes)


def _gradients_formula(e: TrainingEstimate) -> str:
    text = f"{e.residents.trained_parameters:,} trained parameters in {_formats(e)}"
    if not e.phase.gradients_bytes:
        return f"none yet: the peak comes before backward has made any ({text})"
    if e.phase.gradients_bytes < e.rank.gradients_bytes:
        return f"those that exist by then, of {e.rank.gradients_bytes:,} ({text})"
    return _cut(text, e, e.rank.gradients_bytes < e.residents.gradients_bytes)


def _states_formula(e: TrainingEstimate) -> str:
    optimizer = e.residents.optimizer
    text = f"{e.plan.optimizer} over {e.residents.trained_parameters:,} parameters"
    if optimizer.paged_bytes:
        text += f"; {optimizer.paged_bytes:,} more in managed memory"
    if e.rank.host_bytes:
        text += f"; {e.rank.host_bytes:,} of this rank on the host"
    return _cut(text, e, e.rank.states_bytes < optimizer.rounded_bytes and e.plan.gpus > 1)


def _activations_formula(e: TrainingEstimate) -> str:
    plan = e.plan
    if e.phase.name == "step":
        held = f" + {e.phase.temporaries_bytes:,} kept with the outputs" if e.phase.temporaries_bytes else ""
        return f"temporaries of the optimizer's step {e.phase.step_bytes:,}{held}"
    text = (
        f"{plan.micro_batch} × {plan.seq:,} tokens, checkpointing {plan.checkpointing}, {plan.attention} attention, "
        f"{plan.loss} loss"
    )
    if e.phase.name == "forward" and e.micro.caches_bytes:
        text += f", {e.micro.caches_bytes:,} of it keys and values that the model hands out"
    if e.rank.gathered_bytes or e.rank.block_bytes:
        text += f" + {e.rank.gathered_bytes + e.rank.block_bytes:,} of gathered weights and of each block"
    return text


def _runtime_formula(e: TrainingEstimate) -> str:
    parts = [
        f"driver context {e.context.bytes.likely_bytes:,}",
        f"cuBLAS workspaces {e.workspace.likely_bytes:,}",
        f"buffers {e.rank.buffers_bytes:,}",
        f"rounding {e.rank.rounding_bytes:,}",
    ]
    if e.rank.buckets_bytes:
        parts.append(f"communication buckets {e.rank.buckets_bytes:,}")
    if e.collectives.likely_bytes:
        parts.append(f"NCCL {e.collectives.likely_bytes:,}")
    return " + ".join(parts)


def _formats(e: TrainingEstimate) -> str:
    return " and ".join(sorted({tensor.dtype for tensor in e.residents.trained}))


def _cut(text: str, e: TrainingEstimate, is_cut: bool) -> str:
    return f"({text}) / {e.plan.gpus} GPUs" if is_cut and e.plan.gpus > 1 else text
