"""What loading takes above the weights themselves, on the device."""

from __future__ import annotations

from gpufit.memory.ranges import Range
from gpufit.memory.weights import WeightBytes


def load_temporaries(weights: WeightBytes, element_bytes: int) -> Range:
    """Bytes above the finished weights at the worst moment of from_pretrained.

    Plain weights are copied tensor by tensor into place, so nothing is added. A layer that is quantized on the way
    in stands on the device in 16 bits while its packed form is written: the largest one decides. How many such
    tensors are in flight depends on the loader's threads, so the high end allows two.
    Source: transformers 5.23.0, core_model_loading.py, convert_and_load_state_dict_in_model.
    """
    outputs, inputs = weights.largest_matrix
    matrix_bytes = outputs * inputs * element_bytes
    return Range(0, matrix_bytes, 2 * matrix_bytes)
