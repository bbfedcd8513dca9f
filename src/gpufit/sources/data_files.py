"""Where gpufit's own tables lie (in the package, or at the root of a source checkout) and its records."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from gpufit.errors import BadFile

MEASUREMENTS, TRAININGS, CONTEXTS = "measurements.csv", "trainings.csv", "contexts.json"
"""The local record of ``gpufit measure``: runs, steps of training, and the driver's part of a process by device."""
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


def user_data_dir(environ: Mapping[str, str]) -> Path:
    """Where what was measured on this machine is kept: ``$XDG_DATA_HOME/gpufit``.

    >>> user_data_dir({"XDG_DATA_HOME": "/home/ada/data"}).as_posix()
    '/home/ada/data/gpufit'
    """
    place = environ.get("XDG_DATA_HOME", "")
    if not os.path.isabs(place):  # the XDG rules: a relative path is ignored
        place = os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".local", "share")
    return Path(place, "gpufit")
