"""One check for a person: the verdict in a sentence, then what was assumed, then where the bytes are."""

from __future__ import annotations

from collections.abc import Sequence

from gpufit.memory.ranges import Range
from gpufit.memory.solve import LARGEST_SEARCHED_BATCH
from gpufit.render.text import Screen, describe_device, table, wrap
from gpufit.units import format_bytes, format_count, format_gib
from gpufit.verdict.advise import Option
from gpufit.verdict.check import Check

SIGN = {"fits": ("✓", "+", "green"), "tight": ("≈", "~", "yellow"), "no": ("✗", "x", "red"),
         "unknown": ("?", "?", "yellow")}  # fmt: skip
ROW_STYLE = {
    "weights": "blue", "kv_cache": "magenta", "activations": "yellow", "gradients": "yellow",
    "optimizer_states": "cyan", "runtime": "cyan", "slack": "dim",
}  # fmt: skip
BAR_CELLS = 30


def render_check(check: Check, screen: Screen) -> list[str]:
    """The whole answer as lines of text."""
    lines = [*_sentence(check, screen), ""]
    lines += _facts(check, screen)
    lines += ["", *_bars(check, screen), "", *_totals(check, screen), "", *_cards(check, screen)]
    lines += _limits(check, screen)
    lines += _advice(check, screen)
    if check.runtime_plan is not None:
        from gpufit.render.runtime_text import render_plan

        lines += render_plan(check.runtime_plan, screen)
    for note in (*check.notes, *_elastic(check)):
        lines += wrap(f"note: {note}", screen.width, "      ")
    return lines


def _elastic(check: Check) -> list[str]:
    """What nvidia-smi may show beyond the process total, where that is much; it decides nothing."""
    more = min(check.estimate.elastic_slack_bytes, max(0, check.asked.headroom_bytes))
    if more < check.share.process.likely_bytes // 20:
        return []
    return [
        f"nvidia-smi may show up to {format_gib(more)} more: PyTorch keeps the segments that the growing cache "
        "outgrew, and gives them back when it needs room"
    ]


def describe(option: Option) -> str:
    """A precision in words: ``fp16``, ``bnb-nf4 (rest bf16)``, ``gguf-q8_0``."""
    workload = option.workload
    if workload.quant == "stored":
        return "its stored format"
    if workload.runtime == "llama.cpp":  # a mixture names what all of its tensors are
        from gpufit.memory.serving import as_served

        return as_served(workload).weights
    return workload.dtype if workload.quant == "none" else f"{workload.quant} (rest {workload.dtype})"


def _sentence(check: Check, screen: Screen) -> list[str]:
    sign, plain, style = SIGN[check.verdict]
    cards = check.device.count
    budget = (f"{cards} × " if cards > 1 else "") + format_gib(check.asked.budget_bytes)
    process, load = check.asked.process, check.asked.load_peak
    loading = load.likely_bytes > process.likely_bytes
    need = load if loading else process
    each = f" on the fullest of {cards}" if check.share.fullest else " on each" if cards > 1 else ""
    what = f"{check.subject.name} in {describe(check.asked)}"
    doing = "to load" if loading else "at its peak"
    needs = f"it needs about {format_gib(need.likely_bytes)}{each} {doing}"
    if check.estimate.unknown:
        least = f"it needs at least {format_gib(need.low_bytes)}{each} {doing}"
        unknown = " and ".join(name.replace("kv_cache", "KV cache") for name in check.estimate.unknown)
        told = (
            f"{what} does not fit in {budget}"
            if check.verdict == "no"
            else f"cannot tell whether {what} fits in {budget}"
        )
        text = f"{told}: {least}, without its {unknown}, which nothing here can say."
    elif check.verdict == "fits":
        text = f"{what} fits in {budget}: {needs}, at most {format_gib(need.high_bytes)}."
    elif check.verdict == "tight":
        text = f"{what} is tight in {budget}: {needs}, and up to {format_gib(need.high_bytes)} if things go badly."
    else:
        text = f"{what} does not fit in {budget}: {needs}."
    first, *rest = wrap(f"{sign if screen.glyphs else plain} {text}", screen.width, "  ")
    return [screen.paint(first, style, "bold"), *(screen.paint(line, style, "bold") for line in rest)]


