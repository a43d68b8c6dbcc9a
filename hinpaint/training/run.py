"""A training from files: what `hinpaint train` and the rule `train` share."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from hinpaint.files import sha256_file
from hinpaint.jobs import STOPPED, signals_noted
from hinpaint.training.dataset import TrainingSet
from hinpaint.training.loop import train
from hinpaint.training.preparing import prepare
from hinpaint.training.replicas import Replicas, join, local_count
from hinpaint.training.settings import load_settings
from hinpaint.training.validation import Validation

_WORKERS = 8


@dataclass
class _Stop:
    """Whether the training is to stop: a signal came, or its time is over."""

    at: float
    signal: int | None = None

    def note(self, number: int) -> None:
        self.signal = number

    def __call__(self) -> bool:
        return self.signal is not None or time.monotonic() > self.at


def run(
    config: Path, structures: Path, out: Path, device: str, say: Callable[[str], None], threads: int = 1,
    validation: Path | None = None, stop_after_s: float | None = None, workers: int | None = None,
) -> int | None:  # fmt: skip
    """Train, or go on with the training in a folder; SIGTERM and SIGINT end it with a checkpoint.

    Args:
        config: YAML with training settings.
        structures: file of ``hinpaint prepare-training``, or what that command reads; then it is prepared in ``out``.
        out: folder of this training.
        device: torch device.
        say: takes progress lines; under ``torchrun`` those of the first process.
        threads: processors that the training may use on this node.
        validation: structures with known answers, as ``structures``.
        stop_after_s: stop (resumably) after so many seconds.
        workers: processes that draw batches ahead; by default up to 8 of ``threads`` beside a GPU, none on a CPU.

    Returns:
        Number of the signal that ended it, if one did.

    Raises:
        ValueError: settings, device, structures or folder do not do; the message says why.
        ModelError: ``start_from`` cannot be loaded.
    """
    settings = load_settings(config)
    _check(device)
    stop = _Stop(time.monotonic() + stop_after_s if stop_after_s is not None else float("inf"))
    with join(device) as (replicas, own_device), signals_noted(stop.note):
        data = _load(structures, out, settings.max_structure_sites, replicas)
        watched = None
        if validation is not None:
            held_out = _load(validation, out, settings.validation.max_sites, replicas)
            watched = Validation.of(held_out, settings.validation)
        say_first: Callable[[str], None] = say if replicas.writes else lambda _line: None
        slower = bfloat16_slowdown(own_device) if settings.bf16 else 1.0
        if slower > 1.5:
            say_first(f"bfloat16 is {slower:.0f} times slower than single precision here; bf16: false avoids that")
        if workers is None:
            workers = 0 if own_device == "cpu" else min(_WORKERS, max(0, threads // local_count() - 1))
        state = train(data, settings, out, own_device, say_first, stop, watched, replicas, workers)
        if state.step < settings.steps:
            say_first(f"{STOPPED}{state.step} of {settings.steps} steps kept, run again to go on")
    return stop.signal


def bfloat16_slowdown(device: str) -> float:
    """Time of a matrix product in bfloat16 over that in single precision: processors without such units emulate it."""
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        first, second = (torch.ones(shape, dtype=dtype, device=device) for shape in ((1024, 128), (128, 128)))
        runs = []
        for _ in range(5):
            began = time.perf_counter()
            float((first @ second)[0, 0])  # waits for the device
            runs.append(time.perf_counter() - began)
        seconds[dtype] = min(runs)
    return seconds[torch.bfloat16] / seconds[torch.float32]


def _check(device: str) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {device!r}: {str(error).splitlines()[0]}") from error


def _load(path: Path, out: Path, max_sites: int, replicas: Replicas) -> TrainingSet:
    if path.suffix == ".npz":
        return TrainingSet.load(path)
    compact = out / f"structures-{sha256_file(path)[:12]}.npz"
    if replicas.writes and not compact.exists():
        prepare(path, compact, max_sites)
    replicas.wait()
    return TrainingSet.load(compact)
