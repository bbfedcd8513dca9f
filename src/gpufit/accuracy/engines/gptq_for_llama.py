"""GPTQ-for-LLaMa: transformers' Llama with Triton kernels, its memory sampled between single-token steps.

Source: qwopqwop200/GPTQ-for-LLaMa at e985b700, llama.py benchmark(): torch.cuda.memory_allocated after each step;
README.md runs ``--benchmark 2048``, which rows without a length are taken to have run.
"""

from __future__ import annotations

from gpufit.accuracy.cards import Card
from gpufit.accuracy.engines.transformers import predict_row as predict_transformers
from gpufit.accuracy.measurements import Measurement
from gpufit.accuracy.prediction import Prediction, Refusal
from gpufit.facts.architecture import Architecture
from gpufit.records import replace

_RELEASE = "transformers 4.31.0"  # the newest when the figures were committed (2023-08-05)
_BENCHMARK_TOKENS = 2048


def predict_row(row: Measurement, architecture: Architecture, card: Card, cards: int) -> Prediction | Refusal:
    """As transformers of that time holds it between two steps."""
    if row.prompt_tokens is None and row.kv_tokens is None:
        row = replace(row, prompt_tokens=1, new_tokens=_BENCHMARK_TOKENS)
    return predict_transformers(replace(row, engine_version=_RELEASE), architecture, card, cards)
