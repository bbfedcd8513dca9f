"""Which models transformers keeps in a packed cache: our rule beside its own constructor, for published models."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from gpufit.errors import GpufitError
from gpufit.facts.read import parse_config
from gpufit.memory.kv_cache import packs_cache

# Its constructor takes them, and more than it asks decides: mllama reads the keys of pictures from where a packed cache
# keeps none, and the windows of step3p7 stand where its own code alone looks
BEYOND = {"mllama", "step3p7"}
MOST_OF_A_KIND = 2  # model types for each combination of cache layers


@pytest.mark.real
@pytest.mark.filterwarnings("ignore")
def test_the_rule_for_a_packed_cache_is_that_of_transformers(shared: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="the measure extra is not installed")
    from transformers.cache_utils import QuantizedCache

    seen: dict[tuple[str, bool], bool] = {}
    kinds: Counter[str] = Counter()
    for path in sorted((shared / "configs").glob("*.json")):
        raw = json.loads(path.read_text(encoding="utf-8"))
        try:
            ours = parse_config(raw)
        except GpufitError:
            continue
        kind = (raw["model_type"], packs_cache(ours))
        layers = str(sorted({(layers.kind, bool(layers.index_dim)) for layers in ours.cache}))
        if not ours.generates or kind in seen or kinds[layers] == MOST_OF_A_KIND:
            continue
        kinds[layers] += 1
        try:
            settings = {key: value for key, value in raw.items() if key != "model_type"}
            config = transformers.AutoConfig.for_model(raw["model_type"], **settings)
        except ValueError:  # its code lies beside the checkpoint
            continue
        try:
            QuantizedCache("fp8", config)
            seen[kind] = not config.is_encoder_decoder
        except ValueError:
            seen[kind] = False
    wrong = {kind for (kind, ours), theirs in seen.items() if ours != theirs}
    assert wrong <= BEYOND
    assert len(kinds) > 8
