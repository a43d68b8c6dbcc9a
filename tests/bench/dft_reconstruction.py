"""DFT-based reconstruction of complete structures: strip hydrogen, find it again in the potential, compare.

python tests/bench/dft_reconstruction.py --structures export.jsonl.gz --n 24 --out results/dft-wells
python tests/bench/dft_reconstruction.py ... --table          # what is there so far, nothing computed
python tests/bench/dft_reconstruction.py ... --run results/mc3d-test    # the model's trials on the same entries

The entries are the cheapest: least volume times missing hydrogens, elements that GPAW has. Each has a result file,
written at once; the same command goes on where the last one was stopped. GPAW's logs stay in a folder beside it.
"""

import argparse
import json
import shlex
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from hinpaint.config import Source
from hinpaint.crystal import Crystal
from hinpaint.deciding.les import bootstrap_interval
from hinpaint.deciding.matching import Match, compare, host_operations, matcher_settings
from hinpaint.files import write_atomic
from hinpaint.sources import parse_record, read_source
from hinpaint.store import read_table, read_tables
from hinpaint.tables import MATCHES, TRIALS
from hinpaint.verification.backends import Gpaw
from hinpaint.verification.gpaw_wells import GpawWells, WellSettings
from hinpaint.verification.reconstruction import ELEMENT, Reconstruction, reconstruct
from hinpaint.whynot import Stop

STRICT_A = 0.3
LEVELS = ("raw", "h_only")
NAMES = tuple(f"{level} {kind}" for level in LEVELS for kind in ("match", "strict"))


def complete_structures(path: Path) -> Iterator[tuple[str, Crystal]]:
    """Ordered structures with hydrogen and something else, hydrogen behind the host and not ``known``."""
    source = Source(database="export", version="1", format="optimade", path=path, licence="x", mode="benchmark")
    for raw in read_source(source, 0):
        record = parse_record("optimade", raw.text or "")
        if isinstance(record, Stop) or not record.is_ordered:
            continue
        crystal = Crystal.build(record.lattice, record.species, record.cell_frac)
        chosen = crystal.is_element(ELEMENT)
        if chosen.any() and not chosen.all():
            yield raw.source_id, crystal.take(~chosen).add_unknown(ELEMENT, crystal.frac[chosen])


def cost(crystal: Crystal) -> float:
    """What orders the entries: volume times hydrogens, as each may need a calculation of its own."""
    return crystal.volume * int((~crystal.known).sum())


def verdict(match: Match) -> dict[str, Any]:
    """A comparison as data."""
    return {"matched": match.matched, "rms": match.rms, "h_max_a": match.h_max_a}


def result(reference: Crystal, code: GpawWells, say: Any) -> dict[str, Any]:
    """Reconstruct one entry and compare both geometries with the reference."""
    host = reference.take(reference.known)
    outcome = reconstruct(host, int((~reference.known).sum()), code, say=say)
    row: dict[str, Any] = {"cpu_s": round(code.cpu_s, 1), "wall_s": round(code.wall_s, 1)}
    if isinstance(outcome, Reconstruction):
        operations = host_operations(host)
        row |= {
            "reason": None,
            "n_rounds": outcome.n_rounds,
            "converged": outcome.converged,
            "energy_ev": outcome.energy_ev,
            "raw": verdict(compare(outcome.raw, reference, operations)),
            "h_only": verdict(compare(outcome.relaxed, reference, operations)),
            "frac_raw": outcome.raw.frac[~outcome.raw.known].tolist(),
            "frac_h_only": outcome.relaxed.frac[~outcome.relaxed.known].tolist(),
        }
        return row
    return {**row, "reason": outcome.reason.value, "detail": outcome.detail}


def compute(
    structures: list[tuple[str, Crystal]], elements: frozenset[str], settings: WellSettings, program: list[str],
    out: Path,
) -> None:  # fmt: skip
    """Reconstruct what has no result yet with these settings, one after the other."""
    decides = {name: value for name, value in asdict(settings).items() if name != "time_limit_s"}
    for number, (key, reference) in enumerate(structures, start=1):
        path = out / f"{key}.json"
        if path.exists() and json.loads(path.read_text(encoding="utf-8"))["settings"] == decides:
            continue
        formula = reference.to_pymatgen().composition.formula.replace(" ", "")
        head = f"[{number}/{len(structures)}] {key} {formula}"
        print(f"{head}: {reference.n_sites} sites, {reference.volume:.0f} Å3", flush=True)
        code = GpawWells(program, elements, settings, out / "work" / key)
        row = result(reference, code, lambda line, head=head: print(f"{head}: {line}", flush=True))
        row |= {"entry": key, "formula": formula, "n_sites": reference.n_sites, "settings": decides}
        text = json.dumps({**row, "matcher": json.loads(matcher_settings())}, indent=1)
        write_atomic(path, lambda handle, text=text: handle.write(text.encode()))
        print(f"{head}: {row['reason'] or verdicts(row)}, {row['cpu_s']:.0f} CPU-s", flush=True)


