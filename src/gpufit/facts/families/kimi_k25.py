"""Kimi K2.5: a picture and video tower before DeepSeek V3's decoder.

Mirrors transformers 5.23.0, models/kimi_k25/modeling_kimi_k25.py (Kimi_K25ForConditionalGeneration). Published files
name the class KimiK25ForConditionalGeneration and the tower's keys ``vt_...``; transformers reads them as its own.
"""

from __future__ import annotations

from gpufit.errors import BadConfig
from gpufit.facts.architecture import Architecture, Stack
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.nesting import finish_nested, nest_text, output_head, tied_embeddings
from gpufit.facts.families.towers import dense, norm, square_side, tower


def read(config: Config) -> Architecture:
    """Kimi_K25Config -> Kimi_K25ForConditionalGeneration."""
    vision = config.section("vision_config")
    if vision is None:
        raise BadConfig("config has no vision_config", hint="the model's config.json must state it")
    t = Tensors()
    stack, merged = _tower(t.under("model.vision_tower"), vision)
    decoder = nest_text(t, config, "model.language_model", model_type="deepseek_v3")
    projector = t.under("model.mm_projector")
    norm(projector, "pre_norm", config.size("projection_hidden_size", 1152))
    dense(projector, "in_proj", merged, merged)
    dense(projector, "out_proj", merged, decoder.stacks[0].hidden)
    tied = "model.language_model.embed_tokens.weight" if tied_embeddings(config, True) else None
    output = output_head(t, decoder, embedding=tied)
    return finish_nested(
        config, t, decoder, model_class="Kimi_K25ForConditionalGeneration", towers=(stack,), output=output
    )


def _tower(t: Tensors, config: Config) -> tuple[Stack, int]:
    """The tower, and the width of the neighbouring patches that the projector joins."""
    hidden = config.size("vt_hidden_size", config.size("hidden_size", 1152))
    rows = config.size("init_pos_emb_height", config.size("pos_emb_height", 64))
    columns = config.size("init_pos_emb_width", config.size("pos_emb_width", 64))
    frames = config.layers("init_pos_emb_time", config.layers("pos_emb_time", 4))
    merge = config.list("merge_kernel_size", (2, 2))
    if len(merge) != 2 or any(type(side) is not int or not 1 <= side <= 64 for side in merge):
        raise BadConfig(f"config key {config.path}merge_kernel_size is not a pair of small numbers")
    stack = tower(
        config, hidden=hidden, layers=config.layers("vt_num_hidden_layers", config.layers("num_hidden_layers", 27)),
        heads=config.layers("vt_num_attention_heads", config.layers("num_attention_heads", 16)),
        width=config.size("vt_intermediate_size", config.size("intermediate_size", 4304)), positions=rows * columns,
    )  # fmt: skip
    side = square_side(config, "patch_size", 14)
    t.add("patch_embed.proj.weight", (hidden, 3, side, side), "conv", "vision")
    t.add("patch_embed.proj.bias", (hidden,), "conv", "vision")
    t.add("patch_embed.pos_emb.position_embeddings", (rows, columns, hidden), "parameter", "vision")
    t.buffer("patch_embed.pos_emb.time_position_embeddings", (frames + 1, hidden), "fp32", role="vision")
    block = t.blocks("layers", stack.layers)
    norm(block, "norm1", hidden)
    norm(block, "norm2", hidden)
    for name in ("proj", "q_proj", "k_proj", "v_proj"):
        dense(block, f"attn.{name}", hidden, hidden)
    dense(block, "mlp.fc1", hidden, stack.mlp_width)
    dense(block, "mlp.fc2", stack.mlp_width, hidden)
    norm(t, "final_layernorm", hidden)
    frequencies = hidden // (stack.attention.heads if stack.attention else 1) // 4
    t.buffer("rotary_emb.inv_freq", (frequencies,), "fp32", role="vision")
    t.buffer("rotary_emb.original_inv_freq", (frequencies,), "fp32", role="vision")
    return stack, hidden * merge[0] * merge[1]
