"""The steps of inference, as transformers' ``generate`` takes them, under a tracker.

Mirrors transformers 5.23.0, generation/utils.py: an attention mask of ones is dropped (generate), one position of
logits is kept in prefill (``logits_to_keep`` = 1), the next token's logits are copied to fp32 and live on through the
next step (_sample), and the outputs are deleted before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpufit.replay.inputs import model_inputs, token_ids
from gpufit.replay.tracker import Tracker

if TYPE_CHECKING:
    import torch


def encode(model: Any, tracker: Tracker, *, prompt: int, batch: int, device: str) -> None:
    """One plain forward pass of a model that does not generate. Counts the phase ``encode``."""
    with tracker.watching(model), tracker.phase("encode"):
        model(**model_inputs(model, prompt=prompt, batch=batch, device=device))


def generate(model: Any, tracker: Tracker, *, prompt: int, new: int, batch: int, device: str) -> None:
    """Prefill of ``prompt`` tokens, then the last of ``new`` decode steps. Counts ``prefill`` and ``decode``.

    The cache of the last step is made by a prefill and one step that are not counted: its final length, not its
    history, decides the peak. The step is there because a prefill leaves views behind (a window's keys into the whole
    prompt's), which the first new token replaces.
    """
    with tracker.watching(model):
        with tracker.phase("prefill"):
            state = _first(model, token_ids(batch, prompt, device))
        if new < 2:
            return
        with tracker.phase("fill", counted=False):
            del state
            state = _first(model, token_ids(batch, prompt + max(new - 3, 0), device))
            if new > 2:
                state = _next(model, state)
        with tracker.phase("decode"):
            _next(model, state)


def translate(model: Any, tracker: Tracker, *, prompt: int, new: int, batch: int, device: str) -> None:
    """Encoder-decoder generation. Counts ``encode``, ``prefill`` (the first decoder step) and ``decode`` (the last)."""
    with tracker.watching(model):
        with tracker.phase("encode"):
            inputs = model_inputs(model, prompt=prompt, batch=batch, device=device)
            encoded = model.get_encoder()(**inputs, return_dict=True)
            mask = {name: tensor for name, tensor in inputs.items() if name == "attention_mask"}
        with tracker.phase("prefill"):
            start = token_ids(batch, 1, device)
            state = _first(model, start, encoder_outputs=encoded, **mask)
        if new < 2:
            return
        with tracker.phase("fill", counted=False):
            del state
            longer = token_ids(batch, max(new - 2, 1), device)
            state = _first(model, longer, encoder_outputs=encoded, **mask)
            if new > 2:
                state = _next(model, state)
        del encoded
        with tracker.phase("decode"):
            _next(model, state)


def prefill_cache(model: Any, tokens: int) -> Any:
    """The cache object that a generating model keeps after a prompt of ``tokens``; None where it keeps none.

    A preallocated cache that the configuration asks for is left aside: its length would be the prompt's.
    """
    model.generation_config.cache_implementation = None
    start: dict[str, Any] = {}
    if model.config.is_encoder_decoder:
        inputs = model_inputs(model, prompt=tokens, batch=1, device="meta")
        start = {"encoder_outputs": model.get_encoder()(**inputs, return_dict=True)}
    kept = _first(model, token_ids(1, tokens, "meta"), **start).kwargs
    return next((kept[name] for name in ("past_key_values", "cache_params") if kept.get(name) is not None), None)


class _State:
    """What ``_sample`` holds between two steps."""

    def __init__(self, ids: torch.Tensor, kwargs: dict[str, Any], logits: torch.Tensor) -> None:
        self.ids, self.kwargs, self.logits = ids, kwargs, logits


def _first(model: Any, ids: torch.Tensor, **kwargs: Any) -> _State:
    """_prefill and the first token."""
    from transformers.generation.configuration_utils import GenerationMode

    kwargs = {"use_cache": True, **kwargs}
    batch, tokens = ids.shape
    model._prepare_cache_for_generation(
        model.generation_config, kwargs, GenerationMode.GREEDY_SEARCH, batch, max_cache_length=tokens + 1
    )
    if model._supports_logits_to_keep():
        kwargs["logits_to_keep"] = 1
    inputs = model.prepare_inputs_for_generation(ids, is_first_iteration=True, **kwargs)
    return _take(model, ids, kwargs, inputs)


def _next(model: Any, state: _State) -> _State:
    """One further token."""
    inputs = model.prepare_inputs_for_generation(state.ids, next_sequence_length=1, **state.kwargs)
    return _take(model, state.ids, state.kwargs, inputs)


def _take(model: Any, ids: torch.Tensor, kwargs: dict[str, Any], inputs: dict[str, Any]) -> _State:
    """Forward, copy the last logits to fp32, choose the token, forget the outputs."""
    import torch

    outputs = model(**inputs, return_dict=True)
    kwargs = model._update_model_kwargs_for_generation(
        outputs, kwargs, is_encoder_decoder=model.config.is_encoder_decoder
    )
    logits = outputs.logits[:, -1].to(copy=True, dtype=torch.float32)
    token = torch.argmax(logits, dim=-1)
    return _State(torch.cat([ids, token[:, None]], dim=-1), kwargs, logits)
