"""The card of a distilled potential: what it is, what it was made of, and what it was measured to be."""

import json
import os
import platform
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hinpaint.distillation.appraisal import may_be_default
from hinpaint.distillation.settings import DistillationSettings
from hinpaint.files import sha256_file, write_atomic
from hinpaint.jobs import library_versions


def label_counts(labels: Path) -> dict[str, Any]:
    """What is in a file of labels: its hash, hosts and structures, and how many of each kind."""
    from ase.io import iread

    facts = [(image.info["host"], image.info["kind"]) for image in iread(labels, parallel=False)]
    return {
        "sha256": sha256_file(labels),
        "n_hosts": len({host for host, _ in facts}),
        "n_structures": len(facts),
        "kinds": dict(sorted(Counter(kind for _, kind in facts).items())),
    }


def training_card(
    settings: DistillationSettings, package: Path, teacher_sha256: str, labels: dict[str, Path], run: dict[str, Any]
) -> dict[str, Any]:
    """Everything that is known before the model is measured.

    Args:
        settings: settings of the distillation.
        package: the packaged model.
        teacher_sha256: hash of the teacher's weights.
        labels: files of labels by part: ``train`` and ``held_out``.
        run: elements, parameters, steps and seconds of the training.
    """
    return {
        **run,
        "sha256": sha256_file(package),
        "bytes": package.stat().st_size,
        "teacher": {"name": settings.teacher, "sha256": teacher_sha256},
        "labels": {part: label_counts(path) for part, path in labels.items()},
        "settings": asdict(settings),
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": library_versions(),
    }


def full_card(training: dict[str, Any], measured: dict[str, Any]) -> dict[str, Any]:
    """The card with what was measured, and the verdict whether the potential may be the default."""
    able, said = may_be_default(measured["verdicts"], measured["hydrogen_h_only"]["median_distance_a"])
    return {**training, "measured": measured, "default": able, "why": said}


def write_card(path: Path, card: dict[str, Any]) -> None:
    """Write a card as sorted JSON."""
    text = json.dumps(card, indent=2, sort_keys=True) + "\n"
    write_atomic(path, lambda handle: handle.write(text.encode()))
