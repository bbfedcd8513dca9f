"""What a replay found: peaks by phase, the holdings at each, and the versions that ran."""

from __future__ import annotations

from dataclasses import dataclass

from gpufit.memory.workload import Workload
from gpufit.replay.recording import Holding, PhasePeak, Recording

KINDS = (
    # what a holding is, by the first rule that matches its operation or module
    ("inputs", ("zeros", "ones_like", "cat", "clone"), ("",)),
    ("logits", ("_to_copy",), ("",)),  # generate's fp32 copy of the last position
    ("logits", (), ("lm_head", "embed_out", "output_projection", "decoder.output", "predictions", "cls")),
    ("cache", ("cat",), ("self_attn", "attention", "attn", "mixer", "linear_attn")),
    ("attention", (), ("self_attn", "attn", "attention", "encoder_attn", "SelfAttention", "EncDecAttention")),
    ("MLP", (), ("mlp", "feed_forward", "experts", "fc1", "fc2", "intermediate", "DenseReluDense", "block_sparse_moe")),
    ("positions", (), ("rotary_emb", "embed_positions")),
    ("norms", (), ("norm",)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseReplay:
    """One phase: the replayed peak beside the closed form's bytes above the weights (None where there is no form)."""

    peak: PhasePeak
    closed_form_bytes: int | None = None

    @property
    def difference(self) -> float | None:
        """How far the closed form lies from the replay, as a fraction of the replay's bytes above the weights."""
        if self.closed_form_bytes is None or not self.peak.above_bytes:
            return None
        return self.closed_form_bytes / self.peak.above_bytes - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A replayed run. Its bytes are neither estimated nor measured: they follow from the modelling code.

    ``workspace_bytes`` is the library workspace that the phases' allocated and reserved peaks include.
    """

    model: str
    work: str
    phases: tuple[PhaseReplay, ...]
    resident_bytes: int
    workspace_bytes: int
    capability: tuple[int, int]
    torch_version: str
    transformers_version: str
    recording: Recording
    notes: tuple[str, ...] = ()
    workload: Workload | None = None  # what was assumed; a module of the user's own has only its inputs

    @property
    def peak(self) -> PhasePeak:
        """The phase that needs most."""
        return max((phase.peak for phase in self.phases), key=lambda peak: peak.allocated_bytes)


def kind_of(holding: Holding) -> str:
    """What a holding is to a reader: cache, attention, MLP, logits, ...

    >>> kind_of(Holding(module="model.layers.*.mlp.up_proj", op="mm", bytes=1, storages=1))
    'MLP'
    """
    if holding.role:
        return holding.role
    parts = holding.module.split(".")
    for kind, ops, names in KINDS:
        if ops and holding.op not in ops:
            continue
        if holding.module in names or any(name and any(name in part for part in parts) for name in names):
            return kind
    return "hidden states"


def holdings_by_kind(peak: PhasePeak) -> tuple[tuple[str, int], ...]:
    """Bytes at the peak by kind, largest first."""
    sums: dict[str, int] = {}
    for holding in peak.holdings:
        kind = kind_of(holding)
        sums[kind] = sums.get(kind, 0) + holding.bytes
    return tuple(sorted(sums.items(), key=lambda item: (-item[1], item[0])))
