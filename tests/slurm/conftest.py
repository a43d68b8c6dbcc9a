"""One Slurm and one undisturbed run for all tests of this folder."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_cluster import Cluster, ClusterError
from slurm_run import SlurmRun, make_run


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A real Slurm; where it cannot start, tests are skipped, or fail when HINPAINT_NEEDS_SLURM is set, as CI does."""
    folder = Path(tempfile.mkdtemp(prefix="hinpaint-slurm-"))
    folder.chmod(0o755)  # the daemons refuse sockets in folders that others cannot enter
    slurm = Cluster(folder)
    try:
        try:
            slurm.start()
        except ClusterError as error:
            (pytest.fail if os.environ.get("HINPAINT_NEEDS_SLURM") else pytest.skip)(f"Slurm cannot start: {error}")
        yield slurm
    finally:
        slurm.stop()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> SlurmRun:
    """The tiny database, run to its release with the local profile and no fault."""
    run = make_run(tmp_path_factory.mktemp("undisturbed") / "run")
    run.locally()
    return run
