"""Tables of what came in: records, entries, evidence, source texts, reasons."""

from hinpaint.tables.model import (
    FLAG,
    FLOAT,
    FRAC,
    IDENTITY,
    INT,
    KEY,
    LATTICE,
    SPECIES,
    SUPERCELL,
    TEXT,
    TEXTS,
    Column,
    table,
)

RECORDS = table(
    "records",
    "every record found in a source; each of them is in entries or has exactly one row in whynot",
    ("entry_key",),
    *IDENTITY,
    Column("source_path", TEXT, "file or archive member the record came from"),
    Column("formula_sites", TEXT, "formula of the expanded cell from its sites", nullable=True),
    Column("space_group", TEXT, "Hermann-Mauguin symbol as declared", nullable=True),
    Column("n_sites", INT, "sites in the expanded cell", nullable=True),
    Column("is_ordered", FLAG, "true when every site is fully occupied by one element", nullable=True),
)

ENTRIES = table(
    "entries",
    "structures that are curated; in the stage's Parquet, those that go on to planning",
    ("entry_key",),
    *IDENTITY,
    Column("formula_sites", TEXT, "formula of the expanded cell from its sites"),
    Column("z", FLOAT, "formula units in the cell: declared, or derived from the sites", nullable=True),
    Column("space_group", TEXT, "Hermann-Mauguin symbol as declared", nullable=True),
    Column("n_sites", INT, "sites in the expanded cell"),
    Column("is_ordered", FLAG, "true when every site is fully occupied by one element"),
    Column("is_theoretical", FLAG, "true when the record says it was computed", nullable=True),
    LATTICE,
    SPECIES,
    FRAC,
    SUPERCELL,
    Column("mode", TEXT, "reconstruct, benchmark or audit: what will be done with the entry"),
)

EVIDENCE = table(
    "evidence",
    "what each readable record says about its sites of the target element, counted in the cell",
    ("entry_key",),
    KEY,
    Column("n_h_declared_per_formula", FLOAT, "atoms in one formula unit as declared", nullable=True),
    Column("n_h_declared", INT, "sites the formula asks for (formula x Z)", nullable=True),
    Column("n_h_sites", INT, "sites present with coordinates"),
    Column("n_h_dummy", INT, "sites present without coordinates (dummy, '.' or '?')"),
    Column("n_h_attached", INT, "sites declared as attached hydrogens of other sites"),
    Column("n_h_calculated", INT, "sites present whose positions were calculated, not refined"),
    Column("n_h_refined", INT, "sites present whose coordinates carry a standard uncertainty"),
    Column("n_missing", INT, "sites that are missing: what inpainting has to place", nullable=True),
    Column("n_missing_low", INT, "least number a statement of the record gives; n_missing if certain", nullable=True),
    Column("n_missing_high", INT, "greatest such number; empty where nothing bounds it", nullable=True),
    Column("d_xh_min_a", FLOAT, "shortest distance of a present site to its nearest host site", nullable=True),
    Column("d_xh_max_a", FLOAT, "longest such distance", nullable=True),
    Column("d_hh_min_a", FLOAT, "shortest distance between two ordered present sites", nullable=True),
    Column("charge_balance", FLOAT, "hint: charge of the completed cell by oxidation states", nullable=True),
    Column("bond_valence_missing", FLOAT, "hint: hydrogens bond valences ask for beyond those present", nullable=True),
    Column("confidence", FLOAT, "0 to 1: how sure the record makes us of n_missing"),
    Column("codes", TEXTS, "evidence codes, see docs/census.md"),
)

SOURCE_TEXT = table(
    "source_text",
    "the source text of the entries that go on, kept so that a release can keep their other content",
    ("entry_key",),
    KEY,
    Column("format", TEXT, "format of the text: cif, optimade, extxyz or entries"),
    Column("text", TEXT, "the record as it was read"),
)

WHYNOT = table(
    "whynot",
    "why an entry (trial empty) or one trial of it went no further",
    ("entry_key", "trial"),
    KEY,
    Column("trial", INT, "trial number; empty when the whole entry stopped", nullable=True),
    Column("stage", TEXT, "stage in which it stopped"),
    Column("reason", TEXT, "one of the closed list of reasons"),
    Column("detail", TEXT, "what a curator can act on"),
)
