"""The utilization, length and concurrency to start vLLM with, and the ``vllm serve`` line that says so."""

from __future__ import annotations

from gpufit.memory.estimate import Estimate
from gpufit.memory.runtime import DRIVER_CONTEXT, runtime_fact
from gpufit.memory.runtime_plan import RuntimePlan
from gpufit.memory.vllm.cache import plan_pool
from gpufit.memory.vllm.engine import NEWEST, make_engine
from gpufit.memory.workload import Workload

_FULL = 100  # percent


def plan_vllm(
    estimate: Estimate,
    *,
    model: str,
    total_bytes: int | None,
    budget_bytes: int,
    longest_tokens: int,
    largest_batch: int,
) -> RuntimePlan:
    """The smallest utilization for this workload, and what the card's whole budget would serve.

    Utilization is a share of the card's total memory and leaves the driver's context out: vLLM compares it with what is
    free after its own start (v1/worker/utils.py, request_memory). It is rounded up to whole percents, first with the
    high end of every range, and with the likely one where the high end does not fit.
    """
    w = estimate.workload
    engine = make_engine(estimate.architecture, w)
    pool = plan_pool(estimate.architecture, w, engine)
    context = runtime_fact(DRIVER_CONTEXT, w.compute_capability).bytes
    total = total_bytes or budget_bytes
    most = max(0, budget_bytes - context.likely_bytes) * _FULL // total
    safe = _percent(estimate.process.high_bytes - context.high_bytes, total)
    likely = _percent(estimate.process.likely_bytes - context.likely_bytes, total)
    smallest = safe if safe <= most else likely if likely <= most else None
    beside = estimate.process.likely_bytes - context.likely_bytes - estimate.kv_cache_bytes
    left = max(0, total * most // _FULL - beside)
    values: tuple[tuple[str, int | float | str | None], ...] = (
        ("gpu_memory_utilization", smallest / _FULL if smallest is not None else None),
        ("most_gpu_memory_utilization", most / _FULL),
        ("default_gpu_memory_utilization", engine.default_utilization_percent / _FULL),
        ("max_model_len", w.context_tokens),
        ("max_num_seqs", engine.sequences),
        ("max_num_batched_tokens", engine.batched_tokens),
        ("tensor_parallel_size", engine.tensor_parallel),
        ("block_bytes", pool.block_bytes),
        ("request_bytes", pool.request_bytes),
        ("largest_max_model_len", longest_tokens),
        ("largest_concurrency", largest_batch),
        ("likely_concurrency", min(pool.requests_in(left), engine.sequences) if pool.block_bytes else engine.sequences),
    )  # fmt: skip
    return RuntimePlan(
        runtime="vllm", version=".".join(map(str, NEWEST)), values=values,
        command=_command(model, w, engine.tensor_parallel, smallest, engine.sequences),
    )  # fmt: skip


def _percent(size_bytes: int, total: int) -> int:
    return -(-size_bytes * _FULL // total)


_QUANTIZATION_FLAGS = {"bnb-nf4": "bitsandbytes", "fp8": "fp8"}
_DTYPE_NAMES = {"fp16": "float16", "bf16": "bfloat16", "fp32": "float32"}


def _command(model: str, w: Workload, ranks: int, percent: int | None, sequences: int) -> str:
    """The line to type. A checkpoint that is stored quantized says so itself, so only online formats get a flag."""
    words = ["vllm serve", model, f"--dtype {_DTYPE_NAMES[w.dtype]}", f"--max-model-len {w.context_tokens}"]
    if percent is not None:
        words.append(f"--gpu-memory-utilization {percent / _FULL:.2f}")
    words.append(f"--max-num-seqs {sequences}")
    if ranks > 1:
        words.append(f"--tensor-parallel-size {ranks}")
    if w.kv_dtype == "fp8":
        words.append("--kv-cache-dtype fp8")
    if flag := _QUANTIZATION_FLAGS.get(w.quant):
        words.append(f"--quantization {flag}")
    return " ".join(words)
