"""The serving runtimes behind one door: which estimate, rows, plan and formats belong to vLLM and to llama.cpp.

Imported only when a workload names one of them, so that transformers' path stays as light as it is.
"""

from __future__ import annotations

from gpufit.facts.architecture import Architecture
from gpufit.memory.breakdown import Row
from gpufit.memory.estimate import Estimate
from gpufit.memory.runtime_plan import RuntimePlan
from gpufit.memory.workload import Quantization, Workload

# Formats to recommend, least loss first, with the compute capability that they need. vLLM: quantizing while loading
# (model_executor/layers/quantization/fp8.py, get_min_capability 8.0; bitsandbytes.py 7.0). llama.cpp: its own mixtures.
SERVED_FORMATS: dict[str, tuple[tuple[Quantization, tuple[int, int]], ...]] = {
    "vllm": (("none", (0, 0)), ("fp8", (8, 0)), ("bnb-nf4", (7, 0))),
    "llama.cpp": (
        ("none", (0, 0)), ("gguf-q8_0", (0, 0)), ("gguf-q6_k", (0, 0)), ("gguf-q5_k_m", (0, 0)),
        ("gguf-q4_k_m", (0, 0)), ("gguf-q3_k_m", (0, 0)),
    ),
}  # fmt: skip
SMALLER_CACHE: dict[str, str] = {"vllm": "fp8", "llama.cpp": "q8_0"}


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
