"""What an optimizer keeps for each trained tensor, and what its step takes for a moment. All sizes in bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from gpufit.facts.dtypes import DTYPE_BYTES
from gpufit.memory.training.adapters import Trained
from gpufit.memory.training.plan import Optimizer
from gpufit.memory.weights import round_allocation
from gpufit.records import record

SMALLEST_8BIT_ELEMENTS = 4096  # bitsandbytes 0.50.2, optim/optimizer.py, min_8bit_size
BLOCK_8BIT_ELEMENTS = 256  # the same file, init_state: blocksize = 256
SMALLEST_PAGED_ELEMENTS = 100_000  # the same file, get_state_buffer: p.numel() < 1e5 is not paged
CODE_BOOK_BYTES = 2 * 256 * 4  # its signed and unsigned dynamic maps, once for all tensors
SCALAR_BYTES = 4

SOURCES: dict[Optimizer, str] = {
    "adamw-fused": "torch 2.13.0, optim/adam.py, _fused_adam: no intermediates, a step count on the device",
    "adamw-foreach": "torch 2.13.0, optim/adam.py, _multi_tensor_adam: one list as large as the group's parameters",
    "adamw-loop": "torch 2.13.0, optim/adam.py, _single_tensor_adam: root and quotient of one tensor, and the last one",
    "adamw-8bit": "bitsandbytes 0.50.2, optim/optimizer.py, Optimizer2State.init_state",
    "paged-adamw-8bit": "bitsandbytes 0.50.2, optim/optimizer.py, get_state_buffer: managed memory from 1e5 elements",
    "paged-adamw-32bit": "bitsandbytes 0.50.2, optim/optimizer.py, get_state_buffer: managed memory from 1e5 elements",
    "adafactor": "transformers 5.23.0, optimization.py, Adafactor.step (no first moment)",
    "sgd": "torch 2.13.0, optim/sgd.py: no state without momentum",
    "sgd-momentum": "torch 2.13.0, optim/sgd.py: one buffer, a copy of the first gradient",
    "lion": "bitsandbytes 0.50.2, optim/lion.py: one state in fp32",
    "lion-8bit": "bitsandbytes 0.50.2, optim/optimizer.py, Optimizer1State.init_state",
    "galore": "galore_torch 1.0, adamw.py and galore_projector.py: states of the projected gradient, and its projector",
}

# transformers 5.23.0, training_args.py, OptimizerNames
TRAINER_NAMES: dict[Optimizer, str] = {
    "adamw-fused": "adamw_torch_fused", "adamw-foreach": "adamw_torch", "adamw-loop": "adamw_torch",
    "adamw-8bit": "adamw_bnb_8bit", "paged-adamw-8bit": "paged_adamw_8bit", "paged-adamw-32bit": "paged_adamw_32bit",
    "adafactor": "adafactor", "sgd": "sgd", "sgd-momentum": "sgd", "lion": "lion_32bit", "lion-8bit": "lion_8bit",
    "galore": "galore_adamw",
}  # fmt: skip


@record
class OptimizerBytes:
    """What an optimizer takes over all tensors.

    ``states_bytes`` is the tensors' own sum, ``rounded_bytes`` what the CUDA allocator counts for it. ``paged_bytes``
    live in CUDA managed memory: in no torch figure, on the device while there is room and on the host otherwise.
    ``step_bytes`` is the most that one step takes beside them and gives back.
    """

    states_bytes: int
    rounded_bytes: int
    paged_bytes: int
    step_bytes: int


def count_optimizer(optimizer: Optimizer, tensors: Sequence[Trained], *, galore_rank: int = 128) -> OptimizerBytes:
    """States and step temporaries over all tensors.

    >>> one = Trained(name="w", shape=(4096, 4096), copies=1, dtype="bf16")
    >>> count_optimizer("adamw-foreach", [one]).states_bytes, count_optimizer("adamw-foreach", [one]).step_bytes
    (67108864, 33554432)
    >>> count_optimizer("adamw-8bit", [one]).states_bytes == 2 * (4096 * 4096 + 4 * 4096 * 16) + 2048
    True
    """
    states = rounded = paged = 0
    eight_bit = optimizer.endswith("8bit")
    for tensor in tensors:
        for size, is_paged in _states(optimizer, tensor, galore_rank):
            if is_paged:
                paged += tensor.copies * size
            else:
                states += tensor.copies * size
                rounded += tensor.copies * round_allocation(size)
        if optimizer in ("adamw-fused", "adafactor"):  # the step count, or the root mean square, on the device
            rounded += tensor.copies * round_allocation(SCALAR_BYTES)
    if eight_bit and any(_in_8_bits(tensor) for tensor in tensors):
        states += CODE_BOOK_BYTES
        rounded += CODE_BOOK_BYTES
    return OptimizerBytes(
        states_bytes=states, rounded_bytes=rounded, paged_bytes=paged,
        step_bytes=_step_bytes(optimizer, tensors, galore_rank),
    )  # fmt: skip


def _states(optimizer: Optimizer, tensor: Trained, galore_rank: int) -> Iterator[tuple[int, bool]]:
    """(bytes, whether paged) of every state tensor of one copy."""
    elements, own = tensor.elements, tensor.elements * DTYPE_BYTES[tensor.dtype]
    if optimizer.startswith("adamw-"):
        if optimizer == "adamw-8bit":
            yield from _bitsandbytes(tensor, states=2, eight_bit=True, paged=False)
        else:
            yield from ((own, False), (own, False))
    elif optimizer.startswith("paged-"):
        yield from _bitsandbytes(tensor, states=2, eight_bit=optimizer.endswith("8bit"), paged=True)
    elif optimizer.startswith("lion"):
        yield from _bitsandbytes(tensor, states=1, eight_bit=optimizer == "lion-8bit", paged=False)
    elif optimizer == "adafactor":
        if len(tensor.shape) < 2:
            yield 4 * elements, False
        else:  # a row and a column of the gradient, in fp32 whatever the parameters are in
            yield 4 * elements // tensor.shape[-1], False
            yield 4 * elements // tensor.shape[-2], False
    elif optimizer == "sgd-momentum":
        yield own, False
    elif optimizer == "galore":
        low, projector = _galore_elements(tensor, galore_rank)
        size = DTYPE_BYTES[tensor.dtype]
        yield from ((low * size, False), (low * size, False))
        if projector:
            yield projector * size, False


def _in_8_bits(tensor: Trained) -> bool:
    """transformers 5.23.0, trainer.py, create_optimizer: nn.Embedding weights are registered with optim_bits 32."""
    return tensor.elements >= SMALLEST_8BIT_ELEMENTS and not tensor.embedding


def _bitsandbytes(tensor: Trained, *, states: int, eight_bit: bool, paged: bool) -> Iterator[tuple[int, bool]]:
    in_8_bits = eight_bit and _in_8_bits(tensor)
    elements = tensor.elements
    away = paged and elements >= SMALLEST_PAGED_ELEMENTS
    for _ in range(states):
        yield elements * (1 if in_8_bits else 4), away
        if in_8_bits:  # absmax of each block is never paged
            yield 4 * -(-elements // BLOCK_8BIT_ELEMENTS), False


def _galore_elements(tensor: Trained, rank: int) -> tuple[int, int]:
    """Elements of a projected gradient and of its projector; biases, norms and embeddings are not projected."""
    if len(tensor.shape) != 2 or tensor.embedding or min(tensor.shape) <= rank:
        return tensor.elements, 0
    rows, columns = tensor.shape
    short, long = min(rows, columns), max(rows, columns)
    return rank * long, rank * short  # proj_type std: the shorter side is projected away


def _step_bytes(optimizer: Optimizer, tensors: Sequence[Trained], galore_rank: int) -> int:
    if optimizer == "adamw-foreach":
        sizes = (sum(t.rounded_bytes for t in group) for group in parameter_groups(tensors))
        return max(sizes, default=0)
    if optimizer == "adamw-loop":
        return _walk(tensors, lambda t: 2 * _own_bytes(t), _own_bytes)
    if optimizer == "adafactor":
        return _walk(tensors, lambda t: (8 if t.dtype == "fp32" else 16) * t.elements, lambda t: 4 * t.elements)
    if optimizer == "galore":
        return max((_galore_step_bytes(t, galore_rank) for t in tensors), default=0)
    return 0


def _galore_step_bytes(tensor: Trained, rank: int) -> int:
    """The gradient in fp32 with its singular vectors, at the step that renews the projector."""
    _, projector = _galore_elements(tensor, rank)
    if not projector:
        return 2 * _own_bytes(tensor)
    return 4 * (2 * tensor.elements + min(tensor.shape) ** 2) + _own_bytes(tensor)


def parameter_groups(tensors: Iterable[Trained]) -> tuple[list[Trained], list[Trained]]:
    """The Trainer's two groups, with weight decay and without; an optimizer handles them one after the other."""
    decayed: list[Trained] = []
    plain: list[Trained] = []
    for tensor in tensors:
        (decayed if tensor.decayed else plain).append(tensor)
    return decayed, plain


def _own_bytes(tensor: Trained) -> int:
    return round_allocation(tensor.elements * DTYPE_BYTES[tensor.dtype])


def _walk(tensors: Sequence[Trained], now: Callable[[Trained], int], left: Callable[[Trained], int]) -> int:
    """The worst of a loop over tensors in which the last one's result dies only when the next one's is named."""
    worst = 0
    for group in parameter_groups(tensors):
        before = 0
        for tensor in _in_order(group):
            worst = max(worst, before + now(tensor))
            before = left(tensor)
    return worst


def _in_order(tensors: Sequence[Trained]) -> Iterator[Trained]:
    """One tensor at a time as the model lists them; of the repeated layers the first two stand for all."""
    run: list[Trained] = []
    for tensor in (*tensors, None):
        if tensor is not None and tensor.blocks:
            run.append(tensor)
            continue
        for _ in range(2 if run and run[0].blocks > 1 else 1):
            yield from run
        run = []
        if tensor is not None:
            yield tensor
