"""What the fuzz targets share: one promise, kept for every input.

A parser returns or raises ``GpufitError``. Anything else is a finding, and so is a run of more than a few seconds or
memory that grows: libFuzzer watches both (``-timeout``, ``-rss_limit_mb``).

Run one by hand, from the repository root, with the project and ``atheris`` installed:

    python fuzz/fuzz_gguf.py -runs=1000000 -max_len=1024 -len_control=0 -timeout=5 -rss_limit_mb=1024

``-runs`` counts inputs. docs/reliability.md holds the counts of the last full run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module

import atheris

with atheris.instrument_imports(include=["gpufit"]):
    import gpufit.errors
    import gpufit.facts.families

    for _module in {target.partition(":")[0] for target in gpufit.facts.families.READERS.values()}:
        import_module(f"gpufit.facts.families.{_module}")  # here, since only what is imported here is instrumented


def fuzz(parse: Callable[[bytes], object]) -> None:
    """Feed ``parse`` until libFuzzer's limits."""

    def one_input(data: bytes) -> None:
        with suppress(gpufit.errors.GpufitError):
            parse(data)

    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
