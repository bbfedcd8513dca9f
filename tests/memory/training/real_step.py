"""Real training steps of one small model on the CPU: full and adapters, checkpoints off and on, every optimizer.

Forward and backward do not look at the optimizer, and a step looks at nothing but the gradients: each pair of passes
runs once, and every optimizer then steps on its gradients. A phase of the full product is the sum of what was seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from shrunken_training import FAMILIES, targets

from gpufit.facts.read import parse_config
from gpufit.memory.training.estimate import estimate_training
from gpufit.memory.training.plan import Method, Optimizer, TrainingPlan

OPTIMIZERS: dict[Optimizer, str] = {
    "adamw-foreach": "adamw", "adamw-loop": "adamw-loop", "adamw-fused": "adamw-fused", "sgd": "sgd",
    "sgd-momentum": "sgd-momentum", "adafactor": "adafactor",
}  # fmt: skip
# the CPU keeps the masks of dropout as numbers, CUDA (and so the estimate) as bytes
NO_DROPOUT = dict.fromkeys(
    ("attn_pdrop", "embd_pdrop", "resid_pdrop", "hidden_dropout_prob", "attention_probs_dropout_prob", "dropout",
     "attention_dropout", "activation_dropout", "hidden_dropout", "dropout_rate", "classifier_dropout",
     "pooler_dropout"), 0.0,
)  # fmt: skip


TOKENS, BATCH = 64, 2


def differences(name: str) -> Iterator[tuple[tuple[str, ...], float]]:
    """Of one family, each case and phase with the percent by which the estimate differs from what was seen."""
    raw = {**FAMILIES[name], **NO_DROPOUT}
    architecture = parse_config(raw)
    for seen in real_steps(raw, tokens=TOKENS, batch=BATCH, targets=targets(name)):
        plan = TrainingPlan(
            method=seen.method, micro_batch=BATCH, seq=TOKENS, precision="fp32", attention="eager",
            optimizer=seen.optimizer, checkpointing="full" if seen.checkpointing else "none",
            lora_targets=targets(name),
        )  # fmt: skip
        # under a tracker, as under any dispatch mode, autograd writes the sum of two gradients anew
        estimate = estimate_training(architecture, plan, sums_in_place=False)
        for phase, seen_bytes in seen.phases.items():
            case = (seen.method, str(seen.checkpointing), seen.optimizer, phase)
            yield case, 100 * (estimate.tensors_in(phase) / seen_bytes - 1)


class Seen(NamedTuple):
    """Most live bytes in each phase, of one method, checkpointing and optimizer."""

    method: Method
    checkpointing: bool
    optimizer: Optimizer
    phases: dict[str, int]


def real_steps(raw: dict[str, Any], *, tokens: int, batch: int, targets: Any = None) -> Iterator[Seen]:
    """Every combination, on random weights in fp32."""
    import peft

    model = _model(raw)
    yield from _of_method(model, model, "full", tokens, batch)
    names = list(targets) if isinstance(targets, tuple) else targets
    adapted = peft.get_peft_model(model, peft.LoraConfig(target_modules=names))
    yield from _of_method(model, adapted, "lora", tokens, batch)


def real_phases(raw: dict[str, Any], plan: TrainingPlan) -> dict[str, int]:
    """One plan's phases, with what peft and checkpoints in every second layer do."""
    import peft
    from transformers.modeling_layers import GradientCheckpointingLayer

    base = model = _model(raw)
    if plan.trains_adapters:
        config = peft.LoraConfig(
            target_modules=list(plan.lora_targets) if plan.lora_targets else None, use_dora=plan.dora,
            modules_to_save=list(plan.modules_to_save) or None,
        )  # fmt: skip
        model = peft.get_peft_model(base, config)
    model.train()
    if plan.checkpointing != "none":
        base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if plan.checkpointing == "selective":
        for layer in [part for part in base.modules() if isinstance(part, GradientCheckpointingLayer)][1::2]:
            layer.gradient_checkpointing = False
    held = _held(model)
    passes = _passes(model, plan.seq, plan.micro_batch)
    states, step = _step(model, OPTIMIZERS[plan.optimizer])
    return {name: held + states + above for name, above in (*passes.items(), ("step", step))}


