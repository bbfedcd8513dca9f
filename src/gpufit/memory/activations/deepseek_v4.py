"""DeepSeek-V4 (transformers 5.23.0, models/deepseek_v4/modeling_deepseek_v4.py), eager attention only.

The residual is m parallel streams, m·h wide (hyper-connections). While a block runs live the streams that came into
the layer, the block's input before and after its norm, the embeddings; between attention and MLP the streams of both.
Mixing holds the old and new streams, their product with the block's output and the fp32 copies of a norm.

One key head serves as keys and values of all query heads: repeating it writes both out for every head. Sparse layers
append compressed entries to the C keys that their window's cache passes on; p counts both, for the batch, and y the
pairs of queries and compressed entries. The sinks are fp32, so appending them makes the scores fp32. The compressors'
waiting tokens are views that keep the whole prompt's projections alive until the first new token: U numbers. The
indexer's i-wide queries score y entries for each of n heads in fp32: the product, its relu, the scaled copy.

An upper bound where layers differ, since it takes the widest layer kind for every layer, and in decode, whose cache
is counted with the most tokens that can wait for their compression.
"""

from __future__ import annotations

from functools import lru_cache

from gpufit.facts.architecture import Architecture
from gpufit.memory.activations.courses import Course, Step, steps
from gpufit.memory.activations.setting import Contest, Moment, Setting, contenders
from gpufit.memory.activations.sizes import settle, stack_sizes
from gpufit.memory.activations.symbols import (
    NOTHING,
    B,
    D,
    E,
    H,
    N,
    R,
    S,
    Sizes,
    T,
    U,
    V,
    b,
    e,
    h,
    i,
    k,
    m,
    n,
    p,
    q,
    r,
    s,
    u,
    w,
    y,
)  # fmt: skip
from gpufit.memory.activations.symbols import P as CACHED
from gpufit.memory.workload import Workload


@lru_cache(maxsize=1024)
def _moments(c: Setting) -> Contest:
    streams = T * m * h
    before = 4 * (B * V) if c.decode else NOTHING
    around = 16 * (CACHED if c.decode else T) + 4 * (S * D * b) + B * N * b + U * b + before
    outside = T * b * h + streams * b  # embeddings and the layer's input
    # the block's input before and after its norm, and the compressed queries that the indexer reads
    inside = outside + T * b * (2 * h + R)
    scores = H * (B * N + y)
    queries = T * b * q
    # keys beside their compressed entries, the longer mask
    # the MLP runs beside the attention's output, its probabilities (`attn_output, _`) and both layers of streams
    feeding = outside + streams * b + T * b * (2 * h) + scores * b + around
    attending = inside + around + queries + p * k * b + y * b + B * N * b
    laid_out = p * q * b if c.batched else NOTHING  # torch.matmul repeats the one key head once there are two sequences
    turning = T * (12 * r)  # apply_rotary_pos_emb: both fp32 products of the rotary slice and their sum
    joining = queries + T * b * r  # the turned slice beside the others, in one new tensor
    rows = T * e
    routing = rows * 40 + T * E * 12 + T * b * h
    return contenders(
        (
            Moment("queries", inside + around + queries + T * (8 * q if c.half else 4 * q),
                   "projected queries, their fp32 copy where they are narrower, its square"),
            Moment("rotary", inside + around + queries + turning, "normalized queries, fp32 products of their slice"),
            Moment("rotated queries", inside + around + queries + joining,
                   "normalized queries, their turned slice, both joined"),
            Moment("index scores", inside + around + queries + 12 * (n * y) + T * (4 * i) + T * b * (3 * i) + 8 * y,
                   "the indexer's fp32 scores, their relu and scaled copy, its queries"),
            Moment("index product",
                   inside + around + queries + 4 * (n * y) + 4 * (y * s) + T * (8 * i) + T * b * (3 * i),
                   "the indexer's fp32 queries, its keys laid out per query, their product"),
            Moment("attention scores", attending + scores * (8 + (2 * b if c.half else b)),
                   "scores, with the fp32 sink in fp32, softmax, its copy; queries; the longer mask"),
            Moment("attention product", attending + scores * (8 + (b if c.half else NOTHING)) + laid_out + queries,
                   "values laid out for every head; the fp32 scores and their softmax, its copy, the product"),
            Moment("rotary back", inside + around + scores * b + 2 * queries + turning,
                   "probabilities, queries, the heads' outputs and the fp32 products of their slice"),
            Moment("attention output", inside + around + scores * b + 2 * queries + joining,
                   "probabilities, queries, the heads' outputs before and after rotating back"),
            Moment("experts", feeding + T * b * h + rows * b * (h + 6 * w) + routing,
                   "rows sorted by expert, gate and up, both clamped, activation and product"),
            Moment("experts joined", feeding + T * b * h + rows * (b * (4 * h)) + routing,
                   "sorted rows, down projection, rows weighted and in order"),
            Moment("shared expert", feeding + T * b * h + T * b * (h + 5 * u) + routing,
                   "gate and up, both clamped, and their product; the routed experts' output"),
            Moment("mixing", feeding + streams * (8 if c.half else 4),
                   "the streams that came in and those after attention, the fp32 copies of a norm"),
            Moment("expanding", feeding + T * b * (2 * h) + 3 * (streams * b),
                   "the streams after attention, the MLP's output for every stream, the mixed streams and their sum"),
            Moment("logits", 8 * (B * V) + before + around,
                   "the logits of one position per sequence and their fp32 copy"),
        )
    )  # fmt: skip


