"""What loading takes: above the weights on the device, and in the host's memory meanwhile."""

from __future__ import annotations

from gpufit.facts.architecture import Architecture
from gpufit.facts.dtypes import DTYPE_BYTES, short_dtype
from gpufit.memory.ranges import Range
from gpufit.memory.weights import WeightBytes, weigh_groups
from gpufit.memory.workload import Workload

LOADER_THREADS = 4  # transformers 5.23.0, core_model_loading.py, GLOBAL_WORKERS


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


def host_load_peak(architecture: Architecture, workload: Workload, weights: WeightBytes) -> Range:
    """Bytes that from_pretrained holds in the host's memory at once, beside Python and its libraries.

    Files are mapped, not read: their pages can be taken back and do not count. Low: the tensor on its way. Likely: one
    tensor for each of the loader's threads, twice where it is also converted to another dtype before it is copied; a
    single thread where weights are quantized on the way in. High: the whole model, for without a ``device_map`` it is
    made on the host and moved from there; quantizing asks for a device map, so that stays out.
    Source: transformers 5.23.0, core_model_loading.py, spawn_materialize and convert_and_load_state_dict_in_model;
    modeling_utils.py, _load_pretrained_model (safe_open, get_slice) and load_state_dict (torch.load with mmap).

    >>> from gpufit.facts.read import parse_config
    >>> from gpufit.memory.weights import count_weights
    >>> llama = parse_config({"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
    ...                       "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 32000,
    ...                       "torch_dtype": "float16"})
    >>> host_load_peak(llama, Workload(prompt_tokens=1), count_weights(llama, "fp16", "none")).likely_bytes
    1048576000
    """
    on_the_way = workload.quant.startswith("bnb-")
    element = DTYPE_BYTES[workload.dtype]
    own = short_dtype(architecture.dtype) or workload.dtype
    stored = DTYPE_BYTES.get(own, element)
    largest = max(
        (
            found.kept_bytes // element * stored // max(1, found.group.copies - found.quantized_copies)
            for found in weigh_groups(architecture, workload.dtype, "none" if on_the_way else workload.quant)
            if found.kept_bytes and found.group.module != "buffer"
        ),
        default=0,
    )  # fmt: skip
    largest = max(largest, weights.largest_matrix[0] * weights.largest_matrix[1] * stored if on_the_way else 0)
    whole = weights.total_bytes
    in_flight = largest if on_the_way else min(whole, LOADER_THREADS * largest)
    converted = in_flight // stored * element if own != workload.dtype else 0
    likely = in_flight + converted
    return Range(min(largest, likely), likely, likely if on_the_way else max(likely, whole))
