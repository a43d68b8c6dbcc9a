"""What evidence does to the rows of ingest: licences, and hydrogen that is dropped to be placed anew."""

from pathlib import Path

from hinpaint.config import Config, parse_config
from hinpaint.stages import ingest
from hinpaint.store import read_table
from hinpaint.tables import ENTRIES, EVIDENCE, RECORDS, WHYNOT

COLUMNS = "loop_\n_atom_site_label\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n_atom_site_occupancy\n"
CELL = (
    "data_x\n_cell_length_a 6\n_cell_length_b 6\n_cell_length_c 6\n_symmetry_space_group_name_H-M 'P 1'\n"
    "_chemical_formula_sum 'Ca O H2'\n"
)
SPLIT = CELL + COLUMNS + "O1 .1 .1 .1 1\nCa1 .5 .5 .5 1\nH1 .26 .1 .1 1\nH2 .1 .26 .1 .5\nH3 .1 .94 .1 .5\n"


def ingested(folder: Path, redistributable: bool) -> ingest.IngestOutputs:
    (folder / "in").mkdir()
    (folder / "in" / "1.cif").write_text(SPLIT)
    (folder / "in" / "2.cif").write_text(SPLIT.replace("Ca O H2", "Ca O2 H2"))
    source = {"database": "cod", "version": "1", "format": "cif", "path": str(folder / "in"), "licence": "none",
              "mode": "reconstruct", "redistributable": redistributable}  # fmt: skip
    config: Config = parse_config({"run": "test", "sources": [source]})
    names = ("records", "entries", "evidence", "source_text", "whynot", "runs")
    outputs = ingest.IngestOutputs(*(folder / f"{name}.parquet" for name in names))
    ingest.run(config, 0, outputs)
    return outputs


def test_disordered_hydrogen_leaves_the_entry_and_is_counted(tmp_path: Path) -> None:
    outputs = ingested(tmp_path, redistributable=True)
    (entry,) = read_table(outputs.entries, ENTRIES).to_pylist()
    assert entry["species"] == ["O", "Ca", "H"]
    assert (entry["n_sites"], entry["formula_sites"], len(entry["frac"])) == (3, "Ca H O", 9)
    record = read_table(outputs.records, RECORDS).to_pylist()[0]
    assert (record["n_sites"], record["formula_sites"], record["is_ordered"]) == (5, "Ca H2 O", False)
    first, second = read_table(outputs.evidence, EVIDENCE).to_pylist()
    assert (first["n_h_declared_per_formula"], first["n_h_sites"], first["n_missing"]) == (2, 2, 1)
    assert (first["n_missing_low"], first["n_missing_high"]) == (1, 1)
    assert "disordered_target_replaced" in first["codes"]
    assert second["n_missing"] is None


def test_a_source_that_must_not_be_passed_on_is_counted_and_not_curated(tmp_path: Path) -> None:
    outputs = ingested(tmp_path, redistributable=False)
    assert read_table(outputs.entries, ENTRIES).num_rows == 0
    assert read_table(outputs.evidence, EVIDENCE).num_rows == 2
    reasons = {row["entry_key"]: row["reason"] for row in read_table(outputs.whynot, WHYNOT).to_pylist()}
    assert reasons == {"cod|1|1": "licence_not_redistributable", "cod|1|2": "formula_mismatch"}
