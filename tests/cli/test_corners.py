"""Corners that somebody once fell over."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import gpufit
from gpufit.cli.main import main
from gpufit.errors import UsageError


@pytest.mark.parametrize(
    "arguments",
    [
        {"model": "pythia-6.9b", "vram": "8GB", "quant": "fp8"},
        {"model": "flan-t5-xxl", "vram": "16GB", "quant": "bnb-int8", "reserve": "1GiB"},
        {"model": "granite-3.1-2b", "gpu": "t4", "quant": "bnb-nf4", "batch": 8},
        {"model": "qwen3-30b-a3b", "vram": "12GB", "quant": "fp8", "reserve": "1GiB"},
    ],
    ids=lambda arguments: str(arguments["model"]),
)
def test_a_card_that_is_offered_runs_the_work_and_is_rated_as_check_rates_it(arguments: dict[str, object]) -> None:
    found = gpufit.check(**arguments)  # type: ignore[arg-type]
    cards = [option for option in found.alternatives if option.change.startswith("a larger card")]
    assert cards
    for option in cards:
        wanted = {key: value for key, value in arguments.items() if key not in ("vram", "gpu")}
        dtype = option.workload.dtype
        asked = gpufit.check(**{**wanted, "gpu": option.device.name, "dtype": dtype})  # type: ignore[arg-type]
        assert (asked.verdict, asked.asked.process) == (option.verdict, option.process), option.change


def test_the_solved_context_is_never_shorter_than_one_that_fits() -> None:
    """T5 pads its position bias where the length is no multiple of 8: 952 tokens need more than 1,024 do."""
    exactly = gpufit.check("t5-small", vram="64GB", context=1024, dtype="fp16").asked.process.high_bytes
    found = gpufit.check("t5-small", vram=f"{exactly}B", context=1024, dtype="fp16")
    assert found.verdict == "fits"
    assert found.longest_context_tokens >= 1024
    assert gpufit.check("t5-small", vram=f"{exactly}B", context=1023, dtype="fp16").verdict != "fits"


def test_of_several_cards_the_answer_names_the_judged_one_and_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cards = ["Tesla T4:15360MiB:free=14900MiB", "A10:23028MiB:free=1GiB", "L4", "L4:free=0", "Tesla T4", "Tesla T4"]
    monkeypatch.setenv("GPUFIT_FAKE_GPU", ",".join(cards))
    monkeypatch.setenv("COLUMNS", "200")
    for more in ([], ["--train", "lora"]):
        assert main(["check", "gpt2", *more]) == 0
        (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("device "))
        assert "L4, GPU 2, the freest of 6; beside it: GPU 0 Tesla T4 with 14.55 GiB free, GPU 1 A10" in line
        assert line.endswith("GPU 3 with 0.00 GiB free, and 2 more")
    monkeypatch.setenv("GPUFIT_FAKE_GPU", cards[0])
    main(["check", "gpt2"])
    assert "\ndevice   Tesla T4\n" in capsys.readouterr().out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_and_a_closed_output_are_failures_not_verdicts() -> None:
    command = [sys.executable, "-m", "gpufit", "check", "gpt2", "--vram", "16"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 2
    assert "cannot write the answer" in done.stderr
    assert "Traceback" not in done.stderr
    closed = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *command], stderr=subprocess.PIPE, text=True, timeout=60
    )
    assert closed.returncode == 2
    assert "Traceback" not in closed.stderr


def test_a_reader_that_goes_away_is_no_failure() -> None:
    done = subprocess.run(
        f"{sys.executable} -m gpufit list | head -1", shell=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.startswith("model")
    assert done.stderr == ""


def test_a_list_leaves_out_what_cannot_reach_the_context(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--fits", "--vram", "16", "--context", "100000", "--family", "gpt2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["models"] == []


def test_families_are_found_in_any_spelling_and_unknown_ones_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--family", "gpt2"]) == 0
    assert "gpt2-xl" in capsys.readouterr().out
    assert main(["list", "--family", "lama"]) == 2
    assert "llama" in capsys.readouterr().err


def test_code_says_when_nothing_fits_and_names_what_can_be_loaded(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    main(["check", "deepseek-v3", "--vram", "16", "--code"])
    assert capsys.readouterr().out.startswith("# This does not fit")
    main(["check", "clip-vit-base-patch32", "--vram", "16", "--code"])
    assert "AutoProcessor" in capsys.readouterr().out
    config = {
        "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "vocab_size": 100,
        "num_attention_heads": 4, "max_position_embeddings": 512, "torch_dtype": "float16",
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    main(["check", str(tmp_path / "config.json"), "--vram", "16", "--code"])
    assert f'model_id = "{tmp_path}"' in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [{"context": "4096"}, {"context": 4096.5}, {"batch": True}, {"batch": "2"}])
def test_wrong_types_from_python_are_usage_errors(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        gpufit.check("llama-2-7b", vram=16, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["catalog"], "Missing command"),
        (["catalog", "diff", "no-such-model", "x.json"], "unknown model 'no-such-model'"),
        (["catalog", "diff", "gpt2", "./nowhere.json"], "there is no file or folder"),
        (["catalog", "check", "nowhere.yaml"], "there is no file or folder"),
        (["validate", "nowhere.csv"], "cannot read nowhere.csv"),
        (["list", "--catalog", "nowhere.yaml"], "cannot read nowhere.yaml"),
        (["validate", "."], "cannot read .: Is a directory\nhint: it is a folder; name a file in it"),
        (["catalog", "add", "no-such-model"], "unknown model 'no-such-model'"),
        (["catalog", "prune"], "No such command"),
    ],
)
def test_the_catalog_commands_refuse_in_one_sentence_and_as_json(
    capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"gpufit: {sentence}")
    assert main([*arguments, "--json"]) == 2
    if len(arguments) > 1:
        assert json.loads(capsys.readouterr().out)["ok"] is False
