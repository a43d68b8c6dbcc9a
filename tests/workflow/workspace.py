"""A tiny database of our own and the real workflow on it, run once for all tests."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
# Portlandite without H, portlandite's neighbour with dummy H, brucite complete, halite, a truncated file.
IDS = ("9900101", "9900201", "9900301", "9900401", "9900501")


@dataclass(frozen=True)
class Workspace:
    """A folder in which the workflow has its database and its configuration."""

    folder: Path

    @property
    def results(self) -> Path:
        return self.folder / "results" / "tiny"

    def snakemake(self, *arguments: str, timeout: float = 550, configfile: str = "tiny.yaml") -> str:
        """Run the workflow and return what it printed; it must succeed."""
        done = self.try_snakemake(*arguments, timeout=timeout, configfile=configfile)
        assert done.returncode == 0, done.stdout[-6000:]
        return done.stdout

    def try_snakemake(
        self, *arguments: str, timeout: float = 550, configfile: str = "tiny.yaml"
    ) -> subprocess.CompletedProcess[str]:
        # --configfile takes every word that follows, so it comes last.
        command = ["snakemake", "--profile", str(ROOT / "profiles/local"), "--snakefile", str(ROOT / "Snakefile"),
                   "--directory", str(self.folder), *arguments, "--configfile", configfile]  # fmt: skip
        return self.run(command, timeout)

    def run(self, command: Sequence[str], timeout: float = 300) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - our own commands
            command, cwd=self.folder, env=environment(), text=True, timeout=timeout, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def script(self, name: str, *arguments: str) -> list[str]:
        return [sys.executable, str(ROOT / "scripts" / name), "--config", str(self.results / "config.json"), *arguments]


def environment() -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore"}


def make_workspace(folder: Path) -> Workspace:
    for each in IDS:
        place = Path("cod/cif") / each[0] / each[1:3] / each[3:5] / f"{each}.cif"
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(EXAMPLES / place, folder / place)
    lines = (EXAMPLES / "mc3d/structures.jsonl").read_text().splitlines()
    small = [line for line in lines[1:] if '"nsites": 2,' in line]
    (folder / "mc3d.jsonl").write_text("\n".join([lines[0], *small]) + "\n")
    source = {"version": "1", "licence": "CC0-1.0"}
    config = {
        "run": "tiny",
        "seed": 7,
        "sources": [
            {**source, "database": "c", "format": "cif", "path": "cod", "mode": ["reconstruct", "benchmark"]},
            {**source, "database": "m", "format": "optimade", "path": "mc3d.jsonl", "mode": "benchmark"},
        ],
        "shards": 2,
        "trials": 2,
        "sampler": {"n_steps": 10},
        "model": "td-small-2",
        "relax": {"fmax_ev_per_a": 0.3, "max_steps_h_only": 40, "max_steps_full": 40},
        "les": {"bootstrap": 50},
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(config))
    # Rules call `python scripts/...` relative to the working directory.
    (folder / "scripts").symlink_to(ROOT / "scripts")
    return Workspace(folder)
