"""Gemma 4's text decoder (transformers 5.23.0, models/gemma4/modeling_gemma4.py): two kinds of attention, two widths.

Full layers have wider heads than sliding ones, so every moment is evaluated with either kind's sizes; X is the rotary
dimension of the other kind, whose cos and sin live on too. Per-layer inputs, a numbers per token over all layers,
live on through the forward pass; they are made (``project_per_layer_inputs``: the token's part, its projection and
the fp32 copies of a norm) before any layer has filled its cache: z bytes less. Behind the last layer with keys of its
own, a prefill goes on with the last position only, except under flash attention.

With experts the dense MLP's output and its norm stay named while the experts run, and after: six tensors of width h.
The router's answer takes the name ``_`` that kept the eager probabilities until then.

Gemma4Model, around the decoder of a model with towers, names the token's part of the per-layer inputs and the
embeddings that stand in for pictures (``llm_inputs_embeds``) to the end, and makes the masks before anything else.
"""

from __future__ import annotations

from functools import lru_cache

from gpufit.facts.architecture import Architecture, CacheLayers
from gpufit.memory.activations.attention_kinds import attention_kinds, settle_kind
from gpufit.memory.activations.courses import Course, Step, steps
from gpufit.memory.activations.decoder import GATED, Block, decoder_moments, norm_copies
from gpufit.memory.activations.moe import Routed, expert_moments
from gpufit.memory.activations.quantized import kernels_are_known
from gpufit.memory.activations.setting import Contest, Moment, Setting, contenders
from gpufit.memory.activations.symbols import NOTHING, A, E, M, S, Sizes, T, X, a, b, h, z
from gpufit.memory.kv_cache import count_cache
from gpufit.memory.workload import Workload
from gpufit.records import replace

BLOCK = Block(norm_stream=4, query_norm="before values", logits_copies=2, table=2 * (S * X * b) + T * a * b)
EXPERTS = Routed(fp32_weights=True, router=E * 4)


@lru_cache(maxsize=1024)
def _moments(c: Setting, routed: bool, wrapped: bool) -> Contest:
    feed = None
    if routed:
        waiting = T * b * (2 * h) - (A * b if c.kernel == "eager" else NOTHING)  # the dense MLP's output and its norm
        feed = (Moment("mlp", T * b * GATED, "gate, up and product"),
                *(Moment(x.name, x.formula + waiting, f"{x.alive}, the dense MLP's output and its norm")
                  for x in expert_moments(EXPERTS, c) if x.name != "mlp"))  # fmt: skip
    block = replace(BLOCK, norm_stream=6) if routed else BLOCK
    around = NOTHING
    if wrapped:
        block = replace(block, table=block.table + T * b * (a + h))
        around = T * b * h + (c.masks * (M * b) if c.kernel == "eager" else NOTHING)
    per_layer = Moment(
        "per-layer inputs",
        T * b * (2 * a + h) + T * norm_copies("rms", a, c.half) + 16 * T + around - z,
        "every layer's input from the token, its projection and the fp32 copies of a norm; embeddings",
    )
    return contenders((*decoder_moments(block, c, feed), per_layer))


def plan(architecture: Architecture, workload: Workload) -> tuple[Course, ...]:
    """Prefill and decode of Gemma 4's text decoder."""
    exact = kernels_are_known(workload)
    return tuple(
        Course(name=step.name, cache_tokens=step.cached, exact=exact,
               moments=tuple(_evaluated(architecture, workload, step, layers)
                             for layers in attention_kinds(architecture)))
        for step in steps(architecture, workload)
    )  # fmt: skip


def _evaluated(
    architecture: Architecture, workload: Workload, step: Step, layers: CacheLayers
) -> tuple[Contest, Sizes]:
    """The moments of one kind of layer."""
    c, sizes = settle_kind(architecture, workload, step, layers)
    tensors = architecture.tensors.groups
    per_layer = next((g.shape[0] for g in tensors if g.name.endswith("per_layer_model_projection.weight")), 0)
    widest = max(g.shape[0] for g in tensors if g.name.endswith("mlp.gate_proj.weight"))
    prefill = step.name == "prefill"
    sizes = sizes._replace(
        a=per_layer, X=sum(other.key_dim for other in attention_kinds(architecture) if other is not layers),
        f=sizes.f if prefill and not c.flash else widest,
        z=count_cache(architecture, workload, after_prefill=True) if prefill else 0,
    )  # fmt: skip
    wrapped = bool(per_layer) and architecture.model_class.endswith("ForConditionalGeneration")
    return _moments(c, bool(architecture.stacks[0].experts), wrapped), sizes
