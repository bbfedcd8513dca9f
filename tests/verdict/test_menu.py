"""The list's answers are check's answers, for every budget, whether they were kept or not."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gpufit
from gpufit.api import list_models, load_catalog
from gpufit.devices.device import Device
from gpufit.facts.architecture import Architecture
from gpufit.memory import solve
from gpufit.records import replace
from gpufit.verdict.advise import Adviser
from gpufit.verdict.budget import make_budget
from gpufit.verdict.listing import ListFilter
from gpufit.verdict.menu import Menus
from gpufit.verdict.plan import Request, plan_workload

CATALOG = load_catalog(None, os.environ)
CARDS = {
    "a card": Device(name="a card", source="given"),
    "T4": Device(name="T4", source="given", compute_capability=(7, 5)),
    "two L4": Device(name="L4", source="given", compute_capability=(8, 9), count=2),
}
MODELS = (
    "gpt2", "llama-2-7b", "llama-3.1-8b", "gemma-3-4b", "mistral-7b-v0.1", "t5-3b", "bart-large", "bert-base",
    "whisper-small", "clip-vit-large-patch14", "mamba-codestral-7b", "qwen3-30b-a3b", "gpt-oss-20b", "falcon-7b",
    "qwen3-next-80b-a3b", "led-large-16384", "deepseek-v2-lite",
)  # fmt: skip
names = st.sampled_from([name for name in MODELS if CATALOG.find(name)])
MENUS = {card: Menus() for card in CARDS}


def sized(card: str, mib: int) -> Device:
    return replace(CARDS[card], total_bytes=mib << 20, free_bytes=mib << 20)


def test_the_models_are_in_the_catalog() -> None:
    assert [name for name in MODELS if CATALOG.find(name) is None] == []


@settings(max_examples=80, deadline=None)
@given(names, st.sampled_from(sorted(CARDS)), st.integers(300, 200_000), st.sampled_from([None, 300, 1000, 4096]))
def test_a_menu_answers_what_the_adviser_answers(name: str, card: str, mib: int, context: int | None) -> None:
    device, entry = sized(card, mib), CATALOG.get(name)
    budget = make_budget(device)
    adviser = Adviser(entry.architecture(), device, budget)
    longest = adviser.architecture.max_context_tokens
    request = Request(context=context if context is None or longest is None else min(context, longest))
    workload, _ = plan_workload(adviser.architecture, device, request)
    option = adviser.best_precision(workload)
    expected = None if option is None else (option, adviser.longest_context(option.workload))
    kept = MENUS[card].best(name, entry.architecture, device, request, budget.budget_bytes)
    assert kept == expected
    if kept is not None:
        assert kept[0].device == device


def no_facts() -> Architecture:
    raise AssertionError("a menu that was made needs no facts")


@pytest.mark.parametrize("name", ["llama-2-7b", "gemma-3-4b", "bert-base", "t5-3b", "mistral-7b-v0.1"])
def test_a_menu_made_once_needs_the_facts_for_no_later_budget(name: str) -> None:
    menus, card = Menus(), sized("a card", 16 << 10)
    menus.best(name, CATALOG.get(name).architecture, card, Request(), 16 << 30)
    again = Menus(menus.kept)
    answers = {
        again.best(name, no_facts, card, Request(), budget) is not None
        for budget in [*range(1 << 30, 60 << 30, 777 << 20), 1 << 50]
        if not _is_tight(again, name, budget)
    }
    assert True in answers
    assert not again.changed


@pytest.mark.parametrize("name", ["llama-2-7b", "bert-base", "t5-3b"])
def test_a_model_that_cannot_be_followed_gets_the_same_answers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def answers() -> list[object]:
        menus, card, facts = Menus(), sized("a card", 16 << 10), CATALOG.get(name).architecture
        found: list[object] = [menus.best(name, facts, card, Request(), mib << 20) for mib in (500, 4000, 14000, 40000)]
        return [*found, gpufit.check(name, vram="9GB").longest_context_tokens]

    followed = answers()
    plain = solve.estimate
    monkeypatch.setattr(solve, "estimate", lambda a, work: plain(a, work) if hash(work.prompt_tokens) else None)
    assert answers() == followed


def _is_tight(menus: Menus, name: str, budget: int) -> bool:
    """Where a model fits only tightly its curve is followed down, which a menu does when asked."""
    own = Menus(json.loads(json.dumps(menus.kept)))
    found = own.best(name, CATALOG.get(name).architecture, sized("a card", 16 << 10), Request(), budget)
    return found is not None and found[0].verdict == "tight"


def test_a_list_is_the_same_with_and_without_a_cache(tmp_path: Path) -> None:
    environ = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    uncached = {**environ, "XDG_CACHE_HOME": "relative", "HOME": "relative"}
    filters = ListFilter.parse(family=None, task="causal-lm", max_params="1B", quant=None)
    list_models(fits=True, vram="6GB", filters=filters, environ=environ)
    for vram in ("6GB", "7.3GB"):
        kept = list_models(fits=True, vram=vram, filters=filters, environ=environ)
        fresh = list_models(fits=True, vram=vram, filters=filters, environ=uncached)
        assert len(kept) > 20
        assert [(r.entry.name, r.option, r.longest_context_tokens) for r in kept] == [
            (r.entry.name, r.option, r.longest_context_tokens) for r in fresh
        ]


def test_what_the_list_says_fits_check_says_fits(tmp_path: Path) -> None:
    environ = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    filters = ListFilter.parse(family=None, task=None, max_params="350M", quant=None)
    for row in list_models(fits=True, vram="6GB", filters=filters, environ=environ):
        option = row.option
        assert option is not None
        found = gpufit.check(
            row.entry.name, vram="6GB", dtype=option.workload.dtype, quant=option.workload.quant, environ=environ
        )
        assert found.verdict == option.verdict, row.entry.name
        assert found.asked.process == option.process, row.entry.name
        assert found.longest_context_tokens == row.longest_context_tokens, row.entry.name


def test_one_format_alone_is_listed_with_its_own_figures(tmp_path: Path) -> None:
    environ = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    filters = ListFilter.parse(family="Llama", task=None, max_params="10B", quant="awq-int4-g128")
    rows = [list_models(fits=True, vram="12GB", filters=filters, environ=environ) for _ in range(2)]
    assert [row.option for row in rows[0]] == [row.option for row in rows[1]] != []
    for row in rows[0]:
        assert row.option is not None
        found = gpufit.check(row.entry.name, vram="12GB", quant="awq-int4-g128", environ=environ)
        assert (found.asked.process, found.longest_context_tokens) == (row.option.process, row.longest_context_tokens)
