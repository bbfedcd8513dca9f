"""Slack by playing the cache's growth, against published pairs of reserved and allocated (A100, torch 2.1.1)."""

from __future__ import annotations

import pytest

from gpufit.accuracy.growth import play, play_of
from gpufit.api import architecture_of
from gpufit.memory.segments import unsplit_rests
from gpufit.memory.workload import Workload
from gpufit.units import MIB


@pytest.mark.parametrize(
    ("model", "batch", "published_mb"), [("llama-2-7b", 2, 455), ("llama-2-13b", 2, 2621), ("llama-65b", 2, 22_164)]
)
def test_the_growth_of_two_caches_leaves_the_published_slack(model: str, batch: int, published_mb: int) -> None:
    work = Workload(prompt_tokens=256, new_tokens=512, batch=batch, attention="flash", library_version="4.35.2")
    played = play_of(architecture_of(model), work)
    assert played is not None
    peaks = play(played)
    slack_mb = (peaks.reserved_bytes - peaks.allocated_bytes) / 1e6
    assert slack_mb == pytest.approx(published_mb, rel=0.05)


def test_a_rest_of_one_mib_is_counted_and_a_larger_one_is_free_for_others() -> None:
    """135 MiB get a segment of 136: its rest is not split. 12.5 MiB leave 1.5 MiB, which 1.25 MiB then fill."""
    assert unsplit_rests([(135 * MIB, 2)]) == 2 * MIB
    assert unsplit_rests([(25 * MIB // 2, 2)]) == 0
    assert unsplit_rests([(25 * MIB // 2, 2), (5 * MIB // 4, 2)]) == 2 * MIB // 4
