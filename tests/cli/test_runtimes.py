"""``check --runtime vllm`` and ``--runtime llama.cpp``: the same contract, and the line to type."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gpufit.cli.main import main


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    code = main(["check", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_vllm_answers_with_transformers_keys_and_a_plan(capsys: pytest.CaptureFixture[str]) -> None:
    _, plain = run_json(capsys, "llama-2-7b", "--gpu", "rtx-4090")
    code, served = run_json(capsys, "llama-2-7b", "--gpu", "rtx-4090", "--runtime", "vllm")
    assert code == 0
    assert set(served) - set(plain) == {"runtime_plan"}
    assert [row["name"] for row in served["breakdown"]] == [row["name"] for row in plain["breakdown"]]
    for end, key in (("low_bytes", "low_bytes"), ("bytes", "likely_bytes"), ("high_bytes", "high_bytes")):
        assert sum(row[end] for row in served["breakdown"]) == served["totals"]["process"][key]
    plan = served["runtime_plan"]
    assert plan["command"].startswith("vllm serve meta-llama/Llama-2-7b-hf ")
    assert 0 < plan["gpu_memory_utilization"] <= plan["most_gpu_memory_utilization"] < 1
    assert plan["largest_concurrency"] == served["largest_batch"] >= 1


def test_two_cards_hold_half_of_the_weights_each(capsys: pytest.CaptureFixture[str]) -> None:
    _, one = run_json(capsys, "llama-2-7b", "--gpu", "a100-80gb", "--runtime", "vllm")
    _, two = run_json(capsys, "llama-2-7b", "--gpu", "a100-80gbx2", "--runtime", "vllm")
    assert two["breakdown"][0]["bytes"] == pytest.approx(one["breakdown"][0]["bytes"] / 2, rel=0.01)
    assert "--tensor-parallel-size 2" in two["runtime_plan"]["command"]


def test_llama_cpp_offloads_what_fits(capsys: pytest.CaptureFixture[str]) -> None:
    code, whole = run_json(capsys, "llama-2-7b", "--vram", "16GiB", "--quant", "q4_k_m", "--runtime", "llama.cpp")
    assert code == 0
    assert whole["workload"]["quant"] == "gguf-q4_k_m"
    assert whole["runtime_plan"]["n_gpu_layers"] == whole["runtime_plan"]["all_layers"] == 33
    code, part = run_json(capsys, "llama-2-7b", "--vram", "4GiB", "--quant", "q4_k_m", "--runtime", "llama.cpp")
    assert code == 1
    assert 0 < part["runtime_plan"]["n_gpu_layers"] < 33
    assert f"-ngl {part['runtime_plan']['n_gpu_layers']}" in part["runtime_plan"]["command"]


def test_the_command_ends_the_text_and_is_what_code_prints(capsys: pytest.CaptureFixture[str]) -> None:
    for runtime, beginning in (("vllm", "vllm serve "), ("llama.cpp", "llama-server ")):
        assert main(["check", "gpt2", "--vram", "8GiB", "--runtime", runtime]) == 0
        text = capsys.readouterr().out
        assert main(["check", "gpt2", "--vram", "8GiB", "--runtime", runtime, "--code"]) == 0
        code = capsys.readouterr().out
        assert code.startswith(beginning)
        assert code in text


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--runtime", "ollama"], 2),
        (["--runtime", "vllm", "--quant", "bnb-fp4"], 2),
        (["--runtime", "vllm", "--quant", "q4_k_m"], 2),
        (["--runtime", "llama.cpp", "--quant", "bnb-nf4"], 2),
        (["--runtime", "llama.cpp", "--kv-dtype", "fp8"], 2),
        (["--runtime", "vllm", "--kv-dtype", "q8_0"], 2),
        (["--runtime", "vllm", "--attention", "flash"], 2),
        (["--runtime", "llama.cpp", "--images", "1"], 2),
        (["--runtime", "llama.cpp", "--dtype", "fp32"], 2),
    ],
)
def test_what_a_runtime_does_not_have_is_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int
) -> None:
    assert main(["check", "llama-2-7b", "--vram", "24GiB", *arguments]) == code
    assert "hint:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("runtime", "foreign"),
    [
        ("vllm", ("transformers", "torch max_", "sdpa", "batch", "bnb-int8", "nf4-dq", "nvidia-smi", "gguf", "slot")),
        ("llama.cpp", ("transformers", "torch", "sdpa", "batch", "bnb", "fp16", "reserved ", "request", "vLLM")),
    ],
)
@pytest.mark.parametrize(
    "what", ["llama-2-7b --gpu t4", "llama-2-7b --gpu a100-80gb", "llama-2-70b --gpu t4", "gpt2 --vram 8"]
)
def test_a_server_is_spoken_of_in_its_own_words(
    capsys: pytest.CaptureFixture[str], runtime: str, foreign: tuple[str, ...], what: str
) -> None:
    main(["check", *what.split(), "--runtime", runtime])
    text = capsys.readouterr().out
    assert [word for word in foreign if word in text] == []


@pytest.mark.parametrize("runtime", ["vllm", "llama.cpp"])
def test_the_weights_alone_are_those_of_the_row(capsys: pytest.CaptureFixture[str], runtime: str) -> None:
    for quant in ([], ["--quant", {"vllm": "bnb-nf4", "llama.cpp": "q8_0"}[runtime]]):
        _, answer = run_json(capsys, "llama-2-7b", "--gpu", "rtx-4090", "--runtime", runtime, *quant)
        alone = {row["format"]: row["weights_bytes"] for row in answer["weights_by_format"]}
        name = quant[1] if quant else "fp16"
        assert (
            alone[{"fp16": "gguf-f16", "q8_0": "gguf-q8_0"}[name] if runtime == "llama.cpp" else name]
            == (answer["breakdown"][0]["bytes"])
        )
        assert "fp32" not in alone


@pytest.mark.parametrize("runtime", ["vllm", "llama.cpp"])
def test_the_largest_sizes_fit_eighty_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], runtime: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    main(["check", "deepseek-v3", "--gpu", "t4", "--runtime", runtime])
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if len(line) > 80 and not line.startswith(("vllm ", "llama-server "))] == []


def test_experts_published_in_four_bits_are_not_packed_once_more(capsys: pytest.CaptureFixture[str]) -> None:
    """gpt-oss comes in MXFP4, and llama.cpp keeps it: Q3_K_M would be larger and worse."""
    _, answer = run_json(capsys, "gpt-oss-20b", "--gpu", "t4", "--runtime", "llama.cpp")
    assert answer["workload"]["quant"] == answer["recommendation"]["workload"]["quant"] == "gguf-mxfp4"
    assert [row["format"] for row in answer["weights_by_format"]] == ["gguf-mxfp4"]


@pytest.mark.parametrize("runtime", ["transformers", "vllm", "llama.cpp"])
def test_a_model_without_a_cache_is_told_without_one(capsys: pytest.CaptureFixture[str], runtime: str) -> None:
    for model, caches in (("bert-base-uncased", False), ("gpt2", True)):
        main(["check", model, "--gpu", "t4", "--runtime", runtime])
        text = capsys.readouterr().out
        assert (", cache " in text) == caches


def test_what_is_recommended_instead_has_a_command_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    """vLLM would refuse to start as asked, so the only line to type is the recommendation's, and --code prints it."""
    arguments = ["llama-2-7b", "--gpu", "t4", "--runtime", "vllm"]
    code, answer = run_json(capsys, *arguments)
    assert code == 1
    assert answer["runtime_plan"]["gpu_memory_utilization"] is None
    command = answer["recommended_plan"]["command"]
    assert "--quantization bitsandbytes" in command
    assert "--gpu-memory-utilization 0." in command
    main(["check", *arguments])
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("vllm serve")] == [command]
    main(["check", *arguments, "--code"])
    assert capsys.readouterr().out == command + "\n"


