"""The moments of a decoder-only transformer, put together from what distinguishes one block from another.

Reading a block of transformers' modelling code with an eye on lifetimes, the same instants decide the peak everywhere:

* ``rotary queries`` / ``rotary keys``: the product with cos and sin, before the layer's own keys and values have become
  cache entries. They then stand in for the entries that the cache does not hold yet, so over a full cache they cost
  nothing.
* ``attention``: eager computes the scores in the model's dtype and upcasts the softmax. With half precision the scores
  (b), the fp32 probabilities (4) and their copy back (b) are alive together: 8 bytes an element in fp16, where CUDA's
  softmax reads half and writes fp32 in one kernel; in bf16 the fp32 copy of the scores (4) and the result (4) stand
  beside the scores (2): 10. In fp32 the product and its scaled or softmaxed copy: 8. Fused kernels hold queries and
  outputs.
* ``attention values``: the heads' outputs and their copy in the order of tokens, in eager attention beside the
  probabilities and the repeated keys and values; the widest where heads are wide and the prompt is short.
* ``attention output``: the output projection writes beside the attention's locals.
* ``norm``: the fp32 copies of a normalization.
* ``mlp``: activation, up projection and product.
* ``final norm``, ``logits``: one position per sequence is kept (``logits_to_keep`` = 1), then copied to fp32 to
  choose the token.
* ``cache growth``: a decode step concatenates a layer's cache into a new tensor before the old one dies, while
  attention names its projections and, where it looks them up itself, sin and cos.

All through a forward pass live: the input embeddings (``inputs_embeds`` is a local of the model's forward), the layer's
input (a local of the loop) and whatever the block itself still names.
"""

from __future__ import annotations

from typing import Literal

from gpufit.memory.activations.quantized import linear_moments
from gpufit.memory.activations.sdpa import fused_moments, math_moments
from gpufit.memory.activations.setting import Moment, Setting
from gpufit.memory.activations.symbols import (
    NOTHING,
    A,
    B,
    D,
    Expr,
    M,
    N,
    P,
    S,
    T,
    V,
    W,
    as_expr,
    b,
    f,
    h,
    j,
    k,
    o,
    q,
    r,
    v,
    z,
)
from gpufit.records import record

Norm = Literal["rms", "wide rms", "layer", "fp32 layer", "mean rms"]
Rotary = Literal["none", "plain", "fp32 product", "fp32", "partial", "complex"]
QueryNorm = Literal["none", "before values", "after values", "wide"]

GATED = 3 * f  # act(gate), up, their product
GATED_FUSED = 4 * f  # gate and up in one tensor of 2·f, act(gate), the product
PLAIN = 2 * f  # before and after the activation
SQUARED = 3 * f  # up, relu, its square
XIELU = 5 * f  # x, its positive part, the scaled negative part, 0.5·x and the sum of the last two
GELU_TANH = 4 * f  # NewGELUActivation: x, x/2, x³ scaled and added, tanh: four of width f at its widest
BLOOM_GELU = 5 * f


@record
class Block:
    """What sets one family's block apart. Widths are per token and element; ``stream`` counts tensors of width h.

    ``stream`` is alive during attention (embeddings, layer input, normalized input), ``mlp_stream`` during the MLP.
    ``projections`` is what attention still names while it computes: the rotated queries, or the fused projection.
    ``kept_scores`` counts score tensors that a block's locals keep alive through its MLP in eager attention.
    ``previous_scores`` are those of the layer before, kept by the loop. ``table`` is a position embedding kept alive.
    """

    stream: int = 3
    mlp_stream: int = 4
    mlp: Expr = GATED
    mlp_mask: Expr = NOTHING  # of one byte an element, alive beside it
    norm: Norm = "rms"
    norm_stream: int = 3
    projections: Expr = q
    rotary: Rotary = "plain"
    query_norm: QueryNorm = "none"
    scores: Literal["upcast", "same", "sum and same", "upcast beside", "fp32", "fp32 bias", "alibi"] = "upcast"
    named_scores: int = 1
    output: Expr = o + h
    kept_scores: int = 1
    previous_scores: int = 0
    repeats: bool = True  # repeat_kv in eager attention of grouped queries
    table: Expr = NOTHING
    tables: int = 1  # pairs of cos and sin
    own_angles: Expr = NOTHING  # bytes of sin and cos that attention looks up itself, gone before the MLP (GPT-J)
    frees_input: bool = False  # the MLP's input dies once its first projection is done (OPT rebinds the name)
    eager_only: bool = False
    logits_copies: int = 1


