"""The columns that only training rows have."""

from __future__ import annotations

from collections.abc import Callable

from gpufit.records import record


@record
class TrainingRow:
    """How a row's run was set up, in the file's own words; numbers are None where nothing was said."""

    method: str
    lora_rank: int | None
    lora_targets: str
    trainable_params: int | None
    optimizer: str
    param_dtype: str
    compute_dtype: str
    gradient_checkpointing: str
    micro_batch: int | None
    sequence_length: int | None
    grad_accum: int | None
    gpus: int | None
    sharding: str
    dated: str


def parse_training(text: Callable[[str], str], whole: Callable[[str, int], int | None]) -> TrainingRow:
    """The row's training columns, read through the file's own cell readers."""
    return TrainingRow(
        method=text("method"), lora_rank=whole("lora_rank", 1), lora_targets=text("lora_targets"),
        trainable_params=whole("trainable_params", 1), optimizer=text("optimizer"), param_dtype=text("param_dtype"),
        compute_dtype=text("compute_dtype"), gradient_checkpointing=text("gradient_checkpointing"),
        micro_batch=whole("micro_batch", 1), sequence_length=whole("sequence_length", 1),
        grad_accum=whole("grad_accum", 1), gpus=whole("gpus", 1), sharding=text("sharding"),
        dated=text("source_commit_or_date"),
    )  # fmt: skip
