"""One training check for a person: the verdict, what was assumed, the phases, where the bytes are, what would help."""

from __future__ import annotations

from gpufit.memory.training.plan import TrainingPlan
from gpufit.render.check_text import BAR_CELLS, ROW_STYLE, SIGN, change_lines, doubt, meter_of
from gpufit.render.text import Screen, describe_device, table, wrap
from gpufit.render.training_json import ranks_of
from gpufit.units import format_bytes, format_count, format_gib
from gpufit.verdict.training import TrainingCheck
from gpufit.verdict.training_advise import LARGEST_SEARCHED_MICRO_BATCH

_METHODS = {"full": "Full tuning", "lora": "LoRA", "qlora": "QLoRA"}
_CHECKPOINTING = {
    "none": "no activation checkpointing", "full": "activation checkpointing",
    "selective": "selective activation checkpointing",
}  # fmt: skip
_LOSS = {"full": "a loss over whole logits", "chunked": "a loss in chunks", "fused": "a fused loss"}


def render_training(check: TrainingCheck, screen: Screen) -> list[str]:
    """The whole answer as lines of text."""
    lines = [*_sentence(check, screen), "", *_facts(check, screen), "", *_phases(check, screen), ""]
    lines += [*_bars(check, screen), "", *_totals(check, screen), "", *_limits(check, screen)]
    if check.plan.gpus > 1:
        lines += ["", *_ranks(check, screen)]
    lines += _advice(check, screen)
    for note in check.notes:
        lines += wrap(f"note: {note}", screen.width, "      ")
    return lines


def _sentence(check: TrainingCheck, screen: Screen) -> list[str]:
    sign, plain, style = SIGN[check.verdict]
    budget, process, load = format_gib(check.asked.budget_bytes), check.asked.process, check.asked.load_peak
    loading = load.likely_bytes > process.likely_bytes
    need, doing = (load, "to load") if loading else (process, f"at its peak, in the {_phase(check)}")
    each = f" on each of {check.plan.gpus}" if check.plan.gpus > 1 else ""
    what = f"{_METHODS[check.plan.method]} of {check.subject.name}"
    needs = f"it needs about {format_gib(need.likely_bytes)}{each} {doing}"
    if check.verdict == "fits":
        text = f"{what} fits in {budget}: {needs}, at most {format_gib(need.high_bytes)}."
    elif check.verdict == "tight":
        text = f"{what} is tight in {budget}: {needs}, and up to {format_gib(need.high_bytes)} if things go badly."
    else:
        text = f"{what} does not fit in {budget}: {needs}."
    first, *rest = wrap(f"{sign if screen.glyphs else plain} {text}", screen.width, "  ")
    return [screen.paint(first, style, "bold"), *(screen.paint(line, style, "bold") for line in rest)]


def _phase(check: TrainingCheck) -> str:
    return {"forward": "forward pass", "backward": "backward pass", "step": "optimizer step"}[check.estimate.phase.name]


def _facts(check: TrainingCheck, screen: Screen) -> list[str]:
    architecture, plan, budget = check.subject.architecture, check.plan, check.budget
    model = [check.subject.hub_id or check.subject.origin, f"{format_count(architecture.parameters)} parameters"]
    model += [architecture.model_type, architecture.task]
    total = f" of {format_gib(budget.total_bytes)} total" if budget.total_bytes is not None else ""
    facts = [
        ("model", ", ".join(model)),
        (
            "assumed",
            f"micro-batch {plan.micro_batch} × {plan.seq:,} tokens, an optimizer step {_after(plan.grad_accum)}, "
            f"{_precision(plan)}, {plan.optimizer}, {_CHECKPOINTING[plan.checkpointing]}, "
            f"{plan.attention} attention, {_LOSS[plan.loss]}" + (", packed sequences" if plan.packing else ""),
        ),
        ("trains", _trains(check)),
        ("device", describe_device(check.device) + (f", {plan.sharding}" if plan.gpus > 1 else "")),
        (
            "budget",
            f"{format_gib(budget.budget_bytes)} = free {format_gib(budget.free_bytes)}{total} "
            f"- reserve {format_gib(budget.reserve_bytes)}; {budget.known_by}",
        ),
    ]
    lines = []
    for label, text in facts:
        first, *rest = wrap(f"{label:<9}{text}", screen.width, " " * 9)
        lines += [screen.paint(first[:9], "dim") + first[9:], *rest]
    return lines


def _after(count: int) -> str:
    return "after each" if count == 1 else f"after every {count:,}"


def _precision(plan: TrainingPlan) -> str:
    """The arithmetic, and the weights' own format where that is another."""
    return plan.precision + (f" over {plan.base_dtype} weights" if plan.base_dtype != plan.precision else "")


def _trains(check: TrainingCheck) -> str:
    plan, held = check.plan, check.estimate.residents
    if not plan.trains_adapters:
        return f"all {held.trained_parameters:,} parameters"
    dtype, kind = plan.adapter_dtype or "fp32", "DoRA" if plan.dora else "LoRA"
    parts = [f"{held.trained_parameters:,} parameters in {dtype}: {kind} adapters of rank {plan.lora_r} on"]
    parts.append(", ".join(plan.targets_for(check.subject.architecture.model_type)))
    if plan.modules_to_save:
        parts.append(f"and {', '.join(plan.modules_to_save)} whole")
    frozen = f"frozen {plan.quant} weights" if plan.quant != "none" else f"frozen {plan.base_dtype} weights"
    return " ".join(parts) + f", beside {frozen}" + (" prepared for k-bit training" if plan.kbit_prepare else "")


