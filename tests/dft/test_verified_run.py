"""The workflow with a verification: three small entries, from a database to a release that tells what DFT says."""

import json
from pathlib import Path

import duckdb
import pytest
import yaml
from workspace import EXAMPLES, Workspace, make_workspace

pytestmark = pytest.mark.dft

# Binary hydrides of two sites and brucite: seconds of GPAW each.
QUERY = "SELECT entry_key FROM les_entry WHERE released_trial IS NOT NULL"


@pytest.fixture(scope="module")
def verified(gpaw: object, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = make_workspace(tmp_path_factory.mktemp("verified"))
    lines = (EXAMPLES / "mc3d/structures.jsonl").read_text().splitlines()
    small = [line for line in lines[1:] if '"nsites": 2,' in line or '"nsites": 3,' in line]  # NaH and TiH2
    (workspace.folder / "mc3d.jsonl").write_text("\n".join([lines[0], *small]) + "\n")
    path = workspace.folder / "tiny.yaml"
    settings = {"code": "gpaw", "query": QUERY, "picks": 3, "controls": 0, "check": 1, "max_sites": 6, "shards": 2,
                "cutoff_ev": 300, "k_spacing_per_a": 0.8}  # fmt: skip
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"verify": settings}))
    workspace.snakemake(timeout=1200)
    return workspace


def test_three_entries_are_verified(verified: Workspace) -> None:
    with duckdb.connect(str(verified.results / "catalog.duckdb"), read_only=True) as catalog:
        rows = catalog.execute("SELECT verdict, delta_e_dft_mev_per_atom, reason FROM les_verified").fetchall()
        assert len(rows) == 3
        assert all(reason is None and delta is not None for _, delta, reason in rows)
        energies = "SELECT count(*), count(energy_ev), min(cpu_s) FROM verifications WHERE settings = 'main'"
        n_rows, n_energies, cpu_s = catalog.execute(energies).fetchall()[0]
        assert n_rows == n_energies == 6
        assert cpu_s > 0
        pairs = "SELECT count(DISTINCT kpoints) FROM verifications WHERE settings = 'main' GROUP BY entry_key"
        assert catalog.execute(pairs).fetchall() == [(1,)] * 3
        assert catalog.execute("SELECT n_pairs, n_failed FROM verify_summary").fetchall() == [(3, 0)]
        assert catalog.execute("SELECT adds_up FROM accounting").fetchall() == [(True,)]
        stages = {stage for (stage,) in catalog.execute("SELECT DISTINCT stage FROM runs").fetchall()}
        assert {"verify_select", "verify"} <= stages
        refuted = "SELECT count(*) FROM decisions WHERE list_contains(doubts, 'dft_refuted') AND action <> 'unchanged'"
        assert catalog.execute(refuted).fetchall() == [(0,)]


def test_the_release_and_the_report_tell_it(verified: Workspace) -> None:
    (release,) = (verified.results / "release").iterdir()
    assert "## Verified by DFT" in (release / "README.md").read_text()
    pages = [path.read_text() for path in (release / "pages/entry").glob("*.html")]
    assert sum("Candidate against the source by DFT" in text for text in pages) == 3
    assert "3 pairs" in (verified.results / "figures/verified.svg").read_text()
    with duckdb.connect(str(release / "catalog.duckdb"), read_only=True) as catalog:
        assert catalog.execute("SELECT count(*) FROM dft_verdicts").fetchall() == [(3,)]


def test_nothing_is_left_to_do_and_status_knows_the_stages(verified: Workspace) -> None:
    assert "Nothing to be done" in verified.snakemake("--dry-run")
    told = verified.run(["hinpaint", "status", "--run", "tiny", "--format", "json"])
    stages = {row["stage"]: row["done"] for row in json.loads(told.stdout)["stages"]}
    assert stages["verify"] == 2
    assert stages["verify_collect"] == 1


def test_more_picks_compute_only_what_is_new(verified: Workspace, tmp_path: Path) -> None:
    path = verified.folder / "more.yaml"
    config = yaml.safe_load((verified.folder / "tiny.yaml").read_text())
    config["verify"] |= {"picks": 2, "shards": 1, "check": 0}
    path.write_text(yaml.safe_dump(config))
    verified.snakemake("results/tiny/verifications/shard=0000.parquet", configfile="more.yaml")
    log = (verified.results / "logs/verify/shard=0000.log").read_text()
    assert "4 of them from the journal" in log
