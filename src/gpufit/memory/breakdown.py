"""The rows: built once, here, from one Estimate. Tables, JSON, explain and charts only render them."""

from __future__ import annotations

from typing import Literal

from gpufit.facts.architecture import CacheLayers
from gpufit.facts.dtypes import DTYPE_BYTES
from gpufit.memory.activations import Phase, explain_phase
from gpufit.memory.estimate import Estimate, as_computed
from gpufit.memory.legacy import explain_older
from gpufit.memory.ranges import Range
from gpufit.memory.split import CardShare
from gpufit.records import record, replace

RowName = Literal[
    "weights", "kv_cache", "activations", "gradients", "optimizer_states", "runtime", "slack"
]  # fmt: skip


@record
class Row:
    """One line of the breakdown. The rows' bytes sum to the process total, each end of the range to its own."""

    name: RowName
    range: Range
    formula: str
    source: str
    known: bool = True  # False: counted as nothing, since nobody has said what it is


def break_down(estimate: Estimate, card: CardShare | None = None) -> tuple[Row, ...]:
    """Every part of the process total with its formula, the numbers put in; of several cards, the parts of ``card``.

    >>> from gpufit.facts.read import parse_config
    >>> from gpufit.memory.estimate import estimate
    >>> from gpufit.memory.workload import Workload
    >>> llama = parse_config({"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
    ...                       "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 32000})
    >>> break_down(estimate(llama, Workload(prompt_tokens=4095, new_tokens=1)))[0].formula
    '6,738,415,616 parameters × 2 B (fp16)'
    """
    e = estimate
    if e.workload.runtime != "transformers":
        from gpufit.memory.serving import break_down_served

        return break_down_served(e)
    rows = _rows(e)
    if card is not None:
        rows = tuple(_on_card(row, card, e) for row in rows)
    return tuple(_unknown_row(row, e) if row.name in e.unknown else row for row in rows) if e.unknown else rows


def _unknown_row(row: Row, e: Estimate) -> Row:
    """A row that nobody has a rule for; what is shown of it is a lower bound of nothing."""
    family = e.architecture.model_type
    return Row(
        name=row.name, range=row.range, formula=f"unknown: gpufit has no rule for {family}; counted as nothing",
        source="a lower bound", known=False,
    )  # fmt: skip


def _rows(e: Estimate) -> tuple[Row, ...]:
    beside = e.weights.buffer_bytes + e.weights.padding_bytes
    return (
        Row(
            name="weights", range=Range.exact(e.weights.total_bytes), formula=_weights_formula(e),
            source="the model's tensors, one by one, tied ones once",
        ),
        Row(
            name="kv_cache", range=Range.exact(e.kv_cache_bytes), formula=_cache_formula(e),
            source="transformers 5.23.0, cache_utils.py",
        ),
        Row(
            name="activations", range=e.activations,
            formula="" if "activations" in e.unknown else phase_formula(e, e.phase),
            source=f"peak of temporaries in {e.phase.name}: {e.phase.moment}",
        ),
        Row(
            name="runtime",
            range=sum((x.bytes for x in e.extras), e.context.bytes + e.workspace.bytes + Range.exact(beside)),
            formula=(
                f"driver context {e.context.bytes.likely_bytes:,} + cuBLAS workspace "
                f"{e.workspace.bytes.likely_bytes:,} + buffers {e.weights.buffer_bytes:,} + "
                f"512-byte rounding {e.weights.padding_bytes:,}"
                + "".join(f" + {extra.name} {extra.bytes.likely_bytes:,}" for extra in e.extras)
            ),
            source=e.context.source,
        ),
        Row(
            name="slack", range=e.slack, formula="what the caching allocator holds beyond what is allocated",
            source="PyTorch's allocation segments and the cache's growth",
        ),
    )  # fmt: skip


def _on_card(row: Row, card: CardShare, e: Estimate) -> Row:
    """A row of the whole model as that of one card."""
    blocks = sum(stack.layers for stack in e.architecture.stacks)
    where = f"on card {card.index}, which has {card.blocks} of {blocks} blocks"
    if row.name in ("weights", "kv_cache"):
        own = Range.exact(card.weights_bytes if row.name == "weights" else card.kv_cache_bytes)
        formula = f"{own.likely_bytes:,} {where}, of {row.range.likely_bytes:,} = {row.formula}"
        return replace(row, range=own, formula=formula)
    if row.name == "runtime":
        parts = f"driver context {card.context.likely_bytes:,} + {card.beside.likely_bytes:,} for cuBLAS, buffers and "
        return replace(row, range=card.runtime, formula=f"{parts}rounding {where}")
    return replace(row, range=card.activations if row.name == "activations" else card.slack)


def phase_formula(e: Estimate, phase: Phase) -> str:
    """A phase's widest moment as a formula; a moment that only older library versions have is put into words."""
    return explain_older(phase) or explain_phase(e.architecture, as_computed(e.architecture, e.workload), phase)


def _weights_formula(e: Estimate) -> str:
    weights, dtype = e.weights, e.workload.dtype
    element_bytes = DTYPE_BYTES[dtype]
    if not weights.quantized_bytes and not weights.fp32_bytes:
        return f"{weights.kept_parameters:,} parameters × {element_bytes} B ({dtype})"
    if e.workload.quant == "stored" and (stored := e.architecture.stored):
        formats = " + ".join(f"{size:,} in {name}" for name, size in stored.dtype_bytes.items())
        return f"{len(stored.tensors):,} tensors as the files hold them: {formats}"
    parts = []
    if weights.quantized_bytes:
        parts.append(f"{weights.quantized_parameters:,} in {e.workload.quant} = {weights.quantized_bytes:,}")
    fp32_parameters = weights.fp32_bytes // 4
    kept = weights.kept_parameters - fp32_parameters
    parts.append(f"{kept:,} × {element_bytes} B kept in {dtype}")
    if fp32_parameters:
        parts.append(f"{fp32_parameters:,} × 4 B kept in fp32")
    return " + ".join(parts)


def _cache_formula(e: Estimate) -> str:
    if not e.architecture.cache:
        return "none: an encoder keeps no cache"
    kinds = " + ".join(_layers_formula(layers) for layers in e.architecture.cache)
    dtype = e.workload.kv_dtype or e.workload.dtype
    w = e.workload
    lengths = (
        f"{w.prompt_tokens:,} source and {w.new_tokens:,} new tokens"
        if e.architecture.is_encoder_decoder
        else f"{w.context_tokens:,} tokens"
    )
    return f"batch {w.batch} × {lengths} × ({kinds}) in {dtype}"


def _layers_formula(layers: CacheLayers) -> str:
    if layers.kind == "shared":
        return f"{layers.layers} layers sharing another's cache"
    parts = []
    if layers.elements_per_token:
        window = f", window {layers.window_tokens:,}" if layers.window_tokens else ""
        parts.append(
            f"{layers.layers} {layers.kind} layers × {layers.kv_heads} KV heads × "
            f"({layers.key_dim} + {layers.value_dim}){window}"
        )
    for state in layers.state:
        shape = "×".join(map(str, state.shape))
        parts.append(f"{layers.layers} layers × {state.name} {shape}{' fp32' if state.dtype == 'fp32' else ''}")
    return " + ".join(parts)
