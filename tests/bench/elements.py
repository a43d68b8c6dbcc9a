"""Raw match rates of weights on other elements than hydrogen: take an element out of complete structures, put it back.

python tests/bench/elements.py --structures mp_val.parquet --elements Li Na O H --count 100

Each element: structures that hold it and something else, drawn at random, one trial, no relaxation, with random
placement beside it.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from hinpaint.deciding.les import bootstrap_interval
from hinpaint.diffusion.checkpoints import load_model
from hinpaint.sampling import Sampler
from hinpaint.scripting import choose_device
from hinpaint.training.preparing import from_optimade, from_parquet
from hinpaint.training.validation import Rates, held_out, raw_rates

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--structures", type=Path, required=True, help="Parquet or OPTIMADE, as prepare-training reads")
parser.add_argument("--elements", nargs="+", default=["Li", "Na", "O"])
parser.add_argument("--count", type=int, default=100, help="structures an element at most")
parser.add_argument("--max-sites", type=int, default=19)
parser.add_argument("--model", default="td-medium")
parser.add_argument("--steps", type=int, default=25, help="evaluations of sampler renoise")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--threads", type=int, default=1)
arguments = parser.parse_args()


def share(verdicts: tuple[bool, ...]) -> str:
    """Share in percent with its 95 % interval."""
    found = np.array(verdicts, dtype=float)
    low, high = bootstrap_interval(found, 1000)
    return f"{100 * found.mean():.0f} ({100 * low:.0f} to {100 * high:.0f})"


def cells(rates: Rates) -> str:
    """Two cells of the table."""
    return f"{share(rates.matched)} | {share(rates.strict)}"


model = load_model(arguments.model, choose_device("auto", arguments.threads))
read = from_parquet if arguments.structures.suffix == ".parquet" else from_optimade
data = read(arguments.structures, arguments.max_sites)
print("| element | structures | sites to place, mean | match, % | strict, % | chance: match, % | strict, % | CPU-s |")
print("|---|---|---|---|---|---|---|---|")
for element in arguments.elements:
    crystals = held_out(data, element, arguments.max_sites, arguments.count, arguments.seed)
    began = time.process_time()
    rates = raw_rates(crystals, Sampler(name="renoise", n_steps=arguments.steps), arguments.seed, model)
    seconds = (time.process_time() - began) / len(crystals)
    chance = raw_rates(crystals, Sampler(name="random"), arguments.seed, None)
    mean = np.mean([(~crystal.known).sum() for crystal in crystals])
    row = f"| {element} | {len(crystals)} | {mean:.1f} | {cells(rates)} | {cells(chance)} | {seconds:.2f} |"
    print(row, flush=True)
