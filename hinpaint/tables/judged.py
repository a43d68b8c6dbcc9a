"""Tables of what is concluded: LES and decisions."""

from hinpaint.tables.model import FLAG, FLOAT, INT, KEY, TEXT, TEXTS, VECTOR, Column, table

LES_ENTRY = table(
    "les_entry",
    "LES of one entry over its trials; controls in the columns that begin with chance_",
    ("entry_key",),
    KEY,
    Column("n_trials", INT, "model trials, failed ones counted"),
    Column("n_structural", INT, "fully relaxed trials that match the reference"),
    Column("n_lower", INT, "trials lower in energy than the reference by more than the tolerance"),
    Column("n_les", INT, "trials that match or are lower"),
    Column("n_les_ungated", INT, "the same with the trials that a gate stopped: what published rates count"),
    Column("n_match_raw", INT, "trials that match before relaxation"),
    Column("n_match_h_only", INT, "trials that match after the hydrogen-only relaxation"),
    Column("n_strict_raw", INT, "trials whose every placed site lies within 0.3 Å of the reference, unrelaxed"),
    Column("n_strict_h_only", INT, "the same after the hydrogen-only relaxation"),
    Column("n_gated", INT, "trials that a plausibility gate kept from counting"),
    Column("n_failed", INT, "trials without a converged full relaxation"),
    Column("released_trial", INT, "the candidate that would be released; empty when none passes", nullable=True),
    Column("released_les", FLAG, "LES of the candidate that would be released"),
    Column("chance_n_trials", INT, "random-placement controls"),
    Column("chance_n_les", INT, "controls that match or are lower after the same relaxation"),
    Column("chance_n_match_raw", INT, "controls that match before relaxation"),
    Column("chance_n_match_h_only", INT, "controls that match after the hydrogen-only relaxation"),
)

LES_SUMMARY = table(
    "les_summary",
    "any-of-k rates over the entries with a reference",
    ("metric", "k"),
    Column(
        "metric",
        TEXT,
        "les, structural, lower, les_ungated (gates ignored), match_raw, match_h_only, strict_raw, strict_h_only, "
        "released_les, chance_les, chance_match_raw or chance_match_h_only; gated and failed: shares of the trials "
        "that a plausibility gate kept from counting, and that have no converged full relaxation, at k = 1. With a "
        "verification also: released_les_confirmed (LES of the "
        "candidate where energy counts only if DFT has confirmed it: unverified entries count as failures), "
        "released_les_not_refuted (they count as the potential has it), released_les_expected (each energetic match "
        "counts by the share that DFT confirms), and over the verified energetic matches dft_confirmed, dft_refuted, "
        "dft_undecided; dft_control over the controls",
    ),
    Column("k", INT, "number of trials drawn"),
    Column("rate", FLOAT, "mean over entries of the unbiased any-of-k estimate"),
    Column("ci_low", FLOAT, "2.5 % bootstrap bound over entries; Wilson's bound for dft_ metrics"),
    Column("ci_high", FLOAT, "97.5 % bootstrap bound over entries; Wilson's bound for dft_ metrics"),
    Column("n_entries", INT, "entries averaged"),
    Column("tol_mev_per_atom", FLOAT, "energy tolerance of the lower-energy arm"),
)

DECISIONS = table(
    "decisions",
    "what the release does with each curated entry",
    ("entry_key",),
    KEY,
    Column("mode", TEXT, "reconstruct, benchmark or audit"),
    Column("action", TEXT, "completed (sites added), replaced (audited sites moved) or unchanged (the source stands)"),
    Column("trial", INT, "the candidate: lowest energy among converged trials that pass the gates", nullable=True),
    Column("element", TEXT, "element of the placed sites"),
    Column(
        "frac_unknown",
        VECTOR,
        "its placed sites after the hydrogen-only relaxation, in the source's cell and host",
        nullable=True,
    ),
    Column("energy_ev", FLOAT, "its energy after the full relaxation, eV for the task's cell", nullable=True),
    Column("delta_e_mev_per_atom", FLOAT, "candidate minus source structure; empty without a reference", nullable=True),
    Column("confidence", FLOAT, "0 to 1, calibrated: the candidate is the true structure by the published match"),
    Column("confidence_strict", FLOAT, "0 to 1, calibrated: every placed site lies within 0.3 Å of its true place"),
    Column("grade", TEXT, "accept, review or reject"),
    Column("doubts", TEXTS, "what speaks against it, see the list of doubts"),
    Column("n_trials", INT, "model trials, failed ones counted"),
    Column("n_passed", INT, "of these, trials that converged and passed the gates"),
    Column("n_agree", INT, "of these, trials that reached the candidate's arrangement, itself included"),
    Column("n_arrangements", INT, "different arrangements among the trials that passed"),
    Column(
        "gap_mev_per_atom",
        FLOAT,
        "energy of the next arrangement above the candidate, both fully relaxed; empty without another one",
        nullable=True,
    ),
    Column("shift_a", FLOAT, "largest displacement of its placed sites in the hydrogen-only relaxation, ångström"),
    Column(
        "strain_mev_per_atom",
        FLOAT,
        "energy its full relaxation gains over the hydrogen-only one: how badly it fits its host",
        nullable=True,
    ),
    Column("d_xh_min_a", FLOAT, "shortest distance of a placed site to its nearest host site, ångström"),
    Column("d_xh_max_a", FLOAT, "longest such distance, ångström"),
    Column("d_hh_min_a", FLOAT, "shortest distance of a placed site to a site of the same element", nullable=True),
    Column("potential", TEXT, "potential that decided"),
    Column("model_sha256", TEXT, "SHA-256 of the diffusion weights", nullable=True),
)
