"""A pair potential: real forces and stress in a millisecond, for what must hold whatever the potential."""

import torch

from hinpaint.relaxation.potentials import LoadedPotential, neighbours

_RADII_A = {1: 0.45, 8: 0.8, 12: 1.3}
ELEMENTS = frozenset({"H", "O", "Mg"})


def _pair_energy(distance: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Morse's energy, eV: unlike atoms bind at the sum of their radii, Mg and O firmly, like ones only keep apart."""
    radii = torch.zeros(13, dtype=distance.dtype)
    for number, radius in _RADII_A.items():
        radii[number] = radius
    like = first == second
    decay = torch.exp(-2.0 * (distance - (radii[first] + radii[second]) * torch.where(like, 1.4, 1.0)))
    depth = torch.where((first == 1) | (second == 1), 0.4, 4.0)
    energy = torch.where(like, 0.2 * decay**2, depth * (decay**2 - 2 * decay))
    return torch.where(distance > 0, energy, torch.zeros_like(energy))


def pair_potential(cutoff: float = 5.0) -> LoadedPotential:
    """A crystal of springs and hard cores, by torch-sim; it knows H, O and Mg."""
    from torch_sim.models.pair_potential import PairPotentialModel

    model = PairPotentialModel(_pair_energy, cutoff=cutoff, compute_stress=True, neighbor_list_fn=neighbours)
    return LoadedPotential("pairs", "0" * 64, model, torch.float64, torch.device("cpu"), ELEMENTS)
