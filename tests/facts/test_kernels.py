"""The attention table says what the installed transformers' classes say."""

from __future__ import annotations

import pytest

from gpufit.facts.families import READERS
from gpufit.facts.kernels import _OWN_CODE, attention_kernels


@pytest.mark.real
@pytest.mark.filterwarnings("ignore")
def test_every_family_offers_what_its_class_flags_say() -> None:
    pytest.importorskip("transformers", reason="the measure extra is not installed")
    from transformers.models.auto import modeling_auto as auto
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    mappings = (
        auto.MODEL_FOR_CAUSAL_LM_MAPPING, auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
        auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING, auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING,
        auto.MODEL_FOR_MASKED_LM_MAPPING, auto.MODEL_MAPPING,
    )  # fmt: skip
    checked = 0
    for model_type in sorted(READERS):
        if model_type not in CONFIG_MAPPING:
            continue
        config = CONFIG_MAPPING[model_type]
        found = next((mapping[config] for mapping in mappings if config in mapping), None)
        assert found is not None, model_type
        model_class = found[0] if isinstance(found, (list, tuple)) else found
        flags = {"eager": True, "sdpa": model_class._supports_sdpa, "flash": model_class._supports_flash_attn}
        assert set(attention_kernels(model_type)) == {name for name, has in flags.items() if has}, model_type
        checked += 1
    assert checked > 60


def test_families_with_their_own_code_are_known_families() -> None:
    assert set(READERS) >= _OWN_CODE
