"""The graph of one prompt batch, as sizes: what each operation of a layer writes, in fp32.

Source: src/llama-graph.cpp (build_norm, build_attn, build_attn_mha, build_ffn, build_moe_ffn); src/models/ for order.
A few layers and the head are enough: after four, every layer lies where the one before it lay.
"""

from __future__ import annotations

from gpufit.facts.architecture import Attention, Experts, Stack
from gpufit.memory.llama_cpp.allocator import Node
from gpufit.records import record

FLOAT_BYTES = 4  # activations are F32 throughout
_SETTLED_LAYERS = 4
_INDEX_BYTES = 8  # set_rows takes I64 rows of the cache
_MASK_ELEMENT_BYTES = 2  # the mask is F16 under flash attention (llm_graph_input_attn_kv), F32 without


@record
class Batch:
    """One micro-batch: its tokens, the cells of each kind of cache it looks at, and the rows that get logits."""

    tokens: int
    cells: tuple[int, ...]  # of one stream; a second entry for the layers with a window
    outputs: int
    flash: bool = True
    cached: bool = True  # False for an encoder, whose keys and values go into no cache
    on_host: bool = False  # one buffer for all, the embedding's two ways in included, as on a machine without a GPU


def layer_graph(stack: Stack, vocab_size: int, batch: Batch, *, layers: int | None = None) -> tuple[Node, ...]:
    """The tensors of a decoder or encoder in execution order, for ``allocator.peak_bytes``."""
    layers = min(stack.layers, _SETTLED_LAYERS) if layers is None else layers
    graph = _Graph()
    tokens, hidden = batch.tokens, batch.tokens * stack.hidden
    ids = graph.add(tokens, is_input=True)
    positions = graph.add(tokens, is_input=True)
    rows = graph.add_bytes(_row_index_bytes(stack, batch), is_input=True)
    element = _MASK_ELEMENT_BYTES if batch.flash else FLOAT_BYTES
    masks = [graph.add_bytes(tokens * cells * element, is_input=True) for cells in batch.cells]
    chosen = graph.add(batch.outputs, is_input=True)
    residual = graph.add(hidden, ids)
    if batch.on_host:
        _second_way_in(graph, hidden, ids)
    for layer in range(layers):
        is_last = layer == layers - 1
        kind = layer % len(masks)
        mask = masks[kind]
        normed = _norm(graph, hidden, residual)
        attended = _attention(graph, stack, batch, normed, positions, rows, mask, batch.cells[kind])
        width = tokens
        if is_last and vocab_size:
            width = batch.outputs
            attended = graph.add(width * stack.hidden, attended, chosen)
            residual = graph.add(width * stack.hidden, residual, chosen)
        residual = graph.add(width * stack.hidden, attended, residual, in_place=True)
        normed = _norm(graph, width * stack.hidden, residual)
        fed = _experts(graph, stack, width, normed) if stack.experts else _mlp(graph, stack, width, normed)
        residual = graph.add(width * stack.hidden, fed, residual, in_place=True)
    normed = _norm(graph, graph.elements(residual), residual)
    if vocab_size:
        graph.add(batch.outputs * vocab_size, normed)
    return tuple(graph.nodes)


class _Graph:
    """Nodes in the order they are added."""

    __slots__ = ("nodes",)

    def __init__(self) -> None:
        self.nodes: list[Node] = []

    def add(self, elements: int, *reads: int, in_place: bool = False, is_input: bool = False) -> int:
        """An fp32 tensor; returns its index."""
        return self.add_bytes(elements * FLOAT_BYTES, *reads, in_place=in_place, is_input=is_input)

    def add_bytes(self, size_bytes: int, *reads: int, in_place: bool = False, is_input: bool = False) -> int:
        """A tensor of any type; returns its index."""
        self.nodes.append(Node(size_bytes=size_bytes, reads=reads, in_place=in_place, is_input=is_input))
        return len(self.nodes) - 1

    def elements(self, index: int) -> int:
        """fp32 elements of a node."""
        return self.nodes[index].size_bytes // FLOAT_BYTES


def _row_index_bytes(stack: Stack, batch: Batch) -> int:
    """A row for each key and value; without flash attention values lie transposed, and each element has a row.

    Source: src/llama-kv-cache.cpp, build_input_k_idxs and build_input_v_idxs.
    """
    if not batch.cached or stack.attention is None:
        return 0
    values = 1 if batch.flash else _cached_widths(stack.attention)[1]
    return batch.tokens * _INDEX_BYTES * (1 + values)


