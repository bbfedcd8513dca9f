"""Phi-3 and Phi-3.5 vision: Phi-3 with a CLIP tower and a two-layer projector inside its embedding.

transformers 5.23.0 has no class for it. The layout follows the checkpoint's own modeling_phi3_v.py and
image_embedding_phi3_v.py as publicly known (microsoft/Phi-3.5-vision-instruct: 4 146 621 440 parameters). The tower
is always CLIP ViT-L/14 at 336 pixels: its dimensions stand in that code, not in the configuration.
"""

from __future__ import annotations

from gpufit.errors import Undecided
from gpufit.facts.architecture import Architecture, Attention, Stack
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.dense import assemble, body, grouped_query, rotary_width
from gpufit.facts.families.phi3 import write_blocks
from gpufit.facts.families.remote import NOTE
from gpufit.facts.families.windows import FULL
from gpufit.records import replace

# CLIP_VIT_LARGE_PATCH14_336_CONFIG
_LAYERS, _HIDDEN, _WIDTH, _HEADS, _PATCH, _PATCHES = 24, 1024, 4096, 16, 14, (336 // 14) ** 2


def read(config: Config) -> Architecture:
    """Phi3VConfig -> Phi3VForCausalLM; its cache is a plain DynamicCache, so no layer slides."""
    shape = grouped_query(config)
    width = config.size("intermediate_size")
    rope = rotary_width(config, shape.head_dim)
    vocab = config.size("vocab_size")
    t = Tensors()
    model = t.under("model")
    model.embedding("embed_tokens", vocab, shape.hidden)
    _image_embedding(model.under("vision_embed_tokens"), config, shape.hidden)
    block = model.blocks("layers", shape.layers)
    write_blocks(block, shape, width)
    block.buffer("self_attn.rotary_emb.inv_freq", ((rope + 1) // 2,), "fp32")
    model.norm("norm", shape.hidden)
    tied = "model.embed_tokens.weight" if config.flag("tie_word_embeddings", False) else None
    t.linear("lm_head", shape.hidden, vocab, role="output", tied_to=tied)

    facts = body(
        config, shape, form="phi3", width=width, gated=True, rope=rope, kinds=(FULL,) * shape.layers, notes=(NOTE,)
    )  # fmt: skip
    text = assemble(
        config, facts, t, model_class="Phi3VForCausalLM", task="vision-language", output="lm_head.weight"
    )  # fmt: skip
    tower = Stack(
        role="vision", layers=_LAYERS, hidden=_HIDDEN, mlp_width=_WIDTH, positions=_PATCHES + 1,
        attention=Attention(
            heads=_HEADS, kv_heads=_HEADS, head_dim=_HIDDEN // _HEADS, value_dim=_HIDDEN // _HEADS
        ),
    )  # fmt: skip
    return replace(text, stacks=(*text.stacks, tower))


def _image_embedding(t: Tensors, config: Config, text_hidden: int) -> None:
    """Phi3ImageEmbedding: two separators, the tower, and a projector that takes four patches at a time."""
    processor, layer = config.section("img_processor"), config.section("embd_layer")
    if processor is None or processor.text("name") != "clip_vision_model":
        raise Undecided("gpufit knows Phi-3 vision only with its CLIP tower")
    if layer is None or layer.text("projection_cls", "linear") != "mlp" or not layer.flag("use_hd_transform", False):
        raise Undecided("gpufit knows Phi-3 vision only with its MLP projector on high-definition crops")
    patches = 4 * processor.size("image_dim_out")
    if layer.flag("with_learnable_separator", False):
        t.add("glb_GN", (1, 1, patches), "parameter", "vision")
        t.add("sub_GN", (1, 1, 1, patches), "parameter", "vision")
    _clip_tower(t.under("img_processor.vision_model"))
    t.linear("img_projection.0", patches, text_hidden, bias=True, role="vision")
    t.linear("img_projection.2", text_hidden, text_hidden, bias=True, role="vision")


def _clip_tower(t: Tensors) -> None:
    t.add("embeddings.class_embedding", (_HIDDEN,), "parameter", "vision")
    t.add("embeddings.patch_embedding.weight", (_HIDDEN, 3, _PATCH, _PATCH), "conv", "vision")
    t.embedding("embeddings.position_embedding", _PATCHES + 1, _HIDDEN, role="vision")
    t.buffer("embeddings.position_ids", (1, _PATCHES + 1), "int64", role="vision")
    t.norm("pre_layrnorm", _HIDDEN, bias=True, role="vision")  # misspelt in CLIP
    block = t.blocks("encoder.layers", _LAYERS)
    for name in ("k_proj", "v_proj", "q_proj", "out_proj"):
        block.linear(f"self_attn.{name}", _HIDDEN, _HIDDEN, bias=True, role="vision")
    block.norm("layer_norm1", _HIDDEN, bias=True, role="vision")
    block.linear("mlp.fc1", _HIDDEN, _WIDTH, bias=True, role="vision")
    block.linear("mlp.fc2", _WIDTH, _HIDDEN, bias=True, role="vision")
    block.norm("layer_norm2", _HIDDEN, bias=True, role="vision")
    t.norm("post_layernorm", _HIDDEN, bias=True, role="vision")