def _facts(check: Check, screen: Screen) -> list[str]:
    architecture, budget = check.subject.architecture, check.budget
    model = [check.subject.hub_id or check.subject.origin, f"{format_count(architecture.parameters)} parameters"]
    model += [architecture.model_type, architecture.task]
    total = f" of {format_gib(budget.total_bytes)} total" if budget.total_bytes is not None else ""
    facts = [
        ("model", ", ".join(model)),
        (
            "assumed",
            f"{_work(check)}, {_setting(check)}",
        ),
        ("device", describe_device(check.device)),
        (
            "budget",
            f"{format_gib(budget.budget_bytes)} = free {format_gib(budget.free_bytes)}{total} "
            f"- reserve {format_gib(budget.reserve_bytes)}; {budget.known_by}",
        ),
    ]
    facts.append(("weights", "alone: " + ", ".join(f"{name} {format_gib(size)}" for name, size in check.formats)))
    lines = []
    for label, text in facts:
        first, *rest = wrap(f"{label:<9}{text}", screen.width, " " * 9)
        lines += [screen.paint(first[:9], "dim") + first[9:], *rest]
    return lines


def _setting(check: Check) -> str:
    """Sequences at once, precision, the cache of a model that keeps one, attention and runtime."""
    w, precision, caches = check.workload, describe(check.asked), bool(check.subject.architecture.cache)
    if w.runtime == "transformers":
        cache = f"cache {w.kv_dtype or w.dtype}, " if caches else ""
        return f"batch {w.batch:,}, {precision}, {cache}{w.attention} attention, {w.runtime}"
    from gpufit.render.runtime_text import describe_served

    return describe_served(w, precision, caches=caches)


def _work(check: Check) -> str:
    """What one sequence is: tokens, with the pictures among them, or one picture."""
    w, vision = check.workload, check.subject.architecture.stack("vision")
    if vision is not None and check.subject.architecture.task == "vision" and not w.new_tokens:
        text = f" and {w.prompt_tokens:,} tokens" if check.subject.architecture.stack("text") else ""
        return f"one picture of {vision.positions:,} positions{text}"
    tokens = f"context {w.context_tokens:,} (prompt {w.prompt_tokens:,} + new {w.new_tokens:,})"
    if check.subject.architecture.task != "vision-language" or w.runtime != "transformers":
        return tokens
    if not w.images or vision is None:
        return f"{tokens}, no picture"
    each = f"{w.images} picture" + ("s" if w.images > 1 else "")
    return f"{tokens}, {each} ({w.images * vision.picture_tokens:,} of the prompt's tokens)"


def _bars(check: Check, screen: Screen) -> list[str]:
    rows = [row for row in check.breakdown if row.range.high_bytes or not row.known]
    whole = max(check.share.process.likely_bytes, 1)
    cells = [
        (row.name, format_bytes(row.range.likely_bytes) if row.known else "unknown", doubt(row.range)) for row in rows
    ]
    lines = []
    for row, line in zip(rows, table(cells, right=[1]), strict=True):
        padded = line.ljust(max(len(other) for other in table(cells, right=[1])))
        bar = screen.bar(row.range.likely_bytes, whole, BAR_CELLS)
        lines.append(f"{padded}  {screen.paint(bar, ROW_STYLE[row.name])}".rstrip())
    return lines


def doubt(size: Range) -> str:
    """Both ends in words; nothing where there is no doubt."""
    if size.low_bytes == size.high_bytes:
        return ""
    return f"{format_bytes(size.low_bytes)} to {format_bytes(size.high_bytes)}"


_METERS = {"AMD": "what amd-smi shows", "Intel": "what xpu-smi shows", "Apple": "what Metal counts"}


def meter_of(vendor: str | None) -> str:
    """What shows a process's memory on this vendor's cards."""
    return _METERS.get(vendor or "", "what nvidia-smi shows")


def _totals(check: Check, screen: Screen) -> list[str]:
    share = check.share
    if check.estimate.unknown:
        least = (("process", share.process), ("load peak", share.load_peak))
        return table([(name, f"at least {format_gib(r.low_bytes)}") for name, r in least], right=[1])
    meters = {"process": meter_of(check.device.vendor)}
    if check.workload.runtime == "transformers":
        meters |= {"allocated": "torch max_memory_allocated", "reserved": "torch max_memory_reserved"}
    else:
        from gpufit.render.runtime_text import METERS

        meters |= METERS[check.workload.runtime]
    meters["load peak"] = "while the weights come in"
    totals = (
        ("allocated", share.allocated), ("reserved", share.reserved), ("process", share.process),
        ("load peak", share.load_peak),
    )  # fmt: skip
    cells = [(name, format_gib(r.likely_bytes), doubt(r), meters[name]) for name, r in totals if name in meters]
    if (host := check.estimate.host_load_peak) is not None:
        cells.append(("host load", format_gib(host.likely_bytes), doubt(host), "on the host meanwhile"))
    lines = table(cells, right=[1])
    return [screen.paint(line, "bold") if line.startswith("process") else line for line in lines]


