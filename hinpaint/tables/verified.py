"""Tables of verification by DFT: what was picked, what was computed, what follows."""

import pyarrow as pa

from hinpaint.tables.model import FLAG, FLOAT, FRAC, INT, KEY, LATTICE, SPECIES, TEXT, TRIAL, Column, table

KIND = Column(
    "kind",
    TEXT,
    "what LES of the candidate rests on: energetic (lower in energy, no match), control (structural match), or neither",
)
KPOINTS = Column("kpoints", pa.list_(INT), "k-points along each reciprocal vector; equal for reference and candidate")
POTENTIAL_DELTA = Column(
    "delta_e_mev_per_atom", FLOAT, "candidate minus reference by the potential, both fully relaxed, meV per atom"
)

VERIFY_TASKS = table(
    "verify_tasks",
    "one structure for DFT to compute: the reference (trial -1) and the candidate of each entry that was picked",
    ("entry_key", "trial"),
    KEY,
    TRIAL,
    KIND,
    Column("shard", INT, "verification job"),
    Column("cost", FLOAT, "predicted cost, in arbitrary but common units"),
    Column("check", FLAG, "computed again at the check's settings"),
    KPOINTS,
    Column("kpoints_check", pa.list_(INT), "the same at the check's settings"),
    POTENTIAL_DELTA,
    Column("potential", TEXT, "potential that relaxed it"),
    LATTICE,
    SPECIES,
    FRAC,
    Column("n_placed", INT, "placed sites (of the reference: the source's own); they stand behind all others"),
)

VERIFICATIONS = table(
    "verifications",
    "one structure computed by DFT at one set of settings",
    ("entry_key", "trial", "settings"),
    KEY,
    TRIAL,
    Column("settings", TEXT, "main, or check (higher cutoff, denser k-points)"),
    Column(
        "settings_sha256", TEXT, "SHA-256 of code, its version and all settings that decide an energy, k-points aside"
    ),
    Column("code", TEXT, "gpaw or espresso"),
    Column("code_version", TEXT, "its version"),
    Column("functional", TEXT, "exchange-correlation functional"),
    Column("cutoff_ev", FLOAT, "plane-wave cutoff", nullable=True),
    KPOINTS,
    Column("spin", FLAG, "computed with spin polarisation, from high-spin parallel moments"),
    Column("relax", TEXT, "none, h_only or full: what DFT relaxed"),
    Column("energy_ev", FLOAT, "energy, eV a cell, extrapolated to zero smearing; the code's own zero", nullable=True),
    Column("fmax_ev_per_a", FLOAT, "largest force on a site, eV per ångström", nullable=True),
    Column("moment_mb", FLOAT, "magnetic moment of the cell, Bohr magnetons", nullable=True),
    Column("n_steps", INT, "steps of the relaxation", nullable=True),
    Column("n_attempts", INT, "ways to a self-consistent density that were tried", nullable=True),
    Column("wall_s", FLOAT, "wall-clock seconds", nullable=True),
    Column("cpu_s", FLOAT, "CPU seconds, all ranks", nullable=True),
    Column("lattice", LATTICE.type, f"as computed (relaxed): {LATTICE.description}", nullable=True),
    Column("frac", FRAC.type, f"as computed (relaxed): {FRAC.description}", nullable=True),
    Column("reason", TEXT, "why there is no energy; empty otherwise", nullable=True),
    Column("detail", TEXT, "what the reason means here", nullable=True),
)

LES_VERIFIED = table(
    "les_verified",
    "what DFT says of an entry that was picked",
    ("entry_key",),
    KEY,
    Column("trial", INT, "the candidate"),
    KIND,
    Column(
        "verdict",
        TEXT,
        "confirmed, refuted, undecided (within margin_mev_per_atom) or failed (see reason); for a control: confirmed "
        "when the candidate is not above the reference by more than the margin, for neither when it is not below",
    ),
    POTENTIAL_DELTA,
    Column("delta_e_dft_mev_per_atom", FLOAT, "the same by DFT", nullable=True),
    Column("check_mev_per_atom", FLOAT, "change of that at the check's settings; empty where unchecked", nullable=True),
    Column("margin_mev_per_atom", FLOAT, "the larger of les.tol and the largest change that a check found"),
    Column("relax", TEXT, "none, h_only or full: what DFT relaxed"),
    Column("code", TEXT, "gpaw or espresso"),
    Column("settings_sha256", TEXT, "see verifications; empty where nothing was computed", nullable=True),
    Column("wall_s", FLOAT, "wall-clock seconds, the check's included"),
    Column("cpu_s", FLOAT, "CPU seconds, the check's included"),
    Column("reason", TEXT, "why there is no verdict; empty otherwise", nullable=True),
    Column("detail", TEXT, "what the reason means here", nullable=True),
)

VERIFY_SUMMARY = table(
    "verify_summary",
    "what DFT says of the potential; one row where a verification ran. Rates are in les_summary",
    ("code",),
    Column("code", TEXT, "gpaw or espresso"),
    Column("code_version", TEXT, "its version", nullable=True),
    Column("potential", TEXT, "the potential", nullable=True),
    Column("n_picked", INT, "entries picked, controls and failed ones included"),
    Column("n_failed", INT, "of these, without both energies"),
    Column("n_pairs", INT, "pairs of energies by both"),
    Column("mean_error_mev_per_atom", FLOAT, "mean of delta by the potential minus delta by DFT", nullable=True),
    Column("rms_error_mev_per_atom", FLOAT, "root mean square of the same", nullable=True),
    Column("median_error_mev_per_atom", FLOAT, "median of its absolute value", nullable=True),
    Column("sign_agreement", FLOAT, "share of pairs in which both deltas have one sign", nullable=True),
    Column(
        "trust_from_mev_per_atom",
        FLOAT,
        "smallest delta by the potential from which on, in absolute value, at least 95 % of the pairs have DFT's sign: "
        "below it the potential's verdict should not be believed; empty when no part of the pairs reaches that",
        nullable=True,
    ),
    Column("n_checked", INT, "pairs computed at the check's settings too"),
    Column("check_mev_per_atom", FLOAT, "largest change of a delta that they found", nullable=True),
    Column("wall_s", FLOAT, "wall-clock seconds of all calculations"),
    Column("cpu_s", FLOAT, "CPU seconds of all calculations"),
)
