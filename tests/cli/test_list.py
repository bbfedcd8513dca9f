"""``gpufit list`` without a device, and what the shell completes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from gpufit.cli.main import main


def test_a_quantization_alone_shows_what_the_weights_take_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    """Llama-2-7B in NF4 is 4,167,587,840 bytes; a T5 has no GPTQ form and is left out."""
    assert main(["list", "--quant", "bnb-nf4", "--json"]) == 0
    sizes = {row["name"]: row["weights_bytes"] for row in json.loads(capsys.readouterr().out)["models"]}
    assert sizes["llama-2-7b"] == 4_167_587_840
    assert "t5-small" in sizes
    assert main(["list", "--quant", "gptq-int4-g128", "--json"]) == 0
    calibrated = {row["name"] for row in json.loads(capsys.readouterr().out)["models"]}
    assert "llama-2-7b" in calibrated
    assert "t5-small" not in calibrated
    assert main(["list", "--quant", "bnb-nf4", "--family", "llama"]) == 0
    header, first, *_ = capsys.readouterr().out.splitlines()
    assert header.split() == ["model", "params", "weights", "family", "task", "hub", "id"]
    assert "GiB" in first


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("list --family ll", "llama"),
        ("list --task vi", "vision-language"),
        ("list --sort he", "headroom"),
        ("list --quant bnb-nf4-", "bnb-nf4-dq"),
        ("check llama-2-7", "llama-2-7b"),
        ("check gpt2 --gpu rtx-409", "rtx-4090"),
        ("check gpt2 --attention s", "sdpa"),
        ("check gpt2 --kv-dtype fp8", "fp8"),
        ("check gpt2 --runtime v", "vllm"),
    ],
)
def test_the_shell_completes_names_and_words(words: str, expected: str) -> None:
    asked = {
        "_GPUFIT_COMPLETE": "complete_bash",
        "COMP_WORDS": f"gpufit {words}",
        "COMP_CWORD": str(len(words.split())),
    }
    done = subprocess.run(
        [sys.executable, "-c", "from gpufit.cli.main import script; script()"],
        env={**os.environ, **asked}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert expected in done.stdout.split()
