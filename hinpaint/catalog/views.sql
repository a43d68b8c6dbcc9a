-- Views of the catalog. Each statement creates one view; its comment is what `hinpaint query --list` shows as help.

CREATE VIEW accounting AS
SELECT r.n AS records, e.n AS entries, w.n AS whynot, r.n = e.n + w.n AS adds_up
FROM (SELECT count(*) AS n FROM records) r, (SELECT count(*) AS n FROM entries) e,
    (SELECT count(*) AS n FROM whynot WHERE trial IS NULL) w;
COMMENT ON VIEW accounting IS 'every record is curated (entries) or has exactly one row in whynot';

CREATE VIEW reasons AS
SELECT stage, reason, trial IS NOT NULL AS of_trial, count(*) AS n, min(entry_key) AS example, min(detail) AS detail
FROM whynot GROUP BY ALL ORDER BY of_trial, n DESC, reason;
COMMENT ON VIEW reasons IS 'how often each reason stopped an entry or a trial, with an example';

CREATE VIEW corrected AS
SELECT d.entry_key, e.formula_declared, e.space_group, d.action, len(d.frac_unknown) // 3 AS n_added, d.trial, d.energy_ev,
    d.n_passed, d.n_agree
FROM decisions d JOIN entries e USING (entry_key)
WHERE d.action <> 'unchanged' ORDER BY d.entry_key;
COMMENT ON VIEW corrected IS 'entries the release changes, with how many sites the source''s cell got and how many trials agree';

CREATE VIEW les_table AS
SELECT metric, k, round(100 * rate, 1) AS rate_percent,
    round(100 * ci_low, 1) AS low, round(100 * ci_high, 1) AS high, n_entries
FROM les_summary ORDER BY metric, k;
COMMENT ON VIEW les_table IS 'LES and the rates shown beside it, in percent with bootstrap intervals';

CREATE VIEW seconds_per_trial AS
WITH made AS (
    SELECT count(*) FILTER (WHERE trial >= 0) AS n_trials FROM trials
), relaxations AS (
    SELECT count(DISTINCT (entry_key, trial)) AS n_relaxed FROM relaxed
)
SELECT
    -- A job that resumed has spent time only on what it did not reuse.
    (SELECT 3600 * sum(compute_s) / nullif(sum(trials_per_hour * seconds_s), 0) FROM runs WHERE stage = 'inpaint')
        AS inpaint_s,
    (SELECT 3600 * sum(compute_s) / nullif(sum(trials_per_hour * seconds_s), 0) FROM runs WHERE stage = 'relax')
        AS relax_s,
    n_trials, n_relaxed
FROM made, relaxations;
COMMENT ON VIEW seconds_per_trial IS 'mean seconds of network time a trial and of potential time a relaxation';

CREATE VIEW relaxations AS
SELECT level, CASE WHEN trial >= 0 THEN 'trial' WHEN trial = -1 THEN 'reference' ELSE 'control' END AS kind,
    count(*) AS n, count(*) FILTER (WHERE shared_from IS NULL AND n_steps > 0) AS n_relaxed,
    count(shared_from) AS n_shared, count(*) FILTER (WHERE reason = 'too_high') AS n_cut,
    count(gate) AS n_gated, count(*) FILTER (WHERE converged) AS n_converged, sum(n_steps)::BIGINT AS n_steps
FROM relaxed GROUP BY ALL ORDER BY level DESC, kind DESC;
COMMENT ON VIEW relaxations IS 'for each level: structures relaxed, sharing the result of another trial, cut as too high, gated';

CREATE VIEW gates AS
SELECT level, gate, reason, count(*) FILTER (WHERE trial >= 0) AS n_trials,
    count(*) FILTER (WHERE trial < -1) AS n_controls, count(DISTINCT entry_key) AS n_entries,
    min(entry_key) AS example, min(detail) AS detail
FROM (
    SELECT entry_key, trial, level, gate, reason, detail FROM relaxed WHERE gate IS NOT NULL
    UNION ALL SELECT entry_key, trial, 'h_only', 'placed_geometry', 'gated', gate FROM arrangements WHERE gate IS NOT NULL
) GROUP BY ALL ORDER BY n_trials DESC, level, gate;
COMMENT ON VIEW gates IS 'how many trials each plausibility rule kept from counting, at which level, with an example';

-- What was missing where

CREATE VIEW missing AS
SELECT r.entry_key, r.database, r.formula_declared, r.space_group, v.n_h_declared, v.n_h_sites, v.n_missing,
    v.n_missing_low, v.n_missing_high, v.confidence AS count_confidence, v.codes,
    coalesce(d.action, 'not curated') AS action, w.reason, w.detail
