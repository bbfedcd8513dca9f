"""vLLM: the figures that its log prints about one rank (see memory/served_figures.py)."""

from __future__ import annotations

from typing import cast, get_args

from gpufit.accuracy.cards import Card
from gpufit.accuracy.measurements import Measurement
from gpufit.accuracy.prediction import Part, Prediction, Refusal
from gpufit.facts.architecture import Architecture
from gpufit.memory.ranges import Range
from gpufit.memory.served_figures import vllm_figure
from gpufit.memory.workload import TorchQuantization, Workload
from gpufit.units import GIB

_METRICS = ("weights_only", "activation_peak", "non_torch", "cuda_graph", "kv_cache")
_NAMES = {"": "none", "gptq-int4": "gptq-int4-g128", "awq-int4": "awq-int4-g128", "awq": "awq-int4-g128"}
_PRINTED = Range(-GIB // 100, 0, GIB // 100)  # the log has two decimals of a GiB
_HALVES = ("fp16", "bf16")


def predict_row(row: Measurement, architecture: Architecture, card: Card, cards: int) -> Prediction | Refusal:
    """One rank's figure. A row of several cards states its ranks as ``tensor_parallel``, or they are its ranks."""
    if row.metric not in _METRICS:
        return Refusal(
            reason=f"of vLLM gpufit predicts {', '.join(_METRICS)}, not {row.metric[:40]}: "
            "the rest of the card is cache, by gpu_memory_utilization"
        )
    if row.metric == "kv_cache" and row.kv_tokens is None:
        return Refusal(reason="vLLM's kv_cache is what was left over: only with kv_tokens can it be held to anything")
    quant = _NAMES.get(row.quant_method, row.quant_method)
    if quant not in get_args(TorchQuantization):
        return Refusal(reason=f"the quantization {quant[:40]} is not estimated under vLLM")
    dtype = _dtype(row, architecture)
    workload = Workload(
        prompt_tokens=row.max_model_len or row.prompt_tokens or architecture.max_context_tokens or 2048,
        new_tokens=0 if row.max_model_len else row.new_tokens or 0, dtype=dtype,
        quant=cast("TorchQuantization", quant),
        kv_dtype=row.kv_dtype if row.kv_dtype.startswith("fp8") else None, runtime="vllm",
        compute_capability=card.capability, device_total_bytes=card.total_bytes,
        tensor_parallel=max(row.tensor_parallel or 1, cards),
    )  # fmt: skip
    figure = vllm_figure(
        architecture, workload, row.metric, version=row.engine_version, batched_tokens=row.max_num_batched_tokens,
        kv_tokens=row.kv_tokens,
    )  # fmt: skip
    figure += _PRINTED
    ranks = f"one of {workload.tensor_parallel} ranks" if workload.tensor_parallel > 1 else "one rank"
    release = row.engine_version or "no release stated, 0.7.2 taken"
    return Prediction(range=figure, parts=(Part(row.metric, figure, f"{ranks}, {dtype}, {quant}; {release}"),))


def _dtype(row: Measurement, architecture: Architecture) -> str:
    """vLLM's ``auto``: as the checkpoint says, but fp16 for fp32; AWQ kernels take fp16 (config/model.py)."""
    if row.weight_dtype in (*_HALVES, "fp32"):
        return row.weight_dtype
    if row.kv_dtype in _HALVES:
        return row.kv_dtype
    return architecture.dtype if architecture.dtype in _HALVES else "fp16"
