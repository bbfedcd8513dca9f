"""One rank of vLLM as an Estimate, so that verdict, solver, table and JSON treat it like every other runtime."""

from __future__ import annotations

from gpufit.errors import Undecided
from gpufit.facts.architecture import Architecture
from gpufit.memory.activations import Phase
from gpufit.memory.breakdown import Row
from gpufit.memory.estimate import Estimate
from gpufit.memory.ranges import ZERO, Range
from gpufit.memory.runtime import DRIVER_CONTEXT, RuntimeFact, runtime_fact
from gpufit.memory.vllm.cache import BLOCK_TOKENS, Pool, plan_pool
from gpufit.memory.vllm.engine import Engine, make_engine
from gpufit.memory.vllm.profile import estimate_profile
from gpufit.memory.vllm.runtime import graph_memory, non_torch_memory
from gpufit.memory.vllm.weights import count_rank_weights
from gpufit.memory.weights import count_weights
from gpufit.memory.workload import Workload
from gpufit.records import replace
from gpufit.units import MIB

_SOURCE = "vLLM 0.33.0"
# After the profile run the cache of free blocks is emptied; what stays are open segments of the small and large pools
# (kSmallBuffer, kLargeBuffer, c10/cuda/CUDACachingAllocator)
_SEGMENTS = Range(0, 22 * MIB, 64 * MIB)


def estimate_vllm(architecture: Architecture, workload: Workload) -> Estimate:
    """The least that one rank needs to start and to serve ``batch`` requests of the whole context at once.

    Raises Undecided where the profile run pushes pictures or sound through a tower, Unsupported as count_weights does.
    """
    refuse_towers(architecture)
    engine = make_engine(architecture, workload)
    ranks = engine.tensor_parallel
    own = count_rank_weights(architecture, workload.dtype, workload.quant, ranks)
    whole = count_weights(architecture, workload.dtype, workload.quant)
    quantized = whole.quantized_bytes // ranks
    weights = replace(
        whole, quantized_bytes=quantized, kept_bytes=own.stored.likely_bytes - quantized, buffer_bytes=own.rotary_bytes,
        padding_bytes=own.held.likely_bytes - own.stored.likely_bytes - own.rotary_bytes,
    )  # fmt: skip
    profile = estimate_profile(architecture, workload.dtype, engine, workload.compute_capability)
    cache = plan_pool(architecture, workload, engine).bytes_for(workload.batch)
    context = runtime_fact(DRIVER_CONTEXT, workload.compute_capability)
    outside = _outside(architecture, engine, context)
    allocated = own.held + Range.exact(cache) + profile.peak
    reserved = allocated + _SEGMENTS
    phase = Phase(
        name="prefill", cache_tokens=workload.context_tokens, activation_bytes=profile.peak.likely_bytes,
        moment="the profile run", exact=True,
    )  # fmt: skip
    return Estimate(
        architecture=architecture, workload=workload, weights=weights, kv_cache_bytes=cache, activations=profile.peak,
        workspace=RuntimeFact(since=(0, 0), bytes=ZERO, source="part of the profile run's peak"),
        context=replace(context, bytes=outside), slack=_SEGMENTS, phases=(phase,), phase=phase,
        allocated=allocated, reserved=reserved, process=reserved + outside,
        load_peak=own.held + Range(0, 0, own.load_peak_bytes) + context.bytes,
    )  # fmt: skip


def refuse_towers(architecture: Architecture) -> None:
    """Raises Undecided for models whose profile run includes an encoder's largest batch."""
    towers = [stack.role for stack in architecture.stacks if stack.role in ("vision", "audio", "encoder")]
    if towers and architecture.generates:
        raise Undecided(
            f"vLLM profiles the {towers[0]} part of {architecture.model_type} with as many items as its own processor "
            "allows, for which gpufit has no formula",
            hint="use --runtime transformers, or start vLLM with --skip-mm-profiling and text alone",
        )


def break_down_vllm(e: Estimate) -> tuple[Row, ...]:
    """The rows of ``estimate_vllm``; their bytes sum to the process total."""
    engine = make_engine(e.architecture, e.workload)
    pool = plan_pool(e.architecture, e.workload, engine)
    own = count_rank_weights(e.architecture, e.workload.dtype, e.workload.quant, engine.tensor_parallel)
    context = runtime_fact(DRIVER_CONTEXT, e.workload.compute_capability)
    outside = {
        "driver context": context,
        "outside torch": non_torch_memory(engine),
        "CUDA graphs": graph_memory(e.architecture),
    }
    shared = f", one of {engine.tensor_parallel} ranks" if engine.tensor_parallel > 1 else ""
    return (
        Row(
            name="weights", range=own.held,
            formula=(
                f"tensors {own.stored.likely_bytes:,} + rotary table {own.rotary_bytes:,} + allocator's rounding "
                f"{e.weights.padding_bytes:,}{shared}"
            ),
            source=f"{_SOURCE}, model_executor/layers; torch, c10/cuda/CUDACachingAllocator.cpp",
        ),
        Row(
            name="kv_cache", range=Range.exact(e.kv_cache_bytes), formula=_pool_formula(pool, e.workload.batch),
            source=f"{_SOURCE}, v1/core/kv_cache_planning.py",
        ),
        Row(
            name="activations", range=e.activations,
            formula=(
                f"the larger of {engine.batched_tokens:,} tokens through a layer and {engine.sequences:,} × "
                f"{e.architecture.vocab_size:,} logits through the sampler, + cuBLAS workspace"
            ),
            source=f"{_SOURCE}, profile_run of the model runner",
        ),
        Row(
            name="runtime", range=e.context.bytes,
            formula=" + ".join(f"{name} {fact.bytes.likely_bytes:,}" for name, fact in outside.items()),
            source="; ".join(fact.source for fact in outside.values()),
        ),
        Row(
            name="slack", range=e.slack, formula="open segments of the caching allocator after the profile run",
            source="torch, c10/cuda/CUDACachingAllocator.cpp",
        ),
    )  # fmt: skip


def _outside(architecture: Architecture, engine: Engine, context: RuntimeFact) -> Range:
    return context.bytes + non_torch_memory(engine).bytes + graph_memory(architecture).bytes


def _pool_formula(pool: Pool, requests: int) -> str:
    if not pool.block_bytes:
        return "none: the model keeps no cache"
    kinds = " + ".join(f"{kind.layers} {kind.kind} layers × {kind.request_pages} pages" for kind in pool.kinds)
    return (
        f"({requests:,} requests × {pool.request_blocks:,} blocks + 1) × {pool.block_bytes:,} B; {kinds}, "
        f"pages of {', '.join(sorted({str(kind.block_tokens) for kind in pool.kinds}, key=int))} tokens "
        f"(blocks of {BLOCK_TOKENS})"
    )
