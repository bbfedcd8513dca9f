"""Several devices: what each holds when modules lie as ``device_map="auto"`` puts them; the fullest one decides."""

from __future__ import annotations

from gpufit.facts.dtypes import DTYPE_BYTES
from gpufit.memory.estimate import Estimate, decisive_phase
from gpufit.memory.loading import load_temporaries
from gpufit.memory.placement import Placed, place_modules
from gpufit.memory.ranges import ZERO, Range
from gpufit.memory.slack import cache_growth, slack_of
from gpufit.records import record


@record
class CardShare:
    """What one of several cards holds: the parts of the breakdown, and the totals that a meter on it would show.

    ``beside`` is the workspace, the buffers and the rounding of this card's own modules, ``context`` the driver's.
    """

    index: int
    blocks: int
    weights_bytes: int
    kv_cache_bytes: int
    activations: Range
    beside: Range
    context: Range
    slack: Range
    load_peak: Range

    @property
    def runtime(self) -> Range:
        """The row of that name."""
        return self.beside + self.context

    @property
    def allocated(self) -> Range:
        """torch's max_memory_allocated on this card."""
        return Range.exact(self.weights_bytes + self.kv_cache_bytes) + self.activations + self.beside

    @property
    def reserved(self) -> Range:
        """torch's max_memory_reserved on this card."""
        return self.allocated + self.slack

    @property
    def process(self) -> Range:
        """What nvidia-smi shows of the process on this card."""
        return self.reserved + self.context

    @property
    def need_bytes(self) -> int:
        """What this card has to have for ``fits``."""
        return max(self.process.high_bytes, self.load_peak.high_bytes)


@record
class Share:
    """How a workload lies on its cards; ``fullest`` is None where there is one, which holds it all.

    The totals are the fullest card's, the one that decides.
    """

    allocated: Range
    reserved: Range
    process: Range
    load_peak: Range
    cards: tuple[CardShare, ...] = ()
    fullest: CardShare | None = None


def share_out(estimate: Estimate, devices: int) -> Share:
    """Each device's part when the modules are spread over ``devices`` of a kind; with one device, the estimate itself.

    Every device has a driver context, a workspace and the temporaries of a whole phase; weights and buffers lie where
    their modules do, and the cache where its layers do.
    """
    e = estimate
    if devices <= 1 or e.workload.runtime != "transformers":  # the others estimate one rank themselves
        return Share(allocated=e.allocated, reserved=e.reserved, process=e.process, load_peak=e.load_peak)
    placed = place_modules(e.architecture, e.workload.dtype, e.workload.quant, devices)
    caching = sum(own.caching_blocks for own in placed)
    cards = tuple(_hold(e, index, own, caching) for index, own in enumerate(placed))
    worst = max(cards, key=lambda card: card.need_bytes)
    return Share(
        allocated=worst.allocated, reserved=worst.reserved, process=worst.process, load_peak=worst.load_peak,
        cards=cards, fullest=worst,
    )  # fmt: skip


def _hold(e: Estimate, index: int, own: Placed, caching_blocks: int) -> CardShare:
    if not own.weights_bytes:  # more cards than modules: nothing is ever started here
        return CardShare(
            index=index, blocks=0, weights_bytes=0, kv_cache_bytes=0, activations=ZERO, beside=ZERO, context=ZERO,
            slack=ZERO, load_peak=ZERO,
        )  # fmt: skip
    part = (own.caching_blocks, max(1, caching_blocks))
    _, activations = decisive_phase(e.architecture, e.workload, e.phases, e.kv_cache_bytes, part)
    residents = Range.exact(own.buffer_bytes + own.padding_bytes)
    grown = cache_growth(e.architecture, e.workload, e.kv_cache_bytes) * part[0] // part[1]
    loading = load_temporaries(e.weights, DTYPE_BYTES[e.workload.dtype])
    return CardShare(
        index=index,
        blocks=own.blocks,
        weights_bytes=own.weights_bytes,
        kv_cache_bytes=e.kv_cache_bytes * part[0] // part[1],
        activations=Range.exact(activations),
        beside=sum((extra.bytes for extra in e.extras), residents + e.workspace.bytes),
        context=e.context.bytes,
        slack=slack_of(grown, activations),
        load_peak=Range.exact(own.weights_bytes) + residents + e.context.bytes + loading,
    )
