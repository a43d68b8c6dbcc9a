"""Raw match rates of weights on complete structures: strip hydrogen, place it, compare; no relaxation.

python tests/bench/raw_rates.py --structures export.jsonl.gz --samplers td:50 renoise:25 renoise:25,sigma_end=0.05
python tests/bench/raw_rates.py ... --card hinpaint/models/td-small.json     # record the rates in the card
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from hinpaint.config import Source
from hinpaint.crystal import Crystal
from hinpaint.deciding.les import bootstrap_interval
from hinpaint.deciding.matching import compare, matcher_settings
from hinpaint.diffusion.checkpoints import LoadedModel, load_model
from hinpaint.diffusion.samplers import PlacementJob, n_evaluations, place
from hinpaint.placements import host_operations
from hinpaint.sampling import Sampler
from hinpaint.sources import parse_record, read_source
from hinpaint.whynot import Stop


def stripped(path: Path, max_sites: int, element: str) -> dict[str, tuple[PlacementJob, Crystal]]:
    """Jobs and references by entry key."""
    source = Source(database="export", version="1", format="optimade", path=path, licence="x", mode="benchmark")
    found = {}
    for raw in read_source(source, 0):
        record = parse_record("optimade", raw.text or "")
        if isinstance(record, Stop) or not record.is_ordered or len(record.species) > max_sites:
            continue
        crystal = Crystal.build(record.lattice, record.species, record.cell_frac)
        chosen = crystal.is_element(element)
        if chosen.any() and not chosen.all():
            key = f"export|1|{raw.source_id}"
            host = crystal.take(~chosen)
            job = PlacementJob(key, 0, host, element, int(chosen.sum()))
            found[key] = (job, host.add_unknown(element, crystal.frac[chosen]))
    return found


def sampler(text: str) -> Sampler:
    """Settings written as name:steps,key=value,..."""
    head, *more = text.split(",")
    name, _, steps = head.partition(":")
    return Sampler.model_validate({"name": name, "n_steps": steps or 1, **dict(each.split("=") for each in more)})


def rates(
    tasks: dict[str, tuple[PlacementJob, Crystal]], settings: Sampler, model: LoadedModel, trials: int
) -> dict[str, object]:  # fmt: skip
    """Match and strict rate with intervals, and seconds a trial."""
    jobs = [replace(job, trial=trial) for job, _ in tasks.values() for trial in range(trials)]
    began, worked = time.perf_counter(), time.process_time()
    placed = list(place(jobs, settings, 0, model))
    seconds, cpu = (time.perf_counter() - began) / len(jobs), (time.process_time() - worked) / len(jobs)
    matched: dict[str, list[float]] = {key: [] for key in tasks}
    strict: dict[str, list[float]] = {key: [] for key in tasks}
    for each in placed:
        job, reference = tasks[each.job.key]
        if each.frac_unknown is None:
            matched[job.key].append(0.0)
            strict[job.key].append(0.0)
            continue
        candidate = job.host.add_unknown(job.element, each.frac_unknown)
        match = compare(candidate, reference, host_operations(job.host))
        matched[job.key].append(float(match.matched))
        strict[job.key].append(float((match.h_max_a or 0.0) < 0.3))
    entries = np.array([np.mean(each) for each in matched.values()])
    return {
        "sampler": settings.name,
        "n_steps": settings.n_steps,
        "n_evaluations": n_evaluations(settings),
        "settings": settings.model_dump(exclude_defaults=True),
        "n_entries": len(tasks),
        "match_raw": round(float(entries.mean()), 4),
        "match_raw_interval": [round(x, 4) for x in bootstrap_interval(entries, 1000)],
        "strict_raw": round(float(np.mean([np.mean(each) for each in strict.values()])), 4),
        "seconds_per_trial": round(seconds, 3),
        "cpu_s_per_trial": round(cpu, 3),
        "hardware": f"{next(model.network.parameters()).device}, {torch.get_num_threads()} threads",
    }


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--structures", type=Path, required=True, help="OPTIMADE JSON Lines")
parser.add_argument("--max-sites", type=int, default=19)
parser.add_argument("--element", default="H")
parser.add_argument("--samplers", nargs="+", default=["td:50", "random"], help="name:steps,key=value,...")
parser.add_argument("--trials", type=int, default=1)
parser.add_argument("--model", default="td-small")
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--card", type=Path, help="card to record the rates in")
arguments = parser.parse_args()

torch.set_num_threads(arguments.threads)
model = load_model(arguments.model, "cuda" if torch.cuda.is_available() else "cpu")
tasks = stripped(arguments.structures, arguments.max_sites, arguments.element)
measured = []
for each in arguments.samplers:
    measured.append(rates(tasks, sampler(each), model, arguments.trials))
    print(json.dumps(measured[-1]), flush=True)
if arguments.card:
    card = json.loads(arguments.card.read_text(encoding="utf-8"))
    what = {"set": arguments.structures.name.split(".")[0], "max_sites": arguments.max_sites}
    card["measured"] = {
        **what,
        "trials": arguments.trials,
        "matcher": json.loads(matcher_settings()),
        "rates": measured,
    }
    arguments.card.write_text(json.dumps(card, indent=2, sort_keys=True) + "\n", encoding="utf-8")