def plan(architecture: Architecture, workload: Workload) -> tuple[Course, ...]:
    """Prefill and decode of DeepSeek-V4, bounded from above."""
    return tuple(_course(architecture, workload, step) for step in steps(architecture, workload))


def _course(architecture: Architecture, workload: Workload, step: Step) -> Course:
    stack = architecture.stacks[0]
    c = settle(architecture, workload, stack, step.name, keys=step.keys, queries=step.queries, eager_only=True)
    window = max(layers.window_tokens or 0 for layers in architecture.cache)
    keys = min(step.keys, window) if step.name == "decode" else step.keys
    sizes = stack_sizes(architecture, workload, stack, queries=step.queries, keys=keys)
    return Course(
        name=step.name, cache_tokens=step.cached, exact=False,
        moments=((_moments(c), _letters(architecture, sizes, step.cached, workload.prompt_tokens)),),
    )  # fmt: skip


def _letters(architecture: Architecture, sizes: Sizes, cached: int, prompt: int) -> Sizes:
    """Streams, compressed entries and the indexer's heads."""
    shapes = {g.name.rpartition("layers.{}.")[2] or g.name: g.shape for g in architecture.tensors.groups}
    streams = next(shape[0] for name, shape in shapes.items() if name.endswith("hc_head.hc_fn"))
    heads = next((s[0] for name, s in shapes.items() if name.endswith("scorer.weights_proj.weight")), 0)
    width = next((s[0] for name, s in shapes.items() if name.endswith("indexer.q_b_proj.weight")), 0)
    rate = min((x.tokens_per_entry for x in architecture.cache if x.tokens_per_entry > 1), default=0)
    entries = cached // rate if rate else 0
    kept = 0  # numbers per token that values and gates of all compressors hold
    for group in architecture.tensors.groups:
        if "compressor" in group.name and group.name.endswith(("kv_proj.weight", "gate_proj.weight")):
            kept += group.shape[0] * sum(map(len, group.indices))
    return sizes._replace(
        U=sizes.B * prompt * kept if sizes.S > 1 else 0,
        s=width // heads if heads else 0,
        m=streams,
        n=heads,
        i=width,
        y=sizes.T * entries,
        p=sizes.B * (sizes.C + entries),
        P=sizes.B * cached,
    )
