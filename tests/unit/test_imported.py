"""Weights in the layout of the published checkpoints give, through our network, what MatterGen's own model gives."""

import json
import pickle
from pathlib import Path

import pytest
import torch
import yaml
from mattergen_own import PerSite, chem_graph, configuration, own_module, write_checkpoint
from sample_crystals import random_crystal

from hinpaint.diffusion.checkpoints import LoadedModel, ModelError, load_model
from hinpaint.diffusion.graph import Batch, build_graph
from hinpaint.diffusion.imported import import_weights
from hinpaint.diffusion.samplers import PlacementJob, place
from hinpaint.files import sha256_file
from hinpaint.sampling import Sampler

SMALL = {
    "emb_size_atom": 16, "num_blocks": 2, "emb_size_trip": 8, "emb_size_bil_trip": 8, "num_radial": 8,
    "num_spherical": 3, "num_atom": 2, "max_neighbors": 9, "cutoff": 5.0,
}  # fmt: skip
FULL = {"emb_size_atom": 512, "num_blocks": 4, "max_neighbors": 50, "cutoff": 7.0}


def published(folder: Path, size: dict, with_mask_type: bool, per_site: bool) -> tuple[object, LoadedModel]:
    """MatterGen's module and what we make of its checkpoint."""
    module = own_module(size, with_mask_type)
    checkpoint = write_checkpoint(folder / "model", module, configuration(size, with_mask_type, per_site))
    output = folder / "imported.safetensors"
    kind = import_weights(folder / "model", output, sha256_file(checkpoint), {"name": "own"})
    assert kind == ("td" if per_site else "pos_only")
    return module.diffusion_module, load_model(str(output))


@torch.inference_mode()
def compare(diffusion, model: LoadedModel, batch: Batch) -> None:
    """Scores of our network against MatterGen's ``score_fn``; a noise level per crystal, all sites."""
    t = torch.linspace(0.05, 0.95, batch.n_crystals)
    expected = diffusion.score_fn(chem_graph(batch), t)["pos"]
    times = t[batch.crystal]
    std = model.process.std(times, batch.counts[batch.crystal])
    found = model.network(batch, times) / std[:, None]
    assert expected.abs().max() > 1e-2
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@torch.inference_mode()
def compare_per_site(diffusion, model: LoadedModel, batch: Batch) -> None:
    """The same with a noise level per site."""
    t = torch.where(batch.known, model.known_time, torch.linspace(0.05, 0.95, len(batch.frac)))
    own = diffusion.model
    forces = own.gemnet(
        z=PerSite(own.noise_level_encoding(t)), frac_coords=batch.frac, atom_types=batch.numbers,
        num_atoms=batch.counts, batch=batch.crystal, lattice=batch.lattice,
    ).forces  # fmt: skip
    expected = torch.einsum("ni,nij->nj", forces, torch.linalg.inv(batch.lattice)[batch.crystal])
    found = model.network(batch, t)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("with_mask_type", [True, False])
def test_scores_are_those_of_mattergen(tmp_path: Path, crystals, with_mask_type: bool) -> None:
    """With more neighbours in reach than are kept: the choice among them is MatterGen's, too."""
    diffusion, model = published(tmp_path, SMALL, with_mask_type, per_site=False)
    assert model.network.settings.max_neighbors == 9
    assert (model.process.sigma_min, model.process.sigma_max) == (0.01, 5.0)
    compare(diffusion, model, Batch.build(crystals))


