"""What has been set on this machine that changes gpufit's answers, and where each setting came from."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from gpufit.devices.visible import VARIABLES
from gpufit.records import record

# Variables that gpufit obeys, and those by which the libraries it speaks of choose devices, memory and caches.
_OWN = ("GPUFIT_FAKE_GPU", *VARIABLES)
_DEVICES = (
    "NVIDIA_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "HSA_OVERRIDE_GFX_VERSION", "ONEAPI_DEVICE_SELECTOR",
    "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF", "PYTORCH_MPS_HIGH_WATERMARK_RATIO", "CUDA_MODULE_LOADING",
    "CUBLAS_WORKSPACE_CONFIG", "CUDA_HOME", "ROCM_PATH", "LD_LIBRARY_PATH",
)  # fmt: skip
_HUB = (
    "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_ENDPOINT", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE",
    "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HUB_DISABLE_IMPLICIT_TOKEN", "HTTPS_PROXY", "HTTP_PROXY",
    "ALL_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "all_proxy", "no_proxy", "SSL_CERT_FILE",
)  # fmt: skip
_SCREEN = (
    "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "TERM", "LANG",
    "LC_ALL", "PYTHONIOENCODING", "PYTHONUTF8",
)  # fmt: skip
KNOWN = (*_OWN, *_DEVICES, *_HUB, *_SCREEN)


@record
class Setting:
    """``origin`` is ``environment``, ``default``, or the file it was read from."""

    name: str
    value: str
    origin: str


@record
class Place:
    """A file or folder that gpufit reads or writes, and what is there now."""

    name: str
    path: str
    state: str
    origin: str


def read_variables(environ: Mapping[str, str]) -> tuple[Setting, ...]:
    """The variables above that are set, and any other of gpufit's own."""
    names = (*KNOWN, *sorted(name for name in environ if name.startswith("GPUFIT_") and name not in KNOWN))
    return tuple(Setting(name=name, value=environ[name], origin="environment") for name in names if name in environ)


def read_places(environ: Mapping[str, str]) -> tuple[Place, ...]:
    """Catalogs, the table of GPUs, caches, and the Hub's folder."""
    return tuple(_places(environ))


def _places(environ: Mapping[str, str]) -> Iterator[Place]:
    from gpufit.sources.catalog import catalog_files, user_catalog_place
    from gpufit.sources.compiled import user_cache_dir
    from gpufit.sources.data_files import CONTEXTS, MEASUREMENTS, TRAININGS, data_file, user_data_dir
    from gpufit.sources.hub_cache import hub_folder

    def origin(*variables: str) -> str:
        return next((name for name in variables if environ.get(name)), "default")

    yield _place("shipped catalog", catalog_files(None, environ)[0], "gpufit's own")
    yield _place("your catalog", user_catalog_place(environ), origin("XDG_CONFIG_HOME"))
    yield _place("table of GPUs", data_file("gpus.yaml"), "gpufit's own")
    cache = user_cache_dir(environ)
    if cache is not None:
        yield _place("compiled tables", cache, origin("XDG_CACHE_HOME"))
    records = {"measurements": MEASUREMENTS, "measured training": TRAININGS, "measured contexts": CONTEXTS}
    for name, file in records.items():
        yield _place(name, user_data_dir(environ) / file, origin("XDG_DATA_HOME"))
    hub = origin("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME")
    yield _place("Hub cache", hub_folder(environ), hub)


def _place(name: str, path: Path, origin: str) -> Place:
    try:
        found = os.stat(path)
    except OSError as error:
        state = "missing" if isinstance(error, FileNotFoundError) else f"unreadable: {error.strerror}"
        return Place(name=name, path=str(path), state=state, origin=origin)
    if os.path.isdir(path):
        state = "folder" if os.access(path, os.W_OK) else "folder, not writable"
    else:
        state = f"{found.st_size:,} bytes" + ("" if os.access(path, os.R_OK) else ", not readable")
    return Place(name=name, path=str(path), state=state, origin=origin)


def token_origin(environ: Mapping[str, str]) -> str:
    """Where an access token would be taken from, never the token.

    >>> token_origin({"HF_TOKEN": "hf_secret"})
    'HF_TOKEN'
    """
    from gpufit.sources.hub_cache import find_token

    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if environ.get(name):
            return name
    if find_token(environ) is None:
        return "none"
    return "HF_TOKEN_PATH" if environ.get("HF_TOKEN_PATH") else "the login's file"