def _phases(check: TrainingCheck, screen: Screen) -> list[str]:
    """What is allocated at the widest moment of each part of a step; the very first one has no optimizer states yet."""
    e = check.estimate
    rows = [
        (
            phase.name, format_gib(e.phase_bytes(phase.name)), format_bytes(phase.temporaries_bytes),
            format_bytes(phase.gradients_bytes), phase.moment,
        )
        for phase in e.phases
    ]  # fmt: skip
    header, *lines = table([("phase", "allocated", "temporaries", "gradients", "widest at"), *rows], right=[1, 2, 3])
    first = format_gib(e.first_step_bytes + e.workspace.likely_bytes)
    return [
        screen.paint(header, "dim"),
        *(screen.paint(line, "bold") if line.startswith(e.phase.name) else line for line in lines),
        *wrap(f"The first step of all, before the optimizer has states, takes {first}.", screen.width),
    ]


def _bars(check: TrainingCheck, screen: Screen) -> list[str]:
    rows = [row for row in check.breakdown if row.range.high_bytes]
    whole = max(check.estimate.process.likely_bytes, 1)
    lines = table([(row.name, format_bytes(row.range.likely_bytes), doubt(row.range)) for row in rows], right=[1])
    width = max(map(len, lines))
    bars = (screen.bar(row.range.likely_bytes, whole, BAR_CELLS) for row in rows)
    styles = (ROW_STYLE[row.name] for row in rows)
    drawn = zip(lines, bars, styles, strict=True)
    return [f"{line.ljust(width)}  {screen.paint(bar, style)}".rstrip() for line, bar, style in drawn]


def _totals(check: TrainingCheck, screen: Screen) -> list[str]:
    e = check.estimate
    totals = [
        ("allocated", e.allocated, "torch max_memory_allocated"),
        ("reserved", e.reserved, "torch max_memory_reserved"),
        ("process", e.process, meter_of(check.device.vendor) if e.plan.gpus < 2 else "on the GPU that needs most"),
        ("load peak", check.asked.load_peak, "while the weights come in"),
    ]
    cells = [(name, format_gib(r.likely_bytes), doubt(r), meaning) for name, r, meaning in totals]
    lines = table(cells, right=[1])
    if e.host_bytes:
        lines.append(f"host       {format_gib(e.host_bytes)} of host memory, for all GPUs together")
    if e.rank.paged_bytes:
        lines.append(f"paged      {format_gib(e.rank.paged_bytes)} moves to the host when the card is full")
    return [screen.paint(line, "bold") if line.startswith("process") else line for line in lines]


def _limits(check: TrainingCheck, screen: Screen) -> list[str]:
    batch, seq = check.largest_micro_batch, check.longest_seq_tokens
    at_least = "at least " if batch == LARGEST_SEARCHED_MICRO_BATCH else ""
    at_most = " (the model's maximum)" if seq == check.subject.architecture.max_context_tokens else ""
    together = check.plan.micro_batch
    sequences = f"sequences of {together:,} at a time" if together > 1 else "sequence"
    parts = [
        f"largest micro-batch that fits: {at_least}{batch:,}" if batch else "not even a micro-batch of 1 fits safely",
        f"longest {sequences}: {seq:,} tokens{at_most}" if seq else "no sequence fits, however short",
    ]
    return wrap("; ".join(parts), screen.width)


def _ranks(check: TrainingCheck, screen: Screen) -> list[str]:
    """One line a GPU; ranks that are alike are told once."""
    ranks = ranks_of(check)
    head = ("GPU", "layers", "weights", "gradients", "optimizer", "gathered", "host")
    alike = not check.estimate.stages
    rows = [head]
    for index, (rank, layers) in enumerate(ranks[:1] if alike else ranks):
        rows.append(
            (
                f"0 to {len(ranks) - 1}" if alike else str(index), str(layers),
                format_bytes(rank.weights_bytes + rank.adapters_bytes), format_bytes(rank.gradients_bytes),
                format_bytes(rank.states_bytes),
                format_bytes(rank.gathered_bytes + rank.block_bytes + rank.buckets_bytes),
                format_bytes(rank.host_bytes),
            )
        )  # fmt: skip
    lines = table(rows, right=range(1, len(head)))
    return [screen.paint(lines[0], "bold"), *lines[1:]]


def _advice(check: TrainingCheck, screen: Screen) -> list[str]:
    if check.verdict != "no":
        return ["", "--code prints the Trainer program."]
    if not check.alternatives:
        return ["", "Nothing that was tried makes it fit: a smaller model or more cards are needed."]
    lines = ["", screen.paint("Smallest changes that make it fit, least cost first:", "bold")]
    cells = [
        (option.change, format_gib(option.process.likely_bytes), option.verdict,
         f"{format_bytes(option.saved_bytes)} less" if option.saved_bytes > 0 else "")
        for option in check.alternatives
    ]  # fmt: skip
    lines += change_lines(cells, screen)
    return [*lines, *wrap("--code prints the Trainer program of the first.", screen.width)]
