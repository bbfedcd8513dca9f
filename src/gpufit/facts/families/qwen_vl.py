"""Qwen's vision-language models: 2-VL, 2.5-VL, 3-VL, 3.5, dense and with experts.

Mirrors transformers 5.23.0, models/{qwen2_vl,qwen2_5_vl,qwen3_vl,qwen3_vl_moe,qwen3_5,qwen3_5_moe}/modeling_*.py.
Their towers take pictures of any size, so ``positions`` is 0: the workload decides.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from gpufit.errors import BadConfig
from gpufit.facts.architecture import Architecture, Stack
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.nesting import finish_nested, nest_text, output_head, tied_embeddings
from gpufit.facts.families.record import even_attention, head_of, unknown_class
from gpufit.facts.families.towers import dense, mlp_width, norm

Tower = Callable[[Tensors, Config], Stack]


def _read(config: Config, *, family: str, text: str, tower: Tower, flat: bool = False) -> Architecture:
    model_class, head = head_of(config, family, "ForConditionalGeneration")
    if head != "ForConditionalGeneration":
        raise unknown_class(config, model_class)
    vision = config.section("vision_config")
    if vision is None:
        raise BadConfig("config has no vision_config", hint="the model's config.json must state it")
    t = Tensors()
    stack = tower(t.under("model.visual"), vision)
    decoder = nest_text(t, config, "model.language_model", model_type=text, flat=flat)
    tied = tied_embeddings(config, False)
    output = output_head(t, decoder, embedding="model.language_model.embed_tokens.weight" if tied else None)
    return finish_nested(config, t, decoder, model_class=model_class, towers=(stack,), output=output)


def _patches(t: Tensors, config: Config, hidden: int, patch: int, *, bias: bool) -> None:
    """A 3-D convolution over two frames: (hidden, channels, frames, patch, patch)."""
    side = config.size("patch_size", patch)
    shape = (hidden, config.size("in_channels", 3), config.size("temporal_patch_size", 2), side, side)
    t.add("patch_embed.proj.weight", shape, "conv", "vision")
    if bias:
        t.add("patch_embed.proj.bias", (hidden,), "conv", "vision")


def _tower(t: Tensors, config: Config, hidden: int, width: int, *, gated: bool = False) -> Stack:
    """The rotary table (two dimensions share a head) and the tower's record."""
    heads = config.layers("num_heads", 16)
    attention = even_attention(config, hidden, heads)
    for name in ("inv_freq", "original_inv_freq"):
        t.buffer(f"rotary_pos_emb.{name}", (attention.head_dim // 4,), "fp32", role="vision")
    return Stack(
        role="vision", layers=config.layers("depth"), hidden=hidden, mlp_width=width, gated=gated, attention=attention
    )


def _attention(block: Tensors, hidden: int) -> None:
    dense(block, "attn.qkv", hidden, 3 * hidden)
    dense(block, "attn.proj", hidden, hidden)


def _merger_2(t: Tensors, config: Config, hidden: int, outputs: int, *, norm_bias: bool) -> None:
    """PatchMerger: norm, then two layers over squares of patches."""
    square = hidden * config.size("spatial_merge_size", 2) ** 2
    norm(t, "merger.ln_q", hidden, bias=norm_bias)
    dense(t, "merger.mlp.0", square, square)
    dense(t, "merger.mlp.2", square, outputs)


def tower_2(t: Tensors, config: Config) -> Stack:
    """Qwen2VisionTransformer: here ``hidden_size`` is the decoder's width and ``embed_dim`` the tower's."""
    hidden = config.size("embed_dim", 1280)
    width = mlp_width(config, hidden)
    stack = _tower(t, config, hidden, width)
    _patches(t, config, hidden, 14, bias=False)
    block = t.blocks("blocks", stack.layers)
    norm(block, "norm1", hidden)
    norm(block, "norm2", hidden)
    _attention(block, hidden)
    dense(block, "mlp.fc1", hidden, width)
    dense(block, "mlp.fc2", width, hidden)
    _merger_2(t, config, hidden, config.size("hidden_size", 3584), norm_bias=True)
    return stack


def tower_2_5(t: Tensors, config: Config) -> Stack:
    """Qwen2_5_VisionTransformer: RMSNorm, a gated MLP, windows in most layers."""
    hidden, width = config.size("hidden_size", 3584), config.size("intermediate_size", 3420)
    stack = _tower(t, config, hidden, width, gated=True)
    _patches(t, config, hidden, 14, bias=False)
    block = t.blocks("blocks", stack.layers)
    norm(block, "norm1", hidden, bias=False)
    norm(block, "norm2", hidden, bias=False)
    _attention(block, hidden)
    dense(block, "mlp.gate_proj", hidden, width)
    dense(block, "mlp.up_proj", hidden, width)
    dense(block, "mlp.down_proj", width, hidden)
    _merger_2(t, config, hidden, config.size("out_hidden_size", 3584), norm_bias=False)
    return stack


def tower_3(t: Tensors, config: Config, *, deepstack: bool = True) -> Stack:
    """Qwen3VLVisionModel: learned positions, and further mergers that feed the decoder's first layers."""
    hidden, width = config.size("hidden_size", 1152), config.size("intermediate_size", 4304)
    outputs = config.size("out_hidden_size", 3584)
    square = hidden * config.size("spatial_merge_size", 2) ** 2
    stack = _tower(t, config, hidden, width)
    _patches(t, config, hidden, 16, bias=True)
    t.embedding("pos_embed", config.size("num_position_embeddings", 2304), hidden, role="vision")
    block = t.blocks("blocks", stack.layers)
    norm(block, "norm1", hidden)
    norm(block, "norm2", hidden)
    _attention(block, hidden)
    dense(block, "mlp.linear_fc1", hidden, width)
    dense(block, "mlp.linear_fc2", width, hidden)
    norm(t, "merger.norm", hidden)
    _merger_3(t.under("merger"), square, outputs)
    if deepstack:
        further = t.blocks("deepstack_merger_list", len(config.list("deepstack_visual_indexes", (8, 16, 24))))
        norm(further, "norm", square)
        _merger_3(further, square, outputs)
    return stack


def _merger_3(t: Tensors, square: int, outputs: int) -> None:
    dense(t, "linear_fc1", square, square)
    dense(t, "linear_fc2", square, outputs)


tower_3_5: Tower = partial(tower_3, deepstack=False)
read_2 = partial(_read, family="Qwen2VL", text="qwen2_vl_text", tower=tower_2, flat=True)
read_2_5 = partial(_read, family="Qwen2_5_VL", text="qwen2_5_vl_text", tower=tower_2_5, flat=True)
read_3 = partial(_read, family="Qwen3VL", text="qwen3_vl_text", tower=tower_3)
read_3_moe = partial(_read, family="Qwen3VLMoe", text="qwen3_vl_moe_text", tower=tower_3)
read_3_5 = partial(_read, family="Qwen3_5", text="qwen3_5_text", tower=tower_3_5)
read_3_5_moe = partial(_read, family="Qwen3_5Moe", text="qwen3_5_moe_text", tower=tower_3_5)
