"""One shrunken model of every kind replays, quantized layers weigh what they should, and a real size takes its time."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

pytest.importorskip("torch", reason="a replay runs the real modelling code and needs torch")
pytest.importorskip("transformers", reason="a replay runs the real modelling code and needs transformers")

from real_models import SMALL
from tiny_encoders_and_towers import CASES
from tiny_moe_and_hybrid import TINY

from gpufit.errors import Undecided, Unsupported, UsageError
from gpufit.facts.read import parse_config
from gpufit.memory.weights import count_weights
from gpufit.memory.workload import Quantization, Workload
from gpufit.replay.allocator_options import AllocatorOptions
from gpufit.replay.front import replay_config, replay_module
from gpufit.replay.record import holdings_by_kind
from gpufit.replay.training_step import TrainingSetup

pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore")]
WORK = Workload(prompt_tokens=12, new_tokens=4, dtype="bf16")
SEEING = {made: {"model_type": name, "architectures": [made], **raw} for name, made, raw in reversed(CASES)}
WIDE = {**SMALL["llama"], "hidden_size": 256, "intermediate_size": 1024}
LLAMA_2_7B = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 4096, "intermediate_size": 11008,
    "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 32000,
}  # fmt: skip
DECODE, ENCODE, TRANSLATE = ["prefill", "decode"], ["encode"], ["encode", "prefill", "decode"]


@pytest.mark.parametrize(
    ("raw", "phases"),
    [
        pytest.param(SMALL["llama"], DECODE, id="decoder"),
        pytest.param(TINY["mixtral-window"], DECODE, id="experts and window"),
        pytest.param(TINY["deepseek_v3"], DECODE, id="latent attention"),
        pytest.param(TINY["mamba"], DECODE, id="state space"),
        pytest.param(TINY["jamba"], DECODE, id="hybrid"),
        pytest.param(SMALL["bert"], ENCODE, id="encoder"),
        pytest.param(SMALL["bart"], TRANSLATE, id="encoder-decoder"),
        pytest.param(SEEING["WhisperForConditionalGeneration"], TRANSLATE, id="speech"),
        pytest.param(SEEING["Wav2Vec2ForCTC"], ENCODE, id="speech without a decoder"),
        pytest.param(SEEING["LlavaForConditionalGeneration"], DECODE, id="vision-language"),
        pytest.param(SEEING["CLIPModel"], ENCODE, id="vision"),
    ],
)
def test_every_kind_of_model_replays(raw: dict[str, Any], phases: list[str]) -> None:
    replay = replay_config(raw, WORK)
    assert [phase.peak.phase for phase in replay.phases] == phases
    assert all(phase.peak.above_bytes > 0 for phase in replay.phases)
    assert all(
        phase.peak.live_bytes <= phase.peak.allocated_bytes <= phase.peak.reserved_bytes for phase in replay.phases
    )
    assert all(sum(h.bytes for h in p.peak.holdings) == p.peak.above_bytes for p in replay.phases)


@pytest.mark.parametrize("quant", ["bnb-int8", "bnb-nf4", "bnb-nf4-dq", "bnb-fp4"])
def test_quantized_layers_weigh_what_the_arithmetic_says(quant: Quantization) -> None:
    pytest.importorskip("bitsandbytes", reason="the layers are bitsandbytes' own")
    work = Workload(prompt_tokens=160, quant=quant)  # more rows than the fused 4-bit kernel takes on Ampere
    replay, plain = replay_config(WIDE, work), replay_config(WIDE, Workload(prompt_tokens=160))
    weights = count_weights(parse_config(WIDE), "fp16", quant)
    assert replay.resident_bytes == weights.total_bytes + weights.buffer_bytes
    assert replay.peak.above_bytes > plain.peak.above_bytes  # dequantized copies, or int8 rows and int32 products


def test_grouped_query_heads_are_copied_under_a_mask_and_not_without() -> None:
    """On Ampere without a mask flash takes grouped heads as they are; eager attention repeats them."""
    sdpa = replay_config(SMALL["llama"], Workload(prompt_tokens=64, new_tokens=2))
    eager = replay_config(SMALL["llama"], Workload(prompt_tokens=64, new_tokens=2, attention="eager"))
    assert sdpa.phases[0].peak.above_bytes < eager.phases[0].peak.above_bytes
    assert not any(h.op == "_softmax" for h in sdpa.phases[0].peak.holdings)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"quant": "fp8"}, Unsupported),
        ({"kv_dtype": "int8"}, Unsupported),
        ({"runtime": "vllm"}, UsageError),
    ],
)
def test_what_cannot_be_replayed_is_refused(changes: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        replay_config(SMALL["llama"], Workload(**{"prompt_tokens": 8, **changes}))


def test_a_family_without_code_or_that_needs_values_says_so() -> None:
    with pytest.raises(Undecided, match="has no model_type 'orion'"):
        replay_config({"model_type": "orion"}, WORK)
    raw = SEEING["BartForSequenceClassification"]  # it looks for the end-of-sequence tokens
    with pytest.raises(Undecided, match="BartForSequenceClassification cannot be replayed"):
        replay_config(raw, WORK)


@pytest.mark.parametrize("dtype", ["fp16", "fp32"])
def test_experts_are_multiplied_in_every_dtype(dtype: str) -> None:
    replay = replay_config(TINY["mixtral"], Workload(prompt_tokens=12, dtype=dtype))
    assert {"_grouped_mm", "empty_strided"} & {event.op for event in replay.recording.events}


def test_a_window_is_what_decode_holds_after_a_long_prompt() -> None:
    """Window 5: the prompt's keys and values are let go with the first new token, so two prompts end alike."""
    short, long = (
        replay_config(TINY["mixtral-window"], Workload(prompt_tokens=tokens, new_tokens=4, dtype="bf16"))
        for tokens in (16, 64)
    )
    # what is left is the ids, at most once as they were and once with the next token: 8 bytes for 48 tokens more
    assert 8 * 48 <= long.phases[1].peak.above_bytes - short.phases[1].peak.above_bytes <= 2 * 8 * 48