def norm_copies(norm: Norm, width: Expr, half: bool) -> Expr:
    """Bytes per token that a normalization holds beside its input, at its widest.

    rms (LlamaRMSNorm): the fp32 copy and its square, then its scaled copy: 8; the results in half fit below that.
    wide rms (Olmo2RMSNorm): weight × fp32 before the cast back: 4 + 4 + 2. fp32 layer (OlmoLayerNorm): fp32 in and
    out: 8. mean rms (CohereLayerNorm): x, x − mean and its square in fp32: 12. layer: the native kernel's output.
    """
    if norm == "layer":
        return b * width
    if not half:
        return b * width if norm == "fp32 layer" else 2 * b * width
    return {"rms": 8, "wide rms": 10, "fp32 layer": 8, "mean rms": 12}[norm] * width


def score_bytes(block: Block, c: Setting) -> Expr:
    """Bytes per element of the scores when eager attention is widest (see the module's text)."""
    if block.scores == "fp32":  # GPT-J: the product of fp32 queries and keys, and its scaled copy
        return as_expr(8)
    if block.scores == "same":  # GPT-2: scaled or masked scores and their softmax
        return 2 * b
    if block.scores == "sum and same":  # Falcon: scores, scores + mask, softmax
        return 3 * b
    if block.scores == "fp32 bias":  # MPT: scores plus fp32 ALiBi, softmax, its copy
        return 8 + b if c.half else as_expr(8)
    # falcon-rw, whose mask is one for every head
    if block.scores == "alibi":  # product, its fp32 copy, plus ALiBi, plus the mask, that cast back, softmax
        return 12 + 3 * b if c.half else as_expr(16)
    upcast = 10 if c.dtype == "bf16" else 8
    return b + upcast if block.scores == "upcast beside" else as_expr(upcast)  # Bloom names the unmasked scores too


def ambient(block: Block, c: Setting) -> Expr:
    """What lives all through the forward pass besides the stream: ids, position tables, masks."""
    alive = 8 * (P if c.decode else T) + block.table
    if block.own_angles:
        alive = alive + 8 * S
    elif block.rotary == "complex":
        alive = alive + 4 * (S * D) + 8 * S
    elif block.rotary != "none":
        # cos and sin: one row per position (position_ids is not expanded over the batch)
        width = 4 if block.rotary == "fp32 product" else b
        alive = alive + 2 * (block.tables if c.full and c.sliding else 1) * S * D * width + 8 * S
    if block.scores == "alibi":  # the mask with every head's biases in it
        alive = alive + A * b
    elif c.kernel == "eager":
        alive = alive + c.masks * (M * b)
    elif c.mutual:
        alive = alive + c.masks * M
    elif c.masked and not c.flash:
        alive = alive + N
    return alive


