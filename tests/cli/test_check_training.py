"""``gpufit check MODEL --train``: text, JSON, exit codes, and mistakes in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from gpufit.cli.main import main

SCHEMA = json.loads((Path(__file__).parents[2] / "schema" / "gpufit.schema.json").read_text(encoding="utf-8"))
SMALL = ["check", "tinyllama-1.1b", "--vram", "16GB", "--micro-batch", "1", "--seq", "512"]


@pytest.mark.parametrize("train", ["full", "lora", "qlora"])
def test_the_json_follows_the_schema_and_its_rows_add_up(train: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--train", train, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    jsonschema.validate(record, SCHEMA)
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
