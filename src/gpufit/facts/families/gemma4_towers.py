"""Gemma 4 with its picture and audio towers before the decoder of ``gemma4``.

Mirrors transformers 5.23.0, models/gemma4/modeling_gemma4.py (Gemma4ForConditionalGeneration). Pictures and sounds
have any length, so ``positions`` is 0: the workload decides.
"""

from __future__ import annotations

from gpufit.facts.architecture import Architecture, Attention, Stack
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.dtypes import parse_dtype
from gpufit.facts.families.nesting import finish_nested, nest_text, output_head, tied_embeddings
from gpufit.facts.families.record import even_attention, head_of, unknown_class
from gpufit.facts.tensors import Role
from gpufit.records import record


@record
class _Clipped:
    """Gemma4ClippableLinear: a linear layer, with four scalar bounds where the tower clips."""

    role: Role
    bounds: bool
    dtype: str

    def write(self, t: Tensors, name: str, inputs: int, outputs: int) -> None:
        t.linear(f"{name}.linear", inputs, outputs, role=self.role)
        if self.bounds:
            for bound in ("input_min", "input_max", "output_min", "output_max"):
                t.add(f"{name}.{bound}", (), "buffer", self.role, dtype=self.dtype)


def read(config: Config) -> Architecture:
    """Gemma4Config -> Gemma4ForConditionalGeneration; either tower may be absent."""
    model_class, head = head_of(config, "Gemma4", "ForConditionalGeneration")
    if head != "ForConditionalGeneration":
        raise unknown_class(config, model_class)
    vision, audio = config.section("vision_config"), config.section("audio_config")
    t = Tensors()
    towers = [_vision(t.under("model.vision_tower"), vision)] if vision else []
    decoder = nest_text(t, config, "model.language_model", model_type="gemma4_text")
    hidden = decoder.stacks[0].hidden
    if audio:
        towers.append(_audio(t.under("model.audio_tower"), audio))
    if vision:
        t.linear("model.embed_vision.embedding_projection", towers[0].hidden, hidden, role="vision")
    if audio:
        t.linear("model.embed_audio.embedding_projection", audio.size("output_proj_dims", 1536), hidden, role="audio")
    tied = tied_embeddings(config, True)
    output = output_head(t, decoder, embedding="model.language_model.embed_tokens.weight" if tied else None)
    return finish_nested(config, t, decoder, model_class=model_class, towers=tuple(towers), output=output)


def _stated_dtype(config: Config) -> str:
    """A tower is built under its section's own dtype."""
    return parse_dtype(config.text("dtype", "float32"))


