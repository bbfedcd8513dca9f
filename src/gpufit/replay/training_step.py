"""One training step under a tracker: forward with loss, backward, optimizer step, after a first one filled the states.

Gradients are forgotten between steps (``zero_grad(set_to_none=True)``, as transformers' Trainer does).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from gpufit.errors import UsageError
from gpufit.replay.inputs import model_inputs, token_ids
from gpufit.replay.tracker import Tracker

if TYPE_CHECKING:
    import torch

Optimizer = Literal["adamw", "adamw-fused", "adamw-loop", "sgd", "sgd-momentum", "adafactor"]
TrainingKind = Literal["full", "lora"]
OPTIMIZERS: tuple[Optimizer, ...] = get_args(Optimizer)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSetup:
    """What is trained and how. ``adamw`` is torch's default on CUDA: the foreach implementation.

    ``full`` trains every parameter in the model's dtype; ``lora`` puts adapters of rank ``lora_rank`` on the modules
    that peft chooses for the family (or on ``lora_targets``) and freezes the rest; adapters are in peft's fp32.
    ``reentrant`` checkpoints are those of transformers before 5.0.
    """

    kind: TrainingKind = "full"
    optimizer: Optimizer = "adamw"
    checkpointing: bool = False
    reentrant: bool = False
    lora_rank: int = 8
    lora_targets: tuple[str, ...] | str | None = None


def parse_training(kind: str, *, optimizer: str, checkpointing: bool, lora_rank: int) -> TrainingSetup:
    """A setup from what a user wrote. Raises UsageError for what is not replayed.

    >>> parse_training("lora", optimizer="sgd", checkpointing=True, lora_rank=4).kind
    'lora'
    """
    kinds = {name: name for name in get_args(TrainingKind)}
    if kind not in kinds:
        raise UsageError(f"--train {kind[:40]!r} is not replayed", hint=f"use {' or '.join(kinds)}")
    optimizers = {name: name for name in OPTIMIZERS}
    if optimizer not in optimizers:
        raise UsageError(f"unknown optimizer {optimizer[:40]!r}", hint=f"use {', '.join(OPTIMIZERS)}")
    if lora_rank < 1:
        raise UsageError("--lora-rank must be at least 1", hint="use --lora-rank 8")
    return TrainingSetup(
        kind=kinds[kind], optimizer=optimizers[optimizer], checkpointing=checkpointing, lora_rank=lora_rank
    )


def settle_targets(model: Any, setup: TrainingSetup) -> tuple[TrainingSetup, str]:
    """The setup with peft's choice for the family, or all linear layers where it has none, and a note that says so.

    peft 0.21.2 itself looks its choice up too late for Mixtral (inject_adapter converts the empty targets first).

    Raises UsageError where peft is missing.
    """
    if setup.kind != "lora" or setup.lora_targets is not None:
        return setup, ""
    try:
        from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as CHOICES
    except ImportError as problem:
        raise UsageError("adapters come from peft, which is missing", hint='pip install "gpufit[measure]"') from problem
    chosen = CHOICES.get(model.config.model_type)
    if chosen is not None:
        return replace(setup, lora_targets=chosen if isinstance(chosen, str) else tuple(chosen)), ""
    note = f"peft has no default targets for {model.config.model_type}; all-linear is assumed"
    return replace(setup, lora_targets="all-linear"), note


def prepare_for_training(model: Any, setup: TrainingSetup, **adapters: Any) -> Any:
    """The model in training mode, with adapters and checkpointing as asked, and without a cache of keys and values.

    ``adapters`` are further settings of peft's LoraConfig.
    transformers 5.23.0, trainer.py: ``self.model.config.use_cache = self.args.use_cache``, which is False.
    """
    model.config.use_cache = False
    if setup.kind == "lora":
        import peft

        targets: Any = setup.lora_targets
        config = peft.LoraConfig(
            r=setup.lora_rank, target_modules=list(targets) if isinstance(targets, tuple) else targets, **adapters
        )
        model = peft.get_peft_model(model, config)
        if setup.checkpointing:
            model.enable_input_require_grads()
    if setup.checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": setup.reentrant})
    return model.train()


def make_optimizer(model: torch.nn.Module, name: Optimizer) -> Any:
    """The optimizer over what is trained, with the implementation CUDA would choose (torch.optim: foreach).

    Adafactor is the Trainer's, with its arguments (transformers 5.23.0, trainer_optimizer.py, _get_adafactor).
    """
    import torch
    from transformers.optimization import Adafactor

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    makers: dict[Optimizer, Callable[[], Any]] = {
        "adamw": lambda: torch.optim.AdamW(trained, foreach=True),
        "adamw-fused": lambda: torch.optim.AdamW(trained, fused=True),
        "adamw-loop": lambda: torch.optim.AdamW(trained, foreach=False),
        "sgd": lambda: torch.optim.SGD(trained, lr=1e-3, foreach=True),
        "sgd-momentum": lambda: torch.optim.SGD(trained, lr=1e-3, momentum=0.9, foreach=True),
        "adafactor": lambda: Adafactor(trained, lr=1e-3, scale_parameter=False, relative_step=False),  # type: ignore[no-untyped-call, unused-ignore]
    }
    return makers[name]()


def train(
    model: Any, tracker: Tracker, optimizer: Any, *, tokens: int, batch: int, device: str, micro_batches: int = 1
) -> None:
    """Two steps; the second counts, as ``forward`` and ``backward`` of its last micro-batch and ``step``."""

    start_decoder(model.config)

    def forward() -> Any:
        inputs = model_inputs(model, prompt=tokens, batch=batch, device=device)
        return model(**inputs, labels=_labels(model, tokens, batch, device)).loss

    with tracker.watching(model):
        with tracker.phase("first step", counted=False):
            for _ in range(micro_batches):
                forward().backward()
            optimizer.step()
            optimizer.zero_grad()
        if micro_batches > 1:
            with tracker.phase("earlier micro-batches", counted=False):
                for _ in range(micro_batches - 1):
                    forward().backward()
        with tracker.phase("forward"):
            loss = forward()
        with tracker.phase("backward"):
            loss.backward()
            loss = loss.detach()  # as Trainer.training_step returns it: the graph is gone before the step
        with tracker.phase("step"):
            optimizer.step()
        optimizer.zero_grad()


def start_decoder(config: Any) -> None:
    """Which tokens an encoder-decoder starts and pads with is part of a checkpoint's own settings; here any will do."""
    if config.is_encoder_decoder:
        for name in ("decoder_start_token_id", "pad_token_id"):
            if getattr(config, name, None) is None:
                setattr(config, name, 0)


def _labels(model: Any, tokens: int, batch: int, device: str) -> torch.Tensor:
    """One label a token, or one a sequence for classifiers."""
    import torch

    bare = model.get_base_model() if hasattr(model, "get_base_model") else model  # peft wraps it in a class of its own
    if "SequenceClassification" in type(bare).__name__:
        return torch.zeros((batch,), dtype=torch.int64, device=device)
    return token_ids(batch, tokens, device)
