"""The README of a release: what it holds, how it was counted, how to use it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hinpaint.config import Config
from hinpaint.doubts import DOUBTS, Doubt
from hinpaint.jobs import library_versions
from hinpaint.release.completion import METHOD, METHOD_DOI
from hinpaint.whynot import EXPLANATIONS, Reason

_QUERY = """\
```python
import duckdb

duckdb.sql("SELECT reason, count(*) FROM 'tables/whynot.parquet' WHERE trial IS NULL GROUP BY ALL ORDER BY 2 DESC")
duckdb.sql("SELECT * FROM 'tables/decisions.parquet' WHERE action <> 'unchanged'")
```
"""
_FILES = """\
| path | content |
|---|---|
| `pages/index.html` | the release in a browser: overview, searchable table, one page an entry; no server needed |
| `tables/` | all tables as Parquet, the authority; columns carry their units and descriptions |
| `catalog.duckdb` | the same tables with views for common questions, made from them: `hinpaint query --catalog .` |
| `cif/` | one CIF per changed entry: the source's own items, the placed sites, `_hinpaint_*` items that say how |
| `cif_hinpaint.dic` | dictionary of the `_hinpaint_*` items |
| `structures.jsonl`, `optimade.json` | the structures in `cif/` as OPTIMADE JSON Lines, and how to serve them |
| `training.extxyz` | all structures as extended XYZ; `placed` marks the sites that were added |
| `holdings.csv` | every entry of the release: its file, action, grade, licence, and how it differs from the source |
| `changed.csv`, `removed.csv` | entries that differ from the release before, and those that are gone, with the reason |
| `not_released.csv` | entries that may not be released or whose file does not read back, with the reason |
| `croissant.json` | Croissant metadata of the tables |
| `CITATION.cff` | how to cite this release |
| `manifest.json` | SHA-256 of every file, configuration, seed, versions of libraries |
| `checksums.sha256` | the same hashes for `sha256sum -c checksums.sha256` |

`catalog.duckdb` has no hash, as DuckDB does not write equal bytes for equal rows; everything in it stands in `tables/`.
In a CIF, `_hinpaint_symmetry` says whether the source's symmetry is kept, lowered (the source's operators and sites
stand in `_hinpaint_original_*`), or P1. Placed sites are averaged over the symmetry they keep, and
`_hinpaint_symmetry_shift_A` is how far that moved them. Energies are those of the candidate after full relaxation,
before averaging. In `training.extxyz`, `hinpaint_energy_ev` is the interatomic potential's energy of the frame's cell
with the placed sites relaxed on the fixed host (level `h_only`), before averaging: no label of a first-principles
calculation, and not named `energy` for that reason.
"""


_GRADES = """\
Advice from the calibrated confidence and the doubts: `accept` can be taken as it is, at `review` a person should look,
`reject` should not be used. The view `most_uncertain` of the catalog lists the entries to look at first.

"""
_DFT = """\
Reference and candidate, both as the potential relaxed them, computed at the same DFT settings (`les_verified`,
`verifications`). `energetic`: the candidate is no match and lower in energy by the potential; `control`: it is a match;
`neither`: it is no better than the source. Where DFT refutes the potential the source stands: the entry is `unchanged`,
with the doubt `dft_refuted` and the grade `reject`. Metrics `dft_` and `released_les_confirmed` above say what LES is
with DFT's word.

"""
_RATES = """\
Any-of-k rates over the entries with a reference, with 95 % bootstrap intervals. A trial counts for LES when it
matches the reference (`structural`) or is lower in energy (`lower`) and no gate stops it; `les_ungated` ignores the
gates. `match_raw` and `match_h_only` are matches as placed and with the placed sites relaxed, `strict_` asks that
every site lies near its true place on the fixed host, `released_les` is LES of the candidate alone, and `chance_`
rows are random placement through the same chain. `gated` and `failed` are shares of the trials: kept from counting by
a plausibility gate, and without a converged full relaxation.

