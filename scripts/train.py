"""Train diffusion weights: arguments -> hinpaint.diffusion.training."""

import argparse
from pathlib import Path

import torch

from hinpaint.diffusion.dataset import TrainingSet, prepare
from hinpaint.diffusion.training import load_settings, train
from hinpaint.files import sha256_file

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--config", type=Path, required=True, help="YAML with training settings")
parser.add_argument("--structures", type=Path, required=True, help="Parquet with lattice, atomic_numbers, frac_coords")
parser.add_argument("--out", type=Path, required=True, help="folder of this training; resumed when it exists")
parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
parser.add_argument("--threads", type=int, help="CPU threads; default: all")
arguments = parser.parse_args()

if arguments.threads:
    torch.set_num_threads(arguments.threads)
settings = load_settings(arguments.config)
compact = arguments.out / f"structures-{sha256_file(arguments.structures)[:12]}.npz"
if not compact.exists():
    prepare(arguments.structures, compact, settings.max_structure_sites)
train(TrainingSet.load(compact), settings, arguments.out, arguments.device, say=lambda line: print(line, flush=True))
