"""Families without a reader here: the installed transformers builds them, in a child process that can do no harm.

The child has the configuration and nothing else: no network, no code of the checkpoint (``trust_remote_code`` does not
exist here), bounded processor time, wall time and memory. A configuration that asks for too much costs a refusal.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

from gpufit.errors import Undecided, UnknownFamily
from gpufit.facts.architecture import Architecture
from gpufit.facts.built import parse_built
from gpufit.facts.read import parse_config
from gpufit.replay.libraries import require_libraries

LIMIT_SECONDS = 120
LIMIT_BYTES = 6 << 30  # torch and transformers alone take about 1 GiB of writable memory, a model of 250,000 tensors 2
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH",
         "PYTHONHOME", "VIRTUAL_ENV")  # fmt: skip


def read_or_build(raw: Mapping[str, Any], progress: Callable[[str], None] | None = None) -> Architecture:
    """``parse_config``, and where that has no reader what transformers builds.

    Raises UnknownFamily where transformers has no such model either (its code lies beside the checkpoint), Undecided
    where it cannot be built within the limits, UsageError where torch or transformers is missing.
    """
    try:
        return parse_config(raw)
    except UnknownFamily as error:
        if progress is not None:
            progress(f"building {error.model_type[:60]} with transformers")
        return parse_built(ask_child(raw))


def ask_child(
    raw: Mapping[str, Any], *, limit_seconds: float = LIMIT_SECONDS, limit_bytes: int = LIMIT_BYTES
) -> dict[str, Any]:
    """What the child tells of the model; see ``gpufit.replay.inventory``."""
    require_libraries("--via-transformers builds the model")
    model_type = str(raw.get("model_type"))[:100]
    try:
        done = subprocess.run(
            [sys.executable, "-c", _limited(limit_seconds, limit_bytes)], input=json.dumps(raw).encode(),
            capture_output=True, timeout=limit_seconds, env=_environment(), check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Undecided(
            f"transformers did not build {model_type!r} within {limit_seconds:g} seconds", hint="is the config right?"
        ) from None
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise Undecided(
            f"transformers did not live to build {model_type!r} (exit code {done.returncode})",
            hint=f"its process may take {limit_bytes >> 30} GiB and {limit_seconds:g} seconds",
        ) from None
    if "told" in answer:
        told: dict[str, Any] = answer["told"]
        return told
    if answer["code"] == "unknown_family":
        raise UnknownFamily(model_type, hint=answer["hint"] or "transformers has no class for it either")
    if answer["code"] == "memory":
        raise Undecided(f"building {model_type!r} takes more than {limit_bytes >> 30} GiB", hint="is the config right?")
    raise Undecided(
        f"transformers cannot build {model_type!r} from this configuration: {answer['message']}",
        hint=answer["hint"] or "another version of transformers may know it better",
    )


def _limited(limit_seconds: float, limit_bytes: int) -> str:
    """The child's program: it bounds itself before it imports anything large. Windows has no such limits."""
    return (
        "import gc, sys\n"
        "try:\n"
        " import resource\n"
        f" resource.setrlimit(resource.RLIMIT_CPU, ({int(limit_seconds) + 1},) * 2)\n"
        f" resource.setrlimit(resource.RLIMIT_DATA, ({limit_bytes},) * 2)\n"
        "except (ImportError, ValueError, OSError): pass\n"
        "from gpufit.replay.inventory import main\n"
        "code = main()\n"
        "gc.freeze()\n"  # as in gpufit.cli.main
        "sys.exit(code)"
    )


def _environment() -> dict[str, str]:
    """No tokens and no proxies, and the libraries' own switches against asking the Hub."""
    import gpufit

    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    source = os.path.dirname(os.path.dirname(os.path.abspath(gpufit.__file__)))
    path = os.pathsep.join(filter(None, (source, kept.get("PYTHONPATH"))))
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    quiet = {"TRANSFORMERS_VERBOSITY": "error", "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return {**kept, **offline, **quiet, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
