"""The score of a batch's unknown sites, with the host shown to the network as its weights expect it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from hinpaint.diffusion.checkpoints import LoadedModel
from hinpaint.diffusion.graph import Batch
from hinpaint.diffusion.samplers.jobs import PlacementJob
from hinpaint.rng import stream

HostView = Literal["per_site", "clean", "noised", "carried"]
"""How the network sees the host.

per_site: as it is, at the time known sites had in training; the unknown sites have their own (TD-Paint).
clean: as it is, but at the unknown sites' time: what masked sampling with MatterGen does.
noised: noised afresh to the unknown sites' level at every evaluation, as RePaint asks.
carried: noised to that level by one draw for the whole way, so that a solver sees a smooth path.
"""


class Noise:
    """Random numbers of a batch, each trial's from its own stream, whatever shares the batch.

    Args:
        jobs: trials of the batch.
        n_sites: sites that each of them draws for.
        seed: seed of the run.
        purpose: what the numbers are for.
        device: torch device.
    """

    def __init__(
        self, jobs: Sequence[PlacementJob], n_sites: Sequence[int], seed: int, purpose: str, device: torch.device
    ) -> None:
        self._streams = [stream(seed, job.key, job.trial, purpose) for job in jobs]
        self._n_sites = n_sites
        self._device = device

    def uniform(self) -> Tensor:
        """(n, 3) numbers in [0, 1)."""
        return self._collect([rng.random((n, 3)) for rng, n in zip(self._streams, self._n_sites, strict=True)])

    def normal(self) -> Tensor:
        """(n, 3) standard normal numbers."""
        drawn = [rng.standard_normal((n, 3)) for rng, n in zip(self._streams, self._n_sites, strict=True)]
        return self._collect(drawn)

    def _collect(self, drawn: list[np.ndarray]) -> Tensor:
        return torch.tensor(np.concatenate(drawn), dtype=torch.float32, device=self._device)


@dataclass(frozen=True)
class Frame:
    """What the network saw in one evaluation.

    Attributes:
        t: noise time of the unknown sites, 1 at the start and 0 for the result.
        frac: (n_sites of the batch, 3) fractional coordinates.
    """

    t: float
    frac: Tensor


class ScoreField:
    """Score of the unknown sites of one batch; counts its evaluations.

    Args:
        jobs: trials that fit into memory together.
        model: the score network.
        view: how the network sees the host.
        seed: seed of the run.
        n_planned: evaluations there will be, for the progress.
        progress: called after each evaluation with (done, in all).
        record: keep a frame of every evaluation.

    Attributes:
        noise: random numbers for the unknown sites; the solvers draw from it.
        batch: the completed crystals.
        owner: (n_unknown,) crystal of each unknown site.
        evaluations: network evaluations so far.
        frames: what was recorded.
    """

    def __init__(
        self, jobs: Sequence[PlacementJob], model: LoadedModel, view: HostView, seed: int, n_planned: int = 0,
        progress: Callable[[int, int], None] = lambda _done, _total: None, record: bool = False,
    ) -> None:  # fmt: skip
        device = next(model.network.parameters()).device
        crystals = [job.host.add_unknown(job.element, np.zeros((job.n_unknown, 3))) for job in jobs]
        self.batch = Batch.build(crystals, device)
        self.noise = Noise(jobs, [job.n_unknown for job in jobs], seed, "denoise", device)
        self.evaluations = 0
        self.frames: list[Frame] | None = [] if record else None
        self._host_noise = Noise(jobs, [job.host.n_sites for job in jobs], seed, "host", device)
        self._carried: Tensor | None = None
        self._model, self._view = model, view
        self._n_planned, self._progress = n_planned, progress
        self._unknown = (~self.batch.known).nonzero().squeeze(1)
        self._known = self.batch.known.nonzero().squeeze(1)
        self.owner = self.batch.crystal[self._unknown]
        host_moves = view in ("noised", "carried")
        moving = torch.ones_like(self.batch.known) if host_moves else ~self.batch.known
        self._neighbourhood = model.network.neighbourhood(self.batch, moving)

    def std(self, t: float) -> Tensor:
        """Standard deviation of the unknown sites' noise at a time, (n_unknown, 1), fractional units."""
        return self._std(t, self.owner)

    def __call__(self, x: Tensor, t: float) -> Tensor:
        """Evaluate the network.

        Args:
            x: (n_unknown, 3) fractional coordinates of the unknown sites.
            t: their noise time.

        Returns:
            (n_unknown, 3) score times standard deviation.
        """
        times = torch.full_like(self.batch.frac[:, 0], t)
        if self._view == "per_site":
            times[self._known] = self._model.known_time
        shown = self.batch.with_frac(self._shown(x, t))
        predicted: Tensor = self._model.network(shown, times, ~self.batch.known, self._neighbourhood)
        self.evaluations += 1
        self.record(t, shown.frac)
        self._progress(self.evaluations, self._n_planned)
        return predicted[self._unknown]

    def complete(self, x: Tensor) -> Tensor:
        """Coordinates of all sites, (n_sites, 3), the host as it is."""
        frac = self.batch.frac.clone()
        frac[self._unknown] = x % 1.0
        return frac

    def record(self, t: float, frac: Tensor) -> None:
        """Keep a frame, if frames are wanted."""
        if self.frames is not None:
            self.frames.append(Frame(t, frac.cpu()))

    def _shown(self, x: Tensor, t: float) -> Tensor:
        frac = self.complete(x)
        if self._view == "noised":
            draw = self._host_noise.normal()
        elif self._view == "carried":
            self._carried = draw = self._host_noise.normal() if self._carried is None else self._carried
        else:
            return frac
        std = self._std(t, self.batch.crystal[self._known])
        frac[self._known] = (frac[self._known] + std * draw) % 1.0
        return frac

    def _std(self, t: float, crystal: Tensor) -> Tensor:
        counts = self.batch.counts[crystal]
        times = torch.full(counts.shape, t, dtype=torch.float32, device=counts.device)
        return self._model.process.std(times, counts)[:, None]
