"""The cache as vLLM pages it: kinds of layers, pages of one size, groups that share a pool of blocks.

Source: v1/core/kv_cache_planning.py (0.33.0; kv_cache_utils.py up to 0.24), get_kv_cache_groups, and
v1/kv_cache_interface.py, max_memory_usage_bytes of each kind.
"""

from __future__ import annotations

from math import prod

from gpufit.facts.architecture import Architecture, CacheLayers
from gpufit.facts.dtypes import DTYPE_BYTES
from gpufit.memory.vllm.engine import HYBRID_POOL_SINCE, Engine
from gpufit.memory.workload import Workload
from gpufit.records import record, replace

BLOCK_TOKENS = 16  # CacheConfig.DEFAULT_BLOCK_SIZE, config/cache.py
_INDEX_SCALE_BYTES = 4  # v1/attention/backends/mla/indexer.py: fp8 index keys with one fp32 scale for each 128


@record
class LayerPages:
    """Layers of one kind: how many, tokens and bytes of one page of one layer, and pages that one request needs."""

    kind: str
    layers: int
    block_tokens: int
    page_bytes: int
    request_pages: int


@record
class Pool:
    """All pages after unification. A block is ``group_layers`` pages; each of ``groups`` claims its own blocks."""

    kinds: tuple[LayerPages, ...]
    block_bytes: int
    request_blocks: int

    @property
    def request_bytes(self) -> int:
        """What one request of the full length claims."""
        return self.block_bytes * self.request_blocks

    def bytes_for(self, requests: int) -> int:
        """What so many full-length requests claim, and the block that the pool keeps empty (block 0)."""
        return self.block_bytes * (self.request_blocks * requests + 1) if self.block_bytes else 0

    def requests_in(self, size_bytes: int) -> int:
        """How many full-length requests a pool of that size serves at once."""
        if not self.request_bytes:
            return 1 << 20
        return max(0, size_bytes // self.block_bytes - 1) // self.request_blocks


def plan_pool(architecture: Architecture, workload: Workload, engine: Engine) -> Pool:
    """The pool for requests of the workload's context.

    >>> from gpufit.facts.read import parse_config
    >>> from gpufit.memory.workload import Workload
    >>> llama = parse_config({"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
    ...                       "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 32000})
    >>> pool = plan_pool(llama, Workload(prompt_tokens=4095, new_tokens=2), Engine(
    ...     version=(0, 11, 0), batched_tokens=2048, sequences=256))
    >>> pool.block_bytes // 16, pool.request_blocks
    (524288, 257)
    """
    kinds = [_pages(architecture, layers, workload, engine) for layers in architecture.cache if layers.kind != "shared"]
    kinds = [kind for kind in kinds if kind.page_bytes and kind.layers]
    if not kinds:
        return Pool(kinds=(), block_bytes=0, request_blocks=0)
    kinds = _merge_alike(kinds)
    attention = [kind for kind in kinds if kind.kind != "state"]
    if len({kind.kind for kind in kinds}) == 1 and len({kind.block_tokens for kind in kinds}) == 1:
        # one kind throughout, whatever the widths: one group, each layer with its own page size
        blocks = max(kind.request_pages for kind in kinds)
        return Pool(
            kinds=tuple(kinds), block_bytes=sum(k.layers * k.page_bytes for k in kinds), request_blocks=blocks
        )  # fmt: skip
    kinds = _unify(kinds, attention)
    fewest, most = min(k.layers for k in kinds), max(k.layers for k in kinds)
    group_layers = most if 2 * most < 3 * fewest else fewest  # "1.5 is a heuristic to avoid too many padding layers"
    blocks = sum(-(-kind.layers // group_layers) * kind.request_pages for kind in kinds)
    return Pool(kinds=tuple(kinds), block_bytes=group_layers * kinds[0].page_bytes, request_blocks=blocks)


def _pages(architecture: Architecture, layers: CacheLayers, workload: Workload, engine: Engine) -> LayerPages:
    name = workload.kv_dtype or workload.dtype
    element = 1 if name in ("fp8", "int8") else DTYPE_BYTES[name]
    ranks, length = engine.tensor_parallel, workload.context_tokens
    if layers.state and not layers.elements_per_token:
        size = sum(prod(s.shape) * DTYPE_BYTES[s.dtype or workload.dtype] for s in layers.state) // ranks
        return LayerPages(
            kind="state", layers=layers.layers, block_tokens=BLOCK_TOKENS, page_bytes=size, request_pages=1
        )  # fmt: skip
    latent = layers.kind == "latent"
    heads = layers.kv_heads if latent else max(1, layers.kv_heads // ranks)
    token = heads * (layers.key_dim + layers.value_dim) * element
    if layers.index_dim:
        token += layers.index_dim + _INDEX_SCALE_BYTES
    kind, tokens = "full", length
    pages_beside = 0
    window = layers.window_tokens
    if layers.kind == "cross":
        kind, tokens = "cross", _source_tokens(architecture, workload)
    elif window and engine.version >= HYBRID_POOL_SINCE:
        if layers.kind == "sliding":
            kind, tokens, pages_beside = f"sliding {window}", min(window - 1 + engine.batched_tokens, length), 1
        else:
            kind, tokens = f"chunked {window}", min(window + engine.batched_tokens, length)
    per_entry = BLOCK_TOKENS * layers.tokens_per_entry
    return LayerPages(
        kind=kind, layers=layers.layers, block_tokens=per_entry, page_bytes=BLOCK_TOKENS * token,
        request_pages=-(-tokens // per_entry) + pages_beside,
    )  # fmt: skip


def _source_tokens(architecture: Architecture, workload: Workload) -> int:
    source = next((s for s in architecture.stacks if s.role in ("encoder", "audio", "vision")), None)
    return source.positions if source is not None and source.positions else workload.prompt_tokens


def _merge_alike(kinds: list[LayerPages]) -> list[LayerPages]:
    """Layers of one kind and page size are one."""
    merged: dict[tuple[str, int, int], LayerPages] = {}
    for kind in kinds:
        key = (kind.kind, kind.page_bytes, kind.block_tokens)
        known = merged.get(key)
        merged[key] = kind if known is None else replace(known, layers=known.layers + kind.layers)
    return list(merged.values())


def _unify(kinds: list[LayerPages], attention: list[LayerPages]) -> list[LayerPages]:
    """Pages of one size.

    Beside recurrent layers the attention's block grows to a multiple of 16 tokens that holds a whole state
    (model_executor/models/config.py, HybridAttentionMambaModelConfig); then smaller pages hold more tokens where they
    divide the largest, and are padded where they do not (unify_kv_cache_spec_page_size).
    """
    state = max((kind.page_bytes for kind in kinds if kind.kind == "state"), default=0)
    if state and attention:
        grow = -(-state // min(kind.page_bytes for kind in attention))
        kinds = [_grown(kind, grow) if kind.kind != "state" else kind for kind in kinds]
    largest = max(kind.page_bytes for kind in kinds)
    unified = []
    for kind in kinds:
        if kind.kind != "state" and largest % kind.page_bytes == 0:
            kind = _grown(kind, largest // kind.page_bytes)
        unified.append(replace(kind, page_bytes=largest))
    return unified


def _grown(kind: LayerPages, times: int) -> LayerPages:
    """The same layers with pages of so many times the tokens."""
    beside = 1 if kind.kind.startswith("sliding") else 0
    tokens = (kind.request_pages - beside) * kind.block_tokens
    block = kind.block_tokens * times
    return replace(
        kind, block_tokens=block, page_bytes=kind.page_bytes * times, request_pages=-(-tokens // block) + beside
    )  # fmt: skip
