"""Decoders with rotary embeddings: Llama and its siblings (transformers 5.23.0, modeling_<family>.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from gpufit.facts.architecture import Attention, Stack
from gpufit.memory.training.activations import activate
from gpufit.memory.training.attention import Attended, Eager, attend, eager_attention, eager_capped
from gpufit.memory.training.blocks.experts import sparse_mlp
from gpufit.memory.training.blocks.inputs import Inputs, make_inputs
from gpufit.memory.training.blocks.rotary import Tables, apply_rotary, partial_rotary, rotary_tables
from gpufit.memory.training.kernels import fused_swiglu, turn_in_place
from gpufit.memory.training.loss import language_model_head
from gpufit.memory.training.masks import causal_mask
from gpufit.memory.training.modules import Model, Part
from gpufit.memory.training.norms import Norm, gemma_rms, layer_norm, llama_rms, olmo_rms
from gpufit.memory.training.stack import layer_kinds, run_layers
from gpufit.memory.training.tape.ops import add, cast, mul
from gpufit.memory.training.tape.tensor import Shape, Tensor
from gpufit.memory.training.tape.views import contiguous, narrow, reshape, split, transpose, view
from gpufit.records import record

Mlp = Callable[[Part, Tensor], Tensor]


@record
class Family:
    """What sets one family's code apart: its layer, its normalization, its MLP, what attention does beside."""

    norm: Norm = llama_rms
    mlp: Mlp
    output: str = "o_proj"
    query_norm: str = "none"  # "whole": on (batch, tokens, width); "before": on (batch, tokens, heads, dim), where the
    # model has one; "after": once heads are swapped to the front
    fused: bool = False  # one projection makes queries, keys and values
    fp32_tables: bool = False  # rotation runs in fp32
    norms: tuple[str, ...] = ("input_layernorm", "post_attention_layernorm")
    sandwich: bool = False  # a norm after attention and after the MLP too
    norms_after: bool = False  # and none before
    scaled_embedding: bool = False
    eager: Eager = eager_attention
    eager_only: bool = False
    capped_logits: bool = False
    tables: int = 1
    both_masks: bool = False  # a sliding mask is made though no layer uses it


@record
class Context:
    """What every layer of one forward pass is handed."""

    family: Family
    stack: Stack
    masks: dict[str, Tensor | None]
    tables: dict[str, Tables]
    positions: Tensor


def gated_mlp(act: str, part: Part, x: Tensor) -> Tensor:
    """LlamaMLP.forward: down(act(gate(x)) · up(x))."""
    if part.model.plan.fused_kernels == "liger" and act == "silu":
        return part.linear("down_proj", fused_swiglu(part.linear("gate_proj", x), part.linear("up_proj", x)))
    return part.linear(
        "down_proj", mul(part.run("act_fn", activate, act, part.linear("gate_proj", x)), part.linear("up_proj", x))
    )


def plain_mlp(act: str, names: tuple[str, str], part: Part, x: Tensor) -> Tensor:
    """Starcoder2MLP.forward and others: down(act(up(x)))."""
    hidden = part.linear(names[0], x)
    hidden = part.run("act", activate, act, hidden)
    return part.linear(names[1], hidden)


def fused_mlp(part: Part, x: Tensor) -> Tensor:
    """Phi3MLP.forward: one projection makes gate and up."""
    fused = part.linear("gate_up_proj", x)
    width = fused.shape[-1] // 2
    gate, up = split(fused, -1, (width, width))
    del fused
    up = mul(up, part.run("activation_fn", activate, "silu", gate))
    return part.linear("down_proj", up)


LLAMA = Family(mlp=partial(gated_mlp, "silu"))
GEMMA = Family(mlp=partial(gated_mlp, "gelu_pytorch_tanh"), norm=gemma_rms, scaled_embedding=True)
_FEEDFORWARD = ("pre_feedforward_layernorm", "post_feedforward_layernorm")
_SANDWICH = ("input_layernorm", "post_attention_layernorm", *_FEEDFORWARD)
FAMILIES: dict[str, Family] = {
    "llama": LLAMA,
    "gemma": GEMMA,
    "qwen3": Family(mlp=LLAMA.mlp, query_norm="before"),
    "gemma2": Family(
        mlp=GEMMA.mlp, norm=gemma_rms, scaled_embedding=True, sandwich=True, norms=_SANDWICH, eager=eager_capped,
        eager_only=True, capped_logits=True,
    ),
    "gemma3": Family(
        mlp=GEMMA.mlp, norm=gemma_rms, scaled_embedding=True, sandwich=True, norms=_SANDWICH, query_norm="after",
        tables=2,
    ),
    "starcoder2": Family(mlp=partial(plain_mlp, "gelu_pytorch_tanh", ("c_fc", "c_proj")), norm=layer_norm),
    "phi3": Family(mlp=fused_mlp, fused=True),
    "olmo2": Family(
        mlp=LLAMA.mlp, norm=olmo_rms, query_norm="whole", norms_after=True, fp32_tables=True,
        norms=("post_attention_layernorm", "post_feedforward_layernorm"),
    ),
    "shared_moe": Family(mlp=sparse_mlp, both_masks=True),
    "moe": Family(mlp=sparse_mlp, query_norm="before"),
    "arcee": Family(mlp=partial(plain_mlp, "relu2", ("up_proj", "down_proj"))),
}  # fmt: skip


