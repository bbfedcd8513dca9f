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


ASKED = [["--fits", "--gpu", "a100-80gb"], [], ["--quant", "bnb-nf4"]]


@pytest.mark.parametrize("asked", ASKED, ids=" ".join)
def test_the_whole_catalog_fits_eighty_columns_and_is_whole_when_piped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], asked: list[str]
) -> None:
    main(["list", *asked])
    whole = capsys.readouterr().out.splitlines()
    monkeypatch.setenv("COLUMNS", "80")
    main(["list", *asked])
    narrow = capsys.readouterr().out.splitlines()
    assert max(map(len, narrow)) <= 80 < max(map(len, whole))
    assert "…" not in "".join(whole)
    assert len({line.split()[0] for line in narrow}) == len({line.split()[0] for line in whole}) == len(whole)


def test_without_a_device_names_are_whole_at_eighty_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The ids of the Hub give way, since a name is what ``check`` takes."""
    monkeypatch.setenv("COLUMNS", "80")
    main(["list"])
    assert "deepseek-r1-distill-llama-70b " in capsys.readouterr().out


def test_of_several_cards_the_list_says_which_was_judged(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GPUFIT_FAKE_GPU", "Tesla T4:15360MiB:free=1GiB, Tesla T4:15360MiB:free=14900MiB")
    assert main(["list", "--fits", "--family", "gpt-2"]) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert said == "note: judged on Tesla T4, GPU 1, the freest of 2; beside it: GPU 0 with 1.00 GiB free"


def test_an_empty_list_says_whether_anything_matched(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--fits", "--vram", "1", "--family", "phi"]) == 0
    assert capsys.readouterr().out == "Nothing in the catalog that matches fits.\n"
    assert main(["list", "--task", "speech", "--max-params", "1M"]) == 0
    assert capsys.readouterr().out == "Nothing in the catalog matches.\n"


def test_pictures_have_no_longest_context(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--gpu", "t4", "--family", "vit", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["models"]
    assert rows
    assert {row["longest_context_tokens"] for row in rows} == {None}


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
