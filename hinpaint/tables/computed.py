"""Tables of what was computed: tasks, trials, relaxations, matches, jobs."""

import pyarrow as pa

from hinpaint.tables.model import (
    FLAG,
    FLOAT,
    FRAC,
    INT,
    KEY,
    LATTICE,
    SUPERCELL,
    TEXT,
    TEXTS,
    TRIAL,
    VECTOR,
    Column,
    table,
)

TASKS = table(
    "tasks",
    "one completion to do: a host in its primitive cell and the number of sites to place in it",
    ("entry_key",),
    KEY,
    Column("mode", TEXT, "reconstruct (missing sites), benchmark (known sites stripped) or audit"),
    Column("element", TEXT, "element to place"),
    Column("n_unknown", INT, "sites to place in the task's cell"),
    Column("host_sha256", TEXT, "identity of cell, host and what to place; names the random streams of the trials"),
    Column("shard", INT, "shard the task belongs to"),
    Column("cost", FLOAT, "predicted cost, in arbitrary but common units"),
    LATTICE,
    SUPERCELL,
    Column("host_species", TEXTS, "element of each host site, in the source's order"),
    Column("host_frac", VECTOR, "fractional coordinates of the host, 3 numbers a site"),
    Column(
        "reference_frac",
        VECTOR,
        "benchmark and audit: the source's coordinates of the stripped sites; empty otherwise",
        nullable=True,
    ),
)

TRIALS = table(
    "trials",
    "one attempt to place the unknown sites of a task, before any relaxation",
    ("entry_key", "trial"),
    KEY,
    TRIAL,
    Column("seed", pa.int64(), "seed of the run"),
    Column("sampler", TEXT, "td, renoise, dpm, euler, repaint, replacement, pos_only or random"),
    Column("n_steps", INT, "denoising steps"),
    Column("n_evaluations", INT, "network evaluations the trial took; 0 for random placement"),
    Column("model_sha256", TEXT, "SHA-256 of the weights; empty for random placement", nullable=True),
    Column("frac_unknown", VECTOR, "fractional coordinates of the placed sites in the task's cell", nullable=True),
    Column("d_min_a", FLOAT, "shortest distance of a placed site to any other site, ångström", nullable=True),
    Column("reason", TEXT, "why the trial failed; empty when it did not", nullable=True),
)

RELAXED = table(
    "relaxed",
    "one relaxation of one trial (or of the reference) at one level",
    ("entry_key", "trial", "level"),
    KEY,
    TRIAL,
    Column("level", TEXT, "h_only (placed sites move, cell fixed) or full (all sites and the cell)"),
    Column("potential", TEXT, "name of the interatomic potential"),
    Column("potential_sha256", TEXT, "SHA-256 of the potential's file"),
    Column("energy_start_ev", FLOAT, "energy before the level, eV a cell", nullable=True),
    Column("energy_ev", FLOAT, "energy after the level, eV a cell", nullable=True),
    Column("fmax_ev_per_a", FLOAT, "largest force on a free site after the level, eV per ångström", nullable=True),
    Column("n_steps", INT, "optimiser steps"),
    Column("converged", FLAG, "true when the force (and stress) threshold was reached"),
    LATTICE,
    FRAC,
    Column("volume_change", FLOAT, "relative change of the cell volume during the level", nullable=True),
    Column("reason", TEXT, "why the relaxation failed or does not count; empty otherwise", nullable=True),
    Column("detail", TEXT, "what the reason means here: the gate, the distance, the message", nullable=True),
)

MATCHES = table(
    "matches",
    "one trial compared with the reference at one level",
    ("entry_key", "trial", "level"),
    KEY,
    TRIAL,
    Column("level", TEXT, "raw, h_only or full"),
    Column("matched", FLAG, "pymatgen's StructureMatcher says the trial is the reference"),
    Column("rms", FLOAT, "the matcher's normalised root mean square displacement", nullable=True),
    Column("h_rmsd_a", FLOAT, "root mean square distance of placed sites on the fixed host, ångström", nullable=True),
    Column("h_max_a", FLOAT, "largest distance of assigned placed sites on the fixed host, ångström", nullable=True),
    Column(
        "delta_e_mev_per_atom", FLOAT, "trial minus reference, same potential and level, meV per atom", nullable=True
    ),
    Column("matcher", TEXT, "matcher, version and settings"),
)

ARRANGEMENTS = table(
    "arrangements",
    "one trial whose hydrogen-only relaxation has an end: which arrangement it reached and how that looks",
    ("entry_key", "trial"),
    KEY,
    TRIAL,
    Column("arrangement", INT, "number of the arrangement in its entry; 0 is the lowest in energy"),
    Column("distance_a", FLOAT, "largest distance of its sites from those of the arrangement's lowest trial, ångström"),
    Column("energy_ev", FLOAT, "energy after the hydrogen-only relaxation, eV a cell"),
    Column("shift_a", FLOAT, "largest displacement of a placed site in the hydrogen-only relaxation, ångström"),
    Column("d_xh_min_a", FLOAT, "shortest distance of a placed site to its nearest host site, ångström"),
    Column("d_xh_max_a", FLOAT, "longest such distance, ångström"),
    Column("d_hh_min_a", FLOAT, "shortest distance of a placed site to a site of the same element", nullable=True),
    Column("n_operations_host", INT, "symmetry operations of the host in the task's cell"),
    Column("n_operations_kept", INT, "of these, operations that the placed sites keep"),
    Column("gate", TEXT, "why this geometry cannot be released; empty when it can", nullable=True),
    Column("doubts", TEXTS, "doubts about this geometry, see the list of doubts"),
)

RUNS = table(
    "runs",
    "one row a job: what ran, where, for how long",
    ("stage", "shard"),
    Column("stage", TEXT, "stage of the job"),
    Column("shard", INT, "shard of the job"),
    Column("n_in", INT, "rows that came in"),
    Column("n_out", INT, "rows that went out"),
    Column("n_reused", INT, "of these, rows that an earlier job had finished: taken from the journal"),
    Column("seconds_s", FLOAT, "wall-clock seconds of the job"),
    Column("cpu_s", FLOAT, "CPU seconds of the process, its start-up left out; on a shared machine the better measure"),
    Column("compute_s", FLOAT, "seconds in the network or potential, without start-up", nullable=True),
    Column("busy_fraction", FLOAT, "compute_s over seconds_s, waits between kernels counted as busy", nullable=True),
    Column("trials_per_hour", FLOAT, "trials or structures computed, not reused, per hour of job", nullable=True),
    Column("peak_memory_mb", FLOAT, "peak resident memory of the process, MiB"),
    Column("hardware", TEXT, "device and number of threads"),
    Column("versions", TEXT, "versions of the libraries that decide results, JSON"),
    Column("model_sha256", TEXT, "SHA-256 of the diffusion weights", nullable=True),
    Column("potential_sha256", TEXT, "SHA-256 of the potential", nullable=True),
)
