"""Checkpoint files for tests: small ones with real data, large ones with real headers over a hole."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gpufit.facts.safetensors import DTYPE_BITS

LLAMA = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 96,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100,
    "max_position_embeddings": 128, "torch_dtype": "bfloat16",
}  # fmt: skip


def safetensors_bytes(tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> bytes:
    """A safetensors file of zeros: name -> (dtype, shape)."""
    header, data = safetensors_header(tensors)
    return header + bytes(data)


def safetensors_header(tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> tuple[bytes, int]:
    """Length and header of a file, and how many bytes of data belong after it."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape) in tensors.items():
        elements = 1
        for size in shape:
            elements *= size
        start, end = end, end + elements * DTYPE_BITS[dtype] // 8
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text, end


def write_sparse(path: Path, head: bytes, data_bytes: int) -> None:
    """A file of the stated size that takes no room: the head is real, the data a hole."""
    path.write_bytes(head)
    os.truncate(path, len(head) + data_bytes)


def raw_header(entries: object) -> bytes:
    """Any JSON as a safetensors header, however wrong."""
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text


def write_gguf(
    path: Path,
    architecture: str,
    keys: Mapping[str, object],
    tensors: Iterable[tuple[str, tuple[int, ...], str]],
    *,
    split_max_tensors: int = 0,
    alignment: int | None = None,
) -> None:
    """A GGUF written by the gguf package: (name, shape, type) with data of zeros."""
    import gguf
    import numpy as np
    from gguf.quants import quant_shape_to_byte_shape

    writer = gguf.GGUFWriter(path, architecture, split_max_tensors=split_max_tensors)
    if alignment is not None:
        writer.add_custom_alignment(alignment)
    for key, value in keys.items():
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        else:
            writer.add_array(key, value)
    for name, shape, kind in tensors:
        raw = gguf.GGMLQuantizationType[kind]
        if kind in ("F32", "F16"):
            writer.add_tensor(name, np.zeros(shape, np.float32 if kind == "F32" else np.float16))
        else:
            writer.add_tensor(name, np.zeros(quant_shape_to_byte_shape(shape, raw), np.uint8), raw_dtype=raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
