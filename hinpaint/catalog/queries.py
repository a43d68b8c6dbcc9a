"""Questions that curators ask, with SQL that answers them: docs/queries.md is written from here, a test runs them."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from hinpaint.catalog import build
from hinpaint.catalog.query import LIST, ask, open_catalog


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        title: what a curator wants to know.
        note: what to know about the answer.
        sql: the question in SQL.
    """

    title: str
    note: str
    sql: str


QUESTIONS = (
    Question("Does everything add up?", "One row; `adds_up` is true.", "SELECT * FROM accounting"),
    Question(
        "What was missing where?",
        "By database, with how much was completed; `missing_by_code` says it by evidence code, `missing` by entry.",
        "SELECT * FROM missing_by_database",
    ),
    Question(
        "Which entries lack hydrogen, and how sure is the count?",
        "`n_missing_low` and `n_missing_high` bound the count where the record contradicts itself.",
        "SELECT entry_key, formula_declared, n_missing, n_missing_low, n_missing_high, count_confidence, action\n"
        "FROM missing ORDER BY count_confidence LIMIT 50",
    ),
    Question(
        "Why were entries not completed?",
        "`of_trial` rows are single trials that failed.",
        "SELECT stage, reason, n, example FROM reasons WHERE NOT of_trial",
    ),
    Question(
        "What does the release change?",
        "The structures themselves stand in `holdings` of a release.",
        "SELECT entry_key, action, n_added, n_agree, n_passed FROM corrected",
    ),
    Question(
        "What does the release hold, graded?",
        "Grades and confidence are explained in `decisions` (`hinpaint query --explain-table decisions`).",
        "SELECT * FROM graded_holdings",
    ),
    Question(
        "Which changes are the least certain?",
        "Look at these first; `doubts` says what speaks against them.",
        "SELECT entry_key, grade, confidence, n_agree, n_passed, gap_mev_per_atom, doubts FROM most_uncertain LIMIT 50",
    ),
    Question("How good is it?", "LES with each arm, the strict rate and chance beside it.", "SELECT * FROM les_table"),
    Question(
        "How good is it by chemistry?",
        "Kinds are those of `chemistry`: what is nearest to the hydrogen of the reference. `chance_1_percent` is "
        "random placement through the same relaxation.",
        "SELECT * FROM les_by_chemistry",
    ),
    Question(
        "How good would it be at another tolerance?",
        "In meV/atom; over single trials. Tolerance 0 counts everything that is lower at all.",
        "SELECT * FROM les_at(5.0)",
    ),
    Question(
        "Which verdicts flip at another tolerance?",
        "The candidate is no structural match and counts by its energy alone: at tolerances below "
        "`flips_at_mev_per_atom` it is lower than the source's structure, above it is not.",
        "SELECT entry_key, mode, lower_now, flips_at_mev_per_atom FROM verdict_flips\n"
        "WHERE flips_at_mev_per_atom BETWEEN 0.5 AND 10",
    ),
    Question(
        "What does DFT say of the energetic matches?",
        "Empty without a verification (docs/verification.md). `error_mev_per_atom` is the potential's error.",
        "SELECT entry_key, formula_sites, kind, verdict, delta_e_mev_per_atom, delta_e_dft_mev_per_atom, reason\n"
        "FROM dft_verdicts",
    ),
    Question(
        "Which decisions changed because DFT refuted the potential?",
        "The source stands; the candidate keeps its row, graded `reject`.",
        "SELECT entry_key, mode, action, grade, delta_e_mev_per_atom FROM decisions\n"
        "WHERE list_contains(doubts, 'dft_refuted')",
    ),
    Question(
        "From which energy difference on is the potential to be believed?",
        "Below `trust_from_mev_per_atom` its sign should not be; `rms_error_mev_per_atom` is its error.",
        "SELECT code, potential, n_pairs, rms_error_mev_per_atom, sign_agreement, trust_from_mev_per_atom\n"
        "FROM verify_summary",
    ),
    Question(
        "What did a corrected entry cost?",
        "Of a run, not of a release: releases hold no times. Benchmark entries are paid for by the corrected ones.",
        "SELECT stage, round(job_hours, 2) AS job_hours, round(job_s_per_corrected_entry, 1) AS s_per_entry\n"
        "FROM cost_per_corrected_entry",
    ),
    Question(
        "What changed since the last release?",
        "Ask the release: `hinpaint query --release 2.0.0`; by entry in `changes`.",
        "SELECT * FROM changes_by_kind",
    ),
    Question(
        "Which entries have moved, and how far?",
        "Ask the release. `max_shift_a` is empty where sites came or went.",
        "SELECT entry_key, change, columns, max_shift_a, grade_before, grade_after FROM changes\n"
        "WHERE change = 'coordinates' ORDER BY max_shift_a DESC NULLS FIRST",
    ),
    Question(
        "Which entries may go into a database of mine?",
        "Ask the release: graded entries with their files and licences.",
        "SELECT entry_key, cif, licence, formula_source, formula_released, confidence FROM holdings\n"
        "WHERE grade = 'accept' AND action <> 'unchanged' AND licence LIKE 'CC0%'",
    ),
    Question(
        "Which trials of an entry failed, and why?",
        "Trials below -1 are random-placement controls, -1 is the reference.",
        "SELECT entry_key, trial, stage, reason, detail FROM whynot WHERE trial IS NOT NULL ORDER BY ALL LIMIT 50",
    ),
    Question(
        "In which oxides is water missing?",
        "Tables join by `entry_key`.",
        "SELECT e.entry_key, e.formula_declared, e.space_group, c.n_h2o, c.n_oh\n"
        "FROM chemistry c JOIN entries e USING (entry_key)\n"
        "WHERE c.sites = 'candidate' AND c.n_h2o > 0 ORDER BY c.n_h2o DESC",
    ),
)
_HEAD = """\
# Questions to a catalog

Generated from `hinpaint/catalog/queries.py` by `scripts/write_queries_doc.py`; a test runs every one of them.

```bash
hinpaint query "SELECT * FROM les_by_chemistry"             # results/demo/catalog.duckdb, as a table
hinpaint query --run cod-2026 --file question.sql -o answer.parquet     # or .csv, .json
hinpaint query --run cod-2026 --release 2.0.0 "SELECT * FROM changes"   # the catalog inside a release
hinpaint query --catalog cod-2026-2.0.0/ --list             # a folder that was downloaded: what there is to ask
hinpaint query --explain-table decisions                    # columns, units, meaning
```

```python
import hinpaint

with hinpaint.open_catalog("demo") as catalog:  # a run, a file, or the folder of a release
    frame = catalog.sql("SELECT * FROM les_by_chemistry").df()
```

Both are read-only and reach nothing outside the catalog; rows stay on disk until a question needs them. All tables:
[tables.md](tables.md).
"""


def queries_markdown() -> str:
    """All questions with their SQL and the columns of their answers, then the views, as Markdown."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "catalog.duckdb"
        connection = build.create(path)
        build.complete(connection)
        build.close(connection)
        with open_catalog(path) as catalog:
            parts = [_HEAD.rstrip()]
            for question in QUESTIONS:
                names = ", ".join(f"`{name}`" for name in ask(catalog, question.sql)[0])
                parts.append(
                    f"## {question.title}\n\n{question.note}\n\n```sql\n{question.sql}\n```\n\nColumns: {names}."
                )
            views = [(name, tells) for name, kind, tells in ask(catalog, LIST)[1] if kind != "table"]
    lines = "\n".join(f"| `{name}` | {tells} |" for name, tells in views)
    parts.append(f"## Views\n\n| view | what it tells |\n| --- | --- |\n{lines}")
    return "\n\n".join(parts) + "\n"
