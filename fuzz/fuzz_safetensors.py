"""safetensors: length, header, index of shards, and the naming of quantized formats."""

from __future__ import annotations

import json

import atheris
from harness import fuzz

with atheris.instrument_imports(include=["gpufit"]):
    from gpufit.facts.safetensors import DTYPE_BITS, parse_header, parse_header_length, parse_index
    from gpufit.facts.stored_quant import recognise

DTYPES = [*DTYPE_BITS, "", "F9"]
ENDINGS = [
    "weight", "SCB", "qweight", "g_idx", "scales", "weight_scale", "weight_scale_inv", "weight_packed", "w_blocks",
    "w_scales", "weight.absmax", "weight.nested_absmax", "weight.quant_state.bitsandbytes__nf4", "weight_scale_2",
]  # fmt: skip


def built(choose: atheris.FuzzedDataProvider) -> tuple[bytes, int]:
    """A header that is nearly right: JSON with the right keys, values and offsets now and then wrong."""
    entries: dict[str, object] = {}
    end = 0
    for number in range(choose.ConsumeIntInRange(0, 5)):
        dtype = choose.PickValueInList(DTYPES)
        shape = [choose.ConsumeIntInRange(-1, 9) for _ in range(choose.ConsumeIntInRange(0, 4))]
        size = DTYPE_BITS.get(dtype, 8)
        for item in shape:
            size *= item
        start, end = end, end + size // 8
        if choose.ConsumeIntInRange(0, 9) == 0:
            end = choose.ConsumeInt(8)
        name = f"{choose.ConsumeIntInRange(0, 1) * number}.{choose.PickValueInList(ENDINGS)}"
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    return json.dumps(entries).encode(), end


def parse(data: bytes) -> None:
    choose = atheris.FuzzedDataProvider(data)
    kind = choose.ConsumeIntInRange(0, 3)
    if kind == 0:
        header, data_bytes = built(choose)
    else:
        data_bytes = choose.ConsumeIntInRange(0, 64)
        header = choose.ConsumeBytes(4096)
    if kind == 1:
        length = parse_header_length(header[:8], len(header), "w")
        header, data_bytes = header[8 : 8 + length], len(header) - 8 - length
    if kind == 2:
        parse_index(header, "index")
        return
    section = {
        "quant_method": choose.ConsumeUnicode(8),
        "bits": choose.ConsumeInt(4),
        "group_size": choose.ConsumeInt(4),
    }
    recognise(parse_header(header, data_bytes, "w"), section)


if __name__ == "__main__":
    fuzz(parse)
