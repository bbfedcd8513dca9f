"""Encoders: one pass over all positions, then a head (transformers 5.23.0, models/bert and its kin).

BertLayer: while the intermediate activation runs live the layer's input, the attention's output, the embeddings (a
local of the model's forward) and the widths before and after the activation. The masked-LM head gives every position
a row of the vocabulary beside the last hidden state and its transform.
"""

from __future__ import annotations

from functools import lru_cache

from gpufit.facts.architecture import Architecture
from gpufit.memory.activations.courses import Course
from gpufit.memory.activations.decoder import GATED
from gpufit.memory.activations.quantized import linear_moments
from gpufit.memory.activations.setting import Contest, Moment, Setting, contenders
from gpufit.memory.activations.sizes import settle, stack_sizes
from gpufit.memory.activations.symbols import NOTHING, A, B, D, F, H, L, M, N, S, T, V, X, as_expr, b, f, h, o, q
from gpufit.memory.workload import Workload

_EAGER_ONLY = ("mpnet", "deberta", "deberta-v2")


def bert(c: Setting) -> list[Moment]:
    """BertLayer, RobertaLayer, ElectraLayer, DistilBERT's TransformerBlock, AlbertLayer; MPNet adds a bias per head."""
    eager = c.kernel == "eager"
    around = 16 * T
    kept = A * b if eager else NOTHING
    stream = T * b * ((2 if c.deep else 1) * h)  # embeddings and the layer's input
    if c.variant == "mpnet":  # position_bias (batch, heads, S, S), scores over √d, softmax
        around, kept = around + A * b, NOTHING
    scores = 2 * (A * b) + T * b * (3 * q) + stream + around
    return [
        Moment("attention scores", scores, "scores before and after scaling, queries, keys, values")
        if eager
        else Moment("attention", T * b * (3 * q + o) + stream + 4 * (T * H) + around, "queries, keys, values, outputs"),
        Moment("attention output", kept + T * b * (3 * q + o + 2 * h) + stream + around, "all of attention's locals"),
        Moment(
            "mlp",
            T * b * (2 * f + h) + stream + kept + around,
            "before and after the activation, the attention's output, the layer's input, embeddings",
        ),
        Moment(
            "mlp output",
            T * b * (f + 4 * h) + stream + kept + around,
            "the activation, its projection, the sum and its norm beside attention's output, input and embeddings",
        ),
        *linear_moments(c, "up projection", h, f, T * b * h + stream + kept + around),
        *linear_moments(c, "down projection", f, h, T * b * (f + h) + stream + kept + around),
    ]


def nomic_bert(c: Setting) -> list[Moment]:
    """NomicBertLayer: rotary queries and keys beside the values, a gated MLP of three matrices, norms after both.

    The embeddings are a local of the model's forward, the residual one of the layer's, and cos and sin live on.
    """
    eager = c.kernel == "eager"
    around = 16 * T + 8 * S + 2 * (S * D * b)
    kept = A * b if eager else NOTHING
    stream = T * b * ((2 if c.deep else 1) * h)  # embeddings and the layer's input
    attention = (
        Moment(
            "attention scores",
            2 * (A * b) + T * b * (3 * q) + stream + around,
            "scores before and after scaling, queries, keys, values",
        )
        if eager
        else Moment("attention", T * b * (3 * q + o) + stream + 4 * (T * H) + around, "queries, keys, values, outputs")
    )
    return [
        Moment(
            "rotary",
            T * b * (7 * q) + stream + around,
            "queries, keys and values, the rotated queries, the keys' products with cos and sin and their rotated half",
        ),
        attention,
        Moment("attention output", kept + T * b * (3 * q + o + h) + stream + around, "all of attention's locals"),
        Moment(
            "mlp",
            T * b * (3 * f + 2 * h) + stream + kept + around,
            "gate, up, their product, the MLP's input and attention's output beside the layer's input and embeddings",
        ),
        Moment(
            "mlp output",
            T * b * (f + 3 * h) + stream + kept + around,
            "the product and its projection beside the MLP's input, attention's output, the layer's input, embeddings",
        ),
        *linear_moments(c, "up projection", h, f, T * b * (f + 2 * h) + stream + kept + around),
        *linear_moments(c, "down projection", f, h, T * b * (f + 2 * h) + stream + kept + around),
    ]


