"""Raw match rates of weights on complete structures: strip hydrogen, place it, compare; no relaxation.

python tests/bench/raw_rates.py --structures export.jsonl.gz --max-sites 19 --steps 50
python tests/bench/raw_rates.py ... --card hinpaint/models/td-small.json     # record the rates in the card
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from hinpaint.config import Sampler, Source
from hinpaint.crystal import Crystal
from hinpaint.diffusion.checkpoints import LoadedModel, load_model
from hinpaint.diffusion.samplers import PlacementJob, place
from hinpaint.les import bootstrap_interval
from hinpaint.matching import compare, host_operations, matcher_settings
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


def rates(tasks: dict[str, tuple[PlacementJob, Crystal]], settings: Sampler, model: LoadedModel) -> dict[str, object]:
    """Match and strict rate with intervals, and seconds a trial."""
    began = time.perf_counter()
    placed = list(place([job for job, _ in tasks.values()], settings, 0, model))
    seconds = (time.perf_counter() - began) / len(tasks)
    matched, strict = [], []
    for each in placed:
        job, reference = tasks[each.job.key]
        if each.frac_unknown is None:
            matched.append(0.0)
            strict.append(0.0)
            continue
        candidate = job.host.add_unknown(job.element, each.frac_unknown)
        match = compare(candidate, reference, host_operations(job.host))
        matched.append(float(match.matched))
        strict.append(float((match.h_max_a or 0.0) < 0.3))
    return {
        "sampler": settings.name,
        "n_steps": settings.n_steps,
        "n_entries": len(tasks),
        "match_raw": round(float(np.mean(matched)), 4),
        "match_raw_interval": [round(x, 4) for x in bootstrap_interval(np.array(matched), 1000)],
        "strict_raw": round(float(np.mean(strict)), 4),
        "seconds_per_trial": round(seconds, 3),
        "hardware": f"{next(model.network.parameters()).device}, {torch.get_num_threads()} threads",
    }


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--structures", type=Path, required=True, help="OPTIMADE JSON Lines")
parser.add_argument("--max-sites", type=int, default=19)
parser.add_argument("--element", default="H")
parser.add_argument("--steps", type=int, nargs="+", default=[50])
parser.add_argument("--model", default="td-small")
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--card", type=Path, help="card to record the rates in")
arguments = parser.parse_args()

torch.set_num_threads(arguments.threads)
model = load_model(arguments.model, "cuda" if torch.cuda.is_available() else "cpu")
tasks = stripped(arguments.structures, arguments.max_sites, arguments.element)
runs = [Sampler(n_steps=n) for n in arguments.steps] + [Sampler(name="random", n_steps=1)]
measured = [rates(tasks, settings, model) for settings in runs]
for row in measured:
    print(json.dumps(row), flush=True)
if arguments.card:
    card = json.loads(arguments.card.read_text(encoding="utf-8"))
    what = {"set": arguments.structures.name.split(".")[0], "max_sites": arguments.max_sites}
    card["measured"] = {**what, "trials": 1, "matcher": json.loads(matcher_settings()), "rates": measured}
    arguments.card.write_text(json.dumps(card, indent=2, sort_keys=True) + "\n", encoding="utf-8")
