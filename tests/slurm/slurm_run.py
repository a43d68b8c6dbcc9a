"""A tiny database and runs of the real workflow on it, through the project's Slurm profile or on this machine."""

import hashlib
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from workspace import EXAMPLES, ROOT, environment

from hinpaint.store import read_tables
from hinpaint.tables import Table

TABLES = (
    "records", "entries", "evidence", "source_text", "whynot", "tasks", "trials", "relaxed", "matches", "arrangements",
)  # fmt: skip
# Portlandite without H, brucite complete, halite.
IDS = ("9900101", "9900301", "9900401")
# Brucite with another metal; no potential knows fermium.
VARIANTS = {"9900998": "Mn", "9900999": "Fm"}
CONFIG: dict[str, Any] = {
    "run": "tiny",
    "seed": 7,
    "sources": [
        {"database": "c", "version": "1", "licence": "CC0-1.0", "format": "cif", "path": "cod",
         "mode": ["reconstruct", "benchmark"]},
    ],
    "shards": 2,
    "trials": 1,
    "sampler": {"n_steps": 4},
    # so loose that a few steps converge
    "relax": {"fmax_ev_per_a": 5.0, "max_steps_h_only": 20, "max_steps_full": 5},
    "les": {"bootstrap": 50, "chance_trials": 0},
}  # fmt: skip
# The profile as it is, but impatient.
IMPATIENT: dict[str, Any] = {
    "jobs": 20,
    "max-jobs-per-timespan": "100/1s",
    "seconds-between-status-checks": 2,
    "slurm-init-seconds-before-status-checks": 2,
    "latency-wait": 5,
}


