"""Llama 3.2 Vision: a tiled picture tower that the decoder reads by cross-attention in layers of its own.

Mirrors transformers 5.23.0, models/mllama/modeling_mllama.py.
"""

from __future__ import annotations

from gpufit.errors import BadConfig
from gpufit.facts.architecture import Architecture, Attention, CacheLayers, Stack
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.record import even_attention, finish, head_of, unknown_class
from gpufit.facts.families.towers import dense, norm, patch_convolution, square_patches


def read(config: Config) -> Architecture:
    """MllamaConfig -> MllamaForConditionalGeneration; its output head is never tied."""
    model_class, head = head_of(config, "Mllama", "ForConditionalGeneration")
    text, vision = config.section("text_config"), config.section("vision_config")
    if head != "ForConditionalGeneration":
        raise unknown_class(config, model_class)
    if text is None or vision is None:
        raise BadConfig("config has no text_config or no vision_config", hint="the model's config.json must state both")
    t = Tensors()
    tower = _tower(t.under("model.vision_model"), vision)
    decoder, cache = _decoder(t.under("model.language_model"), text)
    dense(t, "model.multi_modal_projector", vision.size("vision_output_dim", 7680), decoder.hidden)
    vocab = text.size("vocab_size", 128256)
    t.linear("lm_head", decoder.hidden, vocab, role="output")
    return finish(
        config, t, model_class=model_class, task="vision-language", form="llama", stacks=(decoder, tower),
        vocab_size=vocab, output="lm_head.weight", cache=cache,
        dtype=text.text("dtype", text.text("torch_dtype", None)),
        max_context_tokens=text.size("max_position_embeddings", 131072),
    )  # fmt: skip


def _decoder(t: Tensors, config: Config) -> tuple[Stack, tuple[CacheLayers, ...]]:
    """MllamaTextModel; the embedding has eight more rows than the vocabulary, for the picture's token."""
    hidden, width = config.size("hidden_size", 4096), config.size("intermediate_size", 14336)
    layers = config.layers("num_hidden_layers", 40)
    heads, kv_heads = config.layers("num_attention_heads", 32), config.layers("num_key_value_heads", 8)
    dim = even_attention(config, hidden, heads).head_dim
    crossing = _crossing_layers(config, layers)
    own = tuple(i for i in range(layers) if i not in crossing)

    t.embedding("embed_tokens", config.size("vocab_size", 128256) + 8, hidden)
    for name, block in (("self_attn", t.blocks("layers", own)), ("cross_attn", t.blocks("layers", crossing))):
        block.linear(f"{name}.q_proj", hidden, heads * dim, role="attention")
        block.linear(f"{name}.k_proj", hidden, kv_heads * dim, role="attention")
        block.linear(f"{name}.v_proj", hidden, kv_heads * dim, role="attention")
        block.linear(f"{name}.o_proj", heads * dim, hidden, role="attention")
        if name == "cross_attn":
            block.norm(f"{name}.q_norm", dim)
            block.norm(f"{name}.k_norm", dim)
            block.add("cross_attn_attn_gate", (1,), "parameter", "attention")
            block.add("cross_attn_mlp_gate", (1,), "parameter", "mlp")
    every = t.blocks("layers", layers)
    every.linear("mlp.gate_proj", hidden, width, role="mlp")
    every.linear("mlp.up_proj", hidden, width, role="mlp")
    every.linear("mlp.down_proj", width, hidden, role="mlp")
    every.norm("input_layernorm", hidden)
    every.norm("post_attention_layernorm", hidden)
    t.norm("norm", hidden)
    t.buffer("rotary_emb.inv_freq", (dim // 2,), "fp32")
    t.buffer("rotary_emb.original_inv_freq", (dim // 2,), "fp32")
    stack = Stack(
        role="decoder", layers=layers, hidden=hidden, mlp_width=width, gated=True,
        attention=Attention(heads=heads, kv_heads=kv_heads, head_dim=dim, value_dim=dim, rope_dim=dim),
    )  # fmt: skip
    full = CacheLayers(kind="full", layers=len(own), kv_heads=kv_heads, key_dim=dim, value_dim=dim)
    cross = CacheLayers(kind="cross", layers=len(crossing), kv_heads=kv_heads, key_dim=dim, value_dim=dim)
    return stack, tuple(part for part in (full, cross) if part.layers)


def _crossing_layers(config: Config, layers: int) -> tuple[int, ...]:
    found = config.list("cross_attention_layers", (3, 8, 13, 18, 23, 28, 33, 38))
    if not all(type(i) is int and i >= 0 for i in found):
        raise BadConfig(f"config key {config.path}cross_attention_layers is not a list of layer numbers")
    return tuple(sorted({i for i in found if i < layers}))


def _tower(t: Tensors, config: Config) -> Stack:
    """MllamaVisionModel: local layers, then gated global ones; a picture is at most ``max_num_tiles`` tiles."""
    hidden, width = config.size("hidden_size", 1280), config.size("intermediate_size", 5120)
    tiles = config.size("max_num_tiles", 4)
    patches = square_patches(config, 448, 14) + 1
    layers, global_layers = config.layers("num_hidden_layers", 32), config.layers("num_global_layers", 8)
    ratios = config.raw("supported_aspect_ratios")
    if ratios is not None and (not isinstance(ratios, list) or len(ratios) > 4096):
        raise BadConfig(f"config key {config.path}supported_aspect_ratios is not a list of pairs")
    shapes = (8 if ratios is None else len(ratios)) + 1  # and one for padding

    t.add("class_embedding", (hidden,), "parameter", "vision")
    patch_convolution(t, "patch_embedding", config, hidden, 14, bias=False)
    t.add("gated_positional_embedding.gate", (1,), "parameter", "vision")
    t.add("gated_positional_embedding.embedding", (patches, hidden), "parameter", "vision")
    t.embedding("gated_positional_embedding.tile_embedding", shapes, tiles * patches * hidden, role="vision")
    for name in ("pre_tile_positional_embedding", "post_tile_positional_embedding"):
        t.add(f"{name}.gate", (1,), "parameter", "vision")
        t.embedding(f"{name}.embedding", shapes, tiles * hidden, role="vision")
    norm(t, "layernorm_pre", hidden)
    norm(t, "layernorm_post", hidden)
    for name, count in (("transformer", layers), ("global_transformer", global_layers)):
        block = t.blocks(f"{name}.layers", count)
        if name == "global_transformer":
            block.add("gate_attn", (1,), "parameter", "vision")
            block.add("gate_ffn", (1,), "parameter", "vision")
        for projection in ("q_proj", "k_proj", "v_proj", "o_proj"):
            dense(block, f"self_attn.{projection}", hidden, hidden, bias=False)
        dense(block, "mlp.fc1", hidden, width)
        dense(block, "mlp.fc2", width, hidden)
        norm(block, "input_layernorm", hidden)
        norm(block, "post_attention_layernorm", hidden)
    return Stack(
        role="vision", layers=layers + global_layers, hidden=hidden, mlp_width=width, positions=tiles * patches,
        attention=even_attention(config, hidden, config.layers("attention_heads", 16)),
    )  # fmt: skip
