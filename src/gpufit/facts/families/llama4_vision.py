"""Llama 4: a picture tower with pixel shuffle before the text decoder of ``llama4``.

Mirrors transformers 5.23.0, models/llama4/modeling_llama4.py (Llama4ForConditionalGeneration).
"""

from __future__ import annotations

from gpufit.errors import BadConfig
from gpufit.facts.architecture import Architecture, Stack
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.nesting import finish_nested, nest_text, output_head
from gpufit.facts.families.record import head_of, unknown_class
from gpufit.facts.families.towers import dense, norm, square_patches, tower


def read(config: Config) -> Architecture:
    """Llama4Config -> Llama4ForConditionalGeneration; the inner causal model brings its own, untied head."""
    model_class, head = head_of(config, "Llama4", "ForConditionalGeneration")
    if head != "ForConditionalGeneration":
        raise unknown_class(config, model_class)
    vision = config.section("vision_config")
    if vision is None:
        raise BadConfig("config has no vision_config", hint="the model's config.json must state it")
    text = Tensors()
    decoder = nest_text(text, config, "language_model.model", model_type="llama4_text")
    t = Tensors()
    stack = _tower(t.under("vision_model"), vision)
    seen, hidden = vision.size("vision_output_dim", 7680), decoder.stacks[0].hidden
    dense(t, "multi_modal_projector.linear_1", seen, hidden, bias=False)
    t.groups.extend(text.groups)
    output = output_head(t, decoder, embedding=None, name="language_model.lm_head")
    return finish_nested(config, t, decoder, model_class=model_class, towers=(stack,), output=output)


def _tower(t: Tensors, config: Config) -> Stack:
    hidden, width = config.size("hidden_size", 768), config.size("intermediate_size", 5632)
    positions = square_patches(config, 448, 14) + 1
    stack = tower(
        config, hidden=hidden, layers=config.layers("num_hidden_layers", 34),
        heads=config.layers("num_attention_heads", 16), width=width, positions=positions,
    )  # fmt: skip
    head_dim = stack.attention.head_dim if stack.attention else 0
    t.add("class_embedding", (hidden,), "parameter", "vision")
    t.add("positional_embedding_vlm", (positions, hidden), "parameter", "vision")
    pixels = config.size("num_channels", 3) * config.size("patch_size", 14) ** 2
    dense(t, "patch_embedding.linear", pixels, hidden, bias=False)
    t.buffer("rotary_embedding.freqs_ci", (positions, 1, head_dim // 4 * 2), "complex64", role="vision")
    norm(t, "layernorm_pre", hidden)
    norm(t, "layernorm_post", hidden)
    block = t.blocks("model.layers", stack.layers)
    for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
        dense(block, f"self_attn.{name}", hidden, hidden)
    dense(block, "mlp.fc1", hidden, width)
    dense(block, "mlp.fc2", width, hidden)
    norm(block, "input_layernorm", hidden)
    norm(block, "post_attention_layernorm", hidden)
    projected = config.size("projector_output_dim", 4096)
    dense(t, "vision_adapter.mlp.fc1", width, config.size("projector_input_dim", 4096), bias=False)
    dense(t, "vision_adapter.mlp.fc2", projected, projected, bias=False)
    return stack
