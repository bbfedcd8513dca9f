"""GGUF metadata into the words of a config.json, so that the same family readers serve both.

The keys are those of docs/gguf.md and gguf-py 0.19 (``Keys``); what each converter wrote into them is read from
convert_hf_to_gguf.py of llama.cpp, or off what its src/models/*.cpp read back. What the metadata leaves open (biases,
tied output, head width, vocabulary) is read off the tensors themselves.
"""

from __future__ import annotations

from typing import Any

from gpufit.errors import BadConfig, UnknownFamily
from gpufit.facts.config import Config
from gpufit.facts.gguf import GgufHeader
from gpufit.facts.gguf_words import Facts, Shapes
from gpufit.facts.gguf_words.decoders import DECODERS
from gpufit.facts.gguf_words.mixtures import MIXTURES
from gpufit.facts.gguf_words.others import OTHERS

_FAMILIES = {**DECODERS, **MIXTURES, **OTHERS}
"""``general.architecture`` -> translation. Source of the names: ``MODEL_ARCH_NAMES``, gguf-py 0.19 constants.py."""

_COMMON = {
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "context_length": "max_position_embeddings",
}


def gguf_to_config(header: GgufHeader) -> dict[str, Any]:
    """The config.json that this header stands for.

    Raises UnknownFamily for an architecture without a translation, BadConfig for missing or absurd values.
    """
    family = header.architecture
    translation = _FAMILIES.get(family)
    if translation is None:
        raise UnknownFamily(family or "(no general.architecture)", hint="this GGUF architecture has no reader yet")
    prefix = f"{family}."
    raw = {k.removeprefix(prefix): _uniform(k, v) for k, v in header.metadata.items() if k.startswith(prefix)}
    meta = Config(raw, path=prefix)
    shapes = {tensor.name: tensor.shape for tensor in header.tensors}
    config: Facts = {ours: raw[theirs] for theirs, ours in _COMMON.items() if theirs in raw}
    config["vocab_size"] = _vocabulary(header, shapes, meta)
    config["tie_word_embeddings"] = "output.weight" not in shapes
    head = _head_dim(meta, shapes)
    if head:
        config["head_dim"] = head
    config.update(translation(meta, shapes))
    return config


def _uniform(key: str, value: Any) -> Any:
    """One number for arrays that say the same for every layer; gpufit's readers take no per-layer widths from GGUF."""
    if not isinstance(value, tuple):
        return value
    if value and all(item == value[0] for item in value) and type(value[0]) is int:
        return value[0]
    return list(value)


def _vocabulary(header: GgufHeader, shapes: Shapes, meta: Config) -> int:
    """Rows of the embedding; a header without tensors falls back on the vocabulary's length."""
    if shape := shapes.get("token_embd.weight"):
        return shape[0]
    size = header.array_lengths.get("tokenizer.ggml.tokens") or meta.size("vocab_size", None)
    if not size:
        raise BadConfig("the GGUF has neither token_embd.weight nor a vocabulary")
    return int(size)


def _head_dim(meta: Config, shapes: Shapes) -> int | None:
    """The key length where it is stated, else what the query projection's rows give."""
    stated = meta.size("attention.key_length", None)
    if stated:
        return int(stated)
    query, heads = shapes.get("blk.0.attn_q.weight"), meta.layers("attention.head_count", None)
    return query[0] // heads if query and heads and len(query) == 2 else None
