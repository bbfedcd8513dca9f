"""What is said of vLLM and llama.cpp in their own words: the totals, the solved settings, the line to type."""

from __future__ import annotations

from gpufit.memory.runtime_plan import RuntimePlan
from gpufit.memory.serving import as_served
from gpufit.memory.workload import Workload
from gpufit.render.text import Screen, wrap

# what each total is; llama.cpp allocates its buffers whole, so that nothing is reserved beyond them
METERS = {
    "vllm": {
        "allocated": "weights, cache, profile run",
        "reserved": "and open segments of torch",
        "process": "the least vLLM starts with",
    },
    "llama.cpp": {"allocated": "model, KV, compute buffers"},
}
AT_ONCE = {"vllm": ("request", "requests"), "llama.cpp": ("slot", "slots")}  # what serves one sequence
_ATTENTION = {"auto": "", "flash": "flash attention, "}


def describe_served(workload: Workload, precision: str, *, caches: bool = True) -> str:
    """Sequences at once, precision, cache, attention and runtime.

    >>> describe_served(Workload(prompt_tokens=1, batch=2, runtime="llama.cpp"), "gguf-f16")
    '2 slots, gguf-f16, cache f16, flash attention, llama.cpp'
    """
    served, one_or_more = as_served(workload), AT_ONCE[workload.runtime][workload.batch > 1]
    cache = f"cache {served.cache}, " if caches else ""
    return f"{workload.batch:,} {one_or_more}, {precision}, {cache}{_ATTENTION[served.attention]}{workload.runtime}"


def render_plan(plan: RuntimePlan, screen: Screen) -> list[str]:
    """A sentence with the solved numbers, then, where it can start so, the command on a line of its own.

    >>> plan = RuntimePlan(runtime="vllm", version="0.33.0", command="vllm serve gpt2", values=(
    ...     ("gpu_memory_utilization", None), ("largest_max_model_len", 0), ("largest_concurrency", 0)))
    >>> render_plan(plan, Screen())
    ['', 'vLLM 0.33.0 cannot serve what was asked: no --gpu-memory-utilization is enough.']
    """
    values = dict(plan.values)
    sentence = _vllm(plan, values) if plan.runtime == "vllm" else _llama_cpp(values)
    starts = plan.runtime != "vllm" or values["gpu_memory_utilization"] is not None
    return ["", *wrap(sentence, screen.width, "  "), *([screen.paint(plan.command, "bold")] if starts else [])]


def _vllm(plan: RuntimePlan, values: dict[str, int | float | str | None]) -> str:
    smallest, length, requests = (
        values[name] for name in ("gpu_memory_utilization", "largest_max_model_len", "largest_concurrency")
    )
    if smallest is None:
        return f"vLLM {plan.version} cannot serve what was asked: no --gpu-memory-utilization is enough."
    text = f"vLLM {plan.version}: --gpu-memory-utilization {smallest:.2f} is the smallest that serves this"
    if not length or not requests:
        return text + "."
    more = f"{requests:,} requests of this length" if requests != 1 else "1 request of this length"
    return f"{text}; with all that is free, --max-model-len up to {length:,} or {more} at once."


def _llama_cpp(values: dict[str, int | float | str | None]) -> str:
    layers, whole, length, slots = (
        values[name] for name in ("n_gpu_layers", "all_layers", "largest_ctx_size", "largest_parallel")
    )
    if not layers:
        return "llama.cpp: not even the output layer fits beside the compute buffer; -ngl 0 runs on the CPU."
    part = "all layers fit" if layers == whole else f"{layers} of {whole} layers fit, the rest runs on the CPU"
    most = f"-c up to {length:,}" if length else "no context fits"
    if slots:
        most += f", or {slots:,} slots of this context" if slots != 1 else ", or 1 slot of this context"
    return f"llama.cpp: {part} (-ngl {layers}); with all of them on the GPU, {most}."
