"""Real DFT codes, as Debian packages them; without one, tests skip, or fail if HINPAINT_NEEDS_DFT is set."""

import os
import shutil
from pathlib import Path

import pytest

from hinpaint.dft import Verify
from hinpaint.verification.backends import Backend, VerifyError, load_backend

PSEUDOS = Path("/usr/share/espresso/pseudo")


def absent(message: str) -> None:
    (pytest.fail if os.environ.get("HINPAINT_NEEDS_DFT") else pytest.skip)(message)


@pytest.fixture(scope="session")
def gpaw(tmp_path_factory: pytest.TempPathFactory) -> Backend:
    backend = load_backend(Verify(code="gpaw"), 1)
    try:
        backend.installed(tmp_path_factory.mktemp("gpaw"))
    except VerifyError as error:
        absent(str(error))
    return backend


@pytest.fixture(scope="session")
def pseudos() -> Path:
    """Folder of Debian's pseudopotentials, beside a pw.x."""
    if shutil.which("pw.x") is None or not (PSEUDOS / "H.pbe-kjpaw.UPF").is_file():
        absent("Quantum ESPRESSO and its pseudopotentials are not installed")
    return PSEUDOS
