"""Label structures for a distilled potential: arguments -> hinpaint.distillation.labelling."""

import argparse
from pathlib import Path

from hinpaint.diffusion.checkpoints import load_model
from hinpaint.distillation.hosts import split
from hinpaint.distillation.labelling import label_hosts
from hinpaint.distillation.settings import load_settings
from hinpaint.relaxation.potentials import load_potential
from hinpaint.relaxing import Potential
from hinpaint.scripting import choose_device

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--config", type=Path, required=True, help="YAML with the settings of the distillation")
parser.add_argument("--structures", type=Path, required=True, help="Parquet of structures to train on")
parser.add_argument("--validation", type=Path, required=True, help="Parquet of structures to hold out")
parser.add_argument("--out", type=Path, required=True, help="folder of this training")
parser.add_argument("--device", default="auto")
parser.add_argument("--threads", type=int, default=1)
arguments = parser.parse_args()

device = choose_device(arguments.device, arguments.threads)
settings = load_settings(arguments.config)
arguments.out.mkdir(parents=True, exist_ok=True)
teacher = load_potential(Potential(name=settings.teacher), device)
hosts = split(arguments.structures, arguments.validation, settings)
for part, labels in (("held_out", settings.held_out), ("train", settings.labels)):
    out, model = arguments.out / f"{part}.extxyz", load_model(labels.model, device)
    label_hosts(hosts[part], teacher, model, labels, out, say=lambda line: print(line, flush=True))
