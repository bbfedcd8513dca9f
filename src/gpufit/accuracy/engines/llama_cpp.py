"""llama.cpp: the buffers that its log prints (see memory/served_figures.py)."""

from __future__ import annotations

import re
from typing import cast, get_args

from gpufit.accuracy.cards import Card
from gpufit.accuracy.measurements import Measurement
from gpufit.accuracy.prediction import Part, Prediction, Refusal
from gpufit.facts.architecture import Architecture
from gpufit.memory.ranges import Range
from gpufit.memory.served_figures import llama_cpp_figure
from gpufit.memory.workload import GgufQuantization, Workload
from gpufit.units import MIB

_METRICS = ("weights_only", "kv_cache", "activation_peak")
_PLAIN = {"": "gguf-f16", "none": "gguf-f16", "fp16": "gguf-f16", "bf16": "gguf-bf16", "f16": "gguf-f16"}
_CACHES = {"fp16": "f16", "bf16": "bf16", "fp32": "f32", "int8": "q8_0", "int4": "q4_0", "": None}
_PRINTED = Range(-MIB // 20, 0, MIB // 20)  # two decimals of a MiB, and small tensors of the graph
_BUILD = re.compile(r"\bb(\d{4,5})\b")
_PRINTED = Range(-MIB // 20, 0, MIB // 20)  # two decimals of a MiB, and small tensors of the graph
_ONE_LOGIT_BUILD = 7300  # src/llama-graph.cpp: the graph reserves outputs of a whole batch in builds before late 2025


def predict_row(row: Measurement, architecture: Architecture, card: Card, cards: int) -> Prediction | Refusal:
    """One buffer, with every layer on the device. The context is max_model_len, kv_tokens, or the prompt and output."""
    if row.metric not in _METRICS:
        return Refusal(reason=f"of llama.cpp gpufit predicts {', '.join(_METRICS)}, not {row.metric[:40]}")
    if cards > 1:
        return Refusal(reason="how llama.cpp splits its buffers over several cards is not estimated")
    mixture = row.quant_method.lower().replace("-", "_").removeprefix("gguf_")
    quant = _PLAIN.get(row.quant_method.lower()) or f"gguf-{mixture}"
    if quant not in get_args(GgufQuantization):
        return Refusal(reason=f"the GGUF mixture {quant[:40]} is not estimated")
    context = row.max_model_len or row.kv_tokens or ((row.prompt_tokens or 0) + (row.new_tokens or 0))
    if not context and row.metric != "weights_only":
        return Refusal(reason="the row states no context (max_model_len)")
    workload = Workload(
        prompt_tokens=context or 1, batch=row.batch or 1, quant=cast("GgufQuantization", quant), runtime="llama.cpp",
        kv_dtype=_CACHES.get(row.kv_dtype, row.kv_dtype), compute_capability=card.capability,
        attention="eager" if row.attention in ("eager", "unknown", "") else "flash",
    )  # fmt: skip
    build = _BUILD.search(row.engine_version)
    whole = build is None or int(build[1]) < _ONE_LOGIT_BUILD
    figure = llama_cpp_figure(architecture, workload, row.metric, all_logits=whole)
    figure += _PRINTED
    said = f"{quant}, {context:,} tokens × {workload.batch}, cache {workload.kv_dtype or 'f16'}, {workload.attention}"
    return Prediction(range=figure, parts=(Part(row.metric, figure, said),))
