"""What a quantized linear layer allocates while it multiplies, beside what the plain one would.

bitsandbytes 0.50.2, autograd/_functions.py (MatMul8bitLt, MatMul4Bit) and backends/cuda/ops.py:

* int8: the input's int8 copy (1) with row statistics (4 a row); the int32 product (4), its fp16 form (2) and, where the
  model isn't fp16, the cast to its dtype (b). Finding outliers first takes |x| and a byte mask beside the int8 copy.
* 4-bit: up to a number of rows that depends on the GPU a fused kernel reads packed weights; above it the whole weight
  is dequantized (in·out·b) and multiplied as a plain one.

AutoAWQ's WQLinear_GEMM dequantizes the whole weight from 1,024 rows; the ExLlama kernels of GPTQ above 50 rows
(MAX_Q_GEMM_ROWS). FP8 layers hold a one-byte copy of the input with its scales, always below the MLP's own peak.
"""

from __future__ import annotations

from typing import Literal

from gpufit.memory.activations.setting import Moment, Setting
from gpufit.memory.activations.symbols import NOTHING, Expr, T, b
from gpufit.memory.workload import Workload

Linear = Literal["plain", "int8", "dequantized"]
_GPTQ_ROWS, _AWQ_ROWS = 50, 1024


def fused_rows(capability: tuple[int, int] | None) -> int:
    """The most rows that bitsandbytes' fused 4-bit kernel takes on a card that the matrix fills.

    Source: backends/cuda/ops.py, _gemm_4bit_use_custom_cuda; small matrices stay fused somewhat longer.

    >>> fused_rows((8, 0)), fused_rows((7, 5))
    (128, 64)
    """
    major, minor = capability or (8, 0)
    return {7: 64, 8: 256 if minor == 9 else 128, 9: 64}.get(major, 256)


def kernels_are_known(workload: Workload) -> bool:
    """Whether the quantized layers' kernels were read; for GPTQ, AWQ and FP8 the loader picks among several."""
    return workload.quant == "none" or workload.quant.startswith("bnb")


def linear_kind(workload: Workload, rows: int) -> Linear:
    """How the linear layers of this workload multiply ``rows`` rows."""
    if workload.quant == "bnb-int8":
        return "int8"
    if workload.quant.startswith("bnb"):
        return "dequantized" if rows > fused_rows(workload.compute_capability) else "plain"
    if workload.quant.startswith("gptq"):
        return "dequantized" if rows > _GPTQ_ROWS else "plain"
    if workload.quant.startswith("awq"):
        return "dequantized" if rows >= _AWQ_ROWS else "plain"
    return "plain"


def linear_moments(c: Setting, name: str, inputs: Expr, outputs: Expr, beside: Expr, rows: Expr = T) -> list[Moment]:
    """The instants inside one quantized linear layer of ``inputs`` → ``outputs`` width; its input is part of
    ``beside``."""
    if c.linear == "dequantized":
        return [Moment(f"{name}, dequantized", inputs * outputs * b + rows * b * outputs + beside,
                       "the whole weight in the model's dtype and the output")]  # fmt: skip
    if c.linear == "int8":
        cast = NOTHING if c.dtype == "fp16" else b * outputs
        copy = NOTHING if c.dtype == "fp16" else 2 * inputs
        return [
            Moment(f"{name}, int8 product", rows * (inputs + 6 * outputs + cast) + 4 * rows + beside,
                   "the int8 input, the int32 product and its floats"),
            Moment(f"{name}, int8 input", rows * ((2 + 1 + 1) * inputs + copy) + 4 * rows + beside,
                   "the int8 input, its magnitudes and their outlier mask"),
        ]  # fmt: skip
    return []
