"""The page of one entry, in a site or alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hinpaint.codes import CODES
from hinpaint.crystal import FloatArray
from hinpaint.doubts import DOUBTS
from hinpaint.evidence.geometry import NEUTRON_XH_A
from hinpaint.pages.geometry import nearest_host
from hinpaint.pages.model import EntryPage, TrialView
from hinpaint.pages.render import Assets, beside, environment, inside, script_data, trial_name

_STYLES = ("style.css", "site.css")
_SCRIPTS = ("3dmol.js", "plot.js", "entry.js")
MAX_TRIALS = 100
"""Trials in a page's table; the tables of the release hold all."""
_MAX_DRAWN = 2000
"""Placed sites in a page's data, over all its trials: a picture with more shows nothing."""


@dataclass(frozen=True)
class Links:
    """Names of the pages before and after this one; None at the ends."""

    previous: str | None
    next: str | None


def render_entry(page: EntryPage, title: str, links: Links) -> str:
    """Write the page of one entry of a site; its assets lie in ``../assets``.

    Args:
        page: what it shows.
        title: title of the release.
        links: the pages beside it.

    Returns:
        HTML; everything that came from a source is escaped.
    """
    return _render(page, title, links, _BESIDE)


def single_page(page: EntryPage) -> str:
    """Write the page of one structure so that it needs no other file.

    Args:
        page: what it shows.

    Returns:
        HTML of about 1 MB: the libraries are inside.
    """
    return _render(page, "", None, inside(_STYLES, _SCRIPTS))


def _render(page: EntryPage, title: str, links: Links | None, assets: Assets) -> str:
    shown = sorted(page.trials, key=_energy)[:MAX_TRIALS]
    return _TEMPLATE.render(
        page=page, title=title, links=links, assets=assets, shown=shown, codes=CODES, doubts=DOUBTS,
        data=script_data(page_data(page, shown)),
    )  # fmt: skip


def _energy(trial: TrialView) -> tuple[bool, float, int]:
    return trial.energy_mev_per_atom is None, trial.energy_mev_per_atom or 0.0, trial.trial


def page_data(page: EntryPage, trials: Sequence[TrialView]) -> dict[str, Any]:
    """What the page's script draws.

    Each placed site is 4 numbers: its nearest host site and the fractional vector from there.

    Args:
        page: what the page shows.
        trials: the trials in its table.
    """
    with_sites = [trial for trial in trials if trial.frac is not None]
    n_drawn = _MAX_DRAWN // max(1, len(page.placed_frac))
    drawn = [trial.frac for trial in with_sites[:n_drawn] if trial.frac is not None]
    blocks = [page.source_frac, page.placed_frac, *drawn]
    neighbours = nearest_host(page.host, page.element, np.concatenate(blocks))
    rows = np.column_stack([neighbours.index, np.round(neighbours.offset, 5)])
    ends = np.cumsum([len(block) for block in blocks])
    source, placed, *of_trials = (_numbers(part) for part in np.split(rows, ends[:-1]))
    sites = dict(zip((trial.trial for trial in with_sites), of_trials, strict=False))
    return {
        "element": page.element,
        "lattice": _numbers(np.round(page.host.lattice, 5)),
        "species": list(page.host.species),
        "host": _numbers(np.round(page.host.frac, 5)),
        "source": source,
        "placed": placed,
        "neutron": NEUTRON_XH_A if page.element == "H" else {},
        "trials": [_trial_data(trial, sites.get(trial.trial)) for trial in trials],
    }


def _trial_data(trial: TrialView, sites: list[float] | None) -> dict[str, Any]:
    energy = trial.energy_mev_per_atom
    return {
        "number": trial.trial,
        "label": trial_name(trial.trial),
        "outcome": trial.outcome,
        "energy": None if energy is None else round(energy, 2),
        "arrangement": trial.arrangement,
        "sites": sites,
    }


def _numbers(values: FloatArray) -> list[float]:
    """Flat list in which whole numbers are written as such: pages are many, and bytes are saved."""
    return [int(value) if value == int(value) else value for value in values.ravel().tolist()]


_BESIDE = beside("../", _STYLES, _SCRIPTS)
_TEMPLATE = environment().get_template("entry.html")
