"""Denoising score matching on positions; resumable to the step."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

from hinpaint.training.batches import BatchSampler, examples
from hinpaint.training.dataset import TrainingSet
from hinpaint.training.loss import denoising_loss
from hinpaint.training.replicas import Replicas
from hinpaint.training.settings import TrainingSettings, learning_rate
from hinpaint.training.state import TrainingFolder, TrainingState, start
from hinpaint.training.validation import Validation

_SAY_EVERY = 50


def train(
    data: TrainingSet, settings: TrainingSettings, folder: Path, device: str = "cpu",
    say: Callable[[str], None] = print, stop: Callable[[], bool] = lambda: False,
    validation: Validation | None = None, replicas: Replicas | None = None, workers: int = 0,
) -> TrainingState:  # fmt: skip
    """Train, or go on with the training found in ``folder``.

    Args:
        data: structures.
        settings: what to train; a folder holds one training, and another setting there is refused.
        folder: receives ``state.safetensors``, ``curve.csv``, ``curves.png``, ``weights.safetensors`` with its card,
            and with ``validation`` ``validation.csv``.
        device: torch device.
        say: takes progress lines.
        stop: asked after every step; once it says yes, the state is written and the training ends there.
        validation: structures with known answers, on which the averaged weights are measured now and then.
        replicas: the processes that train together; by default this one alone.
        workers: processes that draw batches ahead; they do not change the batches.

    Returns:
        The final state; ``step`` is below ``settings.steps`` when it was stopped.

    Raises:
        ValueError: the folder holds a training with other settings or data, or ``start_from`` does not fit.
        ModelError: ``start_from`` cannot be loaded.
    """
    replicas = replicas or Replicas()
    torch.manual_seed(settings.seed)
    # Every process starts from the weights of the first one's batch.
    state = start(BatchSampler(data, settings), settings, device)
    kept = TrainingFolder(folder, settings, data, validation, replicas.count, device)
    kept.read_into(state)
    clock = _Clock(state)
    for example in examples(BatchSampler(data, settings, replicas.rank), state.step, workers):
        loss = _step(state, denoising_loss(state.network, example.to(device), settings), settings, replicas)
        total, seen, asked = replicas.sum([loss, example.batch.n_crystals, stop()], device)
        state.losses.append(total / replicas.count)
        state.samples += int(seen)
        state.seconds = clock.seconds
        done = state.step == settings.steps or asked > 0
        point = state.step % _SAY_EVERY == 0 or state.step == settings.steps
        if point or done:
            mean = float(np.mean(state.losses))
            say(clock.line(state, settings.steps, mean))
            if point:
                state.curve.append((state.step, mean))
                state.losses = []
        due = state.step % settings.validation.every == 0 or state.step == settings.steps
        if replicas.writes and validation is not None and due:
            _validate(state, validation, settings, say)
        if replicas.writes and (done or clock.since_save > settings.checkpoint_s):
            kept.write(state)
            clock.saved()
        if done:
            break
    if replicas.writes and not kept.weights.exists():  # a finished training whose weights were deleted
        kept.write(state)
    return state


def _step(state: TrainingState, loss: torch.Tensor, settings: TrainingSettings, replicas: Replicas) -> float:
    """Take one optimiser step; returns the loss of this process's batch."""
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(state.step, settings)
    trained = [p for group in state.optimizer.param_groups for p in group["params"]]
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    replicas.average_gradients(trained)
    torch.nn.utils.clip_grad_norm_(trained, settings.clip)
    state.optimizer.step()
    state.step += 1
    _average(state, settings.ema)
    return loss.item()


@torch.no_grad()
def _average(state: TrainingState, decay: float) -> None:
    """Move the averaged weights; the decay grows in over the first steps so that the start is forgotten."""
    current = min(decay, (1 + state.step) / (10 + state.step))
    move = get_ema_multi_avg_fn(current)  # type: ignore[no-untyped-call]
    move(list(state.average.parameters()), list(state.network.parameters()), state.step)


def _validate(
    state: TrainingState, validation: Validation, settings: TrainingSettings, say: Callable[[str], None]
) -> None:  # fmt: skip
    found = validation.measure(state.step, state.model(settings), settings)
    state.validations.append(found)
    rates = ""
    if found.match_raw is not None and found.strict_raw is not None:
        rates = f", raw match {found.match_raw:.1%}, strict {found.strict_raw:.1%} of {found.n_match}"
    say(f"validation at step {found.step}: loss {found.loss:.4f}{rates}")


class _Clock:
    """Seconds of a training over all its parts, and how long the rest will take at the pace of this part."""

    def __init__(self, state: TrainingState) -> None:
        self._began = self._saved = time.monotonic()
        self._seconds_before, self._step_before, self._samples_before = state.seconds, state.step, state.samples

    @property
    def seconds(self) -> float:
        """Seconds of this part and those before."""
        return self._seconds_before + time.monotonic() - self._began

    @property
    def since_save(self) -> float:
        """Seconds since the last checkpoint."""
        return time.monotonic() - self._saved

    def saved(self) -> None:
        """Note a checkpoint."""
        self._saved = time.monotonic()

    def line(self, state: TrainingState, steps: int, loss: float) -> str:
        """A line of progress."""
        here = time.monotonic() - self._began
        pace = here / max(1, state.step - self._step_before)
        rate = (state.samples - self._samples_before) / max(here, 1e-9)
        left = (steps - state.step) * pace / 60
        return f"step {state.step}/{steps} loss {loss:.4f}, {rate:.1f} structures a second, about {left:.0f} min left"
