"""The replay as a yardstick for closed forms: a configuration and a workload in, peaks out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpufit.memory.workload import AttentionKernel
from gpufit.replay.allocator_options import AllocatorOptions
from gpufit.replay.build import build_model
from gpufit.replay.libraries import imported_libraries
from gpufit.replay.recording import PhasePeak, Recording, find_peaks
from gpufit.replay.run import record_inference


def peak_above_weights(
    raw: Mapping[str, Any],
    *,
    prompt: int,
    new: int = 0,
    batch: int = 1,
    dtype: str = "fp16",
    attention: AttentionKernel = "sdpa",
    capability: tuple[int, int] = (8, 0),
    options: AllocatorOptions | None = None,
) -> dict[str, PhasePeak]:
    """Peaks by phase (``prefill``, ``decode``; ``encode`` for encoders; all three for encoder-decoders).

    ``peak.above_bytes`` is the phase's peak of live storages above the resident weights and buffers: cache, inputs,
    temporaries. ``peak.holdings`` says what lives then, by module pattern and operation, largest first. ``decode`` is
    the last of ``new`` steps and needs ``new`` of at least 2: ``prompt + new - 1`` tokens lie in the cache once it is
    done.
    """
    recording = record(raw, prompt=prompt, new=new, batch=batch, dtype=dtype, attention=attention,
                       capability=capability)  # fmt: skip
    return {peak.phase: peak for peak in find_peaks(recording, options)}


def record(
    raw: Mapping[str, Any],
    *,
    prompt: int,
    new: int = 0,
    batch: int = 1,
    dtype: str = "fp16",
    attention: AttentionKernel = "sdpa",
    capability: tuple[int, int] = (8, 0),
) -> Recording:
    """The recording behind :func:`peak_above_weights`."""
    with imported_libraries():
        model = build_model(raw, dtype=dtype, attention=attention)
        return record_inference(model, prompt=prompt, new=new, batch=batch, capability=capability)
