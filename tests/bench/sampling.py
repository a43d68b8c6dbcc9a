"""Speed of sampling: ours in batches and one by one, and a plain loop over MatterGen's own classes, in one run.

The plain side is the published sampler (TD-Paint over MatterGen's predictor and corrector) with the same weights, steps
and number of network evaluations: MatterGen's GemNetT with all its heads, its graph and its ``PredictorCorrector``. Two
things are lent to it, as MatterGen's own need compiled extensions that current torch has not: our scatter functions and
our triplets.

python tests/bench/sampling.py --structures export.jsonl.gz --count 48 --steps 10

ms: milliseconds per structure and network evaluation. difference: largest change of a fractional coordinate of ours
against the first row. On the CPU the peak is that of the process so far, so it only grows.
"""

import argparse
import gzip
import io
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hinpaint.crystal import Crystal
from hinpaint.diffusion.bridge import build_gemnet
from hinpaint.diffusion.checkpoints import LoadedModel, load_model
from hinpaint.diffusion.graph import Batch, _triplets
from hinpaint.diffusion.samplers import PlacementJob, make_batches, n_evaluations, place
from hinpaint.sampling import Sampler
from hinpaint.sources import parse_record
from hinpaint.whynot import Stop

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "unit"))
from mattergen_own import PerSite, chem_graph, own_classes  # noqa: E402 - needs the path above


def structures(path: Path, count: int, max_sites: int) -> list[PlacementJob]:
    """Jobs that strip hydrogen from the first structures of an OPTIMADE file."""
    opener = gzip.open if path.suffix == ".gz" else open
    jobs: list[PlacementJob] = []
    with opener(path, "rt", encoding="utf-8") as lines:
        next(lines)
        for line in lines:
            record = parse_record("optimade", line)
            if isinstance(record, Stop):
                continue
            crystal = Crystal.build(record.lattice, record.species, record.cell_frac)
            hydrogen = crystal.is_element("H")
            if crystal.n_sites <= max_sites and hydrogen.any() and not hydrogen.all():
                host = crystal.take(~hydrogen)
                jobs.append(PlacementJob(f"bench|1|{len(jobs)}", 0, host, "H", int(hydrogen.sum())))
            if len(jobs) == count:
                break
    return jobs


class PlainScore(torch.nn.Module):
    """MatterGen's GemNetT, heads and graph and all, with one noise level per site; our weights."""

    def __init__(self, model: LoadedModel) -> None:
        super().__init__()
        size = model.network.settings
        self.gemnet = build_gemnet(
            num_spherical=size.num_spherical, num_radial=size.num_radial, num_blocks=size.n_blocks,
            emb_size_atom=size.hidden, emb_size_edge=size.hidden, emb_size_trip=size.emb_trip,
            emb_size_bil_trip=size.emb_trip, num_atom=size.num_atom, cutoff=size.cutoff_a,
            max_neighbors=size.max_neighbors, regress_stress=True, max_cell_images_per_dim=5,
        )  # fmt: skip
        self.gemnet.load_state_dict(model.network.gemnet.state_dict(), strict=False)
        self.gemnet.get_triplets = lambda edges, num_atoms: _triplets(edges[1], int(num_atoms))
        self.atom_types = torch.nn.Linear(size.hidden, 101)
        self.encoding = model.network.noise_level_encoding
        self.scale_output = size.scale_output
        self.known = torch.zeros(0)

    def forward(self, x: Any, t: torch.Tensor) -> Any:
        """Score times standard deviation as MatterGen's denoiser returns it."""
        crystal = x.get_batch_idx("pos")
        encoded = self.encoding(torch.where(self.known, torch.zeros_like(t[crystal]), t[crystal]))
        output = self.gemnet(
            z=PerSite(encoded), frac_coords=x["pos"], atom_types=x["atomic_numbers"], num_atoms=x["num_atoms"],
            batch=crystal, lattice=x["cell"],
        )  # fmt: skip
        inverse = x["cell"].inverse()
        if self.scale_output:
            inverse = inverse * torch.linalg.det(x["cell"]).abs().pow(1 / 3)[:, None, None]
        pos = torch.einsum("ni,nij->nj", output.forces, inverse[crystal])
        return x.replace(pos=pos, cell=output.stress, atomic_numbers=self.atom_types(output.node_embeddings))


