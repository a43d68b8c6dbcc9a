"""Interatomic potentials behind one interface: a name in the configuration becomes a torch-sim model.

Weights are files that can run code when they are read (SevenNet checkpoints are pickles, NequIP packages hold Python
source, compiled models hold machine code). So no file is opened before its SHA-256 is the one expected: from the
table below for weights inside a wheel, from the configuration for everything else.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hinpaint.files import sha256_file
from hinpaint.relaxing import Potential
from hinpaint.shipped import POTENTIALS, potential_card, potential_files

# Name -> (constant in sevenn._const that holds the path, SHA-256 of the file in the sevenn wheel).
_SEVENNET_FILES = {
    "sevennet-0": ("SEVENNET_0_11Jul2024", "7052cb42b7b3be42b40b97fa0d21077a48c54b5548948fc4dcf346629f813c36"),
    "sevennet-l3i5": ("SEVENNET_l3i5", "a7ff190d41efe5b8317a03d20a468e4036a1a3e64e0b14fdbab64ac3f4bfc09d"),
}
_PACKAGE_SUFFIX = ".nequip.zip"
_COMPILED_SUFFIXES = (".nequip.pt2", ".nequip.pth")
# The batched neighbour list guesses how many neighbours a site has and refuses dense, hydrogen-rich cells at its
# default. 0.4 sites/Å³ (twice the density of solid methane under pressure) in 7 Å are 575.
_MAX_NEIGHBOURS = 640


class PotentialError(Exception):
    """A potential cannot be used. The message is one line that says what to change."""


@dataclass(frozen=True)
class LoadedPotential:
    """A potential that is ready to evaluate batches.

    Attributes:
        name: name in the configuration.
        sha256: SHA-256 of the weights file.
        model: a ``torch_sim.models.interface.ModelInterface``: energy (eV), forces (eV/Å), stress (eV/Å³) of a state.
        dtype: floating-point type of the states the model takes.
        device: where it computes.
        elements: symbols of the elements it was trained on.
    """

    name: str
    sha256: str
    model: Any
    dtype: torch.dtype
    device: torch.device
    elements: frozenset[str]

    def knows(self, species: Iterable[str]) -> bool:
        """Tell whether every element of ``species`` is one the potential was trained on."""
        return self.elements.issuperset(species)


def load_potential(settings: Potential, device: str | torch.device = "cpu") -> LoadedPotential:
    """Load the potential that the configuration names.

    Args:
        settings: the ``potential`` block.
        device: ``cpu``, ``cuda`` or ``cuda:0``.

    Raises:
        PotentialError: the name is unknown, the file is absent, its SHA-256 is another one, or it does not load.
    """
    loaders: dict[str, Callable[[Potential, torch.device], LoadedPotential]] = {
        **dict.fromkeys(_SEVENNET_FILES, _load_sevennet),
        **dict.fromkeys((*POTENTIALS, "nequip"), _load_nequip),
        "mace": _load_extra,
        "mattersim": _load_extra,
    }
    loader = loaders.get(settings.name)
    if loader is None:
        raise PotentialError(f"there is no potential {settings.name!r}; the potentials are {', '.join(loaders)}")
    target = torch.device(device)
    if target.type == "cuda" and not torch.cuda.is_available():
        raise PotentialError("device cuda was asked for, but torch sees no GPU here; use cpu")
    with warnings.catch_warnings(), _default_dtype(torch.float32):
        # Both libraries warn about their own use of deprecated torch functions, which no user can act on.
        warnings.simplefilter("ignore")
        loaded = loader(settings, target)
    loaded.model.requires_grad_(requires_grad=False)
    return loaded


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Set torch's default type and put the former one back: nequip changes it for good, and sevenn then cannot load."""
    former = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(former)


def check_sha256(path: Path, expected: str) -> str:
    """Compare a file's SHA-256 with the expected one, before anything opens the file.

    Returns:
        The SHA-256 in hexadecimal.

    Raises:
        PotentialError: the file is absent or another one.
    """
    if not path.is_file():
        raise PotentialError(f"potential: {path} does not exist")
    found = sha256_file(path)
    if found != expected:
        raise PotentialError(f"potential: {path} has SHA-256 {found}, expected {expected}; it was not opened")
    return found


def _load_sevennet(settings: Potential, device: torch.device) -> LoadedPotential:
    """Load SevenNet weights that ship with sevenn (Park et al., J. Chem. Theory Comput. 2024, 20, 4857)."""
    if settings.path is not None or settings.model_id is not None:
        raise PotentialError(f"potential {settings.name} takes neither path nor model_id; its weights ship with sevenn")
    from ase.data import chemical_symbols
    from sevenn import _const
    from torch_sim.models.sevennet import SevenNetModel

    constant, expected = _SEVENNET_FILES[settings.name]
    path = Path(getattr(_const, constant))
    # The checkpoint is a pickle that weights_only refuses (it holds its training configuration): hence the fixed hash.
    sha256 = check_sha256(path, settings.sha256 or expected)
    if sha256 != expected:
        raise PotentialError(
            f"potential {settings.name}: SHA-256 {sha256} is not the file this version was tested with"
        )
    try:
        model = SevenNetModel(str(path), device=device, dtype=torch.float32, neighbor_list_fn=neighbours)
    except (RuntimeError, ValueError, KeyError, AssertionError) as error:
        raise PotentialError(f"potential {settings.name} does not load: {_first_line(error)}") from error
    elements = frozenset(chemical_symbols[number] for number in model.type_map)
    return LoadedPotential(settings.name, sha256, model, torch.float32, device, elements)


