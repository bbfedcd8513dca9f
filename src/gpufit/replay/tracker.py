"""A dispatch mode that sees every storage's birth and death, on meta, CPU or CUDA tensors alike."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gpufit.replay.layouts import Layouts
from gpufit.replay.recording import Event, Phase, Recording

if TYPE_CHECKING:
    import torch


class Tracker:
    """Collects events while :meth:`watching`; only storages on ``device_type`` count.

    A storage is one ``untyped_storage()._cdata``; views share it. Its death is the collection of its Python wrapper,
    which torch keeps alive as long as the storage itself.
    """

    def __init__(self, device_type: str, rules: Mapping[Any, Callable[..., Any]] | None = None) -> None:
        self.device_type = device_type
        self.rules = rules or {}  # operator -> what runs in its place, itself seen
        self._call = Layouts().call if device_type == "meta" else _call
        self.events: list[Event] = []
        self.residents: list[Event] = []
        self.phases: list[Phase] = []
        self.module = ""  # the innermost module that runs now
        self._alive: dict[int, int] = {}  # storage -> handle
        self._next_handle = 0

    def register(self, tensors: Iterable[tuple[str, torch.Tensor]], op: str = "weights") -> None:
        """Count tensors that exist before the run, each storage once, under their own name."""
        for name, tensor in tensors:
            self._birth(tensor, self.residents, op, name)

    def see(self, result: Any, op: str) -> None:
        """Count whatever new storages an operation returned."""
        if isinstance(result, (tuple, list)):
            for item in result:
                self.see(item, op)
        elif hasattr(result, "untyped_storage"):
            self._birth(result, self.events, op, self.module)

    def see_all(self, container: Any, op: str) -> None:
        """Count tensors that are handed in, inside tuples, lists and dictionaries."""
        items = list(container.values()) if isinstance(container, dict) else container
        if isinstance(items, (tuple, list)):
            for item in items:
                self.see_all(item, op)
        else:
            self.see(items, op)

    def scratch(self, size_bytes: int, op: str) -> None:
        """Count memory that a kernel takes and gives back inside one operation."""
        self._next_handle += 1
        self.events.append(Event(self._next_handle, size_bytes, op, self.module))
        self.events.append(Event(self._next_handle, -size_bytes))

    def _birth(self, tensor: torch.Tensor, into: list[Event], op: str, module: str) -> None:
        if tensor.device.type != self.device_type:
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        size = storage.nbytes()
        if key in self._alive or not size:
            return
        self._next_handle += 1
        handle = self._alive[key] = self._next_handle
        into.append(Event(handle, size, op, module))
        weakref.finalize(storage, self._death, key, handle, size).atexit = False

    def _death(self, key: int, handle: int, size: int) -> None:
        if self._alive.get(key) == handle:
            del self._alive[key]
        self.events.append(Event(handle, -size))

    @contextmanager
    def phase(self, name: str, *, counted: bool = True) -> Iterator[None]:
        """Name the events that happen inside."""
        start = len(self.events)
        yield
        self.phases.append(Phase(name=name, start=start, stop=len(self.events), counted=counted))

    @contextmanager
    def watching(self, *modules: torch.nn.Module) -> Iterator[None]:
        """See every operation inside, and know which of the modules' children runs."""
        from torch.utils._python_dispatch import TorchDispatchMode

        tracker, rules, call = self, self.rules, self._call
        running: list[Any] = []  # a rule may call the operator that it stands in for

        class Mode(TorchDispatchMode):  # type: ignore[no-untyped-call, unused-ignore]
            def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                rule = rules.get(func)
                if rule is not None and func not in running:
                    running.append(func)
                    try:
                        with self:
                            return rule(*args, **(kwargs or {}))
                    finally:
                        running.pop()
                result = call(func, args, kwargs or {})
                tracker.see(result, func.overloadpacket.__name__)
                return result

        hooks = [hook for module in modules for hook in self._follow(module)]
        try:
            with Mode():  # type: ignore[no-untyped-call, unused-ignore]
                yield
        finally:
            for hook in hooks:
                hook.remove()

    def _follow(self, root: torch.nn.Module) -> Iterator[Any]:
        """Hooks that keep ``self.module`` at the innermost running module."""
        stack: list[str] = []

        def leave(*_: Any) -> None:
            self.module = stack.pop() if stack else ""

        for name, module in root.named_modules():

            def enter(*_: Any, name: str = name) -> None:
                stack.append(self.module)
                self.module = name

            yield module.register_forward_pre_hook(enter, prepend=True)
            yield module.register_forward_hook(leave, always_call=True)

    def recording(self) -> Recording:
        """What was seen so far, as plain data."""
        return Recording(residents=tuple(self.residents), events=tuple(self.events), phases=tuple(self.phases))


def _call(operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return operator(*args, **kwargs)