def decoder_moments(
    block: Block, c: Setting, mlp: tuple[Moment, ...] | None = None, attention: tuple[Moment, ...] | None = None
) -> tuple[Moment, ...]:
    """All moments of one phase above the cache.

    ``mlp`` replaces the dense MLP (mixtures of experts), ``attention`` every moment of attention (latent attention,
    recurrent mixers); both are given above the residual stream.
    """
    single = 0 if c.deep else 1  # with one layer the embeddings are the layer's input
    stream = T * b * ((block.stream - single) * h)
    mlp_stream = T * b * ((block.mlp_stream - single) * h)
    eager = c.kernel == "eager"
    kept = (block.kept_scores + (block.previous_scores if c.deep else 0)) * (A * b) if eager else NOTHING
    before = block.previous_scores * (A * b) if eager and c.deep else NOTHING
    around = ambient(block, c)
    beside = before + block.own_angles + around  # during attention, and no longer

    if attention is not None:
        mixing = [Moment(m.name, m.formula + stream + beside, m.alive) for m in attention]
    else:
        mixing = [
            *_rotary_moments(block, c, stream + beside),
            *_query_norm_moments(block, c, stream + beside),
            *_attention_moments(block, c, stream, beside),
        ]
    moments = [
        *mixing,
        Moment(
            "norm",
            T * b * ((block.norm_stream - single) * h) + T * norm_copies(block.norm, h, c.half) + kept + around,
            "the residual stream and the fp32 copies of a normalization",
        ),
    ]
    if mlp is None:
        moments.append(
            Moment(
                "mlp",
                mlp_stream + T * b * block.mlp + T * block.mlp_mask + kept + around,
                "gate, up and product beside embeddings, layer input, residual and normalized input",
            )
        )
    else:
        moments += [Moment(m.name, mlp_stream + m.formula + kept + around, m.alive) for m in mlp]
    if c.linear != "plain":
        moments += _linear_moments(block, c, mlp is None, stream + beside, mlp_stream + kept + around)
    moments += head_moments(block, c, around)
    if c.decode:
        # DynamicLayer.update copies keys, then values; DynamicSlidingWindowLayer.update names both copies first
        copies = {"values": P * v * b} if c.full else {}
        copies |= {"keys and values": W * b * (k + v)} if c.sliding else {}
        moments += [
            Moment(
                "cache growth",
                grown + stream + T * b * block.projections + 4 * B * V + beside,
                f"a layer's {what}, old and new at once, while torch.cat copies them",
            )
            for what, grown in copies.items()
        ]
        moments = [
            m
            if m.name in ("cache growth", "logits", "output projection")
            else Moment(m.name, m.formula + 4 * B * V, m.alive)
            for m in moments
        ]  # the last step's fp32 logits live on through this step
    return tuple(moments)


def _linear_moments(block: Block, c: Setting, dense: bool, attending: Expr, feeding: Expr) -> list[Moment]:
    """The quantized linear layers; what a plain one allocates is in the other moments already."""
    output = T * b * (block.projections + o)
    moments = linear_moments(c, "query projection", h, q, attending)
    moments += linear_moments(
        c, "attention output", o, h, attending + output + (A * b if c.kernel == "eager" else NOTHING)
    )
    if not dense:
        return moments
    if block.mlp is GATED_FUSED:
        moments += linear_moments(c, "gate and up projection", h, 2 * f, feeding)
        moments += linear_moments(c, "down projection", f, h, feeding + T * b * (3 * f))
    else:
        waiting = T * b * f if block.mlp is GATED else NOTHING  # act(gate), while up is computed
        waiting = T * b * h if block.frees_input else waiting
        moments += linear_moments(c, "up projection", h, f, feeding + waiting)
        moments += linear_moments(c, "down projection", f, h, feeding + T * b * f)
    return moments


def head_moments(block: Block, c: Setting, around: Expr) -> list[Moment]:
    """After the last block: the final norm over all positions, then logits of the positions kept."""
    last = T * h * b
    moments = [
        Moment(
            "final norm",
            2 * last + T * norm_copies(block.norm, h, c.half) + around,
            "embeddings, the stack's output and the fp32 copies of the final norm",
        )
    ]
    if c.head == "last":
        logits = B * V * b
        before = 4 * B * V if c.decode else NOTHING
        ids = 16 * P if c.decode else 8 * T  # with the next token appended, once more
        moments.append(
            Moment(
                "logits",
                logits + 4 * B * V + before + ids,
                "the logits of one position per sequence and their fp32 copy",
            )
        )
        moments.append(
            Moment(
                "output projection",
                last + block.logits_copies * logits + before + ids,
                "the normalized output and the logits of one position per sequence",
            )
        )
    return moments


