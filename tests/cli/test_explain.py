"""``gpufit explain``: the same numbers as check, each with its formula, its file and its keys."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gpufit
from gpufit.api import explain
from gpufit.cli.explain import write_command
from gpufit.cli.main import main
from gpufit.cli.quick import COMMANDS
from gpufit.memory.workload import Workload

Run = Callable[..., tuple[int, str, str]]
CONFIG = {
    "model_type": "llama", "hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 4,
    "num_attention_heads": 8, "num_key_value_heads": 2, "vocab_size": 1000, "max_position_embeddings": 2048,
    "torch_dtype": "bfloat16", "rope_theta": 10000.0,
}  # fmt: skip


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run the command in this process without a device, at 80 columns."""
    for name in ("NO_COLOR", "FORCE_COLOR", "GPUFIT_FAKE_GPU"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIG))
    return path


def explained(run: Run, *arguments: str) -> dict[str, Any]:
    code, out, _ = run("explain", *arguments, "--json")
    assert code == 0
    record: dict[str, Any] = json.loads(out)
    return record


def test_every_fact_names_its_file_key_and_value_and_the_rows_that_it_moves(run: Run, config: Path) -> None:
    """By hand: the cache is 4 layers × 2 heads × (64 + 64), so the MLP's width and the vocabulary are not in it."""
    facts = {fact["key"]: fact for fact in explained(run, str(config))["facts"]}
    assert facts["num_key_value_heads"]["value"] == "2"
    assert {fact["file"] for fact in facts.values()} == {str(config)}
    for key in ("hidden_size", "num_hidden_layers", "num_key_value_heads", "num_attention_heads"):
        assert "kv_cache" in facts[key]["rows"], key
    for key in ("intermediate_size", "vocab_size"):
        assert "kv_cache" not in facts[key]["rows"], key
        assert "weights" in facts[key]["rows"], key
    assert facts["max_position_embeddings"]["rows"] == []
    _, out, _ = run("explain", str(config))
    assert f"{config}: num_key_value_heads = 2" in " ".join(out.split())


@pytest.mark.parametrize("model", ["llama-2-7b", "gpt2", "t5-small", "bert-base-uncased", "gemma-2-9b", "whisper-tiny"])
@pytest.mark.parametrize("quant", ["none", "bnb-nf4"])
def test_the_parts_sum_to_what_check_says(model: str, quant: str) -> None:
    found = explain(model, quant=quant, batch=3)
    same = gpufit.check(model, quant=quant, batch=3, vram="80GB")
    own = {row.name: (row.range.likely_bytes, row.formula) for row in found.rows}
    for row in same.breakdown:
        if row.name in ("weights", "kv_cache", "activations"):
            assert own[row.name] == (row.range.likely_bytes, row.formula)
    weights = found.estimate.weights
    assert sum(part.bytes for part in found.roles) == weights.total_bytes + weights.buffer_bytes
    assert sum(part.parameters for part in found.roles) == found.estimate.architecture.parameters
    assert sum(part.bytes for part in found.cache) == found.estimate.kv_cache_bytes
    assert [phase.decisive for phase in found.phases].count(True) == 1


def test_a_quantization_says_what_it_leaves_in_16_bits_and_why(run: Run) -> None:
    parts = explained(run, "llama-2-7b", "--quant", "bnb-nf4")["tensors"]
    kept = {part["role"]: part["why"] for part in parts if part["stored"] == "fp16"}
    assert kept["output"] == "the output matrix, which loaders leave alone"
    assert kept["embedding"] == "an embedding, not a linear layer"
    mlp = next(part for part in parts if part["role"] == "mlp")
    assert (mlp["stored"], mlp["tensors"], mlp["parameters"]) == ("bnb-nf4", 96, 32 * 3 * 4096 * 11008)
    assert all(part["why"] == "" for part in explained(run, "llama-2-7b")["tensors"] if part["parameters"])
    tied = [part for part in explained(run, "gpt2")["tensors"] if part["why"].startswith("shares ")]
    assert tied == [
        {"role": "output", "stored": "-", "why": "shares transformer.wte.weight", "tensors": 1, "parameters": 0,
         "size_bytes": 0}
    ]  # fmt: skip


