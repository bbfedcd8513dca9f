"""The shipped models.yaml: who must be in it, and that every figure in it is what its config makes."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from gpufit.facts.architecture import Architecture
from gpufit.facts.read import parse_config
from gpufit.sources.catalog import Catalog, CatalogEntry, load_catalog

ROOT = Path(__file__).parents[2]

# short name, Hub id, published parameters (tied weights once, buffers not counted)
REQUIRED = [
    ("bart-base", "facebook/bart-base", 139_420_416),
    ("bart-large", "facebook/bart-large", 406_291_456),
    ("distilbart-cnn-12-6", "sshleifer/distilbart-cnn-12-6", 305_510_400),
    ("t5-small", "google-t5/t5-small", 60_506_624),
    ("t5-base", "google-t5/t5-base", 222_903_552),
    ("t5-large", "google-t5/t5-large", 737_668_096),
    ("t5-3b", "google-t5/t5-3b", 2_851_598_336),
    ("flan-t5-small", "google/flan-t5-small", 76_961_152),
    ("flan-t5-base", "google/flan-t5-base", 247_577_856),
    ("flan-t5-large", "google/flan-t5-large", 783_150_080),
    ("flan-t5-xl", "google/flan-t5-xl", 2_849_757_184),
    ("flan-t5-xxl", "google/flan-t5-xxl", 11_135_332_352),
    ("roberta-base", "FacebookAI/roberta-base", 124_697_433),
    ("roberta-large", "FacebookAI/roberta-large", 355_412_057),
    ("deberta-v3-base", "microsoft/deberta-v3-base", 183_831_552),
    ("deberta-v3-large", "microsoft/deberta-v3-large", 434_012_160),
    ("gpt2", "openai-community/gpt2", 124_439_808),
    ("gpt2-medium", "openai-community/gpt2-medium", 354_823_168),
    ("gpt2-large", "openai-community/gpt2-large", 774_030_080),
    ("gpt2-xl", "openai-community/gpt2-xl", 1_557_611_200),
    ("opt-125m", "facebook/opt-125m", 125_239_296),
    ("opt-350m", "facebook/opt-350m", 331_196_416),
    ("opt-1.3b", "facebook/opt-1.3b", 1_315_758_080),
    ("opt-2.7b", "facebook/opt-2.7b", 2_651_596_800),
    ("opt-6.7b", "facebook/opt-6.7b", 6_658_473_984),
    ("opt-13b", "facebook/opt-13b", 12_853_473_280),
    ("opt-30b", "facebook/opt-30b", 29_974_540_288),
    ("opt-66b", "facebook/opt-66b", 65_719_701_504),
    ("bloomz-560m", "bigscience/bloomz-560m", 559_214_592),
    ("bloomz-1b1", "bigscience/bloomz-1b1", 1_065_314_304),
    ("bloomz-1b7", "bigscience/bloomz-1b7", 1_722_408_960),
    ("bloomz-3b", "bigscience/bloomz-3b", 3_002_557_440),
    ("bloomz-7b1", "bigscience/bloomz-7b1", 7_069_016_064),
    ("llama-2-7b", "meta-llama/Llama-2-7b-hf", 6_738_415_616),
    ("llama-2-13b", "meta-llama/Llama-2-13b-hf", 13_015_864_320),
    ("llama-2-70b", "meta-llama/Llama-2-70b-hf", 68_976_648_192),
]

FAMILIES = {
    "Llama": ("llama-3-8b", "llama-3.1-8b", "llama-3.2-1b", "llama-3.3-70b", "llama-4-scout"),
    "Mistral": ("mistral-7b-v0.3", "mixtral-8x7b", "mixtral-8x22b"),
    "Qwen": (
        "qwen1.5-7b",
        "qwen2-7b",
        "qwen2.5-7b",
        "qwen3-8b",
        "qwen3-30b-a3b",
        "qwen3-next-80b-a3b",
        "qwen2.5-vl-7b",
    ),
    "Gemma": ("gemma-2b", "gemma-2-9b", "gemma-3-27b", "gemma-4-31b"),
    "Phi": ("phi-2", "phi-3-mini-4k", "phi-3.5-mini", "phi-4"),
    "DeepSeek": ("deepseek-v2-lite", "deepseek-v3", "deepseek-r1-distill-qwen-7b", "deepseek-r1-distill-llama-8b"),
    "gpt-oss": ("gpt-oss-20b", "gpt-oss-120b"),
    "GLM": ("glm-4-9b-0414", "glm-4.5-air"),
    "Falcon": ("falcon-7b", "falcon-40b"),
    "OLMo": ("olmo-2-7b", "olmo-3-7b"),
    "StarCoder": ("starcoder2-3b", "starcoder2-15b"),
    "SmolLM": ("smollm2-1.7b", "smollm3-3b"),
    "TinyLlama": ("tinyllama-1.1b",),
    "Pythia": ("pythia-70m", "pythia-12b"),
    "GPT-J": ("gpt-j-6b",),
    "GPT-NeoX": ("gpt-neox-20b",),
    "Mamba": ("mamba-130m", "mamba-2.8b"),
    "BERT": ("bert-base-uncased", "bert-large-uncased"),
    "DistilBERT": ("distilbert-base-uncased",),
    "ModernBERT": ("modernbert-base", "modernbert-large"),
    "BGE": ("bge-small-en-v1.5", "bge-m3"),
    "E5": ("e5-base-v2", "multilingual-e5-large"),
    "MiniLM": ("all-minilm-l6-v2",),
    "Whisper": ("whisper-tiny", "whisper-large-v3"),
    "CLIP": ("clip-vit-base-patch32", "clip-vit-large-patch14"),
    "ViT": ("vit-base-patch16-224", "vit-large-patch16-224"),
}

# Facts that the reference configuration does not hold, or holds otherwise; the entry has the published ones.
CORRECTED = {
    "facebook/bart-base": "its config names the bare BartModel; the entry means the model that generates",
    "facebook/bart-large": "its config names the bare BartModel; the entry means the model that generates",
    "google/gemma-4-E2B-it": "the reference leaves the audio tower out; with it the published total is met exactly",
    "google/gemma-4-E4B-it": "the reference leaves the audio tower out; with it the published total is met exactly",
    "microsoft/Phi-3-mini-4k-instruct": "a window of 2,047 tokens is published, 2,048 assembled",
    "mistralai/Mistral-Nemo-Base-2407": "published with sliding_window null, which the assembled config leaves out",
    "mistralai/Mistral-Nemo-Instruct-2407": "published with sliding_window null, which the assembled config leaves out",
    "mistralai/Mistral-Small-3.1-24B-Instruct-2503": "published with sliding_window null",
    "nvidia/Mistral-NeMo-Minitron-8B-Base": "published with sliding_window null",
}
ABSENT = {
    "MiniMaxAI/MiniMax-M3": "no reader",
    "moonshotai/Kimi-K3": "no reader",
    "stepfun-ai/Step-3.7-Flash": "no reader",
    "nvidia/Llama-3_3-Nemotron-Super-49B-v1": "80 blocks of different shapes are no entry that a person can review",
    "nvidia/NVIDIA-Nemotron-3-Ultra-550B-A55B-BF16": "its count is 11 billion short of the published one",
    "zai-org/GLM-5.2": "its count is 10 billion short of the published one",
}


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_catalog(None, {"HOME": "/nonexistent", "XDG_CACHE_HOME": "/nonexistent"})


def test_llama_2_7b_has_the_count_worked_out_by_hand(catalog: Catalog) -> None:
    """2 × 32,000 × 4,096 for embedding and head; 32 × (4 × 4,096² + 3 × 4,096 × 11,008 + 2 × 4,096) for the blocks;
    4,096 for the last norm: 262,144,000 + 6,476,267,520 + 4,096 = 6,738,415,616."""
    assert catalog.get("llama-2-7b").architecture().parameters == 6_738_415_616


@pytest.mark.parametrize(("name", "hub_id", "parameters"), REQUIRED)
def test_required_models_answer_to_short_name_and_hub_id(
    catalog: Catalog, name: str, hub_id: str, parameters: int
) -> None:
    entry = catalog.get(name)
    assert (entry.name, entry.hub_id) == (name, hub_id)
    assert catalog.get(hub_id) is entry
    assert catalog.get(hub_id.upper()) is entry
    assert entry.parameters == entry.architecture().parameters == parameters


@pytest.mark.parametrize("family", FAMILIES)
def test_the_current_families_are_there(catalog: Catalog, family: str) -> None:
    assert {catalog.get(name).family for name in FAMILIES[family]} == {family}
    assert [catalog.get(name).name for name in FAMILIES[family]] == list(FAMILIES[family])


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("meta-llama/Llama-2-7b-chat-hf", "llama-2-7b"),
        ("Llama-2-7b-chat-hf", "llama-2-7b"),
        ("llama2-7b", "llama-2-7b"),
        ("meta-llama/Meta-Llama-3.1-8B-Instruct", "llama-3.1-8b"),
        ("Qwen2.5-7B-Instruct", "qwen2.5-7b"),
        ("mistral-7b", "mistral-7b-v0.1"),
        ("google/gemma-2-2b-it", "gemma-2-2b"),
        ("BERT-base", "bert-base-uncased"),
    ],
)
def test_aliases_lead_to_the_entry(catalog: Catalog, alias: str, name: str) -> None:
    assert catalog.get(alias).name == name


def test_every_entry_makes_exactly_its_published_parameters(catalog: Catalog) -> None:
    wrong = {e.name: e.architecture().parameters - e.parameters for e in catalog}
    assert len(wrong) >= 350
    assert {name: off for name, off in wrong.items() if off} == {}


def test_every_entry_says_what_its_architecture_does(catalog: Catalog) -> None:
    for entry in catalog:
        found = entry.architecture()
        assert (found.task, found.dtype) == (entry.task, entry.dtype), entry.name
        assert entry.context_tokens in (None, found.max_context_tokens), entry.name
        assert entry.hub_id, entry.name


def test_an_entry_bounds_the_context_unless_its_design_sets_none(catalog: Catalog) -> None:
    unbounded = {entry.family for entry in catalog if entry.context_tokens is None}
    assert unbounded == {"T5", "mT5", "ByT5", "Mamba", "Falcon", "ViT"}
    assert [e.name for e in catalog if e.family == "Falcon" and e.context_tokens is None] == ["falcon-mamba-7b"]


def test_positions_that_are_learned_bound_the_context(catalog: Catalog) -> None:
    """A table of positions cannot be read past its end, whatever is published."""
    seen = 0
    for entry in catalog:
        rows = [
            group.shape[0]
            for group in entry.architecture().tensors.groups
            if group.name.endswith(("wpe.weight", "position_embeddings.weight", "embed_positions.weight"))
            and group.role not in ("vision", "audio")
        ]
        if rows and entry.task != "vision":
            seen += 1
            assert (entry.context_tokens or max(rows) + 1) <= max(rows), entry.name
    assert seen > 50


def test_the_published_context_replaces_the_old_one_of_the_config(catalog: Catalog) -> None:
    assert catalog.get("llama-2-7b").architecture().max_context_tokens == 4096


def test_no_config_repeats_what_changes_nothing(catalog: Catalog) -> None:
    idle = {"torch_dtype", "transformers_version", "rms_norm_eps", "initializer_range", "bos_token_id", "use_cache"}
    assert [entry.name for entry in catalog if idle & entry.config.keys()] == []


def test_entries_agree_with_the_reference_configurations(catalog: Catalog, shared: Path) -> None:
    """Tensor by tensor, stack by stack, cache by cache; CORRECTED and ABSENT explain every exception."""
    differing, absent, compared = set(), set(), 0
    with (shared / "configs" / "INDEX.csv").open(encoding="utf-8") as rows:
        for row in csv.DictReader(rows):
            entry = catalog.find(row["hf_id"])
            if entry is None:
                absent.add(row["hf_id"])
                continue
            raw = json.loads((shared / "configs" / row["file"]).read_text(encoding="utf-8"))
            compared += 1
            if substance(parse_config(raw)) != substance(entry.architecture()):
                differing.add(row["hf_id"])
    assert differing == CORRECTED.keys()
    assert absent == ABSENT.keys()
    assert compared > 330


def test_the_reference_aliases_are_names_of_the_catalog(catalog: Catalog, shared: Path) -> None:
    with (shared / "configs" / "ALIASES.csv").open(encoding="utf-8") as rows:
        for row in csv.DictReader(rows):
            assert catalog.get(row["alias"]) is catalog.get(row["hf_id"])


def substance(found: Architecture) -> dict[str, Any]:
    """All that memory depends on."""
    tensors = found.tensors
    return {
        "class": found.model_class,
        "form": found.form,
        "stacks": found.stacks,
        "cache": found.cache,
        "vocabulary": found.vocab_size,
        "tensors": tensors.groups,
        "output": tensors.output,
        "keep": (tensors.keep_fp32, tensors.keep_fp32_strict),
        "stored": found.config_quantization,
    }


def test_the_comparison_sees_one_wrong_dimension(catalog: Catalog) -> None:
    entry = catalog.get("gpt2")
    assert substance(entry.architecture()) == substance(parse_config(dict(entry.config)))
    assert substance(entry.architecture()) != substance(parse_config({**entry.config, "n_inner": 3000}))


def test_entries_stand_where_they_say(catalog: Catalog) -> None:
    lines = (ROOT / "models.yaml").read_text(encoding="utf-8").splitlines()

    def stands(entry: CatalogEntry) -> bool:
        return lines[entry.line - 1] == f"  {entry.name}:"

    assert [entry.name for entry in catalog if not stands(entry)] == []
