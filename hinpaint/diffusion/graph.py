"""Batches of crystals and their periodic interaction graphs, built on any device without compiled extensions."""

from dataclasses import dataclass, fields, replace
from typing import Literal, Self

import numpy as np
import torch
from torch import Tensor

from hinpaint.crystal import Crystal

Selection = Literal["either_end", "second_end"]
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

    def to(self, device: torch.device | str) -> Self:
        """Return the same batch on a device."""
        return type(self)(**{each.name: getattr(self, each.name).to(device) for each in fields(self)})

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


@dataclass(frozen=True)
class Neighbourhood:
    """What stays the same about a batch's bonds while its unknown sites move.

    The host never moves, so its bonds are found once; so are those between a site and its own images. Of all other
    pairs, the translations to look at are known beforehand.

    Attributes:
        fixed_first: (n_fixed,) first site of each bond that never changes.
        fixed_second: (n_fixed,) its second site.
        fixed_vector: (n_fixed, 3) from the first to the image of the second, ångström.
        first: (n_pairs,) first site of each pair in which a site moves.
        second: (n_pairs,) its second site, later than the first.
        row: (n_images,) pair that each image to look at belongs to.
        translation: (n_images, 3) lattice translation of the image, ångström.
        cutoff: largest distance, ångström.
    """

    fixed_first: Tensor
    fixed_second: Tensor
    fixed_vector: Tensor
    first: Tensor
    second: Tensor
    row: Tensor
    translation: Tensor
    cutoff: float

    @classmethod
    def of(cls, batch: Batch, cutoff: float, moving: Tensor) -> Self:
        """Find what is fixed.

        Args:
            batch: crystals; only the coordinates of sites that stay matter.
            cutoff: largest distance, ångström.
            moving: (n_sites,) true for sites that will move.
        """
        i, j = _site_pairs(batch)
        moves = (moving[i] | moving[j]) & (i != j)
        first, second = i[moves], j[moves]
        row, shift = _images(batch, first, cutoff)
        translation = torch.einsum("ni,nij->nj", shift, batch.lattice[batch.crystal[first[row]]])
        still_i, still_j = i[~moves], j[~moves]
        still_row, still_shift = _images(batch, still_i, cutoff)
        vector = torch.einsum(
            "ni,nij->nj",
            _folded(batch, still_i, still_j)[still_row] + still_shift,
            batch.lattice[batch.crystal[still_i[still_row]]],
        )
        # A site and its own image: keep one of the two opposite translations.
        axis = still_shift[:, 0], still_shift[:, 1], still_shift[:, 2]
        later = (axis[0] > 0) | ((axis[0] == 0) & ((axis[1] > 0) | ((axis[1] == 0) & (axis[2] > 0))))
        keep = (vector.square().sum(dim=1) <= cutoff * cutoff) & ((still_i != still_j)[still_row] | later)
        kept = still_row[keep]
        return cls(still_i[kept], still_j[kept], vector[keep], first, second, row, translation, cutoff)

    def bonds(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """All bonds within the cutoff, each once: sites i <= j and the vector from i to the image of j."""
        between = torch.einsum(
            "ni,nij->nj", _folded(batch, self.first, self.second), batch.lattice[batch.crystal[self.first]]
        )
        vector = between[self.row] + self.translation
        near = (vector.square().sum(dim=1) <= self.cutoff * self.cutoff).nonzero().squeeze(1)
        row = self.row[near]
        return (
            torch.cat([self.fixed_first, self.first[row]]),
            torch.cat([self.fixed_second, self.second[row]]),
            torch.cat([self.fixed_vector, vector[near]]),
        )


def build_graph(
    batch: Batch, cutoff: float, max_neighbors: int, selection: Selection = "either_end",
    neighbourhood: Neighbourhood | None = None,
) -> Graph:  # fmt: skip
    """Connect every site to its nearest periodic neighbours.

    With ``either_end`` a bond is kept when it is among the ``max_neighbors`` nearest of either end, so the graph is
    symmetric and does not depend on the order of sites. MatterGen asks only the end that comes later in the order of
    sites (``second_end``), which weights trained with it expect.

    Args:
        batch: crystals.
        cutoff: largest distance, ångström.
        max_neighbors: neighbours per site that are kept for sure.
        selection: which end of a bond decides whether it is kept.
        neighbourhood: what is known of the batch's bonds; without it every site may have moved.

    Returns:
        The graph; a crystal without any bond within the cutoff simply has none.
    """
    if neighbourhood is None:
        neighbourhood = Neighbourhood.of(batch, cutoff, torch.ones_like(batch.known))
    first, second, vector = neighbourhood.bonds(batch)
    distance = vector.norm(dim=1)
    near = _among_nearest(first, second, distance, max_neighbors, batch.frac.shape[0])
    keep = near[0] | near[1] if selection == "either_end" else near[1]
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


def _folded(batch: Batch, first: Tensor, second: Tensor) -> Tensor:
    """Fractional difference of each pair of sites, each component at most one half, (n_pairs, 3)."""
    delta = batch.frac[second] - batch.frac[first]
    return delta - delta.round()


def _images(batch: Batch, site: Tensor, cutoff: float) -> tuple[Tensor, Tensor]:
    """Pair every pair of sites, given by its first site, with every translation that its crystal needs.

    Returns:
        (n_images,) number of the pair and (n_images, 3) integer translations.
    """
    crystal = batch.crystal[site]
    shifts, shift_crystal = _shifts(_reach(batch.lattice, cutoff))
    n_shifts = torch.bincount(shift_crystal, minlength=batch.n_crystals)
    start = torch.cumsum(n_shifts, 0) - n_shifts
    repeats = n_shifts[crystal]
    pair = torch.repeat_interleave(torch.arange(site.numel(), device=site.device), repeats)
    before = torch.repeat_interleave(torch.cumsum(repeats, 0) - repeats, repeats)
    slot = torch.arange(pair.numel(), device=site.device) - before
    return pair, shifts[start[crystal[pair]] + slot]


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


def _among_nearest(
    first: Tensor, second: Tensor, distance: Tensor, most: int, n_sites: int
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """True for the bonds that rank below ``most`` at their first and at their second end, (n_bonds,) each."""
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
    return near[:n_bonds], near[n_bonds:]


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
