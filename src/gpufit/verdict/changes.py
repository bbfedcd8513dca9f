"""The smallest changes that make a "no" fit, least loss first: one at a time, and together where one is not enough."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING

from gpufit.devices.device import Device
from gpufit.errors import Unsupported, UsageError
from gpufit.facts.kernels import attention_kernels
from gpufit.memory.kv_cache import packs_cache
from gpufit.memory.solve import with_context
from gpufit.memory.workload import Workload
from gpufit.records import replace
from gpufit.verdict.driver_context import measured_context
from gpufit.verdict.vendors import choose_sdpa

if TYPE_CHECKING:
    from gpufit.verdict.advise import Adviser, Option

MOST_CHANGES = 3
SHORTEST_USEFUL_CONTEXT = 256
CARD_COUNTS = (2, 4, 8)  # what one machine is sold with

Cards = tuple[Device, ...]


def smallest_changes(adviser: Adviser, workload: Workload, larger: Callable[[], Cards]) -> tuple[Option, ...]:
    """Up to three changes that make ``workload`` fit; ``larger`` lists cards with more memory, smallest first."""
    found: list[Option] = []
    for option in chain(_here(adviser, workload), _elsewhere(adviser, workload, larger)):
        if option.verdict != "no" and option.change not in (other.change for other in found):
            found.append(option)
        if len(found) == MOST_CHANGES:
            break
    return tuple(found)


def _here(adviser: Adviser, w: Workload) -> Iterator[Option]:
    """Changes on the cards at hand: several, kernels, precision, less work; then smaller weights, with less work."""
    if (option := _first_that_fits(_together(adviser, w))) is not None:
        yield option
    if w.attention == "eager" and not choose_sdpa(adviser.device)[1]:  # known to run fused there
        yield adviser.weigh(replace(w, attention="sdpa"), "sdpa attention")
    if _takes_flash(adviser, w):
        yield adviser.weigh(replace(w, attention="flash"), "flash attention")
    if w.dtype == "fp32":
        half = adviser.half(w.dtype)
        yield adviser.weigh(replace(w, dtype=half), f"{half} instead of fp32")
    yield from _less_work(adviser, w)
    for changed, prefix in _smaller_weights(adviser, w):
        whole = adviser.weigh(changed, prefix)
        yield whole
        if whole.verdict == "no" and (option := _first_that_fits(_less_work(adviser, changed, prefix))) is not None:
            yield option


def _together(adviser: Adviser, w: Workload) -> Iterator[Option]:
    """The chosen card with ever more of its kind that are here, each taken with the least that one of them has free."""
    own = adviser.device
    alike = [card for card in own.others if card.name == own.name and card.free_bytes and card.total_bytes]
    if w.runtime == "llama.cpp":
        return
    for count, card in enumerate(sorted(alike, key=lambda card: -(card.free_bytes or 0)), start=2):
        pool = replace(card, count=count, total_bytes=min(card.total_bytes or 0, own.total_bytes or 0), others=())
        try:
            yield adviser.beside(pool).weigh(w, f"{count} of the {own.name} here")
        except UsageError:  # a reserve larger than what is free, or heads that vLLM cannot share among so many
            continue


def _takes_flash(adviser: Adviser, w: Workload) -> bool:
    """Whether this model, precision and card are known to run flash attention 2."""
    capability = adviser.device.compute_capability
    known = capability is not None and capability >= (8, 0) and w.dtype != "fp32" and w.runtime == "transformers"
    return known and w.attention != "flash" and "flash" in attention_kernels(adviser.architecture.model_type)


def _less_work(adviser: Adviser, w: Workload, prefix: str = "") -> Iterator[Option]:
    """A smaller batch, a cache in 8 bits, a shorter context, and the last two of these with one sequence."""
    say = f"{prefix} and " if prefix else ""
    if w.batch > 1 and (batch := adviser.largest_batch(w)):
        yield adviser.weigh(replace(w, batch=min(batch, w.batch)), f"{say}batch {min(batch, w.batch):,}")
    smaller = _smaller_cache(adviser, w)
    if w.kv_dtype is None and smaller is not None:
        yield adviser.weigh(replace(w, kv_dtype=smaller), f"{say}8-bit cache ({smaller})")
    shorter = _shorter(adviser, w)
    if shorter is not None:
        yield adviser.weigh(shorter, f"{say}context {shorter.context_tokens:,}")
    elif w.batch > 1 and (single := _shorter(adviser, replace(w, batch=1))) is not None:
        say = f"{prefix}, " if prefix else ""
        yield adviser.weigh(single, f"{say}batch 1 and context {single.context_tokens:,}")


def _shorter(adviser: Adviser, w: Workload) -> Workload | None:
    context = adviser.longest_context(w)
    return with_context(w, context) if SHORTEST_USEFUL_CONTEXT <= context < w.context_tokens else None


def _smaller_weights(adviser: Adviser, w: Workload) -> Iterator[tuple[Workload, str]]:
    """The workload with its weights in fewer bits, where the family has layers to convert."""
    if w.quant != "none":
        return
    for quant in adviser.smaller_formats(w):
        changed = replace(w, quant=quant, dtype=adviser.half(w.dtype))
        try:
            adviser.weigh(changed)
        except Unsupported:
            continue
        yield changed, f"{quant} weights"


def _elsewhere(adviser: Adviser, w: Workload, larger: Callable[[], Cards]) -> Iterator[Option]:
    """The same work on a larger card, then with smaller weights there; several cards where one is too few."""
    cards = _one_of_each_size(larger())
    for changed, prefix in chain([(w, "")], _smaller_weights(adviser, w)):
        say = f"{prefix} on " if prefix else ""
        option = _first_that_fits(_on(adviser, changed, cards, say or "a larger card: "))
        yield from (_several(adviser, changed, cards, say) if option is None else [option])


def _several(adviser: Adviser, w: Workload, cards: Cards, say: str) -> Iterator[Option]:
    """More cards of the kind at hand, or of a larger kind: as few as do."""
    if w.runtime == "llama.cpp":
        return
    own = () if adviser.device.source == "given" else (adviser.device,)
    for kinds in (own, cards):
        for count in CARD_COUNTS:
            more = tuple(replace(card, count=count) for card in kinds if count > card.count)
            option = _first_that_fits(_on(adviser, w, more, f"{say}{count} × "))
            if option is not None:
                yield option
                return


def _on(adviser: Adviser, w: Workload, cards: Cards, say: str) -> Iterator[Option]:
    """The workload on each card, or each number of them, that can run it."""
    for card in cards:
        asked = replace(w, compute_capability=card.compute_capability, driver_context=measured_context(card))
        if not adviser.serves(card, asked):
            continue
        try:
            yield adviser.beside(card).weigh(asked, f"{say}{card.name}")
        except UsageError:  # vLLM cannot share this model's heads among so many
            continue


def _first_that_fits(options: Iterable[Option]) -> Option | None:
    """The first option that fits; the first that is tight where none does."""
    tight = None
    for option in options:
        if option.verdict == "fits":
            return option
        tight = tight or (option if option.verdict == "tight" else None)
    return tight


def _one_of_each_size(cards: Cards) -> Cards:
    """The first card of each memory size and generation."""
    return tuple({(card.total_bytes, card.compute_capability): card for card in reversed(cards)}.values())[::-1]


def _smaller_cache(adviser: Adviser, w: Workload) -> str | None:
    """The 8-bit cache that the runtime has for this model and card; None where it has none, or nobody knows."""
    if not adviser.architecture.cache:
        return None
    if w.runtime == "transformers":
        casts = adviser.device.vendor in ("NVIDIA", "AMD", None)  # to and from 8-bit floats, on any generation
        return "fp8" if casts and packs_cache(adviser.architecture) else None
    from gpufit.verdict.serving import smaller_cache

    return smaller_cache(w.runtime, adviser.device)
