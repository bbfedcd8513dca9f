"""``gpufit replay`` as a user calls it: options, files, exit codes, refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

pytest.importorskip("torch", reason="a replay runs the real modelling code and needs torch")
pytest.importorskip("transformers", reason="a replay runs the real modelling code and needs transformers")

from real_models import SMALL
from tiny_encoders_and_towers import CASES
from tiny_moe_and_hybrid import TINY

from gpufit.cli.main import main

pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore")]
SCHEMA = Path(__file__).parents[2] / "schema" / "gpufit.schema.json"
NAMED = {made: {"model_type": name, "architectures": [made], **raw} for name, made, raw in reversed(CASES)}
MODELS = {
    "llama": SMALL["llama"] | {"torch_dtype": "bfloat16"},
    "qwen3_moe": TINY["qwen3_moe"],
    "mixtral": TINY["mixtral"],
    "llava": NAMED["LlavaForConditionalGeneration"],
    "whisper": NAMED["WhisperForConditionalGeneration"],
}
KINDS = ("llama", "qwen3_moe", "llava", "whisper")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """``gpufit replay`` on one of the small models: exit code, standard output, standard error."""

    def call(model: str, *options: str) -> tuple[int, str, str]:
        path = tmp_path / f"{model}.json"
        path.write_text(json.dumps(MODELS[model]), encoding="utf-8")
        code = main(["replay", str(path), "--prompt", "12", "--new-tokens", "4", *options])
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.mark.parametrize(("model", "options"), [*((model, ()) for model in KINDS), ("llava", ("--train", "lora"))])
def test_the_json_of_every_kind_follows_the_schema(run: Run, model: str, options: tuple[str, ...]) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="the dev extra is not installed")
    if options:
        pytest.importorskip("peft", reason="adapters come from peft")
    code, out, _ = run(model, "--json", *options)
    found = json.loads(out)
    jsonschema.validate(found, json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert (code, found["workload"]["prompt_tokens"]) == (0, 12)


def test_a_family_that_peft_does_not_know_has_adapters_on_all_linear_layers(run: Run) -> None:
    pytest.importorskip("peft", reason="adapters come from peft")
    _, out, _ = run("qwen3_moe", "--train", "lora")
    assert "note: peft has no default targets for qwen3_moe; all-linear is assumed" in out
    # the fused experts too, as peft 0.21 reads the word; their adapters are folded into whole weights (baddbmm)
    assert "mlp.experts.base_layer" in out


def test_a_choice_that_peft_looks_up_too_late_is_named_for_it(run: Run) -> None:
    pytest.importorskip("peft", reason="adapters come from peft")
    code, out, _ = run("mixtral", "--train", "lora")
    assert (code, "all-linear" in out, "lora" in out, "experts.base_layer" in out) == (0, False, True, False)


def test_what_was_assumed_is_said_and_what_the_card_cannot_compute(run: Run) -> None:
    code, out, err = run("llama", "--gpu", "t4")
    assert code == 0
    assert err == ""
    assert "prompt 12 tokens + new 4, batch 1, fp16, sdpa attention" in out
    assert "note: stored in bf16, which this card does not compute; fp16 is assumed" in out


def test_a_limit_too_small_for_the_work_is_out_of_memory_and_exits_with_one(run: Run) -> None:
    code, out, _ = run("llama", "--limit", "8MiB")
    assert code == 1
    assert "out of memory under the given limit" in out


def test_the_timeline_and_the_trace_are_written(run: Run, tmp_path: Path) -> None:
    code, _, _ = run("whisper", "--timeline", str(tmp_path / "t.svg"), "--trace", str(tmp_path / "t.json"))
    assert code == 0
    assert ElementTree.parse(tmp_path / "t.svg").getroot().tag.endswith("svg")
    events: list[dict[str, Any]] = json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))["traceEvents"]
    assert {"phase: encode", "phase: prefill", "phase: decode"} <= {event["name"] for event in events}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--kv-dtype", "int8"), "a cache in int8 is not replayed"),
        (("--quant", "fp8"), "fp8 layers are not replayed"),
        (("--limit", "fish"), "--limit 'fish' is not a size"),
        (("--train", "maybe"), "--train 'maybe' is not replayed"),
        (("--train", "full", "--quant", "bnb-nf4"), "quantized weights cannot be trained"),
        (("--timeline", "no/such/folder/t.svg"), "there is no folder no/such/folder"),
        (("--allocator", "backend:cudaMallocAsync"), "backend"),
    ],
)
def test_what_is_not_replayed_is_refused_in_a_sentence(run: Run, options: tuple[str, ...], sentence: str) -> None:
    code, out, err = run("llama", *options)
    assert (code, out) == (2, "")
    assert sentence in err
    code, out, err = run("llama", *options, "--json")
    assert (code, err) == (2, "")
    assert sentence in json.loads(out)["error"]["message"]
