"""Idefics2, Idefics3 and SmolVLM: a SigLIP-like tower without its extras, a connector, another family's decoder.

Mirrors transformers 5.23.0, models/{idefics2,idefics3,smolvlm}/modeling_*.py. Positions are interpolated, so a picture
may have fewer patches than the table has rows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from gpufit.facts.architecture import Architecture, Stack
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.nesting import finish_nested, nest_text, output_head, tied_embeddings
from gpufit.facts.families.record import head_of, unknown_class
from gpufit.facts.families.towers import (
    contrastive_blocks,
    dense,
    norm,
    patch_convolution,
    read_sizes,
    square_patches,
    tower,
)

Connector = Callable[[Tensors, Config, Stack, Stack], None]


def _read(
    config: Config, *, family: str, text_type: str, hidden: int, heads: int, connector: Connector
) -> Architecture:
    """``hidden`` and ``heads`` are the defaults of the family's tower."""
    model_class, head = head_of(config, family, "ForConditionalGeneration")
    if head != "ForConditionalGeneration":
        raise unknown_class(config, model_class)
    vision = config.section("vision_config") or Config({}, path="vision_config.", seen=config.seen)
    text = Tensors()
    decoder = nest_text(text, config, "model.text_model", model_type=text_type)
    t = Tensors()
    stack = _tower(t.under("model.vision_model"), vision, hidden=hidden, heads=heads)
    connector(t.under("model.connector"), config, stack, decoder.stacks[0])
    t.groups.extend(text.groups)
    tied = tied_embeddings(config, False)
    output = output_head(t, decoder, embedding="model.text_model.embed_tokens.weight" if tied else None)
    return finish_nested(config, t, decoder, model_class=model_class, towers=(stack,), output=output)


def _tower(t: Tensors, config: Config, *, hidden: int, heads: int) -> Stack:
    positions = square_patches(config, 224, 32)
    stack = tower(
        config, **read_sizes(config, hidden=hidden, layers=12, heads=heads, width=3072), positions=positions
    )  # fmt: skip
    patch_convolution(t, "embeddings.patch_embedding", config, stack.hidden, 32, bias=True)
    t.embedding("embeddings.position_embedding", positions, stack.hidden, role="vision")
    contrastive_blocks(t, stack)
    norm(t, "post_layernorm", stack.hidden)
    return stack


def _gated(t: Tensors, name: str, inputs: int, width: int, outputs: int) -> None:
    dense(t, f"{name}.gate_proj", inputs, width, bias=False)
    dense(t, f"{name}.up_proj", inputs, width, bias=False)
    dense(t, f"{name}.down_proj", width, outputs, bias=False)


def _perceiver(t: Tensors, config: Config, stack: Stack, decoder: Stack) -> None:
    """Idefics2Connector: a gated projection, then latents that read the picture."""
    settings = config.section("perceiver_config") or Config({}, path="perceiver_config.", seen=config.seen)
    hidden = decoder.hidden
    head_dim = settings.size("resampler_head_dim", 96)
    inner = settings.layers("resampler_n_heads", 16) * head_dim
    kv_width = settings.layers("num_key_value_heads", 4) * head_dim
    _gated(t, "modality_projection", stack.hidden, decoder.mlp_width, hidden)
    resampler = t.under("perceiver_resampler")
    resampler.add("latents", (settings.size("resampler_n_latents", 64), hidden), "parameter", "vision")
    block = resampler.blocks("layers", settings.layers("resampler_depth", 3))
    norm(block, "input_latents_norm", hidden, bias=False)
    norm(block, "input_context_norm", hidden, bias=False)
    dense(block, "self_attn.q_proj", hidden, inner, bias=False)
    dense(block, "self_attn.k_proj", hidden, kv_width, bias=False)
    dense(block, "self_attn.v_proj", hidden, kv_width, bias=False)
    dense(block, "self_attn.o_proj", inner, hidden, bias=False)
    norm(block, "post_attention_layernorm", hidden, bias=False)
    _gated(block, "mlp", hidden, 4 * hidden, hidden)
    norm(resampler, "norm", hidden, bias=False)


def _shuffled(t: Tensors, config: Config, stack: Stack, decoder: Stack) -> None:
    """Idefics3Connector: squares of patches become one token."""
    square = stack.hidden * config.size("scale_factor", 2) ** 2
    dense(t, "modality_projection.proj", square, decoder.hidden, bias=False)


read_2 = partial(_read, family="Idefics2", text_type="mistral", hidden=768, heads=12, connector=_perceiver)
read_3 = partial(_read, family="Idefics3", text_type="llama", hidden=1152, heads=16, connector=_shuffled)
read_smolvlm = partial(_read, family="SmolVLM", text_type="llama", hidden=1152, heads=16, connector=_shuffled)
