"""``gpufit check MODEL --train``: text, JSON, exit codes, and mistakes in one sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from gpufit.cli.main import main

SMALL = ["check", "tinyllama-1.1b", "--vram", "16GB", "--micro-batch", "1", "--seq", "512"]


@pytest.mark.parametrize("train", ["full", "lora", "qlora"])
def test_the_json_follows_the_schema_and_its_rows_add_up(
    train: str, capsys: pytest.CaptureFixture[str], follows_schema: Callable[[object], None]
) -> None:
    assert main([*SMALL, "--train", train, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    follows_schema(record)
    assert record["training"]["method"] == train
    assert sum(row["bytes"] for row in record["breakdown"]) == record["totals"]["process"]["likely_bytes"]
    assert record["phase"] in {phase["name"] for phase in record["phases"]}
    assert max(p["allocated_bytes"] for p in record["phases"]) == record["totals"]["allocated"]["likely_bytes"]


def test_a_no_names_the_smallest_changes_with_their_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "llama-2-7b", "--gpu", "rtx-4090", "--train", "full", "--seq", "512"]) == 1
    text = capsys.readouterr().out
    assert "optimizer step" in text or "backward pass" in text
    assert "Smallest changes that make it fit" in text
    assert "LoRA" in text
    assert " less" in text


def test_the_text_says_what_each_figure_is_and_fits_eighty_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    main(["check", "gpt2", "--gpu", "t4", "--train", "full", "--precision", "amp-fp16", "--grad-accum", "4"])
    lines = capsys.readouterr().out.splitlines()
    text = " ".join(" ".join(lines).split())
    assert max(map(len, lines)) <= 80
    for words in (
        "micro-batch 8 × 1,024 tokens, an optimizer step after every 4, amp-fp16 over fp32 weights",
        "no activation checkpointing", "a loss over whole logits", "trains all 124,439,808 parameters",
        "phase allocated temporaries gradients widest at", "before the optimizer has states, takes",
        "longest sequences of 8 at a time:", "--code prints the Trainer program.",
    ):  # fmt: skip
        assert words in text


def test_a_change_stands_in_a_column_with_what_it_takes_and_saves(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    main(["check", "llama-2-7b", "--gpu", "rtx-4090", "--train", "lora"])
    text = capsys.readouterr().out
    assert "LoRA adapters of rank 8 on q_proj," in text
    (line,) = (line for line in text.splitlines() if "gradients accumulated over 8" in line)
    change, size, verdict, less = re.split(r"  +", line.strip())
    assert (change, verdict) == ("micro-batch 1, gradients accumulated over 8", "fits")
    assert size.endswith("GiB")
    assert less.endswith(" less")


def test_changes_together_are_named_once_and_folded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Llama-2-7B whole on two A10s takes everything at once; QLoRA is LoRA already."""
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["check", "llama-2-7b", "--gpu", "a10x2", "--train", "full"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).split())
    assert "+ QLoRA (nf4)" in text
    assert "LoRA r=8 + QLoRA" not in text


def test_one_sequence_at_a_time_is_not_spoken_of_as_several(capsys: pytest.CaptureFixture[str]) -> None:
    main(["check", "gpt2", "--gpu", "t4", "--train", "full", "--micro-batch", "1"])
    assert "; longest sequence: 1,024 tokens (the model's maximum)" in capsys.readouterr().out


def test_an_amd_card_is_read_by_its_own_tool(capsys: pytest.CaptureFixture[str]) -> None:
    main(["check", "gpt2", "--gpu", "mi210", "--train", "full"])
    assert "what amd-smi shows" in capsys.readouterr().out


def test_what_is_solved_fits_and_one_more_does_not(capsys: pytest.CaptureFixture[str]) -> None:
    main([*SMALL, "--train", "lora", "--json"])
    largest = json.loads(capsys.readouterr().out)["largest_batch"]
    words = ["check", "tinyllama-1.1b", "--vram", "16GB", "--seq", "512", "--train", "lora", "--json", "--micro-batch"]
    main([*words, str(largest)])
    assert json.loads(capsys.readouterr().out)["verdict"] == "fits"
    main([*words, str(largest + 1)])
    assert json.loads(capsys.readouterr().out)["verdict"] != "fits"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--train", "dpo"], "unknown --train 'dpo'"),
        (["--train", "full", "--optimizer", "adamz"], "unknown --optimizer 'adamz'"),
        (["--train", "full", "--quant", "bnb-nf4"], "trains plain weights"),
        (["--train", "full", "--kbit-prepare"], "for quantized weights"),
        (["--train", "full", "--seq", "100000"], "beyond the model's maximum"),
        (["--train", "lora", "--lora-targets", "nonsense"], "no module of llama is named nonsense"),
        (["--train", "full", "--sharding", "fsdp2"], "needs several GPUs"),
        (["--train", "full", "--batch", "4"], "is about inference"),
        (["--micro-batch", "4"], "--micro-batch is about training"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_one_sentence_and_exit_two(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "tinyllama-1.1b", "--vram", "16GB", *words]) == 2
    assert said in capsys.readouterr().err


def test_adapters_on_fused_experts_are_counted_and_the_attention_alone_is_offered(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """54 GiB of merged experts beside 57 GiB of weights: too much for 80 GB; see memory/training/test_fused.py."""
    asked = ["check", "qwen3-30b-a3b", "--gpu", "h100", "--train", "lora", "--micro-batch", "1", "--seq", "512"]
    assert main(asked) == 1
    text = " ".join(capsys.readouterr().out.split())
    assert "all-linear is assumed, and peft wraps the fused experts too" in text
    assert "adapters on the attention alone" in text
    assert main([*asked, "--lora-targets", "q_proj,k_proj,v_proj,o_proj"]) == 0
