"""Which layers of a hybrid decoder hold what, and what the cache lacks while one of them runs."""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import NamedTuple

from gpufit.facts.architecture import Architecture
from gpufit.facts.dtypes import DTYPE_BYTES
from gpufit.memory.activations.courses import Step
from gpufit.memory.activations.symbols import Sizes
from gpufit.memory.workload import Workload


class Layers(NamedTuple):
    """Indices of the decoder's layers by what they hold, in order; ``sparse`` ones route, ``dense`` ones do not."""

    mixers: tuple[int, ...]
    attentions: tuple[int, ...]
    dense: tuple[int, ...]
    sparse: tuple[int, ...]
    depth: int

    def places(self, *, keeps_scores: bool) -> dict[str, int]:
        """The last layer of each kind, where its moments are widest.

        ``behind`` is a mixer right behind attention whose scores the loop still names (``keeps_scores``); ``attending
        dense`` and ``attending sparse`` are layers whose MLP runs while their own scores are named.

        >>> Layers((0, 1, 3), (2,), (0, 2), (1, 3), 4).places(keeps_scores=False)
        {'mixer': 3, 'attention': 2, 'dense': 2, 'sparse': 3, 'attending dense': 2, 'last': 3}
        """
        attending = set(self.attentions)
        kinds = {
            "mixer": self.mixers,
            "behind": [layer for layer in self.mixers if layer - 1 in attending] if keeps_scores else [],
            "attention": self.attentions,
            "dense": self.dense,
            "sparse": self.sparse,
            "attending dense": attending.intersection(self.dense),
            "attending sparse": attending.intersection(self.sparse),
            "last": (self.depth - 1,),
        }
        return {kind: max(layers) for kind, layers in kinds.items() if layers}


@lru_cache(maxsize=256)
def find_layers(architecture: Architecture) -> Layers:
    """Read from the tensors of the decoder's blocks: a mixer's own parameters, key projections, MLPs, experts."""
    found: dict[str, set[int]] = {"mixers": set(), "attentions": set(), "mlps": set(), "sparse": set()}
    for group in architecture.tensors.groups:
        if not group.indices or group.role == "vision":
            continue
        kind = (
            "sparse" if group.module == "experts"
            else "mixers" if group.role == "mixer"
            else "attentions" if group.name.endswith("k_proj.weight")
            else "mlps" if group.role == "mlp"
            else None
        )  # fmt: skip
        if kind:
            found[kind].update(group.indices[0])
    dense = found["mlps"] - found["sparse"] or found["mlps"]  # Granite's MLP follows the experts
    order = (found["mixers"], found["attentions"], dense, found["sparse"])
    mixers, attentions, mlps, sparse = (tuple(sorted(layers)) for layers in order)
    return Layers(mixers, attentions, mlps, sparse, architecture.stacks[0].layers)


def missing_bytes(architecture: Architecture, workload: Workload, last: int, sizes: Sizes, step: Step) -> int:
    """Bytes of cache that the layers behind ``last`` have yet to add: entries in every phase, states in a prefill."""
    layers = find_layers(architecture)
    entries = sizes.T * (sizes.k + sizes.v) * sizes.b * sum(layer > last for layer in layers.attentions)
    if step.name == "decode":
        return entries
    recurrent = next((kind.state for kind in architecture.cache if kind.state), ())
    state = sizes.B * sum(prod(one.shape) * DTYPE_BYTES[one.dtype or workload.dtype] for one in recurrent)
    return entries + state * sum(layer > last for layer in layers.mixers)
