"""What a quantized matrix really holds: packed data, scales, zero points, code books, padding.

Each function lists the tensors, in bytes, that stand for one linear layer's weight of shape (outputs, inputs).
Biases are not part of it. The bitsandbytes formats are checked against the real layers, byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

Parts = dict[str, int]  # tensor -> bytes


def ceil_div(a: int, b: int) -> int:
    """⌈a / b⌉ for non-negative ints."""
    return -(-a // b)


def bnb_int8(outputs: int, inputs: int) -> Parts:
    """LLM.int8(): one int8 a weight and one fp32 scale a row.

    Source: bitsandbytes 0.50.2, nn/modules.py, Int8Params._quantize.

    >>> sum(bnb_int8(11008, 4096).values())
    45132800
    """
    return {"weight": outputs * inputs, "SCB": 4 * outputs}


def bnb_4bit(outputs: int, inputs: int) -> Parts:
    """NF4 and FP4: two weights a byte, one fp32 absmax for each 64, a code book of 16 fp32.

    Source: bitsandbytes 0.50.2, functional.py, quantize_4bit with its default blocksize of 64.

    >>> sum(bnb_4bit(11008, 4096).values())
    25362496
    """
    elements = outputs * inputs
    return {"weight": ceil_div(elements, 2), "absmax": 4 * ceil_div(elements, 64), "quant_map": 64}


def bnb_4bit_double(outputs: int, inputs: int) -> Parts:
    """NF4 with nested statistics: absmax in uint8, itself scaled in fp32 for each 256, about an fp32 offset.

    The nested code book has 256 fp32 entries, and every layer holds its own copy.
    Source: bitsandbytes 0.50.2, functional.py, quantize_4bit(compress_statistics=True) and quantize_blockwise.

    >>> sum(bnb_4bit_double(11008, 4096).values())
    23260996
    """
    elements = outputs * inputs
    blocks = ceil_div(elements, 64)
    return {
        "weight": ceil_div(elements, 2),
        "absmax": blocks,
        "quant_map": 64,
        "nested_absmax": 4 * ceil_div(blocks, 256),
        "nested_quant_map": 1024,
        "offset": 4,
    }


def gptq(bits: int, group: int, outputs: int, inputs: int) -> Parts:
    """GPTQ: ``bits`` a weight in int32 words, a scale and a zero point for each ``group`` inputs (0: for all of them).

    qweight (inputs·bits/32, outputs), qzeros (groups, outputs·bits/32) and g_idx (inputs) are int32, scales
    (groups, outputs) fp16. Source: AutoGPTQ 0.7 and GPTQModel 4, the buffers their quantized linears register.

    >>> sum(gptq(4, 128, 11008, 4096).values())
    23441408
    """
    groups = ceil_div(inputs, group) if group else 1
    return {
        "qweight": 4 * ceil_div(inputs * bits, 32) * outputs,
        "qzeros": 4 * groups * ceil_div(outputs * bits, 32),
        "scales": 2 * groups * outputs,
        "g_idx": 4 * inputs,
    }


def awq(group: int, outputs: int, inputs: int) -> Parts:
    """AWQ (GEMM layout), 4 bits, int32 packing along the outputs, a scale and a zero point for each ``group`` inputs.

    qweight (inputs, outputs/8) and qzeros (groups, outputs/8) are int32, scales (groups, outputs) fp16.
    Source: AutoAWQ 0.2, modules/linear/gemm.py, WQLinear_GEMM.

    >>> sum(awq(128, 11008, 4096).values())
    23425024
    """
    groups = ceil_div(inputs, group)
    packed_outputs = ceil_div(outputs, 8)
    return {
        "qweight": 4 * inputs * packed_outputs,
        "qzeros": 4 * groups * packed_outputs,
        "scales": 2 * groups * outputs,
    }


def fp8_block128(outputs: int, inputs: int) -> Parts:
    """FP8 (e4m3): one byte a weight and one fp32 scale for each block of 128 × 128.

    Source: transformers 5.23.0, integrations/finegrained_fp8.py, FP8Linear.

    >>> sum(fp8_block128(11008, 4096).values())
    45099776
    """
    return {
        "weight": outputs * inputs,
        "weight_scale_inv": 4 * ceil_div(outputs, 128) * ceil_div(inputs, 128),
    }


def mxfp4(outputs: int, inputs: int) -> Parts:
    """MXFP4: two weights a byte and one 8-bit exponent for each 32.

    Source: OCP Microscaling Formats specification 1.0 (2023); transformers 5.23.0, integrations/mxfp4.py.

    >>> sum(mxfp4(5760, 2880).values())
    8812800
    """
    elements = outputs * inputs
    return {"blocks": ceil_div(elements, 2), "scales": ceil_div(elements, 32)}


MATRIX_PARTS: dict[str, Callable[[int, int], Parts]] = {
    "bnb-int8": bnb_int8,
    "bnb-nf4": bnb_4bit,
    "bnb-fp4": bnb_4bit,
    "bnb-nf4-dq": bnb_4bit_double,
    "gptq-int4-g128": partial(gptq, 4, 128),
    "gptq-int4-g64": partial(gptq, 4, 64),
    "gptq-int4-g32": partial(gptq, 4, 32),
    "gptq-int4": partial(gptq, 4, 0),
    "gptq-int3-g128": partial(gptq, 3, 128),
    "gptq-int3": partial(gptq, 3, 0),
    "gptq-int8-g128": partial(gptq, 8, 128),
    "awq-int4-g128": partial(awq, 128),
    "awq-int4-g64": partial(awq, 64),
    "fp8": fp8_block128,
    "mxfp4": mxfp4,
}
