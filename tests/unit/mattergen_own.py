"""MatterGen's own model and checkpoint, built with its classes as its configuration files build them."""

import enum
import importlib
import sys
import types
from pathlib import Path
from typing import Any

import torch
import yaml

from hinpaint.diffusion.bridge import build_gemnet, mattergen
from hinpaint.diffusion.graph import Batch, _triplets


def own_classes() -> types.SimpleNamespace:
    """MatterGen's denoiser, processes and Lightning module; of ``emmet`` it needs only the name of one enumeration."""
    mattergen()
    if "emmet.core.material" not in sys.modules:
        material = types.ModuleType("emmet.core.material")
        material.PropertyOrigin = enum.Enum("PropertyOrigin", "none")  # type: ignore[attr-defined]
        sys.modules |= {name: types.ModuleType(name) for name in ("emmet", "emmet.core")}
        sys.modules["emmet.core.material"] = material
    homes = {
        "ChemGraph": "common.data.chemgraph",
        "collate": "common.data.collate",
        "NumAtomsVarianceAdjustedWrappedVESDE": "common.diffusion.corruption",
        "MaterialsLoss": "common.loss",
        "GemNetTDenoiser": "denoiser",
        "MultiCorruption": "diffusion.corruption.multi_corruption",
        "DiffusionModule": "diffusion.diffusion_module",
        "DiffusionLightningModule": "diffusion.lightning_module",
    }
    found = {name: getattr(importlib.import_module(f"mattergen.{home}"), name) for name, home in homes.items()}
    return types.SimpleNamespace(**found)


def own_module(size: dict[str, int], with_mask_type: bool) -> Any:
    """A ``DiffusionLightningModule`` with random weights, laid out as the published ones."""
    own = own_classes()
    torch.manual_seed(4)
    hidden = size["emb_size_atom"]
    gemnet = build_gemnet(emb_size_edge=hidden, regress_stress=True, max_cell_images_per_dim=5, **size)
    gemnet.atom_emb = mattergen().AtomEmbedding(hidden, with_mask_type=with_mask_type)
    for name, parameter in gemnet.named_parameters():
        if name.endswith("scale_factor"):
            parameter.data.uniform_(0.5, 1.5)
    # MatterGen finds triplets with torch_sparse, which has no wheels for current torch; a test checks ours.
    gemnet.get_triplets = lambda edges, num_atoms: _triplets(edges[1], int(num_atoms))
    model = own.GemNetTDenoiser(gemnet, hidden_dim=hidden, denoise_atom_types=with_mask_type)
    position = own.NumAtomsVarianceAdjustedWrappedVESDE(sigma_max=5.0)
    loss = own.MaterialsLoss(include_pos=True, include_cell=False, include_atomic_numbers=False, weights={"pos": 1.0})
    diffusion = own.DiffusionModule(model, own.MultiCorruption(sdes={"pos": position}), loss)
    return own.DiffusionLightningModule(diffusion).eval()


def configuration(size: dict[str, int], with_mask_type: bool, per_site: bool) -> dict[str, Any]:
    """What Hydra leaves in ``config.yaml``; keys and targets are those of the published files."""
    hidden = size["emb_size_atom"]
    process = "mattergen.common.diffusion.corruption.NumAtomsVarianceAdjustedWrappedVESDE"
    module: dict[str, Any] = {
        "_target_": "mattergen.diffusion.diffusion_module.DiffusionModule",
        "corruption": {
            "_target_": "mattergen.diffusion.corruption.multi_corruption.MultiCorruption",
            "sdes": {
                "pos": {
                    "_target_": process, "limit_info_key": "num_atoms", "sigma_max": 5.0, "wrapping_boundary": 1.0,
                }
            },
        },
        "model": {
            "_target_": "mattergen.denoiser.GemNetTDenoiser",
            "atom_type_diffusion": "mask",
            "denoise_atom_types": with_mask_type,
            "gemnet": {
                "_target_": "mattergen.common.gemnet.gemnet.GemNetT",
                "atom_embedding": {"emb_size": hidden, "with_mask_type": with_mask_type},
                "emb_size_edge": hidden,
                "latent_dim": hidden,
                "max_cell_images_per_dim": 5,
                "num_targets": 1,
                "otf_graph": True,
                "regress_stress": True,
                **size,
            },
            "hidden_dim": hidden,
            "property_embeddings": {},
        },
        "pre_corruption_fn": {"_target_": "mattergen.property_embeddings.SetEmbeddingType", "p_unconditional": 0.2},
    }  # fmt: skip
    if per_site:
        module["_target_"] = "xtalpaint.time_dependent.diffusion_module.TDDiffusionModule"
        module |= {"p_replace": 0.2, "t_replace": 0.001}
        name = "xtalpaint.time_dependent.corruption.TDNumAtomsVarianceAdjustedWrappedVESDE"
        module["corruption"]["sdes"]["pos"]["_target_"] = name
    return {"lightning_module": {"diffusion_module": module}, "train": True, "trainer": {"max_epochs": 2200}}


def write_checkpoint(folder: Path, module: Any, config: dict[str, Any]) -> Path:
    """Write folder/config.yaml and, through Lightning, folder/checkpoints/last.ckpt."""
    import pytorch_lightning as lightning

    class AddConfig(lightning.Callback):
        """As MatterGen's training does."""

        def on_save_checkpoint(self, _trainer: Any, _module: Any, checkpoint: dict[str, Any]) -> None:
            checkpoint["config"] = config

    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    saver = lightning.callbacks.ModelCheckpoint(dirpath=folder / "checkpoints", save_last=True, monitor="loss_val")
    trainer = lightning.Trainer(
        accelerator="cpu", logger=False, callbacks=[saver, AddConfig()], enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.strategy.connect(module)
    trainer.save_checkpoint(folder / "checkpoints" / "last.ckpt")
    return folder / "checkpoints" / "last.ckpt"


def chem_graph(batch: Batch) -> Any:
    """The batch in MatterGen's own form."""
    own = own_classes()
    start = torch.cumsum(batch.counts, 0) - batch.counts
    graphs = [
        own.ChemGraph(
            pos=batch.frac[a : a + n], cell=batch.lattice[i : i + 1], atomic_numbers=batch.numbers[a : a + n],
            num_atoms=torch.tensor([n]),
        )
        for i, (a, n) in enumerate(zip(start.tolist(), batch.counts.tolist(), strict=True))
    ]  # fmt: skip
    return own.collate(graphs)


class PerSite:
    """A noise level per site where MatterGen's GemNetT spreads one per crystal: XtalPaint's only change to it."""

    def __init__(self, encoded: torch.Tensor) -> None:
        self.encoded = encoded

    def __getitem__(self, _: torch.Tensor) -> torch.Tensor:
        return self.encoded
