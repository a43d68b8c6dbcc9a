"""DFT-based reconstruction of complete structures: strip hydrogen, find it again in the potential, compare.

python tests/bench/dft_reconstruction.py --structures export.jsonl.gz --n 24 --out results/dft-wells
python tests/bench/dft_reconstruction.py ... --model td-small     # one trial of the model on the same entries, too
python tests/bench/dft_reconstruction.py ... --table              # what is there so far, nothing computed

The entries are the cheapest: least volume times missing hydrogens, elements that GPAW has. Each has a result file,
written at once; the same command goes on where the last one was stopped. GPAW's logs stay in a folder beside it.
"""

import argparse
import json
import shlex
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hinpaint.config import Source
from hinpaint.crystal import Crystal
from hinpaint.deciding.matching import Match, compare, matcher_settings
from hinpaint.diffusion.checkpoints import LoadedModel, load_model
from hinpaint.diffusion.samplers import PlacementJob, place
from hinpaint.files import write_atomic
from hinpaint.placements import host_operations
from hinpaint.relaxation.batch import RelaxJob
from hinpaint.relaxation.levels import relax_levels
from hinpaint.relaxation.potentials import LoadedPotential, load_potential
from hinpaint.relaxing import Potential, Relax
from hinpaint.sampling import Sampler
from hinpaint.sources import parse_record, read_source
from hinpaint.verification.backends import Gpaw
from hinpaint.verification.gpaw_wells import GpawWells, WellSettings
from hinpaint.verification.reconstruction import ELEMENT, reconstruct
from hinpaint.verification.verdicts import wilson
from hinpaint.whynot import Reason, Stop

STRICT_A = 0.3
LEVELS = ("raw", "h_only")


def complete_structures(path: Path) -> Iterator[tuple[str, Crystal]]:
    """Ordered structures with hydrogen and something else, hydrogen behind the host and not ``known``."""
    source = Source(database="export", version="1", format="optimade", path=path, licence="x", mode=("benchmark",))
    for raw in read_source(source, 0):
        record = parse_record("optimade", raw.text or "")
        if isinstance(record, Stop) or not record.is_ordered:
            continue
        crystal = Crystal.build(record.lattice, record.species, record.cell_frac)
        chosen = crystal.is_element(ELEMENT)
        if chosen.any() and not chosen.all():
            yield raw.source_id, crystal.take(~chosen).add_unknown(ELEMENT, crystal.frac[chosen])


def cost(crystal: Crystal) -> float:
    """What orders the entries: volume times hydrogens, as each may need a calculation of its own."""
    return crystal.volume * int((~crystal.known).sum())


def verdict(match: Match) -> dict[str, Any]:
    """A comparison as data."""
    return {"matched": match.matched, "rms": match.rms, "h_max_a": match.h_max_a}


def compared(raw: Crystal, relaxed: Crystal, reference: Crystal) -> dict[str, Any]:
    """Both geometries of a completed host against the reference."""
    operations = host_operations(reference.take(reference.known))
    row: dict[str, Any] = {"reason": None}
    for level, crystal in zip(LEVELS, (raw, relaxed), strict=True):
        row[level] = verdict(compare(crystal, reference, operations))
        row[f"frac_{level}"] = crystal.frac[~crystal.known].tolist()
    return row


def by_dft(key: str, reference: Crystal, code: GpawWells) -> dict[str, Any]:
    """Reconstruct one entry."""
    host = reference.take(reference.known)
    outcome = reconstruct(host, int((~reference.known).sum()), code, say=lambda line: print(f"  {key}: {line}", flush=True))  # fmt: skip  # noqa: E501
    row: dict[str, Any] = {"cpu_s": round(code.cpu_s, 1), "wall_s": round(code.wall_s, 1)}
    if isinstance(outcome, Stop):
        return {**row, "reason": outcome.reason.value, "detail": outcome.detail}
    row |= {"n_rounds": outcome.n_rounds, "converged": outcome.converged, "energy_ev": outcome.energy_ev}
    return row | compared(outcome.raw, outcome.relaxed, reference)


def by_model(
    key: str, reference: Crystal, sampler: Sampler, model: LoadedModel, potential: LoadedPotential
) -> dict[str, Any]:
    """Sample one trial of one entry and relax its hydrogens."""
    began, host = time.process_time(), reference.take(reference.known)
    job = PlacementJob(f"export|1|{key}", 0, host, ELEMENT, int((~reference.known).sum()))
    (placed,) = place([job], sampler, 0, model)
    if placed.frac_unknown is None:
        stop = placed.stop or Stop(Reason.NO_CANDIDATE)
        return {"cpu_s": time.process_time() - began, "reason": stop.reason.value, "detail": stop.detail}
    raw = host.add_unknown(ELEMENT, placed.frac_unknown)
    start = RelaxJob((key, 0), raw, ~raw.known)
    settings = Relax(fmax_ev_per_a=WellSettings.fmax_ev_per_a, max_steps_full=0)
    ((_, end),) = relax_levels(lambda: potential, [start], settings, lambda _level: lambda _done, _total: None)
    seconds = time.process_time() - began
    return {"cpu_s": round(seconds, 2), "converged": end.converged} | compared(raw, end.crystal, reference)


