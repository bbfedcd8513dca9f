"""GGUF header -> tensors -> configuration -> Architecture."""

from __future__ import annotations

import struct

import atheris
from harness import fuzz

with atheris.instrument_imports(include=["gpufit"]):
    from gpufit.facts.gguf import parse_gguf
    from gpufit.facts.gguf_config import _FAMILIES, gguf_to_config
    from gpufit.facts.gguf_model import join_headers, to_stored
    from gpufit.facts.read import parse_config

ARCHITECTURES = sorted(_FAMILIES)
KEYS = [
    "block_count", "embedding_length", "feed_forward_length", "attention.head_count", "attention.head_count_kv",
    "context_length", "attention.key_length", "attention.value_length", "expert_count", "expert_used_count",
    "expert_feed_forward_length", "expert_shared_count", "rope.dimension_count", "attention.q_lora_rank",
    "attention.kv_lora_rank", "attention.sliding_window", "ssm.inner_size", "ssm.conv_kernel", "ssm.state_size",
    "ssm.time_step_rank", "leading_dense_block_count", "vocab_size", "ssm.group_count", "full_attention_interval",
    "interleave_moe_layer_step", "shortconv.l_cache", "nextn_predict_layers", "expert_shared_feed_forward_length",
]  # fmt: skip
TENSORS = [
    "token_embd.weight",
    "output.weight",
    "blk.0.attn_q.weight",
    "blk.0.attn_q.bias",
    "blk.0.ffn_up_shexp.weight",
]
LIKELY = [1, 2, 2, 2, 4, 4, 8, 8, 16, 32, 64, 64, 128, 0, 3, 300]


def text(value: str) -> bytes:
    return len(value).to_bytes(8, "little") + value.encode()


def built(data: bytes) -> bytes:
    """A header whose frame is right and whose values the fuzzer chooses, so that it gets past the frame."""
    choose = atheris.FuzzedDataProvider(data)
    name = choose.PickValueInList(ARCHITECTURES)
    keys = [text("general.architecture") + struct.pack("<I", 8) + text(name)]
    for key in KEYS:
        kind = choose.ConsumeIntInRange(0, 31)
        head = text(f"{name}.{key}")
        if kind < 28:
            keys.append(head + struct.pack("<II", 4, choose.PickValueInList(LIKELY)))
        elif kind == 28:
            keys.append(head + struct.pack("<IQ", 10, choose.ConsumeUInt(8)))
        elif kind == 29:
            keys.append(head + struct.pack("<IIQII", 9, 4, 2, choose.ConsumeUInt(4), choose.ConsumeUInt(4)))
    tensors, offset = [], 0
    for tensor in TENSORS:
        if tensor == TENSORS[0] or choose.ConsumeBool():
            rows, width = choose.ConsumeIntInRange(0, 64), choose.ConsumeIntInRange(0, 4)
            tensors.append(text(tensor) + struct.pack("<IQQIQ", 2, 32 * width, rows, 8, offset))
            offset += -(-34 * width * rows // 32) * 32
    return (
        b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)) + b"".join(keys + tensors) + bytes(offset + 64)
        + choose.ConsumeBytes(64)
    )  # fmt: skip


def parse(data: bytes) -> None:
    if data[:1] < b"\x80":
        data = b"GGUF\x03\x00\x00\x00" + data[1:]
    else:
        data = built(data[1:])
    header = parse_gguf(lambda start, count: data[start : start + count], len(data), "m.gguf")
    to_stored(join_headers([header], "m.gguf"), ("m.gguf",))
    parse_config(gguf_to_config(header)).tensors.shapes()


if __name__ == "__main__":
    fuzz(parse)