def _vision(t: Tensors, config: Config) -> Stack:
    """Gemma4VisionModel."""
    hidden, width = config.size("hidden_size", 768), config.size("intermediate_size", 3072)
    layers, heads = config.layers("num_hidden_layers", 16), config.layers("num_attention_heads", 12)
    kv_heads, dim = config.layers("num_key_value_heads", 12), config.size("head_dim", 64)
    dtype = _stated_dtype(config)
    rows = config.size("position_embedding_size", 10240)
    t.add("patch_embedder.position_embedding_table", (2, rows, hidden), "parameter", "vision")
    t.linear("patch_embedder.input_proj", 3 * config.size("patch_size", 16) ** 2, hidden, role="vision")
    clipped = _Clipped(role="vision", bounds=config.flag("use_clipped_linears", False), dtype=dtype)
    block = t.blocks("encoder.layers", layers)
    clipped.write(block, "self_attn.q_proj", hidden, heads * dim)
    clipped.write(block, "self_attn.k_proj", hidden, kv_heads * dim)
    clipped.write(block, "self_attn.v_proj", hidden, kv_heads * dim)
    clipped.write(block, "self_attn.o_proj", heads * dim, hidden)
    block.norm("self_attn.q_norm", dim, role="vision")
    block.norm("self_attn.k_norm", dim, role="vision")
    clipped.write(block, "mlp.gate_proj", hidden, width)
    clipped.write(block, "mlp.up_proj", hidden, width)
    clipped.write(block, "mlp.down_proj", width, hidden)
    for name in ("input", "post_attention", "pre_feedforward", "post_feedforward"):
        block.norm(f"{name}_layernorm", hidden, role="vision")
    for name in ("inv_freq", "original_inv_freq"):
        t.buffer(f"encoder.rotary_emb.{name}", ((dim // 2 + 1) // 2,), "fp32", role="vision")
    if config.flag("standardize", False):
        t.add("std_bias", (hidden,), "buffer", "vision", dtype=dtype)
        t.add("std_scale", (hidden,), "buffer", "vision", dtype=dtype)
    return Stack(
        role="vision", layers=layers, hidden=hidden, mlp_width=width, gated=True,
        attention=Attention(heads=heads, kv_heads=kv_heads, head_dim=dim, value_dim=dim, rope_dim=dim),
    )  # fmt: skip


def _audio(t: Tensors, config: Config) -> Stack:
    """Gemma4AudioModel: a conformer, two half feed-forwards around attention and a depthwise convolution."""
    hidden, layers = config.size("hidden_size", 1024), config.layers("num_hidden_layers", 12)
    attention = even_attention(config, hidden, config.layers("num_attention_heads", 8))
    channels = config.list("subsampling_conv_channels", (128, 32))
    first, second = (_channel(config, channels, i) for i in (0, 1))
    for i, (inputs, outputs) in enumerate(((1, first), (first, second))):
        t.add(f"subsample_conv_projection.layer{i}.conv.weight", (outputs, inputs, 3, 3), "conv", "audio")
        t.norm(f"subsample_conv_projection.layer{i}.norm", outputs, role="audio")
    # 128 mel bins, halved twice by the strides
    t.linear("subsample_conv_projection.input_proj_linear", (first // 4) * second, hidden, role="audio")
    clipped = _Clipped(role="audio", bounds=config.flag("use_clipped_linears", True), dtype=_stated_dtype(config))
    block = t.blocks("layers", layers)
    for name in ("feed_forward1", "feed_forward2"):
        clipped.write(block, f"{name}.ffw_layer_1", hidden, 4 * hidden)
        clipped.write(block, f"{name}.ffw_layer_2", 4 * hidden, hidden)
        block.norm(f"{name}.pre_layer_norm", hidden, role="audio")
        block.norm(f"{name}.post_layer_norm", hidden, role="audio")
    block.add("self_attn.per_dim_scale", (attention.head_dim,), "parameter", "audio")
    for name in ("q_proj", "k_proj", "v_proj", "post"):
        clipped.write(block, f"self_attn.{name}", hidden, hidden)
    block.linear("self_attn.relative_k_proj", hidden, hidden, role="audio")
    block.buffer("self_attn.softcap", (), _stated_dtype(config), role="audio")
    clipped.write(block, "lconv1d.linear_start", hidden, 2 * hidden)
    clipped.write(block, "lconv1d.linear_end", hidden, hidden)
    kernel = config.size("conv_kernel_size", 5)
    block.add("lconv1d.depthwise_conv1d.weight", (hidden, 1, kernel), "conv", "audio")
    for name in ("lconv1d.pre_layer_norm", "lconv1d.conv_norm", "norm_pre_attn", "norm_post_attn", "norm_out"):
        block.norm(name, hidden, role="audio")
    t.linear("output_proj", hidden, config.size("output_proj_dims", 1536), bias=True, role="audio")
    t.buffer("rel_pos_enc.inv_timescales", (1, 1, hidden // 2), "fp32", role="audio")
    return Stack(role="audio", layers=layers, hidden=hidden, mlp_width=4 * hidden, attention=attention)


def _channel(config: Config, channels: tuple[object, ...], index: int) -> int:
    return int(
        Config({"channels": channels[index] if index < len(channels) else None}, path=config.path).size("channels")
    )
