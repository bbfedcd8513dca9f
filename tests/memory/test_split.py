"""Several cards: modules lie where transformers puts them, and every card's rows sum to its own process."""

from __future__ import annotations

import json
from typing import Any

import pytest

import gpufit
from gpufit.cli.main import main
from gpufit.facts.read import parse_config
from gpufit.memory.estimate import estimate
from gpufit.memory.placement import place_modules
from gpufit.memory.split import share_out
from gpufit.memory.workload import Workload

_BASE: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 11, "num_attention_heads": 4,
                         "vocab_size": 997, "max_position_embeddings": 128}  # fmt: skip
TINY: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **_BASE},
    "tied": {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "tie_word_embeddings": True, **_BASE},
    "big-vocabulary": {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **_BASE, "vocab_size": 20_000},
    "gpt2": {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_embd": 64, "n_layer": 11, "n_head": 4,
             "vocab_size": 997, "n_positions": 128, "bos_token_id": 1, "eos_token_id": 2},
    "t5": {"model_type": "t5", "architectures": ["T5ForConditionalGeneration"], "d_model": 64, "d_ff": 128, "d_kv": 16,
           "num_heads": 4, "num_layers": 7, "vocab_size": 997},
    "mixtral": {"model_type": "mixtral", "architectures": ["MixtralForCausalLM"], **_BASE, "num_local_experts": 4,
                "num_experts_per_tok": 2, "num_key_value_heads": 2},
    "llava": {
        "model_type": "llava", "architectures": ["LlavaForConditionalGeneration"],
        "vision_config": {"model_type": "clip_vision_model", "image_size": 56, "patch_size": 14, "hidden_size": 64,
                          "num_hidden_layers": 5, "num_attention_heads": 4, "intermediate_size": 128},
        "text_config": {"model_type": "llama", **_BASE},
    },
}  # fmt: skip


def _held_by_transformers(raw: dict[str, Any], cards: int, quant: str) -> tuple[list[int], list[int]]:
    """Parameters' bytes on each card, and blocks of ``model.layers``, as the library itself places the meta model."""
    pytest.importorskip("transformers", reason="the measure extra is not installed")
    pytest.importorskip("accelerate", reason="the measure extra is not installed")
    from transformers import BitsAndBytesConfig
    from transformers.integrations.accelerate import _get_device_map
    from transformers.quantizers.auto import AutoHfQuantizer

    from gpufit.replay.build import build_model

    model: Any = build_model(raw)
    quantizer: Any = None
    if quant != "none":
        pytest.importorskip("bitsandbytes", reason="the measure extra is not installed")
        config = BitsAndBytesConfig(load_in_4bit=quant == "bnb-nf4", load_in_8bit=quant == "bnb-int8")
        quantizer = AutoHfQuantizer.from_config(config)
        quantizer.preprocess_model(model=model, dtype=model.dtype, device_map="auto")
        quantizer.validate_environment = lambda **settings: None  # would ask for a GPU
    device_map = _get_device_map(model, "auto", {**dict.fromkeys(range(cards), 1 << 50), "cpu": 1 << 50}, quantizer)

    def card_of(name: str) -> int:
        while name not in device_map:
            name = name.rpartition(".")[0]
        return int(device_map[name])

    held, blocks = [0] * cards, [0] * cards
    for name, parameter in model.named_parameters():
        held[card_of(name)] += parameter.numel() * parameter.element_size()
    for index in range(raw.get("num_hidden_layers", 0)):
        blocks[card_of(f"model.layers.{index}.mlp")] += 1
    return held, blocks


@pytest.mark.real
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("cards", [2, 3, 4])
@pytest.mark.parametrize("name", TINY)
def test_modules_lie_where_transformers_puts_them(name: str, cards: int) -> None:
    placed = place_modules(parse_config(TINY[name]), "fp16", "none", cards)
    assert [own.weights_bytes for own in placed] == _held_by_transformers(TINY[name], cards, "none")[0]


@pytest.mark.real
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("cards", [2, 3, 4])
@pytest.mark.parametrize("quant", ["bnb-int8", "bnb-nf4"])
def test_quantized_blocks_lie_where_transformers_puts_them(quant: Any, cards: int) -> None:
    raw = {**TINY["llama"], "num_hidden_layers": 23}
    placed = place_modules(parse_config(raw), "fp16", quant, cards)
    assert [own.blocks for own in placed] == _held_by_transformers(raw, cards, quant)[1]


@pytest.mark.parametrize("quant", ["none", "bnb-int8", "bnb-nf4", "gptq-int4-g128"])
@pytest.mark.parametrize("model", ["llama-2-13b", "t5-3b", "mixtral-8x7b", "qwen2.5-vl-7b"])
def test_nothing_is_lost_between_the_cards(model: str, quant: Any) -> None:
    if quant.startswith("gptq") and model == "t5-3b":
        pytest.skip("GPTQ takes text decoders only")
    work = Workload(prompt_tokens=400, new_tokens=100, quant=quant)
    whole = estimate(gpufit.architecture_of(model), work)
    for cards in (2, 3, 8):
        share = share_out(whole, cards)
        assert len(share.cards) == cards
        assert abs(sum(card.weights_bytes for card in share.cards) - whole.weights.total_bytes) <= cards
        assert abs(sum(card.kv_cache_bytes for card in share.cards) - whole.kv_cache_bytes) <= cards
        assert max(card.need_bytes for card in share.cards) == max(share.process.high_bytes, share.load_peak.high_bytes)


def test_rows_and_totals_are_the_fullest_cards(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "llama-2-13b", "--gpu", "t4x3", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    process = record["totals"]["process"]
    for row_key, total_key in (("low_bytes", "low_bytes"), ("bytes", "likely_bytes"), ("high_bytes", "high_bytes")):
        assert sum(row[row_key] for row in record["breakdown"]) == process[total_key]
    assert process["likely_bytes"] == max(card["process"]["likely_bytes"] for card in record["cards"])
    assert sum(card["weights_bytes"] for card in record["cards"]) == 26_031_728_640
    assert sum(card["blocks"] for card in record["cards"]) == 40


def test_a_vision_towers_blocks_keep_no_cache() -> None:
    """LLaVA places its five tower blocks first; the cache lies with the eleven of the language model."""
    work = Workload(prompt_tokens=90, new_tokens=10)
    first, last = share_out(estimate(parse_config(TINY["llava"]), work), 2).cards
    assert first.blocks + last.blocks == 16
    assert first.kv_cache_bytes * 8 == last.kv_cache_bytes * 3  # 3 of 11 decoder blocks on the first card


def test_cards_without_a_module_hold_nothing_not_even_a_context(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "gpt2", "--gpu", "t4x20", "--json"]) == 0
    cards = json.loads(capsys.readouterr().out)["cards"]
    empty = [card for card in cards if not card["weights_bytes"]]
    assert len(empty) == 17
    assert all(card["process"]["high_bytes"] == 0 for card in empty)
    main(["check", "gpt2", "--gpu", "t4x20"])
    assert "17 of the cards stay empty" in capsys.readouterr().out
