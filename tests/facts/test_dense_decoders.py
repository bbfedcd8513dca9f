"""Every dense decoder's reader against transformers' own classes, on shrunken configurations."""

from __future__ import annotations

from collections import Counter

import pytest
from dense_cases import CASES, DENSE, REMOTE, Case, case_id, raw_config

from gpufit.facts.families import READERS
from gpufit.facts.read import parse_config


def test_every_dense_family_has_a_case() -> None:
    """No family is registered without being held against transformers or a published count."""
    assert {model_type for model_type, _, _ in CASES} == set(DENSE)
    assert set(DENSE) | set(REMOTE) <= set(READERS)


@pytest.mark.real
@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_the_tensors_are_those_of_transformers(case: Case) -> None:
    """Names, shapes, ties, buffers, module kinds and the output embedding are exactly the library's."""
    pytest.importorskip("transformers", reason="needs transformers to build the model that the reader mirrors")
    import compare
    import oracle

    raw = raw_config(*case)
    ours = parse_config(raw)
    assert compare.differences(ours, oracle.build(raw, ours.model_class)) == []


@pytest.mark.real
@pytest.mark.parametrize("case", [case for case in CASES if "Classification" not in str(case)], ids=case_id)
def test_the_cache_is_the_one_that_a_forward_fills(case: Case) -> None:
    """Per layer: heads, key and value widths, and whether and how far it slides, after 12 real tokens."""
    torch = pytest.importorskip("torch", reason="needs torch to run the shrunken model")
    transformers = pytest.importorskip("transformers", reason="needs transformers to fill a real cache")
    raw = raw_config(*case)
    ours = parse_config(raw)
    drop = {"model_type", "architectures"}
    config = transformers.AutoConfig.for_model(raw["model_type"], **{k: v for k, v in raw.items() if k not in drop})
    model = getattr(transformers, ours.model_class)(config).eval()
    with torch.no_grad():
        cache = model(torch.full((1, 12), 7), use_cache=True).past_key_values
    real = Counter(
        (layer.sliding_window if layer.is_sliding else None, layer.keys.shape[1], layer.keys.shape[3],
         layer.values.shape[3])
        for layer in cache.layers
    )  # fmt: skip
    stated = Counter()
    for group in ours.cache:
        assert (group.window_tokens is not None) == (group.kind == "sliding")
        stated[group.window_tokens, group.kv_heads, group.key_dim, group.value_dim] += group.layers
    assert stated == real