FROM evidence v JOIN records r USING (entry_key) LEFT JOIN decisions d USING (entry_key)
LEFT JOIN whynot w ON w.entry_key = r.entry_key AND w.trial IS NULL
WHERE v.n_missing > 0 OR v.n_missing_high > 0 ORDER BY r.entry_key;
COMMENT ON VIEW missing IS 'records that lack sites: how many, how sure, and what became of them';

CREATE VIEW missing_by_database AS
SELECT r.database, r.version, count(*) AS n_records, count(v.entry_key) AS n_readable,
    count(*) FILTER (WHERE v.n_missing > 0) AS n_lacking,
    round(100 * count(*) FILTER (WHERE v.n_missing > 0) / nullif(count(v.entry_key), 0), 2) AS lacking_percent,
    coalesce(sum(v.n_missing), 0)::BIGINT AS n_sites_missing,
    count(*) FILTER (WHERE d.action = 'completed') AS n_completed,
    count(*) FILTER (WHERE d.action = 'replaced') AS n_replaced
FROM records r LEFT JOIN evidence v USING (entry_key) LEFT JOIN decisions d USING (entry_key)
GROUP BY ALL ORDER BY r.database, r.version;
COMMENT ON VIEW missing_by_database IS 'for each database: records that lack sites, how many sites, and how many were completed';

CREATE VIEW missing_by_code AS
SELECT v.code, count(*) AS n_records, coalesce(sum(v.n_missing), 0)::BIGINT AS n_sites_missing,
    count(*) FILTER (WHERE d.action IN ('completed', 'replaced')) AS n_corrected, min(v.entry_key) AS example
FROM (SELECT entry_key, n_missing, unnest(codes) AS code FROM evidence) v LEFT JOIN decisions d USING (entry_key)
GROUP BY v.code ORDER BY n_records DESC, v.code;
COMMENT ON VIEW missing_by_code IS 'for each evidence code: records that carry it, sites they lack, how many were corrected';

-- LES

CREATE VIEW les_by_chemistry AS
SELECT c.kind, count(*) AS n_entries, sum(l.n_trials)::BIGINT AS n_trials,
    round(100 * avg(l.n_les / nullif(l.n_trials, 0)), 1) AS les_1_percent,
    round(100 * avg((l.n_les > 0)::INTEGER), 1) AS les_any_percent,
    round(100 * avg(l.released_les::INTEGER), 1) AS released_percent,
    round(100 * avg(l.n_match_h_only / nullif(l.n_trials, 0)), 1) AS match_1_percent,
    round(100 * avg(l.n_strict_h_only / nullif(l.n_trials, 0)), 1) AS strict_1_percent,
    round(100 * avg(l.chance_n_les / nullif(l.chance_n_trials, 0)), 1) AS chance_1_percent
FROM les_entry l JOIN chemistry c USING (entry_key)
GROUP BY c.kind ORDER BY n_entries DESC, c.kind;
COMMENT ON VIEW les_by_chemistry IS 'LES by what the hydrogen of the reference is bound to: mean over entries, in percent';

CREATE VIEW trial_verdicts AS
WITH last AS (SELECT coalesce((SELECT 'full' FROM relaxed WHERE level = 'full' LIMIT 1), 'h_only') AS level)
SELECT t.entry_key, t.trial, coalesce(m.matched, false) AS structural, m.delta_e_mev_per_atom,
    coalesce(f.converged AND f.reason IS NULL AND a.gate IS NULL, false) AS passed
FROM trials t JOIN tasks k ON k.entry_key = t.entry_key AND k.reference_frac IS NOT NULL
-- a trial that could not be placed or relaxed has no rows there, and counts as a failure
LEFT JOIN matches m ON m.entry_key = t.entry_key AND m.trial = t.trial AND m.level = (SELECT level FROM last)
LEFT JOIN relaxed f ON f.entry_key = t.entry_key AND f.trial = t.trial AND f.level = (SELECT level FROM last)
LEFT JOIN (SELECT entry_key, trial, gate FROM arrangements WHERE gate IS NOT NULL) a
    ON a.entry_key = t.entry_key AND a.trial = t.trial;
COMMENT ON VIEW trial_verdicts IS 'each trial of an entry with a reference at the last level of relaxation, controls (trial < -1) included';

CREATE MACRO les_at(tolerance) AS TABLE
SELECT c.kind, count(*) AS n_entries, sum(e.n)::BIGINT AS n_trials, sum(e.n_les)::BIGINT AS n_les,
    round(100 * sum(e.n_les) / sum(e.n), 1) AS les_percent_of_trials, round(100 * avg((e.n_les > 0)::INTEGER), 1) AS any_percent