def test_bonds_are_those_that_mattergen_keeps() -> None:
    """More than 50 neighbours within 7 Å, images of the site itself among them.

    The cells are such that no pair of opposite images lies across the limit: which of the two MatterGen keeps is up to
    rounding there.
    """
    gemnet = own_module(SMALL | {"cutoff": 7.0, "max_neighbors": 50}, with_mask_type=True).diffusion_module.model.gemnet
    for seed in (1, 2, 3):
        batch = Batch.build([random_crystal(seed, n_host=5 + seed % 4, n_unknown=3)])
        place = batch.frac @ batch.lattice[0]
        edges, _, distance, *_ = gemnet.generate_interaction_graph(place, batch.lattice, batch.counts, None, None, None)
        graph = build_graph(batch, 7.0, 50, "second_end")
        expected = zip(*edges.tolist(), distance.tolist(), strict=True)
        found = zip(graph.source.tolist(), graph.target.tolist(), graph.distance.tolist(), strict=True)
        assert sorted((s, t, round(d, 3)) for s, t, d in found) == sorted((s, t, round(d, 3)) for s, t, d in expected)


def test_scores_with_a_noise_level_per_site(tmp_path: Path, crystals) -> None:
    diffusion, model = published(tmp_path, SMALL, with_mask_type=False, per_site=True)
    assert model.conditioning == "td"
    assert model.known_time == pytest.approx(0.001)
    compare_per_site(diffusion, model, Batch.build(crystals))


@pytest.mark.slow
@pytest.mark.parametrize("per_site", [False, True])
def test_published_size(tmp_path: Path, per_site: bool) -> None:
    diffusion, model = published(tmp_path, FULL, with_mask_type=not per_site, per_site=per_site)
    batch = Batch.build([random_crystal(seed, n_host=5 + seed, n_unknown=3) for seed in (1, 2)])
    (compare_per_site if per_site else compare)(diffusion, model, batch)
    assert sum(p.numel() for p in diffusion.parameters()) == pytest.approx(44.5e6, rel=0.05)


@pytest.mark.parametrize(
    ("per_site", "name"), [(True, "td"), (True, "renoise"), (False, "repaint"), (False, "pos_only")]
)
def test_imported_weights_sample(tmp_path: Path, crystals, per_site: bool, name: str) -> None:
    _, model = published(tmp_path, SMALL, with_mask_type=False, per_site=per_site)
    job = PlacementJob("x", 0, crystals[0].take(crystals[0].known), "H", int((~crystals[0].known).sum()))
    (placed,) = place([job], Sampler(name=name, n_steps=3), 1, model)
    assert placed.frac_unknown is not None


def test_the_card_says_where_weights_come_from(tmp_path: Path) -> None:
    published(tmp_path, SMALL, with_mask_type=True, per_site=False)
    card = json.loads((tmp_path / "imported.json").read_text())
    assert card["imported"]["checkpoint_sha256"] == sha256_file(tmp_path / "model/checkpoints/last.ckpt")
    assert card["network"]["selection"] == "second_end"
    assert card["name"] == "own"


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("open('/nonexistent/evil', 'w')",)


def test_what_is_no_such_model_is_refused(tmp_path: Path) -> None:
    output, folder = tmp_path / "x.safetensors", tmp_path / "model"
    with pytest.raises(ModelError, match=r"config.yaml does not exist"):
        import_weights(folder, output, "0" * 64, {})
    config = configuration(SMALL, with_mask_type=True, per_site=False)
    checkpoint = write_checkpoint(folder, own_module(SMALL, with_mask_type=True), config)
    with pytest.raises(ModelError, match="sha256 is"):
        import_weights(folder, output, "0" * 64, {})
    digest = sha256_file(checkpoint)
    gemnet = config["lightning_module"]["diffusion_module"]["model"]["gemnet"]
    gemnet["activation"] = "relu"
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ModelError, match="activation"):
        import_weights(folder, output, digest, {})
    (folder / "config.yaml").write_text("- 1")
    with pytest.raises(ModelError, match="no configuration of a MatterGen training"):
        import_weights(folder, output, digest, {})
    (folder / "config.yaml").write_text(yaml.safe_dump(configuration(SMALL, with_mask_type=True, per_site=False)))
    checkpoint.write_bytes(pickle.dumps({"state_dict": Evil()}))
    with pytest.raises(ModelError, match="cannot be read as tensors only"):
        import_weights(folder, output, sha256_file(checkpoint), {})
    assert not output.exists()
