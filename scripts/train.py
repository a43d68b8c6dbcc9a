"""Train diffusion weights: arguments -> hinpaint.training.run."""

import argparse
import sys
from functools import partial
from pathlib import Path

from hinpaint.diffusion.checkpoints import ModelError
from hinpaint.scripting import choose_device
from hinpaint.training.replicas import local_rank
from hinpaint.training.run import run

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--config", type=Path, required=True, help="YAML with training settings")
parser.add_argument("--structures", type=Path, required=True, help="what hinpaint prepare-training reads or writes")
parser.add_argument("--validation", type=Path, help="structures with known answers to measure the weights on")
parser.add_argument("--out", type=Path, required=True, help="folder of this training; resumed when it exists")
parser.add_argument("--device", default="auto", help="torch device; auto takes a GPU when there is one")
parser.add_argument("--threads", type=int, default=1, help="CPU threads")
arguments = parser.parse_args()
files = arguments.config, arguments.structures, arguments.out
try:
    device = choose_device(arguments.device, arguments.threads, local_rank())
    signal = run(*files, device, partial(print, flush=True), arguments.threads, arguments.validation)
except (ValueError, OSError, ModelError) as error:
    sys.exit(f"hinpaint: {' '.join(str(error).split())}")
sys.exit(0 if signal is None else 128 + signal)
