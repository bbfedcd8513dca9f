"""What the child process is asked to do, as one JSON object on its standard input."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gpufit.memory.workload import AttentionKernel, Quantization, Workload
from gpufit.records import as_dict, record


@record
class TrainingJob:
    """Steps of training in place of inference; the words are those of ``gpufit replay --train``."""

    kind: str = "full"
    optimizer: str = "adamw"
    checkpointing: bool = False
    lora_rank: int = 8


@record
class Job:
    """One model, one piece of work, one device.

    ``config`` is the raw config.json. ``checkpoint`` is a folder, or a Hub id that lies in the local cache; None asks
    for random weights, made tensor by tensor while they are loaded. ``limit_bytes`` makes the device smaller than it
    is.
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
    training: TrainingJob | None = None
    limit_bytes: int | None = None

    def to_json(self) -> str:
        """One line."""
        return json.dumps(as_dict(self))


def make_job(
    workload: Workload,
    config: Mapping[str, Any],
    *,
    name: str,
    device: str,
    checkpoint: str | None = None,
    training: TrainingJob | None = None,
    limit_bytes: int | None = None,
) -> Job:
    """The job that runs ``workload``."""
    return Job(
        name=name, config=config, device=device, dtype=workload.dtype, quant=workload.quant,
        attention=workload.attention, prompt_tokens=workload.prompt_tokens, new_tokens=workload.new_tokens,
        batch=workload.batch, checkpoint=checkpoint, training=training, limit_bytes=limit_bytes,
    )  # fmt: skip


def job_from_json(text: str) -> Job:
    """The job that :meth:`Job.to_json` wrote.

    >>> job = Job(name="gpt2", config={"model_type": "gpt2"}, device="cpu", dtype="fp32", quant="none",
    ...           attention="sdpa", prompt_tokens=8, new_tokens=2, batch=1, training=TrainingJob(kind="lora"))
    >>> job_from_json(job.to_json()) == job
    True
    """
    fields = json.loads(text)
    training = fields.pop("training")
    return Job(**fields, training=TrainingJob(**training) if training else None)