def _second_way_in(graph: _Graph, hidden: int, ids: int) -> None:
    """Rows mixed from tokens and vectors: laid out though not computed; what is written by rows stays to the end."""
    given = graph.add(hidden, is_input=True)
    looked_up = graph.add(hidden, ids)
    graph.add(hidden, given)
    graph.add(hidden, looked_up)


def _norm(graph: _Graph, elements: int, source: int) -> int:
    """rms_norm, then the weight in place."""
    return graph.add(elements, graph.add(elements, source, in_place=True), in_place=True)


def _attention(
    graph: _Graph, stack: Stack, batch: Batch, normed: int, positions: int, rows: int, mask: int, cells: int
) -> int:
    a = stack.attention
    if a is None:
        return normed
    tokens = batch.tokens
    # that rotation takes its parent's place under flash attention alone is seen in the buffers that the library
    # reports (0.1 % on ten shapes), not read in its source
    query = graph.add(tokens * a.heads * _query_width(a), normed)
    query = graph.add(tokens * a.heads * _query_width(a), query, positions, in_place=batch.flash)
    key_width, value_width = _cached_widths(a)
    value = graph.add(tokens * value_width, normed)
    key = graph.add(tokens * key_width, normed)
    key = graph.add(tokens * key_width, key, positions, in_place=batch.flash)
    stored = (graph.add(0, key, rows), graph.add(0, value, rows))  # written into the cache's own buffer
    out_width = a.heads * (a.kv_rank or a.value_dim)
    if batch.flash:
        mixed = graph.add(tokens * out_width, query, mask, *stored)
    else:
        scores = graph.add(tokens * cells * a.heads, query, *stored)
        scores = graph.add(tokens * cells * a.heads, scores, mask, in_place=True)
        mixed = graph.add(tokens * out_width, scores)
        mixed = graph.add(tokens * out_width, mixed)
    if a.kv_rank:  # back from the latent width to the heads' own
        mixed = graph.add(tokens * a.heads * a.value_dim, mixed)
        mixed = graph.add(tokens * a.heads * a.value_dim, mixed)
    return graph.add(tokens * stack.hidden, mixed)


def _query_width(a: Attention) -> int:
    """A head's query; under latent attention it is absorbed into the cache's width."""
    return a.kv_rank + a.rope_dim if a.kv_rank else a.head_dim


def _cached_widths(a: Attention) -> tuple[int, int]:
    if a.kv_rank:
        return a.kv_rank + a.rope_dim, 0
    return a.kv_heads * a.head_dim, a.kv_heads * a.value_dim


def _mlp(graph: _Graph, stack: Stack, tokens: int, normed: int) -> int:
    wide = tokens * stack.mlp_width
    up = graph.add(wide, normed)
    if stack.gated:
        gate = graph.add(wide, normed)
        up = graph.add(wide, gate, up)  # a gated unit writes a tensor of its own (ggml_swiglu_split)
    else:
        up = graph.add(wide, up, in_place=True)
    return graph.add(tokens * stack.hidden, up)


def _experts(graph: _Graph, stack: Stack, tokens: int, normed: int) -> int:
    """The router's few columns, then the chosen experts' wide tensors, weighted and summed one by one."""
    e: Experts = stack.experts  # type: ignore[assignment]  # the caller has looked
    chosen = tokens * e.per_token
    logits = graph.add(tokens * e.count, normed)
    scores = graph.add(tokens * e.count, logits, in_place=True)
    order = graph.add(tokens * e.count, scores)
    weights = graph.add(chosen, scores, order)
    up = graph.add(chosen * e.width, normed, order)
    gate = graph.add(chosen * e.width, normed, order)
    wide = graph.add(chosen * e.width, gate, up)
    down = graph.add(chosen * stack.hidden, wide, order)
    down = graph.add(chosen * stack.hidden, down, weights, in_place=True)
    total = down
    for _ in range(max(1, e.per_token - 1)):
        total = graph.add(tokens * stack.hidden, total, down)
    if e.shared_width:
        wide = tokens * e.shared_width
        up, gate = graph.add(wide, normed), graph.add(wide, normed)
        shared = graph.add(tokens * stack.hidden, graph.add(wide, gate, up))
        total = graph.add(tokens * stack.hidden, total, shared, in_place=True)
    return total
