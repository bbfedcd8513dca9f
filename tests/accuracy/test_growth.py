"""Slack by playing the cache's growth, against published pairs of reserved and allocated (A100, torch 2.1.1)."""

from __future__ import annotations

import pytest

from gpufit.accuracy.growth import play, play_of
from gpufit.api import architecture_of
from gpufit.memory.estimate import estimate
from gpufit.memory.segments import unsplit_rests
from gpufit.memory.workload import Workload
from gpufit.units import MIB


@pytest.mark.parametrize(
    ("model", "batch", "published_mb"), [("llama-2-7b", 2, 455), ("llama-2-13b", 2, 2621), ("llama-65b", 2, 22_164)]
)
def test_the_growth_of_two_caches_leaves_the_published_slack(model: str, batch: int, published_mb: int) -> None:
    work = Workload(prompt_tokens=256, new_tokens=512, batch=batch, attention="flash", library_version="4.35.2")
    played = play_of(estimate(architecture_of(model), work))
    assert played is not None
    peaks = play(played)
    slack_mb = (peaks.reserved_bytes - peaks.allocated_bytes) / 1e6
    assert slack_mb == pytest.approx(published_mb, rel=0.05)


@pytest.mark.parametrize(
    ("model", "quant", "batch", "published_mb"),
    [
        ("llama-2-7b", "none", 1, 28), ("llama-2-7b", "none", 2, 82), ("llama-2-13b", "none", 1, 50),
        ("llama-2-13b", "none", 2, 252), ("huggyllama/llama-7b", "gptq-int4-g128", 1, 150),
        ("huggyllama/llama-7b", "gptq-int4-g128", 2, 92), ("huggyllama/llama-13b", "gptq-int4-g128", 2, 312),
    ],
)  # fmt: skip
def test_a_single_prompt_leaves_the_published_slack(model: str, quant: str, batch: int, published_mb: int) -> None:
    """max_memory_reserved less max_memory_allocated of one forward pass over 256 tokens, A100, transformers 4.35.2."""
    work = Workload(
        prompt_tokens=256, batch=batch, attention="eager", library_version="4.35.2", all_logits=True,
        quant=quant,  # type: ignore[arg-type]
        quant_kernel="exllamav1" if quant != "none" else None,
    )  # fmt: skip
    played = play_of(estimate(architecture_of(model), work))
    assert played is not None
    peaks = play(played)
    assert (peaks.reserved_bytes - peaks.allocated_bytes) / 1e6 == pytest.approx(published_mb, abs=12)


def test_runs_that_hold_the_last_result_reserve_its_cache_and_logits_once_more() -> None:
    """Llama-2-7B, 16 × 128 tokens, 4.35: caches of 2 048 × 524 288 B and fp32 logits of 2 048 × 128 000 B."""
    work = Workload(
        prompt_tokens=128, batch=16, attention="eager", library_version="4.35.0", all_logits=True
    )  # fmt: skip
    found = estimate(architecture_of("llama-2-7b"), work)
    once, often = play_of(found), play_of(found, often=True)
    assert once is not None
    assert often is not None
    more = play(often).reserved_bytes - play(once).reserved_bytes
    result = 2048 * (524_288 + 128_000)
    assert result < more < 1.3 * result  # and holes between the blocks of two results


def test_a_rest_of_one_mib_is_counted_and_a_larger_one_is_free_for_others() -> None:
    """135 MiB get a segment of 136: its rest is not split. 12.5 MiB leave 1.5 MiB, which 1.25 MiB then fill."""
    assert unsplit_rests([(135 * MIB, 2)]) == 2 * MIB
    assert unsplit_rests([(25 * MIB // 2, 2)]) == 0
    assert unsplit_rests([(25 * MIB // 2, 2), (5 * MIB // 4, 2)]) == 2 * MIB // 4
