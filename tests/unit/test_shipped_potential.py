"""The NequIP model that ships: its card, its hash, and a relaxation with it."""

import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from hinpaint.config import parse_config, stage_settings
from hinpaint.crystal import Crystal
from hinpaint.distillation.appraisal import may_be_default
from hinpaint.files import sha256_file
from hinpaint.relaxation import canary
from hinpaint.relaxation.batch import RelaxJob
from hinpaint.relaxation.engine import relax
from hinpaint.relaxation.potentials import LoadedPotential, PotentialError, load_potential
from hinpaint.relaxing import Potential, Relax
from hinpaint.shipped import POTENTIALS, potential_card, potential_files

pytestmark = pytest.mark.parametrize("name", POTENTIALS)


@pytest.fixture(scope="module")
def shipped() -> LoadedPotential:
    return load_potential(Potential(name="nequip-small"))


def _smallest_of_the_demonstration() -> Crystal:
    """A structure of the demonstration with its hydrogen displaced by about 0.1 Å."""
    lines = Path("examples/mc3d/structures.jsonl").read_text().splitlines()
    rows = [row["attributes"] for row in map(json.loads, lines) if row.get("type") == "structures"]
    row = min((row for row in rows if "H" in row["elements"]), key=lambda row: row["nsites"])
    lattice = np.array(row["lattice_vectors"])
    species = row["species_at_sites"]
    positions = np.array(row["cartesian_site_positions"])
    hydrogen = np.array([symbol == "H" for symbol in species])
    positions[hydrogen] += 0.06
    return Crystal.build(lattice, species, positions @ np.linalg.inv(lattice), known=~hydrogen)


def test_card_says_what_it_is_and_how_good(name: str) -> None:
    package, _ = potential_files(name)
    card = potential_card(name)
    assert card["sha256"] == sha256_file(package)
    assert card["bytes"] == package.stat().st_size <= 16 * 2**20
    assert len(card["teacher"]["sha256"]) == 64
    assert {"elements", "settings", "labels", "steps", "cpu_s", "versions", "hardware", "why"} <= card.keys()
    measured = card["measured"]
    assert {"verdicts", "hydrogen_h_only", "held_out", "speed"} <= measured.keys()
    able, why = may_be_default(measured["verdicts"], measured["hydrogen_h_only"]["median_distance_a"])
    assert (card["default"], card["why"]) == (able, why)
    assert able or Potential().name != name


def test_its_answers_are_recorded(name: str, shipped: LoadedPotential, tmp_path: Path) -> None:
    assert len(canary.check(shipped, tmp_path / "record.json")) == 16
    assert not (tmp_path / "record.json").exists()  # which the first check of an unknown potential writes


def test_package_holds_no_path_of_its_maker(name: str) -> None:
    with zipfile.ZipFile(potential_files(name)[0]) as package:
        for member in package.namelist():
            assert not re.search(rb"/(?:home|root|work|tmp|Users)/", package.read(member)), member


def test_it_loads_by_name_and_relaxes(name: str, shipped: LoadedPotential) -> None:
    assert shipped.name == name
    assert shipped.sha256 == potential_card(name)["sha256"]
    assert shipped.elements == set(potential_card(name)["elements"])
    start = _smallest_of_the_demonstration()
    job = RelaxJob(("x", 0), start, ~start.known)
    settings = Relax(fmax_ev_per_a=0.1)
    [outcome] = relax(shipped, [job], settings, "h_only")
    assert outcome.reason is None
    assert outcome.energy_ev is not None
    assert outcome.energy_start_ev is not None
    assert outcome.energy_ev <= outcome.energy_start_ev
    assert np.array_equal(outcome.crystal.frac[start.known], start.frac[start.known])


def test_it_passes_the_canary(name: str, shipped: LoadedPotential) -> None:
    assert canary.check(shipped)


def test_it_knows_the_elements_of_the_demonstration(name: str) -> None:
    text = " ".join(path.read_text() for path in Path("examples").rglob("*.cif"))
    formulas = " ".join(re.findall(r"_chemical_formula_sum\s+'?([^'\n]+)", text))
    elements = set(re.findall(r"[A-Z][a-z]?", formulas)) - {"D"}
    assert elements
    assert elements <= set(potential_card(name)["elements"])


def test_other_weights_make_relaxations_stale(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = {"database": "x", "version": "1", "format": "cif", "path": str(tmp_path), "licence": "CC0-1.0", "mode": "benchmark"}  # fmt: skip  # noqa: E501
    config = parse_config({"run": "x", "sources": [source], "potential": name})
    before = stage_settings(config, "relax")
    card = {**potential_card(name), "sha256": "0" * 64}
    monkeypatch.setattr("hinpaint.config.potential_card", lambda _name: card)
    assert stage_settings(config, "relax") != before
    monkeypatch.setattr("hinpaint.relaxation.potentials.potential_card", lambda _name: card)
    with pytest.raises(PotentialError, match="it was not opened"):
        load_potential(Potential(name=name))
