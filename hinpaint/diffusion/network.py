"""The score network: MatterGen's GemNetT with one noise level per site."""

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from hinpaint.diffusion.bridge import build_gemnet, mattergen
from hinpaint.diffusion.graph import Batch, Graph, Neighbourhood, Selection, build_graph

_INV_SQRT_2 = 2**-0.5


@dataclass(frozen=True)
class NetworkSettings:
    """Size of the network; stored beside the weights.

    Attributes:
        hidden: width of site and edge embeddings.
        n_blocks: interaction blocks.
        emb_trip: width of the triplet embeddings.
        num_radial: radial basis functions.
        num_spherical: spherical basis functions.
        cutoff_a: largest edge, ångström.
        max_neighbors: neighbours per site kept for sure.
        num_atom: residual layers in the output and atom-update blocks.
        scale_output: multiply the output by the cube root of the volume, so that the network predicts numbers of
            order one in every cell. Off for weights trained elsewhere.
        selection: which end of a bond decides whether it is kept; ``second_end`` for weights trained with MatterGen.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    hidden: int = 128
    n_blocks: int = 3
    emb_trip: int = 32
    num_radial: int = 64
    num_spherical: int = 7
    cutoff_a: float = 5.0
    max_neighbors: int = 12
    num_atom: int = 1
    scale_output: bool = True
    selection: Selection = "either_end"


class ScoreNetwork(nn.Module):
    """Predicts noise (score times standard deviation) for the fractional coordinates of every site.

    The lattice, energy and atom-type heads of GemNetT are left out, as only positions are denoised (Reents et al.
    2026), and the output layers run only on the edges that end on sites which are to be found. One noise level per
    site follows TD-Paint (arXiv 2410.09306).
    """

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        self.settings = settings
        self.gemnet = build_gemnet(
            num_spherical=settings.num_spherical,
            num_radial=settings.num_radial,
            num_blocks=settings.n_blocks,
            emb_size_atom=settings.hidden,
            emb_size_edge=settings.hidden,
            emb_size_trip=settings.emb_trip,
            emb_size_bil_trip=settings.emb_trip,
            num_atom=settings.num_atom,
            cutoff=settings.cutoff_a,
            max_neighbors=settings.max_neighbors,
        )
        _drop_unused_heads(self.gemnet)
        self.noise_level_encoding = mattergen().NoiseLevelEncoding(settings.hidden)

    def neighbourhood(self, batch: Batch, moving: Tensor) -> Neighbourhood:
        """What stays the same about the batch's bonds while the sites that are ``moving`` (n_sites,) move."""
        return Neighbourhood.of(batch, self.settings.cutoff_a, moving)

    def graph(self, batch: Batch, neighbourhood: Neighbourhood | None = None) -> Graph:
        """Interaction graph of a batch with this network's cutoff."""
        settings = self.settings
        return build_graph(batch, settings.cutoff_a, settings.max_neighbors, settings.selection, neighbourhood)

    def forward(
        self, batch: Batch, t: Tensor, wanted: Tensor | None = None, neighbourhood: Neighbourhood | None = None
    ) -> Tensor:
        """Predict the noise.

        Args:
            batch: crystals with their current coordinates.
            t: (n_sites,) noise time of each site.
            wanted: (n_sites,) true for the sites to predict for; by default those with t > 0.
            neighbourhood: what is known of the batch's bonds.

        Returns:
            (n_sites, 3) score times standard deviation, in fractional coordinates; exactly 0 on sites not wanted.
        """
        wanted = t > 0 if wanted is None else wanted
        single = partial(torch.autocast, batch.frac.device.type, enabled=False)
        with single():  # products with a lattice lose hundredths of an ångström in bfloat16
            graph, level = self.graph(batch, neighbourhood), self.noise_level_encoding(t)
        forces = self._forces(batch, graph, level, wanted)
        with single():
            inverse = torch.linalg.inv(batch.lattice)
            if self.settings.scale_output:
                inverse = inverse * torch.linalg.det(batch.lattice).abs().pow(1 / 3)[:, None, None]
            return torch.einsum("ni,nij->nj", forces, inverse[batch.crystal])

    def _forces(self, batch: Batch, graph: Graph, noise_level: Tensor, wanted: Tensor) -> Tensor:
        """Cartesian output vectors of the wanted sites, (n_sites, 3): the pass through GemNetT's own layers."""
        if graph.triplet_in.numel() == 0:  # GemNet's layers cannot run without triplets, and nothing is known then
            return torch.zeros_like(batch.frac)
        net = self.gemnet
        cosine = (graph.direction[graph.triplet_out] * graph.direction[graph.triplet_in]).sum(-1).clamp(-1, 1)
        radial_circular, circular = net.cbf_basis3(graph.distance, cosine, graph.triplet_out)
        radial = net.radial_basis(graph.distance)
        h = net.atom_latent_emb(torch.cat([net.atom_emb(batch.numbers), noise_level], dim=1))
        m = net.edge_emb(h, radial, graph.source, graph.target)
        axes = batch.lattice[batch.crystal[graph.source]]
        to_axes = torch.cosine_similarity(graph.direction[:, None], axes, dim=-1)
        m = net.angle_edge_emb(torch.cat([m, to_axes], dim=-1))
        basis = (
            net.mlp_rbf3(radial),
            net.mlp_cbf3(radial_circular, circular, graph.triplet_out, graph.triplet_slot),
            net.mlp_rbf_h(radial),
        )
        ending = wanted[graph.target].nonzero().squeeze(1)
        radial_out = net.mlp_rbf_out(radial[ending])
        along = _edge_output(net.out_blocks[0], m[ending], radial_out)
        last = len(net.int_blocks) - 1
        for i, (block, out_block) in enumerate(zip(net.int_blocks, net.out_blocks[1:], strict=True)):
            h, m = _interact(block, h, m, graph, basis, ending if i == last else None)
            along = along + _edge_output(out_block, m if i == last else m[ending], radial_out)
        out = batch.frac.new_zeros(batch.frac.shape)
        return out.index_add(0, graph.target[ending], along.to(out.dtype) * graph.direction[ending])

    @property
    def n_parameters(self) -> int:
        """Number of trained parameters (the scale factors are measured, not trained)."""
        return sum(p.numel() for name, p in self.named_parameters() if not name.endswith("scale_factor"))

    def describe(self) -> dict[str, Any]:
        """Settings as plain values, for the card beside the weights."""
        return asdict(self.settings)


