"""The catalog's configs are real ones: transformers builds the same number of parameters from the very same keys."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gpufit.sources.catalog import CatalogEntry, load_catalog

pytestmark = pytest.mark.real
transformers = pytest.importorskip("transformers", reason="the measure extra is not installed")
torch = pytest.importorskip("torch", reason="the measure extra is not installed")

# model_types whose code is published beside the checkpoint and not in transformers
REMOTE = {"baichuan", "chatglm", "deepseek", "internlm2", "kimi_k2", "kimi_k25", "minicpm", "orion", "phi3_v"}


def distinct_entries() -> list[CatalogEntry]:
    """One entry of each config: Vicuna's is Llama's."""
    known = (
        entry for entry in load_catalog(None, {"HOME": "/nonexistent"}) if entry.config["model_type"] not in REMOTE
    )
    return list({json.dumps(entry.config, sort_keys=True): entry for entry in known}.values())


def own_head(entry: CatalogEntry) -> int:
    """Parameters of a head that the checkpoint holds apart and that transformers 5 ties all the same (T5's kin)."""
    config = entry.config
    untied = config["model_type"] in ("t5", "mt5") and config.get("tie_word_embeddings") is False
    return int(config["vocab_size"] * config["d_model"]) if untied else 0


def count_on_meta(entry: CatalogEntry) -> int:
    config = {key: value for key, value in entry.config.items() if key not in ("model_type", "quantization_config")}
    built = transformers.AutoConfig.for_model(entry.config["model_type"], **config)
    with torch.device("meta"):
        model: Any = getattr(transformers, entry.architecture().model_class)(built)
    model.tie_weights()
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("entry", distinct_entries(), ids=lambda entry: entry.name)
@pytest.mark.filterwarnings("ignore")
def test_transformers_builds_as_many_parameters(entry: CatalogEntry) -> None:
    assert count_on_meta(entry) + own_head(entry) == entry.parameters
    assert any("head has a matrix of its own" in note for note in entry.notes) == bool(own_head(entry))


def test_nearly_all_entries_are_held_against_transformers() -> None:
    assert len(distinct_entries()) > 290
