"""What would make a training plan fit: the largest micro-batch, the longest sequence, the smallest changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gpufit.devices.device import Device
from gpufit.errors import GpufitError
from gpufit.facts.architecture import Architecture
from gpufit.memory.ranges import Range
from gpufit.memory.solve import LONGEST_SEARCHED_TOKENS, largest_within
from gpufit.memory.training.estimate import TrainingEstimate, estimate_training
from gpufit.memory.training.fused import ATTENTION_ALONE, wraps_experts
from gpufit.memory.training.plan import ALL_LINEAR, LORA_DEFAULT_TARGETS, Precision, TrainingPlan
from gpufit.records import record, replace
from gpufit.verdict.budget import Budget, make_budget
from gpufit.verdict.driver_context import measured_context
from gpufit.verdict.judge import Verdict, judge

MOST_CHANGES = 4
LARGEST_SEARCHED_MICRO_BATCH = 1 << 12
SHORTEST_USEFUL_SEQ = 128
MOST_GPUS = 8
EIGHT_BIT_CAPABILITY = (6, 0)  # bitsandbytes 0.50 documentation: 8-bit optimizers from Pascal


@record
class TrainingOption:
    """A plan that was weighed. ``saved_bytes`` is how much lower its peak is than that of the plan asked for."""

    change: str
    plan: TrainingPlan
    device: Device
    process: Range
    load_peak: Range
    budget_bytes: int
    verdict: Verdict
    saved_bytes: int = 0

    @property
    def peak_bytes(self) -> int:
        """The likely peak, loading included."""
        return max(self.process.likely_bytes, self.load_peak.likely_bytes)

    @property
    def headroom_bytes(self) -> int:
        """What stays free at the likely peak."""
        return self.budget_bytes - self.peak_bytes


class TrainingAdviser:
    """Weighs training plans of one model against one device and reserve."""

    __slots__ = ("architecture", "budget", "device")

    def __init__(self, architecture: Architecture, device: Device, budget: Budget) -> None:
        self.architecture = architecture
        self.device = device
        self.budget = budget

    def weigh(
        self, plan: TrainingPlan, change: str = "as asked", weighed: TrainingEstimate | None = None, beside: int = 0
    ) -> TrainingOption:
        """Estimate and judge one plan; ``beside`` is the peak that it is compared with."""
        found = weighed or estimate_training(self.architecture, plan)
        budget = self.budget.budget_bytes
        verdicts = (judge(found.process, budget), judge(found.load_peak, budget))
        peak = max(found.process.likely_bytes, found.load_peak.likely_bytes)
        return TrainingOption(
            change=change, plan=plan, device=self.device, process=found.process, load_peak=found.load_peak,
            budget_bytes=budget, verdict=max(verdicts, key=("fits", "tight", "no").index),
            saved_bytes=beside - peak if beside else 0,
        )  # fmt: skip

    def need(self, plan: TrainingPlan) -> int:
        """The bytes that must be within the budget for ``fits``."""
        found = estimate_training(self.architecture, plan)
        return max(found.process.high_bytes, found.load_peak.high_bytes)

    def likely(self, plan: TrainingPlan) -> int:
        """The bytes that must be within the budget for ``tight``."""
        return estimate_training(self.architecture, plan).peak.likely_bytes

    def largest_micro_batch(self, plan: TrainingPlan) -> int:
        """The largest micro-batch that is judged ``fits`` at this sequence; 0 when not even one sequence is."""
        budget = self.budget.budget_bytes
        return largest_within(lambda n: self.need(replace(plan, micro_batch=n)), LARGEST_SEARCHED_MICRO_BATCH, budget)

    def longest_seq(self, plan: TrainingPlan) -> int:
        """The longest sequence in tokens that is judged ``fits`` at this micro-batch; 0 when none is."""
        longest = self.architecture.max_context_tokens or LONGEST_SEARCHED_TOKENS
        return largest_within(lambda n: self.need(replace(plan, seq=n)), longest, self.budget.budget_bytes)

    def changes(self, plan: TrainingPlan, larger: Callable[[], tuple[Device, ...]]) -> tuple[TrainingOption, ...]:
        """Up to four smallest changes that make the plan fit, least cost first: one alone, then several together."""
        beside = self.likely(plan)
        found: list[TrainingOption] = []
        for change, changed in self._candidates(plan):
            option = self._try(changed, change, beside)
            if option is not None and option.verdict != "no":
                found.append(option)
            if len(found) == MOST_CHANGES - 1:
                break
        for card in self._cards(plan, larger, beside):
            found.append(card)
            break
        return tuple(found[:MOST_CHANGES])

    def _try(self, plan: TrainingPlan, change: str, beside: int) -> TrainingOption | None:
        try:
            return self.weigh(plan, change, beside=beside)
        except GpufitError:  # this family has no layer to quantize, or no training form for the change
            return None

    def _candidates(self, plan: TrainingPlan) -> Iterator[tuple[str, TrainingPlan]]:
        singles = list(self._singles(plan))
        yield from ((name, change(plan)) for name, change in singles)
        together = plan
        names: list[str] = []
        for name, change in singles:
            if name.startswith("LoRA") and any(other.startswith("QLoRA") for other, _ in singles) and not names:
                continue
            if name.startswith("QLoRA"):  # which is LoRA, over other weights
                names = [other for other in names if not other.startswith("LoRA")]
            names.append(name)
            together = change(together)
            if len(names) > 1:
                yield " + ".join(names), together
        yield from self._shorter(together, names)

    def _singles(self, plan: TrainingPlan) -> Iterator[tuple[str, Callable[[TrainingPlan], TrainingPlan]]]:
        """The changes in order of what they cost: nothing, time, precision of states, what is learnt."""
        if plan.micro_batch > 1:
            batch = plan.micro_batch
            yield (
                f"micro-batch 1, gradients accumulated over {batch * plan.grad_accum}",
                lambda p: replace(p, micro_batch=1, grad_accum=batch * plan.grad_accum),
            )
        if plan.checkpointing != "full":
            yield "activation checkpointing", lambda p: replace(p, checkpointing="full")
        if plan.trains_adapters and wraps_experts(self.architecture, plan):
            yield "adapters on the attention alone", lambda p: replace(p, lora_targets=ATTENTION_ALONE)
        if plan.optimizer.startswith("adamw-") and plan.optimizer != "adamw-8bit" and self._can(EIGHT_BIT_CAPABILITY):
            yield "8-bit AdamW", lambda p: replace(p, optimizer="adamw-8bit")
        if plan.loss == "full" and self.architecture.task in ("causal-lm", "vision-language"):
            yield "fused loss", lambda p: replace(p, loss="fused")
        if plan.method == "full":
            targets = LORA_DEFAULT_TARGETS.get(self.architecture.model_type, (ALL_LINEAR,))
            yield (
                f"LoRA r={plan.lora_r}",
                lambda p: replace(p, method="lora", lora_targets=targets, precision=self._half(p)),
            )
        if plan.method != "qlora" and self._can((6, 0)):
            targets = plan.lora_targets or LORA_DEFAULT_TARGETS.get(self.architecture.model_type, (ALL_LINEAR,))
            yield (
                "QLoRA (nf4)",
                lambda p: replace(
                    p, method="qlora", lora_targets=targets, quant="bnb-nf4", kbit_prepare=True,
                    checkpointing="full", precision=self._half(p), weight_dtype=None,
                ),
            )  # fmt: skip

    def _shorter(self, plan: TrainingPlan, names: list[str]) -> Iterator[tuple[str, TrainingPlan]]:
        seq = plan.seq // 2
        while seq >= SHORTEST_USEFUL_SEQ:
            yield " + ".join([*names, f"sequence {seq:,}"]), replace(plan, seq=seq)
            seq //= 2

    def _cards(
        self, plan: TrainingPlan, larger: Callable[[], tuple[Device, ...]], beside: int
    ) -> Iterator[TrainingOption]:
        """Sharding over more cards of the kind, then one larger card."""
        count = max(2, plan.gpus)
        while count <= MOST_GPUS:
            sharded = replace(plan, gpus=count, sharding="fsdp2")
            option = self._try(sharded, f"FSDP over {count} such cards", beside)
            if option is not None and option.verdict != "no":
                yield option
                return
            count *= 2
        tried: set[int | None] = set()
        for card in larger():
            capability = card.compute_capability
            if card.total_bytes in tried or capability is None or card.vendor not in ("NVIDIA", None):
                continue
            tried.add(card.total_bytes)
            if plan.compute_dtype == "bf16" and capability < (8, 0):
                continue
            adviser = TrainingAdviser(self.architecture, card, make_budget(card, self.budget.reserve_bytes))
            asked = replace(plan, compute_capability=capability, driver_context=measured_context(card))
            option = adviser._try(asked, f"a larger card: {card.name}", beside)
            if option is not None and option.verdict != "no":
                yield option
                return

    def _can(self, capability: tuple[int, int]) -> bool:
        return self.device.compute_capability is None or self.device.compute_capability >= capability

    def _half(self, plan: TrainingPlan) -> Precision:
        """The 16-bit arithmetic of adapters: what the plan has, else what the card computes."""
        if plan.compute_dtype != "fp32":
            return plan.precision
        return "bf16" if "bf16" in (self.device.dtypes or ()) else "fp16"
