"""Several devices: whole blocks shared out as accelerate's ``device_map="auto"`` does; the fullest one decides."""

from __future__ import annotations

from gpufit.memory.estimate import Estimate
from gpufit.memory.ranges import Range
from gpufit.records import record


@record
class Share:
    """What the fullest of ``devices`` holds."""

    devices: int
    layers: int
    process: Range
    load_peak: Range


def share_out(estimate: Estimate, devices: int) -> Share:
    """The fullest device when the blocks are spread over ``devices`` of a kind; with one device, the estimate itself.

    Each device has a driver context, a workspace and the temporaries of its own blocks; what stands outside the
    blocks (embeddings, output head) is counted on the fullest device in whole, since the first or the last holds it.
    Source: accelerate 1.15, utils/modeling.py, infer_auto_device_map (modules in order, no block ever split).
    """
    layers = sum(stack.layers for stack in estimate.architecture.stacks)
    if devices <= 1 or estimate.workload.runtime != "transformers":  # the others estimate one rank themselves
        return Share(devices=1, layers=layers, process=estimate.process, load_peak=estimate.load_peak)
    own_layers = -(-layers // devices)
    weights = estimate.weights
    outside = weights.total_bytes - weights.block_bytes + weights.buffer_bytes + weights.padding_bytes
    resident = outside + weights.block_bytes * own_layers // layers
    cache = estimate.kv_cache_bytes * own_layers // layers
    fixed = estimate.workspace.bytes + estimate.context.bytes
    slack = estimate.slack
    shared_slack = Range(
        *(size * own_layers // layers for size in (slack.low_bytes, slack.likely_bytes, slack.high_bytes))
    )
    moved = estimate.load_peak.high_bytes - estimate.load_peak.likely_bytes
    return Share(
        devices=devices,
        layers=own_layers,
        process=Range.exact(resident + cache) + estimate.activations + fixed + shared_slack,
        load_peak=Range.exact(resident) + estimate.context.bytes + Range(0, moved, 2 * moved),
    )
