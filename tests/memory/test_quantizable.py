"""Which layers bitsandbytes converts: our rule against the loader's own code, for every family at hand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from gpufit.errors import Undecided, Unsupported
from gpufit.facts.read import parse_config
from gpufit.memory.weights import _linear_matrices, _skip_patterns, count_weights

sys.path.insert(0, str(Path(__file__).parents[1] / "facts"))
pytest.importorskip("bitsandbytes", reason="the measure extra is not installed")
pytest.importorskip("transformers", reason="the measure extra is not installed")
pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore")]


def configurations() -> list[tuple[str, dict[str, Any]]]:
    """One published configuration per architecture and class, small ones first."""
    import json

    folder = Path(__file__).parents[3] / "shared" / "configs"
    found: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {}
    for path in sorted(folder.glob("*.json"), key=lambda path: path.name):
        raw = json.loads(path.read_text())
        key = (raw["model_type"], str((raw.get("architectures") or [""])[0]))
        found.setdefault(key, (path.stem, raw))
    return list(found.values())


def test_the_rule_names_the_same_modules_as_the_loader() -> None:
    """Every family of the reference configurations that transformers builds, at full size on the meta device."""
    import oracle
    from transformers.quantizers.base import get_keys_to_not_convert
    from transformers.quantizers.quantizers_utils import should_convert_module

    cases = configurations()
    if not cases:
        pytest.skip("the reference configurations lie beside the repository, not in it, and are absent here")
    checked = 0
    for name, raw in cases:
        try:
            ours = parse_config(raw)
        except Undecided:  # a family without a reader; refusals are tested elsewhere
            continue
        try:
            truth = oracle.build(raw, ours.model_class)
        except (ValueError, AttributeError, KeyError, RuntimeError, TypeError):
            continue  # a class that transformers does not ship
        skip = [*get_keys_to_not_convert(truth.model), *(truth.model._keep_in_fp32_modules or ())]
        theirs = {module for module in truth.linears if should_convert_module(module, skip)}
        groups = ours.tensors.groups
        converted = _linear_matrices(ours.tensors, fused_experts=False)
        mine = sum(matrix.copies for matrix in converted.values())
        names = {n.removesuffix(".weight") for index in converted for n in groups[index].names()}
        assert theirs <= names, (name, sorted(theirs - names)[:3])
        assert mine == len(theirs), (name, mine, len(theirs), sorted(names - theirs)[:3], _skip_patterns(ours.tensors))
        checked += 1
    assert checked > 60


def test_experts_fused_into_one_tensor_stay_in_16_bits() -> None:
    """transformers 5 fuses Mixtral's experts, and bitsandbytes converts nn.Linear alone: nf4 saves next to nothing."""
    mixtral = parse_config(
        {
            "model_type": "mixtral", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
            "num_attention_heads": 32, "num_key_value_heads": 8, "num_local_experts": 8, "vocab_size": 32000,
        }
    )  # fmt: skip
    full = count_weights(mixtral, "bf16", "none").total_bytes
    assert count_weights(mixtral, "bf16", "bnb-nf4").total_bytes > 0.95 * full
    assert count_weights(mixtral, "bf16", "gptq-int4-g128").total_bytes < 0.3 * full


def test_a_family_without_convertible_layers_is_refused() -> None:
    widths = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    bert = parse_config({"model_type": "bert", "architectures": ["BertModel"], "vocab_size": 100, **widths})
    with pytest.raises(Unsupported, match="text decoders only"):
        count_weights(bert, "fp16", "awq-int4-g128")
