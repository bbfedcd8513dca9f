"""How many layers and how much context to give llama.cpp, and the ``llama-server`` line that says so."""

from __future__ import annotations

from gpufit.memory.estimate import Estimate
from gpufit.memory.llama_cpp.cache import cache_type, count_kv_buffer, padded_cells
from gpufit.memory.llama_cpp.estimate import mixture_of
from gpufit.memory.llama_cpp.weights import count_model_buffer
from gpufit.memory.runtime_plan import RuntimePlan

BUILD = "llama-cpp-python 0.3.36"


def plan_llama_cpp(
    estimate: Estimate, *, model: str, budget_bytes: int, longest_tokens: int, largest_batch: int
) -> RuntimePlan:
    """The most layers that fit at this context (``-ngl``), and the longest context with all of them (``-c``)."""
    w = estimate.workload
    layers = solve_layers(estimate, budget_bytes)
    whole = len(count_model_buffer(estimate.architecture, mixture_of(w)).block_bytes) + 1
    cells = padded_cells(w.context_tokens) * w.batch
    kv = count_kv_buffer(estimate.architecture, w.context_tokens, sequences=w.batch, kv_type=w.kv_dtype)
    return RuntimePlan(
        runtime="llama.cpp", version=BUILD,
        values=(
            ("n_gpu_layers", layers), ("all_layers", whole), ("ctx_size", cells), ("parallel", w.batch),
            ("cache_type", cache_type(w.kv_dtype).name.lower()), ("model_buffer_bytes", estimate.weights.total_bytes),
            ("kv_buffer_bytes", kv.size_bytes), ("compute_buffer_bytes", estimate.activations.likely_bytes),
            ("largest_ctx_size", longest_tokens * w.batch), ("largest_parallel", largest_batch),
        ),
        command=_command(model, estimate, cells, layers),
    )  # fmt: skip


def solve_layers(estimate: Estimate, budget_bytes: int) -> int:
    """The largest ``-ngl`` whose high end fits: the last layers first, the output as one layer more.

    Source: src/llama-model.cpp, load_tensors: ``i_gpu_start = n_layer + 1 - n_gpu_layers``.
    """
    w = estimate.workload
    buffer = count_model_buffer(estimate.architecture, mixture_of(w))
    scale = estimate.weights.total_bytes / max(1, buffer.device_bytes)  # a file's own types, spread over the layers
    cached = list(
        count_kv_buffer(estimate.architecture, w.context_tokens, sequences=w.batch, kv_type=w.kv_dtype).layer_bytes
    )
    blocks = list(buffer.block_bytes)
    cached += [0] * (len(blocks) - len(cached))
    used = estimate.activations.high_bytes + estimate.context.bytes.high_bytes + int(buffer.output_bytes * scale)
    if used > budget_bytes:
        return 0
    fit = 1
    for block, cache in zip(reversed(blocks), reversed(cached), strict=False):
        used += int(block * scale) + cache
        if used > budget_bytes:
            return fit
        fit += 1
    return fit


def _command(model: str, estimate: Estimate, cells: int, layers: int) -> str:
    w = estimate.workload
    words = ["llama-server"]
    file = (
        model if model.endswith(".gguf") else f"{model.rpartition('/')[2]}-{mixture_of(w).removeprefix('gguf-')}.gguf"
    )
    words.append(f"-m {file}")
    words += [f"-c {cells}", f"-np {w.batch}", f"-ngl {layers}"]
    kind = cache_type(w.kv_dtype).name.lower()
    if kind != "f16":
        words += [f"-ctk {kind}", f"-ctv {kind}", "-fa on"]
    return " ".join(words)
