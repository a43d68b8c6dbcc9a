"""Batches of crystals and their periodic interaction graphs, built on any device without compiled extensions."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from hinpaint.crystal import Crystal

_MAX_REACH = 8


@dataclass(frozen=True)
class Batch:
    """Several crystals, their sites concatenated.

    Attributes:
        lattice: (n_crystals, 3, 3) rows, ångström.
        frac: (n_sites, 3) fractional coordinates.
        numbers: (n_sites,) atomic numbers.
        known: (n_sites,) true for the host.
        crystal: (n_sites,) index of the crystal a site belongs to.
        counts: (n_crystals,) sites of each crystal.
    """

    lattice: Tensor
    frac: Tensor
    numbers: Tensor
    known: Tensor
    crystal: Tensor
    counts: Tensor

    @classmethod
    def build(cls, crystals: list[Crystal], device: torch.device | str = "cpu") -> Self:
        """Concatenate crystals in single precision; coordinates are wrapped into the cell."""
        from ase.data import atomic_numbers

        counts = torch.tensor([c.n_sites for c in crystals], device=device)
        numbers = [atomic_numbers[s] for c in crystals for s in c.species]
        frac = np.concatenate([c.frac for c in crystals])
        return cls(
            lattice=torch.tensor(np.stack([c.lattice for c in crystals]), dtype=torch.float32, device=device),
            frac=torch.tensor(frac - np.floor(frac), dtype=torch.float32, device=device),
            numbers=torch.tensor(numbers, device=device),
            known=torch.tensor(np.concatenate([c.known for c in crystals]), device=device),
            crystal=torch.repeat_interleave(torch.arange(len(crystals), device=device), counts),
            counts=counts,
        )

    def with_frac(self, frac: Tensor) -> Self:
        """Return the same batch with other fractional coordinates, (n_sites, 3)."""
        return replace(self, frac=frac)

    @property
    def n_crystals(self) -> int:
        """Number of crystals."""
        return self.lattice.shape[0]


@dataclass(frozen=True)
class Graph:
    """Symmetric interaction graph with its triplets.

    Edges come in pairs: edge ``e`` of the first half and ``e + n_edges / 2`` are the two directions of one bond.

    Attributes:
        source: (n_edges,) site the message comes from.
        target: (n_edges,) site it goes to.
        distance: (n_edges,) ångström.
        direction: (n_edges, 3) unit vector from source to target.
        swap: (n_edges,) index of the opposite edge.
        triplet_in: (n_triplets,) edge b->a of each triplet b->a<-c.
        triplet_out: (n_triplets,) edge c->a, sorted.
        triplet_slot: (n_triplets,) number of the triplet among those of the same ``triplet_out``.
    """

    source: Tensor
    target: Tensor
    distance: Tensor
    direction: Tensor
    swap: Tensor
    triplet_in: Tensor
    triplet_out: Tensor
    triplet_slot: Tensor


def build_graph(batch: Batch, cutoff: float, max_neighbors: int) -> Graph:
    """Connect every site to its nearest periodic neighbours.

    A bond is kept when it is among the ``max_neighbors`` nearest of either end, so the graph is symmetric and does not
    depend on the order of sites.

    Args:
        batch: crystals.
        cutoff: largest distance, ångström.
        max_neighbors: neighbours per site that are kept for sure.

    Returns:
        The graph; a crystal without any bond within the cutoff simply has none.
    """
    first, second, vector = _half_pairs(batch, cutoff)
    distance = vector.norm(dim=1)
    keep = _nearest_of_either_end(first, second, distance, max_neighbors, batch.frac.shape[0])
    first, second, vector, distance = first[keep], second[keep], vector[keep], distance[keep]
    n_half = first.numel()
    half = torch.arange(n_half, device=first.device)
    direction = vector / distance[:, None].clamp_min(1e-6)
    target = torch.cat([second, first])
    triplets = _triplets(target, batch.frac.shape[0])
    return Graph(
        source=torch.cat([first, second]),
        target=target,
        distance=torch.cat([distance, distance]),
        direction=torch.cat([direction, -direction]),
        swap=torch.cat([half + n_half, half]),
        triplet_in=triplets[0],
        triplet_out=triplets[1],
        triplet_slot=triplets[2],
    )


def _half_pairs(batch: Batch, cutoff: float) -> tuple[Tensor, Tensor, Tensor]:
    """All bonds within the cutoff, each once: sites i <= j and the vector from i to the image of j."""
    i, j = _site_pairs(batch)
    crystal = batch.crystal[i]
    delta = batch.frac[j] - batch.frac[i]
    delta = delta - delta.round()
    reach = _reach(batch.lattice, cutoff)
    shifts, shift_crystal = _shifts(reach)
    # Pair every site pair with every translation its crystal needs.
    n_shifts = torch.bincount(shift_crystal, minlength=batch.n_crystals)
    start = torch.cumsum(n_shifts, 0) - n_shifts
    repeats = n_shifts[crystal]
    pair = torch.repeat_interleave(torch.arange(i.numel(), device=i.device), repeats)
    slot = torch.arange(pair.numel(), device=i.device) - torch.repeat_interleave(
        torch.cumsum(repeats, 0) - repeats, repeats
    )
    shift = shifts[start[crystal[pair]] + slot]
    vector = torch.einsum("ni,nij->nj", delta[pair] + shift, batch.lattice[crystal[pair]])
    squared = vector.square().sum(dim=1)
    # A site and its own image: keep one of the two opposite translations.
    same = i[pair] == j[pair]
    later = (shift[:, 0] > 0) | (
        (shift[:, 0] == 0) & ((shift[:, 1] > 0) | ((shift[:, 1] == 0) & (shift[:, 2] > 0)))
    )  # fmt: skip
    keep = (squared <= cutoff * cutoff) & (~same | later)
    return i[pair][keep], j[pair][keep], vector[keep]


def _site_pairs(batch: Batch) -> tuple[Tensor, Tensor]:
    """All pairs i <= j of sites of the same crystal."""
    counts = batch.counts
    offset = torch.cumsum(counts, 0) - counts
    remaining = (offset + counts)[batch.crystal] - torch.arange(batch.frac.shape[0], device=counts.device)
    i = torch.repeat_interleave(torch.arange(batch.frac.shape[0], device=counts.device), remaining)
    start = torch.cumsum(remaining, 0) - remaining
    j = i + torch.arange(i.numel(), device=counts.device) - torch.repeat_interleave(start, remaining)
    return i, j


def _reach(lattice: Tensor, cutoff: float) -> Tensor:
    """Translations along each axis that can bring a folded difference within the cutoff, (n_crystals, 3)."""
    heights = 1.0 / torch.linalg.inv(lattice.double()).norm(dim=1)
    return torch.floor(cutoff / heights + 0.5).long().clamp(max=_MAX_REACH)


def _shifts(reach: Tensor) -> tuple[Tensor, Tensor]:
    """Every integer translation within each crystal's reach, and the crystal it belongs to."""
    most = [int(m) for m in reach.max(dim=0).values]
    axes = [torch.arange(-m, m + 1, device=reach.device) for m in most]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3)
    inside = (grid[None].abs() <= reach[:, None, :]).all(dim=-1)
    crystal, index = inside.nonzero(as_tuple=True)
    return grid[index].float(), crystal


