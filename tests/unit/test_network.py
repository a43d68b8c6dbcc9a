import itertools

import numpy as np
import pytest
import torch

from hinpaint.crystal import Crystal
from hinpaint.diffusion.bridge import build_gemnet, mattergen
from hinpaint.diffusion.corruption import WrappedVE
from hinpaint.diffusion.graph import Batch, build_graph
from hinpaint.diffusion.network import NetworkSettings, ScoreNetwork, fit_scale_factors


def brute_force_bonds(crystal: Crystal, cutoff: float) -> list[tuple[int, int, float]]:
    """Directed bonds (source, target, distance) by looking at every image."""
    frac = crystal.frac - np.floor(crystal.frac)
    images = np.array(list(itertools.product(range(-5, 6), repeat=3)))
    bonds = []
    for i, j in itertools.product(range(crystal.n_sites), repeat=2):
        lengths = np.linalg.norm((frac[i] - frac[j] + images) @ crystal.lattice, axis=1)
        bonds += [(i, j, d) for d in lengths if 1e-8 < d <= cutoff]
    return bonds


def test_graph_holds_every_bond_when_nothing_is_cut(crystals: list[Crystal]) -> None:
    graph = build_graph(Batch.build(crystals), cutoff=4.0, max_neighbors=10_000)
    offset = 0
    for crystal in crystals:
        expected = sorted((i + offset, j + offset, round(d, 3)) for i, j, d in brute_force_bonds(crystal, 4.0))
        inside = (graph.target >= offset) & (graph.target < offset + crystal.n_sites)
        rows = zip(graph.source[inside], graph.target[inside], graph.distance[inside], strict=True)
        found = sorted((int(i), int(j), round(float(d), 3)) for i, j, d in rows)
        assert [f[:2] for f in found] == [e[:2] for e in expected]
        assert np.allclose([f[2] for f in found], [e[2] for e in expected], atol=2e-3)
        offset += crystal.n_sites


def test_graph_is_symmetric_and_bounded_below(crystals: list[Crystal]) -> None:
    graph = build_graph(Batch.build(crystals), cutoff=5.0, max_neighbors=6)
    assert torch.equal(graph.source, graph.target[graph.swap])
    assert torch.allclose(graph.direction, -graph.direction[graph.swap])
    degree = torch.bincount(graph.target)
    everything = torch.bincount(build_graph(Batch.build(crystals), 5.0, 10_000).target)
    assert (degree >= torch.minimum(everything, torch.tensor(6))).all()


def test_triplets_are_all_pairs_of_edges_into_one_site(crystals: list[Crystal]) -> None:
    graph = build_graph(Batch.build(crystals[:2]), cutoff=4.0, max_neighbors=5)
    target = graph.target.tolist()
    expected = {(b, c) for c in range(len(target)) for b in range(len(target)) if target[b] == target[c] and b != c}
    found = list(zip(graph.triplet_in.tolist(), graph.triplet_out.tolist(), strict=True))
    assert set(found) == expected
    assert len(found) == len(expected)
    assert graph.triplet_out.tolist() == sorted(graph.triplet_out.tolist())


def test_coordinates_stay_in_single_precision_under_bfloat16(
    tiny_settings: NetworkSettings, crystals: list[Crystal], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, batch = ScoreNetwork(tiny_settings), Batch.build(crystals)
    graphs, forces = [], torch.rand(batch.frac.shape)

    def note(_batch: Batch, graph: object, _level: torch.Tensor, _wanted: torch.Tensor) -> torch.Tensor:
        graphs.append(graph)
        return forces

    monkeypatch.setattr(network, "_forces", note)
    times = torch.full_like(batch.frac[:, 0], 0.5)
    expected = network(batch, times)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = network(batch, times)
    assert torch.equal(found, expected)
    assert torch.equal(graphs[0].distance, graphs[1].distance)


def test_one_pass_is_mattergens_own_pass(tiny_settings: NetworkSettings, crystals: list[Crystal]) -> None:
    """On one graph and one time a crystal, the forces are those of MatterGen's GemNetT.forward."""
    torch.manual_seed(0)
    settings = tiny_settings
    network = ScoreNetwork(settings).eval()
    whole = build_gemnet(
        num_spherical=settings.num_spherical, num_radial=settings.num_radial, num_blocks=settings.n_blocks,
        emb_size_atom=settings.hidden, emb_size_edge=settings.hidden, emb_size_trip=settings.emb_trip,
        emb_size_bil_trip=settings.emb_trip, num_atom=settings.num_atom, cutoff=settings.cutoff_a,
        max_neighbors=settings.max_neighbors, regress_stress=True,
    ).eval()  # fmt: skip
    missing, unexpected = whole.load_state_dict(network.gemnet.state_dict(), strict=False)
    assert not unexpected
    assert all("lattice" in k or "energy" in k or "out_blocks" in k for k in missing)
    batch = Batch.build(crystals)
    graph = network.graph(batch)
    edges = torch.stack([graph.source, graph.target])
    whole.generate_interaction_graph = lambda *_: (
        edges, None, graph.distance, graph.direction, graph.swap, graph.triplet_in, graph.triplet_out,
        graph.triplet_slot, None,
    )  # fmt: skip
    times = torch.linspace(0.1, 0.9, batch.n_crystals)
    expected = whole(
        z=network.noise_level_encoding(times), frac_coords=batch.frac, atom_types=batch.numbers,
        num_atoms=batch.counts, batch=batch.crystal, lattice=batch.lattice,
    ).forces  # fmt: skip
    inverse = torch.linalg.inv(batch.lattice)[batch.crystal]
    scale = torch.linalg.det(batch.lattice).abs().pow(1 / 3)[batch.crystal, None]
    expected_frac = torch.einsum("ni,nij->nj", expected, inverse) * scale
    found = network(batch, times[batch.crystal])
    assert torch.allclose(found, expected_frac, atol=1e-5, rtol=1e-4)
    assert found.abs().max() > 1e-3


def test_sites_at_time_zero_get_no_output(tiny_model, crystals: list[Crystal]) -> None:
    batch = Batch.build(crystals)
    out = tiny_model.network(batch, torch.where(batch.known, 0.0, 0.5))
    assert torch.equal(out[batch.known], torch.zeros_like(out[batch.known]))
    assert (out[~batch.known].abs().sum(dim=1) > 0).all()


def test_noise_level_of_one_site_matters(tiny_model, crystals: list[Crystal]) -> None:
    batch = Batch.build(crystals[:1])
    t = torch.where(batch.known, 0.0, 0.5)
    known = batch.known.nonzero()[0, 0]
    changed = t.clone()
    changed[known] = 0.9
    unknown = ~batch.known
    assert not torch.allclose(tiny_model.network(batch, t)[unknown], tiny_model.network(batch, changed)[unknown])


def test_crystals_do_not_see_each_other(tiny_model, crystals: list[Crystal]) -> None:
    batch = Batch.build(crystals)
    together = tiny_model.network(batch, torch.full((len(batch.frac),), 0.3))
    alone = [tiny_model.network(Batch.build([c]), torch.full((c.n_sites,), 0.3)) for c in crystals]
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)


