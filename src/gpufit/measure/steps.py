"""The work itself: an encoder's pass, real generation, or steps of training, under a meter."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from gpufit.measure.job import Job
from gpufit.measure.meters import Meter


def run_job(model: Any, job: Job, meter: Meter) -> None:
    """Every stage of the job; each is reported as it ends."""
    import torch

    if job.training is not None:
        from gpufit.measure.training import run_training

        run_training(model, job, meter)
        return
    with torch.no_grad():
        _warm_up(model, job, meter)
        if not model.can_generate():
            _encode(model, job, meter)
        elif model.main_input_name == "input_ids":
            _generate(model, job, meter)
        else:
            _listen(model, job, meter)


def _warm_up(model: Any, job: Job, meter: Meter) -> None:
    """One token, so that the speeds that follow are not those of libraries and kernels being loaded."""
    if model.main_input_name != "input_ids":
        return
    with meter.phase("warm-up", counted=False):
        if model.can_generate():
            _settle_generation(model)
            _make_tokens(model, batch=1, prompt=1, new=2, device=job.device)
        else:
            from gpufit.replay.inputs import model_inputs

            model(**model_inputs(model, prompt=1, batch=1, device=job.device))


def _encode(model: Any, job: Job, meter: Meter) -> None:
    from gpufit.replay.inputs import model_inputs

    with meter.watching(model), meter.phase("encode", tokens=job.batch * job.prompt_tokens):
        model(**model_inputs(model, prompt=job.prompt_tokens, batch=job.batch, device=job.device))


def _generate(model: Any, job: Job, meter: Meter) -> None:
    """transformers' own ``generate``, greedy, of exactly the asked length. It asks a stopping rule after each token:
    at the first the prefill has ended. An encoder's pass is part of ``prefill``, as ``generate`` makes it."""
    import torch
    from transformers import StoppingCriteria, StoppingCriteriaList

    with ExitStack() as stack:

        class Mark(StoppingCriteria):  # type: ignore[misc, unused-ignore]
            made = 0

            def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
                self.made += 1
                if self.made == 1 and job.new_tokens > 1:
                    stack.close()
                    stack.enter_context(meter.phase("decode", tokens=job.batch * (job.new_tokens - 1)))
                return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)

        with meter.watching(model):
            stack.enter_context(meter.phase("prefill", tokens=job.batch * job.prompt_tokens))
            _make_tokens(model, batch=job.batch, prompt=job.prompt_tokens, new=job.new_tokens, device=job.device,
                         stopping_criteria=StoppingCriteriaList([Mark()]))  # fmt: skip
            stack.close()


def _settle_generation(model: Any) -> None:
    """No token ends the text: the length is ours to choose. Which token a decoder starts from is a checkpoint's own."""
    config = model.generation_config
    config.eos_token_id = config.forced_eos_token_id = None
    if model.config.is_encoder_decoder and config.decoder_start_token_id is None:
        config.decoder_start_token_id = 0


def _make_tokens(model: Any, *, batch: int, prompt: int, new: int, device: str, **more: Any) -> None:
    import torch

    model.generate(
        torch.zeros((batch, prompt), dtype=torch.int64, device=device),
        attention_mask=torch.ones((batch, prompt), dtype=torch.int64, device=device),
        max_new_tokens=max(1, new), min_new_tokens=None, do_sample=False, num_beams=1, pad_token_id=0, **more,
    )  # fmt: skip


def _listen(model: Any, job: Job, meter: Meter) -> None:
    """Speech: the steps of generation without the rules of language and time that a checkpoint's own settings make."""
    from gpufit.replay.generation import translate

    with_tracker: Any = meter
    translate(model, with_tracker, prompt=job.prompt_tokens, new=job.new_tokens, batch=job.batch, device=job.device)
