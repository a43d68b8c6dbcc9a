"""The way into MatterGen 1.0.3: makes its network importable on current Python, numpy and torch.

MatterGen's wheel expects compiled ``torch_scatter`` and ``torch_sparse``, the removed ``numpy.math`` and a scale-factor
file it does not ship. This module supplies them before the first import; nothing of MatterGen is changed or copied.
"""

import contextlib
import importlib
import importlib.util
import io
import json
import math
import sys
import tempfile
import types
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hinpaint.diffusion import scatter as _scatter


class _SparseTensor:
    """Stands where MatterGen imports ``torch_sparse.SparseTensor``; hinpaint builds triplets without it."""

    def __init__(self, *_: object, **__: object) -> None:
        raise RuntimeError("torch_sparse is not used: hinpaint builds the interaction graph itself")


def _provide_modules() -> None:
    if importlib.util.find_spec("torch_scatter") is None:
        sys.modules.setdefault("torch_scatter", _scatter)
    if "torch_sparse" not in sys.modules and importlib.util.find_spec("torch_sparse") is None:
        module = types.ModuleType("torch_sparse")
        module.SparseTensor = _SparseTensor  # type: ignore[attr-defined]
        sys.modules["torch_sparse"] = module
    if not hasattr(np, "math"):
        np.math = math  # type: ignore[attr-defined]


@lru_cache(maxsize=1)
def mattergen() -> types.SimpleNamespace:
    """Import what hinpaint uses of MatterGen.

    Returns:
        A namespace with ``GemNetT``, ``AtomEmbedding``, ``NoiseLevelEncoding`` and ``ScalingFactor``.

    Raises:
        ImportError: MatterGen is not installed.
    """
    _provide_modules()
    # MatterGen prints its folder on import, and its old TorchScript decorators warn.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        gemnet = importlib.import_module("mattergen.common.gemnet.gemnet")
        embedding = importlib.import_module("mattergen.common.gemnet.layers.embedding_block")
        scaling = importlib.import_module("mattergen.common.gemnet.layers.scaling")
        encoding = importlib.import_module("mattergen.diffusion.model_utils")
    return types.SimpleNamespace(
        GemNetT=gemnet.GemNetT,
        AtomEmbedding=embedding.AtomEmbedding,
        NoiseLevelEncoding=encoding.NoiseLevelEncoding,
        ScalingFactor=scaling.ScalingFactor,
        gemnet=gemnet,
    )


def build_gemnet(**arguments: Any) -> Any:
    """Build MatterGen's ``GemNetT`` with all scale factors at 1.

    The factors are parameters of the network: they are measured before training and travel with the weights, so the
    scale-factor file MatterGen reads while it builds may be empty.

    Args:
        **arguments: arguments of ``GemNetT``, without ``atom_embedding`` and ``latent_dim``, which follow from
            ``emb_size_atom``.
    """
    source = mattergen()
    size = arguments["emb_size_atom"]
    with tempfile.TemporaryDirectory() as folder:
        scale_file = Path(folder, "common", "gemnet", "gemnet-dT.json")
        scale_file.parent.mkdir(parents=True)
        scale_file.write_text(json.dumps({}))
        original = source.gemnet.MODELS_PROJECT_ROOT
        source.gemnet.MODELS_PROJECT_ROOT = folder
        try:
            return source.GemNetT(
                num_targets=1,
                latent_dim=size,
                atom_embedding=source.AtomEmbedding(size, with_mask_type=True),
                otf_graph=True,
                **arguments,
            )
        finally:
            source.gemnet.MODELS_PROJECT_ROOT = original
