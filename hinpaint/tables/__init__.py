"""Every table hinpaint writes: one definition gives the Arrow schema, the SQL comments and the documentation.

Names are promises to users. Units stand in the column names (``_a`` ångström, ``_ev``, ``_mev_per_atom``, ``_s``).
"""

from hinpaint.tables.computed import ARRANGEMENTS, MATCHES, RELAXED, RUNS, TASKS, TRIALS
from hinpaint.tables.ingested import ENTRIES, EVIDENCE, RECORDS, SOURCE_TEXT, WHYNOT
from hinpaint.tables.judged import DECISIONS, LES_ENTRY, LES_SUMMARY
from hinpaint.tables.model import FIRST_CONTROL, REFERENCE, SCHEMA_VERSION, Column, Table
from hinpaint.tables.released import CHANGES, CHEMISTRY, HOLDINGS
from hinpaint.tables.verified import LES_VERIFIED, VERIFICATIONS, VERIFY_SUMMARY, VERIFY_TASKS

__all__ = [
    "ALL_TABLES", "ARRANGEMENTS", "CHANGES", "CHEMISTRY", "DECISIONS", "ENTRIES", "EVIDENCE", "FIRST_CONTROL",
    "HOLDINGS", "LES_ENTRY", "LES_SUMMARY", "LES_VERIFIED", "MATCHES", "RECORDS", "REFERENCE", "RELAXED", "RUNS",
    "SCHEMA_VERSION", "SOURCE_TEXT", "TASKS", "TRIALS", "VERIFICATIONS", "VERIFY_SUMMARY", "VERIFY_TASKS", "WHYNOT",
    "Column", "Table",
]  # fmt: skip

ALL_TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        RECORDS, ENTRIES, EVIDENCE, SOURCE_TEXT, WHYNOT, TASKS, TRIALS, RELAXED, MATCHES, ARRANGEMENTS,
        LES_ENTRY, LES_SUMMARY, DECISIONS, VERIFY_TASKS, VERIFICATIONS, LES_VERIFIED, VERIFY_SUMMARY, CHEMISTRY,
        HOLDINGS, CHANGES, RUNS,
    )
}  # fmt: skip
