"""What the forward pass leaves for backward, by the part of the model that it belongs to."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from gpufit.memory.training.tape.ledger import Entry, Ledger
from gpufit.records import record

if TYPE_CHECKING:
    from gpufit.memory.training.modules import Model

Group = Literal["attention", "mlp", "norms", "experts", "merged experts", "adapters", "dropout masks",
                "low-precision weights", "embeddings", "residual stream", "loss"]  # fmt: skip
_NUMBERED = re.compile(r"\.(\d+)(?=\.|$)")
_PARTS: tuple[tuple[str, Group], ...] = (
    (r"merged", "merged experts"),
    (r"lora_|base_layer", "adapters"),
    (r"norm|ln_|LayerNorm|layer_norm", "norms"),
    (r"experts|router|block_sparse_moe", "experts"),
    (r"attn|attention|Attention|query|key|value|q_proj", "attention"),
    (r"mlp|fc\d|intermediate|DenseReluDense|dense_h|feed_forward|ffn", "mlp"),
    (r"loss|lm_head|classifier|score|cls|head", "loss"),
    (r"embed|wte|wpe|shared", "embeddings"),
)


@record
class Saved:
    """Bytes that one group of modules saves, in all layers together."""

    group: Group
    bytes: int


def group_saved(ledger: Ledger, model: Model) -> tuple[Saved, ...]:
    """Everything alive, largest group first."""
    sums: dict[Group, int] = {}
    for entry in ledger.alive.values():
        if entry.op == "layers alike":
            continue
        times = next((n for path, n in model.repeats.items() if _within(entry.module, path)), 1)
        group = _group(entry)
        sums[group] = sums.get(group, 0) + times * entry.bytes
    rest = ledger.temporaries_bytes - sum(sums.values())
    if rest:  # what a middle layer frees or keeps beyond its own module, its input most of all
        sums["residual stream"] = sums.get("residual stream", 0) + rest
    return tuple(Saved(group=group, bytes=n) for group, n in sorted(sums.items(), key=lambda pair: -pair[1]))


def _within(module: str, path: str) -> bool:
    return f".{path}." in f".{module}."


def _group(entry: Entry) -> Group:
    if entry.op == "dropout" and entry.module:
        return "dropout masks"
    module = _NUMBERED.sub("", entry.module)
    leaf = module.rpartition("layers")[2] or module
    for pattern, group in _PARTS:
        if re.search(pattern, leaf):
            return group
    return "residual stream"
