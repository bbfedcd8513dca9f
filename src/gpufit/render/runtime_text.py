"""The settings that were solved for vLLM or llama.cpp, and the line to type."""

from __future__ import annotations

from gpufit.memory.runtime_plan import RuntimePlan
from gpufit.render.text import Screen, wrap


def render_plan(plan: RuntimePlan, screen: Screen) -> list[str]:
    """A sentence with the solved numbers, then the command on a line of its own.

    >>> plan = RuntimePlan(runtime="vllm", version="0.33.0", command="vllm serve gpt2", values=(
    ...     ("gpu_memory_utilization", None), ("default_gpu_memory_utilization", 0.92), ("likely_concurrency", 0),
    ...     ("largest_max_model_len", 0), ("largest_concurrency", 0)))
    >>> render_plan(plan, Screen())[1]
    'vLLM 0.33.0: no --gpu-memory-utilization is enough.'
    """
    values = dict(plan.values)
    sentence = _vllm(plan, values) if plan.runtime == "vllm" else _llama_cpp(plan, values)
    return ["", *wrap(sentence, screen.width, "  "), screen.paint(plan.command, "bold")]


def _vllm(plan: RuntimePlan, values: dict[str, int | float | str | None]) -> str:
    smallest = values["gpu_memory_utilization"]
    if smallest is None:
        return f"vLLM {plan.version}: no --gpu-memory-utilization is enough."
    return (
        f"vLLM {plan.version}: --gpu-memory-utilization {smallest:.2f} is the smallest that serves this; with all that "
        f"is free, --max-model-len up to {values['largest_max_model_len']:,} or {values['largest_concurrency']:,} "
        "requests of this length at once."
    )


def _llama_cpp(plan: RuntimePlan, values: dict[str, int | float | str | None]) -> str:
    layers, whole = values["n_gpu_layers"], values["all_layers"]
    if not layers:
        return "llama.cpp: not even the output layer fits beside the compute buffer; -ngl 0 runs on the CPU."
    part = "all layers fit" if layers == whole else f"{layers} of {whole} layers fit"
    return (
        f"llama.cpp: {part} (-ngl {layers}); with all of them on the GPU, -c up to {values['largest_ctx_size']:,} "
        f"or {values['largest_parallel']:,} slots of this context."
    )
