"""Zamba2: Mamba-2 in every layer, and now and then a transformer block whose weights several layers share.

Mirrors transformers 5.23.0, models/zamba2/modeling_zamba2.py (Zamba2ForCausalLM). The layers take the shared blocks in
turn; in each block only the adapters tell its layers apart. Every layer keeps a recurrent state, every layer that
attends its own keys and values besides: weights are shared, the cache is not.
"""

from __future__ import annotations

from gpufit.errors import BadConfig
from gpufit.facts.architecture import Architecture, Attention, CacheLayers, Mixer, Stack
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.mamba import duality_cache, expanded, state_space_duality
from gpufit.facts.families.moe_parts import causal_lm, embed, head, layer_kinds, rotary, where
from gpufit.facts.tensors import Module, Role

_SCAN, _HYBRID = "linear_attention", "hybrid"
_USUAL = ((_SCAN,) * 5 + (_HYBRID,)) * 7
_DEFAULT = (_SCAN, *_USUAL, *(_SCAN,) * 4, _HYBRID, *(_SCAN,) * 3, _HYBRID, *(_SCAN,) * 2)
_Shapes = list[tuple[str, tuple[int, ...], Module, Role]]


def read(config: Config) -> Architecture:
    """Zamba2Config -> Zamba2ForCausalLM."""
    hidden, vocab = config.size("hidden_size", 2560), config.size("vocab_size", 32000)
    layers, width = config.layers("num_hidden_layers", 54), config.size("intermediate_size", 4 * hidden)
    key = "layer_types" if "layer_types" in config else "layers_block_type"
    kinds = layer_kinds(config, key, layers, (_SCAN, _HYBRID), default=_DEFAULT)
    if len(kinds) != layers:
        raise BadConfig(f"config has no {key} for its {layers} layers", hint="the model's config.json must state it")
    scanning, hybrid = where(kinds, _SCAN), where(kinds, _HYBRID)
    mixer, attention = _mixer(config, hidden), _attention(config, hidden)

    t = Tensors()
    model = t.under("model")
    embed(model, vocab, hidden, "embed_tokens")
    bias = config.flag("add_bias_linear", False)
    hybrids = model.blocks("layers", hybrid)
    for scan in (model.blocks("layers", scanning), hybrids.under("mamba_decoder")):
        scan.norm("input_layernorm", hidden)
        state_space_duality(scan, hidden, mixer, name="mamba", bias=bias, conv_bias=True)
    hybrids.linear("linear", hidden, hidden, role="mixer")
    _shared_blocks(model, config, hidden, width, attention, hybrid, bias=bias)
    model.norm("final_layernorm", hidden)
    if config.flag("use_mem_rope", False):
        rotary(t, attention.head_dim)
    head(t, vocab, hidden, tied=config.flag("tie_word_embeddings", True))

    return causal_lm(
        config, t, model_class="Zamba2ForCausalLM", form="zamba2", vocab=vocab,
        stack=Stack(
            role="decoder", layers=layers, hidden=hidden, mlp_width=width if hybrid else 0, gated=True, mixer=mixer,
            attention=attention if hybrid else None,
        ),
        cache=(
            CacheLayers(
                kind="full", layers=len(hybrid), kv_heads=attention.kv_heads, key_dim=attention.head_dim,
                value_dim=attention.head_dim,
            ),
            duality_cache(layers, mixer),
        ),
    )  # fmt: skip


def _mixer(config: Config, hidden: int) -> Mixer:
    inner, heads = expanded(config, "mamba_expand", hidden), config.layers("n_mamba_heads", 8)
    groups = config.layers("mamba_ngroups", 1)
    if inner % heads or inner % groups:
        raise BadConfig(f"Zamba2's inner width {inner} is not a multiple of its {heads} heads and {groups} groups")
    return Mixer(
        kind="mamba2", inner=inner, state=config.size("mamba_d_state", 64), conv=config.size("mamba_d_conv", 4),
        heads=heads, head_dim=inner // heads, groups=groups, chunk=config.size("chunk_size", 256),
    )  # fmt: skip


def _attention(config: Config, hidden: int) -> Attention:
    """Attention over the stream and the embeddings side by side: twice the width."""
    heads = config.layers("num_attention_heads", 32)
    dim = 2 * hidden // heads
    if not dim:
        raise BadConfig(f"{heads} attention heads are more than twice the width {hidden}")
    return Attention(
        heads=heads, kv_heads=config.layers("num_key_value_heads", heads), head_dim=dim, value_dim=dim,
        rope_dim=dim if config.flag("use_mem_rope", False) else 0,
    )  # fmt: skip


def _shared_blocks(
    t: Tensors, config: Config, hidden: int, width: int, attention: Attention, hybrid: tuple[int, ...], *, bias: bool
) -> None:
    """The first ``num_mem_blocks`` hybrid layers own a block each; the others take them in turn.

    transformers shares nothing at all where ``tie_word_embeddings`` is false (modeling_utils.py, tie_weights).
    """
    shares = config.flag("tie_word_embeddings", True)
    blocks, rank = config.layers("num_mem_blocks", 1), config.size("adapter_rank", 128)
    attends = config.flag("use_shared_attention_adapter", False)
    for turn, layer in enumerate(hybrid):
        block, owner = turn % blocks, hybrid[turn % blocks]
        slots = range(block, len(hybrid), blocks)
        shapes = _block(hidden, width, attention, bias=bias) + _adapters(hidden, width, rank, slots, attends=attends)
        own = t.blocks("layers", (layer,)).under("shared_transformer")
        for name, shape, module, role in shapes:
            tied = None if owner == layer or not shares else f"model.layers.{owner}.shared_transformer.{name}"
            own.add(name, shape, module, role, tied_to=tied)


def _block(hidden: int, width: int, attention: Attention, *, bias: bool) -> _Shapes:
    query, key = attention.heads * attention.head_dim, attention.kv_heads * attention.head_dim
    found: _Shapes = [
        ("self_attn.q_proj.weight", (query, 2 * hidden), "linear", "attention"),
        ("self_attn.k_proj.weight", (key, 2 * hidden), "linear", "attention"),
        ("self_attn.v_proj.weight", (key, 2 * hidden), "linear", "attention"),
        ("self_attn.o_proj.weight", (hidden, query), "linear", "attention"),
        ("feed_forward.gate_up_proj.weight", (2 * width, hidden), "linear", "mlp"),
        ("feed_forward.down_proj.weight", (hidden, width), "linear", "mlp"),
        ("input_layernorm.weight", (2 * hidden,), "norm", "norm"),
        ("pre_ff_layernorm.weight", (hidden,), "norm", "norm"),
    ]
    if bias:
        found.append(("feed_forward.gate_up_proj.bias", (2 * width,), "linear", "mlp"))
        found.append(("feed_forward.down_proj.bias", (hidden,), "linear", "mlp"))
    return found


def _adapters(hidden: int, width: int, rank: int, slots: range, *, attends: bool) -> _Shapes:
    """Two narrow layers for every hybrid layer that takes this block, in the slot of its turn."""
    lists: list[tuple[str, int, int, Role]] = [("feed_forward.gate_up_proj_adapter_list", hidden, 2 * width, "mlp")]
    if attends:
        lists += [(f"self_attn.linear_{x}_adapter_list", 2 * hidden, 2 * hidden, "attention") for x in "qkv"]
    found: _Shapes = []
    for name, inputs, outputs, role in lists:
        for slot in slots:
            found.append((f"{name}.{slot}.0.weight", (rank, inputs), "linear", role))
            found.append((f"{name}.{slot}.1.weight", (outputs, rank), "linear", role))
    return found