class Plain:
    """The published sampler over MatterGen's own predictor and corrector."""

    def __init__(self, model: LoadedModel, settings: Sampler, device: str) -> None:
        from mattergen.diffusion.sampling.pc_sampler import PredictorCorrector
        from mattergen.diffusion.wrapped import wrapped_predictors_correctors as wrapped

        own = own_classes()
        process = model.process
        position = own.NumAtomsVarianceAdjustedWrappedVESDE(sigma_min=process.sigma_min, sigma_max=process.sigma_max)
        self.score = PlainScore(model).eval().to(device)
        self.device = device
        loss = own.MaterialsLoss(include_pos=True, include_cell=False, include_atomic_numbers=False)
        module = own.DiffusionModule(self.score, own.MultiCorruption(sdes={"pos": position}), loss)

        def corrector(**more: Any) -> Any:
            return wrapped.WrappedLangevinCorrector(snr=settings.snr, max_step_size=1e6, **more)

        self.sampler = PredictorCorrector(
            diffusion_module=module, predictor_partials={"pos": wrapped.WrappedAncestralSamplingPredictor},
            corrector_partials={"pos": corrector}, device=torch.device(device), N=settings.n_steps,
            n_steps_corrector=settings.n_corrector, eps_t=1 / settings.n_steps,
        )  # fmt: skip

    def run(self, jobs: list[PlacementJob]) -> None:
        """Sample one batch."""
        batch = Batch.build([job.host.add_unknown("H", np.zeros((job.n_unknown, 3))) for job in jobs], self.device)
        self.score.known = batch.known
        mask = {"pos": batch.known[:, None].expand(-1, 3).float()}
        with redirect_stderr(io.StringIO()):  # its progress bar
            self.sampler.sample(chem_graph(batch), mask)


def ours(jobs: list[PlacementJob], settings: Sampler, model: LoadedModel) -> dict[str, np.ndarray]:
    """Coordinates by key."""
    placed = place(jobs, settings, 1, model)
    return {each.job.key: each.frac_unknown for each in placed if each.frac_unknown is not None}


def timed[T](work: Callable[[], T], device: str) -> tuple[float, T]:
    """Seconds of some work, and what it returned: processor time, which other programs do not change, or the GPU's."""
    clock = time.perf_counter if device == "cuda" else time.process_time
    began = clock()
    done = work()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - began, done


def peak_mib(device: str) -> float:
    """Most memory so far: of this process, or of the GPU since it was last asked."""
    if device == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**20
        torch.cuda.reset_peak_memory_stats()
        return peak
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def rows(jobs: list[PlacementJob], model: LoadedModel, steps: int, sizes: list[int], device: str) -> Iterator[str]:
    """Lines of the table."""
    settings = Sampler(name="td", n_steps=steps)
    plain = Plain(model, settings, device)
    list(place(jobs[:1], settings, 1, model))  # warm-up of either side
    plain.run(jobs[:1])
    reference: dict[str, np.ndarray] = {}
    per = 1000 / len(jobs) / n_evaluations(settings)
    for atoms in sizes:
        bounds = settings.model_copy(update={"max_atoms": atoms})
        batches = make_batches(jobs, bounds, 1)
        took, placed = timed(partial(ours, jobs, bounds, model), device)
        memory = peak_mib(device)
        plainly, _ = timed(partial(list, map(plain.run, batches)), device)
        reference = reference or placed
        delta = max(np.abs(placed[k] - f - np.round(placed[k] - f)).max() for k, f in reference.items())
        yield (
            f"| {'one by one' if atoms == 1 else atoms} "
            f"| {len(jobs) / took:.3f} | {took * per:.2f} | {memory:.0f} "
            f"| {len(jobs) / plainly:.3f} | {plainly * per:.2f} | {peak_mib(device):.0f} "
            f"| {plainly / took:.2f} | {delta:.1e} |"
        )


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--structures", type=Path, default=ROOT / "examples/mc3d/structures.jsonl")
parser.add_argument("--count", type=int, default=32)
parser.add_argument("--max-sites", type=int, default=19)
parser.add_argument("--steps", type=int, default=20)
parser.add_argument("--batches", type=int, nargs="+", default=[1, 64, 128, 256, 512], help="atoms in a batch")
parser.add_argument("--model", default="td-medium")
parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
parser.add_argument("--threads", type=int, default=1)
arguments = parser.parse_args()

torch.set_num_threads(arguments.threads)
loaded = load_model(arguments.model, arguments.device)
todo = structures(arguments.structures, arguments.count, arguments.max_sites)
print(f"{len(todo)} structures, {arguments.steps} steps, {arguments.device}, {arguments.threads} thread(s)")
print(
    "| batch (atoms) | ours: structures/s | ms | peak MiB | plain: structures/s | ms | peak MiB | ratio | difference |"
)
print("|---|---|---|---|---|---|---|---|---|")
for row in rows(todo, loaded, arguments.steps, arguments.batches, arguments.device):
    print(row, flush=True)
