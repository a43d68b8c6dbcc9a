"""Stage figures: catalog -> the figures of the overview page as files, for Snakemake's report."""

from contextlib import closing
from pathlib import Path

import duckdb

from hinpaint.config import Config
from hinpaint.files import open_atomic
from hinpaint.jobs import job
from hinpaint.pages.figures import NAMES, VERIFIED, figures
from hinpaint.pages.plots import nothing, standalone


def run(config: Config, catalog: Path, folder: Path, runs: Path) -> None:
    """Write one SVG a figure.

    Args:
        config: the run's configuration.
        catalog: DuckDB file with all tables.
        folder: where the files go; a figure with nothing to show says so.
        runs: Parquet for the job's row.
    """
    with job("figures", 0, config.run, runs) as current:
        with closing(duckdb.connect(str(catalog), read_only=True)) as connection:
            drawn = dict(figures(connection))
        names = [name for name in NAMES if name != VERIFIED or config.verify.code]
        for name in names:
            with open_atomic(folder / f"{name}.svg") as handle:
                handle.write((standalone(drawn[name]) if name in drawn else nothing()).encode())
        current.n_in, current.n_out = len(names), len(drawn)
