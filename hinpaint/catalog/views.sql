-- Views of the catalog. Each statement creates one view; its comment is what `hinpaint query` shows as help.

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
SELECT d.entry_key, e.formula_declared, e.space_group, d.action, t.n_unknown AS n_added, d.trial, d.energy_ev,
    d.n_passed, d.n_agree
FROM decisions d JOIN entries e USING (entry_key) JOIN tasks t USING (entry_key)
WHERE d.action <> 'unchanged' ORDER BY d.entry_key;
COMMENT ON VIEW corrected IS 'entries the release changes, with how many sites were added and how many trials agree';

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
