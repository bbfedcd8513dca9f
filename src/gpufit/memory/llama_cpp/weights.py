"""The model buffer: the ggml type of every tensor under a quantization mixture, and its bytes on the device.

Source: src/llama-quant.cpp, llama_tensor_get_type_impl and tensor_type_fallback; src/llama-model.cpp, load_tensors.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod

from gpufit.errors import Unsupported
from gpufit.facts.architecture import Architecture
from gpufit.facts.ggml import GGML_TYPES, BlockType, count_device_bytes
from gpufit.facts.tensors import TensorGroup
from gpufit.records import record

_BY_NAME = {block.name: block for block in GGML_TYPES.values()}
# mixture -> the type of what no rule lifts (llama_ftype_get_default_type, src/llama-quant.cpp)
MIXTURES: dict[str, str] = {
    "gguf-f16": "F16", "gguf-bf16": "BF16", "gguf-q8_0": "Q8_0", "gguf-q6_k": "Q6_K", "gguf-q5_k_m": "Q5_K",
    "gguf-q5_k_s": "Q5_K", "gguf-q4_k_m": "Q4_K", "gguf-q4_k_s": "Q4_K", "gguf-q4_0": "Q4_0", "gguf-q3_k_m": "Q3_K",
    "gguf-q2_k": "Q2_K", "gguf-mxfp4": "MXFP4",
}  # fmt: skip
_FALLBACK = {"Q2_K": "Q4_0", "Q3_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}  # tensor_type_fallback
_VALUE = ("v_proj", "value", "wv")
_DOWN = ("down_proj", "fc2", "w2", "dense_4h_to_h", "c_proj", "fc_out", "output.dense")
_FUSED = ("qkv_proj", "query_key_value", "c_attn", "Wqkv", "att_proj", "qkv")
_ATTENTION_OUT = ("o_proj", "out_proj", "dense", "wo", "c_proj")


@record
class ModelBuffer:
    """Where the tensors lie. ``output_bytes`` is the head and the last norm, offloaded as one layer more."""

    block_bytes: tuple[int, ...]  # per layer, on the device when offloaded
    output_bytes: int
    host_bytes: int  # the input layer, always in main memory

    @property
    def device_bytes(self) -> int:
        """The CUDA model buffer with every layer offloaded."""
        return sum(self.block_bytes) + self.output_bytes


@lru_cache(maxsize=512)
def count_model_buffer(architecture: Architecture, mixture: str) -> ModelBuffer:
    """The buffers of a model converted and quantized by llama.cpp's own tools.

    >>> from gpufit.facts.read import parse_config
    >>> llama = parse_config({"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
    ...                       "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 32000})
    >>> round(count_model_buffer(llama, "gguf-q4_k_m").device_bytes / 2**20, 2)  # llama.cpp prints 3820.94
    3820.94

    Raises Unsupported for an unknown mixture.
    """
    if mixture not in MIXTURES:
        raise Unsupported(f"{mixture} is no GGUF mixture", hint=f"--quant takes {', '.join(MIXTURES)}")
    layers = architecture.stacks[0].layers
    blocks = [0] * layers
    output = host = 0
    for group in architecture.tensors.groups:
        if group.module == "buffer" or group.role in ("vision", "audio"):
            continue
        if group.role == "embedding":
            host += group.copies * _bytes(architecture, group, mixture, 0, 1)
            continue
        if group.tied_to:
            output += _bytes(architecture, group, mixture, 0, 1)  # the device gets a copy (TENSOR_DUPLICATED)
            continue
        if not group.indices:
            if group.role in ("output", "norm"):
                output += _bytes(architecture, group, mixture, 0, 1)
            continue
        numbers = group.indices[0]
        for position, layer in enumerate(numbers):
            size = _bytes(architecture, group, mixture, position, len(numbers)) * (group.copies // len(numbers))
            blocks[min(layer, layers - 1)] += size
    return ModelBuffer(block_bytes=tuple(blocks), output_bytes=output, host_bytes=host)


def _bytes(architecture: Architecture, group: TensorGroup, mixture: str, position: int, of: int) -> int:
    """One tensor on the device."""
    if len(group.shape) < 2 or group.role in ("norm", "router") or group.module in ("norm", "conv"):
        return count_device_bytes(_BY_NAME["F32"], group.shape)
    shape = _row_shape(architecture, group)
    return count_device_bytes(_typed(architecture, group, mixture, shape[-1], position, of), shape)


def _row_shape(architecture: Architecture, group: TensorGroup) -> tuple[int, ...]:
    """Rows × row length as GGUF stores it: the inputs lie along the row."""
    if group.module == "conv1d":
        return group.shape[::-1]
    experts = architecture.stacks[0].experts
    if group.module == "experts" and experts is not None and len(group.shape) == 3:
        row = experts.width if "down" in group.name else architecture.stacks[0].hidden
        return (prod(group.shape) // row, row)
    return group.shape


def _typed(architecture: Architecture, group: TensorGroup, mixture: str, row: int, position: int, of: int) -> BlockType:
    plain = MIXTURES[mixture]
    if plain in ("F16", "BF16"):
        return _BY_NAME[plain]
    name = _lifted(architecture, group, mixture, plain, row, position, of)
    while row % _BY_NAME[name].elements:
        name = _FALLBACK.get(name, "F16")
    return _BY_NAME[name]


def _lifted(
    architecture: Architecture, group: TensorGroup, mixture: str, plain: str, row: int, position: int, of: int
) -> str:
    """The rules of llama_tensor_get_type_impl, in its order: output, values, keys, down, attention output, fused."""
    stack = architecture.stacks[0]
    module = group.module_name.rpartition(".")[2] if group.name.endswith(".weight") else group.name.rpartition(".")[2]
    tied = any(g.tied_to for g in architecture.tensors.groups)
    if mixture == "gguf-mxfp4":
        return "MXFP4" if group.module == "experts" else "Q8_0"
    if group.role == "output" or (group.role == "embedding" and tied):
        if architecture.model_type == "falcon" or row % _BY_NAME[plain].elements:
            return "Q8_0"
        return plain if plain == "Q8_0" else "Q6_K"
    if group.role == "embedding":
        return plain
    eight = stack.experts is not None and stack.experts.count == 8
    grouped = stack.attention is not None and stack.attention.heads // max(1, stack.attention.kv_heads) >= 4
    more = position < of // 8 or position >= 7 * of // 8 or (position - of // 8) % 3 == 2
    if group.role == "attention" and module in _VALUE:
        if eight:
            return "Q8_0"
        lifted = {
            "gguf-q2_k": "Q4_K" if grouped else "Q3_K", "gguf-q3_k_m": "Q5_K" if position < 2 else "Q4_K",
            "gguf-q4_k_m": "Q6_K" if more else plain, "gguf-q5_k_m": "Q6_K" if more else plain,
            "gguf-q4_k_s": "Q5_K" if position < 4 else plain,
        }.get(mixture, plain)  # fmt: skip
        is_70b = stack.layers == 80 and stack.hidden == 8192 and architecture.model_type == "llama"
        return "Q5_K" if is_70b and lifted in ("Q3_K", "Q4_K") else lifted
    if group.role == "attention" and module == "k_proj" and eight:
        return "Q8_0"
    if group.role in ("mlp", "experts") and (module in _DOWN or "down" in module):
        return {
            "gguf-q2_k": "Q3_K", "gguf-q3_k_m": "Q5_K" if position < of // 16 else "Q4_K",
            "gguf-q4_k_m": "Q6_K" if more else plain, "gguf-q5_k_m": "Q6_K" if more else plain,
            "gguf-q4_k_s": "Q5_K" if position < of // 8 else plain,
        }.get(mixture, plain)  # fmt: skip
    if group.role == "attention" and module in _ATTENTION_OUT:
        if eight:
            return "Q5_K" if plain in ("Q2_K", "Q3_K", "Q4_K") and mixture != "gguf-q4_0" else plain
        return {"gguf-q2_k": "Q3_K", "gguf-q3_k_m": "Q4_K"}.get(mixture, plain)
    if group.role == "attention" and module in _FUSED:
        return {"gguf-q3_k_m": "Q4_K", "gguf-q4_k_m": "Q5_K", "gguf-q5_k_m": "Q6_K"}.get(mixture, plain)
    return plain
