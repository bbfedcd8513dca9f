"""Decoders with rotary embeddings and RMSNorm: Llama and its siblings (models/<family>/modeling_<family>.py)."""

from __future__ import annotations

from gpufit.facts.architecture import Stack
from gpufit.memory.training.attention import Attended, attend
from gpufit.memory.training.blocks.rotary import Tables, apply_rotary, rotary_tables
from gpufit.memory.training.loss import language_model_head
from gpufit.memory.training.masks import causal_mask
from gpufit.memory.training.modules import Model, Part
from gpufit.memory.training.stack import run_layers
from gpufit.memory.training.tape.ops import add, contiguous, from_input, mul, reshape, transpose, view
from gpufit.memory.training.tape.tensor import Tensor


def llama(model: Model) -> Tensor:
    """LlamaForCausalLM.forward with labels; the loss."""
    plan, tape = model.plan, model.tape
    ids = tape.empty((plan.micro_batch, plan.seq), "int64")
    attention_mask = tape.empty((plan.micro_batch, plan.seq), "int64")
    labels = tape.empty((plan.micro_batch, plan.seq), "int64")
    hidden = model.part().run("model", _model, model, ids, attention_mask)
    return language_model_head(model.part(), "lm_head", hidden, labels)


def _model(model: Model, ids: Tensor, attention_mask: Tensor) -> Tensor:
    """LlamaModel.forward."""
    stack = model.architecture.stacks[0]
    base = model.part("model")
    inputs_embeds = base.embedding("embed_tokens", ids)
    positions = model.tape.empty((1, ids.shape[1]), "int64")
    mask = causal_mask(model, inputs_embeds)
    dim = 0 if stack.attention is None else stack.attention.rope_dim
    tables = rotary_tables(model.tape, ids.shape[1], dim, inputs_embeds.dtype)

    def layer(part: Part, x: Tensor) -> Tensor:
        return _layer(part, x, stack, mask, tables)

    hidden = run_layers(model, "model.layers", (0,) * stack.layers, layer, inputs_embeds)
    hidden = base.rms_norm("norm", hidden)
    del positions
    return hidden


def _layer(part: Part, hidden: Tensor, stack: Stack, mask: Tensor | None, tables: Tables) -> Tensor:
    """LlamaDecoderLayer.forward."""
    residual = hidden
    hidden = part.rms_norm("input_layernorm", hidden)
    hidden, _ = part.run("self_attn", _attention, part.inside("self_attn"), hidden, stack, mask, tables)
    hidden = add(residual, hidden)
    residual = hidden
    hidden = part.rms_norm("post_attention_layernorm", hidden)
    hidden = part.run("mlp", gated_mlp, part.inside("mlp"), hidden)
    return add(residual, hidden)


def _attention(part: Part, hidden: Tensor, stack: Stack, mask: Tensor | None, tables: Tables) -> Attended:
    """LlamaAttention.forward."""
    a = stack.attention
    if a is None:
        raise ValueError("a decoder has attention")
    lead = hidden.shape[:-1]
    query = transpose(view(part.linear("q_proj", hidden), *lead, -1, a.head_dim), 1, 2)
    key = transpose(view(part.linear("k_proj", hidden), *lead, -1, a.head_dim), 1, 2)
    value = transpose(view(part.linear("v_proj", hidden), *lead, -1, a.head_dim), 1, 2)
    query, key = apply_rotary(query, key, tables)
    output, weights = attend(part, query, key, value, mask)
    output = contiguous(reshape(output, *lead, -1))
    output = part.linear("o_proj", output)
    return output, weights


def gated_mlp(part: Part, x: Tensor) -> Tensor:
    """LlamaMLP.forward: down(act(gate(x)) · up(x))."""
    return part.linear(
        "down_proj", mul(from_input(part.linear("gate_proj", x), "silu"), part.linear("up_proj", x))
    )  # fmt: skip
