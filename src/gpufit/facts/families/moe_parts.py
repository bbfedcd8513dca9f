"""What decoders with experts or several kinds of layer have in common, under the names transformers gives it.

Mirrors transformers 5.23.0, which fuses the experts of a layer into 3-D parameters.
"""

from __future__ import annotations

from gpufit.errors import BadConfig
from gpufit.facts.architecture import Architecture, CacheLayers, Experts, Stack, StateTensor
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.record import finish
from gpufit.facts.tensors import Role

_LEGACY_KINDS = {
    "mamba": "linear_attention",
    "attention": "full_attention",
    "deepseek_sparse_attention": "indexed_attention",
}


def rotary(t: Tensors, width: int, name: str = "model.rotary_emb") -> None:
    """A rotary embedding's two frequency tables."""
    t.buffer(f"{name}.inv_freq", ((width + 1) // 2,), "fp32")
    t.buffer(f"{name}.original_inv_freq", ((width + 1) // 2,), "fp32")


def projections(
    block: Tensors, hidden: int, heads: int, kv_heads: int, head_dim: int, *, bias: bool = False,
    output_bias: bool | None = None, value_dim: int | None = None, name: str = "self_attn", output: str = "o_proj",
) -> None:  # fmt: skip
    """q, k, v and output projections of an attention layer."""
    value_dim = head_dim if value_dim is None else value_dim
    block.linear(f"{name}.q_proj", hidden, heads * head_dim, bias=bias, role="attention")
    block.linear(f"{name}.k_proj", hidden, kv_heads * head_dim, bias=bias, role="attention")
    block.linear(f"{name}.v_proj", hidden, kv_heads * value_dim, bias=bias, role="attention")
    output_bias = bias if output_bias is None else output_bias
    block.linear(f"{name}.{output}", heads * value_dim, hidden, bias=output_bias, role="attention")


def gated_mlp(
    block: Tensors, hidden: int, width: int, *, name: str = "mlp", bias: bool = False, role: Role = "mlp"
) -> None:
    """SwiGLU: gate, up and down projection, right under the prefix where ``name`` is empty."""
    mlp = block.under(name) if name else block
    mlp.linear("gate_proj", hidden, width, bias=bias, role=role)
    mlp.linear("up_proj", hidden, width, bias=bias, role=role)
    mlp.linear("down_proj", width, hidden, bias=bias, role=role)


def fused_experts(block: Tensors, hidden: int, experts: Experts, *, name: str = "mlp.experts") -> None:
    """All gated experts of a layer: (experts, 2 × width, hidden) and (experts, hidden, width)."""
    block.add(f"{name}.gate_up_proj", (experts.count, 2 * experts.width, hidden), "experts", "experts")
    block.add(f"{name}.down_proj", (experts.count, hidden, experts.width), "experts", "experts")


def router(block: Tensors, hidden: int, experts: Experts, *, name: str = "mlp.gate") -> None:
    """A router that is a bare parameter, one row per expert."""
    block.add(f"{name}.weight", (experts.count, hidden), "parameter", "router")


def correction(block: Tensors, experts: Experts, *, name: str = "mlp.gate", kept: bool = True) -> None:
    """The balancing bias of sigmoid routers, a buffer that the checkpoint holds.

    Families that list it in ``_keep_in_fp32_modules_strict`` keep it fp32; the others load it in the model's dtype.
    """
    dtype = "fp32" if kept else None
    block.add(f"{name}.e_score_correction_bias", (experts.count,), "buffer", "router", dtype=dtype)


def embed(t: Tensors, vocab: int, hidden: int, name: str = "model.embed_tokens") -> None:
    """The token embedding."""
    t.embedding(name, vocab, hidden)


def head(
    t: Tensors, vocab: int, hidden: int, *, tied: bool, bias: bool = False,
    name: str = "lm_head", embedding: str = "model.embed_tokens",
) -> None:  # fmt: skip
    """The output projection, sharing the embedding's storage where tied."""
    t.linear(name, hidden, vocab, bias=bias, role="output", tied_to=f"{embedding}.weight" if tied else None)


def where(kinds: tuple[str, ...], *wanted: str) -> tuple[int, ...]:
    """Indices of the layers of the wanted kinds.

    >>> where(("full_attention", "mlp", "full_attention"), "full_attention")
    (0, 2)
    """
    return tuple(i for i, kind in enumerate(kinds) if kind in wanted)


def rest(layers: int, chosen: tuple[int, ...]) -> tuple[int, ...]:
    """The layers that were not chosen.

    >>> rest(4, (1, 3))
    (0, 2)
    """
    taken = set(chosen)
    return tuple(i for i in range(layers) if i not in taken)


def layer_kinds(
    config: Config, key: str, layers: int, allowed: tuple[str, ...], *, default: tuple[str, ...]
) -> tuple[str, ...]:
    """A list with one kind of layer per layer, legacy names replaced; ``default`` where the config has none."""
    given = config.list(key, None)
    if given is None:
        return default
    kinds = tuple(_LEGACY_KINDS.get(str(kind), str(kind)) for kind in given)
    if len(kinds) != layers:
        raise BadConfig(f"config key {config.path}{key} has {len(kinds)} entries for {layers} layers")
    wrong = next((kind for kind in kinds if kind not in allowed), None)
    if wrong is not None:
        raise BadConfig(f"config key {config.path}{key} holds {wrong[:40]!r}, not one of {', '.join(allowed)}")
    return kinds


def attention_caches(
    kinds: tuple[str, ...], *, kv_heads: int, key_dim: int, value_dim: int, window: int | None = None
) -> tuple[CacheLayers, ...]:
    """Key and value caches of the full, sliding and chunked layers among ``kinds``."""
    found = []
    for kind, name in (("full", "full_attention"), ("sliding", "sliding_attention"), ("chunked", "chunked_attention")):
        count = kinds.count(name)
        if count and kind != "full" and not window:
            raise BadConfig(f"{name} layers need a window")
        if count:
            found.append(
                CacheLayers(
                    kind=kind,  # type: ignore[arg-type]
                    layers=count, kv_heads=kv_heads, key_dim=key_dim, value_dim=value_dim,
                    window_tokens=None if kind == "full" else window,
                )
            )  # fmt: skip
    return tuple(found)


def state_cache(layers: int, conv: tuple[int, ...], ssm: tuple[int, ...], ssm_dtype: str | None) -> CacheLayers:
    """Layers that keep a convolution window in the model's dtype and a recurrent state in ``ssm_dtype``."""
    return CacheLayers(
        kind="state",
        layers=layers,
        state=(StateTensor(name="conv", shape=conv), StateTensor(name="recurrent", shape=ssm, dtype=ssm_dtype)),
    )


def causal_lm(
    config: Config, t: Tensors, *, model_class: str, form: str, stack: Stack, vocab: int,
    cache: tuple[CacheLayers, ...], output: str = "lm_head.weight", keep_fp32: tuple[str, ...] = (),
    keep_fp32_strict: tuple[str, ...] = (), notes: tuple[str, ...] = (), bounded: bool = True,
) -> Architecture:  # fmt: skip
    """The record of a text decoder whose tensors are written down in ``t``."""
    return finish(
        config, t, model_class=config.model_class(model_class), task="causal-lm", form=form, stacks=(stack,),
        vocab_size=vocab, output=output, cache=tuple(entry for entry in cache if entry.layers), notes=notes,
        max_context_tokens=config.size("max_position_embeddings", None) if bounded else None,
        keep_fp32=keep_fp32, keep_fp32_strict=keep_fp32_strict,
    )  # fmt: skip
