"""The cache's buffer: cells × what a cell holds, by cache type and window rule.

Source: src/llama-kv-cache.cpp, src/llama-kv-cache-iswa.cpp, src/llama-memory-recurrent.cpp, src/llama-context.cpp.
"""

from __future__ import annotations

from math import prod

from gpufit.errors import UsageError
from gpufit.facts.architecture import Architecture, CacheLayers
from gpufit.facts.ggml import CACHE_TYPES, GGML_TYPES, BlockType
from gpufit.records import record

CONTEXT_PADDING = 256  # GGML_PAD(cparams.n_ctx, 256), src/llama-context.cpp
UBATCH_TOKENS = 512  # n_ubatch, common/common.h
_STATE = GGML_TYPES[0]  # recurrent states are F32 (type_k and type_v of llama_memory_recurrent)
_SPOKEN = {"fp32": "f32", "fp16": "f16", "int8": "q8_0", "int4": "q4_0"}


@record
class KvBuffer:
    """One cache: bytes for each layer kind, and the cells that attention of one sequence looks at, full ones first."""

    layer_bytes: tuple[int, ...]  # one entry for each of the model's layers that cache
    cells: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """The whole KV buffer."""
        return sum(self.layer_bytes)


def cache_type(name: str | None) -> BlockType:
    """What ``--cache-type-k`` and ``-v`` take, by llama.cpp's name or gpufit's.

    >>> cache_type("q8_0").size_bytes, cache_type(None).name, cache_type("int4").name
    (34, 'F16', 'Q4_0')
    """
    word = (name or "f16").lower()
    found = CACHE_TYPES.get(_SPOKEN.get(word, word))
    if found is None:
        raise UsageError(
            f"llama.cpp has no cache type {word[:40]!r}", hint=f"--kv-dtype takes {', '.join(CACHE_TYPES)}"
        )
    return found


def padded_cells(context_tokens: int) -> int:
    """Cells of one sequence: the context rounded up.

    >>> padded_cells(4000)
    4096
    """
    return -(-context_tokens // CONTEXT_PADDING) * CONTEXT_PADDING


def count_kv_buffer(
    architecture: Architecture,
    context_tokens: int,
    *,
    sequences: int = 1,
    kv_type: str | None = None,
    swa_full: bool = False,
    ubatch_tokens: int = UBATCH_TOKENS,
) -> KvBuffer:
    """The KV buffer of ``sequences`` slots of ``context_tokens`` each (``-c`` is their product).

    A layer with a window keeps window + one micro-batch of cells, rounded up to 256, unless ``--swa-full``.

    >>> from gpufit.facts.read import parse_config
    >>> llama = parse_config({"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
    ...                       "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 32000})
    >>> count_kv_buffer(llama, 4096).size_bytes, count_kv_buffer(llama, 4096, kv_type="q8_0").size_bytes
    (2147483648, 1140850688)
    """
    block = cache_type(kv_type)
    full = padded_cells(context_tokens)
    sizes: list[int] = []
    cells: dict[bool, int] = {}  # by whether the layer has a window: one mask for each of the two caches
    for layers in architecture.cache:
        if layers.kind == "shared":
            continue
        held = full
        if layers.window_tokens is not None and not swa_full:
            held = padded_cells(min(full, layers.window_tokens + ubatch_tokens))
        sizes += [sequences * (_entry_bytes(layers, block) * held + _state_bytes(layers))] * layers.layers
        if layers.elements_per_token:
            cells.setdefault(layers.window_tokens is not None, held)
    return KvBuffer(layer_bytes=tuple(sizes), cells=tuple(cells[kind] for kind in sorted(cells)) or (full,))


def count_encoder_buffer(architecture: Architecture, cells: int) -> int:
    """What llama.cpp kept for an encoder until 2025, when every model got a cache: F16 keys and values."""
    stack = architecture.stacks[0]
    a = stack.attention
    return 2 * cells * stack.layers * a.kv_heads * (a.head_dim + a.value_dim) if a else 0


def _entry_bytes(layers: CacheLayers, block: BlockType) -> int:
    """Keys and values of one token in one layer, each a row of its own; a latent cache has the key row alone."""
    if layers.kind == "latent":
        rows = (layers.kv_heads * (layers.key_dim + layers.value_dim), layers.index_dim)
    else:
        rows = (layers.kv_heads * layers.key_dim, layers.kv_heads * layers.value_dim)
    return sum(-(-row // block.elements) * block.size_bytes for row in rows)


def _state_bytes(layers: CacheLayers) -> int:
    return sum(prod(state.shape) for state in layers.state) * _STATE.size_bytes
