import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from replica import STOP_AFTER, digest
from sample_crystals import random_crystal

from hinpaint.training.loop import train
from hinpaint.training.preparing import from_crystals
from hinpaint.training.settings import TrainingSettings

HERE = Path(__file__).parent


def launch(folder: Path, count: int) -> list[dict]:
    """Run so many processes with the variables that torchrun sets, and read what each of them found."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(HERE / "replica.py"), str(folder)]
    started = [
        subprocess.Popen(command, env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)})  # noqa: S603 - ours
        for rank in range(count)
    ]
    try:
        assert [process.wait(timeout=240) for process in started] == [0] * count
    finally:
        for process in started:
            process.kill()
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(count)]


@pytest.mark.slow
def test_processes_stay_one_network_and_go_on_after_a_stop(tmp_path: Path, tiny_settings) -> None:
    first, second = launch(tmp_path, 2)
    assert first["count"] == 2
    for key in ("whole", "resumed", "other_seed"):
        assert first[key] == second[key], key
    assert first["stopped_at"] == second["stopped_at"] == STOP_AFTER
    assert first["whole"] == first["resumed"] != first["other_seed"]
    whole, resumed = first["curves"]
    assert whole == resumed
    assert whole[-1][0] == 6
    assert first["samples"][0] == first["samples"][1]

    # One process alone draws half as much and ends elsewhere; it may not go on where two were.
    settings = TrainingSettings(steps=6, warmup=2, max_batch_sites=25, bf16=False, network=tiny_settings)
    data = from_crystals([random_crystal(seed, n_host=4) for seed in range(12)])
    alone = train(data, settings, tmp_path / "alone", say=lambda _: None)
    assert digest(alone.network) != first["whole"]
    assert alone.samples < first["samples"][0]
    with pytest.raises(ValueError, match="other settings"):
        train(data, replace(settings), tmp_path / "whole", say=lambda _: None)
