"""--via-transformers: what transformers builds is told exactly, in a child that is bounded and offline."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gpufit.cli.main import main
from gpufit.errors import Undecided, UnknownFamily
from gpufit.facts.architecture import Architecture, CacheLayers
from gpufit.facts.built import BUILT, parse_built
from gpufit.facts.read import parse_config
from gpufit.sources.catalog import load_catalog
from gpufit.sources.catalog_audit import audit_catalog
from gpufit.sources.catalog_write import add_model
from gpufit.sources.resolve import resolve_path

pytest.importorskip("transformers", reason="the measure extra is not installed")
pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore")]

LLAMA = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 48, "intermediate_size": 96,
    "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 101,
    "max_position_embeddings": 64,
}  # fmt: skip
KNOWN: dict[str, dict[str, Any]] = {
    "llama": LLAMA,
    "tied": {**LLAMA, "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "tie_word_embeddings": True},
    "sliding": {
        **LLAMA, "model_type": "gemma2", "architectures": ["Gemma2ForCausalLM"], "head_dim": 12, "sliding_window": 4,
    },
    "experts": {**LLAMA, "model_type": "mixtral", "architectures": ["MixtralForCausalLM"], "num_local_experts": 4},
    "gpt2": {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_embd": 48, "n_layer": 2, "n_head": 4,
             "n_positions": 64, "vocab_size": 101},
    "bert": {"model_type": "bert", "architectures": ["BertForMaskedLM"], "hidden_size": 48, "num_hidden_layers": 2,
             "num_attention_heads": 4, "intermediate_size": 96, "vocab_size": 101},
    "t5": {"model_type": "t5", "architectures": ["T5ForConditionalGeneration"], "d_model": 48, "d_kv": 10, "d_ff": 64,
           "num_layers": 2, "num_heads": 6, "vocab_size": 101},
    "state": {
        **LLAMA, "model_type": "jamba", "architectures": ["JambaForCausalLM"], "attn_layer_offset": 1,
        "attn_layer_period": 2, "expert_layer_period": 2, "expert_layer_offset": 1, "num_experts": 2,
        "mamba_d_state": 8, "mamba_dt_rank": 4,
    },
}  # fmt: skip
BITNET = {**LLAMA, "model_type": "bitnet", "architectures": ["BitNetForCausalLM"], "dtype": "bfloat16"}
ZAMBA = {
    "model_type": "zamba", "architectures": ["ZambaForCausalLM"], "dtype": "bfloat16", "hidden_size": 32,
    "num_hidden_layers": 3, "num_attention_heads": 4, "attention_hidden_size": 64, "intermediate_size": 64,
    "vocab_size": 101, "n_mamba_heads": 2, "mamba_dt_rank": 4, "mamba_d_state": 8, "mamba_d_conv": 4,
    "layers_block_type": ["mamba", "hybrid", "hybrid"], "attention_head_dim": 16, "max_position_embeddings": 4096,
}  # fmt: skip


def build_here(raw: Any) -> Architecture:
    """Without a child: the reader where there is one, else what transformers builds."""
    from gpufit.replay.inventory import tell_model

    try:
        return parse_config(raw)
    except UnknownFamily:
        return parse_built(tell_model(raw))


@pytest.mark.parametrize("name", KNOWN)
def test_what_is_built_is_what_the_reader_says(name: str) -> None:
    """Readers are held against transformers elsewhere; here the way through transformers is held against them."""
    from gpufit.replay.inventory import tell_model

    ours, built = parse_config(KNOWN[name]), parse_built(tell_model(KNOWN[name]))
    assert built.tensors.shapes() == ours.tensors.shapes()
    assert built.parameters == ours.parameters
    assert built.tensors.output == ours.tensors.output
    assert {kind.kind: kind for kind in built.cache} == {kind.kind: _named_alike(kind) for kind in ours.cache}
    assert (built.task, built.is_encoder_decoder, built.generates) == (
        ours.task, ours.is_encoder_decoder, ours.generates,
    )  # fmt: skip
    assert (built.unknown_rows, built.form) == ((), BUILT)
    for quant in ("bnb-nf4", "bnb-int8"):
        assert _quantized(built, quant) == _quantized(ours, quant)


def _quantized(architecture: Architecture, quant: Any) -> int:
    from gpufit.memory.weights import count_weights

    return count_weights(architecture, "fp16", quant).quantized_bytes


def _named_alike(layers: CacheLayers) -> CacheLayers:
    """With the names that the cache class gives its states, and without the order, which only the forms ask for."""
    from gpufit.records import replace

    names = ("conv_state", "recurrent_state")
    state = tuple(replace(item, name=name) for item, name in zip(layers.state, names, strict=False))
    return replace(layers, state=state, followed_by=0)


def test_a_family_without_reader_by_hand() -> None:
    """BitNet is Llama with a norm before each output projection, here 48 and 96 wide, and a tied head.

    A layer: q and o 48·48, k and v 24·48, MLP 3·48·96, norms 2·48 and 48 + 96; two embeddings of 101·48; a last norm.
    """
    built = build_here({**BITNET, "tie_word_embeddings": False})
    layer = 2 * 48 * 48 + 2 * 24 * 48 + 3 * 48 * 96 + 2 * 48 + 48 + 96
    assert built.parameters == 3 * layer + 2 * 101 * 48 + 48
    assert [(kind.kind, kind.layers, kind.elements_per_token) for kind in built.cache] == [("full", 3, 2 * 2 * 12)]
    assert build_here({**BITNET, "tie_word_embeddings": True}).parameters == built.parameters - 101 * 48


def test_a_shared_block_is_counted_once() -> None:
    """Zamba's attention block is one, whichever layers use it: a layer more adds a mixer and a matrix, no block."""
    one = build_here(ZAMBA)
    two = build_here({**ZAMBA, "num_hidden_layers": 4, "layers_block_type": ["mamba", "hybrid", "hybrid", "hybrid"]})
    block = 3 * 64 * 64 + 64 * 32 + 3 * 32 * 64  # q, k, v, o; gate, up, down
    mixer = next(group for group in one.tensors.groups if group.name.endswith("in_proj.weight")).elements
    assert mixer < two.parameters - one.parameters < block + mixer
    assert any(group.tied_to for group in two.tensors.groups)


