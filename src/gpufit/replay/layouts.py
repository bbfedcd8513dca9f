"""What operators give on tensors without data, worked out once for each layout of their inputs.

torch works out most layouts on the meta device in Python (torch/_refs): a third of a millisecond for the product of a
tensor and a number. A model's layers ask for the same again and again. A tensor without data is its layout and nothing
else, so the new tensors that one of torch's operators gives can depend on nothing else: the second time they are made
at once.
"""

from __future__ import annotations

from typing import Any


class _NotALayout(Exception):
    """An input or an output that is more than its layout."""


class Layouts:
    """Calls operators on the meta device; where the inputs are laid out as before, makes the outputs itself.

    It calls each time the operators that write into their inputs or give views of them, those of other libraries, and
    those that are given or give anything but plain tensors of the meta device, numbers and names.

    >>> import pytest; torch = pytest.importorskip("torch")
    >>> layouts, tensor = Layouts(), torch.empty((2, 3), device="meta")
    >>> [layouts.call(torch.ops.aten.mul.Tensor, (tensor, 2.0), {}).shape for _ in "ab"], len(layouts.known)
    ([torch.Size([2, 3]), torch.Size([2, 3])], 1)
    """

    def __init__(self) -> None:
        import torch

        self.known: dict[Any, Any] = {}  # operator and inputs -> outputs, or _NotALayout
        self._torch: Any = torch
        self._gives_new: dict[Any, bool] = {}
        self._plain = {type(None), str, torch.dtype, torch.device, torch.layout, torch.memory_format}

    def call(self, operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the operator returns for these arguments."""
        gives_new = self._gives_new.get(operator)
        if gives_new is None:
            gives_new = self._gives_new[operator] = self._may_give_new(operator)
        if not gives_new:
            return operator(*args, **kwargs)
        try:
            key = (operator, self._torch.get_default_dtype(), self._describe(args), self._describe(kwargs))
        except _NotALayout:
            return operator(*args, **kwargs)
        outputs = self.known.get(key)
        if outputs is not None and outputs is not _NotALayout:
            return self._make(outputs)
        result = operator(*args, **kwargs)
        if outputs is None:
            try:
                self.known[key] = self._remember(result, args, kwargs)
            except _NotALayout:
                self.known[key] = _NotALayout
        return result

    def _may_give_new(self, operator: Any) -> bool:
        """By the operator's schema. Some give views and do not say so (``_unsafe_view``): see ``_remember``."""
        if not isinstance(operator, self._torch._ops.OpOverload) or operator.namespace != "aten":
            return False
        schema = operator._schema
        return not schema.is_mutable and not any(given.alias_info for given in schema.returns)

    def _describe(self, value: Any) -> Any:
        """All that an operator can know of an argument. 1, 1.0 and True are equal: numbers come with their type."""
        kind = type(value)
        if kind in self._plain:
            return value
        if kind in (int, float, bool, complex):
            return kind, value
        if kind is list or kind is tuple:
            return tuple([self._describe(item) for item in value])
        if kind is dict:
            return tuple([(name, self._describe(item)) for name, item in value.items()])
        if not self._is_plain_tensor(value):
            raise _NotALayout
        return value.shape, value.stride(), value.dtype, value.is_conj(), value.is_neg()

    def _is_plain_tensor(self, value: Any) -> bool:
        """Parameters are plain too; a class that answers operators in its own way is not."""
        tensor = self._torch.Tensor
        return (
            isinstance(value, tensor)
            and type(value).__torch_dispatch__ is tensor.__torch_dispatch__
            and value.is_meta
            and value.layout is self._torch.strided
        )

    def _remember(self, result: Any, args: Any, kwargs: Any) -> Any:
        """The outputs' layouts, if those say all: each has a storage of its own and fills it from the start."""
        from torch.utils._pytree import tree_leaves

        given = filter(self._is_plain_tensor, tree_leaves((args, kwargs)))
        storages = {tensor.untyped_storage()._cdata for tensor in given}
        parts: list[Any] = []
        for output in result if isinstance(result, (list, tuple)) else (result,):
            if output is None or type(output) is int:
                parts.append(output)
                continue
            if not self._is_plain_tensor(output) or output.is_conj() or output.is_neg() or output.storage_offset():
                raise _NotALayout
            layout = (output.shape, output.stride(), output.dtype)
            storage = output.untyped_storage()
            if storage._cdata in storages or storage.nbytes() != self._tensor(layout).untyped_storage().nbytes():
                raise _NotALayout
            storages.add(storage._cdata)
            parts.append(layout)
        return type(result), parts

    def _make(self, outputs: tuple[type, list[Any]]) -> Any:
        kind, parts = outputs
        made = [self._tensor(part) if type(part) is tuple else part for part in parts]
        return kind(made) if kind in (list, tuple) else made[0]

    def _tensor(self, layout: tuple[Any, Any, Any]) -> Any:
        shape, stride, dtype = layout
        return self._torch.empty_strided(shape, stride, dtype=dtype, device="meta")
