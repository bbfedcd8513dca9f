"""Kimi K3's picture tower and its projector.

Mirrors vLLM 0.33.0, model_executor/models/kimi_k25_vit.py (MoonViT3dPretrainedModel, KimiK25MultiModalProjector), under
the checkpoint's names.
"""

from __future__ import annotations

from gpufit.errors import BadConfig, UnknownFamily
from gpufit.facts.architecture import Attention, Stack
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.towers import dense, norm, square_side

_ONLY = {  # what vLLM's tower knows, and refuses otherwise
    "pos_emb_type": ("divided_fixed",), "mlp_type": ("mlp2",), "norm_type": ("layernorm", "rmsnorm"),
    "mm_projector_type": ("patchmergerv2",),
}  # fmt: skip


def read_tower(t: Tensors, config: Config) -> tuple[Stack, int]:
    """The tower, and the width of the neighbouring patches that the projector joins."""
    for key, known in _ONLY.items():
        if (stated := config.text(key, known[-1])) not in known:
            raise UnknownFamily(f"kimi_k3 with {key} {stated[:40]}")
    hidden, inner = config.size("vt_hidden_size", 1024), config.size("qkv_hidden_size", 1536)
    heads, width = config.layers("vt_num_attention_heads", 12), config.size("vt_intermediate_size", 4096)
    if inner % heads:
        raise BadConfig(f"config key {config.path}qkv_hidden_size = {inner} is not a multiple of its {heads} heads")
    rows, columns = config.size("init_pos_emb_height", 64), config.size("init_pos_emb_width", 64)
    side, merge = square_side(config, "patch_size", 14), config.list("merge_kernel_size", (2, 2))
    if len(merge) != 2 or any(type(edge) is not int or not 1 <= edge <= 64 for edge in merge):
        raise BadConfig(f"config key {config.path}merge_kernel_size is not a pair of small numbers")
    layers, bias = config.layers("vt_num_hidden_layers", 27), config.flag("linear_bias", False)
    attention_bias, norm_bias = config.flag("attn_bias", False), config.text("norm_type", "rmsnorm") == "layernorm"

    t.add("patch_embed.proj.weight", (hidden, 3, side, side), "conv", "vision")
    if config.flag("patch_embed_proj_bias", False):
        t.add("patch_embed.proj.bias", (hidden,), "conv", "vision")
    t.add("patch_embed.pos_emb.weight", (rows, columns, hidden), "parameter", "vision")
    frames = config.layers("init_pos_emb_time", 4)
    t.buffer("patch_embed.pos_emb.time_weight", (frames, 1, hidden), "fp32", role="vision")
    block = t.blocks("encoder.blocks", layers)
    norm(block, "norm0", hidden, bias=norm_bias)
    norm(block, "norm1", hidden, bias=norm_bias)
    dense(block, "mlp.fc0", hidden, width, bias=bias)
    dense(block, "mlp.fc1", width, hidden, bias=bias)
    dense(block, "wqkv", hidden, 3 * inner, bias=attention_bias)
    dense(block, "wo", inner, hidden, bias=attention_bias)
    norm(t, "encoder.final_layernorm", hidden, bias=norm_bias)
    head_dim = inner // heads
    stack = Stack(
        role="vision", layers=layers, hidden=hidden, mlp_width=width, positions=rows * columns,
        attention=Attention(heads=heads, kv_heads=heads, head_dim=head_dim, value_dim=head_dim),
    )  # fmt: skip
    return stack, hidden * merge[0] * merge[1]


def projector(t: Tensors, config: Config, merged: int, hidden: int) -> None:
    """Patches that were joined, through two layers into the decoder's width, normed there."""
    dense(t, "proj.0", merged, merged, bias=False)
    dense(t, "proj.2", merged, hidden, bias=False)
    norm(t, "post_norm", hidden, bias=False)
