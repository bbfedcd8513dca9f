"""Where every number of an estimate comes from: the configuration keys behind each row, and what sums are made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gpufit.errors import GpufitError, Unsupported
from gpufit.facts.architecture import Architecture, CacheKind
from gpufit.facts.essence import Path, from_leaves, leaves, try_parse
from gpufit.facts.tensors import Role, TensorGroup
from gpufit.memory.breakdown import Row, RowName, break_down, phase_formula
from gpufit.memory.estimate import Estimate
from gpufit.memory.floor import estimate_known
from gpufit.memory.kv_cache import count_layers, entry_bytes
from gpufit.memory.weights import GroupBytes, weigh_groups
from gpufit.memory.workload import Workload
from gpufit.records import record, replace


@record
class Fact:
    """One value that the reader read, and the rows whose bytes change with it."""

    key: str
    value: str
    rows: tuple[RowName, ...]


@record
class RolePart:
    """Tensors of one role that are stored alike. ``why`` says why they are not quantized, where others are.

    A checkpoint counted as its files hold it has one role, ``stored``; ``parameters`` are then stored elements.
    """

    role: Role
    stored: str
    why: str
    tensors: int
    parameters: int  # 0 for buffers
    bytes: int


@record
class CachePart:
    """Layers that cache alike. ``token_bytes`` is one token of one sequence in all of them; bytes are the batch's."""

    kind: CacheKind
    layers: int
    token_bytes: int
    window_tokens: int | None
    state_bytes: int
    bytes: int


@record
class PhasePart:
    """One phase's widest moment, with its formula in words."""

    name: str
    moment: str
    bytes: int
    decisive: bool
    formula: str


@record
class Explanation:
    """One model and workload, taken apart. ``source`` is the file, with the line of a catalog entry, of the facts."""

    name: str
    origin: str
    source: str
    hub_id: str | None
    estimate: Estimate
    rows: tuple[Row, ...]
    facts: tuple[Fact, ...]
    roles: tuple[RolePart, ...]
    cache: tuple[CachePart, ...]
    phases: tuple[PhasePart, ...]
    notes: tuple[str, ...] = ()

    def keys_of(self, row: RowName) -> tuple[str, ...]:
        """The keys behind one row."""
        return tuple(fact.key for fact in self.facts if row in fact.rows)


def explain_estimate(
    architecture: Architecture, workload: Workload, config: Mapping[str, Any], *, name: str, origin: str, source: str,
    hub_id: str | None = None, notes: tuple[str, ...] = (),
) -> Explanation:  # fmt: skip
    """Take the estimate of ``workload`` apart. ``config`` is what ``architecture`` was read from.

    >>> from gpufit.facts.read import parse_config
    >>> llama = {"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
    ...          "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 32000}
    >>> found = explain_estimate(parse_config(llama), Workload(prompt_tokens=4095, new_tokens=1), llama,
    ...                          name="llama", origin="here", source="config.json")
    >>> found.keys_of("kv_cache")
    ('model_type', 'hidden_size', 'num_hidden_layers')
    """
    if workload.runtime != "transformers":
        raise Unsupported(
            f"explain follows tensors and cache as transformers holds them, not {workload.runtime}",
            hint=f"check --runtime {workload.runtime} --json has the formula and the source of every row",
        )
    whole = estimate_known(architecture, workload)
    return Explanation(
        name=name, origin=origin, source=source, hub_id=hub_id, estimate=whole, rows=break_down(whole),
        facts=tuple(_facts(architecture, workload, config)), roles=_roles(architecture, workload),
        cache=tuple(_cache(architecture, workload)), phases=tuple(_phases(whole)), notes=notes,
    )  # fmt: skip


def _facts(architecture: Architecture, workload: Workload, config: Mapping[str, Any]) -> Iterator[Fact]:
    """What was read, and what it moves: each value is changed, the model read again and the rows compared."""
    values = leaves(config)
    rows = {row.name: row.range for row in break_down(estimate_known(architecture, workload))}
    for key, value in architecture.provenance:
        path = tuple(key.split("."))
        if key == "model_type":  # it chooses the reader, and with it every formula
            yield Fact(key=key, value=value, rows=tuple(rows))
            continue
        moved: set[str] = set()
        for other in _neighbours(values, path):
            changed = try_parse(from_leaves(other))
            if changed is not None:
                moved |= _moved(rows, replace(changed, task=architecture.task, stored=architecture.stored), workload)
        yield Fact(key=key, value=value, rows=tuple(name for name in rows if name in moved))


def _moved(rows: Mapping[RowName, object], changed: Architecture, workload: Workload) -> set[str]:
    try:
        return {row.name for row in break_down(estimate_known(changed, workload)) if rows[row.name] != row.range}
    except GpufitError:
        return set()


def _neighbours(values: Mapping[Path, Any], path: Path) -> Iterator[dict[Path, Any]]:
    """The configuration with one value changed a little, and without it."""
    if path not in values:
        return
    for other in _other_values(values[path]):
        yield {**values, path: other}
    yield {key: value for key, value in values.items() if key != path}