"""


@dataclass(frozen=True)
class Report:
    """What the README tells, as rows of plain values.

    Attributes:
        actions: (mode, action, number).
        symmetry: (what became of the symmetry, number).
        whynot: (stage, reason, number) of whole entries.
        les: (metric, k, rate, low, high, entries), rates from 0 to 1.
        licences: (database, version, licence, records, released).
        not_released: (reason, detail, number), the most frequent first.
        grades: (grade, number) of changed entries.
        doubts: (doubt, number) of changed entries; one can have several.
        changes: (change, number) since the release before.
        since: version of the release before; None without one.
        advice: what the changes ask for when the version is too low; None when it is not.
        counts: totals.
        verified: (kind, verdict, number) of entries that DFT computed; empty where nothing was verified.
        refuted: (mode, number) of decisions that DFT changed.
        potential_error: (code, potential, pairs, rms error, from where to trust, margin), energies in meV per atom;
            None where nothing was verified.
    """

    actions: Sequence[tuple[Any, ...]]
    symmetry: Sequence[tuple[Any, ...]]
    whynot: Sequence[tuple[Any, ...]]
    les: Sequence[tuple[Any, ...]]
    licences: Sequence[tuple[Any, ...]]
    not_released: Sequence[tuple[Any, ...]]
    grades: Sequence[tuple[Any, ...]]
    doubts: Sequence[tuple[Any, ...]]
    changes: Sequence[tuple[Any, ...]]
    since: str | None
    advice: str | None
    counts: Mapping[str, int]
    verified: Sequence[tuple[Any, ...]] = ()
    refuted: Sequence[tuple[Any, ...]] = ()
    potential_error: tuple[Any, ...] | None = None


def write_readme(config: Config, report: Report) -> str:
    """Write the README's text.

    Args:
        config: the run's configuration.
        report: what to tell.
    """
    counts = report.counts
    parts = [
        f"# {_safe(config.release.title)} {config.release.version}",
        _summary(config, counts),
        "## Files\n\n" + _FILES.rstrip(),
        "## What changed\n\n" + _changes(report),
        "## What was done\n\n" + _table(("mode", "action", "entries"), report.actions),
        "### Grades of the changed entries\n\n" + _GRADES + _table(("grade", "entries"), report.grades),
        "Doubts, of which an entry can have several:\n\n"
        + _table(("doubt", "meaning", "entries"), _meant(report.doubts)),
        "### Symmetry of the released CIFs\n\n" + _table(("symmetry", "entries"), report.symmetry),
        "## Why not\n\n" + _table(("stage", "reason", "meaning", "entries"), _explained(report.whynot)),
        "### Not released\n\n" + _table(("reason", "detail", "entries"), report.not_released),
        "## How good\n\n"
        + _RATES
        + _table(("metric", "k", "rate / %", "interval / %", "entries"), [_percent(row) for row in report.les]),
        *([_verified(report)] if report.verified else []),
        "## Questions to the tables\n\n" + _QUERY.rstrip(),
        "## Licences\n\nEach structure keeps the licence of its source; it stands in its CIF too.\n\n"
        + _table(("database", "version", "licence", "records", "released"), report.licences),
        "## Citation\n\n" + _citation(config),
    ]
    return "\n\n".join(parts) + "\n"


def _summary(config: Config, counts: Mapping[str, int]) -> str:
    return (
        f"{counts['records']} records were read and {counts['entries']} are curated. {counts['released']} structures "
        f"are released with sites of {_safe(config.element)} placed by {METHOD} (doi {METHOD_DOI}); "
        f"{counts['not_released']} more entries are not released, see below."
    )


def _changes(report: Report) -> str:
    if report.since is None:
        return "There is no release before this one to compare with."
    head = f"Since {_safe(report.since)} (`changed.csv`, `removed.csv`, table `changes`; `hinpaint diff` says more):"
    note = f"\n\n**Version:** {_safe(report.advice)}" if report.advice else ""
    return f"{head}\n\n{_table(('change', 'entries'), report.changes)}{note}"


def _verified(report: Report) -> str:
    """What DFT says of candidates, and what the release did about it."""
    text = "## Verified by DFT\n\n" + _DFT + _table(("claim", "verdict", "entries"), report.verified)
    if report.potential_error is not None:
        code, potential, pairs, rms, trust, margin = report.potential_error
        text += (
            f"\n\n{_safe(str(code))} (PBE) against {_safe(str(potential))} on {pairs} pairs: the potential's energy "
            f"differences have an error of {rms:.1f} meV/atom (root mean square). {_believed(trust)} "
            f"Verdicts within {margin:.1f} meV/atom are undecided."
        )
    return f"{text}\n\nDecisions that DFT changed:\n\n{_table(('mode', 'entries'), report.refuted)}"


def _believed(trust: float | None) -> str:
    if trust is None:
        return "These pairs do not say from which size on one should be believed."
    return f"Smaller ones than {trust:.1f} meV/atom should not be believed."


def _citation(config: Config) -> str:
    version = library_versions().get("hinpaint", "")
    return (
        f"Cite this release by its title and version ({_safe(config.release.title)} {config.release.version}, made "
        f"with hinpaint {version}), the databases above, and the method: doi {METHOD_DOI}."
    )


def _explained(rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    known = {reason.value: EXPLANATIONS[Reason(reason)] for reason in Reason}
    return [(stage, reason, known.get(reason, ""), count) for stage, reason, count in rows]


def _meant(rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [(doubt, DOUBTS[Doubt(doubt)].text, count) for doubt, count in rows]


def _percent(row: tuple[Any, ...]) -> tuple[Any, ...]:
    metric, k, rate, low, high, entries = row
    return metric, k, f"{100 * rate:.1f}", f"{100 * low:.1f} to {100 * high:.1f}", entries


def _table(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> str:
    if not rows:
        return "None."
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(_safe(str(value)) for value in row) + " |" for row in rows]
    return "\n".join(lines)


def _safe(text: str) -> str:
    """Text that stays text in Markdown and HTML, on one line: it may come from a source."""
    shown = " ".join(text.split())
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        shown = shown.replace(character, entity)
    return "".join("\\" + c if c in "\\`*[]|!#" else c for c in shown)
