"""Where gpufit's own tables lie: inside the package when installed, at the repository root in a source checkout."""

from __future__ import annotations

from pathlib import Path

from gpufit.errors import BadFile

_PACKAGE = Path(__file__).resolve().parent.parent


def data_file(name: str) -> Path:
    """The path of one of gpufit's own data files. Raises BadFile when the installation lacks it.

    >>> data_file("gpus.yaml").name
    'gpus.yaml'
    """
    candidates = (_PACKAGE / "data" / name, _PACKAGE.parent.parent / name)
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise BadFile(f"gpufit's own file {name} is missing", hint="reinstall gpufit")