def test_output_does_not_depend_on_the_choice_of_origin_or_image(tiny_model) -> None:
    rng = np.random.default_rng(1)
    lattice = np.diag([4.0, 5.0, 6.0]) + rng.uniform(-0.5, 0.5, (3, 3))
    frac = rng.random((6, 3))
    species = ["Mg", "O", "O", "Si", "H", "H"]
    first = Crystal.build(lattice, species, frac)
    second = Crystal.build(lattice, species, frac + [0.3, 0.7, 0.1] + rng.integers(-2, 3, (6, 3)))
    t = torch.full((6,), 0.4)
    a, b = (tiny_model.network(Batch.build([c]), t) for c in (first, second))
    assert torch.allclose(a, b, atol=1e-4)


def test_isolated_sites_do_not_crash(tiny_model) -> None:
    lonely = Crystal.build(30 * np.eye(3), ["Na", "H"], [[0, 0, 0], [0.5, 0.5, 0.5]], known=[True, False])
    assert tiny_model.network(Batch.build([lonely]), torch.tensor([0.0, 0.5])).abs().max() == 0


def test_scale_factors_keep_variances(tiny_settings: NetworkSettings, crystals: list[Crystal]) -> None:
    torch.manual_seed(1)
    network = ScoreNetwork(tiny_settings)
    batch, times = Batch.build(crystals), torch.full((sum(c.n_sites for c in crystals),), 0.5)
    fit_scale_factors(network, batch, times)
    ratios = []

    def measure(_, inputs, output) -> None:
        ratios.append((output.var(dim=0).mean() / inputs[0].var(dim=0).mean()).item())

    for module in network.modules():
        if isinstance(module, mattergen().ScalingFactor):
            module.register_forward_hook(measure)
    network(batch, times)
    assert len(ratios) > 4
    assert np.allclose(ratios, 1.0, rtol=1e-3)


def test_process_score_is_mattergens_wrapped_normal_score() -> None:
    from mattergen.diffusion.wrapped.wrapped_normal_loss import wrapped_normal_score

    torch.manual_seed(0)
    process = WrappedVE()
    x = torch.rand(40, 3)
    std = process.std(torch.rand(40), torch.full((40,), 12))
    noisy = (x + std[:, None] * torch.randn(40, 3)) % 1.0
    boundary = torch.eye(3)[None]
    expected = wrapped_normal_score(noisy, x, boundary, std**2, torch.zeros(40, dtype=torch.long)) * std[:, None]
    assert torch.allclose(process.score_times_std(noisy - x, std), expected, atol=1e-4)


def test_process_std_is_geometric_and_scales_with_the_cell() -> None:
    process = WrappedVE(0.01, 1.0)
    t = torch.tensor([0.0, 0.5, 1.0])
    assert process.std(t, torch.ones(3)).tolist() == pytest.approx([0.01, 0.1, 1.0], rel=1e-5)
    assert process.std(t, torch.full((3,), 8.0)).tolist() == pytest.approx([0.005, 0.05, 0.5], rel=1e-5)
    step = 1e-3
    slope = (process.std(t + step, torch.ones(3)) ** 2 - process.std(t - step, torch.ones(3)) ** 2) / (2 * step)
    assert torch.allclose(process.diffusion_squared(t, torch.ones(3)), slope, rtol=1e-2)
