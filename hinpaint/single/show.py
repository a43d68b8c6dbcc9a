"""What became of the trials, in a terminal."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from hinpaint.doubts import DOUBTS, Doubt
from hinpaint.single.deciding import Chosen
from hinpaint.single.reading import Read
from hinpaint.single.scan import Count, steps_ev
from hinpaint.single.trials import Candidate

_COLOURS = {"accept": "green", "review": "yellow", "reject": "red"}


def print_read(console: Console, read: Read) -> None:
    """Say what was read and what the record says."""
    lines = [f"{read.name}: {read.host.n_sites} known sites, {read.n_unknown} {read.element} to place"]
    if read.n_cells > 1:
        lines.append(f"completed in its primitive cell, {read.n_cells} of which fill the cell")
    lines.append(f"evidence: {', '.join(read.evidence.codes) or 'nothing remarkable'}")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def print_trials(console: Console, read: Read, candidates: Sequence[Candidate]) -> None:
    """One line a trial, the lowest in energy first, those that do not count last."""
    n_sites = read.primitive_host.n_sites + read.n_placed
    counted = sorted((c for c in candidates if c.stop is None), key=lambda c: (c.full.energy_ev or 0.0, c.trial))
    table = Table("trial", "arrangement", "energy (eV/cell)", "above best (meV/atom)", "moved (Å)", "outcome")
    for column in table.columns[:-1]:
        column.justify = "right"
    for each in [*counted, *(c for c in candidates if c.stop is not None)]:
        energy = each.full.energy_ev
        stop = each.stop
        above = None if stop or energy is None else 1000 * (energy - (counted[0].full.energy_ev or 0.0)) / n_sites
        table.add_row(
            str(each.trial),
            "" if each.member is None else str(each.member.arrangement),
            _number(energy, ".4f"),
            _number(above, ".1f"),
            _number(each.appraisal.shift_a if each.appraisal else None, ".2f"),
            "converged" if stop is None else f"{stop.reason} {stop.detail}".strip(),
        )
    console.print(table)


def print_decision(console: Console, chosen: Chosen) -> None:
    """The decision in one line, then a line for every doubt."""
    row = chosen.row
    colour = _COLOURS[row["grade"]]
    console.print(f"[{colour}]{row['grade']}[/]: {_grounds(row)}", highlight=False, soft_wrap=True)
    for name in row["doubts"]:
        console.print(f"  {name}: {DOUBTS[Doubt(name)].text}", markup=False, highlight=False, soft_wrap=True)


def _grounds(row: dict[str, Any]) -> str:
    gap = row["gap_mev_per_atom"]
    rival = "no other arrangement found" if gap is None else f"the next arrangement is {gap:.1f} meV/atom higher"
    return (
        f"confidence {row['confidence']:.2f}, {row['confidence_strict']:.2f} within 0.3 Å; trial {row['trial']}, "
        f"{row['n_agree']} of {row['n_trials']} trials reached it, {rival}"
    )


def print_counts(console: Console, counts: Sequence[Count], element: str) -> None:
    """One line a count of the scan."""
    reference = "H2" if element == "H" else "nothing: energies hold the added atoms"
    table = Table(
        "sites", "lowest energy (eV/cell)", "per added site (eV)", "last step (eV)", "converged",
        caption=f"on the fixed host; against {reference}", caption_justify="left",
    )  # fmt: skip
    for column in table.columns:
        column.justify = "right"
    for each, step in zip(counts, steps_ev(counts), strict=True):
        n_sites = each.read.n_unknown
        n_counted = sum(c.stop is None for c in each.candidates)
        per_site = None if each.gain_ev is None else each.gain_ev / n_sites
        table.add_row(
            str(n_sites), _number(each.energy_ev, ".4f"), _number(per_site, "+.3f"), _number(step, "+.3f"),
            f"{n_counted} of {len(each.candidates)}",
        )  # fmt: skip
    console.print(table)


def _number(value: float | None, form: str) -> str:
    return "" if value is None else f"{value:{form}}"