def test_a_cache_that_cannot_be_seen_is_unknown() -> None:
    """None from the child makes the row unknown; it is never an empty cache."""
    from gpufit.memory.floor import unknown_rows
    from gpufit.memory.workload import Workload
    from gpufit.replay.inventory import tell_model

    told = {**tell_model(LLAMA), "cache": None}
    built = parse_built(told)
    assert unknown_rows(built, Workload(prompt_tokens=4)) == ("kv_cache", "activations")
    assert unknown_rows(parse_config(LLAMA), Workload(prompt_tokens=4)) == ()


def test_the_command_says_unknown_or_no_and_never_fits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole way, child process included: exit 3 and a lower bound; without the option the hint names it."""
    (tmp_path / "config.json").write_text(json.dumps(BITNET))
    assert main(["check", str(tmp_path), "--vram", "16"]) == 3
    assert "--via-transformers" in capsys.readouterr().err
    assert main(["check", str(tmp_path), "--vram", "16", "--via-transformers", "--json"]) == 3
    answer = json.loads(capsys.readouterr().out)
    assert answer["verdict"] == "unknown"
    assert answer["model"]["parameters"] == build_here(BITNET).parameters
    assert [row["name"] for row in answer["breakdown"] if row.get("known") is False] == ["activations"]
    assert answer["longest_context_tokens"] is None
    assert answer["totals"]["process"]["low_bytes"] > 2 * answer["model"]["parameters"]


def test_what_even_the_lower_bound_exceeds_does_not_fit(tmp_path: Path) -> None:
    """The same model without a child: weights and driver context of 141 MiB are more than 100 MB."""
    from gpufit.api import find_device
    from gpufit.memory.workload import Workload
    from gpufit.verdict.check import Subject, check_fit

    subject = Subject(name="bitnet", origin="here", architecture=build_here(BITNET))
    work = Workload(prompt_tokens=8, dtype="bf16")
    verdicts = [
        check_fit(subject, work, find_device(vram=size, gpu=None, environ={})).verdict for size in ("100MB", "16GB")
    ]
    assert verdicts == ["no", "unknown"]


def test_a_server_that_runs_it_is_not_guessed_at() -> None:
    """vLLM's profile run follows the family's blocks, of which only the tensors were told."""
    from gpufit.verdict.plan import Request, plan_workload

    with pytest.raises(Undecided, match="how vllm runs bitnet"):
        plan_workload(build_here(BITNET), None, Request(runtime="vllm"))


def test_code_beside_a_checkpoint_is_never_run(tmp_path: Path) -> None:
    """An unknown type with an auto_map stays unknown, and what the map names is not imported."""
    from gpufit.replay.via_transformers import ask_child

    marker = tmp_path / "ran"
    (tmp_path / "evil.py").write_text(f"open({str(marker)!r}, 'w')\nclass Evil: pass\n")
    raw = {"model_type": "evil", "architectures": ["Evil"], "auto_map": {"AutoConfig": f"{tmp_path}--evil.Evil"}}
    with pytest.raises(UnknownFamily, match="evil"):
        ask_child(raw)
    assert not marker.exists()


def test_a_child_that_takes_too_long_is_ended() -> None:
    from gpufit.replay.via_transformers import ask_child

    with pytest.raises(Undecided, match="did not build"):
        ask_child(LLAMA, limit_seconds=0.3)


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA bounds memory on Linux alone")
def test_a_child_that_takes_too_much_memory_is_refused() -> None:
    from gpufit.replay.via_transformers import ask_child

    with pytest.raises(Undecided, match=r"did not live|takes more than|cannot build"):
        ask_child(LLAMA, limit_bytes=64 << 20)


def test_the_child_calls_nobody() -> None:
    program = (
        "from gpufit.replay.inventory import _forbid_network; import socket; _forbid_network()\n"
        "try: socket.create_connection(('127.0.0.1', 9), 1)\n"
        "except PermissionError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "gpufit builds models without a network\n"


def test_an_entry_of_a_built_model_is_written_and_read_back(tmp_path: Path) -> None:
    """``catalog add --via-transformers``: the entry holds, but only for who builds it."""
    (tmp_path / "config.json").write_text(json.dumps(BITNET))
    file = tmp_path / "mine.yaml"
    known = load_catalog(None, {})
    added = add_model(resolve_path(tmp_path, build_here), file, known, name="mine", dtype=None)
    assert added.parameters == build_here(BITNET).parameters
    assert audit_catalog(file, build_here).problems == ()
    (problem,) = audit_catalog(file).problems
    assert "--via-transformers" in problem.hint
