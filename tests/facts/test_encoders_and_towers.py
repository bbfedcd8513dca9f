"""Encoders, encoder-decoders, speech, picture and vision-language readers against transformers' own classes."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_encoders_and_towers import BART, BERT, CASES, GEMMA4, MLLAMA_TOWER, T5, TEXT, WHISPER

from gpufit.errors import BadConfig, GpufitError, UnknownFamily
from gpufit.facts.architecture import Architecture
from gpufit.facts.families import READERS
from gpufit.facts.families.nesting import TEXT_MODELS
from gpufit.facts.read import parse_config

MINE = frozenset(model_type for model_type, _, _ in CASES)
UNTIED_T5 = ("T5ForConditionalGeneration", "MT5ForConditionalGeneration", "UMT5ForConditionalGeneration")


def read(model_type: str, model_class: str, raw: dict[str, Any]) -> Architecture:
    return parse_config({**raw, "model_type": model_type, "architectures": [model_class]})


@pytest.fixture(scope="module")
def oracle() -> Any:
    pytest.importorskip("transformers", reason="the truth is transformers' own model; install the measure extra")
    import oracle

    return oracle


def _names() -> list[str]:
    seen: dict[str, int] = {}
    names = []
    for _, model_class, _ in CASES:
        seen[model_class] = seen.get(model_class, 0) + 1
        names.append(model_class if seen[model_class] == 1 else f"{model_class}-{seen[model_class]}")
    return names


@pytest.mark.real
@pytest.mark.parametrize(("model_type", "model_class", "raw"), CASES, ids=_names())
def test_every_tensor_is_the_one_transformers_makes(
    oracle: Any, model_type: str, model_class: str, raw: dict[str, Any]
) -> None:
    from compare import differences

    truth = oracle.build({**raw, "model_type": model_type}, model_class)
    assert differences(read(model_type, model_class, raw), truth) == []


@pytest.mark.real
@pytest.mark.parametrize("model_class", UNTIED_T5)
def test_t5_checkpoints_that_say_untied_keep_their_own_output_matrix(oracle: Any, model_class: str) -> None:
    """The configuration class forgets the answer; the checkpoint's two different matrices are both loaded."""
    from compare import differences

    model_type = model_class.removesuffix("ForConditionalGeneration").lower()
    raw = {**T5, "tie_word_embeddings": False}
    built = oracle.build({**raw, "model_type": model_type}, model_class)
    assert built.tied["lm_head.weight"] == "shared.weight"
    loaded = dataclasses.replace(
        built, tied={name: owner for name, owner in built.tied.items() if name != "lm_head.weight"}
    )
    assert differences(read(model_type, model_class, raw), loaded) == []


@pytest.mark.real
def test_the_comparison_sees_one_dimension_off(oracle: Any) -> None:
    """It could not fail otherwise: the width of the MLP shows in every tensor that has it."""
    from compare import differences

    truth = oracle.build({**BERT, "model_type": "bert"}, "BertModel")
    found = differences(read("bert", "BertModel", {**BERT, "intermediate_size": 41}), truth)
    assert any("intermediate.dense.weight" in line for line in found)


@pytest.mark.real
@pytest.mark.parametrize("kind", sorted(kind for kind, (_, defaults) in TEXT_MODELS.items() if defaults))
def test_what_a_text_section_leaves_out_is_its_classes_default(oracle: Any, kind: str) -> None:
    import transformers

    config = transformers.AutoConfig.for_model(kind)
    defaults = TEXT_MODELS[kind][1]
    assert {key: getattr(config, key) for key in defaults} == dict(defaults)


@pytest.mark.real
@pytest.mark.parametrize("kind", sorted({"llama", "mistral", "qwen2", "gemma2", "gemma3_text", "phi3", "qwen3"}))
def test_a_bare_text_section_is_read_as_transformers_fills_it(oracle: Any, kind: str) -> None:
    from compare import differences

    raw = {"text_config": {"model_type": kind}, "vision_config": {"model_type": "clip_vision_model"}}
    truth = oracle.build({**raw, "model_type": "llava"}, "LlavaForConditionalGeneration")
    assert differences(read("llava", "LlavaForConditionalGeneration", raw), truth) == []