def modernbert(c: Setting) -> list[Moment]:
    """ModernBertLayer: pre-norm, a fused gated MLP, local and global layers with a mask and rotary tables each."""
    eager = c.kernel == "eager"
    around = 16 * T + 8 * S + 4 * (S * D * b) + (2 * (M * b) if eager else N if c.masked else NOTHING)
    stream = T * b * ((2 if c.deep else 1) * h)
    upcast = as_expr(10 if c.dtype == "bf16" else 8)
    masked = M * b if c.masked and not eager else NOTHING
    attention = (
        Moment(
            "attention scores",
            A * upcast + T * b * (h + F + 2 * q) + stream + around,
            "scores, softmax and its copy, the fused projection, rotated queries and keys",
        )
        if eager
        else Moment(
            "attention",
            T * b * (h + F + 2 * q + o) + stream + masked + around,
            "the fused projection, rotated queries and keys, outputs",
        )
    )
    return [
        attention,
        Moment(
            "rotary",
            T * b * (h + F) + (T * (24 * q) if c.half else T * b * (5 * q)) + stream + around,
            "the fused projection, its queries and keys in fp32 and their products with cos and sin",
        ),
        Moment(
            "mlp",
            T * b * (h + (GATED + f)) + stream + around,
            "input and gate in one tensor, the activation and the product",
        ),
    ]


def deberta(c: Setting) -> list[Moment]:
    """DisentangledSelfAttention (DeBERTa-v2/v3), eager only: X rows of relative positions in (batch·heads, ·, d)
    copies for queries and keys; scores, both gathered biases, their sum and the ungathered product are alive
    together. The int64 mask (batch, S, S) and three int64 position matrices (S, S) live on.
    """
    ids = 16 * T + 8 * M + 8 * N
    table = X * h * b
    stream = T * b * (L * h)  # the model asks its encoder for all hidden states: embeddings and every layer's output
    locals_ = T * b * (3 * q) + stream + 2 * (B * table) + table + 16 * N + ids
    return [
        Moment(
            "position scores",
            4 * (A * b) + H * T * X * b + locals_,
            "scores, two gathered biases, their sum, the ungathered product, queries, keys, values, tables, indices",
        ),
        Moment(
            "attention scores",
            5 * (A * b) + locals_,
            "scores, two gathered biases, one scaled, their sum, queries, keys, values, tables, indices",
        ),
        Moment(
            "mlp",
            T * b * (2 * f + h) + stream + A * b + table + ids,
            "before and after the activation, attention's output",
        ),
    ]


def heads(c: Setting) -> list[Moment]:
    """The masked-LM head: the last hidden state, its transform, and a row of the vocabulary for every position."""
    if c.head != "all":
        return []
    return [
        Moment(
            "logits", T * V * b + 2 * (T * h * b) + 16 * T, "last hidden state, its transform, logits of all positions"
        )
    ]


FORMS = {"bert": bert, "deberta": deberta, "modernbert": modernbert, "albert": bert, "nomic_bert": nomic_bert}


@lru_cache(maxsize=1024)
def _moments(form: str, setting: Setting) -> Contest:
    return contenders((*FORMS[form](setting), *heads(setting)))


def plan(architecture: Architecture, workload: Workload) -> tuple[Course, ...]:
    """The one phase of an encoder."""
    stack = architecture.stacks[0]
    tokens = workload.prompt_tokens
    c = settle(architecture, workload, stack, "encode", keys=tokens, eager_only=architecture.model_type in _EAGER_ONLY)
    table = next((g.shape[0] for g in architecture.tensors.groups if g.name.endswith("rel_embeddings.weight")), 0)
    sizes = stack_sizes(architecture, workload, stack, queries=tokens, keys=tokens, extra=table)
    c = c._replace(head="all" if architecture.tensors.output else "none")
    return (
        Course(
            name="encode",
            cache_tokens=0,
            moments=((_moments(architecture.form, c), sizes),),
            exact=architecture.model_type != "deberta",
        ),
    )
