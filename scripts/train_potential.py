"""Train and package a distilled potential: arguments -> hinpaint.distillation.training."""

import argparse
from pathlib import Path

from hinpaint.distillation.card import training_card, write_card
from hinpaint.distillation.settings import load_settings
from hinpaint.distillation.training import fit, package, statistics, training_config, training_facts
from hinpaint.relaxation.potentials import load_potential
from hinpaint.relaxing import Potential
from hinpaint.scripting import choose_device

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--config", type=Path, required=True, help="YAML with the settings of the distillation")
parser.add_argument("--out", type=Path, required=True, help="folder of this training, with the labels")
parser.add_argument("--device", default="auto")
parser.add_argument("--threads", type=int, default=1)
arguments = parser.parse_args()

device = choose_device(arguments.device, arguments.threads)
settings, folder = load_settings(arguments.config), arguments.out
labels = {part: folder / f"{part}.extxyz" for part in ("train", "held_out")}
found = statistics(labels["train"], settings.network.r_max)
config = training_config(settings, found, labels, "cpu" if device == "cpu" else "gpu")
checkpoint = fit(folder, config, arguments.threads)
package(folder, checkpoint, folder / "potential.nequip.zip")
teacher = load_potential(Potential(name=settings.teacher)).sha256
facts = training_facts(folder, checkpoint, found)
card = training_card(settings, folder / "potential.nequip.zip", teacher, labels, facts)
write_card(folder / "training.json", card)
