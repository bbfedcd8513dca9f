"""Which layers of a decoder slide, how far, and what the library's cache therefore keeps.

Follows transformers 5.23.0, cache_utils.py (DynamicCache, get_layer_types_and_kwargs). After a step a sliding layer
shows ``window - 1`` tokens of a tensor that holds ``window``; after a longer prefill it holds all of the prompt until
the first decoded token.
"""

from __future__ import annotations

from gpufit.errors import BadConfig
from gpufit.facts.architecture import CacheLayers
from gpufit.facts.config import Config

FULL, SLIDING = "full_attention", "sliding_attention"  # transformers' names in ``layer_types``


def stated_window(config: Config, default: int | None = None) -> int | None:
    """``sliding_window``, or the family's default where the key is absent; null means no window.

    >>> stated_window(Config({"sliding_window": None}), 4096), stated_window(Config({}), 4096)
    (None, 4096)
    """
    window: int | None = default if config.absent("sliding_window") else config.size("sliding_window", None)
    return window


def layer_kinds(config: Config, layers: int, default: tuple[str, ...]) -> tuple[str, ...]:
    """``layer_types``, checked, or the family's default pattern."""
    kinds: tuple[str, ...] = config.list("layer_types", default)
    if len(kinds) != layers:
        raise BadConfig(f"config key layer_types has {len(kinds)} entries for {layers} layers")
    for kind in kinds:
        if kind not in (FULL, SLIDING):
            raise BadConfig(f"config key layer_types holds {str(kind)[:40]!r}; here it may hold {FULL} and {SLIDING}")
    return kinds


def every_nth_full(layers: int, n: int) -> tuple[str, ...]:
    """Sliding layers with every ``n``-th one full.

    >>> every_nth_full(3, 2)
    ('sliding_attention', 'full_attention', 'sliding_attention')
    """
    return tuple(SLIDING if (i + 1) % n else FULL for i in range(layers))


def cache_layers(
    layers: int, kv_heads: int, head_dim: int, kinds: tuple[str, ...] | None, window: int | None
) -> tuple[CacheLayers, ...]:
    """What DynamicCache(config=...) keeps for each layer (cache_utils.py, get_layer_types_and_kwargs).

    Without ``kinds`` (no ``layer_types``) every layer slides as soon as the configuration has a ``window``.
    """
    if kinds is None:
        kinds = (FULL if window is None else SLIDING,) * layers
    sliding = kinds.count(SLIDING)
    if sliding and window is None:
        raise BadConfig("config has sliding_attention layers but no sliding_window")
    full_layers = CacheLayers(
        kind="full", layers=len(kinds) - sliding, followed_by=_behind_last(FULL, kinds),
        kv_heads=kv_heads, key_dim=head_dim, value_dim=head_dim,
    )  # fmt: skip
    sliding_layers = CacheLayers(
        kind="sliding", layers=sliding, window_tokens=window, followed_by=_behind_last(SLIDING, kinds),
        kv_heads=kv_heads, key_dim=head_dim, value_dim=head_dim,
    )  # fmt: skip
    return tuple(group for group in (full_layers, sliding_layers) if group.layers)


def _behind_last(kind: str, kinds: tuple[str, ...]) -> int:
    return kinds[::-1].index(kind) if kind in kinds else 0