def _rotary_moments(block: Block, c: Setting, around: Expr) -> list[Moment]:
    """apply_rotary_pos_emb: x·cos, rotate_half(x), its product with sin, and x itself; keys while the queries wait.

    ``fp32 product`` (OLMo): cos and sin stay fp32, so the products are. ``fp32`` (Cohere): queries and keys are cast
    first. ``partial`` (Phi, GLM, GPT-NeoX): a rotated and a passed part, joined by torch.cat. ``complex`` (Llama 4):
    fp32 copies of queries and keys seen as complex numbers, their products, and those cast back beside the projections.
    """
    beside = "the rotated tensor, its products with cos and sin, and the projections"
    own = block.projections - q  # what a fused projection keeps beside its queries
    if block.rotary == "none":
        return []
    if block.rotary == "partial":
        formulas = {"rotary": T * b * (own + 2 * q + k + r + j)}
    elif block.rotary == "complex":
        formulas = {"rotary": T * ((8 if c.half else 0) * (q + k)) + T * b * (2 * q + k)}
    elif block.rotary == "fp32 product" and c.half:
        formulas = {"rotary queries": T * (12 * q) + T * b * q, "rotary keys": T * (4 * q + 12 * k) + T * b * q}
    elif block.rotary == "fp32" and c.half:
        formulas = {"rotary queries": T * (16 * q + 4 * k) + T * b * q, "rotary keys": T * (8 * q + 16 * k) + T * b * q}
    else:
        formulas = {"rotary queries": T * b * (4 * q), "rotary keys": T * b * (2 * q + 3 * k)}
    return [Moment(name, formula + around, beside) for name, formula in formulas.items()]


def _query_norm_moments(block: Block, c: Setting, around: Expr) -> list[Moment]:
    """Query and key norms: fp32 copies of the queries before (or after) keys and values are projected."""
    if block.query_norm == "none":
        return []
    norm: Norm = "wide rms" if block.query_norm == "wide" else "rms"
    queries = T * b * q + T * norm_copies(norm, q, c.half)
    if block.query_norm != "after values":  # the keys and values of this layer do not exist yet
        queries = queries - T * b * (k + v)
    return [Moment("query norm", queries + around, "the projected queries and their fp32 copies")]


def _attention_moments(block: Block, c: Setting, stream: Expr, around: Expr) -> list[Moment]:
    projections = T * b * block.projections
    if c.kernel == "eager":
        repeated = P * b * (q + o) if c.grouped and block.repeats else NOTHING
        scores = A * score_bytes(block, c)
        if block.scores == "fp32" and c.half:
            scores = scores + 4 * (T * q) + 4 * (P * k)
        # the heads' outputs of many tokens are copied into the order of tokens, those of one are in it already;
        # one value head is laid out for the product, of as many keys as there are queries in a prefill
        laid_out = T * b * o if not c.decode else P * b * o if c.shared and c.batched else NOTHING
        return [
            Moment(
                "attention scores",
                scores + stream + projections + repeated + around,
                "scores, softmax and its copy beside the stream, queries and repeated keys and values",
            ),
            Moment(
                "attention output",
                block.named_scores * (A * b) + stream + projections + T * b * block.output + around,
                "probabilities, the heads' outputs and their projection",
            ),
            # keys and values are repeated under names of their own until the function returns
            Moment(
                "attention values",
                block.named_scores * (A * b) + stream + projections + repeated + T * b * o + laid_out + around,
                "probabilities, repeated keys and values, the heads' outputs and those laid out token by token",
            ),
            # torch.matmul lays each operand out whole when it cannot be viewed as one batch: one sequence can
            Moment(
                "attention product",
                A * b + stream + projections + (P * q * b if c.shared and c.batched else NOTHING) + around,
                "scores beside the one key head, repeated for the product",
            ),
        ]
    if c.kernel == "fused":
        return fused_moments(block, c, stream, around)
    if c.decode or not (c.full and c.sliding and c.masked):
        return math_moments(block, c, stream + projections + around)
    # the mask of the layers that slide opens the memory-efficient kernel to them; the full ones have none, and while
    # the last of them attends, the layers behind it have cached nothing yet
    fallback = math_moments(block, c._replace(masked=False), stream + projections + around - z)
    return [*fused_moments(block, c, stream, around), *fallback]
