"""``gpufit check`` as a user meets it: text, JSON, exit codes, bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gpufit.cli.main import main

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """Run the command in this process with a clean environment; returns code, stdout, stderr."""
    for name in ("NO_COLOR", "FORCE_COLOR", "GPUFIT_FAKE_GPU", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments: str, **environ: str) -> tuple[int, str, str]:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        code = main(arguments)
        out, err = capsys.readouterr()
        return code, out, err

    return call


Run = Callable[..., tuple[int, str, str]]


def test_the_first_users_question_is_answered_right(run: Run) -> None:
    """fp16 with 4,096 tokens: 15,624,314,880 bytes of weights and cache alone do not fit 16 GB; int8 does."""
    code, out, _ = run("check", "llama-2-7b", "--vram", "16", "--json")
    record = json.loads(out)
    rows = {row["name"]: row["bytes"] for row in record["breakdown"]}
    assert (code, record["verdict"]) == (1, "no")
    assert record["budget_bytes"] == 16_000_000_000
    assert rows["weights"] == 13_476_831_232
    assert rows["kv_cache"] == 2_147_483_648
    assert rows["weights"] + rows["kv_cache"] == 15_624_314_880
    assert record["recommendation"]["workload"]["quant"] == "bnb-int8"
    assert record["recommendation"]["verdict"] == "fits"
    formats = {row["format"]: row["weights_bytes"] for row in record["weights_by_format"]}
    assert formats["fp32"] == 4 * 6_738_415_616  # the 27 to 28 GB of folklore

    code, out, _ = run("check", "llama-2-7b", "--vram", "16", "--quant", "bnb-int8")
    assert code == 0
    assert out.startswith("✓ llama-2-7b in bnb-int8 (rest fp16) fits in 14.90 GiB")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("check-llama-2-7b-16", ["check", "llama-2-7b", "--vram", "16"]),
        ("check-gpt2-t4", ["check", "gpt2", "--gpu", "t4"]),
        ("check-t5-3b-16", ["check", "t5-3b", "--vram", "16"]),
        ("list-fits-4", ["list", "--fits", "--vram", "4", "--family", "t5"]),
    ],
)
def test_text_at_width_80_is_as_it_was_when_somebody_last_looked(
    run: Run, name: str, arguments: list[str], request: pytest.FixtureRequest
) -> None:
    """Look at the new text, then refresh with ``pytest tests/cli --update-golden``."""
    _, out, _ = run(*arguments)
    golden = GOLDEN / f"{name}.txt"
    if request.config.getoption("--update-golden"):
        golden.write_text(out, encoding="utf-8")
    assert out == golden.read_text(encoding="utf-8")
    assert max(map(len, out.splitlines())) <= 80


def test_json_follows_the_schema_for_answers_and_for_errors(run: Run, follows_schema: Callable[[object], None]) -> None:
    for arguments in (
        ["check", "gpt2", "--vram", "16", "--code"],
        ["check", "bert-base-uncased", "--gpu", "rtx-4090"],
        ["check", "t5-small", "--gpu", "t4x2", "--batch", "4"],
        ["check", "llama-2-70b", "--gpu", "a100-80gb"],
        ["check", "no-such-model", "--vram", "16"],
        ["check", "gpt2", "--vram", "0"],
        ["list", "--fits", "--vram", "8"],
        ["list"],
        ["gpus"],
        ["list", "--task", "nonsense"],
    ):
        _, out, _ = run(*arguments, "--json", GPUFIT_FAKE_GPU="Tesla T4:15360MiB:free=14900MiB")
        follows_schema(json.loads(out))


def test_rows_sum_to_the_process_total_at_each_end_of_the_range(run: Run) -> None:
    for model in ("llama-2-7b", "gpt2", "t5-large", "roberta-large", "whisper-base"):
        _, out, _ = run("check", model, "--vram", "24", "--json")
        record = json.loads(out)
        process = record["totals"]["process"]
        for row_key, total_key in (("low_bytes", "low_bytes"), ("bytes", "likely_bytes"), ("high_bytes", "high_bytes")):
            assert sum(row[row_key] for row in record["breakdown"]) == process[total_key], model


BAD: list[tuple[list[str], int, str, str]] = [
    (["check", "llama-2-7", "--vram", "16"], 2, "unknown model 'llama-2-7'", "llama-2-7b"),
    (["check", "gpt2", "--gpu", "rtx-4099"], 2, "unknown GPU 'rtx-4099'", "rtx-40"),
    (["check", "gpt2", "--vram", "0"], 2, "more than 0", "16GiB"),
    (["check", "gpt2", "--vram", "-5"], 2, "is not a size", "16GiB"),
    (["check", "gpt2", "--vram", "abc"], 2, "is not a size", "16GiB"),
    (
        ["check", "gpt2", "--vram", "16", "--context", "2048"],
        2,
        "beyond the model's maximum of 1,024",
        "--context 1024",
    ),
    (["check", "gpt2", "--vram", "16", "--batch", "0"], 2, "--batch 0", "one sequence"),
    (["check", "bert-base-uncased", "--vram", "16", "--context", "0"], 2, "--context 0", "--context 512"),
    (["check", "bert-base-uncased", "--vram", "16", "--new-tokens", "5"], 2, "generates no tokens", "--new-tokens"),
    (["check", "vit-base-patch16-224", "--vram", "16", "--context", "64"], 2, "takes no tokens", "--context"),
    (["check", "gpt2", "--vram", "16", "--attention", "spda"], 2, "unknown attention 'spda'", "nearest: sdpa"),
    (["list", "--max-params", "0"], 2, "more than 0", "7B"),
    (["list", "--quant", "nf4"], 2, "unknown quantization 'nf4'", "nearest: bnb-nf4"),
    (["list", "--sort", "proces"], 2, "unknown sort key", "nearest: process"),
    (["list", "--sort", "headroom"], 2, "needs a device", "--fits"),
    (["list", "--batch", "4", "--context", "64"], 2, "--context and --batch need a device", "--vram"),
    (["check", "gpt2", "--vram", "16", "--batch", "many"], 2, "many", "--help"),
    (["check", "gpt2", "--vram", "16", "--quant", "int3"], 2, "unknown quantization 'int3'", "bnb-nf4"),
    (["check", "gpt2", "--vram", "16", "--dtype", "int7"], 2, "unknown dtype 'int7'", "fp16"),
    (["check", "gpt2", "--vram", "16", "--kv-dtype", "q9"], 2, "unknown cache format 'q9'", "fp8"),
    (["check", "gpt2", "--vram", "16", "--attention", "xformers"], 2, "unknown attention", "sdpa"),
    (["check", "t5-small", "--vram", "16", "--quant", "awq-int4-g128"], 2, "text decoders only", "bnb"),
    (["check", "deberta-v3-base", "--vram", "16", "--attention", "flash"], 2, "no flash attention", "eager"),
    (["check", "gpt2", "--gpu", "t4", "--dtype", "bf16"], 2, "no bf16", "fp16"),
    (["check", "gpt2", "--gpu", "t4", "--quant", "fp8"], 2, "8.9", "bnb-nf4"),
    (["check", "gpt2", "--vram", "16", "--reserve", "16"], 2, "leaves nothing", "--reserve"),
    (["check", "gpt2", "--vram", "16", "--prompt", "0"], 2, "--prompt 0", "--prompt"),
    (["check", "gpt2", "--vram", "16", "--runtime", "ollama"], 2, "unknown runtime", "transformers"),
    (["check", "gpt2", "--vram", "16", "--catalog", "/no/such/file.yaml"], 2, "/no/such/file.yaml", ""),
    (["check", "gpt2"], 3, "no GPU found", "--vram"),
    (["check"], 2, "Missing argument", "--help"),
    (["chekc"], 2, "chekc", "--help"),
    (["list", "--max-params", "seven"], 2, "not a parameter count", "7B"),
    (["list", "--sort", "colour"], 2, "unknown sort key", "process"),
    (["list", "--task", "poetry"], 2, "unknown task", "causal-lm"),
    (["check", "gpt2", "--vram", "16", "--vram", "1" * 400], 2, "is not a size", "16GiB"),
]


@pytest.mark.parametrize(
    ("arguments", "code", "says", "hint"),
    BAD,
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else None,
)
def test_bad_input_gets_a_sentence_a_hint_and_its_code(
    run: Run, arguments: list[str], code: int, says: str, hint: str
) -> None:
    got, out, err = run(*arguments, CUDA_VISIBLE_DEVICES="")
    assert (got, out) == (code, "")
    assert says in err
    assert hint in err
    assert "Traceback" not in err
    assert len(err.splitlines()) <= 2

    got, out, err = run(*arguments, "--json")
    record: dict[str, Any] = json.loads(out)
    assert (got, err, record["ok"]) == (code, "", False)
    assert says in record["error"]["message"]


def test_nothing_undecided_exits_0_and_strict_counts_tight_as_no(run: Run) -> None:
    code, out, _ = run("check", "gpt2", "--vram", "16", "--json")
    assert (code, json.loads(out)["verdict"]) == (0, "fits")
    record = json.loads(out)
    high, likely = (record["totals"]["process"][key] for key in ("high_bytes", "likely_bytes"))
    between = f"{(high + likely) // 2}B"
    assert run("check", "gpt2", "--vram", between)[0] == 0
    assert run("check", "gpt2", "--vram", between, "--strict")[0] == 1
    assert run("check", "gpt2", "--vram", f"{likely - 1}B")[0] == 1


def test_colour_follows_the_conventions_and_plain_text_has_none(run: Run) -> None:
    plain = run("check", "gpt2", "--vram", "16")[1]
    forced = run("check", "gpt2", "--vram", "16", FORCE_COLOR="1")[1]
    assert "\x1b[" not in plain
    assert "\x1b[1" in forced or "\x1b[32" in forced
    assert "\x1b[" not in run("check", "gpt2", "--vram", "16", FORCE_COLOR="1", NO_COLOR="1")[1]


def test_the_mocked_device_comes_through_the_same_door(run: Run) -> None:
    code, out, _ = run("check", "gpt2", "--json", GPUFIT_FAKE_GPU="Tesla T4:15360MiB:free=14900MiB")
    record = json.loads(out)
    assert code == 0
    assert record["budget_bytes"] == 14_900 * 2**20
    assert record["device"]["compute_capability"] == "7.5"


def test_python_gives_the_same_record_as_json(run: Run) -> None:
    import gpufit

    _, out, _ = run("check", "llama-2-7b", "--vram", "16", "--json")
    assert gpufit.check("llama-2-7b", vram="16GB").to_dict() == json.loads(out)
