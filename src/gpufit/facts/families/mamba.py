"""Mamba, Falcon-Mamba and Mamba-2, and their mixers, which the hybrid families build in.

Mirrors transformers 5.23.0: models/{mamba, falcon_mamba, mamba2}. No attention, so nothing grows with the context: a
layer keeps the last ``conv`` inputs of its convolution and one recurrent state per sequence.
"""

from __future__ import annotations

from gpufit.errors import BadConfig
from gpufit.facts.architecture import Architecture, CacheLayers, Mixer, Stack
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.moe_parts import causal_lm, embed, head, state_cache


def selective_scan(
    block: Tensors, hidden: int, mixer: Mixer, *, name: str, bias: bool, conv_bias: bool
) -> None:  # fmt: skip
    """Mamba's mixer: every inner channel has its own state."""
    inner, state, rank = mixer.inner, mixer.state, mixer.time_rank
    block.add(f"{name}.A_log", (inner, state), "parameter", "mixer")
    block.add(f"{name}.D", (inner,), "parameter", "mixer")
    _conv(block, inner, mixer.conv, name=name, bias=conv_bias)
    block.linear(f"{name}.in_proj", hidden, 2 * inner, bias=bias, role="mixer")
    block.linear(f"{name}.x_proj", inner, rank + 2 * state, role="mixer")
    block.linear(f"{name}.dt_proj", rank, inner, bias=True, role="mixer")
    block.linear(f"{name}.out_proj", inner, hidden, bias=bias, role="mixer")


def state_space_duality(
    block: Tensors, hidden: int, mixer: Mixer, *, name: str, bias: bool, conv_bias: bool
) -> None:  # fmt: skip
    """Mamba-2's mixer: heads of channels share a state; x, B and C pass the convolution together."""
    block.add(f"{name}.dt_bias", (mixer.heads,), "parameter", "mixer")
    block.add(f"{name}.A_log", (mixer.heads,), "parameter", "mixer")
    block.add(f"{name}.D", (mixer.heads,), "parameter", "mixer")
    width = mixed_width(mixer)
    _conv(block, width, mixer.conv, name=name, bias=conv_bias)
    block.linear(f"{name}.in_proj", hidden, mixer.inner + width + mixer.heads, bias=bias, role="mixer")
    block.norm(f"{name}.norm", mixer.inner)
    block.linear(f"{name}.out_proj", mixer.inner, hidden, bias=bias, role="mixer")


def mixed_width(mixer: Mixer) -> int:
    """Channels of Mamba-2's convolution: x, and B and C of every group."""
    return mixer.inner + 2 * mixer.groups * mixer.state


def _conv(block: Tensors, channels: int, kernel: int, *, name: str, bias: bool) -> None:
    block.add(f"{name}.conv1d.weight", (channels, 1, kernel), "conv", "mixer")
    if bias:
        block.add(f"{name}.conv1d.bias", (channels,), "conv", "mixer")


def scan_cache(layers: int, mixer: Mixer) -> CacheLayers:
    """Mamba's state: ``conv`` inputs in the model's dtype, (inner, state) in fp32, the scan's own dtype."""
    return state_cache(layers, (mixer.inner, mixer.conv), (mixer.inner, mixer.state), "fp32")


def duality_cache(layers: int, mixer: Mixer) -> CacheLayers:
    """Mamba-2's state: ``conv`` inputs in the model's dtype, (heads, head_dim, state) in fp32."""
    recurrent = (mixer.heads, mixer.head_dim, mixer.state)
    return state_cache(layers, (mixed_width(mixer), mixer.conv), recurrent, "fp32")


