"""A GGUF model out of one header or of its shards' headers."""

from __future__ import annotations

from collections.abc import Sequence

from gpufit.errors import BadFile
from gpufit.facts.ggml import GGML_TYPES, count_device_bytes
from gpufit.facts.gguf import GgufHeader
from gpufit.facts.stored import StoredTensor, StoredWeights, sum_by_dtype
from gpufit.records import replace

_BLOCKS = {block.name: block for block in GGML_TYPES.values()}
_FLOATS = frozenset({"F32", "F16", "BF16", "F64"})


def join_headers(headers: Sequence[GgufHeader], what: str) -> GgufHeader:
    """One header with the tensors of all shards, in their order; the metadata is the first's.

    Raises BadFile where the shards are not those of one model.
    """
    first = headers[0]
    splits = [header.split for header in headers]
    if splits != [(number, len(headers)) for number in range(len(headers))]:
        raise BadFile(
            f"{what}: the shards say they are {splits[:4]} of one model, but {len(headers)} lie here",
            hint="name the first shard, ending in -00001-of-000NN.gguf, with all others beside it",
        )
    tensors = tuple(tensor for header in headers for tensor in header.tensors)
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise BadFile(f"{what}: two shards hold a tensor of the same name")
    return replace(first, tensors=tensors)


def to_stored(header: GgufHeader, files: tuple[str, ...]) -> StoredWeights:
    """Count a GGUF model as stored and as llama.cpp places it on a CUDA device with all layers offloaded.

    The input embedding stays in main memory, unless it is also the output matrix, of which the device then gets a copy.
    Source: llama.cpp, src/llama-model.cpp, ``load_tensors`` ("there is very little benefit to offloading the input
    layer, so always keep it on the CPU"; ``TENSOR_DUPLICATED`` where output.weight is missing).
    """
    names = {tensor.name for tensor in header.tensors}
    stays = {"per_layer_token_embd.weight", *(("token_embd.weight",) if "output.weight" in names else ())}
    device = sum(count_device_bytes(_BLOCKS[t.dtype], t.shape) for t in header.tensors if t.name not in stays)
    quant = dominant_type(header.tensors)
    return StoredWeights(
        format="gguf", tensors=header.tensors, files=files, device_bytes=device,
        method="gguf" if quant else None, quant=f"gguf-{quant.lower()}" if quant else None,
    )  # fmt: skip


def dominant_type(tensors: Sequence[StoredTensor]) -> str | None:
    """The block type that holds most bytes; None where that is a plain float.

    >>> dominant_type([StoredTensor("a", (256,), "Q4_K", 144), StoredTensor("n", (4,), "F32", 16)])
    'Q4_K'
    """
    largest = next(iter(sum_by_dtype(tensors)), None)
    return None if largest is None or largest in _FLOATS else largest
