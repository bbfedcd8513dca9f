"""Where validate finds a row's model, and how other people spell what a row says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from gpufit.accuracy.cards import Card
from gpufit.accuracy.engines.transformers_work import plan_row
from gpufit.accuracy.measurements import parse_measurements
from gpufit.api import architecture_of
from gpufit.errors import SourceError
from gpufit.memory.workload import Workload
from gpufit.sources.http import Answer, Unreachable
from gpufit.sources.hub_client import HubClient
from gpufit.sources.known import or_the_hub


def test_the_hub_is_asked_last_and_not_again_once_it_was_not_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    without_waiting = HubClient.__init__.__kwdefaults__ | {"pause": lambda seconds: None}
    monkeypatch.setattr(HubClient.__init__, "__kwdefaults__", without_waiting)

    def no_route(url: str, headers: Mapping[str, str], *, limit_bytes: int, timeout_seconds: float) -> Answer:
        asked.append(url)
        raise Unreachable("no route")

    gpt2 = architecture_of("gpt2")
    find = or_the_hub(
        lambda name: gpt2 if name == "gpt2" else None, {"XDG_CACHE_HOME": str(tmp_path)}, transport=no_route
    )
    assert find("gpt2") is gpt2
    assert find("no hub id") is None
    assert asked == []
    for name in ("some/model", "other/model", "some/model"):
        with pytest.raises(SourceError):
            find(name)
    assert len({url.split("/resolve/")[0] for url in asked}) == 1


def test_offline_says_so() -> None:
    with pytest.raises(SourceError, match="HF_HUB_OFFLINE"):
        or_the_hub(lambda name: None, {"HF_HUB_OFFLINE": "1"})("some/model")


@pytest.mark.parametrize(
    ("column", "text", "field", "meaning"),
    [
        ("engine_version", "transformers==4.44.2; torch==2.4.0", "library_version", "4.44.2"),
        ("engine_version", "torch 2.4.0+cu124", "torch_version", "2.4.0"),
        ("attention", "flash_attention_2", "attention", "flash"),
        ("quant_method", "nf4", "quant", "bnb-nf4"),
        ("quant_method", "awq", "quant", "awq-int4-g128"),
        ("weight_dtype", "bfloat16", "dtype", "bf16"),
    ],
)
def test_spellings(column: str, text: str, field: str, meaning: str) -> None:
    table = f"architecture,metric,measured_bytes,prompt_tokens,{column}\nllama-2-7b,weights_only,5,8,{text}\n"
    (row,) = parse_measurements(table)
    planned = plan_row(row, architecture_of("llama-2-7b"), Card())
    assert isinstance(planned, Workload)
    assert getattr(planned, field) == meaning