def _other_values(value: Any) -> tuple[Any, ...]:
    if isinstance(value, bool):
        return (not value,)
    if isinstance(value, int):
        return (2 * value, value // 2, value + 1)
    if isinstance(value, float):
        return (2 * value, value / 2)
    if isinstance(value, list) and len(set(map(str, value))) > 1:
        return ([value[0]] * len(value), [value[-1]] * len(value))
    return ()


def _roles(architecture: Architecture, workload: Workload) -> tuple[RolePart, ...]:
    """Parts in the order in which the roles appear in the model."""
    sums: dict[tuple[Role, str, str], list[int]] = {}
    if workload.quant == "stored" and architecture.stored is not None:
        for tensor in architecture.stored.tensors:
            total = sums.setdefault(("stored", tensor.dtype, ""), [0, 0, 0])
            total[0] += 1
            total[1] += tensor.elements
            total[2] += tensor.size_bytes
    for found in weigh_groups(architecture, workload.dtype, workload.quant):
        if found.group.role == "stored":
            continue  # counted above, tensor by tensor
        for stored, why, copies, size in _parts(found, architecture, workload):
            total = sums.setdefault((found.group.role, stored, why), [0, 0, 0])
            total[0] += copies
            total[1] += copies * found.group.elements if found.group.module != "buffer" else 0
            total[2] += size
    for group in architecture.tensors.groups:
        if group.tied_to and workload.quant != "stored":
            total = sums.setdefault((group.role, "-", f"shares {group.tied_to}"), [0, 0, 0])
            total[0] += group.copies
    order = {
        role: index for index, role in enumerate(dict.fromkeys(group.role for group in architecture.tensors.groups))
    }
    return tuple(
        RolePart(role=role, stored=stored, why=why, tensors=count, parameters=parameters, bytes=size)
        for (role, stored, why), (count, parameters, size) in sorted(
            sums.items(), key=lambda item: (order.get(item[0][0], len(order)), -item[1][2])
        )
    )


def _parts(
    found: GroupBytes, architecture: Architecture, workload: Workload
) -> Iterator[tuple[str, str, int, int]]:  # stored, why, copies, bytes
    group = found.group
    if found.quantized_copies:
        yield workload.quant, "", found.quantized_copies, found.quantized_bytes
    copies = group.copies - found.quantized_copies
    if not copies:
        return
    if group.module == "buffer":
        yield group.dtype or workload.dtype, "buffer, made on the device", copies, found.kept_bytes
    elif found.stays_fp32:
        yield "fp32", "the model's class keeps it in fp32", copies, found.kept_bytes
    else:
        why = _why_kept(group, architecture, workload) if workload.quant != "none" else ""
        yield group.dtype or workload.dtype, why, copies, found.kept_bytes


_NO_MATRIX = {
    "embedding": "an embedding, not a linear layer", "norm": "a norm, not a linear layer",
    "sines": "a table of sines, not a linear layer",
    "conv": "a convolution, not a linear layer", "parameter": "a bare parameter, not a linear layer",
}  # fmt: skip


def _why_kept(group: TensorGroup, architecture: Architecture, workload: Workload) -> str:
    """Why the loader leaves a tensor in 16 bits; the rules themselves are those of ``gpufit.memory.weights``."""
    if group.module in _NO_MATRIX:
        return _NO_MATRIX[group.module]
    if len(group.shape) < (3 if group.module == "experts" else 2):
        return "a bias"
    if workload.quant.startswith("bnb") and group.module == "experts":
        return "fused experts, which bitsandbytes does not convert"
    if workload.quant == "mxfp4":
        return "mxfp4 holds fused experts alone"
    if group.name == architecture.tensors.output:
        return "the output matrix, which loaders leave alone"
    if group.role in ("router", "vision", "audio"):
        return f"{'a router' if group.role == 'router' else f'the {group.role} tower'}, which the loader skips"
    if not group.in_blocks:
        return "outside the repeated blocks"
    return "named by the loader's rules as not to be converted"


def _cache(architecture: Architecture, workload: Workload) -> Iterator[CachePart]:
    for layers in architecture.cache:
        shared = layers.kind == "shared"
        state = 0 if shared else count_layers(replace(layers, kv_heads=0, index_dim=0), architecture, workload)
        yield CachePart(
            kind=layers.kind, layers=layers.layers,
            token_bytes=entry_bytes(layers, workload) // layers.tokens_per_entry if not shared else 0,
            window_tokens=layers.window_tokens, state_bytes=workload.batch * state,
            bytes=workload.batch * count_layers(layers, architecture, workload),
        )  # fmt: skip


def _phases(whole: Estimate) -> Iterator[PhasePart]:
    for phase in whole.phases if "activations" not in whole.unknown else ():
        yield PhasePart(
            name=phase.name, moment=phase.moment, bytes=phase.activation_bytes, decisive=phase is whole.phase,
            formula=phase_formula(whole, phase),
        )  # fmt: skip