def _published() -> Iterator[tuple[str, str, int]]:
    folder = Path(__file__).parents[3] / "shared" / "configs"
    if not (folder / "INDEX.csv").is_file():
        return
    with (folder / "INDEX.csv").open(newline="", encoding="utf-8") as index:
        for row in csv.DictReader(index):
            if row["model_type"] in MINE and row["computed_param_count"]:
                yield row["hf_id"], str(folder / row["file"]), int(row["computed_param_count"])


PUBLISHED = list(_published())


@pytest.mark.skipif(not PUBLISHED, reason="the reference data lies beside the repository, and is absent here")
@pytest.mark.parametrize(("path", "parameters"), [row[1:] for row in PUBLISHED], ids=[row[0] for row in PUBLISHED])
def test_published_models_have_their_published_number_of_parameters(path: str, parameters: int) -> None:
    architecture = parse_config(json.loads(Path(path).read_text(encoding="utf-8")))
    assert architecture.parameters == parameters


def test_bart_large_cnn_by_hand() -> None:
    """50,264·1,024 words once, 2·1,026·1,024 positions, 12 encoder blocks of 12,596,224, 12 decoder blocks of
    16,796,672, two embedding norms of 2,048: 51,470,336 + 2,101,248 + 151,154,688 + 201,560,064 + 4,096.
    """
    raw = {
        "vocab_size": 50264, "d_model": 1024, "max_position_embeddings": 1024,
        **{f"{side}_layers": 12 for side in ("encoder", "decoder")},
        **{f"{side}_attention_heads": 16 for side in ("encoder", "decoder")},
        **{f"{side}_ffn_dim": 4096 for side in ("encoder", "decoder")},
    }  # fmt: skip
    architecture = read("bart", "BartForConditionalGeneration", raw)
    assert architecture.parameters == 406_290_432
    kinds = [(layers.kind, layers.layers, layers.kv_heads, layers.key_dim) for layers in architecture.cache]
    assert kinds == [("full", 12, 16, 64), ("cross", 12, 16, 64)]
    assert [stack.role for stack in architecture.stacks] == ["decoder", "encoder"]


def test_facts_beyond_tensors_encoders_cache_nothing() -> None:
    for model_type, model_class, raw in CASES:
        architecture = read(model_type, model_class, raw)
        if architecture.task in ("encoder", "embedding", "vision"):
            assert architecture.cache == (), model_class
            assert not architecture.generates
        else:
            assert architecture.cache, model_class
            assert architecture.stacks[0].role == "decoder"


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        (read("bert", "BertModel", BERT), ("embedding", "bert", 36)),
        (read("bert", "BertForMaskedLM", BERT), ("encoder", "bert", 36)),
        (read("roberta", "RobertaModel", {**BERT, "pad_token_id": 1}), ("embedding", "bert", 34)),
        (read("t5", "T5ForConditionalGeneration", T5), ("seq2seq", "t5", None)),
        (read("t5", "T5ForConditionalGeneration", {**T5, "n_positions": 512}), ("seq2seq", "t5", 512)),
        (read("whisper", "WhisperForConditionalGeneration", WHISPER), ("speech", "whisper", 18)),
        (read("bart", "BartModel", BART), ("seq2seq", "bart", 36)),
    ],
    ids=lambda value: value.model_class if isinstance(value, Architecture) else "",
)
def test_task_form_and_longest_context(architecture: Architecture, expected: tuple[object, ...]) -> None:
    assert (architecture.task, architecture.form, architecture.max_context_tokens) == expected


def test_whispers_encoder_has_a_fixed_length() -> None:
    architecture = read("whisper", "WhisperForConditionalGeneration", WHISPER)
    encoder = architecture.stack("encoder")
    assert encoder is not None
    assert architecture.is_encoder_decoder
    assert encoder.positions == 30


def test_llama_vision_caches_the_picture_in_its_crossing_layers() -> None:
    """Two tiles of (16 / 4)² + 1 = 17 patches; one layer of three reads them."""
    raw = {"text_config": {**TEXT, "cross_attention_layers": [1]}, "vision_config": MLLAMA_TOWER}
    architecture = read("mllama", "MllamaForConditionalGeneration", raw)
    tower = architecture.stack("vision")
    assert tower is not None
    assert tower.positions == 34
    assert not architecture.is_encoder_decoder, "the prompt goes to the decoder"
    assert [(layers.kind, layers.layers) for layers in architecture.cache] == [("full", 2), ("cross", 1)]


