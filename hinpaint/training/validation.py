"""How good weights are on structures with known answers: loss at fixed noise, and raw match rates of a sampler."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from ase.data import atomic_numbers

from hinpaint.crystal import Crystal
from hinpaint.deciding.matching import compare
from hinpaint.diffusion.checkpoints import LoadedModel
from hinpaint.diffusion.graph import Batch
from hinpaint.diffusion.network import ScoreNetwork
from hinpaint.diffusion.samplers import PlacementJob, place
from hinpaint.placements import host_operations
from hinpaint.rng import stream
from hinpaint.sampling import Sampler
from hinpaint.training.dataset import TrainingSet
from hinpaint.training.loss import predict
from hinpaint.training.settings import TrainingSettings, ValidationSettings

SIGMAS = (0.03, 0.07, 0.16, 0.36, 0.8)
"""Noise levels of the loss, fractional units x sites^(1/3): those that samplers pass, whatever range was trained on."""
STRICT_A = 0.3
_BATCH_STRUCTURES = 16


@dataclass(frozen=True)
class Measured:
    """One validation.

    Attributes:
        step: optimiser step.
        loss: mean over :data:`SIGMAS` of the loss on hidden sites.
        losses: loss at each noise level.
        match_raw: share of sampled structures that the published matcher takes for the reference; None without samples.
        strict_raw: share with every placed site within 0.3 Å of its place on the fixed host.
        n_match: sampled structures.
    """

    step: int
    loss: float
    losses: tuple[float, ...]
    match_raw: float | None
    strict_raw: float | None
    n_match: int


@dataclass(frozen=True)
class Rates:
    """Raw rates of one sampler.

    Attributes:
        matched: (n,) verdict of the published matcher.
        strict: (n,) true where every placed site is within 0.3 Å of its place on the fixed host.
    """

    matched: tuple[bool, ...]
    strict: tuple[bool, ...]


def held_out(data: TrainingSet, element: str, max_sites: int, count: int, seed: int) -> list[Crystal]:
    """Draw structures and hide all sites of an element.

    Args:
        data: structures.
        element: what is hidden.
        max_sites: larger structures are not used.
        count: structures at most.
        seed: decides which.

    Returns:
        Structures that hold the element and something else, in the order of the data.
    """
    candidates = np.flatnonzero(data.with_element(atomic_numbers[element]) & (data.sizes <= max_sites))
    hidden = {int(i): data.numbers[data.sites(int(i))] == atomic_numbers[element] for i in candidates}
    usable = np.array([i for i, mask in hidden.items() if not mask.all()], dtype=np.int64)
    chosen = stream(seed, "validation", 0, "choice").permutation(usable)[:count]
    return [data.crystal(int(i), hidden[int(i)]) for i in sorted(chosen)]


def raw_rates(crystals: Sequence[Crystal], sampler: Sampler, seed: int, model: LoadedModel | None) -> Rates:
    """Sample the hidden sites of structures once each, without relaxation, and compare with the truth.

    Args:
        crystals: structures whose sites that are not known are all of one element.
        sampler: the sampler.
        seed: seed of its noise.
        model: weights; not needed for ``random``.
    """
    jobs = []
    for index, crystal in enumerate(crystals):
        element = next(s for s, known in zip(crystal.species, crystal.known, strict=True) if not known)
        host = crystal.take(crystal.known)
        jobs.append(PlacementJob(str(index), 0, host, element, crystal.n_sites - host.n_sites))
    matched, strict = [False] * len(jobs), [False] * len(jobs)
    for placed in place(jobs, sampler, seed, model):
        if placed.frac_unknown is None:
            continue
        index, job = int(placed.job.key), placed.job
        reference = job.host.add_unknown(job.element, crystals[index].frac[~crystals[index].known])
        candidate = job.host.add_unknown(job.element, placed.frac_unknown)
        found = compare(candidate, reference, host_operations(job.host))
        matched[index] = found.matched
        strict[index] = found.h_max_a is not None and found.h_max_a < STRICT_A
    return Rates(tuple(matched), tuple(strict))


@torch.no_grad()
def losses_at_fixed_noise(
    network: ScoreNetwork, crystals: Sequence[Crystal], settings: TrainingSettings, seed: int
) -> tuple[float, ...]:
    """Loss on hidden sites at each of :data:`SIGMAS`, with the same noise at every call.

    With weights of one noise level per crystal every site gets noise, but only hidden ones count, so the number tells
    what inference asks for.

    Args:
        network: score network.
        crystals: structures with hidden sites.
        settings: conditioning, process, time of known sites.
        seed: seed of the noise.

    Returns:
        Mean squared error of score times standard deviation, one number a noise level.
    """
    device = next(network.parameters()).device
    single = replace(settings, bf16=False)
    sums = np.zeros(len(SIGMAS))
    n_numbers = 0
    for start in range(0, len(crystals), _BATCH_STRUCTURES):
        part = list(crystals[start : start + _BATCH_STRUCTURES])
        batch = Batch.build(part, device)
        noised = ~batch.known if settings.conditioning == "td" else torch.ones_like(batch.known)
        noise = np.concatenate(
            [stream(seed, "validation", start + i, "loss").standard_normal((c.n_sites, 3)) for i, c in enumerate(part)]
        )
        drawn = torch.tensor(noise, dtype=torch.float32, device=device)
        for level, sigma in enumerate(SIGMAS):
            times = torch.full((len(part),), settings.process.time(sigma), dtype=torch.float32, device=device)
            predicted, target = predict(network, batch, times, drawn, noised, single)
            error = (predicted - target)[~batch.known[noised]].square()
            sums[level] += float(error.sum())
        n_numbers += 3 * int((~batch.known).sum())
    return tuple(float(each) for each in sums / n_numbers)


@dataclass(frozen=True)
class Validation:
    """The fixed set that a training is watched on.

    Attributes:
        data_sha256: digest of the structures it was drawn from.
        for_loss: structures whose loss is measured.
        for_match: structures that are sampled: a part of the others where they are fewer.
        settings: how.
    """

    data_sha256: str
    for_loss: tuple[Crystal, ...]
    for_match: tuple[Crystal, ...]
    settings: ValidationSettings

    @classmethod
    def of(cls, data: TrainingSet, settings: ValidationSettings) -> "Validation":
        """Draw the set.

        Raises:
            ValueError: no structure can be used.
        """
        sets = [
            tuple(held_out(data, settings.element, settings.max_sites, count, settings.seed))
            for count in (settings.n_loss, settings.n_match)
        ]
        if not sets[0]:
            raise ValueError(
                f"no structure to validate on: none holds {settings.element} and something else "
                f"in at most {settings.max_sites} sites"
            )
        return cls(data.digest, sets[0], sets[1], settings)

    def measure(self, step: int, model: LoadedModel, settings: TrainingSettings) -> Measured:
        """Measure weights.

        Args:
            step: optimiser step they are of.
            model: the weights.
            settings: the training's.
        """
        losses = losses_at_fixed_noise(model.network, self.for_loss, settings, self.settings.seed)
        sampler = Sampler(name="renoise", n_steps=self.settings.n_steps)
        found = raw_rates(self.for_match, sampler, self.settings.seed, model)
        n = len(self.for_match)
        return Measured(
            step, float(np.mean(losses)), losses,
            sum(found.matched) / n if n else None, sum(found.strict) / n if n else None, n,
        )  # fmt: skip


def as_csv(rows: Iterable[Measured]) -> str:
    """Validations as CSV with a heading."""
    levels = ",".join(f"loss_at_{sigma}" for sigma in SIGMAS)
    lines = [f"step,loss,{levels},match_raw,strict_raw,n_match"]
    for row in rows:
        losses = ",".join(f"{each:.5f}" for each in row.losses)
        rates = ",".join("" if each is None else f"{each:.4f}" for each in (row.match_raw, row.strict_raw))
        lines.append(f"{row.step},{row.loss:.5f},{losses},{rates},{row.n_match}")
    return "\n".join(lines) + "\n"


def as_card(rows: Sequence[Measured], validation: Validation) -> dict[str, object]:
    """What the card says of the validations."""
    return {
        "data_sha256": validation.data_sha256,
        "settings": asdict(validation.settings),
        "n_loss": len(validation.for_loss),
        "sigmas": list(SIGMAS),
        "rows": [asdict(row) for row in rows],
    }
