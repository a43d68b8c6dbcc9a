"""Weights that others trained with MatterGen: a Lightning checkpoint becomes safetensors and a card, once.

The published models are ``mattergen_base`` (Zeni et al., Nature 639, 624, 2025) and ``TD-pos-only`` and ``pos-only``
(Reents et al., npj Comput. Mater. 12, 203, 2026). Each is a folder with ``config.yaml``, which Hydra resolved, and
``checkpoints/last.ckpt``. Sizes are read from the tensors themselves; the configuration gives what tensors cannot tell.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from hinpaint.diffusion.checkpoints import Conditioning, ModelError, save_model
from hinpaint.diffusion.corruption import WrappedVE
from hinpaint.diffusion.network import NetworkSettings, ScoreNetwork
from hinpaint.files import sha256_file

CONFIG_FILE = "config.yaml"
CHECKPOINT_FILE = "checkpoints/last.ckpt"
_MODEL = "diffusion_module.model."
# Heads for the lattice, the energy and the atom types: trained, but positions do not depend on them.
_UNUSED = re.compile(
    r"fc_atom\.|gemnet\.(lattice_out_blocks|mlp_rbf_lattice)\.|"
    r"gemnet\.out_blocks\.\d+\.(layers|seq_energy|out_energy|dense_rbf|scale_sum)\."
)
_LARGEST_EMBEDDING = 101  # MatterGen's elements and one type for masked atoms
_T_REPLACE = 0.005  # default of XtalPaint's training
_PROCESSES: dict[str, Conditioning] = {
    "NumAtomsVarianceAdjustedWrappedVESDE": "pos_only",
    "TDNumAtomsVarianceAdjustedWrappedVESDE": "td",
}
# What the tensors do not tell: MatterGen's defaults, the only values the network is built for.
_FIXED: dict[str, Any] = {
    "emb_size_rbf": 16,
    "emb_size_cbf": 16,
    "num_before_skip": 1,
    "num_after_skip": 2,
    "num_concat": 1,
    "rbf": {"name": "gaussian"},
    "envelope": {"name": "polynomial", "exponent": 5},
    "cbf": {"name": "spherical_harmonics"},
    "activation": "swish",
    "encoder_mode": False,
}


@dataclass(frozen=True)
class Published:
    """Where published weights lie on the Hugging Face hub.

    Attributes:
        repository: owner and name.
        folder: folder in it.
        licence: of the weights.
        citation: DOI of the paper.
    """

    repository: str
    folder: str
    licence: str
    citation: str


_REENTS = ("t-reents/XtalPaint", "10.1038/s41524-026-02090-1")
PUBLISHED = {
    "mattergen_base": Published(
        "microsoft/mattergen", "checkpoints/mattergen_base", "MIT", "10.1038/s41586-025-08628-5"
    ),
    "TD-pos-only": Published(_REENTS[0], "TD-pos-only", "see the repository", _REENTS[1]),
    "pos-only": Published(_REENTS[0], "pos-only", "see the repository", _REENTS[1]),
}


def convert(source: str, output: Path, sha256: str, revision: str | None = None) -> Conditioning:
    """Convert a checkpoint in a folder, or published weights by name.

    Args:
        source: folder, or one of :data:`PUBLISHED`.
        output: ``.safetensors`` file to write; the card goes beside it.
        sha256: hash of the checkpoint.
        revision: for a name: full commit of its repository, so that the same files come for ever.

    Returns:
        What the noise level belongs to.

    Raises:
        ModelError: neither a folder nor a name, or a name without a commit; see also :func:`import_weights`.
    """
    if output.suffix != ".safetensors":
        raise ModelError(f"{output} must end in .safetensors")
    if Path(source).is_dir():
        return import_weights(Path(source), output, sha256, {"name": output.stem})
    if source not in PUBLISHED:
        raise ModelError(f"{source} is no folder and no published name ({', '.join(PUBLISHED)})")
    if revision is None or not re.fullmatch("[0-9a-f]{40}", revision):
        raise ModelError(f"name the commit of {PUBLISHED[source].repository} with --revision (40 hexadecimal digits)")
    about = {"name": source, **asdict(PUBLISHED[source]), "revision": revision}
    return import_weights(download(source, revision), output, sha256, about)


def import_weights(folder: Path, output: Path, sha256: str, about: Mapping[str, Any]) -> Conditioning:
    """Convert a checkpoint.

    Args:
        folder: holds ``config.yaml`` and ``checkpoints/last.ckpt``.
        output: ``.safetensors`` file to write; the card goes beside it.
        sha256: hash of the checkpoint: a checkpoint is a pickle, so only a known one is opened, and only for tensors.
        about: what else the card shall say: name, repository, revision.

    Returns:
        What the noise level belongs to: ``td`` (each site) or ``pos_only`` (the crystal).

    Raises:
        ModelError: a file is missing, the hash is another, or this is no model that denoises positions.
    """
    checkpoint = folder / CHECKPOINT_FILE
    for path in (folder / CONFIG_FILE, checkpoint):
        if not path.is_file():
            raise ModelError(f"{path} does not exist")
    found = sha256_file(checkpoint)
    if found != sha256:
        raise ModelError(f"{checkpoint}: sha256 is {found}, not {sha256}")
    module = _diffusion_module(folder / CONFIG_FILE)
    state = _model_state(checkpoint)
    network = ScoreNetwork(_network_settings(module, state))
    _fill(network, state)
    process, conditioning = _process(module)
    card = {**about, "imported": {"checkpoint_sha256": found, "config": module}}
    if conditioning == "td":
        card["known_time"] = float(module.get("t_replace", _T_REPLACE))
    save_model(output, network, process, conditioning, card)
    return conditioning


def _diffusion_module(path: Path) -> dict[str, Any]:
    """The part of the configuration that describes network and process; it is data here, nothing is instantiated."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        module: dict[str, Any] = values["lightning_module"]["diffusion_module"]
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ModelError(f"{path} is no configuration of a MatterGen training") from error
    return module


