"""One question to NVML: an answer, an unknown, or an unknown with a reason worth telling."""

from __future__ import annotations

from typing import Any

# The card or the driver has no such reading: unknown, and nothing to report.
_PLAINLY_UNKNOWN = (
    "NOT_SUPPORTED", "FUNCTION_NOT_FOUND", "NOT_FOUND", "NO_DATA", "DEPRECATED", "ARGUMENT_VERSION_MISMATCH",
)  # fmt: skip


class Asker:
    """Collects in ``notes`` why answers are missing."""

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self._plainly_unknown = {getattr(nvml, f"NVML_ERROR_{code}", None) for code in _PLAINLY_UNKNOWN}
        # what nvidia-ml-py's unversioned calls raise with a driver older than itself, and no NVMLError
        self._mismatch = getattr(nvml, "NVMLLibraryMismatchError", nvml.NVMLError)
        self.notes: list[str] = []

    def ask(self, what: str, function: str, *arguments: Any) -> Any:
        """The answer of nvidia-ml-py's ``function``, or None."""
        call = getattr(self._nvml, function, None)
        if call is None:  # an older nvidia-ml-py
            return None
        try:
            return call(*arguments)
        except self._nvml.NVMLError as error:
            if error.value not in self._plainly_unknown:
                self.notes.append(f"{what} unknown: {error}")
        except self._mismatch:
            return None
        except UnicodeDecodeError:
            self.notes.append(f"{what} unknown: NVML answered with garbled text")
        return None
