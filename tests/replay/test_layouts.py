"""Outputs remembered by the layouts of inputs are what the operators themselves give, and recordings are the same."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="operators are torch's own")
pytest.importorskip("transformers", reason="a replay runs the real modelling code and needs transformers")

from real_models import SMALL  # noqa: E402
from tiny_encoders_and_towers import CASES  # noqa: E402
from tiny_moe_and_hybrid import TINY  # noqa: E402

from gpufit.memory.workload import Workload  # noqa: E402
from gpufit.replay.front import replay_config  # noqa: E402
from gpufit.replay.layouts import Layouts  # noqa: E402
from gpufit.replay.training_step import TrainingSetup  # noqa: E402

pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore")]
ATEN: Any = torch.ops.aten
SEEING = {made: {"model_type": name, "architectures": [made], **raw} for name, made, raw in reversed(CASES)}


def meta(*shape: int, dtype: torch.dtype = torch.float16) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def told(result: Any) -> Any:
    """All that can be said of an operator's outputs."""
    if isinstance(result, (list, tuple)):
        return type(result), [told(item) for item in result]
    if not isinstance(result, torch.Tensor):
        return result
    return result.shape, result.stride(), result.dtype, result.device, result.untyped_storage().nbytes()


HEADS = meta(1, 4, 8, 64)
CALLS = {
    "a number times halves": (ATEN.mul.Tensor, (meta(2, 3), 2.0)),
    "integers times an integer": (ATEN.mul.Tensor, (meta(2, 3, dtype=torch.int64), 2)),
    "integers times a float": (ATEN.mul.Tensor, (meta(2, 3, dtype=torch.int64), 2.0)),
    "integers times a truth": (ATEN.mul.Tensor, (meta(2, 3, dtype=torch.int64), True)),
    "halves and singles": (ATEN.add.Tensor, (meta(2, 3), meta(3, dtype=torch.float32))),
    "a transposed input": (ATEN.neg.default, (meta(5, 7).t(),)),
    "an expanded input": (ATEN.neg.default, (meta(5, 1).expand(5, 7),)),
    "a slice": (ATEN.neg.default, (meta(5, 7)[:, 1:3],)),
    "a matrix product": (ATEN.mm.default, (meta(5, 7), meta(7, 3))),
    "a list": (ATEN.cat.default, ([meta(2, 3), meta(4, 3)],)),
    "tensors, numbers and None": (ATEN._scaled_dot_product_flash_attention.default, (HEADS, HEADS, HEADS)),
    "two outputs": (ATEN.topk.default, (meta(4, 9), 2)),
    "a list of outputs": (ATEN._foreach_add.Scalar, ([meta(3), meta(2, 2)], 1)),
    "nothing but a shape": (ATEN.zeros.default, ([2, 3],)),
    "a parameter": (ATEN.neg.default, (torch.nn.Parameter(meta(4)),)),
}


def test_a_second_call_gives_new_tensors_laid_out_as_the_operators_own() -> None:
    layouts = Layouts()
    for operator, args in CALLS.values():
        kwargs = {"device": torch.device("meta")} if operator is ATEN.zeros.default else {}
        first, second = (layouts.call(operator, args, kwargs) for _ in range(2))
        assert told(first) == told(second) == told(operator(*args, **kwargs))
    assert len(layouts.known) == len(CALLS)
    assert all(isinstance(outputs, tuple) for outputs in layouts.known.values())


def test_the_default_dtype_is_part_of_the_question() -> None:
    layouts, whole = Layouts(), meta(4, dtype=torch.int64)
    assert layouts.call(ATEN.true_divide.Scalar, (whole, 2), {}).dtype is torch.float32
    torch.set_default_dtype(torch.float64)
    try:
        assert layouts.call(ATEN.true_divide.Scalar, (whole, 2), {}).dtype is torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_views_writes_and_real_tensors_are_left_to_the_operator() -> None:
    layouts, tensor = Layouts(), meta(4, 6)
    for _ in range(2):
        for operator, args in (
            (ATEN.view.default, (tensor, [24])),
            (ATEN._unsafe_view.default, (tensor, [24])),  # its schema does not say that it is a view
            (ATEN.add_.Tensor, (tensor, 1.0)),
        ):
            result = layouts.call(operator, args, {})
            assert result.untyped_storage()._cdata == tensor.untyped_storage()._cdata
        assert layouts.call(ATEN._foreach_add_.Scalar, ([tensor], 1.0), {}) is None  # writes, and returns nothing
        real = layouts.call(ATEN.mul.Tensor, (torch.full((2,), 3.0), 2.0), {})
        assert real.tolist() == [6.0, 6.0]
        mixed = layouts.call(ATEN.mul.Tensor, (tensor, torch.tensor(2.0)), {})
        assert mixed.dtype is torch.float16  # a number of the processor's own does not widen
    assert not any(isinstance(outputs, tuple) for outputs in layouts.known.values())


def test_a_class_that_answers_operators_itself_is_asked_each_time() -> None:
    asked = []

    class Listening(torch.Tensor):
        @classmethod
        def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            asked.append(func)
            return meta(1)

    tensor = torch.Tensor._make_wrapper_subclass(Listening, (4,), dtype=torch.float16, device="meta")
    layouts = Layouts()
    for _ in range(2):
        layouts.call(ATEN.neg.default, (tensor,), {})
    assert asked == [ATEN.neg.default] * 2


@pytest.mark.parametrize(
    ("raw", "work", "training"),
    [
        pytest.param(SMALL["llama"], {"dtype": "bf16", "attention": "eager"}, None, id="decoder"),
        pytest.param(SMALL["llama"], {"quant": "bnb-int8"}, None, id="quantized"),
        pytest.param(TINY["mixtral-window"], {"dtype": "bf16"}, None, id="experts and window"),
        pytest.param(TINY["deepseek_v3"], {"dtype": "fp32"}, None, id="latent attention"),
        pytest.param(TINY["jamba"], {}, None, id="hybrid"),
        pytest.param(SEEING["WhisperForConditionalGeneration"], {}, None, id="speech"),
        pytest.param(SEEING["CLIPModel"], {}, None, id="vision"),
        pytest.param(SMALL["bart"], {"dtype": "fp32"}, TrainingSetup(checkpointing=True), id="checkpointed training"),
        pytest.param(SMALL["gpt2"], {"dtype": "bf16"}, TrainingSetup(optimizer="adafactor"), id="training"),
    ],
)
def test_a_recording_is_the_same_with_and_without(
    raw: dict[str, Any], work: dict[str, Any], training: TrainingSetup | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "quant" in work:
        pytest.importorskip("bitsandbytes", reason="the layers are bitsandbytes' own")
    workload = Workload(**{"prompt_tokens": 12, "new_tokens": 4, **work})
    remembered = replay_config(raw, workload, training=training).recording
    monkeypatch.setattr(Layouts, "call", lambda self, operator, args, kwargs: operator(*args, **kwargs))
    assert remembered == replay_config(raw, workload, training=training).recording