def _model_state(path: Path) -> dict[str, Tensor]:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
        state = loaded["state_dict"]
    except Exception as error:  # what a damaged or hostile pickle raises is not listed anywhere
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"{path} cannot be read as tensors only: {reason}") from error
    return {key.removeprefix(_MODEL): value for key, value in state.items() if key.startswith(_MODEL)}


def _network_settings(module: Mapping[str, Any], state: Mapping[str, Tensor]) -> NetworkSettings:
    try:
        gemnet = module["model"]["gemnet"]
        embedding = state["gemnet.atom_emb.embeddings.weight"]
        spherical, radial, _ = state["gemnet.mlp_cbf3.weight"].shape
        trip = state["gemnet.int_blocks.0.trip_interaction.down_projection.linear.weight"]
        other = [key for key, value in _FIXED.items() if gemnet.get(key, value) != value]
        if other or state["gemnet.atom_latent_emb.weight"].shape[1] != 2 * embedding.shape[1]:
            raise ModelError(f"not MatterGen's unconditional GemNet-dT: {', '.join(other) or 'it has further inputs'}")
        return NetworkSettings(
            hidden=embedding.shape[1],
            n_blocks=_count(state, "gemnet.int_blocks."),
            emb_trip=trip.shape[0],
            num_radial=radial,
            num_spherical=spherical,
            cutoff_a=float(gemnet.get("cutoff", 6.0)),
            max_neighbors=int(gemnet.get("max_neighbors", 50)),
            num_atom=_count(state, "gemnet.out_blocks.0.seq_forces.") - 1,
            scale_output=False,
            selection="second_end",
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"not a GemNet-dT of MatterGen: {error!r}") from error


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    return len({key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)})


def _fill(network: ScoreNetwork, state: Mapping[str, Tensor]) -> None:
    kept = {key: value for key, value in state.items() if not _UNUSED.match(key)}
    name = "gemnet.atom_emb.embeddings.weight"
    missing_rows = _LARGEST_EMBEDDING - len(kept[name])
    # Models that do not denoise atom types have no row for masked atoms; it is never looked up.
    kept[name] = torch.nn.functional.pad(kept[name], (0, 0, 0, missing_rows))
    try:
        missing, unexpected = network.load_state_dict(kept, strict=False)
    except RuntimeError as error:
        raise ModelError(f"tensors of other shapes: {' '.join(str(error).split())[:300]}") from error
    if missing or unexpected:
        raise ModelError(f"not MatterGen's network: missing {missing[:3]}, unexpected {unexpected[:3]}")


def _process(module: Mapping[str, Any]) -> tuple[WrappedVE, Conditioning]:
    """The noise of the positions, and what a noise level belongs to."""
    try:
        position = module["corruption"]["sdes"]["pos"]
        name = position["_target_"].rsplit(".", 1)[-1]
        if name not in _PROCESSES or float(position.get("wrapping_boundary", 1.0)) != 1.0:
            raise ModelError(f"positions are noised by {position['_target_']}, which hinpaint does not know")
        process = WrappedVE(float(position.get("sigma_min", 0.01)), float(position.get("sigma_max", 5.0)))
        return process, _PROCESSES[name]
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"no noise process for positions in the configuration: {error!r}") from error


def download(name: str, revision: str) -> Path:
    """Fetch the two files of published weights from the Hugging Face hub.

    Args:
        name: one of :data:`PUBLISHED`.
        revision: full commit of the repository, so that the same files come for ever.

    Returns:
        The folder that holds them, in the hub's own cache.

    Raises:
        ModelError: ``huggingface_hub`` is not installed, or the files cannot be had.
    """
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise ModelError("downloads need huggingface_hub: pip install 'hinpaint[hub]'") from error
    source = PUBLISHED[name]
    try:
        for each in (CHECKPOINT_FILE, CONFIG_FILE):
            found = Path(hf_hub_download(source.repository, f"{source.folder}/{each}", revision=revision))
    except (OSError, ValueError) as error:  # the hub's own errors derive from these two
        raise ModelError(f"{source.repository} at {revision}: {' '.join(str(error).split())[:300]}") from error
    return found.parent
