from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from cheap_potential import pair_potential

from hinpaint.relaxation import canary
from hinpaint.relaxation.potentials import LoadedPotential, PotentialError, load_potential
from hinpaint.relaxing import Potential


@pytest.fixture(scope="module")
def sevennet() -> LoadedPotential:
    return load_potential(Potential(name="sevennet-0"))


@pytest.fixture
def perturbed(sevennet: LoadedPotential) -> Iterator[LoadedPotential]:
    before = {name: value.clone() for name, value in sevennet.model.state_dict().items()}
    with torch.no_grad():
        for parameter in sevennet.model.parameters():
            parameter.mul_(1.01)
    yield sevennet
    sevennet.model.load_state_dict(before)


class _Wrong(torch.nn.Module):
    """A model whose output is passed through a function."""

    def __init__(self, model: Any, spoil: Any) -> None:
        super().__init__()
        self.model, self.spoil = model, spoil

    def forward(self, state: Any) -> dict[str, torch.Tensor]:
        return self.spoil(self.model(state))


def _wrong(potential: LoadedPotential, spoil: Any) -> LoadedPotential:
    return replace(potential, model=_Wrong(potential.model, spoil))


def test_the_shipped_weights_pass(sevennet: LoadedPotential) -> None:
    assert len(canary.check(sevennet)) == 16


def test_weights_off_by_one_percent_are_caught(perturbed: LoadedPotential) -> None:
    with pytest.raises(PotentialError, match="weights or the batching"):
        canary.check(perturbed)


def test_a_model_that_adds_up_the_batch_is_caught(sevennet: LoadedPotential) -> None:
    def add_up(output: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {**output, "energy": output["energy"].sum(0, keepdim=True)}

    with pytest.raises(PotentialError, match="does not treat a batch as separate systems"):
        canary.check(_wrong(sevennet, add_up))


def test_a_model_that_shares_the_energy_out_is_caught(sevennet: LoadedPotential) -> None:
    def share(output: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {**output, "energy": output["energy"].mean().expand_as(output["energy"])}

    with pytest.raises(PotentialError, match="batching"):
        canary.check(_wrong(sevennet, share))


@pytest.mark.parametrize(
    ("key", "factor"),
    [
        ("forces", 1.2),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in (("forces", -1.0), ("stress", -1.0), ("stress", 2.0))
        ),
    ],
)
def test_forces_and_stress_that_are_not_the_slope_are_caught(
    sevennet: LoadedPotential, key: str, factor: float
) -> None:
    def scale(output: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {**output, key: output[key] * factor}

    few = replace(_wrong(sevennet, scale), elements=frozenset({"Mg", "O", "H"}), name="other")
    with pytest.raises(PotentialError, match=f"{key} are not the slope"):
        canary.check(few)


def test_a_model_that_raises_or_returns_nan_is_caught(sevennet: LoadedPotential) -> None:
    def nan(output: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {**output, "energy": output["energy"] * float("nan")}

    with pytest.raises(PotentialError, match="energy nan"):
        canary.check(_wrong(sevennet, nan))
    with pytest.raises(PotentialError, match="fails on a batch"):
        canary.check(_wrong(sevennet, lambda _output: {}["absent"]))


def test_forces_are_compared_with_the_recorded_ones(sevennet: LoadedPotential) -> None:
    def turn(output: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {**output, "forces": output["forces"] * 1.01}

    with pytest.raises(PotentialError, match=r"forces of .* eV/Å together, expected"):
        canary.check(_wrong(sevennet, turn))


def test_a_potential_of_ones_own_must_say_what_it_said_first(tmp_path: Path) -> None:
    own = pair_potential()
    first = canary.check(own, tmp_path)
    (path,) = tmp_path.iterdir()
    assert path.name == f"{own.sha256}.json"
    assert canary.check(own, tmp_path) == first
    shifted = _wrong(own, lambda output: {**output, "energy": output["energy"] + 0.01})
    canary.check(shifted)  # nothing tells it apart, but for what the first job found
    with pytest.raises(PotentialError, match=r"energy .* expected"):
        canary.check(shifted, tmp_path)
    path.write_text("{}")
    with pytest.raises(PotentialError, match="delete it"):
        canary.check(own, tmp_path)


@pytest.mark.parametrize("elements", [{"H", "O"}, {"Fe", "H"}, {"Si"}, {"Ar", "Kr", "Xe"}])
def test_potentials_of_few_elements_are_checked_on_structures_of_theirs(
    sevennet: LoadedPotential, elements: set[str]
) -> None:
    few = replace(sevennet, elements=frozenset(elements), name="other")
    crystals = canary.structures(few)
    assert len(crystals) == 16
    assert all(few.knows(crystal.species) for crystal in crystals.values())
    canary.check(few)
