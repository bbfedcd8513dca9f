"""Everything that gpufit raises on purpose.

    GpufitError                 base: a sentence, a hint, an exit code
    ├── UsageError        (2)   the request itself is wrong (--vram 0, unknown --quant)
    │   ├── UnknownName   (2)   no such model or GPU; carries the nearest names
    │   └── Unsupported   (2)   the family cannot take this dtype, quantization or attention
    ├── BadFile           (2)   a file from outside is broken, hostile or unreadable
    │   └── BadCatalog    (2)   ... and it is a catalog; carries file and line
    ├── BadConfig         (2)   a config.json value is missing, of a wrong type, or absurd
    ├── Undecided         (3)   gpufit does not know; never a guess
    │   ├── UnknownFamily (3)   no reader for this model_type
    │   └── NoDevice      (3)   no GPU found and no --vram given
    ├── SourceError       (2)   the Hub or the network failed
    ├── MeasureFailed     (2)   a run on a device ended without an answer
    └── AccessNeeded      (4)   a token or a licence is needed

"Does not fit" is a result, not an exception. Only ``gpufit.cli`` turns these into text and exit codes.
"""

from __future__ import annotations

from collections.abc import Iterable


class GpufitError(Exception):
    """A failure with one clear sentence, a hint, and the exit code it maps to."""

    exit_code = 2
    code = "error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(GpufitError):
    code = "usage"


class UnknownName(UsageError):
    """No such model, GPU, task, quantization, ... ``nearest`` holds the closest known names, best first."""

    code = "unknown_name"

    def __init__(self, kind: str, name: str, nearest: tuple[str, ...] = (), *, hint: str = "") -> None:
        near = f"nearest: {', '.join(nearest)}" if nearest else ""
        super().__init__(f"unknown {kind} {name!r}", hint="; ".join(part for part in (near, hint) if part))
        self.nearest = nearest

    @classmethod
    def among(cls, kind: str, name: str, known: Iterable[str], *, hint: str = "") -> UnknownName:
        """The error for a name that is none of ``known``, with the closest of them.

        >>> UnknownName.among("task", "encodr", ["encoder", "speech"]).nearest
        ('encoder',)
        """
        from difflib import get_close_matches

        near = get_close_matches(name[:40].lower(), list(known), n=3, cutoff=0.5)
        return cls(kind, name[:40], tuple(near), hint=hint)


class Unsupported(UsageError):
    code = "unsupported"


class BadFile(GpufitError):
    code = "bad_file"


_WHERE = "check the path; a relative one starts at the current folder"
_HINTS: dict[type[Exception], str] = {
    FileNotFoundError: _WHERE,
    NotADirectoryError: _WHERE,
    IsADirectoryError: "it is a folder; name a file in it",
    PermissionError: "it belongs to somebody else; ask for the right to read it",
}


def no_such_path(path: object) -> BadFile:
    """A path that leads nowhere.

    >>> no_such_path("model.gguf").message
    "there is no file or folder 'model.gguf'"
    """
    return BadFile(f"there is no file or folder {str(path)[:200]!r}", hint=_WHERE)


def unreadable(path: object, problem: Exception) -> BadFile:
    """A file that the system does not let be read, with a hint on what may help."""
    hint = next((hint for kind, hint in _HINTS.items() if isinstance(problem, kind)), "")
    return BadFile(f"cannot read {path}: {getattr(problem, 'strerror', None) or problem}", hint=hint)


class BadCatalog(BadFile):
    """A catalog entry is wrong; ``line`` is 1-based, 0 when no line can be named."""

    code = "bad_catalog"

    def __init__(self, path: str, line: int, problem: str, *, hint: str = "") -> None:
        where = f"{path}:{line}" if line else path
        super().__init__(f"{where}: {problem}", hint=hint)
        self.path = path
        self.line = line
        self.problem = problem


class BadConfig(GpufitError):
    code = "bad_config"


class Undecided(GpufitError):
    exit_code = 3
    code = "unknown"


class UnknownFamily(Undecided):
    """There is no reader for this ``model_type``, or, with a ``message`` of its own, no class in a library."""

    code = "unknown_family"

    def __init__(self, model_type: str, *, message: str = "", hint: str = "") -> None:
        super().__init__(message or f"gpufit has no reader for model_type {model_type!r}", hint=hint)
        self.model_type = model_type


class NoDevice(Undecided):
    code = "no_device"


class MeasureFailed(GpufitError):
    code = "measure_failed"


class SourceError(GpufitError):
    code = "source"


class AccessNeeded(GpufitError):
    exit_code = 4
    code = "access"
