"""One of several processes that train together, as torchrun starts them: python replica.py FOLDER."""

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from sample_crystals import random_crystal

from hinpaint.diffusion.network import NetworkSettings, ScoreNetwork
from hinpaint.training.loop import train
from hinpaint.training.preparing import from_crystals
from hinpaint.training.replicas import join
from hinpaint.training.settings import TrainingSettings

STOP_AFTER = 3


def digest(network: ScoreNetwork) -> str:
    """Hash of all weights."""
    return hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in network.parameters())).hexdigest()


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    network = NetworkSettings(hidden=16, n_blocks=2, emb_trip=8, num_radial=8, num_spherical=3, max_neighbors=8)
    settings = TrainingSettings(steps=6, warmup=2, max_batch_sites=25, bf16=False, network=network)
    data = from_crystals([random_crystal(seed, n_host=4) for seed in range(12)])
    with join("cpu") as (replicas, device):

        def go_on(name: str, stop=lambda: False, chosen=settings):
            return train(data, chosen, folder / name, device, lambda _: None, stop, replicas=replicas)

        whole = go_on("whole")
        # Only the last process is asked to stop; all of them do, after the same step.
        asked = iter([False] * (STOP_AFTER - 1))
        stopped = go_on("parts", lambda: replicas.rank == replicas.count - 1 and next(asked, True))
        replicas.wait()
        resumed = go_on("parts")
        longer = replace(settings, seed=2, steps=1)
        found = {
            "count": replicas.count,
            "whole": digest(whole.network),
            "resumed": digest(resumed.network),
            "stopped_at": stopped.step,
            "curves": [whole.curve, resumed.curve],
            "samples": [whole.samples, resumed.samples],
            "other_seed": digest(go_on("other", chosen=longer).network),
        }
    (folder / f"rank{replicas.rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
