"""The model on the device, by transformers' own loader: from local files, or with random weights made as it asks.

Random weights go through the same door as real ones: ``from_pretrained`` takes a state dictionary whose values it
reads one at a time (transformers 5.23.0, core_model_loading.py, ``_materialize_copy``), so a model is never whole in
host memory, and quantization on loading is the real one.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gpufit.errors import UsageError
from gpufit.facts.dtypes import TORCH_NAME
from gpufit.measure.job import Job

if TYPE_CHECKING:
    import torch


class RandomTensor:
    """Stands for a tensor in a file; reading it makes small random numbers (norms get ones, biases zeros)."""

    _pool: torch.Tensor | None = None  # one million numbers, repeated: drawing billions would take minutes

    def __init__(self, name: str, like: torch.Tensor, dtype: torch.dtype) -> None:
        self.name, self.shape = name, tuple(like.shape)
        self.dtype = dtype if like.is_floating_point() else like.dtype

    def get_shape(self) -> list[int]:
        """As a slice of a safetensors file answers."""
        return list(self.shape)

    def __getitem__(self, _: object) -> torch.Tensor:
        import torch

        if not self.dtype.is_floating_point or self.name.endswith("bias"):
            return torch.zeros(self.shape, dtype=self.dtype)
        if len(self.shape) < 2:
            return torch.ones(self.shape, dtype=self.dtype)
        if RandomTensor._pool is None:
            generator = torch.Generator().manual_seed(0)
            RandomTensor._pool = torch.empty(1 << 20).normal_(std=0.02, generator=generator)
        made = torch.empty(self.shape, dtype=self.dtype)
        flat = made.view(-1)
        for start in range(0, flat.numel(), 1 << 20):
            part = flat[start : start + (1 << 20)]
            part.copy_(RandomTensor._pool[: part.numel()])
        return made


def load_model(job: Job) -> Any:
    """The model in evaluation mode on ``job.device``. Remote code is never run, nothing is downloaded."""
    import torch

    from gpufit.replay.build import build_model

    dtype = getattr(torch, TORCH_NAME[job.dtype])
    shell = build_model(job.config, dtype=job.dtype, attention=job.attention)
    model_class = type(shell)
    settings: dict[str, Any] = {
        "dtype": dtype,
        "device_map": {"": job.device},
        "attn_implementation": _attention(shell, job),
    }
    if job.quant != "none":
        settings["quantization_config"] = quantization_config(job.quant, dtype)
    if job.checkpoint is not None:
        try:
            with told_causes():
                return model_class.from_pretrained(  # type: ignore[attr-defined]
                    job.checkpoint, local_files_only=True, trust_remote_code=False, **settings
                )
        except OSError as problem:
            raise UsageError(
                f"{job.checkpoint} has no weights on this machine",
                hint="download them first (hf download), or use --random-weights",
            ) from problem
    config = shell.config
    state = {name: RandomTensor(name, tensor, dtype) for name, tensor in shell.state_dict().items()}
    del shell
    with told_causes():
        return model_class.from_pretrained(None, config=config, state_dict=state, **settings)  # type: ignore[attr-defined]


@contextmanager
def told_causes() -> Iterator[None]:
    """Raise what broke off the conversion of a weight, out of memory above all.

    transformers 5.23.0 catches it, logs it in a report, and raises words that only point there (core_model_loading.py,
    log_conversion_errors; utils/loading_report.py).
    """
    logger = logging.getLogger("transformers.modeling_utils")
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    listener, before = Listener(), (logger.level, logger.propagate)
    logger.addHandler(listener)
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    try:
        yield
    except RuntimeError as problem:
        causes = re.findall(r"^(?:\w+\.)*(\w*Error: .+)$", "\n".join(said), re.MULTILINE)
        if not causes:
            raise
        raise RuntimeError(causes[0].strip()) from problem
    finally:
        logger.removeHandler(listener)
        logger.level, logger.propagate = before


def quantization_config(quant: str, dtype: torch.dtype) -> Any:
    """bitsandbytes' settings for a quantization. Raises UsageError for formats that are not made on loading."""
    import transformers

    make: Any = transformers.BitsAndBytesConfig
    if quant == "bnb-int8":
        return make(load_in_8bit=True)
    if quant in ("bnb-nf4", "bnb-nf4-dq", "bnb-fp4"):
        return make(
            load_in_4bit=True,
            bnb_4bit_quant_type="fp4" if quant == "bnb-fp4" else "nf4",
            bnb_4bit_use_double_quant=quant == "bnb-nf4-dq",
            bnb_4bit_compute_dtype=dtype,
        )
    raise UsageError(
        f"{quant} weights are not made on loading", hint="measure a checkpoint stored so, or use bnb-nf4 or bnb-int8"
    )


def _attention(shell: Any, job: Job) -> str:
    used = getattr(shell.config, "_attn_implementation", None) or "eager"
    return "flash_attention_2" if job.attention == "flash" and used != "eager" else used
