"""What a tracked run leaves behind: storages born and dead, in order, and where each phase begins. Pure data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gpufit.replay.allocator import CachingAllocator
from gpufit.replay.allocator_options import AllocatorOptions
from gpufit.replay.blocks import Block


@dataclass(frozen=True, slots=True)
class Event:
    """A storage is born (``bytes`` > 0) or dies (``bytes`` < 0). ``op`` and ``module`` say who made it, births only."""

    handle: int
    bytes: int
    op: str = ""
    module: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Events ``start`` to ``stop`` (exclusive) under a name. ``counted`` is False where a step only sets the stage."""

    name: str
    start: int
    stop: int
    counted: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Residents first (weights and buffers, born before event 0), then everything that happened."""

    residents: tuple[Event, ...]
    events: tuple[Event, ...]
    phases: tuple[Phase, ...]

    @property
    def resident_bytes(self) -> int:
        """Bytes of parameters and buffers, each storage once."""
        return sum(event.bytes for event in self.residents)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """Storages alike that live at a peak: same module (layer numbers as ``*``), same operation, same role.

    ``role`` is what a storage is in a training step (see :data:`TRAINING_ROLES`); empty in inference.
    """

    module: str
    op: str
    bytes: int
    storages: int
    role: str = ""


TRAINING_ROLES = {
    # the phase a storage was born in -> what it is when it lives at a later peak
    "first step": "optimizer states",
    "forward": "saved activations",
    "backward": "gradients",
    "step": "optimizer temporaries",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PhasePeak:
    """The peaks of one phase.

    ``live_bytes`` is the sum of storages; ``allocated_bytes`` the blocks they occupy (``max_memory_allocated``),
    ``reserved_bytes`` the segments (``max_memory_reserved``). All three include the residents; ``above_bytes`` is live
    bytes without them. ``event`` is where live bytes peak.
    """

    phase: str
    live_bytes: int
    above_bytes: int
    allocated_bytes: int
    reserved_bytes: int
    event: int
    out_of_memory: bool
    holdings: tuple[Holding, ...]


def find_peaks(
    recording: Recording,
    options: AllocatorOptions | None = None,
    *,
    workspace_bytes: int = 0,
    warm_up: bool = False,
) -> tuple[PhasePeak, ...]:
    """Walk the recording through the allocator; one peak for each counted phase, in order.

    ``workspace_bytes`` is allocated once before the first phase and never freed, as cuBLAS does; it counts in allocated
    and reserved, not in live bytes. ``warm_up`` lets the residents be carved out of one block, as transformers'
    loader does (modeling_utils.py, caching_allocator_warmup).

    >>> events = (Event(1, 1024, "mm", "layers.0"), Event(2, 2048, "add", "layers.0"), Event(1, -1024), Event(2, -2048))
    >>> recording = Recording(residents=(Event(0, 512),), events=events,
    ...                       phases=(Phase(name="prefill", start=0, stop=4),))
    >>> peak, = find_peaks(recording)
    >>> peak.live_bytes, peak.above_bytes, peak.event, [h.op for h in peak.holdings]
    (3584, 3072, 1, ['add', 'mm'])
    """
    found = []
    walk = _Walk(options)
    if warm_up:
        walk.step(Event(0, recording.resident_bytes))
        walk.step(Event(0, -recording.resident_bytes))
    for event in recording.residents:
        walk.step(event)
    if workspace_bytes and walk.allocator.allocate(workspace_bytes) is None:
        walk.out_of_memory = True
    for phase in recording.phases:
        if not phase.counted:
            for event in recording.events[phase.start : phase.stop]:
                walk.follow(event)
            continue
        walk.settle()
        walk.allocator.reset_peaks()
        best, at = walk.live_bytes, phase.start - 1
        for index in range(phase.start, phase.stop):
            walk.step(recording.events[index])
            if walk.live_bytes > best:
                best, at = walk.live_bytes, index
        found.append(
            PhasePeak(
                phase=phase.name,
                live_bytes=best,
                above_bytes=best - recording.resident_bytes,
                allocated_bytes=walk.allocator.peak_allocated_bytes,
                reserved_bytes=walk.allocator.peak_reserved_bytes,
                event=at,
                out_of_memory=walk.out_of_memory,
                holdings=holdings_at(recording, at),
            )
        )
    return tuple(found)


def holdings_at(recording: Recording, event: int) -> tuple[Holding, ...]:
    """What lives just after that event, residents apart, largest first."""
    alive: dict[int, tuple[int, Event]] = {}
    for index, entry in enumerate(recording.events[: event + 1]):
        if entry.bytes > 0:
            alive[entry.handle] = (index, entry)
        else:
            alive.pop(entry.handle, None)
    role = find_roles(recording)
    groups: dict[tuple[str, str, str], list[int]] = {}
    for index, entry in alive.values():
        key = (module_pattern(entry.module), entry.op, role(index, entry.handle))
        groups.setdefault(key, []).append(entry.bytes)
    holdings = [
        Holding(module=module, op=op, bytes=sum(sizes), storages=len(sizes), role=what)
        for (module, op, what), sizes in groups.items()
    ]
    return tuple(sorted(holdings, key=lambda holding: (-holding.bytes, holding.module, holding.op)))


def find_roles(recording: Recording) -> Callable[[int, int], str]:
    """(index of a birth, its handle) -> role. Of what backward makes, only what outlives it is a gradient."""
    backward = next((phase for phase in recording.phases if phase.name == "backward"), None)
    if backward is None:
        return lambda index, handle: ""  # inference
    short_lived = {e.handle for e in recording.events[backward.start : backward.stop] if e.bytes < 0}

    def role(index: int, handle: int) -> str:
        phase = next((p.name for p in recording.phases if p.start <= index < p.stop), "")
        if phase == "backward" and handle in short_lived:
            return "backward temporaries"
        return TRAINING_ROLES.get(phase, "")

    return role


def module_pattern(module: str) -> str:
    """A module path with its numbers as stars.

    >>> module_pattern("model.layers.31.mlp.up_proj")
    'model.layers.*.mlp.up_proj'
    """
    return ".".join("*" if part.isdigit() else part for part in module.split("."))


def live_curve(recording: Recording) -> Iterator[int]:
    """Live bytes after each event, residents included."""
    live = recording.resident_bytes
    for event in recording.events:
        live += event.bytes
        yield live


class _Walk:
    """The allocator following a recording; storages are known by handle."""

    def __init__(self, options: AllocatorOptions | None) -> None:
        self.allocator = CachingAllocator(options)
        self.live_bytes = 0
        self.out_of_memory = False
        self._blocks: dict[int, Block] = {}
        self._staged: dict[int, int] = {}

    def step(self, event: Event) -> None:
        """Really allocate or free."""
        self.live_bytes += event.bytes
        if event.bytes > 0:
            block = self.allocator.allocate(event.bytes)
            if block is None:
                self.out_of_memory = True
            else:
                self._blocks[event.handle] = block
        elif (block := self._blocks.pop(event.handle, None)) is not None:
            self.allocator.free(block)

    def follow(self, event: Event) -> None:
        """A staged phase: only what outlives it will be allocated; what it frees is freed at once."""
        if event.bytes > 0:
            self._staged[event.handle] = event.bytes
        elif self._staged.pop(event.handle, None) is None:
            self.step(event)

    def settle(self) -> None:
        """Allocate what staged phases left behind."""
        for handle, size in self._staged.items():
            self.step(Event(handle, size))
        self._staged.clear()
