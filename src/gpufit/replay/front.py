"""A configuration or any module in, a :class:`Replay` out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gpufit.errors import Undecided, Unsupported, UsageError
from gpufit.facts.read import parse_config
from gpufit.memory.runtime import CUBLAS_WORKSPACE, runtime_fact
from gpufit.memory.workload import Workload
from gpufit.replay.allocator_options import AllocatorOptions
from gpufit.replay.closed_forms import closed_forms, training_forms
from gpufit.replay.libraries import imported_libraries, require_libraries
from gpufit.replay.record import PhaseReplay, Replay
from gpufit.replay.recording import Recording, find_peaks

if TYPE_CHECKING:
    import torch

    from gpufit.facts.architecture import Architecture
    from gpufit.replay.training_step import TrainingSetup

DEFAULT_CAPABILITY = (8, 0)
Progress = Callable[[str], None]
_SUMMED = (
    "under the tracker autograd sums gradients out of place: with tied embeddings or scans up to 4 % more than without"
)


def replay_config(
    raw: Mapping[str, Any],
    workload: Workload,
    *,
    name: str = "",
    training: TrainingSetup | None = None,
    options: AllocatorOptions | None = None,
    progress: Progress | None = None,
) -> Replay:
    """Run the installed transformers' own code for a config.json on tensors without data.

    With ``training`` the prompt is the training sequence. Raises UsageError where torch or transformers is missing,
    Undecided where transformers has no such model or its code asks for data.
    """
    say = progress or (lambda text: None)
    require_libraries()
    _refuse_what_is_not_replayed(workload, training)
    say("importing transformers")
    with imported_libraries():
        return _replay_config(raw, workload, name, training, options, say)


def _replay_config(
    raw: Mapping[str, Any],
    workload: Workload,
    name: str,
    training: TrainingSetup | None,
    options: AllocatorOptions | None,
    say: Progress,
) -> Replay:
    """Build, run, walk the allocator."""
    from gpufit.replay.build import build_model
    from gpufit.replay.run import record_inference, record_training

    say("building the model without weights")
    model = build_model(raw, dtype=workload.dtype, attention=workload.attention)
    notes = [_attention_note(model, workload)]
    if workload.quant != "none":
        from gpufit.replay.quantized import quantize_model

        quantize_model(model, workload.quant, workload.dtype)
    capability = workload.compute_capability or DEFAULT_CAPABILITY
    if training is not None:
        from gpufit.replay.training_step import settle_targets

        training, note = settle_targets(model, training)
        notes += [note, _SUMMED]
    say("running the modelling code")
    with _stops_named(type(model).__name__):
        if training is not None:
            recording = record_training(
                model, training, tokens=workload.prompt_tokens, batch=workload.batch, capability=capability
            )
        else:
            recording = record_inference(
                model, prompt=workload.prompt_tokens, new=workload.new_tokens, batch=workload.batch,
                capability=capability,
            )  # fmt: skip
            if any(phase.name == "decode" for phase in recording.phases):
                notes.append(
                    "decode is the last step, over a cache filled at once: reserved bytes of growing it are not shown"
                )
    say("walking the allocator")
    facts = _architecture(raw)
    forms = closed_forms(facts, workload) if training is None else training_forms(facts, workload, training)
    kind = f"training, {training.kind}" if training else "inference"
    return assemble(
        recording, model=name or type(model).__name__, work=kind, capability=capability, options=options, forms=forms,
        notes=tuple(filter(None, notes)), warm_up=True, workload=workload,
    )  # fmt: skip


def replay_module(
    module: torch.nn.Module,
    inputs: Mapping[str, Any] | tuple[Any, ...],
    *,
    backward: bool = False,
    capability: tuple[int, int] = DEFAULT_CAPABILITY,
    options: AllocatorOptions | None = None,
) -> Replay:
    """Peaks of a forward pass (with ``backward``, of the sum's gradient too) of any module on the meta device.

    The module and its inputs are moved to the meta device: a copy without data is made, the module stays as it is.

    >>> import pytest; torch = pytest.importorskip("torch")
    >>> replay = replay_module(torch.nn.Linear(256, 1024), (torch.zeros(8, 256),))
    >>> replay.resident_bytes, replay.peak.above_bytes
    (1052672, 40960)
    """
    import copy

    import torch

    from gpufit.replay.cuda_ops import cuda_behaviour
    from gpufit.replay.run import make_tracker, resident_tensors

    def to_meta(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value.detach().to("meta").requires_grad_(value.requires_grad)
        if isinstance(value, (tuple, list)):
            return type(value)(to_meta(item) for item in value)
        return {key: to_meta(item) for key, item in value.items()} if isinstance(value, Mapping) else value

    shell = copy.deepcopy(module).to("meta")
    tracker = make_tracker("meta", capability)
    tracker.register(resident_tensors(shell))
    given = to_meta(inputs)
    with cuda_behaviour(capability), torch.enable_grad() if backward else torch.no_grad(), tracker.watching(shell):
        with tracker.phase("forward"):
            tracker.see_all(given, "inputs")
            output = shell(**given) if isinstance(given, Mapping) else shell(*given)
        if backward:
            with tracker.phase("backward"):
                sum(tensor.sum() for tensor in _floats(output)).backward()
    return assemble(
        tracker.recording(), model=type(module).__name__, work="module", capability=capability, options=options
    )


def assemble(
    recording: Recording,
    *,
    model: str,
    work: str,
    capability: tuple[int, int],
    options: AllocatorOptions | None = None,
    forms: Mapping[str, int] | None = None,
    notes: tuple[str, ...] = (),
    warm_up: bool = False,
    workload: Workload | None = None,
) -> Replay:
    """Peaks, versions and closed forms around a recording."""
    from importlib.metadata import PackageNotFoundError, version

    import torch

    try:
        transformers_version = version("transformers")
    except PackageNotFoundError:
        transformers_version = ""
    workspace = runtime_fact(CUBLAS_WORKSPACE, capability).bytes.likely_bytes
    peaks = find_peaks(recording, options, workspace_bytes=workspace, warm_up=warm_up)
    return Replay(
        model=model, work=work, resident_bytes=recording.resident_bytes, workspace_bytes=workspace,
        phases=tuple(
            PhaseReplay(peak=peak, closed_form_bytes=(forms or {}).get(peak.phase)) for peak in peaks
        ),
        capability=capability, torch_version=torch.__version__, transformers_version=transformers_version,
        recording=recording, notes=notes, workload=workload,
    )  # fmt: skip


@contextmanager
def _stops_named(model_class: str) -> Iterator[None]:
    """Where the modelling code cannot run on shapes alone, say so and where; transformers' own chatter stays away."""
    import warnings

    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity(40)  # logging.ERROR
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as problem:
        raise Undecided(
            f"{model_class} cannot be replayed: {str(problem).splitlines()[0][:160]}",
            hint="its code needs values, or inputs that gpufit does not make; gpufit measure runs the real model",
        ) from problem
    finally:
        logging.set_verbosity(level)


def _architecture(raw: Mapping[str, Any]) -> Architecture | None:
    try:
        return parse_config(raw)
    except Undecided:
        return None


def _refuse_what_is_not_replayed(workload: Workload, training: TrainingSetup | None) -> None:
    if workload.runtime != "transformers":
        raise UsageError(f"{workload.runtime} is not replayed", hint="use --runtime transformers")
    if workload.quant not in ("none", "bnb-int8", "bnb-nf4", "bnb-nf4-dq", "bnb-fp4"):
        raise Unsupported(f"{workload.quant} layers are not replayed", hint="use a bnb quantization, or none")
    if workload.kv_dtype not in (None, workload.dtype):
        raise Unsupported(f"a cache in {workload.kv_dtype} is not replayed", hint="leave --kv-dtype out")
    if workload.quant != "none" and training is not None and training.kind == "full":
        raise UsageError("quantized weights cannot be trained", hint="use --train lora")


def _attention_note(model: Any, workload: Workload) -> str:
    used = getattr(model.config, "_attn_implementation", None)
    if workload.attention != "eager" and used == "eager":
        return "this family has no sdpa attention; eager was replayed, as transformers chooses"
    return "flash attention was replayed by sdpa's flash kernel" if workload.attention == "flash" else ""


def _floats(output: Any) -> list[Any]:
    """Floating-point tensors inside an output, whatever its container."""
    if hasattr(output, "is_floating_point"):
        return [output] if output.is_floating_point() else []
    items = output.values() if isinstance(output, Mapping) else output if isinstance(output, (tuple, list)) else ()
    return [tensor for item in items for tensor in _floats(item)]
