"""Every table hinpaint writes: one definition gives the Arrow schema, the SQL comments and the documentation.

Names are promises to users. Units stand in the column names (``_a`` ångström, ``_ev``, ``_mev_per_atom``, ``_s``).
"""

from dataclasses import dataclass

import pyarrow as pa

SCHEMA_VERSION = "1"

# Trials are numbered 0, 1, ...; these numbers below them have a meaning of their own.
REFERENCE = -1
FIRST_CONTROL = -2

_TEXT = pa.string()
_INT = pa.int32()
_FLOAT = pa.float64()
_FLAG = pa.bool_()
_VECTOR = pa.list_(pa.float64())
_TEXTS = pa.list_(pa.string())


@dataclass(frozen=True)
class Column:
    """One column: its name, Arrow type, description, and whether it may be empty."""

    name: str
    type: pa.DataType
    description: str
    nullable: bool = False


@dataclass(frozen=True)
class Table:
    """One table: its name, what a row is, the columns, and the columns that identify a row."""

    name: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema; the descriptions travel as field metadata, the version as schema metadata."""
        fields = [
            pa.field(c.name, c.type, nullable=c.nullable, metadata={"description": c.description}) for c in self.columns
        ]
        return pa.schema(fields, metadata={"table": self.name, "schema_version": SCHEMA_VERSION})


_COMMON = (
    Column("run_id", _TEXT, "name of the run that wrote the row"),
    Column("schema_version", _TEXT, "version of this table's definition"),
)


def _table(name: str, description: str, key: tuple[str, ...], *columns: Column) -> Table:
    return Table(name, description, (*columns, *_COMMON), key)


_KEY = Column("entry_key", _TEXT, "database|version|id of the entry")
_TRIAL = Column(
    "trial", _INT, "trial number: 0, 1, ... model trials; -1 the reference; -2, -3, ... random-placement controls"
)
_LATTICE = Column("lattice", _VECTOR, "lattice vectors as rows, 9 numbers, ångström")
_SPECIES = Column("species", _TEXTS, "element symbol of each site")
_FRAC = Column("frac", _VECTOR, "fractional coordinates, 3 numbers a site")
_SUPERCELL = Column(
    "supercell", pa.list_(_INT), "9 integers, row by row: the source's lattice in vectors of the cell tasks work in"
)

_IDENTITY = (
    _KEY,
    Column("database", _TEXT, "short name of the database"),
    Column("version", _TEXT, "version of the database or of the entry"),
    Column("source_id", _TEXT, "the database's own id of the entry"),
    Column("origin", _TEXT, "database|id[|revision] of the record it was made from, as it says", nullable=True),
    Column("licence", _TEXT, "licence of the record (SPDX where one exists)"),
    Column("source_sha256", _TEXT, "SHA-256 of the record's source text"),
    Column("formula_declared", _TEXT, "formula as the record declares it", nullable=True),
)

RECORDS = _table(
    "records",
    "every record found in a source; each of them is in entries or has exactly one row in whynot",
    ("entry_key",),
    *_IDENTITY,
    Column("source_path", _TEXT, "file or archive member the record came from"),
    Column("formula_sites", _TEXT, "formula of the expanded cell from its sites", nullable=True),
    Column("space_group", _TEXT, "Hermann-Mauguin symbol as declared", nullable=True),
    Column("n_sites", _INT, "sites in the expanded cell", nullable=True),
    Column("is_ordered", _FLAG, "true when every site is fully occupied by one element", nullable=True),
)

ENTRIES = _table(
    "entries",
    "structures that are curated; in the stage's Parquet, those that go on to planning",
    ("entry_key",),
    *_IDENTITY,
    Column("formula_sites", _TEXT, "formula of the expanded cell from its sites"),
    Column("z", _FLOAT, "formula units in the cell: declared, or derived from the sites", nullable=True),
    Column("space_group", _TEXT, "Hermann-Mauguin symbol as declared", nullable=True),
    Column("n_sites", _INT, "sites in the expanded cell"),
    Column("is_ordered", _FLAG, "true when every site is fully occupied by one element"),
    Column("is_theoretical", _FLAG, "true when the record says it was computed", nullable=True),
    _LATTICE,
    _SPECIES,
    _FRAC,
    _SUPERCELL,
    Column("mode", _TEXT, "reconstruct, benchmark or audit: what will be done with the entry"),
)

EVIDENCE = _table(
    "evidence",
    "what each readable record says about its sites of the target element, counted in the cell",
    ("entry_key",),
    _KEY,
    Column("n_h_declared_per_formula", _FLOAT, "atoms in one formula unit as declared", nullable=True),
    Column("n_h_declared", _INT, "sites the formula asks for (formula x Z)", nullable=True),
    Column("n_h_sites", _INT, "sites present with coordinates"),
    Column("n_h_dummy", _INT, "sites present without coordinates (dummy, '.' or '?')"),
    Column("n_h_attached", _INT, "sites declared as attached hydrogens of other sites"),
    Column("n_h_calculated", _INT, "sites present whose positions were calculated, not refined"),
    Column("n_h_refined", _INT, "sites present whose coordinates carry a standard uncertainty"),
    Column("n_missing", _INT, "sites that are missing: what inpainting has to place", nullable=True),
    Column("n_missing_low", _INT, "least number a statement of the record gives; n_missing if certain", nullable=True),
    Column("n_missing_high", _INT, "greatest such number; empty where nothing bounds it", nullable=True),
    Column("d_xh_min_a", _FLOAT, "shortest distance of a present site to its nearest host site", nullable=True),
    Column("d_xh_max_a", _FLOAT, "longest such distance", nullable=True),
    Column("d_hh_min_a", _FLOAT, "shortest distance between two ordered present sites", nullable=True),
    Column("charge_balance", _FLOAT, "hint: charge of the completed cell by oxidation states", nullable=True),
    Column("bond_valence_missing", _FLOAT, "hint: hydrogens bond valences ask for beyond those present", nullable=True),
    Column("confidence", _FLOAT, "0 to 1: how sure the record makes us of n_missing"),
    Column("codes", _TEXTS, "evidence codes, see docs/census.md"),
)

SOURCE_TEXT = _table(
    "source_text",
    "the source text of the entries that go on, kept so that a release can keep their other content",
    ("entry_key",),
    _KEY,
    Column("format", _TEXT, "format of the text: cif, optimade, extxyz or entries"),
    Column("text", _TEXT, "the record as it was read"),
)

WHYNOT = _table(
    "whynot",
    "why an entry (trial empty) or one trial of it went no further",
    ("entry_key", "trial"),
    _KEY,
    Column("trial", _INT, "trial number; empty when the whole entry stopped", nullable=True),
    Column("stage", _TEXT, "stage in which it stopped"),
    Column("reason", _TEXT, "one of the closed list of reasons"),
    Column("detail", _TEXT, "what a curator can act on"),
)

TASKS = _table(
    "tasks",
    "one completion to do: a host in its primitive cell and the number of sites to place in it",
    ("entry_key",),
    _KEY,
    Column("mode", _TEXT, "reconstruct (missing sites), benchmark (known sites stripped) or audit"),
    Column("element", _TEXT, "element to place"),
    Column("n_unknown", _INT, "sites to place in the task's cell"),
    Column("host_sha256", _TEXT, "identity of cell, host and what to place; names the random streams of the trials"),
    Column("shard", _INT, "shard the task belongs to"),
    Column("cost", _FLOAT, "predicted cost, in arbitrary but common units"),
    _LATTICE,
    _SUPERCELL,
    Column("host_species", _TEXTS, "element of each host site, in the source's order"),
    Column("host_frac", _VECTOR, "fractional coordinates of the host, 3 numbers a site"),
    Column(
        "reference_frac",
        _VECTOR,
        "benchmark and audit: the source's coordinates of the stripped sites; empty otherwise",
        nullable=True,
    ),
)

TRIALS = _table(
    "trials",
    "one attempt to place the unknown sites of a task, before any relaxation",
    ("entry_key", "trial"),
    _KEY,
    _TRIAL,
    Column("seed", pa.int64(), "seed of the run"),
    Column("sampler", _TEXT, "td, pos_only, repaint, replacement, euler or random"),
    Column("n_steps", _INT, "denoising steps"),
    Column("model_sha256", _TEXT, "SHA-256 of the weights; empty for random placement", nullable=True),
    Column("frac_unknown", _VECTOR, "fractional coordinates of the placed sites in the task's cell", nullable=True),
    Column("d_min_a", _FLOAT, "shortest distance of a placed site to any other site, ångström", nullable=True),
    Column("reason", _TEXT, "why the trial failed; empty when it did not", nullable=True),
)

RELAXED = _table(
    "relaxed",
    "one relaxation of one trial (or of the reference) at one level",
    ("entry_key", "trial", "level"),
    _KEY,
    _TRIAL,
    Column("level", _TEXT, "h_only (placed sites move, cell fixed) or full (all sites and the cell)"),
    Column("potential", _TEXT, "name of the interatomic potential"),
    Column("potential_sha256", _TEXT, "SHA-256 of the potential's file"),
    Column("energy_start_ev", _FLOAT, "energy before the level, eV a cell", nullable=True),
    Column("energy_ev", _FLOAT, "energy after the level, eV a cell", nullable=True),
    Column("fmax_ev_per_a", _FLOAT, "largest force on a free site after the level, eV per ångström", nullable=True),
    Column("n_steps", _INT, "optimiser steps"),
    Column("converged", _FLAG, "true when the force (and stress) threshold was reached"),
    _LATTICE,
    _FRAC,
    Column("volume_change", _FLOAT, "relative change of the cell volume during the level", nullable=True),
    Column("reason", _TEXT, "why the relaxation failed or does not count; empty otherwise", nullable=True),
    Column("detail", _TEXT, "what the reason means here: the gate, the distance, the message", nullable=True),
)

MATCHES = _table(
    "matches",
    "one trial compared with the reference at one level",
    ("entry_key", "trial", "level"),
    _KEY,
    _TRIAL,
    Column("level", _TEXT, "raw, h_only or full"),
    Column("matched", _FLAG, "pymatgen's StructureMatcher says the trial is the reference"),
    Column("rms", _FLOAT, "the matcher's normalised root mean square displacement", nullable=True),
    Column("h_rmsd_a", _FLOAT, "root mean square distance of placed sites on the fixed host, ångström", nullable=True),
    Column("h_max_a", _FLOAT, "largest distance of assigned placed sites on the fixed host, ångström", nullable=True),
    Column(
        "delta_e_mev_per_atom", _FLOAT, "trial minus reference, same potential and level, meV per atom", nullable=True
    ),
    Column("matcher", _TEXT, "matcher, version and settings"),
)

LES_ENTRY = _table(
    "les_entry",
    "LES of one entry over its trials; controls in the columns that begin with chance_",
    ("entry_key",),
    _KEY,
    Column("n_trials", _INT, "model trials, failed ones counted"),
    Column("n_structural", _INT, "fully relaxed trials that match the reference"),
    Column("n_lower", _INT, "trials lower in energy than the reference by more than the tolerance"),
    Column("n_les", _INT, "trials that match or are lower"),
    Column("n_match_raw", _INT, "trials that match before relaxation"),
    Column("n_match_h_only", _INT, "trials that match after the hydrogen-only relaxation"),
    Column("n_strict_raw", _INT, "trials whose every placed site lies within 0.3 Å of the reference, unrelaxed"),
    Column("n_strict_h_only", _INT, "the same after the hydrogen-only relaxation"),
    Column("n_gated", _INT, "trials that a plausibility gate kept from counting"),
    Column("n_failed", _INT, "trials without a converged full relaxation"),
    Column("released_trial", _INT, "the candidate that would be released; empty when none passes", nullable=True),
    Column("released_les", _FLAG, "LES of the candidate that would be released"),
    Column("chance_n_trials", _INT, "random-placement controls"),
    Column("chance_n_les", _INT, "controls that match or are lower after the same relaxation"),
    Column("chance_n_match_raw", _INT, "controls that match before relaxation"),
    Column("chance_n_match_h_only", _INT, "controls that match after the hydrogen-only relaxation"),
)

LES_SUMMARY = _table(
    "les_summary",
    "any-of-k rates over the entries with a reference",
    ("metric", "k"),
    Column(
        "metric",
        _TEXT,
        "les, structural, lower, match_raw, match_h_only, strict_raw, strict_h_only, released_les, "
        "chance_les, chance_match_raw or chance_match_h_only",
    ),
    Column("k", _INT, "number of trials drawn"),
    Column("rate", _FLOAT, "mean over entries of the unbiased any-of-k estimate"),
    Column("ci_low", _FLOAT, "2.5 % bootstrap bound over entries"),
    Column("ci_high", _FLOAT, "97.5 % bootstrap bound over entries"),
    Column("n_entries", _INT, "entries averaged"),
    Column("tol_mev_per_atom", _FLOAT, "energy tolerance of the lower-energy arm"),
)

DECISIONS = _table(
    "decisions",
    "what the release does with each curated entry",
    ("entry_key",),
    _KEY,
    Column("mode", _TEXT, "reconstruct, benchmark or audit"),
    Column("action", _TEXT, "completed (sites added), replaced (audited sites moved) or unchanged (the source stands)"),
    Column("trial", _INT, "the candidate: lowest energy among converged trials that pass the gates", nullable=True),
    Column("element", _TEXT, "element of the placed sites"),
    Column(
        "frac_unknown",
        _VECTOR,
        "its placed sites after the hydrogen-only relaxation, in the source's cell and host",
        nullable=True,
    ),
    Column("energy_ev", _FLOAT, "its energy after the full relaxation, eV for the task's cell", nullable=True),
    Column(
        "delta_e_mev_per_atom", _FLOAT, "candidate minus source structure; empty without a reference", nullable=True
    ),
    Column("n_passed", _INT, "trials that converged and passed the gates"),
    Column("n_agree", _INT, "of these, trials within the energy tolerance of the candidate: independent agreement"),
    Column("potential", _TEXT, "potential that decided"),
    Column("model_sha256", _TEXT, "SHA-256 of the diffusion weights", nullable=True),
)

RUNS = _table(
    "runs",
    "one row a job: what ran, where, for how long",
    ("stage", "shard"),
    Column("stage", _TEXT, "stage of the job"),
    Column("shard", _INT, "shard of the job"),
    Column("n_in", _INT, "rows that came in"),
    Column("n_out", _INT, "rows that went out"),
    Column("n_reused", _INT, "of these, rows that an earlier job had finished: taken from the journal"),
    Column("seconds_s", _FLOAT, "wall-clock seconds of the job"),
    Column("compute_s", _FLOAT, "seconds in the network or potential, without start-up", nullable=True),
    Column("busy_fraction", _FLOAT, "compute_s over seconds_s, waits between kernels counted as busy", nullable=True),
    Column("trials_per_hour", _FLOAT, "trials or structures computed, not reused, per hour of job", nullable=True),
    Column("peak_memory_mb", _FLOAT, "peak resident memory of the process, MiB"),
    Column("hardware", _TEXT, "device and number of threads"),
    Column("versions", _TEXT, "versions of the libraries that decide results, JSON"),
    Column("model_sha256", _TEXT, "SHA-256 of the diffusion weights", nullable=True),
    Column("potential_sha256", _TEXT, "SHA-256 of the potential", nullable=True),
)

ALL_TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        RECORDS, ENTRIES, EVIDENCE, SOURCE_TEXT, WHYNOT, TASKS, TRIALS, RELAXED, MATCHES,
        LES_ENTRY, LES_SUMMARY, DECISIONS, RUNS,
    )
}  # fmt: skip
