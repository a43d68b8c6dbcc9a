"""Potentials of libraries that hinpaint does not install: MACE and MatterSim, through their own torch-sim wrappers.

MACE pins another e3nn than NequIP, and MatterSim brings a hundred packages more; where a user has one of them in the
environment, its weights are used like any other file.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from hinpaint.relaxation.potentials import LoadedPotential, PotentialError

PACKAGES = {"mace": "mace-torch", "mattersim": "mattersim"}
"""Name in the configuration -> what has to be installed."""


def load_extra(name: str, path: Path, sha256: str, device: torch.device) -> LoadedPotential:
    """Load weights of an optional library.

    Args:
        name: ``mace`` or ``mattersim``.
        path: file of the weights; its hash has been checked.
        sha256: that hash.
        device: where to compute.

    Raises:
        PotentialError: the library is not installed, or the file does not load.
    """
    try:
        with _installed(name):
            return {"mace": _mace, "mattersim": _mattersim}[name](path, sha256, device)
    except PotentialError:
        raise
    except Exception as error:  # a file of another kind fails in as many ways as there are readers
        message = " ".join(str(error).split())[:300] or type(error).__name__
        raise PotentialError(f"potential {name}: {path} does not load: {message}") from error


@contextmanager
def _installed(name: str) -> Iterator[None]:
    """Turn a library that is not there into the one message about it."""
    try:
        yield
    except ImportError as error:
        raise PotentialError(
            f"potential {name} needs a library that is not installed: pip install {PACKAGES[name]} ({error})"
        ) from error


def _mace(path: Path, sha256: str, device: torch.device) -> LoadedPotential:
    """MACE (Batatia et al., NeurIPS 2022) in double precision."""
    from ase.data import chemical_symbols
    from mace.calculators.mace_torchsim import MaceTorchSimModel

    model = MaceTorchSimModel(path, device=device, dtype=torch.float64, compute_forces=True, compute_stress=True)
    elements = frozenset(chemical_symbols[number] for number in model.z_table.zs)
    return LoadedPotential("mace", sha256, model, torch.float64, device, elements)


def _mattersim(path: Path, sha256: str, device: torch.device) -> LoadedPotential:
    """MatterSim (Yang et al., arXiv 2405.04967); it knows the elements up to the largest number of its embedding."""
    from ase.data import chemical_symbols
    from mattersim.forcefield.potential import Potential
    from mattersim.torchsim import TorchSimWrapper

    model = TorchSimWrapper(
        Potential.from_checkpoint(load_path=str(path), device=str(device)), device=device, dtype=torch.float32
    )
    largest = int(model.model.model.model_args["max_z"])
    return LoadedPotential(
        "mattersim", sha256, model, torch.float32, device, frozenset(chemical_symbols[1 : largest + 1])
    )