def test_slots_share_the_context_that_is_named_for_all_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    """llama-server's -c is the sum over its slots, so the longest one is as well."""
    asked = ["llama-3.1-8b", "--gpu", "rtx-4090", "--runtime", "llama.cpp", "--batch", "4"]
    _, answer = run_json(capsys, *asked)
    assert answer["runtime_plan"]["largest_ctx_size"] == 4 * answer["longest_context_tokens"]
    assert "-c 16384 -np 4" in answer["runtime_plan"]["command"]


def test_nothing_that_fits_is_a_command_with_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "llama-2-70b", "--gpu", "t4", "--runtime", "llama.cpp", "--code"]) == 1
    warning, command = capsys.readouterr().out.splitlines()
    assert warning.startswith("# This does not fit")
    assert command.startswith("llama-server ")


def test_json_names_the_cache_and_attention_of_the_server(capsys: pytest.CaptureFixture[str]) -> None:
    """llama.cpp's cache is F16 whatever the weights are; vLLM's follows them, and its kernel is its own choice."""
    for runtime, expected in (("vllm", ("bf16", "auto")), ("llama.cpp", ("f16", "flash"))):
        _, answer = run_json(capsys, "llama-3.1-8b", "--gpu", "rtx-4090", "--runtime", runtime)
        assert (answer["workload"]["kv_dtype"], answer["workload"]["attention"]) == expected


