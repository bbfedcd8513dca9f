"""The host's memory while a model loads, and the segments that a growing cache leaves: worked by hand."""

from __future__ import annotations

import json

import pytest

from gpufit.accuracy.growth import play, play_of
from gpufit.api import architecture_of
from gpufit.cli.main import main
from gpufit.memory.estimate import estimate
from gpufit.memory.slack import outgrown_segments
from gpufit.memory.workload import Workload


def test_four_threads_hold_an_embedding_each_and_without_a_device_map_all_is_there() -> None:
    """Llama-2-7B in fp16: embeddings of 32 000 × 4 096 × 2 = 262 144 000 B, 13 476 831 232 B in all."""
    host = estimate(architecture_of("llama-2-7b"), Workload(prompt_tokens=8)).host_load_peak
    assert host is not None
    assert (host.low_bytes, host.likely_bytes, host.high_bytes) == (262_144_000, 4 * 262_144_000, 13_476_831_232)


def test_quantizing_on_the_way_in_takes_one_tensor_at_a_time() -> None:
    host = estimate(architecture_of("llama-2-7b"), Workload(prompt_tokens=8, quant="bnb-nf4")).host_load_peak
    assert host is not None
    assert host.low_bytes == host.likely_bytes == host.high_bytes == 262_144_000


def test_another_dtype_is_converted_on_the_host_first() -> None:
    """GPT-2's files hold fp32: 50 257 × 768 × 4 B a tensor on its way, and half as much once converted to fp16."""
    host = estimate(architecture_of("gpt2"), Workload(prompt_tokens=8, dtype="fp16")).host_load_peak
    assert host is not None
    table = 50_257 * 768
    weights = 124_439_808 * 2
    assert host.likely_bytes == min(weights, 4 * table * 4) // 4 * (4 + 2)


def test_runtimes_that_load_by_rules_of_their_own_say_nothing() -> None:
    work = Workload(prompt_tokens=8, runtime="llama.cpp", quant="gguf-q4_0")
    assert estimate(architecture_of("llama-2-7b"), work).host_load_peak is None


def test_check_prints_both(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "llama-2-7b", "--gpu", "a100-80gb", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["host_load_peak_bytes"] == 4 * 262_144_000
    assert record["elastic_slack_bytes"] == 64 * 30 * 2**20
    assert main(["check", "llama-2-7b", "--gpu", "a100-80gb"]) == 0
    text = capsys.readouterr().out
    assert "host load" in text
    assert "1.88 GiB more" in text


@pytest.mark.parametrize(
    ("model", "prompt", "new", "batch"),
    [("llama-2-7b", 3840, 256, 1), ("llama-2-13b", 256, 512, 2), ("mistralai/Mistral-7B-v0.1", 1024, 512, 4)],
)
def test_no_played_growth_leaves_more_than_the_closed_bounds(model: str, prompt: int, new: int, batch: int) -> None:
    work = Workload(prompt_tokens=prompt, new_tokens=new, batch=batch)
    found = estimate(architecture_of(model), work)
    played = play_of(found)
    assert played is not None
    peaks = play(played)
    bound = found.slack.high_bytes + outgrown_segments(found.architecture, work)
    assert peaks.reserved_bytes - peaks.allocated_bytes <= bound
