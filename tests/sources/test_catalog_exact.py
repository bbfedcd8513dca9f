"""The whole catalog under every format: counted, ordered, and refused only where no loader exists."""

from __future__ import annotations

import os

import pytest

from gpufit.errors import Undecided, Unsupported
from gpufit.facts.dtypes import parse_dtype
from gpufit.memory.activations import supports
from gpufit.memory.kv_cache import count_cache
from gpufit.memory.weights import count_weights
from gpufit.memory.workload import QUANTIZATIONS, Workload
from gpufit.sources.catalog import CatalogEntry, load_catalog

ENTRIES = load_catalog(None, {**os.environ, "XDG_CONFIG_HOME": "/nonexistent"}).entries


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_model_is_counted_in_every_format_that_its_family_takes(entry: CatalogEntry) -> None:
    found = entry.architecture()
    plain = {dtype: count_weights(found, dtype, "none") for dtype in ("fp32", "fp16", "bf16")}
    assert plain["fp32"].total_bytes == 4 * found.parameters
    assert plain["bf16"].total_bytes >= 2 * found.parameters
    assert plain["fp16"].total_bytes == 2 * found.parameters + plain["fp16"].fp32_bytes // 2
    counted = 0
    for quant in QUANTIZATIONS[1:]:
        try:
            quantized = count_weights(found, "fp16", quant)
        except Unsupported:
            continue
        counted += 1
        assert quantized.quantized_parameters + quantized.kept_parameters == found.parameters
        assert quantized.total_bytes < plain["fp16"].total_bytes
        assert quantized.largest_matrix[0] * quantized.largest_matrix[1] > 0
    assert counted >= 1 or found.task == "vision"
    assert parse_dtype(entry.dtype) == parse_dtype(str(found.dtype))


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_model_has_a_cache_of_its_kind_and_an_activation_formula(entry: CatalogEntry) -> None:
    found = entry.architecture()
    workload = Workload(prompt_tokens=200, new_tokens=56)
    cached = count_cache(found, workload)
    assert (cached > 0) == (found.task in ("causal-lm", "seq2seq", "vision-language", "speech") or bool(found.cache))
    assert supports(found.form), f"gpufit has no activation formula for {found.form!r}"


def test_unknown_forms_are_refused_not_guessed() -> None:
    from gpufit.memory.estimate import estimate
    from gpufit.records import replace

    strange = replace(ENTRIES[0].architecture(), form="a form of the future")
    with pytest.raises(Undecided, match="a form of the future"):
        estimate(strange, Workload(prompt_tokens=8))