def _cards(check: Check, screen: Screen) -> list[str]:
    """With several cards: what each holds. The rows and totals above are the fullest one's."""
    share = check.share
    if share.fullest is None:
        return []
    header = ("", "blocks", "weights", "kv_cache", "process", "load peak")
    rows = [
        (
            f"card {card.index}", str(card.blocks), format_gib(card.weights_bytes), format_gib(card.kv_cache_bytes),
            format_gib(card.process.likely_bytes), format_gib(card.load_peak.likely_bytes),
        )
        for card in share.cards
        if card.weights_bytes
    ]  # fmt: skip
    idle = len(share.cards) - len(rows)
    lines = table([header, *rows], right=[1, 2, 3, 4, 5])
    whole = f"All that stands above is card {share.fullest.index}'s, the fullest of {len(share.cards)}:"
    rest = [f"{idle} of the cards stay{'s' if idle == 1 else ''} empty"] if idle else []
    return [*wrap(whole, screen.width), screen.paint(lines[0], "dim"), *lines[1:], *rest, ""]


def _limits(check: Check, screen: Screen) -> list[str]:
    if check.largest_batch is None:
        return []
    parts = []
    longest = check.longest_context_tokens
    if longest is not None and check.subject.architecture.task != "vision":
        at_most = " (the model's maximum)" if longest == check.subject.architecture.max_context_tokens else ""
        parts.append(f"longest context that fits: {longest:,} tokens{at_most}" if longest else "no context fits")
    batch, most, one = check.largest_batch, "largest batch", "a batch of 1"
    if check.workload.runtime != "transformers":
        from gpufit.render.runtime_text import AT_ONCE

        one, more = AT_ONCE[check.workload.runtime]
        most, one = f"most {more}", f"one {one}"
    at_least = "at least " if batch == LARGEST_SEARCHED_BATCH else ""
    parts.append(f"{most}: {at_least}{batch:,}" if batch else f"not even {one} fits safely")
    return wrap("; ".join(parts), screen.width)


def _advice(check: Check, screen: Screen) -> list[str]:
    lines: list[str] = []
    if check.estimate.unknown:
        return lines
    if check.verdict == "no":
        if not check.alternatives:
            none = "No change that was tried makes it fit, nor two of them together: a smaller model is needed."
            return ["", *wrap(none, screen.width)]
        lines += ["", screen.paint("Smallest changes that make it fit, least loss first:", "bold")]
        lines += _changes(check.alternatives, screen)
    best = check.recommendation
    if best is not None and best.workload != check.workload:
        lines += ["", *wrap(_recommend(best), screen.width, "  ")]
        if check.recommended_plan is not None:
            lines.append(screen.paint(check.recommended_plan.command, "bold"))
    elif best is not None and check.verdict == "fits":
        lines += ["", f"{describe(best)} is the best precision that fits; keep it."]
    return lines


def _changes(options: Sequence[Option], screen: Screen) -> list[str]:
    cells = [
        (option.change, format_gib(option.process.likely_bytes), option.verdict,
         f"leaves {format_bytes(option.headroom_bytes)} free" + (" on each" if option.device.count > 1 else ""))
        for option in options
    ]  # fmt: skip
    return change_lines(cells, screen)


def change_lines(cells: Sequence[tuple[str, str, str, str]], screen: Screen) -> list[str]:
    """What to change, what that takes, the verdict and what is won: a line a change, two where the screen is narrow."""
    lines = table(cells, right=[1], indent="  ")
    if screen.width is None or max(map(len, lines)) <= screen.width:
        return lines
    figures = table([cell[1:] for cell in cells], right=[0], indent="      ")
    changes = (wrap(f"  {change}", screen.width, "    ") for change, *_ in cells)
    return [line for change, figure in zip(changes, figures, strict=True) for line in (*change, figure)]


def _recommend(best: Option) -> str:
    return (
        f"Recommended: {describe(best)}, {format_gib(best.process.likely_bytes)} at its peak, "
        f"{best.verdict}, leaves {format_bytes(best.headroom_bytes)} free."
        + (" --code prints how to load it." if best.workload.runtime == "transformers" else "")
    )