def test_the_class_is_the_one_that_the_estimate_takes_where_the_configuration_names_none() -> None:
    named = SEEING["LlavaForConditionalGeneration"]
    unnamed = {key: value for key, value in named.items() if key != "architectures"}
    assert [p.peak for p in replay_config(unnamed, WORK).phases] == [p.peak for p in replay_config(named, WORK).phases]


def test_a_waveform_is_as_long_as_makes_the_prompts_positions() -> None:
    """Kernels 5, 3, 2 and strides 3, 2, 2: 12 positions take 11·2 + 2 = 24, 23·2 + 3 = 49, 48·3 + 5 = 149 values."""
    replay = replay_config(SEEING["Wav2Vec2ForCTC"], WORK)
    assert replay.recording.events[0].bytes == 2 * 149
    assert not any("decode" in note for note in replay.notes)


def test_a_training_step_holds_states_saved_activations_and_gradients() -> None:
    replay = replay_config(SMALL["llama"], Workload(prompt_tokens=64, dtype="fp32"), training=TrainingSetup())
    forward, backward, step = (phase.peak for phase in replay.phases)
    assert backward.above_bytes > forward.above_bytes > step.above_bytes >= 3 * replay.resident_bytes - 512
    states = dict(holdings_by_kind(step))
    # AdamW: two moments and one scalar step a parameter tensor; gradients as large as the weights; the rest temporary
    parameters = sum(size for name, size in states.items() if name == "gradients")
    assert parameters == replay.resident_bytes - 2 * 8 * 4  # two rotary tables of 8 frequencies are no parameters
    assert states["optimizer states"] >= 2 * parameters
    thrifty = replay_config(
        SMALL["llama"], Workload(prompt_tokens=64, dtype="fp32"), training=TrainingSetup(checkpointing=True)
    )
    assert thrifty.phases[0].peak.above_bytes < forward.above_bytes


def test_a_limit_that_is_too_small_runs_out_of_memory() -> None:
    options = AllocatorOptions(limit_bytes=8 << 20)
    assert replay_config(SMALL["llama"], Workload(prompt_tokens=64), options=options).peak.out_of_memory


def test_any_module_can_be_replayed_and_stays_as_it_was() -> None:
    import torch

    module = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.GELU(), torch.nn.Linear(256, 8))
    replay = replay_module(module, (torch.zeros(32, 64),), backward=True)
    assert [phase.peak.phase for phase in replay.phases] == ["forward", "backward"]
    # inputs, both sides of the activation, the result
    assert replay.phases[0].peak.above_bytes == 4 * 32 * (64 + 256 + 256 + 8)
    assert module[0].weight.device.type == "cpu"


@pytest.mark.skipif(sys.platform != "linux", reason="reads a process's peak memory from /proc")
def test_llama_2_7b_replays_exactly_within_500_mib() -> None:
    """Memory of a child process at its highest; on the bytes above the weights 1,277,214,720 (see the notes below).

    KV 2·32·2048·4096·2 = 1,073,741,824; rotary cos and sin 1,048,576; MLP 2048·2·(3·11008 + 4·4096) = 202,375,168;
    the ids twice and the positions once, 49,152 together.
    """
    program = (
        "import json, sys; from gpufit.replay.oracle import peak_above_weights\n"
        "peaks = peak_above_weights(json.loads(sys.argv[1]), prompt=2048, new=16)\n"
        # getrusage would carry the parent's peak across exec; the kernel's own mark of this process does not
        "peak = next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "print(json.dumps([peaks['prefill'].above_bytes, int(peak)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(LLAMA_2_7B)], capture_output=True, text=True, check=True
    )
    above, peak_kib = json.loads(done.stdout)
    assert above == 1_073_741_824 + 1_048_576 + 202_375_168 + 49_152
    assert peak_kib < 500 << 10
