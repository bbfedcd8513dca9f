"""Hybrid decoders: Jamba, Bamba, Granite 4, Nemotron-H, Qwen3-Next and Qwen3.5, LFM2 (transformers 5.23.0).

Layers with attention peak as a dense decoder's do; layers with a recurrent mixer have moments of their own, in the
torch code that runs where mamba-ssm, causal-conv1d and flash-linear-attention are missing: those kernels lower it.

A kind of layer is widest where it occurs last, and the layers behind it have not filled their cache yet: the letter z.

Gated delta net, prefill (torch_chunk_gated_delta_rule): decays between the positions of a chunk, the triangular system
and the attention within chunks hold m·Q fp32 numbers per padded token; queries, keys, k·β, k·β decayed and k_cumdecay
the keys' width d, repeated to all value heads; values, v·β, new values and outputs the inner width. All stay named.
Short convolution (Lfm2ShortConv): B, C and x in one tensor, the convolution's output, its product with C.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from gpufit.facts.architecture import Architecture
from gpufit.memory.activations.courses import Course, Step, steps
from gpufit.memory.activations.decoder import GATED_FUSED, SQUARED, Block, ambient, decoder_moments, norm_copies
from gpufit.memory.activations.hybrid_layers import find_layers, missing_bytes
from gpufit.memory.activations.moe import Routed, expert_moments
from gpufit.memory.activations.setting import Contest, Moment, Setting, contenders
from gpufit.memory.activations.sizes import settle, stack_sizes
from gpufit.memory.activations.ssm import Copies, chunk_scan, copies_of, scan_sizes, selective_scan
from gpufit.memory.activations.symbols import (
    NOTHING,
    A,
    B,
    E,
    Expr,
    Q,
    S,
    Sizes,
    T,
    V,
    a,
    b,
    d,
    e,
    h,
    i,
    k,
    m,
    n,
    o,
    p,
    q,
    s,
    u,
    v,
    w,
    x,
    z,
)  # fmt: skip
from gpufit.memory.workload import Workload
from gpufit.records import record, replace

ROUTING = ("experts", "experts joined", "shared expert")
Moments = tuple[Moment, ...]
Mixing = Callable[[Setting, Copies], Moments]
POSITIONS = 8 * S
ATTENDING = ("rotary", "rotary queries", "rotary keys", "query norm", "attention", "attention scores",
             "attention output", "attention product")  # fmt: skip


@record(eq=False)
class Hybrid:
    """A family: its attention layers' block, its mixer, and what follows where that is no gated MLP."""

    block: Block
    mixer: Mixing
    feed: Callable[[Setting], Moments] | None = None
    gated_output: bool = False
    keeps_scores: bool = False  # the loop over layers names a layer's attention weights until the next one is done


def delta_net(joint: bool) -> Mixing:
    """Qwen3NextGatedDeltaNet; ``joint`` projects q, k, v and z at once and keeps the projection beside their copies."""

    def moments(c: Setting, copies: Copies) -> Moments:
        named = T * b * (a + i + 3 * m) + T * m * 4  # the convolved q, k, v; z; b, a and β; the decay
        named = named + T * b * (a + i + 2 * m) if joint else named
        state = T * i * s * 4 if c.decode else B * i * s * 4
        if c.decode:
            return (
                Moment("state update", 3 * state + T * (8 * d + 16 * i + 8 * m) + named,
                       "the decayed state, the outer product of key and correction, and the new state"),
            )  # fmt: skip
        named = named + Q * Q  # the mask of what lies ahead in a chunk, one byte each
        within = p * Q * m * 12 + p * m * 12 + named
        scanning = within + p * d * 20 + (x - B) * m * 4  # and each chunk's own decay
        step = B * Q * i * 4
        return (
            Moment("attention within chunks", p * Q * m * 16 + p * m * 12 + p * d * 12 + p * i * 8 + named - state,
                   "decays, the triangular system, q·k before and after the decays; q, k, v, k·β and v·β in fp32"),
            Moment("decayed keys", within + p * m * 4 + p * d * 24 + p * i * 16,
                   "the matrices within chunks; q, k, k·β, decayed copies and new keys, v, v·β, new values, outputs"),
            Moment("chunk output", scanning + p * i * 16 + 4 * step,
                   "the matrices within chunks; q, k, v and what was made of them; one chunk's new values and outputs"),
            Moment("state update", scanning + p * i * 16 + 2 * step + 3 * state,
                   "the matrices within chunks; q, k, v and what was made of them; three copies of the state"),
            # zeros_like takes the strides of solve_triangular's column-major result, so that reshape copies
            Moment("outputs joined", scanning + p * i * 20 + 2 * step,
                   "the matrices within chunks; q, k, v and what was made of them; the outputs and their copy"),
        )  # fmt: skip

    return moments