def _drop_unused_heads(gemnet: Any) -> None:
    """Remove the layers that only serve the lattice and the energy, so that the weights hold what is used."""
    del gemnet.lattice_out_blocks, gemnet.mlp_rbf_lattice
    for block in gemnet.out_blocks:
        del block.layers, block.seq_energy, block.out_energy, block.dense_rbf, block.scale_sum


def _interact(
    block: Any, h: Tensor, m: Tensor, graph: Graph, basis: tuple[Tensor, tuple[Tensor, Tensor], Tensor],
    wanted: Tensor | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """GemNet's interaction block, in its own layers; after the last one only the wanted edges are brought to their end.

    Args:
        block: ``InteractionBlockTripletsOnly``.
        h: (n_sites, hidden) sites.
        m: (n_edges, hidden) edges.
        graph: the interaction graph.
        basis: radial basis for triplets, circular basis, radial basis for sites.
        wanted: indices of the edges to return; None for all.

    Returns:
        Sites and edges after the block.
    """
    radial, circular, radial_site = basis
    x = (block.dense_ca(m) + _triplet_interaction(block.trip_interaction, m, graph, radial, circular)) * _INV_SQRT_2
    for layer in block.layers_before_skip:
        x = layer(x)
    m = (m + x) * _INV_SQRT_2
    for layer in block.layers_after_skip:
        m = layer(m)
    h = (h + block.atom_update(h, m, radial_site, graph.target)) * block.skip_connection_factor
    source, target = graph.source, graph.target
    if wanted is not None:
        m, source, target = m[wanted], source[wanted], target[wanted]
    x = block.concat_layer(h, m, source, target)
    for layer in block.residual_m:
        x = layer(x)
    return h, (m + x) * _INV_SQRT_2


def _triplet_interaction(
    layer: Any, m: Tensor, graph: Graph, radial: Tensor, circular: tuple[Tensor, Tensor]
) -> Tensor:  # fmt: skip
    """GemNet's triplet interaction; its bilinear layer as one matrix product, where MatterGen has one a channel."""
    incoming = layer.dense_ba(m)
    incoming = layer.down_projection(layer.scale_rbf(incoming, incoming * layer.mlp_rbf(radial)))
    incoming = incoming[graph.triplet_in]
    mixing, angles = circular
    padded = incoming.new_zeros(len(m), angles.shape[2], incoming.shape[1])
    padded[graph.triplet_out, graph.triplet_slot] = incoming
    mixed = mixing @ (angles @ padded)  # (n_edges, circular channels, triplet channels)
    weight = layer.mlp_cbf.weight.transpose(0, 1).flatten(0, 1)
    x = layer.scale_cbf_sum(incoming, mixed.flatten(1) @ weight)
    both: Tensor = layer.up_projection_ca(x) + layer.up_projection_ac(x)[graph.swap]
    return both * _INV_SQRT_2


def _edge_output(block: Any, m: Tensor, radial: Tensor) -> Tensor:
    """The force branch of GemNet's output block, (n_edges, 1)."""
    x = m
    for layer in block.seq_forces:
        x = layer(x)
    return cast("Tensor", block.out_forces(block.scale_rbf_F(x, x * block.dense_rbf_F(radial))))


@torch.no_grad()
def fit_scale_factors(network: ScoreNetwork, batch: Batch, t: Tensor) -> None:
    """Set GemNet's scale factors so that each layer keeps the variance of its reference input.

    Follows the procedure of GemNet (Gasteiger et al., arXiv 2106.08903): the factors are measured one after another in
    the order in which the layers run, on untrained weights.
    """
    factor_type = mattergen().ScalingFactor
    factors: list[nn.Module] = []

    def note(module: nn.Module, _: Any, __: Any) -> None:
        factors.append(module)

    scaling = [m for m in network.modules() if isinstance(m, factor_type)]
    hooks = [m.register_forward_hook(note) for m in scaling]
    network(batch, t)
    for hook in hooks:
        hook.remove()
    for factor in dict.fromkeys(factors):
        _fit_one(network, factor, batch, t)


def _fit_one(network: ScoreNetwork, factor: nn.Module, batch: Batch, t: Tensor) -> None:
    def measure(module: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ratio = inputs[0].var(dim=0).mean() / output.var(dim=0).mean().clamp_min(1e-12)
        module.scale_factor.mul_(ratio.sqrt())

    hook = factor.register_forward_hook(measure)
    network(batch, t)
    hook.remove()
