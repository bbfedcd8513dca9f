"""What to ask a serving runtime for: the numbers that were solved, and the command line that says them."""

from __future__ import annotations

from gpufit.records import record


@record
class RuntimePlan:
    """A runtime's settings for one check. ``values`` are named as the runtime names them, sizes end in ``_bytes``."""

    runtime: str
    version: str
    values: tuple[tuple[str, int | float | str | None], ...]
    command: str
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """The JSON form, under ``runtime_plan``.

        >>> RuntimePlan(runtime="vllm", version="0.33.0", values=(("max_model_len", 4096),), command="x").to_dict()
        {'runtime': 'vllm', 'version': '0.33.0', 'max_model_len': 4096, 'command': 'x'}
        """
        return {"runtime": self.runtime, "version": self.version, **dict(self.values), "command": self.command}
