"""The compute capability that the kernels of each format need on NVIDIA's cards."""

from __future__ import annotations

from gpufit.memory.workload import Quantization

# Formats that an ordinary checkpoint can be loaded into without calibration, least loss first, with the
# compute capability their kernels need. Sources: bitsandbytes 0.50 documentation (int8 from Turing, 4-bit from Pascal).
LOADABLE: tuple[tuple[Quantization, tuple[int, int]], ...] = (
    ("none", (0, 0)),
    ("bnb-int8", (7, 5)),
    ("bnb-nf4", (6, 0)),
    ("bnb-nf4-dq", (6, 0)),
)

# Formats that checkpoints are published in and that run as stored.
# Sources: transformers 5.23.0, quantizer_finegrained_fp8.py (8.9) and quantizer_mxfp4.py (7.5).
STORED: dict[str, tuple[Quantization, tuple[int, int]]] = {"fp8": ("fp8", (8, 9)), "mxfp4": ("mxfp4", (7, 5))}

# Compute capability that a quantization's kernels need. Sources: bitsandbytes 0.50 documentation; transformers
# 5.23.0, quantizers/quantizer_finegrained_fp8.py and quantizer_mxfp4.py.
NEEDS: dict[str, tuple[int, int]] = {**dict(LOADABLE), "bnb-fp4": (6, 0), **dict(STORED.values())}