def test_a_quantized_checkpoint_is_explained_as_its_files_hold_it(run: Run, tmp_path: Path, config: Path) -> None:
    """One matrix of an LLM.int8() layer in a safetensors file: 512 × 512 bytes, and one fp32 scale a row."""
    header = {
        "model.layers.0.self_attn.q_proj.weight": {"dtype": "I8", "shape": [512, 512], "data_offsets": [0, 262144]},
        "model.layers.0.self_attn.q_proj.SCB": {"dtype": "F32", "shape": [512], "data_offsets": [262144, 264192]},
    }
    text = json.dumps(header).encode()
    (tmp_path / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(264192))
    section = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    config.write_text(json.dumps({**CONFIG, "quantization_config": section}))
    record = explained(run, str(tmp_path))
    parts = {part["stored"]: part for part in record["tensors"] if part["role"] == "stored"}
    assert {name: (part["tensors"], part["size_bytes"]) for name, part in parts.items()} == {
        "I8": (1, 262144),
        "F32": (1, 2048),
    }
    assert next(row["bytes"] for row in record["breakdown"] if row["name"] == "weights") == 264192


def test_cache_layers_are_shown_by_kind_with_bytes_a_token_and_window(run: Run) -> None:
    """Gemma 2 9B: 42 layers, half of them with a window of 4,096; 8 heads × (256 + 256) × 2 bytes in each."""
    layers = {part["kind"]: part for part in explained(run, "gemma-2-9b", "--context", "8192")["cache_layers"]}
    assert layers["full"]["token_bytes"] == layers["sliding"]["token_bytes"] == 21 * 8 * 512 * 2
    assert (layers["full"]["window_tokens"], layers["sliding"]["window_tokens"]) == (None, 4096)
    assert layers["full"]["size_bytes"] == 2 * layers["sliding"]["size_bytes"]


def test_text_is_plain_and_80_columns_wide_and_whole_when_piped(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = run("explain", "llama-3.1-8b", "--quant", "bnb-nf4", "--kv-dtype", "fp8")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert "\x1b" not in out
    assert "\n  = batch 1 × 4,096 tokens × (32 full layers × 8 KV heads × (128 + 128)) in fp8\n" in out
    assert re.search(r"^  models\.yaml:\d+: num_key_value_heads = 8$", out, flags=re.MULTILINE)
    monkeypatch.delenv("COLUMNS")
    _, piped, _ = run("explain", "llama-3.1-8b", "--quant", "bnb-nf4", "--kv-dtype", "fp8")
    assert " ".join(piped.split()) == " ".join(out.split())


def test_no_device_is_looked_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a device was probed")

    monkeypatch.setattr("gpufit.devices.probe.probe_devices", refuse)
    assert run("explain", "gpt2")[0] == 0
    assert run("explain", "gpt2", "--gpu", "t4")[0] == 0


def test_the_checking_command_says_the_whole_workload_and_names_what_it_cannot_say() -> None:
    work = Workload(prompt_tokens=100, new_tokens=28, batch=2, kv_dtype="fp8", quant="bnb-int8")

    def run(prompt: int, new_tokens: int, batch: int, dtype: str, quant: str, attention: str) -> int:
        raise NotImplementedError

    assert write_command("replay", run, "a b", work, {"gpu": None}) == (
        "gpufit replay 'a b' --prompt 100 --new-tokens 28 --batch 2 --dtype fp16 --quant bnb-int8 --attention sdpa"
        "  # it takes no --kv-dtype fp8"
    )


def test_commands_are_those_that_this_gpufit_has(run: Run) -> None:
    commands = explained(run, "gpt2")["commands"]
    assert [command.split()[1] for command in commands] == [c for c in ("replay", "measure") if c in COMMANDS]


def test_json_follows_the_schema(run: Run, config: Path, follows_schema: Callable[[object], None]) -> None:
    for model in ("gpt2", "bert-base-uncased", "whisper-tiny", str(config)):
        follows_schema(explained(run, model))


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["no-such-model"], 2, "unknown model 'no-such-model'"),
        (["gpt2", "--context", "0"], 2, "--context 0 is not from 1"),
        (["gpt2", "--quant", "int3"], 2, "unknown quantization 'int3'"),
        (["./nowhere/config.json"], 2, "there is no file or folder"),
    ],
)
def test_bad_input_is_one_sentence_and_a_json_error(run: Run, arguments: list[str], code: int, sentence: str) -> None:
    got, out, err = run("explain", *arguments)
    assert (got, out) == (code, "")
    assert err.startswith(f"gpufit: {sentence}")
    assert "Traceback" not in err
    got, out, _ = run("explain", *arguments, "--json")
    assert (got, json.loads(out)["ok"]) == (code, False)


def test_a_family_without_a_reader_exits_3(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"model_type": "perpetual_motion"}')
    code, _, err = run("explain", str(path))
    assert (code, "perpetual_motion" in err) == (3, True)
