"""How a release is to be cited: ``CITATION.cff``, version 1.2.0 of the format."""

from pathlib import Path
from typing import Any

import yaml

from hinpaint.config import Config
from hinpaint.jobs import library_versions
from hinpaint.release.completion import METHOD_DOI

NAME = "CITATION.cff"


def write_citation(config: Config, folder: Path) -> None:
    """Write the citation file of a release: the data set, then what it rests on."""
    release = config.release
    content: dict[str, Any] = {
        "cff-version": "1.2.0",
        "message": "Please cite this release with its version, the databases it corrects, and the method.",
        "type": "dataset",
        "title": release.title,
        "version": release.version,
        "authors": [_author(name) for name in creators(config)],
    }
    content |= {"date-released": release.date} if release.date else {}
    content |= {"url": release.url} if release.url else {}
    content["references"] = [
        *(
            {
                "type": "database",
                "title": source.database,
                "version": source.version,
                "license": source.licence,
                "authors": [{"name": source.database}],
            }
            for source in config.sources
        ),
        {
            "type": "article",
            "title": "Score-based diffusion models for accurate crystal-structure inpainting and reconstruction of "
            "hydrogen positions",
            "authors": [{"family-names": name} for name in ("Reents", "Cantarella", "Bercx", "Bonfà", "Pizzi")],
            "journal": "npj Computational Materials",
            "year": 2026,
            "doi": METHOD_DOI,
        },
        {
            "type": "software",
            "title": "hinpaint",
            "version": library_versions().get("hinpaint", ""),
            "authors": [{"name": "the hinpaint developers"}],
        },
    ]
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
    (folder / NAME).write_text(text, encoding="utf-8", newline="\n")


def creators(config: Config) -> tuple[str, ...]:
    """Who publishes the release, as configured; never nobody, as citations need a name."""
    return config.release.creators or (f"the curators of {config.release.title}",)


def _author(name: str) -> dict[str, str]:
    family, comma, given = name.partition(",")
    return {"family-names": family.strip(), "given-names": given.strip()} if comma else {"name": name}