FROM (
    SELECT entry_key, count(*) AS n,
        count(*) FILTER (WHERE passed AND (structural OR delta_e_mev_per_atom < -tolerance)) AS n_les
    FROM trial_verdicts WHERE trial >= 0 GROUP BY entry_key
) e JOIN chemistry c USING (entry_key)
GROUP BY c.kind ORDER BY n_entries DESC, c.kind;
COMMENT ON MACRO TABLE les_at IS 'LES of single trials by chemistry at a tolerance in meV per atom: SELECT * FROM les_at(5.0)';

CREATE VIEW verdict_flips AS
WITH tolerance AS (SELECT coalesce(any_value(tol_mev_per_atom), 1.0) AS now FROM les_summary)
SELECT l.entry_key, d.mode, d.action, l.released_trial, -v.delta_e_mev_per_atom AS flips_at_mev_per_atom,
    -v.delta_e_mev_per_atom > now AS lower_now, abs(-v.delta_e_mev_per_atom - now) AS distance_mev_per_atom
FROM tolerance, les_entry l JOIN trial_verdicts v ON v.entry_key = l.entry_key AND v.trial = l.released_trial
LEFT JOIN decisions d ON d.entry_key = l.entry_key
WHERE NOT v.structural AND v.delta_e_mev_per_atom BETWEEN -100 AND 0 ORDER BY distance_mev_per_atom, l.entry_key;
COMMENT ON VIEW verdict_flips IS 'entries whose candidate counts only by its energy: below the tolerance flips_at_mev_per_atom it counts, above it does not';

-- DFT

CREATE VIEW dft_verdicts AS
SELECT v.entry_key, e.formula_sites, v.kind, v.verdict, v.delta_e_mev_per_atom, v.delta_e_dft_mev_per_atom,
    v.delta_e_mev_per_atom - v.delta_e_dft_mev_per_atom AS error_mev_per_atom, v.margin_mev_per_atom, d.action, d.grade,
    v.wall_s, v.cpu_s, v.reason, v.detail
FROM les_verified v LEFT JOIN records e USING (entry_key) LEFT JOIN decisions d USING (entry_key)
ORDER BY v.kind DESC, v.verdict, v.delta_e_dft_mev_per_atom, v.entry_key;
COMMENT ON VIEW dft_verdicts IS 'entries that DFT verified: what it says, and how far the potential is from it';

-- How sure, at what cost

CREATE VIEW most_uncertain AS
SELECT d.entry_key, e.formula_declared, d.action, d.grade, d.confidence, d.confidence_strict, d.n_agree, d.n_passed,
    d.n_trials, d.gap_mev_per_atom, v.confidence AS count_confidence, d.doubts
FROM decisions d JOIN entries e USING (entry_key) LEFT JOIN evidence v USING (entry_key)
WHERE d.action <> 'unchanged' ORDER BY d.confidence, count_confidence, d.entry_key;
COMMENT ON VIEW most_uncertain IS 'changed entries, the least certain first: confidence in the sites, and in how many are missing';

CREATE VIEW graded_holdings AS
SELECT action, grade, count(*) AS n_entries, round(avg(confidence), 3) AS mean_confidence, min(entry_key) AS example
FROM decisions GROUP BY ALL ORDER BY action, grade;
COMMENT ON VIEW graded_holdings IS 'how many entries each action and grade has';

CREATE VIEW cost_per_corrected_entry AS
WITH corrected_entries AS (SELECT count(*) AS n FROM decisions WHERE action <> 'unchanged')
SELECT stage, count(*) AS n_jobs, sum(seconds_s) / 3600 AS job_hours, sum(compute_s) / 3600 AS compute_hours,
    sum(seconds_s) / nullif(any_value(c.n), 0) AS job_s_per_corrected_entry,
    sum(compute_s) / nullif(any_value(c.n), 0) AS compute_s_per_corrected_entry
FROM runs, corrected_entries c GROUP BY stage ORDER BY job_hours DESC;
COMMENT ON VIEW cost_per_corrected_entry IS 'time of each stage over the entries that are changed, benchmark entries paid for too; empty in a release, which holds no times';

CREATE VIEW changes_by_kind AS
SELECT previous_release, change, count(*) AS n_entries, max(max_shift_a) AS max_shift_a, min(entry_key) AS example
FROM changes GROUP BY ALL ORDER BY n_entries DESC, change;
COMMENT ON VIEW changes_by_kind IS 'what changed since the release before; only a release knows: hinpaint query --release VERSION';