def decoder(model: Model) -> Tensor:
    """LlamaForCausalLM.forward with labels; the loss."""
    family = FAMILIES[model.architecture.form]
    given = make_inputs(model)
    hidden = model.part().run("model", _model, model, family, given)
    return language_model_head(model.part(), "lm_head", hidden, given.labels, capped=family.capped_logits)


def _model(model: Model, family: Family, given: Inputs) -> Tensor:
    """LlamaModel.forward."""
    stack = model.architecture.stacks[0]
    base = model.part("model")
    inputs_embeds = base.embedding("embed_tokens", given.ids, scaled=family.scaled_embedding)
    kinds = layer_kinds(model.architecture)
    positions = model.tape.empty((1, given.ids.shape[1]), "int64")
    eager_only = family.eager_only
    spare = causal_mask(model, inputs_embeds, "sliding") if family.both_masks else None
    masks = {kind: causal_mask(model, inputs_embeds, kind, eager=eager_only) for kind in dict.fromkeys(kinds)}
    dim = stack.attention.rope_dim if stack.attention else 0
    format_ = "fp32" if family.fp32_tables else inputs_embeds.dtype
    shared = rotary_tables(model.tape, given.ids.shape[1], dim, format_)
    tables = dict.fromkeys(masks, shared)
    if family.tables > 1:
        for kind in list(masks)[1:]:
            tables[kind] = rotary_tables(model.tape, given.ids.shape[1], dim, inputs_embeds.dtype)
    context = Context(family=family, stack=stack, masks=masks, tables=tables, positions=positions)
    hidden = run_layers(
        model, "model.layers", kinds, lambda part, kind, x: _layer(part, context, kind, x), lambda: inputs_embeds
    )
    hidden = family.norm(base, "norm", hidden)
    del spare
    return hidden


def _layer(part: Part, c: Context, kind: str, hidden: Tensor) -> Tensor:
    """LlamaDecoderLayer.forward; Gemma2DecoderLayer.forward where norms stand on both sides."""
    family = c.family
    residual = hidden
    if family.norms_after:
        hidden, _ = part.run("self_attn", _attention, part.inside("self_attn"), c, kind, hidden)
        hidden = family.norm(part, family.norms[0], hidden)
        hidden = residual = add(residual, hidden)
        hidden = part.run("mlp", family.mlp, part.inside("mlp"), hidden)
        hidden = family.norm(part, family.norms[1], hidden)
        return add(residual, hidden)
    hidden = family.norm(part, family.norms[0], hidden)
    hidden, _ = part.run("self_attn", _attention, part.inside("self_attn"), c, kind, hidden)
    if family.sandwich:
        hidden = family.norm(part, family.norms[1], hidden)
    hidden = add(residual, hidden)
    residual = hidden
    hidden = family.norm(part, family.norms[2 if family.sandwich else 1], hidden)
    hidden = part.run("mlp", family.mlp, part.inside("mlp"), hidden)
    if family.sandwich:
        hidden = family.norm(part, family.norms[3], hidden)
    return add(residual, hidden)


def _attention(part: Part, c: Context, kind: str, hidden: Tensor) -> Attended:
    """LlamaAttention.forward."""
    a, family = c.stack.attention, c.family
    if a is None:
        raise ValueError("a decoder has attention")
    lead = hidden.shape[:-1]
    query, key, value = (
        transpose(x, 1, 2) for x in (_fused_heads if family.fused else _heads)(part, family, a, lead, hidden)
    )
    if family.query_norm == "after":
        query = family.norm(part, "q_norm", query)
        key = family.norm(part, "k_norm", key)
    if family.fused:
        query, key, _ = partial_rotary(query, key, c.tables[kind])
        del _
    elif part.model.plan.fused_kernels != "none":
        query, key = turn_in_place(query), turn_in_place(key)
    else:
        query, key = (cast(x, hidden.dtype) for x in apply_rotary(query, key, c.tables[kind]))
    output, weights = attend(part, query, key, value, c.masks[kind], eager=family.eager, eager_only=family.eager_only)
    output = contiguous(reshape(output, *lead, -1))
    output = part.linear(family.output, output)
    return output, weights


def _heads(part: Part, family: Family, a: Attention, lead: Shape, hidden: Tensor) -> Iterator[Tensor]:
    """Queries, keys and values, (batch, tokens, heads, dim) each."""
    for name, norm in (("q_proj", "q_norm"), ("k_proj", "k_norm"), ("v_proj", "")):
        made = part.linear(name, hidden)
        if family.query_norm == "whole" and norm:
            made = family.norm(part, norm, made)
        made = view(made, *lead, -1, a.head_dim)
        if family.query_norm == "before" and norm and part.has(f"{norm}.weight"):
            made = family.norm(part, norm, made)
        yield made
        del made


def _fused_heads(part: Part, family: Family, a: Attention, lead: Shape, hidden: Tensor) -> Iterator[Tensor]:
    """... cut out of one projection, each by a slice of its own."""
    whole = part.linear("qkv_proj", hidden)
    for heads in (a.heads, a.kv_heads, a.kv_heads):
        yield view(narrow(whole, -1, heads * a.head_dim), *lead, -1, a.head_dim)