def test_gemma_4_layers_that_share_a_cache_keep_none() -> None:
    """Eight layers alternate sliding and full; the last four reuse what the first four keep."""
    cache = read("gemma4_text", "Gemma4ForCausalLM", {**GEMMA4, "num_kv_shared_layers": 4}).cache
    assert [(layers.kind, layers.layers, layers.elements_per_token) for layers in cache] == [
        ("sliding", 2, 2 * (8 + 8)), ("full", 2, 2 * (16 + 16)), ("shared", 4, 0),
    ]  # fmt: skip


def test_pictures_are_marked_so_that_text_quantizers_leave_them() -> None:
    for model_type, model_class, raw in CASES:
        architecture = read(model_type, model_class, raw)
        if architecture.task != "vision-language":
            continue
        for group in architecture.tensors.groups:
            text = "language_model" in group.name or "text_model" in group.name or "lm_head" in group.name
            assert (group.role in ("vision", "audio")) is not text, group.name


@pytest.mark.parametrize("model_type", sorted(MINE))
def test_a_class_from_elsewhere_is_unknown_not_guessed(model_type: str) -> None:
    raw = next(raw for kind, _, raw in CASES if kind == model_type)
    with pytest.raises(UnknownFamily):
        read(model_type, "SomebodysOwnModel", raw)


@pytest.mark.parametrize("kind", ["llava", "no-such-model", "bert"])
def test_a_text_section_that_no_decoder_reads_is_unknown(kind: str) -> None:
    raw = {"text_config": {**TEXT, "model_type": kind}, "vision_config": {"model_type": "clip_vision_model"}}
    with pytest.raises(UnknownFamily):
        read("llava", "LlavaForConditionalGeneration", raw)


@pytest.mark.parametrize(
    ("model_type", "change"),
    [
        ("bert", {"hidden_size": 25}),
        ("bert", {"hidden_size": None}),
        ("bert", {"num_hidden_layers": 10**9}),
        ("bert", {"vocab_size": -1}),
        ("bert", {"id2label": []}),
        ("bart", {"encoder_ffn_dim": "wide"}),
        ("t5", {"num_heads": True}),
        ("llava", {"text_config": None}),
        ("llava", {"vision_config": 7}),
        ("clip", {"vision_config": {"image_size": 4, "patch_size": 8}}),
        ("mllama", {"text_config": {**TEXT, "cross_attention_layers": ["one"]}}),
        ("dinov2", {"mlp_ratio": -1}),
        ("internvl", {"downsample_ratio": 1e-9}),
        ("internvl", {"downsample_ratio": 0}),
        ("internvl", {"downsample_ratio": False}),
        ("qwen3_vl", {"vision_config": {"depth": 2, "deepstack_visual_indexes": [[1]]}}),
    ],
)
def test_a_wrong_value_is_named_not_computed_with(model_type: str, change: dict[str, Any]) -> None:
    model_class, raw = next(
        (model_class, raw) for kind, model_class, raw in CASES
        if kind == model_type and model_class.endswith(("Model", "ForSequenceClassification", "Generation"))
        and ("id2label" not in change or "Classification" in model_class)
    )  # fmt: skip
    with pytest.raises(BadConfig):
        read(model_type, model_class, {**raw, **change})


junk = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 1 << 70), st.floats(), st.text(max_size=5),
    st.lists(st.integers(-2, 4000), max_size=4), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(data=st.data())
def test_junk_in_any_key_is_read_or_refused(data: st.DataObject) -> None:
    model_type, model_class, raw = data.draw(st.sampled_from(CASES))
    changed = json.loads(json.dumps(raw))
    target = changed
    section = data.draw(st.sampled_from([key for key, value in raw.items() if isinstance(value, dict)] or [""]))
    if section and data.draw(st.booleans()):
        target = changed[section]
    target[data.draw(st.sampled_from(sorted(target) or ["none"]))] = data.draw(junk)
    try:
        architecture = read(model_type, model_class, changed)
    except GpufitError:
        return
    assert architecture.parameters > 0
    assert all(size >= 0 for group in architecture.tensors.groups for size in group.shape)
    assert all(layers.elements_per_token >= 0 and layers.layers > 0 for layers in architecture.cache)


def test_every_family_here_has_a_reader() -> None:
    for model_type, model_class, raw in CASES:
        assert model_type in READERS
        assert read(model_type, model_class, raw).model_type == model_type
