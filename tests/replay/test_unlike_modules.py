"""Modules that are no language models: a network of convolutions, torch's own transformer, a branch that reads data."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="a replay runs the module's own code and needs torch")

from gpufit.errors import Undecided  # noqa: E402
from gpufit.replay.front import replay_module  # noqa: E402

pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore")]


class Branching(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if x.sum() > 0 else x.sum(dim=0)


class Reading(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[: int(x.sum().item())]


def test_convolutions_with_batch_norm_hold_their_pictures() -> None:
    """Input 2·3·32·32, the convolution's 2·8·32·32 and its norm's, in fp32; ReLU works in place."""
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU(inplace=True)
    )
    replay = replay_module(network.eval(), (torch.zeros(2, 3, 32, 32),))
    rows = 2 * 8 * 4  # the mean and deviation that native_batch_norm returns
    assert replay.peak.above_bytes == 4 * 2 * 32 * 32 * (3 + 8 + 8) + rows
    trained = replay_module(network.train(), (torch.zeros(2, 3, 32, 32),), backward=True)
    assert trained.peak.above_bytes > replay.peak.above_bytes


def test_torchs_own_transformer_replays_forward_and_backward() -> None:
    network = torch.nn.Transformer(d_model=32, nhead=4, num_encoder_layers=2, num_decoder_layers=2, dim_feedforward=64)
    inputs = (torch.zeros(10, 2, 32), torch.zeros(7, 2, 32))
    replay = replay_module(network, inputs, backward=True)
    forward, backward = (phase.peak for phase in replay.phases)
    assert backward.above_bytes > forward.above_bytes > 4 * 2 * 32 * (10 + 7)


def test_a_branch_takes_the_stated_rule_and_a_value_is_refused_in_one_sentence() -> None:
    """A truth asked of data is True (data_rules.py): the first branch, whose product is as large as its input."""
    assert replay_module(Branching(), (torch.zeros(64, 16),)).peak.above_bytes >= 2 * 4 * 64 * 16
    with pytest.raises(Undecided, match="value that depends on the data"):
        replay_module(Reading(), (torch.zeros(64, 16),))
