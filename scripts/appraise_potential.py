"""Measure a distilled potential and write its card: arguments -> hinpaint.distillation.measuring."""

import argparse
import json
from pathlib import Path

from hinpaint.config import load_config
from hinpaint.distillation.card import full_card, write_card
from hinpaint.distillation.measuring import on_labels, on_run, speed
from hinpaint.relaxation.potentials import load_potential
from hinpaint.relaxing import Potential
from hinpaint.scripting import choose_device

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--out", type=Path, required=True, help="folder of the training, with labels and package")
parser.add_argument("--run", type=Path, required=True, help="config.json of a run that the teacher relaxed")
for table in ("tasks", "trials", "relaxed"):
    parser.add_argument(f"--{table}", type=Path, nargs="+", required=True, help=f"{table} of the run, some shards")
parser.add_argument("--max-trials", type=int, default=5, help="model trials an entry that are compared")
parser.add_argument("--threads", type=int, default=1)
arguments = parser.parse_args()
choose_device("cpu", arguments.threads)
training = json.loads((arguments.out / "training.json").read_text(encoding="utf-8"))
package, held_out = arguments.out / "potential.nequip.zip", arguments.out / "held_out.extxyz"
block = Potential(name="nequip", path=package, sha256=training["sha256"])
student, teacher = load_potential(block), load_potential(Potential(name=training["teacher"]["name"]))
tables = (arguments.tasks, arguments.trials, arguments.relaxed)
measured = on_run(load_config(arguments.run), block, teacher.sha256, *tables, arguments.out, arguments.max_trials)
measured |= {"held_out": on_labels(student, held_out), "speed": speed(student, teacher, held_out)}
write_card(arguments.out / "potential.json", full_card(training, measured))
