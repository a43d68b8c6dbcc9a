"""The command `hinpaint benchmark`."""

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from hinpaint.terminal import fail

_ROOT = Path(__file__).parents[2]


def benchmark(
    config: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="YAML of the benchmark")],
    structures: Annotated[
        Path | None, typer.Option(exists=True, help="complete structures (OPTIMADE JSON Lines, ...)")
    ] = None,
    systems: Annotated[str | None, typer.Option(help="compute these systems only: NAME,NAME")] = None,
    profile: Annotated[str, typer.Option(help="Snakemake profile")] = "profiles/local",
    take_from: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="results/<run>: what its journals hold is not computed again"),
    ] = None,
    collect: Annotated[
        bool, typer.Option("--collect", help="compute nothing: results and figures of what is finished")
    ] = False,
    more: Annotated[list[str] | None, typer.Argument(help="more words for snakemake, after --")] = None,
) -> None:
    """Compare systems on structures that are complete: one table, its figures, and their intervals.

    Everything goes to results/<name>/: results.json, figures/, and the tables of each system. Running again goes on.
    """
    from hinpaint.benchmark.settings import load_benchmark, write_resolved
    from hinpaint.config import ConfigError

    try:
        table = load_benchmark(config, structures)
        chosen = [table.system(name) for name in systems.split(",")] if systems else table.unfolded
        names = [each.name for each in chosen]
        if collect:
            write_resolved(table, ())
            _collect(table.results, names)
            return
        for each in chosen:
            table.config_of(each)
    except ConfigError as error:
        fail(error)
    settings = {"settings": config, "structures": structures, "systems": systems}
    words = ["-s", str(_ROOT / "rules/benchmark.smk"), "--directory", ".", "--profile", profile, *(more or []),
             "--config", *(f"{key}={value}" for key, value in settings.items() if value is not None)]  # fmt: skip
    if take_from is not None:
        from hinpaint.benchmark.reuse import take_over

        folders = ["references", *(f"systems/{name}" for name in names)]
        planned = [str(table.results / folder / "tasks/shard=0000.parquet") for folder in folders]
        _snakemake([*words[:6], *planned, *words[6:]])
        typer.echo(f"{take_over(table, names, take_from)} rows taken from {take_from}")
    _snakemake(words)


def _snakemake(words: list[str]) -> None:
    typer.echo(shlex.join(["snakemake", *words]))
    done = subprocess.run([sys.executable, "-m", "snakemake", *words], check=False)  # noqa: S603 - printed above
    if done.returncode:
        raise typer.Exit(done.returncode)


def _collect(results: Path, names: list[str]) -> None:
    words = [str(_ROOT / "scripts/benchmark_results.py"), "--benchmark", str(results / "benchmark.json"), "--systems",
             *names, "--results", str(results / "results.json"), "--figures", str(results / "figures")]  # fmt: skip
    done = subprocess.run([sys.executable, *words], check=False)  # noqa: S603 - a script of ours
    if done.returncode:
        raise typer.Exit(done.returncode)