def strict(verdict_: dict[str, Any]) -> bool:
    """Every hydrogen within 0.3 Å of one of the reference's."""
    return verdict_["h_max_a"] is not None and verdict_["h_max_a"] < STRICT_A


def verdicts(row: dict[str, Any]) -> str:
    """The verdicts of one entry in a few words."""
    if row["reason"]:
        return str(row["reason"])
    words = [f"{level} {'match' if row[level]['matched'] else 'no match'} {row[level]['h_max_a']:.2f} Å"
             for level in LEVELS]  # fmt: skip
    return ", ".join(words)


def of_the_model(run: Path, rows: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Match and strict rate of one trial of a run on these entries, a mean over an entry's trials; by row of the table.

    Trials that failed count as failures. Entries that the run has not finished are left out.
    """
    keys = {row["entry"] for row in rows}
    matches = read_tables(sorted((run / "matches").glob("*.parquet")), MATCHES).to_pylist()
    trials = Counter(
        row["entry_key"].rsplit("|", 1)[-1]
        for path in sorted((run / "matches").glob("*.parquet"))
        for row in read_table(run / "trials" / path.name, TRIALS).to_pylist()
        if row["trial"] >= 0
    )
    hits: Counter[tuple[str, str]] = Counter()
    for match in matches:
        if match["trial"] >= 0 and match["level"] in LEVELS:
            key = match["entry_key"].rsplit("|", 1)[-1]
            hits[f"{match['level']} match", key] += bool(match["matched"])
            hits[f"{match['level']} strict", key] += strict(match)
    return {name: [hits[name, key] / trials[key] for key in sorted(keys & trials.keys())] for name in NAMES}


def table(rows: list[dict[str, Any]], run: Path | None) -> None:
    """Every entry, the rates with their intervals, the reasons."""
    for row in rows:
        print(f"{row['entry']:38}{row['formula']:14}{row['cpu_s']:8.0f} CPU-s  {verdicts(row)}")
    ours: dict[str, list[float]] = {name: [] for name in NAMES}
    for row in rows:
        for level in LEVELS:
            ours[f"{level} match"].append(float(not row["reason"] and row[level]["matched"]))
            ours[f"{level} strict"].append(float(not row["reason"] and strict(row[level])))
    seconds = [row["cpu_s"] for row in rows]
    print(f"\nDFT: {len(rows)} entries, CPU-s each: mean {np.mean(seconds):.0f}, median {np.median(seconds):.0f}, "
          f"most {max(seconds):.0f}; reasons: {dict(Counter(row['reason'] for row in rows if row['reason']))}")  # fmt: skip  # noqa: E501
    model = of_the_model(run, rows) if run else {}
    for who, rates in (("DFT", ours), ("model, one trial", model)):
        for name, values in rates.items():
            if values:
                low, high = bootstrap_interval(np.array(values), 2000)
                print(f"{who:18}{name:16}{100 * np.mean(values):6.1f} %  [{100 * low:.0f}, {100 * high:.0f}]  n = {len(values)}")  # fmt: skip  # noqa: E501


def main() -> None:
    """Read the arguments, compute what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--structures", type=Path, required=True, help="OPTIMADE JSON Lines")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--n", type=int, default=24, help="entries")
    parser.add_argument("--max-sites", type=int, default=12)
    parser.add_argument("--python", default="/usr/bin/python3", help="a Python that has GPAW")
    parser.add_argument(
        "--queue", default="", help="words before it in every calculation: `nice`, `flock FILE`, `srun`"
    )
    parser.add_argument("--run", type=Path, help="a run of hinpaint on the same entries, to compare with")
    parser.add_argument("--table", action="store_true", help="print what is there, compute nothing")
    for name, value in asdict(WellSettings()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    options = parser.parse_args()
    settings = WellSettings(**{name: getattr(options, name) for name in asdict(WellSettings())})
    if not options.table:
        elements = Gpaw([options.python]).installed(options.out / "work").elements
        program = [*shlex.split(options.queue), options.python]
        able = [each for each in complete_structures(options.structures)
                if each[1].n_sites <= options.max_sites and set(each[1].species) <= elements]  # fmt: skip
        compute(sorted(able, key=lambda each: cost(each[1]))[: options.n], elements, settings, program, options.out)
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in options.out.glob("*.json")]
    if not rows:
        sys.exit(f"{options.out} holds no result")
    table(sorted(rows, key=lambda row: (row["n_sites"], row["formula"])), options.run)


if __name__ == "__main__":
    main()
