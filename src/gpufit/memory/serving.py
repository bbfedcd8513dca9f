"""The serving runtimes behind one door: which estimate, rows, plan and formats belong to vLLM and to llama.cpp.

Imported only when a workload names one of them, so that transformers' path stays as light as it is.
"""

from __future__ import annotations

from gpufit.errors import Unsupported
from gpufit.facts.architecture import Architecture
from gpufit.memory.breakdown import Row
from gpufit.memory.estimate import Estimate
from gpufit.memory.runtime_plan import RuntimePlan
from gpufit.memory.workload import Quantization, Workload
from gpufit.records import record, replace

# Formats to recommend, least loss first, with the compute capability that they need. vLLM: quantizing while loading
# (model_executor/layers/quantization/fp8.py, get_min_capability 8.0; bitsandbytes.py 7.0). llama.cpp: its own mixtures.
SERVED_FORMATS: dict[str, tuple[tuple[Quantization, tuple[int, int]], ...]] = {
    "vllm": (("none", (0, 0)), ("fp8", (8, 0)), ("bnb-nf4", (7, 0))),
    "llama.cpp": (
        ("none", (0, 0)), ("gguf-q8_0", (0, 0)), ("gguf-q6_k", (0, 0)), ("gguf-q5_k_m", (0, 0)),
        ("gguf-q4_k_m", (0, 0)), ("gguf-q3_k_m", (0, 0)),
    ),
}  # fmt: skip


def served_formats(architecture: Architecture, runtime: str) -> tuple[tuple[Quantization, tuple[int, int]], ...]:
    """What the runtime can load a model as; experts published in MXFP4 stay so in a GGUF file, and lose nothing."""
    if runtime == "llama.cpp" and architecture.config_quantization == "mxfp4":
        return (("gguf-mxfp4", (0, 0)),)
    return SERVED_FORMATS[runtime]


@record
class Served:
    """A workload's weights, cache and attention by their formats' names in its runtime."""

    weights: str
    cache: str
    attention: str


def as_served(workload: Workload) -> Served:
    """What a runtime makes of a workload.

    vLLM's cache follows the model's dtype, and it chooses among its attention kernels itself. llama.cpp's cache is F16
    unless it is told otherwise, and attention is counted as the flash kernel that ``-fa auto`` takes on a GPU.

    >>> as_served(Workload(prompt_tokens=1, dtype="bf16", runtime="llama.cpp"))
    Served(weights='gguf-bf16', cache='f16', attention='flash')
    >>> as_served(Workload(prompt_tokens=1, dtype="bf16", quant="fp8", runtime="vllm"))
    Served(weights='fp8', cache='bf16', attention='auto')
    """
    w = workload
    if w.runtime == "vllm":
        weights = w.dtype if w.quant == "none" else w.quant
        return Served(weights=weights, cache=w.kv_dtype or w.dtype, attention="auto")
    from gpufit.memory.llama_cpp.cache import cache_type
    from gpufit.memory.llama_cpp.estimate import mixture_of

    weights = w.quant if w.quant == "stored" else mixture_of(w)
    return Served(weights=weights, cache=cache_type(w.kv_dtype).name.lower(), attention="flash")


def weigh_formats(architecture: Architecture, workload: Workload) -> tuple[tuple[str, int], ...]:
    """The weights alone on one GPU in each format that the runtime loads, least loss first.

    A GGUF file and a checkpoint that is stored quantized are what they are; llama.cpp converts the latter.
    """
    files, runtime = architecture.stored, workload.runtime
    as_stored = files is not None and (files.format == "gguf" if runtime == "llama.cpp" else files.method is not None)
    formats: tuple[Quantization, ...] = tuple(quant for quant, _ in served_formats(architecture, runtime))
    if as_stored:
        formats = ("stored",)
    elif runtime == "vllm" and architecture.config_quantization:
        formats = (workload.quant,)
    found = []
    for quant in formats:
        try:
            size = _weigh_alone(architecture, replace(workload, quant=quant))
        except Unsupported:  # this family has no layer that the format converts
            continue
        found.append((as_served(replace(workload, quant=quant)).weights, size))
    return tuple(found)


def _weigh_alone(architecture: Architecture, workload: Workload) -> int:
    if workload.runtime == "vllm":
        from gpufit.memory.vllm.weights import count_rank_weights

        return count_rank_weights(architecture, workload.dtype, workload.quant).held.likely_bytes
    from gpufit.memory.llama_cpp.estimate import model_buffer_bytes

    return model_buffer_bytes(architecture, workload)


def estimate_served(architecture: Architecture, workload: Workload) -> Estimate:
    """What one GPU needs under the workload's runtime."""
    if workload.runtime == "vllm":
        from gpufit.memory.vllm.estimate import estimate_vllm

        return estimate_vllm(architecture, workload)
    from gpufit.memory.llama_cpp.estimate import estimate_llama_cpp

    return estimate_llama_cpp(architecture, workload)


def break_down_served(estimate: Estimate) -> tuple[Row, ...]:
    """The rows of ``estimate_served``."""
    if estimate.workload.runtime == "vllm":
        from gpufit.memory.vllm.estimate import break_down_vllm

        return break_down_vllm(estimate)
    from gpufit.memory.llama_cpp.estimate import break_down_llama_cpp

    return break_down_llama_cpp(estimate)


def plan_served(
    estimate: Estimate,
    *,
    model: str,
    total_bytes: int | None,
    budget_bytes: int,
    longest_tokens: int,
    largest_batch: int,
) -> RuntimePlan:
    """The settings that were solved, and the line to type."""
    if estimate.workload.runtime == "vllm":
        from gpufit.memory.vllm.plan import plan_vllm

        return plan_vllm(
            estimate, model=model, total_bytes=total_bytes, budget_bytes=budget_bytes, longest_tokens=longest_tokens,
            largest_batch=largest_batch,
        )  # fmt: skip
    from gpufit.memory.llama_cpp.plan import plan_llama_cpp

    return plan_llama_cpp(
        estimate, model=model, budget_bytes=budget_bytes, longest_tokens=longest_tokens, largest_batch=largest_batch
    )
