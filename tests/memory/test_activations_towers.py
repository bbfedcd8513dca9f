"""Picture and text towers: the closed forms against the replay of transformers' own code."""

from __future__ import annotations

from statistics import median

import pytest

from gpufit.facts.read import parse_config
from gpufit.memory.activations import estimate_phases
from gpufit.memory.workload import Workload

from .replayed import phase_differences
from .shrunken import TOWERS

pytest.importorskip("transformers", reason="the replay runs transformers' own code: pip install gpufit[measure]")

WORST_PERCENT, MEDIAN_PERCENT = 2.0, 0.2


@pytest.mark.parametrize("name", TOWERS)
def test_towers_meet_the_replay(name: str) -> None:
    found = {}
    for dtype, batch in (("fp16", 1), ("bf16", 3), ("fp32", 2)):
        for kernel in ("sdpa", "eager"):
            case = phase_differences(
                TOWERS[name], prompt=61, new=0, batch=batch, dtype=dtype, attention=kernel  # type: ignore[arg-type]
            )  # fmt: skip
            found[f"{dtype} {kernel} {batch}"] = case["encode"]
    assert max(map(abs, found.values())) <= WORST_PERCENT, found
    assert median(map(abs, found.values())) <= MEDIAN_PERCENT, found


def test_quick_gelu_takes_a_third_tensor() -> None:
    quick = parse_config({**TOWERS["clip-gelu"], "hidden_act": "quick_gelu"})
    plain = parse_config(TOWERS["clip-gelu"])
    work = Workload(prompt_tokens=1)
    more = estimate_phases(quick, work)[0].activation_bytes - estimate_phases(plain, work)[0].activation_bytes
    assert more == 145 * 250 * 2  # 144 patches and the class token, the MLP's width, fp16
