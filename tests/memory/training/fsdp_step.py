"""A real training step of adapters under FSDP1 on the CPU, in a process of its own; prints its peaks as JSON.

``python fsdp_step.py CONFIG_JSON TOKENS BATCH``: one rank, so that nothing is cut and the hooks alone are at work.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import warnings
from functools import partial
from typing import Any


def backward_peak(raw: dict[str, object], tokens: int, batch: int, *, reentrant: bool) -> int:
    """The most bytes in backward above what stood before the step."""
    import torch
    import transformers
    from peft.utils.other import fsdp_auto_wrap_policy
    from torch.distributed.fsdp import FullyShardedDataParallel

    from gpufit.replay.recording import find_peaks
    from gpufit.replay.run import resident_tensors
    from gpufit.replay.tracker import Tracker
    from gpufit.replay.training_step import TrainingSetup, make_optimizer, prepare_for_training, train

    settings = {key: value for key, value in raw.items() if key not in ("model_type", "architectures")}
    config = transformers.AutoConfig.for_model(raw["model_type"], **settings)
    bare = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    model = prepare_for_training(bare, TrainingSetup(kind="lora", checkpointing=True, reentrant=reentrant))
    model = FullyShardedDataParallel(
        model, auto_wrap_policy=fsdp_auto_wrap_policy(model), device_id=torch.device("cpu"), use_orig_params=False
    )
    if reentrant:
        put_checkpoints_outside(model)
    tracker = Tracker("cpu")
    tracker.register(resident_tensors(model))
    train(model, tracker, make_optimizer(model, "sgd"), tokens=tokens, batch=batch, device="cpu")
    peaks = {peak.phase: peak for peak in find_peaks(tracker.recording())}
    return peaks["backward"].above_bytes


def put_checkpoints_outside(model: Any) -> None:
    """As transformers had it before 4.52: the checkpoint calls FSDP's unit, not the other way round."""
    import torch
    from torch.utils.checkpoint import checkpoint

    class Outside(torch.nn.Module):
        def __init__(self, layer: Any) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, hidden: torch.Tensor, **more: Any) -> torch.Tensor:
            return checkpoint(partial(self.layer.__call__, **more), hidden, use_reentrant=True)

    decoder = next(
        module for module in model.modules() if isinstance(getattr(module, "layers", None), torch.nn.ModuleList)
    )
    for index, unit in enumerate(decoder.layers):
        unit.module.gradient_checkpointing = False
        decoder.layers[index] = Outside(unit)


def main() -> None:
    """Both kinds of checkpoint, one after the other."""
    import torch.distributed as distributed

    warnings.filterwarnings("ignore")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": "0", "WORLD_SIZE": "1"}
    distributed.init_process_group("gloo", rank=0, world_size=1)
    raw, tokens, batch = json.loads(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    found = {
        name: backward_peak(raw, tokens, batch, reentrant=name == "reentrant") for name in ("reentrant", "current")
    }
    distributed.destroy_process_group()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
