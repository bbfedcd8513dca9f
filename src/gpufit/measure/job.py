"""What the child process is asked to do, as one JSON object on its standard input."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gpufit.memory.training.plan import TrainingPlan
from gpufit.memory.workload import AttentionKernel, Quantization, Workload
from gpufit.records import as_dict, record, replace

Work = Workload | TrainingPlan


@record
class Job:
    """One model, one piece of work, one device.

    ``config`` is the raw config.json. ``checkpoint`` is a folder, or a Hub id that lies in the local cache; None asks
    for random weights, made tensor by tensor while they are loaded. With ``training`` steps of that plan are
    run in place of inference. ``limit_bytes`` makes the device smaller than it is.
    """

    name: str
    config: Mapping[str, Any]
    device: str
    dtype: str
    quant: Quantization
    attention: AttentionKernel
    prompt_tokens: int
    new_tokens: int
    batch: int
    checkpoint: str | None = None
    training: TrainingPlan | None = None
    limit_bytes: int | None = None

    def to_json(self) -> str:
        """One line."""
        return json.dumps(as_dict(self))


def make_job(
    work: Work,
    config: Mapping[str, Any],
    *,
    name: str,
    device: str,
    checkpoint: str | None = None,
    limit_bytes: int | None = None,
) -> Job:
    """The job that runs ``work``."""
    if isinstance(work, Workload):
        return Job(
            name=name, config=config, device=device, dtype=work.dtype, quant=work.quant, attention=work.attention,
            prompt_tokens=work.prompt_tokens, new_tokens=work.new_tokens, batch=work.batch, checkpoint=checkpoint,
            limit_bytes=limit_bytes,
        )  # fmt: skip
    return Job(
        name=name, config=config, device=device, dtype=work.base_dtype, quant=work.quant, attention=work.attention,
        prompt_tokens=work.seq, new_tokens=0, batch=work.micro_batch, checkpoint=checkpoint,
        training=replace(work, driver_context=None), limit_bytes=limit_bytes,
    )  # fmt: skip


def job_from_json(text: str) -> Job:
    """The job that :meth:`Job.to_json` wrote.

    >>> job = Job(name="gpt2", config={"model_type": "gpt2"}, device="cpu", dtype="fp32", quant="none",
    ...           attention="sdpa", prompt_tokens=8, new_tokens=2, batch=1,
    ...           training=TrainingPlan(method="lora", lora_targets=("q_proj",), compute_capability=(8, 0)))
    >>> job_from_json(job.to_json()) == job
    True
    """
    fields = json.loads(text)
    plan = fields.pop("training") or {}
    plan = {name: tuple(value) if isinstance(value, list) else value for name, value in plan.items()}
    return Job(**fields, training=TrainingPlan(**plan) if plan else None)
