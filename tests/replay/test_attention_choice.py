"""CUDA's choice of attention kernel, case by case from sdp_utils.cpp."""

from __future__ import annotations

import pytest

from gpufit.replay.cuda_attention import AttentionCall, Kernel, choose_kernel

HEADS_8, HEADS_2 = (1, 8, 64, 128), (1, 2, 64, 128)


def call(shape: tuple[int, ...] = HEADS_8, **changes: object) -> AttentionCall:
    fields: dict[str, object] = {"query": shape, "key": shape, "value": shape, "dtype": "float16", **changes}
    return AttentionCall(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("attention", "capability", "kernel"),
    [
        (call(), (8, 0), "flash"),
        (call(), (9, 0), "cudnn"),
        (call(), (7, 5), "efficient"),
        (call(dtype="bfloat16"), (7, 5), "math"),
        (call(dtype="float32"), (8, 0), "efficient"),
        (call(dtype="float32"), (9, 0), "efficient"),
        (call(dtype="float64"), (8, 0), "math"),
        (call(masked=True), (8, 0), "efficient"),
        (call(key=HEADS_2, value=HEADS_2, grouped_query=True), (8, 0), "flash"),
        (call(key=HEADS_2, value=HEADS_2, grouped_query=True), (7, 5), "math"),
        (call(key=HEADS_2, value=HEADS_2, grouped_query=True, masked=True), (8, 0), "math"),
        (call((1, 8, 64, 256)), (8, 0), "flash"),
        (call((1, 8, 64, 264)), (8, 0), "efficient"),
        (call((1, 8, 64, 12)), (8, 0), "flash"),  # padded to 16
        (call((1, 8, 64, 12), masked=True), (8, 0), "math"),  # no multiple of 8
        (call((1, 8, 64, 192), value=(1, 8, 64, 128)), (8, 0), "efficient"),  # latent attention
        (call((1, 8, 64, 256), needs_gradient=True, dropout=True), (8, 9), "efficient"),
        (call(query=(1, 8, 1, 128), causal=True), (8, 0), "efficient"),
    ],
)
def test_the_kernel_is_the_one_cuda_takes(
    attention: AttentionCall, capability: tuple[int, int], kernel: Kernel
) -> None:
    assert choose_kernel(attention, capability) == kernel
