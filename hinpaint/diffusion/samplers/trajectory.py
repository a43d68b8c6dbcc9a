"""The way of one trial, frame by frame."""

import io
from pathlib import Path

from hinpaint.diffusion.checkpoints import LoadedModel
from hinpaint.diffusion.samplers.family import denoise
from hinpaint.diffusion.samplers.jobs import PlacementJob
from hinpaint.files import write_atomic
from hinpaint.sampling import Sampler


def write_trajectory(path: Path, job: PlacementJob, settings: Sampler, seed: int, model: LoadedModel) -> int:
    """Sample a trial again and write what the network saw, as extended XYZ.

    A trial is the same alone and in any batch, so this is the way that the trial of a run took. Each frame holds
    ``t`` (noise time, 0 for the result), ``sigma`` (its standard deviation in fractional units, 0 for the result) and
    for each site ``known``. The last frame is the result.

    Args:
        path: file to write.
        job: the trial.
        settings: the sampler; ``random`` has no trajectory.
        seed: seed of the run.
        model: the score network.

    Returns:
        Number of frames.
    """
    from ase.io import write

    crystal = job.host.add_unknown(job.element, [[0.0, 0.0, 0.0]] * job.n_unknown)
    atoms = []
    for frame in denoise([job], settings, seed, model, record=True).frames:
        image = crystal.with_frac(frame.frac.double().numpy()).to_ase()
        sigma = model.process.sigma(frame.t) * crystal.n_sites ** (-1 / 3) if frame.t > 0 else 0.0
        image.info.update(trial=job.trial, t=frame.t, sigma=sigma)
        image.set_array("known", crystal.known)
        atoms.append(image)
    text = io.StringIO()
    write(text, atoms, format="extxyz")
    write_atomic(path, lambda handle: handle.write(text.getvalue().encode()))
    return len(atoms)
