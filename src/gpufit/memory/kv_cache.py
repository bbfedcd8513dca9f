"""The bytes of the key/value cache: a kind per layer, times the rule by which the runtime stores that kind.

Rules of transformers 5.23.0, cache_utils.py, each named beside its arithmetic. Bytes are those of the storages
that stay alive, which for a sliding window is one token more than the tensor shows: the layer keeps a view of
``window − 1`` tokens into a storage of ``window``, and right after a long prompt a view into the whole prompt.
"""

from __future__ import annotations

from math import prod

from gpufit.errors import UsageError
from gpufit.facts.architecture import Architecture, CacheLayers
from gpufit.facts.dtypes import DTYPE_BYTES
from gpufit.memory.workload import Workload
from gpufit.records import record, replace


@record
class CacheFormat:
    """How one cached element is stored: ``bits`` each, and a scale and a zero point for every ``group``.

    ``residual_tokens`` is how many of the newest tokens may still wait in the model's dtype.
    """

    bits: int
    group: int = 0  # 0: one scale for the whole tensor
    residual_tokens: int = 0


# transformers 5.23.0: QuantizedLayer(nbits, q_group_size=64, residual_length=128); Fp8QuantizedLayer (per-tensor scale)
CACHE_FORMATS: dict[str, CacheFormat] = {
    "fp8": CacheFormat(bits=8),
    "int8": CacheFormat(bits=8, group=64, residual_tokens=128),
    "int4": CacheFormat(bits=4, group=64, residual_tokens=128),
}
KV_DTYPES: tuple[str, ...] = ("fp32", "fp16", "bf16", *CACHE_FORMATS)
_SCALE_BYTES = 4  # fp8: one fp32 scale for the keys and one for the values of a layer


def packs_cache(architecture: Architecture) -> bool:
    """Whether transformers keeps this model's cache in 8 or 4 bits: a decoder whose every layer sees all tokens.

    Source: transformers 5.23.0, QuantizedCache, which takes ``full_attention`` layers alone, and generate, which gives
    an encoder-decoder none. Cross-attention to pictures reads keys that such a cache does not hold (mllama).
    """
    return bool(architecture.cache) and all(
        layers.kind in ("full", "latent") and not layers.state and not layers.index_dim for layers in architecture.cache
    )


def count_cache(architecture: Architecture, workload: Workload, *, after_prefill: bool = False) -> int:
    """Bytes of the whole batch's cache: at the final length, or ``after_prefill`` when only the prompt is in.

    >>> from gpufit.facts.read import parse_config
    >>> llama = parse_config({"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
    ...                       "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 32000})
    >>> count_cache(llama, Workload(prompt_tokens=4095, new_tokens=1, dtype="fp16"))
    2147483648
    """
    total = sum(
        count_layers(layers, architecture, workload, after_prefill=after_prefill) for layers in architecture.cache
    )
    return workload.batch * total + _scales(architecture, workload)


def _scales(architecture: Architecture, workload: Workload) -> int:
    """The scales of a cache that has one for each whole tensor, whatever the batch."""
    stored = CACHE_FORMATS.get(workload.kv_dtype or "")
    if stored is None or stored.group:
        return 0
    return 2 * _SCALE_BYTES * sum(layers.layers for layers in architecture.cache if layers.kind != "cross")


def count_layers(
    layers: CacheLayers, architecture: Architecture, workload: Workload, *, after_prefill: bool = False
) -> int:
    """Bytes that the layers of one kind keep for one sequence: their state, and every token they hold."""
    if layers.kind == "shared":
        return 0
    seq2seq = architecture.is_encoder_decoder
    decoder_tokens = workload.new_tokens if seq2seq else workload.context_tokens
    if after_prefill:
        decoder_tokens = 1 if seq2seq else workload.prompt_tokens
    total = layers.layers * _state_bytes(layers, workload.dtype) if layers.state else 0
    elements = layers.elements_per_token
    if elements:
        tokens = _stored_tokens(layers, architecture, workload, decoder_tokens, after_prefill)
        entries = tokens // layers.tokens_per_entry
        total += layers.layers * _token_bytes(elements, entries, workload, layers.kind)
    return total


def entry_bytes(layers: CacheLayers, workload: Workload) -> int:
    """Bytes of one cached entry of one sequence in all layers of a kind, packed where the cache is quantized.

    >>> layers = CacheLayers(kind="full", layers=32, kv_heads=32, key_dim=128, value_dim=128)
    >>> entry_bytes(layers, Workload(prompt_tokens=1)), entry_bytes(layers, Workload(prompt_tokens=1, kv_dtype="int4"))
    (524288, 147456)
    """
    return layers.layers * _token_bytes(layers.elements_per_token, 1, replace(workload, new_tokens=0), layers.kind)


def _stored_tokens(
    layers: CacheLayers, architecture: Architecture, workload: Workload, decoder_tokens: int, after_prefill: bool
) -> int:
    if layers.kind == "cross":
        source = next((s for s in architecture.stacks if s.role in ("encoder", "audio", "vision")), None)
        return source.positions if source and source.positions else workload.prompt_tokens
    if layers.window_tokens is None or after_prefill:
        return decoder_tokens
    return min(decoder_tokens, layers.window_tokens)


def _token_bytes(elements: int, tokens: int, workload: Workload, kind: str) -> int:
    """Bytes of ``tokens`` cached tokens in one layer of one sequence."""
    name = workload.kv_dtype or workload.dtype
    plain = DTYPE_BYTES[workload.dtype]
    if name in ("fp32", "fp16", "bf16") or kind == "cross":
        return elements * tokens * (plain if kind == "cross" else DTYPE_BYTES[name])
    stored = CACHE_FORMATS.get(name)
    if stored is None:
        raise UsageError(f"unknown cache format {name[:40]!r}", hint=f"--kv-dtype takes {', '.join(KV_DTYPES)}")
    waiting = min(tokens, workload.new_tokens, max(stored.residual_tokens - 1, 0))
    packed = elements * (tokens - waiting)
    scales = 2 * plain * -(-packed // stored.group) if stored.group else 0
    return -(-packed * stored.bits // 8) + scales + elements * waiting * plain


def _state_bytes(layers: CacheLayers, dtype: str) -> int:
    """Bytes of the fixed-size state of one recurrent layer, one sequence."""
    return sum(prod(state.shape) * DTYPE_BYTES[state.dtype or dtype] for state in layers.state)


def unpacked_layer_bytes(architecture: Architecture, workload: Workload) -> int:
    """What a decode step adds while it unpacks one layer of a quantized cache; 0 for a cache in 16 or 32 bits.

    fp8: the keys stand unpacked while the values pass through two fp32 copies, ``(q.float() * scale).to(dtype)``.
    int8, int4: both stand unpacked, and once more joined with the newest tokens. The largest layer decides.
    Source: transformers 5.23.0, cache_utils.py, Fp8QuantizedLayer.update and QuantizedLayer.update.
    """
    stored = CACHE_FORMATS.get(workload.kv_dtype or "")
    if stored is None:
        return 0
    tokens = workload.new_tokens if architecture.is_encoder_decoder else workload.context_tokens
    plain = DTYPE_BYTES[workload.dtype]
    worst = 0
    for layers in architecture.cache:
        if layers.kind in ("shared", "cross"):
            continue
        held = tokens if layers.window_tokens is None else min(tokens, layers.window_tokens)
        keys, values = layers.kv_heads * layers.key_dim * held, layers.kv_heads * layers.value_dim * held
        worst = max(worst, 2 * plain * (keys + values) if stored.group else plain * keys + 8 * values)
    return workload.batch * worst
