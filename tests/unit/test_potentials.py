import sys
from pathlib import Path

import pytest
import torch

from hinpaint.crystal import Crystal
from hinpaint.files import sha256_file
from hinpaint.relaxation import potentials
from hinpaint.relaxation.batch import crystal_state
from hinpaint.relaxation.potentials import LoadedPotential, PotentialError, check_sha256, load_potential
from hinpaint.relaxing import Potential


@pytest.fixture(scope="module")
def sevennet() -> LoadedPotential:
    return load_potential(Potential(name="sevennet-0"))


def _nequip(path: Path, sha256: str | None) -> Potential:
    return Potential.model_construct(name="nequip", path=path, model_id=None, sha256=sha256)


def test_sevennet_knows_its_elements(sevennet: LoadedPotential) -> None:
    assert sevennet.knows(["H", "O", "Mg", "U"])
    assert not sevennet.knows(["H", "Og"])
    assert len(sevennet.elements) == 89
    assert len(sevennet.sha256) == 64
    assert not any(parameter.requires_grad for parameter in sevennet.model.parameters())


def _unchecked(**values: object) -> Potential:
    """Settings that the configuration would have refused: the loader refuses them too."""
    defaults = Potential().model_dump()
    return Potential.model_construct(**{**defaults, **values})


def test_unknown_name_is_one_clear_line() -> None:
    with pytest.raises(PotentialError, match=r"no potential 'chgnet'; the potentials are sevennet-0"):
        load_potential(_unchecked(name="chgnet"))


def test_sevennet_refuses_other_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(potentials._SEVENNET_FILES, "sevennet-0", ("SEVENNET_0_11Jul2024", "0" * 64))
    with pytest.raises(PotentialError, match="it was not opened"):
        load_potential(Potential(name="sevennet-0"))


def test_sevennet_takes_no_path(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(PotentialError, match="takes neither path"):
        load_potential(_unchecked(name="sevennet-0", path=tmp_path / "a", sha256="0" * 64))


def test_a_file_is_not_opened_before_its_hash_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "model.nequip.zip"
    file.write_bytes(b"not a model")
    monkeypatch.setattr(torch.package, "PackageImporter", lambda *_a, **_k: pytest.fail("the file was opened"))
    with pytest.raises(PotentialError, match="expected 0000"):
        load_potential(_nequip(file, "0" * 64))
    with pytest.raises(PotentialError, match=f"set potential.sha256; .* {sha256_file(file)}"):
        load_potential(_nequip(file, None))


@pytest.mark.parametrize("name", ["model.nequip.zip", "model.nequip.pt2", "model.nequip.pth"])
def test_a_damaged_model_is_one_clear_line(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(b"not a model")
    with pytest.raises(PotentialError, match="does not load"):
        load_potential(_nequip(file, sha256_file(file)))


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.pkl"
    file.write_bytes(b"not a model")
    with pytest.raises(PotentialError, match=r"must end in one of .nequip.zip"):
        load_potential(_nequip(file, sha256_file(file)))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(PotentialError, match="does not exist"):
        check_sha256(tmp_path / "absent", "0" * 64)


def test_cells_denser_than_the_fast_neighbour_list_expects_still_work(sevennet: LoadedPotential) -> None:
    dense = Crystal.build([[1.5, 0, 0], [0, 1.5, 0], [0, 0, 1.5]], ["H"], [[0, 0, 0]])  # 0.3 sites per Å³
    output = sevennet.model(crystal_state(sevennet, [dense]))
    assert torch.isfinite(output["energy"]).all()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_gpu_that_is_not_there() -> None:
    with pytest.raises(PotentialError, match="sees no GPU"):
        load_potential(Potential(), "cuda")


@pytest.mark.parametrize(("name", "package"), [("mace", "mace-torch"), ("mattersim", "mattersim")])
def test_a_library_that_is_not_there_is_one_clear_line(
    name: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    file = tmp_path / "weights"
    file.write_bytes(b"not a model")
    with pytest.raises(PotentialError, match=f"potential {name} needs a library .* pip install {package}"):
        load_potential(Potential(name=name, path=file, sha256=sha256_file(file)))
    with pytest.raises(PotentialError, match="expected 0000"):
        load_potential(Potential(name=name, path=file, sha256="0" * 64))
    with pytest.raises(ValueError, match="needs path"):
        Potential(name=name)