def keep(path: Path, row: dict[str, Any], reference: Crystal, settings: dict[str, Any]) -> None:
    """Write one result at once, with all that decided it."""
    formula = reference.to_pymatgen().composition.formula.replace(" ", "")
    about = {"entry": path.stem, "formula": formula, "n_sites": reference.n_sites, "settings": settings}
    text = json.dumps({**about, **row, "matcher": json.loads(matcher_settings())}, indent=1)
    write_atomic(path, lambda handle: handle.write(text.encode()))
    print(f"{path.stem} {formula}: {verdicts(row)}, {row['cpu_s']:.1f} CPU-s", flush=True)


def to_do(structures: list[tuple[str, Crystal]], folder: Path, settings: dict[str, Any]) -> Iterator[tuple[str, Crystal]]:  # fmt: skip  # noqa: E501
    """The entries without a result at these settings."""
    for number, (key, reference) in enumerate(structures, start=1):
        path = folder / f"{key}.json"
        if not path.exists() or json.loads(path.read_text(encoding="utf-8"))["settings"] != settings:
            print(f"[{number}/{len(structures)}] {key}: {reference.n_sites} sites, {reference.volume:.0f} Å3", flush=True)  # fmt: skip  # noqa: E501
            yield key, reference


def strict(verdict_: dict[str, Any]) -> bool:
    """Every hydrogen within 0.3 Å of one of the reference's."""
    return verdict_["h_max_a"] is not None and verdict_["h_max_a"] < STRICT_A


def verdicts(row: dict[str, Any]) -> str:
    """The verdicts of one entry in a few words."""
    if row["reason"]:
        return f"{row['reason']} ({row['detail']})"
    return ", ".join(f"{level} {'match' if row[level]['matched'] else 'no match'} {row[level]['h_max_a']:.2f} Å"
                     for level in LEVELS)  # fmt: skip


def table(name: str, folder: Path, chosen: set[str]) -> None:
    """Every entry, the rates with Wilson's intervals, the reasons; failures count as failures."""
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    rows = sorted((row for row in rows if row["entry"] in chosen), key=lambda row: (row["n_sites"], row["formula"]))
    if not rows:
        return
    print(f"\n{name}: {len(rows)} entries")
    for row in rows:
        print(f"  {row['entry']:38}{row['formula']:14}{row['cpu_s']:8.1f} CPU-s  {verdicts(row)}")
    for level in LEVELS:
        for kind, holds in (("match", lambda each: each["matched"]), ("strict", strict)):
            hits = sum(not row["reason"] and holds(row[level]) for row in rows)
            low, high = wilson(hits, len(rows))
            print(f"  {level:8}{kind:8}{hits:4} of {len(rows)}: {100 * hits / len(rows):.0f} % ({100 * low:.0f} to {100 * high:.0f})")  # fmt: skip  # noqa: E501
    seconds = [row["cpu_s"] for row in rows]
    reasons = dict(Counter(row["reason"] for row in rows if row["reason"]))
    print(f"  CPU-s an entry: mean {np.mean(seconds):.1f}, median {np.median(seconds):.1f}, most {max(seconds):.1f}")
    print(f"  without a result: {reasons or 'none'}", flush=True)


def main() -> None:
    """Read the arguments, compute what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--structures", type=Path, required=True, help="OPTIMADE JSON Lines")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--n", type=int, default=24, help="entries")
    parser.add_argument("--max-sites", type=int, default=12)
    parser.add_argument("--python", default="/usr/bin/python3", help="a Python that has GPAW")
    parser.add_argument(
        "--queue", default="", help="words before it in every calculation: `nice`, `flock FILE`, `srun`"
    )
    parser.add_argument("--model", help="weights to compare with on the entries that have a result: td-small")
    parser.add_argument("--steps", type=int, default=50, help="evaluations of its sampler, renoise")
    parser.add_argument("--table", action="store_true", help="print what is there, compute nothing")
    for name, value in asdict(WellSettings()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    options = parser.parse_args()
    settings = WellSettings(**{name: getattr(options, name) for name in asdict(WellSettings())})
    elements = Gpaw([options.python]).installed(options.out / "work").elements
    able = [each for each in complete_structures(options.structures)
            if each[1].n_sites <= options.max_sites and set(each[1].species) <= elements]  # fmt: skip
    structures = sorted(able, key=lambda each: cost(each[1]))[: options.n]
    if not options.table:
        program = [*shlex.split(options.queue), options.python]
        decides = {name: value for name, value in asdict(settings).items() if name != "time_limit_s"}
        for key, reference in to_do(structures, options.out, decides):
            code = GpawWells(program, elements, settings, options.out / "work" / key)
            keep(options.out / f"{key}.json", by_dft(key, reference, code), reference, decides)
    structures = [each for each in structures if (options.out / f"{each[0]}.json").exists()]
    if options.model and not options.table:
        torch.set_num_threads(1)
        model, potential = load_model(options.model, "cpu"), load_potential(Potential(name="sevennet-0"), "cpu")
        sampler = Sampler(name="renoise", n_steps=options.steps)
        used = {"model": model.sha256, "potential": potential.sha256, "sampler": sampler.model_dump()}
        for key, reference in to_do(structures, options.out / "model", used):
            keep(options.out / "model" / f"{key}.json", by_model(key, reference, sampler, model, potential), reference, used)  # fmt: skip  # noqa: E501
    table("DFT", options.out, {key for key, _ in structures})
    table("model, one trial", options.out / "model", {key for key, _ in structures})


if __name__ == "__main__":
    main()
