"""The documentation of tables, evidence codes and reasons, generated from their definitions."""

from collections.abc import Iterable

from hinpaint.codes import CODES
from hinpaint.doubts import DOUBTS
from hinpaint.tables import ALL_TABLES, Table
from hinpaint.whynot import EXPLANATIONS as REASONS


def tables_markdown() -> str:
    """Everything a user of the catalog needs to know about its names, as Markdown."""
    origin = (
        "Generated from `hinpaint/tables/`, `codes.py`, `doubts.py` and `whynot.py`. The same tables are in "
        "`catalog.duckdb`, where these descriptions are comments, and as Parquet in `results/<run>/<table>/` and in "
        "a release."
    )
    parts = [
        "# Tables",
        origin,
        *(_table(table) for table in ALL_TABLES.values()),
        "## Evidence codes",
        "Values of `evidence.codes`; the factor multiplies the confidence. How they come about: `docs/census.md`.",
        codes_markdown(),
        "## Doubts",
        "Values of `decisions.doubts` and `arrangements.doubts`. How grades come about: `docs/confidence.md`.",
        table_markdown(
            ("doubt", "keeps from accept", "meaning"),
            ((f"`{doubt}`", "yes" if info.needs_review else "", info.text) for doubt, info in DOUBTS.items()),
        ),
        "## Reasons",
        "Values of `whynot.reason`, `trials.reason` and `relaxed.reason`.",
        table_markdown(("reason", "meaning"), ((f"`{reason}`", text) for reason, text in REASONS.items())),
    ]
    return "\n\n".join(parts) + "\n"


def codes_markdown() -> str:
    """Table of the evidence codes; docs/census.md holds it too, and a test keeps the two in step."""
    rows = ((f"`{code}`", info.kind, info.severity, f"{info.factor:g}", info.text) for code, info in CODES.items())
    return table_markdown(("code", "kind", "severity", "factor", "meaning"), rows)


def _table(table: Table) -> str:
    rows = ((f"`{c.name}`", str(c.type), "yes" if c.nullable else "", c.description) for c in table.columns)
    key = ", ".join(f"`{name}`" for name in table.key)
    heading = f"## {table.name}\n\n{table.description[0].upper()}{table.description[1:]}. One row for each {key}.\n\n"
    return heading + table_markdown(("column", "type", "may be empty", "meaning"), rows)


def table_markdown(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