@dataclass(frozen=True)
class SlurmRun:
    """A folder in which the workflow has its database, its configuration and its profile."""

    folder: Path

    @property
    def results(self) -> Path:
        return self.folder / "results/tiny"

    def start(self, *arguments: str) -> "Running":
        """Start the workflow through Slurm and return while it runs."""
        log = self.folder / f"snakemake-{time.monotonic_ns()}.log"
        # A test run in the background ignores SIGINT, and so would its children.
        command = ["env", "--default-signal=INT", *self._command("profile", *arguments)]
        with log.open("w") as out:
            process = subprocess.Popen(  # noqa: S603 - our own command
                command,
                cwd=self.folder,
                env=environment(),
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return Running(process, log)

    def locally(self, *arguments: str, timeout: float = 900) -> str:
        """Run the workflow with the project's local profile and return what it printed; it must succeed."""
        done = self._on_this_machine(arguments, timeout)
        assert done.returncode == 0, done.stdout[-6000:]
        return done.stdout

    def fails(self, *arguments: str) -> str:
        """The same for a run that must fail."""
        done = self._on_this_machine(arguments, 900)
        assert done.returncode != 0, done.stdout[-6000:]
        return done.stdout

    def _on_this_machine(self, arguments: tuple[str, ...], timeout: float) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - our own command
            self._command(str(ROOT / "profiles/local"), *arguments), cwd=self.folder, env=environment(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout, check=False,
        )  # fmt: skip

    def hinpaint(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command line."""
        return subprocess.run(  # noqa: S603 - our own command
            ["hinpaint", *arguments], cwd=self.folder, env=environment(), text=True, stdout=subprocess.PIPE,  # noqa: S607
            stderr=subprocess.STDOUT, timeout=100, check=False,
        )  # fmt: skip

    def _command(self, profile: str, *arguments: str) -> list[str]:
        # --configfile takes every word that follows, so it comes last.
        return ["snakemake", "--profile", profile, "--snakefile", str(ROOT / "Snakefile"),
                "--directory", str(self.folder), *arguments, "--configfile", "tiny.yaml"]  # fmt: skip

    def content(self) -> dict[str, str]:
        """SHA-256 of all table files and all files of the release but the catalog (bytes of DuckDB differ), by path."""
        files = [path for name in TABLES for path in sorted((self.results / name).glob("*.parquet"))]
        files += [path for path in sorted((self.results / "release").rglob("*"))
                  if path.is_file() and path.name != "catalog.duckdb"]  # fmt: skip
        return {str(p.relative_to(self.results)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

    def files(self, table: str) -> list[str]:
        """Names of a table's files."""
        return sorted(path.name for path in (self.results / table).glob("*.parquet"))

    def rows(self, table: Table) -> list[dict[str, Any]]:
        """All rows of a table."""
        return read_tables(sorted((self.results / table.name).glob("*.parquet")), table).to_pylist()

    def forget(self, *names: str) -> None:
        """Delete folders of the results."""
        for name in names:
            shutil.rmtree(self.results / name, ignore_errors=True)

    def work(self, script: str, shard: int) -> list[int]:
        """Process ids of a job's script in this folder, wherever it came from."""
        found = []
        for process in Path("/proc").iterdir():
            try:
                words = (process / "cmdline").read_bytes().decode().split("\0")
                here = (process / "cwd").readlink() == self.folder
            except OSError:  # it ended, or it is no process
                continue
            if (
                here
                and f"scripts/{script}" in words[:2]
                and words[words.index("--shard") + 1] in (str(shard), f"{shard:04d}")
            ):
                found.append(int(process.name))
        return found

    def leftovers(self) -> list[str]:
        """Temporary files that a killed job left."""
        return [str(path) for path in self.results.rglob("*.tmp")]


@dataclass(frozen=True)
class Running:
    """A Snakemake that was started."""

    process: subprocess.Popen[bytes]
    log: Path

    def wait_until(self, condition: Callable[[], object], seconds: float = 400) -> None:
        """Wait for a condition while Snakemake runs."""
        end = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, f"Snakemake ended first: {self.text()[-6000:]}"
            assert time.monotonic() < end, f"not within {seconds} s: {self.text()[-6000:]}"
            time.sleep(0.3)

    def stop(self, number: signal.Signals) -> int:
        """Send a signal to Snakemake and wait for its end."""
        self.process.send_signal(number)
        return self.process.wait(90)

    def finish(self, seconds: float = 900) -> int:
        """Wait for the end and return the exit code."""
        return self.process.wait(seconds)

    def text(self) -> str:
        return self.log.read_text()


def make_run(folder: Path, *, impatient: bool = True, **changes: Mapping[str, Any]) -> SlurmRun:
    """Write database, configuration and profile.

    Args:
        folder: a new folder.
        impatient: ask Slurm often; otherwise as the profile says.
        changes: resources by rule that differ from the profile.
    """
    cifs = {each: next(EXAMPLES.glob(f"cod/cif/*/*/*/{each}.cif")).read_text() for each in IDS}
    brucite = cifs["9900301"]
    cifs |= {each: brucite.replace("Mg", metal).replace("9900301", each) for each, metal in VARIANTS.items()}
    for each, text in cifs.items():
        place = folder / "cod/cif" / each[0] / each[1:3] / each[3:5] / f"{each}.cif"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    (folder / "tiny.yaml").write_text(yaml.safe_dump(CONFIG))
    profile = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text()) | (IMPATIENT if impatient else {})
    for rule, resources in changes.items():
        profile["set-resources"][rule] = profile["set-resources"].get(rule, {}) | dict(resources)
    (folder / "profile").mkdir()
    (folder / "profile/config.yaml").write_text(yaml.safe_dump(profile))
    # Rules call `python scripts/...` relative to the working directory.
    (folder / "scripts").symlink_to(ROOT / "scripts")
    return SlurmRun(folder)


def copy_run(run: SlurmRun, folder: Path) -> SlurmRun:
    """Copy a finished run with its file times and Snakemake's memory."""
    shutil.copytree(run.folder, folder, symlinks=True)
    return SlurmRun(folder)
