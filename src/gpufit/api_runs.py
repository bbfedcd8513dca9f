"""The front door's second wing: what runs on a device. Like ``gpufit.api`` it wires rooms and holds no logic."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpufit.api import Size, config_reader, find_device, load_catalog, parse_reserve
from gpufit.devices.contexts import keep_context
from gpufit.devices.device import Device, DriverContext
from gpufit.devices.visible import alone
from gpufit.errors import UsageError
from gpufit.records import replace
from gpufit.sources.data_files import user_data_dir
from gpufit.units import format_bytes, parse_size
from gpufit.verdict.check import Subject, check_fit
from gpufit.verdict.plan import Request, plan_workload
from gpufit.verdict.training_plan import TrainingRequest, plan_training

if TYPE_CHECKING:
    from gpufit.facts.architecture import Architecture
    from gpufit.measure.front import Measured
    from gpufit.measure.job import Work
    from gpufit.measure.readings import Measurement
    from gpufit.measure.stress import StressReport
    from gpufit.memory.training.plan import TrainingPlan
    from gpufit.memory.workload import Workload
    from gpufit.replay.allocator_options import AllocatorOptions
    from gpufit.replay.record import Replay
    from gpufit.replay.training_step import TrainingSetup


def replay(
    model: str | Mapping[str, Any],
    workload: Workload | None = None,
    *,
    request: Request | None = None,
    gpu: str | None = None,
    training: TrainingSetup | None = None,
    options: AllocatorOptions | None = None,
    catalog: str | Path | None = None,
    revision: str | None = None,
    environ: Mapping[str, str] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Replay:
    """Run the real modelling code of ``model`` on tensors without data and follow its memory.

    ``model`` is what ``check`` takes, or the dictionary of a config.json. The work is ``workload``, or ``request``
    with check's defaults. ``gpu`` chooses the kernels of that card's generation. Needs torch and transformers.
    """
    import dataclasses

    from gpufit.facts.read import parse_config
    from gpufit.replay.front import replay_config

    environment = os.environ if environ is None else environ
    if isinstance(model, str):
        from gpufit.sources.resolve import resolve_model

        found = resolve_model(
            model, catalog=load_catalog(catalog, environment), environ=environment, progress=progress,
            revision=revision, read=config_reader(True, progress),  # a replay needs transformers anyway
        )  # fmt: skip
        if found.config is None:
            raise UsageError(f"{model} has no configuration to run", hint="a .gguf carries no modelling code")
        name, raw, architecture = found.name, found.config, found.architecture
    else:
        name, raw, architecture = str(model.get("model_type", "")), model, None
    if training is not None:
        from gpufit.facts.task_head import with_task_head

        architecture = with_task_head(parse_config(raw) if architecture is None else architecture, raw)
        raw = {**raw, "architectures": [architecture.model_class]}
    notes: tuple[str, ...] = ()
    if workload is None:
        device = find_device(vram=None, gpu=gpu, environ=environment) if gpu else None
        architecture = parse_config(raw) if architecture is None else architecture
        workload, notes = plan_workload(architecture, device, request or Request())
    result = replay_config(raw, workload, name=name, training=training, options=options, progress=progress)
    return dataclasses.replace(result, notes=(*notes, *result.notes))


def measure(
    model: str,
    *,
    request: Request | None = None,
    device: str | None = None,
    random_weights: bool = False,
    training: TrainingRequest | None = None,
    limit: Size | None = None,
    limit_seconds: float = 1800.0,
    record: bool = True,
    reserve: Size = 0,
    catalog: str | Path | None = None,
    environ: Mapping[str, str] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Measured:
    """Run ``model`` for real, in a child process, and hold what it took against the estimate.

    ``device`` is ``"cpu"``, a card's index or UUID, or None for the freest card. Weights are read from local files
    (a folder, or what lies in the Hub's cache), or made up with ``random_weights``; nothing is downloaded. With no
    dtype and no quantization asked for, a model that does not fit a card as it is runs in the recommended
    configuration. With ``training`` steps of it are run as asked instead. ``limit`` makes the device smaller than it
    is. Out of memory is a result, not an error.

    Raises UsageError where libraries, weights or host memory are missing, NoDevice where there is no card.
    """
    from gpufit.facts.task_head import with_task_head
    from gpufit.measure.front import measure_work, require_libraries
    from gpufit.measure.host import available_bytes
    from gpufit.sources.resolve import resolve_model

    environment = os.environ if environ is None else environ
    require_libraries()
    found = resolve_model(model, catalog=load_catalog(catalog, environment), environ=environment, progress=progress)
    if found.config is None:
        raise UsageError(f"{model} has no configuration to run", hint="a .gguf carries no modelling code")
    checkpoint = None if random_weights else _local_weights(model, found.hub_id)
    card = None if device == "cpu" else _choose(device, environment)
    reserve_bytes = parse_reserve(reserve)
    subject = Subject(name=found.name, origin=found.origin, architecture=found.architecture, hub_id=found.hub_id)
    config: Mapping[str, Any] = found.config
    work: Work
    if training is None:
        work, notes = _plan_inference(subject, card, request or Request(), reserve_bytes)
    else:
        bare = found.architecture
        subject = replace(subject, architecture=with_task_head(bare, config))
        config = {**config, "architectures": [subject.architecture.model_class]}
        work, notes = _plan_steps(subject.architecture, card, training)
        notes = (*subject.architecture.notes[len(bare.notes) :], *notes)
    limit_bytes = parse_size(limit, what="--limit") if limit is not None else None
    result = measure_work(
        subject.architecture, config, work, name=found.name, device="cpu" if card is None else "cuda:0",
        visible=alone(card) if card else None, checkpoint=checkpoint, limit_bytes=limit_bytes,
        limit_seconds=limit_seconds, record_in=user_data_dir(environment) if record else None, progress=progress,
        notes=notes,
    )  # fmt: skip
    if record and card is not None:
        result = replace(result, notes=(*result.notes, *_keep_context(card, result.measurement, environment)))
    if result.measurement.outcome != "out_of_memory":
        return result
    room = card or Device(name="this machine", source="given", free_bytes=available_bytes())
    if limit_bytes is not None:
        room = replace(room, total_bytes=limit_bytes, free_bytes=limit_bytes)
    return replace(result, changes=_changes(subject, work, room, reserve_bytes))


def _plan_steps(
    architecture: Architecture, card: Device | None, asked: TrainingRequest
) -> tuple[TrainingPlan, tuple[str, ...]]:
    """The training plan as asked; on the processor with plain attention, whose tensors are those of a card."""
    said: tuple[str, ...] = ()
    if card is None and asked.attention is None:
        asked = replace(asked, attention="eager")
        said = ("eager attention, since the processor's fused kernels keep other tensors than a card's",)
    if card is None and (asked.precision or "").startswith("amp-"):
        said = (*said, "autocast on the processor makes layer norms in 16 bits, on a card in fp32")
    plan, notes = plan_training(architecture, card, asked)
    return plan, (*notes, *said)


def _plan_inference(
    subject: Subject, card: Device | None, asked: Request, reserve_bytes: int
) -> tuple[Workload, tuple[str, ...]]:
    """The workload as asked, or as recommended where it names no precision and would not fit."""
    workload, notes = plan_workload(subject.architecture, card, asked)
    if card is None or asked.dtype is not None or asked.quant is not None:
        return workload, notes
    judged = check_fit(subject, workload, card, reserve_bytes=reserve_bytes)
    if judged.verdict != "no" or judged.recommendation is None:
        return workload, notes
    said = f"as asked it would not fit: run as recommended, {judged.recommendation.change}"
    return judged.recommendation.workload, (*notes, said)


def _changes(subject: Subject, work: Work, device: Device, reserve_bytes: int) -> tuple[str, ...]:
    """What ``check`` would offer for the same work on the same device."""
    from gpufit.memory.workload import Workload
    from gpufit.verdict.training import check_training

    if device.free_bytes is None:
        return ()
    judged = (
        check_fit(subject, work, device, reserve_bytes=reserve_bytes)
        if isinstance(work, Workload)
        else check_training(subject, work, device, reserve_bytes=reserve_bytes)
    )
    return tuple(f"{o.change}: {format_bytes(o.process.likely_bytes)}" for o in judged.alternatives)


def stress(
    seconds: float,
    *,
    device: str | None = None,
    reserve: Size = 0,
    limit: Size | None = None,
    environ: Mapping[str, str] | None = None,
) -> StressReport:
    """Compute for ``seconds`` in most of the free memory, checking results. ``limit`` bounds what is held.

    Raises UsageError where ``limit`` is more than the free memory less the reserve.
    """
    from gpufit.measure.front import require_libraries
    from gpufit.measure.host import available_bytes
    from gpufit.measure.stress import run_stress

    environment = os.environ if environ is None else environ
    require_libraries()
    card = None if device == "cpu" else _choose(device, environment)
    free = available_bytes() if card is None else card.free_bytes
    return run_stress(
        "cpu" if card is None else "cuda:0", seconds=seconds, free_bytes=free, reserve_bytes=parse_reserve(reserve),
        hold_bytes=parse_size(limit, what="--limit") if limit is not None else None,
        visible=alone(card) if card else None, uuid=card.uuid if card else None,
    )  # fmt: skip


def _local_weights(model: str, hub_id: str | None) -> str:
    path = Path(os.path.expanduser(model))
    if os.path.lexists(path):
        return str(path if path.is_dir() else path.parent)
    return hub_id or model


def _choose(device: str | None, environ: Mapping[str, str]) -> Device:
    """The card that the user named by index or UUID, else the freest."""
    from gpufit.devices.probe import choose_device, probe_devices

    result = probe_devices(environ)
    if device is None:
        return _runnable(choose_device(result.devices, result.findings))
    named = device.removeprefix("cuda:")
    for card in result.devices:
        if named == str(card.index) or (card.uuid and card.uuid.lower() == named.lower()):
            return _runnable(card)
    raise UsageError(
        f"no device {device[:80]!r} is visible here", hint="--device cpu, or an index or UUID that gpufit gpus shows"
    )


def _runnable(card: Device) -> Device:
    """The card, where torch reaches it as CUDA (AMD's through ROCm)."""
    if card.vendor not in ("NVIDIA", "AMD", None):
        raise UsageError(f"measuring runs on cards of NVIDIA and AMD, not on {card.name}", hint="use --device cpu")
    return card


def _keep_context(card: Device, found: Measurement, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Put the driver's part into the local record, for ``check``; a sentence that says so."""
    first, most = found.context_bytes, found.most_context_bytes
    if not first or not most:
        return ()
    seen = DriverContext(
        first_bytes=first, most_bytes=most, measured_on=date.today().isoformat(),
        torch=(found.versions or {}).get("torch", ""), by_difference=found.context_by_difference,
    )  # fmt: skip
    kept = keep_context(card, seen, environ)
    if kept is None:
        return (f"a driver context of {format_bytes(most)} is not kept: this cannot be the driver's part alone",)
    return (f"check takes {format_bytes(kept.most_bytes)} for the driver's context on this device from now on",)
