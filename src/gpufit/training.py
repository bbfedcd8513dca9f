"""The front door to training: the rooms wired together for ``gpufit check MODEL --train`` and for Python."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from gpufit.api import Size, find_device, find_model, larger_cards, parse_reserve
from gpufit.verdict.training import TrainingCheck
from gpufit.verdict.training import check_training as judge_training
from gpufit.verdict.training_plan import TrainingRequest, plan_training


def check_training(
    model: str,
    request: TrainingRequest,
    *,
    vram: Size | None = None,
    gpu: str | None = None,
    reserve: Size = 0,
    catalog: str | Path | None = None,
    revision: str | None = None,
    environ: Mapping[str, str] | None = None,
    progress: Callable[[str], None] | None = None,
) -> TrainingCheck:
    """Can ``model`` be trained so on this GPU, or on several of a kind?

    >>> found = check_training("tinyllama-1.1b", TrainingRequest(train="full", seq=512, micro_batch=1), vram="16GB")
    >>> found.verdict, found.estimate.residents.gradients_bytes == found.estimate.residents.weights_bytes
    ('fits', True)

    Raises what ``gpufit.check`` raises.
    """
    environment = os.environ if environ is None else environ
    subject = find_model(
        model, catalog=catalog, revision=revision, environ=environment, progress=progress, trained=True
    )
    device = find_device(vram=vram, gpu=gpu, environ=environment)
    plan, notes = plan_training(subject.architecture, device, request)
    return judge_training(
        subject, plan, device,
        reserve_bytes=parse_reserve(reserve), larger=lambda: larger_cards(device, environment), notes=notes,
    )  # fmt: skip