def neighbours(*arguments: Any, **options: Any) -> Any:
    """Find neighbours with torch-sim's fastest list; a cell too dense for its fixed size goes to the pure torch one."""
    from torch_sim.neighbors import torch_nl_linked_cell, torchsim_nl

    try:
        return torchsim_nl(*arguments, **options)
    except Exception as error:
        if type(error).__name__ != "NeighborOverflowError":  # of a library that torch-sim can do without
            raise
        return torch_nl_linked_cell(*arguments, **options)


def _load_nequip(settings: Potential, device: torch.device) -> LoadedPotential:
    """Load a NequIP-framework model (Batzner et al., Nat. Commun. 2022, 13, 2453), packaged or compiled."""
    path, chosen = package_of(settings)
    sha256 = check_sha256(path, chosen)
    from nequip.integrations.torchsim import NequIPTorchSimCalc

    # Packages run eagerly: they work on every device and torch version. Compiled files are faster on GPUs, but are
    # bound to torch and GPU architecture, and must come from `nequip-compile --target batch`: other targets treat a
    # batch as one system. The canary finds those.
    if path.name.endswith(_PACKAGE_SUFFIX):
        load = NequIPTorchSimCalc._from_saved_model  # noqa: SLF001 - nequip has no public eager loader for torch-sim
    elif path.name.endswith(_COMPILED_SUFFIXES):
        load = NequIPTorchSimCalc.from_compiled_model
    else:
        expected = ", ".join((_PACKAGE_SUFFIX, *_COMPILED_SUFFIXES))
        raise PotentialError(f"potential nequip: {path.name} must end in one of {expected}")
    try:
        # The torch-based neighbour list is the one that handles a batch at once, on either device.
        model = load(
            path,
            device=device,
            chemical_species_to_atom_type_map=True,
            neighborlist_backend="alchemiops",
            neighborlist_backend_kwargs={"max_neighbors": _MAX_NEIGHBOURS},
        )
    except Exception as error:  # a file of another kind fails in as many ways as there are readers
        raise PotentialError(f"potential nequip: {path} does not load: {_first_line(error)}") from error
    return LoadedPotential(settings.name, sha256, model, torch.float64, device, _nequip_elements(model))


def package_of(settings: Potential) -> tuple[Path, str]:
    """Path and expected SHA-256 of a NequIP package, of one that ships or of the user's.

    Raises:
        PotentialError: it cannot be fetched, or the configuration does not name its hash.
    """
    if settings.name in POTENTIALS:
        return potential_files(settings.name)[0], str(potential_card(settings.name)["sha256"])
    path = _nequip_file(settings)
    if settings.sha256 is None:
        # A download is code from the network too. We name the hash we saw, so that the user can decide and pin it.
        raise PotentialError(f"potential nequip: set potential.sha256; the file at {path} has {sha256_file(path)}")
    return path, settings.sha256


def _load_extra(settings: Potential, device: torch.device) -> LoadedPotential:
    """Load weights of a library that hinpaint does not install."""
    from hinpaint.relaxation.extras import load_extra

    if settings.path is None or settings.sha256 is None:
        raise PotentialError(f"potential {settings.name} needs path and sha256 of its weights")
    return load_extra(settings.name, settings.path, check_sha256(settings.path, settings.sha256), device)


def _nequip_file(settings: Potential) -> Path:
    if settings.path is not None:
        return settings.path
    if settings.model_id is None:
        raise PotentialError("potential nequip needs either path or model_id")
    from nequip.model.saved_models.load_utils import _get_model_file_path

    identifier = settings.model_id if settings.model_id.startswith("nequip.net:") else f"nequip.net:{settings.model_id}"
    try:
        with _get_model_file_path(identifier) as path:  # downloads into nequip's cache, opens nothing
            return Path(path)
    except Exception as error:
        raise PotentialError(f"potential nequip: {identifier} cannot be fetched: {_first_line(error)}") from error


def _nequip_elements(model: Any) -> frozenset[str]:
    from ase.data import atomic_numbers
    from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper

    for transform in model.transforms:
        if isinstance(transform, ChemicalSpeciesToAtomTypeMapper):
            names = frozenset(transform.model_type_names)
            break
    else:
        raise PotentialError("potential nequip: the file does not name its atom types")
    if strange := sorted(names - atomic_numbers.keys()):
        raise PotentialError(f"potential nequip: atom types {', '.join(strange)} are not element symbols")
    return names


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