def test_a_card_without_cuda_is_said_to_be_counted_as_one_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    _, answer = run_json(capsys, "gpt2", "--gpu", "mi210", "--runtime", "vllm")
    assert any("counted as on CUDA" in note for note in answer["notes"])


def test_a_tower_that_vllm_profiles_is_undecided(capsys: pytest.CaptureFixture[str]) -> None:
    code, answer = run_json(capsys, "gemma-3-4b", "--vram", "24GiB", "--runtime", "vllm")
    assert code == 3
    assert answer["error"]["code"] == "unknown"


def test_the_schema_knows_the_plan() -> None:
    schema = json.loads((Path(__file__).parents[2] / "schema" / "gpufit.schema.json").read_text(encoding="utf-8"))
    plan = schema["$defs"]["check"]["properties"]["runtime_plan"]
    assert plan["required"] == ["command", "runtime", "version"]


def test_explain_says_that_it_is_about_transformers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "gpt2", "--runtime", "vllm"]) == 2
    assert "check --runtime vllm" in capsys.readouterr().err


def test_a_gguf_file_is_counted_from_its_own_header(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A block of Q8_0 is 34 bytes for 32 weights; the input embedding stays in main memory."""
    gguf = pytest.importorskip("gguf", reason="the writer of GGUF headers is not installed")
    numpy = pytest.importorskip("numpy")
    hidden, width, rows = 512, 1024, 1000
    file = tmp_path / "tiny.gguf"
    writer = gguf.GGUFWriter(str(file), "llama")
    writer.add_block_count(1)
    writer.add_context_length(2048)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(width)
    writer.add_head_count(8)
    writer.add_head_count_kv(8)
    writer.add_layer_norm_rms_eps(1e-5)
    q8, plain = gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.F32
    shapes = {f"blk.0.attn_{name}.weight": (hidden, hidden) for name in ("q", "k", "v", "output")}
    shapes |= {"blk.0.ffn_gate.weight": (width, hidden), "blk.0.ffn_up.weight": (width, hidden)}
    shapes |= {"blk.0.ffn_down.weight": (hidden, width), "output.weight": (rows, hidden)}
    for name, shape in {**shapes, "token_embd.weight": (rows, hidden)}.items():
        packed = numpy.zeros((shape[0], shape[1] // 32 * 34), dtype=numpy.uint8)
        writer.add_tensor(name, packed, raw_dtype=q8)
    for name in ("blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight"):
        writer.add_tensor(name, numpy.zeros(hidden, dtype=numpy.float32), raw_dtype=plain)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    code, answer = run_json(capsys, str(file), "--vram", "8GiB", "--runtime", "llama.cpp")
    device = sum(a * b // 32 * 34 for a, b in shapes.values()) + 3 * hidden * 4
    assert code == 0
    assert answer["breakdown"][0]["bytes"] == device
    assert f"-m {file} " in answer["runtime_plan"]["command"]
