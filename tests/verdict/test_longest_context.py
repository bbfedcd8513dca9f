"""The longest context of published configurations, held against plain estimates."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random

from gpufit.devices.device import Device
from gpufit.errors import GpufitError
from gpufit.facts.architecture import Architecture
from gpufit.facts.read import parse_config
from gpufit.memory.estimate import estimate
from gpufit.memory.solve import with_context
from gpufit.records import replace
from gpufit.verdict.advise import Adviser
from gpufit.verdict.budget import make_budget
from gpufit.verdict.plan import Request, plan_workload

CARDS = (
    Device(name="a card", source="given"),
    Device(name="T4", source="given", compute_capability=(7, 5)),
    Device(name="two A100", source="given", compute_capability=(8, 0), count=2),
)
EVERY = 6  # of the configurations, in order of their names


def architectures(shared: Path) -> Iterator[tuple[str, Architecture]]:
    for path in sorted((shared / "configs").glob("*.json"))[::EVERY]:
        try:
            found = parse_config(json.loads(path.read_text(encoding="utf-8")))
        except GpufitError:  # refused with a sentence: nothing to ask about
            continue
        yield path.name, found


def test_every_length_up_to_the_longest_context_fits_and_one_more_does_not(shared: Path) -> None:
    random, compared = Random(3), 0
    for number, (name, architecture) in enumerate(architectures(shared)):
        top = architecture.max_context_tokens
        if top is None:
            continue
        for index, quant in enumerate(("none", "bnb-nf4", "bnb-int8")):
            size = architecture.parameters * random.choice((1, 2, 3, 6)) + (1 << 30)
            card = replace(CARDS[(number + index) % 3], total_bytes=size, free_bytes=size)
            request = Request(context=min(random.choice((512, 4096)), top), quant=quant)
            adviser = Adviser(architecture, card, make_budget(card))
            try:
                workload, _ = plan_workload(architecture, card, request)
                longest = adviser.longest_context(workload)
            except GpufitError:  # the family or the card does not take the format
                continue
            budget, asked = adviser.budget.budget_bytes, workload.context_tokens

            def fits(n: int, adviser: Adviser = adviser, workload: object = workload, budget: int = budget) -> bool:
                return adviser.need(estimate(adviser.architecture, with_context(workload, n))) <= budget  # type: ignore[arg-type]

            compared += 1
            about = (name, quant, card.name, asked, longest)
            if longest >= asked:
                assert all(map(fits, {asked, longest, *(random.randint(asked, longest) for _ in range(3))})), about
            else:
                assert not fits(asked), about
                assert longest == 0 or fits(longest), about
            assert longest == top or not fits(longest + 1), about
    assert compared > 100
