"""ggml's number formats: elements and bytes of one block of each tensor type.

Source: ggml/src/ggml-common.h (the block structs, with QK_K = 256) and ggml/include/ggml.h (``enum ggml_type``);
a test holds every row against ``GGML_QUANT_SIZES`` of gguf-py 0.19. Numbers that ggml has removed (Q4_2, Q4_0_4_4, ...)
are absent, so that they are refused.
"""

from __future__ import annotations

from typing import NamedTuple

from gpufit.errors import BadFile


class BlockType(NamedTuple):
    """One tensor type: ``elements`` of a row are stored together in ``size_bytes``."""

    name: str
    elements: int
    size_bytes: int


GGML_TYPES: dict[int, BlockType] = {
    0: BlockType("F32", 1, 4),
    1: BlockType("F16", 1, 2),
    2: BlockType("Q4_0", 32, 2 + 16),  # fp16 scale, 32 × 4 bits
    3: BlockType("Q4_1", 32, 4 + 16),  # fp16 scale and minimum
    6: BlockType("Q5_0", 32, 2 + 4 + 16),  # the fifth bits of 32 weights apart
    7: BlockType("Q5_1", 32, 4 + 4 + 16),
    8: BlockType("Q8_0", 32, 2 + 32),
    9: BlockType("Q8_1", 32, 8 + 32),  # gguf-py's figure; never in a file, the intermediate of dot products
    10: BlockType("Q2_K", 256, 16 + 64 + 4),  # 16 scales and minima of 4 bits, 256 × 2 bits, two fp16
    11: BlockType("Q3_K", 256, 32 + 64 + 12 + 2),  # high bits, low 2 bits, 16 scales of 6 bits, one fp16
    12: BlockType("Q4_K", 256, 4 + 12 + 128),  # two fp16, 8 scales and minima of 6 bits, 256 × 4 bits
    13: BlockType("Q5_K", 256, 4 + 12 + 32 + 128),
    14: BlockType("Q6_K", 256, 128 + 64 + 16 + 2),  # low 4 bits, high 2 bits, 16 scales of 8 bits, one fp16
    15: BlockType("Q8_K", 256, 4 + 256 + 32),
    16: BlockType("IQ2_XXS", 256, 2 + 64),
    17: BlockType("IQ2_XS", 256, 2 + 64 + 8),
    18: BlockType("IQ3_XXS", 256, 2 + 64 + 32),
    19: BlockType("IQ1_S", 256, 2 + 32 + 16),
    20: BlockType("IQ4_NL", 32, 2 + 16),
    21: BlockType("IQ3_S", 256, 2 + 64 + 8 + 32 + 4),
    22: BlockType("IQ2_S", 256, 2 + 64 + 8 + 8),
    23: BlockType("IQ4_XS", 256, 2 + 2 + 4 + 128),
    24: BlockType("I8", 1, 1),
    25: BlockType("I16", 1, 2),
    26: BlockType("I32", 1, 4),
    27: BlockType("I64", 1, 8),
    28: BlockType("F64", 1, 8),
    29: BlockType("IQ1_M", 256, 32 + 16 + 8),
    30: BlockType("BF16", 1, 2),
    34: BlockType("TQ1_0", 256, 2 + 48 + 4),  # ternary: five weights a byte, the last 16 four a byte
    35: BlockType("TQ2_0", 256, 2 + 64),
    39: BlockType("MXFP4", 32, 1 + 16),  # one E8M0 scale, 32 × E2M1
    40: BlockType("NVFP4", 64, 4 + 32),
    41: BlockType("Q1_0", 128, 2 + 16),
}

CACHE_TYPES: dict[str, BlockType] = {
    GGML_TYPES[number].name.lower(): GGML_TYPES[number] for number in (0, 1, 30, 8, 2, 3, 20, 6, 7)
}
"""What llama.cpp takes for ``--cache-type-k`` and ``--cache-type-v``. Source: common/arg.cpp, ``kv_cache_types``."""

_KERNEL_ROW_ELEMENTS = 512  # MATRIX_ROW_PADDING, ggml/src/ggml-cuda/common.cuh
_KERNEL_ALIGNMENT = 128  # ggml_backend_cuda_buffer_type_get_alignment, ggml/src/ggml-cuda/ggml-cuda.cu


def count_row_bytes(block: BlockType, elements: int) -> int:
    """Bytes of one row of ``elements`` (``ggml_row_size``). A row is a whole number of blocks.

    >>> count_row_bytes(CACHE_TYPES["q8_0"], 128), count_row_bytes(CACHE_TYPES["q4_0"], 128)
    (136, 72)

    Raises BadFile where it is not.
    """
    if elements % block.elements:
        raise BadFile(f"a row of {elements} elements is no whole number of {block.name} blocks of {block.elements}")
    return elements // block.elements * block.size_bytes


def count_tensor_bytes(block: BlockType, shape: tuple[int, ...]) -> int:
    """Bytes of a tensor whose rows are its last dimension (``ggml_nbytes``).

    >>> count_tensor_bytes(GGML_TYPES[12], (4096, 4096))
    9437184
    """
    rows = 1
    for size in shape[:-1]:
        rows *= size
    return rows * count_row_bytes(block, shape[-1] if shape else 1)


def count_device_bytes(block: BlockType, shape: tuple[int, ...]) -> int:
    """Bytes that llama.cpp's CUDA backend sets aside for a tensor.

    A quantized tensor whose rows are no multiple of 512 elements gets one row's rest as padding after its end, and
    every tensor starts at a multiple of 128 bytes.
    Source: ggml/src/ggml-cuda/ggml-cuda.cu, ``ggml_backend_cuda_buffer_type_get_alloc_size``.

    >>> count_device_bytes(GGML_TYPES[8], (2, 32))
    640
    """
    size = count_tensor_bytes(block, shape)
    rest = (shape[-1] if shape else 1) % _KERNEL_ROW_ELEMENTS
    if block.elements > 1 and rest:
        size += count_row_bytes(block, _KERNEL_ROW_ELEMENTS - rest)
    return -(-size // _KERNEL_ALIGNMENT) * _KERNEL_ALIGNMENT