def short_convolution(c: Setting, copies: Copies) -> Moments:
    """Lfm2ShortConv."""
    return (
        Moment("convolution", T * b * (5 * h) + (NOTHING if c.decode else B * h * b * (n - 1)),
               "B, C and x, the convolution's output and its product with C"),
    )  # fmt: skip


def _routed(fp32_weights: bool = False, shared: str = "none", router: Expr = E * b) -> Callable[[Setting], Moments]:
    routed = Routed(fp32_weights=fp32_weights, shared=shared, router=router)
    return lambda c: expert_moments(routed, c)


def granite_feed(c: Setting) -> Moments:
    """GraniteMoeHybridMLP, a fused gate and up, which runs after the experts, if there are any."""
    experts = expert_moments(Routed(router=E * 4), c)[:2]
    alive = "gate and up in one, activation, product; the experts' output"
    return (*experts, Moment("mlp", T * b * GATED_FUSED + T * b * h, alive))


def dense_granite_feed(c: Setting) -> Moments:
    """The same without experts."""
    return (Moment("mlp", T * b * GATED_FUSED, "gate and up in one, activation, product"),)


def nemotron_feed(c: Setting) -> Moments:
    """NemotronHMLP (relu²) and NemotronHMoE: experts without a gate, of latent width a, their weights in fp32."""
    rows = T * e
    sorting = rows * 40 + T * E * 4 + T * b * a
    return (
        Moment("mlp", T * b * SQUARED, "up, relu and its square"),
        Moment("experts", rows * b * (a + 3 * w) + sorting, "rows sorted by expert, up, relu and its square"),
        Moment("experts joined", rows * (2 * b * a + 8 * a) + sorting,
               "sorted rows, down projection, fp32 rows weighted and in order"),
        Moment("shared expert", T * b * (h + 3 * u) + T * (4 * E + 12 * e),
               "up, relu and its square; the routed experts' output, their scores, weights and indices"),
    )  # fmt: skip


NO_POSITIONS = Block(rotary="none", table=POSITIONS)
QWEN = Block(rotary="partial", query_norm="before values", projections=2 * q)
FAMILIES: dict[str, Hybrid] = {
    # JambaAttention has no positions; feed_forward is a mixture in every other layer
    "jamba": Hybrid(block=NO_POSITIONS, mixer=selective_scan, feed=_routed()),
    "bamba": Hybrid(block=Block(rotary="partial"), mixer=chunk_scan, keeps_scores=True),
    # NemotronHBlock holds one mixer: no residual between attention and MLP
    "nemotron_h": Hybrid(
        block=replace(NO_POSITIONS, mlp_stream=3, kept_scores=0), mixer=chunk_scan, feed=nemotron_feed,
    ),
    "qwen3_next": Hybrid(block=QWEN, mixer=delta_net(True), feed=_routed(shared="before"), gated_output=True),
    "qwen3_5": Hybrid(block=QWEN, mixer=delta_net(False), gated_output=True),
    "qwen3_5_moe": Hybrid(block=QWEN, mixer=delta_net(False), feed=_routed(shared="before"), gated_output=True),
    "lfm2": Hybrid(block=Block(query_norm="before values"), mixer=short_convolution),
}  # fmt: skip


# GraniteMoeHybridDecoderLayer by (experts, rotary positions); logits are scaled
GRANITES = {
    (experts, rotates): Hybrid(
        block=replace(Block() if rotates else NO_POSITIONS, logits_copies=2), mixer=chunk_scan,
        feed=granite_feed if experts else dense_granite_feed,
    )
    for experts in (True, False) for rotates in (True, False)
}  # fmt: skip