def time_rank(config: Config, key: str, hidden: int) -> int:
    """The rank of the time step: a number, or "auto" for hidden / 16, rounded up.

    >>> time_rank(Config({"time_step_rank": "auto"}), "time_step_rank", 2560)
    160
    """
    if config.raw(key) in (None, "auto"):
        return -(-hidden // 16)
    rank: int = config.size(key)
    return rank


def expanded(config: Config, key: str, hidden: int) -> int:
    """Inner width: ``expand`` (2 by default, may be a fraction) times the hidden width.

    >>> expanded(Config({"expand": 2}), "expand", 2560)
    5120
    """
    inner = int(config.number(key, 2) * hidden)
    if not 1 <= inner <= 1 << 40:
        raise BadConfig(f"config key {config.path}{key} gives an inner width of {inner}")
    return inner


def _read(config: Config, *, mixer: Mixer, model_class: str, form: str, tied: bool, normed: bool) -> Architecture:
    hidden, vocab = config.size("hidden_size", 768), config.size("vocab_size")
    layers = config.layers("num_hidden_layers")
    bias, conv_bias = config.flag("use_bias", False), config.flag("use_conv_bias", True)

    t = Tensors()
    embed(t, vocab, hidden, name="backbone.embeddings")
    block = t.blocks("backbone.layers", layers)
    block.norm("norm", hidden)
    if mixer.kind == "mamba":
        selective_scan(block, hidden, mixer, name="mixer", bias=bias, conv_bias=conv_bias)
    else:
        state_space_duality(block, hidden, mixer, name="mixer", bias=bias, conv_bias=conv_bias)
    if normed:  # Falcon-Mamba's norms of dt, B and C have no learned weight
        block.add("mixer.dt_layernorm.weight", (mixer.inner,), "buffer", "mixer", saved=False)
        block.add("mixer.b_layernorm.weight", (mixer.state,), "buffer", "mixer", saved=False)
        block.add("mixer.c_layernorm.weight", (mixer.state,), "buffer", "mixer", saved=False)
    t.norm("backbone.norm_f", hidden)
    tied = config.flag("tie_word_embeddings", tied)
    head(t, vocab, hidden, tied=tied, embedding="backbone.embeddings")

    return causal_lm(
        config, t, model_class=model_class, form=form, vocab=vocab, bounded=False,
        stack=Stack(
            role="decoder", layers=layers, hidden=hidden, mixer=mixer,
            fp32_residual=config.flag("residual_in_fp32", True),
        ),
        cache=(scan_cache(layers, mixer) if mixer.kind == "mamba" else duality_cache(layers, mixer),),
    )  # fmt: skip


def _scan_mixer(config: Config) -> Mixer:
    hidden = config.size("hidden_size", 768)
    return Mixer(
        kind="mamba", inner=config.size("intermediate_size", None) or expanded(config, "expand", hidden),
        state=config.size("state_size", 16), conv=config.size("conv_kernel", 4),
        time_rank=time_rank(config, "time_step_rank", hidden),
    )  # fmt: skip


def read_mamba(config: Config) -> Architecture:
    """MambaConfig -> MambaForCausalLM."""
    return _read(
        config, mixer=_scan_mixer(config), model_class="MambaForCausalLM", form="mamba", tied=True, normed=False
    )


def read_falcon_mamba(config: Config) -> Architecture:
    """FalconMambaConfig -> FalconMambaForCausalLM: Mamba with norms on dt, B and C."""
    return _read(
        config, mixer=_scan_mixer(config), model_class="FalconMambaForCausalLM", form="falcon_mamba", tied=True,
        normed=True,
    )  # fmt: skip


def read_mamba2(config: Config) -> Architecture:
    """Mamba2Config -> Mamba2ForCausalLM."""
    hidden = config.size("hidden_size", 4096)
    mixer = Mixer(
        kind="mamba2", inner=expanded(config, "expand", hidden), state=config.size("state_size", 128),
        conv=config.size("conv_kernel", 4), heads=config.layers("num_heads", 128),
        head_dim=config.size("head_dim", 64), groups=config.layers("n_groups", 8),
        chunk=config.size("chunk_size", 256),
    )  # fmt: skip
    if mixer.heads * mixer.head_dim != mixer.inner:
        raise BadConfig(f"num_heads × head_dim = {mixer.heads * mixer.head_dim} is not expand × hidden_size")
    return _read(config, mixer=mixer, model_class="Mamba2ForCausalLM", form="mamba2", tied=False, normed=False)
