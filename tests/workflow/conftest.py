"""The real workflow on a tiny database, run once for all tests."""

import shutil
from pathlib import Path

import pytest
from workspace import Workspace, make_workspace


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The workflow, run to its release."""
    workspace = make_workspace(tmp_path_factory.mktemp("tiny"))
    workspace.snakemake()
    return workspace


@pytest.fixture
def workspace(finished: Workspace, tmp_path: Path) -> Workspace:
    """A copy of the finished folder, with file times kept, for tests that change it."""
    shutil.copytree(finished.folder, tmp_path / "w", symlinks=True)
    return Workspace(tmp_path / "w")
