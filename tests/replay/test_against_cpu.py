"""The tracker against torch's profiler on real tensors, and the meta device against the CPU."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="a replay runs the real modelling code and needs torch")
pytest.importorskip("transformers", reason="a replay runs the real modelling code and needs transformers")

from real_models import NUMBER_BYTES, SMALL, above_weights, profiled_peak, profiled_step, real_model

from gpufit.replay.build import build_model
from gpufit.replay.recording import Recording, find_peaks
from gpufit.replay.run import record_inference, record_training
from gpufit.replay.training_step import TrainingSetup

pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore")]
WORK = {"prompt": 32, "new": 8, "batch": 2}


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", SMALL)
def test_inference_needs_what_the_profiler_saw(name: str, attention: str) -> None:
    if (name, attention) == ("t5", "sdpa"):
        pytest.skip("the CPU's own attention kernel takes scratch of its own when a mask is given")
    model = real_model(SMALL[name], attention)
    record_inference(model, capability=None, **WORK)
    kept: list[Recording] = []
    seen = profiled_peak(lambda: kept.append(record_inference(model, capability=None, **WORK)))
    assert seen - above_weights(kept[0]) in (0, NUMBER_BYTES)


@pytest.mark.parametrize("name", SMALL)
def test_tensors_without_data_need_what_real_ones_need(name: str) -> None:
    real = record_inference(real_model(SMALL[name], "eager"), capability=None, **WORK)
    empty = record_inference(build_model(SMALL[name], dtype="fp32", attention="eager"), capability=None, **WORK)
    assert [(p.phase, p.above_bytes) for p in find_peaks(real)] == [(p.phase, p.above_bytes) for p in find_peaks(empty)]
    assert real.resident_bytes == empty.resident_bytes


@pytest.mark.parametrize(
    ("setup", "rng_states"),
    [
        (TrainingSetup(), 0),
        (TrainingSetup(kind="lora"), 0),
        # checkpointing keeps the CPU generator's state (5,056 bytes) for each block; on CUDA that lies in main memory
        (TrainingSetup(checkpointing=True), 6),
    ],
    ids=["full", "lora", "checkpointing"],
)
@pytest.mark.parametrize("name", ["llama", "t5"])
def test_training_needs_what_the_profiler_saw_within_a_thousandth(
    name: str, setup: TrainingSetup, rng_states: int
) -> None:
    if setup.kind == "lora":
        pytest.importorskip("peft", reason="adapters come from peft")
    recording = record_training(real_model(SMALL[name], "eager"), setup, tokens=32, batch=2, capability=None)
    seen = profiled_step(real_model(SMALL[name], "eager"), setup, tokens=32)
    ours = above_weights(recording)
    assert -0.001 * seen <= seen - ours <= 0.001 * seen + rng_states * 5056