def _family(architecture: Architecture) -> Hybrid:
    name = architecture.form
    stack = architecture.stacks[0]
    if name == "granitemoehybrid":
        rotates = stack.attention is not None and stack.attention.rope_dim > 0
        return GRANITES[bool(stack.experts), rotates]
    if name == "qwen3_next" and architecture.model_type.startswith("qwen3_5"):
        return FAMILIES["qwen3_5_moe"]
    return FAMILIES[name]


@lru_cache(maxsize=1024)
def _moments(family: Hybrid, c: Setting, copies: Copies) -> dict[str, Contest]:
    """The moments by the kind of layer that they happen in (``Layers.places``)."""
    feed = family.feed(c) if family.feed else None
    around = ambient(family.block, c) + (4 * (B * V) if c.decode else NOTHING)
    stream = T * b * ((family.block.stream - (0 if c.deep else 1)) * h)
    scores = A * b if c.kernel == "eager" else NOTHING
    found: dict[str, list[Moment]] = {"mixer": [], "behind": [], "attention": []}
    for one in family.mixer(c, copies):
        formula = one.formula + stream + around
        found["mixer"].append(Moment(one.name, formula, one.alive))
        found["behind"].append(Moment(one.name, formula + scores, f"{one.alive}, the scores before it"))
    for one in decoder_moments(replace(family.block, kept_scores=0), c, feed):
        found.setdefault(_place(one.name), []).append(one)
    if scores and family.block.kept_scores:
        for one in decoder_moments(family.block, c, feed):
            if _place(one.name) in ("dense", "sparse"):
                found.setdefault(f"attending {_place(one.name)}", []).append(one)
    if family.gated_output:
        found["attention"] += [
            Moment("query norm", stream + around + T * b * (3 * q - k - v) + T * norm_copies("rms", q, c.half),
                   "queries and gate in one, the gate's copy, the queries' fp32 copies"),
            Moment("output gate", stream + around + scores + T * b * (2 * q + 3 * o),
                   "queries and gate, the heads' outputs, sigmoid(gate) and their product"),
        ]  # fmt: skip
    return {place: contenders(replace(one, formula=one.formula - z) for one in some) for place, some in found.items()}


def _place(name: str) -> str:
    """The kind of layer that a moment of ``decoder_moments`` happens in."""
    if name in ATTENDING:
        return "attention"
    return "sparse" if name in ROUTING else "dense" if name == "mlp" else "last"


def plan(architecture: Architecture, workload: Workload) -> tuple[Course, ...]:
    """Prefill and decode of a hybrid decoder."""
    return tuple(_course(architecture, workload, step) for step in steps(architecture, workload))


def _course(architecture: Architecture, workload: Workload, step: Step) -> Course:
    family = _family(architecture)
    stack = architecture.stacks[0]
    c = settle(architecture, workload, stack, step.name, keys=step.keys, queries=step.queries)
    sizes = _mixer_sizes(architecture, stack_sizes(architecture, workload, stack, queries=step.queries, keys=step.keys))
    contests = _moments(family, c, copies_of(workload.batch, step.queries, sizes.Q))
    places = find_layers(architecture).places(keeps_scores=family.keeps_scores)
    return Course(
        name=step.name, cache_tokens=step.cached,
        moments=tuple(
            (contests[place], scan_sizes(sizes, missing=missing_bytes(architecture, workload, last, sizes, step)))
            for place, last in places.items() if place in contests
        ),
    )  # fmt: skip


def _mixer_sizes(architecture: Architecture, sizes: Sizes) -> Sizes:
    """The widths of a delta net, or of Nemotron's latent experts."""
    mixer = architecture.stacks[0].mixer
    if mixer is not None and mixer.key_heads:
        return sizes._replace(d=mixer.heads * mixer.key_dim, a=2 * mixer.key_heads * mixer.key_dim + mixer.inner)
    latent = (g.shape[0] for g in architecture.tensors.groups if g.name.endswith("fc1_latent_proj.weight"))
    return sizes._replace(a=next(latent, sizes.h))
