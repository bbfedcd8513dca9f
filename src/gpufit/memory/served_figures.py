"""The figures that vLLM and llama.cpp print about themselves, for holding them against published logs.

A log of vLLM that states no release but prints its activation peak comes from the V0 engine: later releases print it at
debug level alone (vllm/worker/worker.py, 0.6.4 to 0.8; v1/worker/gpu_worker.py, 0.11.0).
"""

from __future__ import annotations

from gpufit.errors import Unsupported
from gpufit.facts.architecture import Architecture
from gpufit.memory.ranges import Range
from gpufit.memory.workload import Workload
from gpufit.units import MIB

_UNSTATED = "vLLM 0.7.2"
_LARGE_SEGMENT_BYTES = 20 * MIB  # kLargeBuffer: one may stand open beside the weights


def vllm_figure(
    architecture: Architecture,
    workload: Workload,
    metric: str,
    *,
    version: str = "",
    batched_tokens: int | None = None,
    kv_tokens: int | None = None,
) -> Range:
    """One rank's figure under the name it has in measurement tables.

    ``metric`` is weights_only, activation_peak, non_torch, cuda_graph, or kv_cache with ``kv_tokens`` (what so many
    tokens take, since the pool itself is what was left over). The workload's context is max_model_len; its
    ``tensor_parallel``, ``compute_capability`` and ``device_total_bytes`` are the measurement's.

    >>> from gpufit.facts.read import parse_config
    >>> llama = parse_config({"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
    ...                       "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 32000})
    >>> vllm_figure(llama, Workload(prompt_tokens=4096), "kv_cache", kv_tokens=16).likely_bytes
    8388608

    Raises Undecided for the activation peak of models whose pictures or sound are profiled, Unsupported for a metric
    that vLLM does not print.
    """
    from gpufit.memory.vllm.cache import BLOCK_TOKENS, plan_pool
    from gpufit.memory.vllm.engine import make_engine, parse_version
    from gpufit.memory.vllm.estimate import refuse_towers
    from gpufit.memory.vllm.profile import estimate_profile
    from gpufit.memory.vllm.runtime import graph_memory, non_torch_memory
    from gpufit.memory.vllm.weights import count_rank_weights

    release = parse_version(version or _UNSTATED)
    engine = make_engine(architecture, workload, version=release, batched_tokens=batched_tokens)
    if metric == "weights_only":
        own = count_rank_weights(architecture, workload.dtype, workload.quant, engine.tensor_parallel)
        low = min(own.stored.low_bytes, own.held.low_bytes)
        return Range(low, own.held.likely_bytes, own.held.high_bytes + _LARGE_SEGMENT_BYTES)
    if metric == "activation_peak":
        refuse_towers(architecture)
        peak = estimate_profile(architecture, workload.dtype, engine, workload.compute_capability).peak
        if engine.is_v1 or engine.tensor_parallel == 1:
            return peak
        other = estimate_profile(
            architecture, workload.dtype, engine, workload.compute_capability, is_driver=False
        ).peak  # the log does not say which rank printed
        return Range(min(other.low_bytes, peak.low_bytes), peak.likely_bytes, peak.high_bytes)
    if metric == "non_torch":
        return non_torch_memory(engine).bytes
    if metric == "cuda_graph":
        return graph_memory(architecture).bytes
    if metric == "kv_cache" and kv_tokens is not None:
        pool = plan_pool(architecture, workload, engine)
        return Range.exact(pool.block_bytes * -(-kv_tokens // BLOCK_TOKENS))
    raise Unsupported(f"vLLM prints no {metric[:40]!r} that can be predicted")


def llama_cpp_figure(architecture: Architecture, workload: Workload, metric: str, *, all_logits: bool = False) -> Range:
    """A buffer of llama.cpp: weights_only (model), kv_cache or activation_peak (compute buffer).

    The workload's context is one slot's, its batch the slots, ``attention`` flash or not; ``quant`` is a GGUF mixture.
    ``all_logits`` is for builds up to 2025.

    Raises Undecided for graphs that are not modelled, Unsupported for another metric.
    """
    from gpufit.memory.llama_cpp.cache import count_encoder_buffer, count_kv_buffer, padded_cells
    from gpufit.memory.llama_cpp.estimate import count_compute_buffer, mixture_of
    from gpufit.memory.llama_cpp.weights import count_model_buffer

    context = workload.context_tokens
    if metric == "weights_only":
        return Range.exact(count_model_buffer(architecture, mixture_of(workload)).device_bytes)
    if metric == "kv_cache":
        if not architecture.cache:
            return Range.exact(count_encoder_buffer(architecture, padded_cells(context)) * workload.batch)
        kept = count_kv_buffer(architecture, context, sequences=workload.batch, kv_type=workload.kv_dtype)
        return Range.exact(kept.size_bytes)
    if metric == "activation_peak":
        size = count_compute_buffer(
            architecture, context, workload.batch, workload.kv_dtype, flash=workload.attention != "eager",
            all_logits=all_logits,
        )  # fmt: skip
        return Range(size, size, size + size // 16)
    raise Unsupported(f"llama.cpp prints no {metric[:40]!r} that can be predicted")
