"""Versions of what runs models, read from what is installed; nothing of it is imported."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from gpufit.devices.torch_probe import installed_torch

PACKAGES = (
    "torch", "triton", "transformers", "tokenizers", "accelerate", "bitsandbytes", "peft", "safetensors",
    "huggingface-hub", "flash-attn", "xformers", "gptqmodel", "autoawq", "optimum", "vllm", "llama-cpp-python", "gguf",
    "numpy", "nvidia-ml-py", "nvidia-cuda-runtime-cu12", "nvidia-cuda-runtime", "amdsmi", "intel-extension-for-pytorch",
    "typer", "click", "rich", "PyYAML",
)  # fmt: skip


def package_versions(packages: Sequence[str] = PACKAGES) -> tuple[tuple[str, str | None], ...]:
    """Each package's version, None where it is not installed or its metadata are broken.

    >>> dict(package_versions(("rich", "no-such-package")))["no-such-package"] is None
    True
    """
    from importlib.metadata import PackageNotFoundError, version

    found: list[tuple[str, str | None]] = []
    for package in packages:
        try:
            found.append((package, version(package)))
        except (PackageNotFoundError, KeyError, ValueError):
            found.append((package, None))
    return tuple(found)


def torch_target(find: Callable[[], Path | None] = installed_torch) -> str | None:
    """What the installed torch was built for: ``cuda 12.8``, ``hip 6.4``, or ``cpu``; None where there is none."""
    folder = find()
    if folder is None:
        return None
    try:
        lines = (folder / "version.py").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    for line in lines:
        name, equals, value = line.partition("=")
        target = name.partition(":")[0].strip()
        if equals and target in ("cuda", "hip", "xpu") and value.strip() not in ("None", ""):
            return f"{target} " + value.strip().strip("'\"")
    return "cpu"


def system_versions() -> tuple[tuple[str, str], ...]:
    """Python and the operating system, without the machine's name."""
    python = f"{platform.python_implementation()} {platform.python_version()} ({sys.maxsize.bit_length() + 1} bit)"
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    distribution = _distribution()
    return (
        ("python", python),
        ("executable", sys.executable or "unknown"),
        ("system", f"{system}, {distribution}" if distribution else system),
    )


def cuda_driver_version() -> str | None:
    """The newest CUDA that the driver runs, as NVML tells it; None without a driver.

    Equivalent: the "CUDA Version" in the head of ``nvidia-smi``.
    """
    from gpufit.devices.nvml_ask import Asker

    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    number = Asker(pynvml).ask("CUDA version", "nvmlSystemGetCudaDriverVersion_v2")
    return None if not number else f"{number // 1000}.{number % 1000 // 10}"


def _distribution() -> str | None:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME")
    except OSError:
        return None