def _model(raw: dict[str, Any]) -> Any:
    """Random weights in fp32, one thread: tensors are small, and more threads wait for each other."""
    import torch
    import transformers

    torch.manual_seed(0)
    torch.set_num_threads(1)
    settings = {key: value for key, value in raw.items() if key not in ("model_type", "architectures")}
    config = transformers.AutoConfig.for_model(raw["model_type"], **settings)
    model = getattr(transformers, raw["architectures"][0])._from_config(config, attn_implementation="eager")
    model.config.use_cache = False
    return model


def _held(model: Any) -> int:
    from gpufit.replay.run import resident_tensors

    storages = [tensor.untyped_storage() for _, tensor in resident_tensors(model)]
    return sum({storage._cdata: storage.nbytes() for storage in storages}.values())


def _of_method(base: Any, model: Any, method: Method, tokens: int, batch: int) -> Iterator[Seen]:
    model.train()
    held = _held(model)
    for checkpointing in (False, True):
        if checkpointing:
            base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            if method == "lora":
                base.enable_input_require_grads()
        passes = _passes(model, tokens, batch)
        for optimizer, name in OPTIMIZERS.items():
            states, step = _step(model, name)
            yield Seen(method, checkpointing, optimizer, {
                "forward": held + states + passes["forward"], "backward": held + states + passes["backward"],
                "step": held + states + step,
            })  # fmt: skip
        model.zero_grad()
    base.gradient_checkpointing_disable()
    base.disable_input_require_grads()  # which gradient_checkpointing_enable calls for itself


def _passes(model: Any, tokens: int, batch: int) -> dict[str, int]:
    """The most bytes above weights in forward and in backward; gradients are left behind."""
    from gpufit.replay.inputs import model_inputs
    from gpufit.replay.recording import find_peaks
    from gpufit.replay.run import resident_tensors
    from gpufit.replay.tracker import Tracker
    from gpufit.replay.training_step import _labels

    tracker = Tracker("cpu")
    tracker.register(resident_tensors(model))
    with tracker.watching(model):
        with tracker.phase("forward"):
            inputs = model_inputs(model, prompt=tokens, batch=batch, device="cpu")
            loss = model(**inputs, labels=_labels(model, tokens, batch, "cpu")).loss
            del inputs
        with tracker.phase("backward"):
            loss.backward()
            del loss
    return {peak.phase: peak.above_bytes for peak in find_peaks(tracker.recording())}


def _step(model: Any, name: Any) -> tuple[int, int]:
    """Bytes of the optimizer's states, and the most that a second step takes beside them, gradients included."""
    from gpufit.replay.recording import find_peaks
    from gpufit.replay.run import resident_tensors
    from gpufit.replay.tracker import Tracker
    from gpufit.replay.training_step import make_optimizer

    optimizer = make_optimizer(model, name)
    _as_the_trainer_groups(optimizer, model)
    optimizer.step()
    held = [pair for state in optimizer.state.values() for pair in state.items() if hasattr(pair[1], "untyped_storage")]
    states = sum(value.untyped_storage().nbytes() for _, value in held if value.ndim)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    tracker = Tracker("cpu")
    tracker.register(resident_tensors(model))
    tracker.register(("gradient", parameter.grad) for parameter in trained)
    tracker.register((name, value) for name, value in held)
    gradients = sum(parameter.grad.untyped_storage().nbytes() for parameter in trained)
    with tracker.watching(), tracker.phase("step"):
        optimizer.step()
    (peak,) = find_peaks(tracker.recording())
    return states, gradients + peak.above_bytes


def _as_the_trainer_groups(optimizer: Any, model: Any) -> None:
    """What decays first, then biases and norms (transformers 5.23.0, trainer.py, get_decay_parameter_names)."""
    from transformers import Trainer

    names = set(Trainer.get_decay_parameter_names(None, model))
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    optimizer.param_groups[0]["params"] = [parameter for name, parameter in trained if name in names]
    plain = [parameter for name, parameter in trained if name not in names]
    if plain:
        optimizer.add_param_group({"params": plain})