def _nearest_of_either_end(first: Tensor, second: Tensor, distance: Tensor, most: int, n_sites: int) -> Tensor:
    """True for the bonds that rank below ``most`` at one of their ends, (n_bonds,)."""
    n_bonds = first.numel()
    site = torch.cat([first, second])
    # Stable double sort: by distance, then by site, gives each site's bonds in order of distance.
    by_distance = torch.argsort(torch.cat([distance, distance]), stable=True)
    order = by_distance[torch.argsort(site[by_distance], stable=True)]
    counts = torch.bincount(site, minlength=n_sites)
    start = torch.cumsum(counts, 0) - counts
    rank = torch.empty_like(site)
    rank[order] = torch.arange(site.numel(), device=site.device) - start[site[order]]
    near = rank < most
    return near[:n_bonds] | near[n_bonds:]


def _triplets(target: Tensor, n_sites: int) -> tuple[Tensor, Tensor, Tensor]:
    """For every edge c->a all other edges b->a, by index arithmetic."""
    n_edges = target.numel()
    edges = torch.arange(n_edges, device=target.device)
    degree = torch.bincount(target, minlength=n_sites)
    start = torch.cumsum(degree, 0) - degree
    by_target = torch.argsort(target, stable=True)
    position = torch.empty_like(edges)
    position[by_target] = edges - start[target[by_target]]
    others = degree[target] - 1
    out = torch.repeat_interleave(edges, others)
    slot = torch.arange(out.numel(), device=target.device) - torch.repeat_interleave(
        torch.cumsum(others, 0) - others, others
    )
    skipped = slot + (slot >= position[out]).long()
    return by_target[start[target[out]] + skipped], out, slot
