"""What each choice of the training does: short trainings that differ in one thing, one after the other.

python tests/bench/ablation.py --structures mp_train.parquet --validation dev.jsonl.gz --out results/ablation

Every file of --settings is one row; a row that was interrupted goes on, a finished one is only read. The table is
written to OUT/table.md after each row. Loss: on hidden hydrogen at fixed noise, the same structures, noise levels and
noise in every row, so that its differences are those of the weights.
"""

import argparse
import json
import time
from pathlib import Path

from hinpaint.scripting import choose_device
from hinpaint.training.run import run

HEADING = """\
| row | steps | CPU-s | structures seen | loss | at σ {levels} | raw match, % | strict, % |
|---|---|---|---|---|---|---|---|
"""

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--settings", type=Path, default=Path("config/training/ablation"))
parser.add_argument("--rows", nargs="*", help="names of the files to train; default: all")
parser.add_argument("--structures", type=Path, required=True, help="what hinpaint prepare-training reads or writes")
parser.add_argument("--validation", type=Path, required=True, help="the same, with known answers")
parser.add_argument("--out", type=Path, required=True)
parser.add_argument("--device", default="auto")
parser.add_argument("--threads", type=int, default=1)
arguments = parser.parse_args()


def train(path: Path, device: str) -> bool:
    """Train one row, unless it is finished; notes its CPU seconds. False when it was interrupted."""
    folder = arguments.out / path.stem
    if (folder / "cpu_s.json").exists():
        return True
    began = time.process_time()
    signal = run(path, arguments.structures, folder, device, print, validation=arguments.validation)
    if signal is None:
        (folder / "cpu_s.json").write_text(json.dumps(time.process_time() - began))
    return signal is None


def table() -> str:
    """The rows that are finished, baseline first."""
    lines, levels = [], ""
    for cpu_file in sorted(arguments.out.glob("*/cpu_s.json"), key=lambda p: (p.parent.name != "baseline", p)):
        card = json.loads((cpu_file.parent / "weights.json").read_text())
        found = card["validation"]["rows"][-1]
        levels = " / ".join(map(str, card["validation"]["sigmas"]))
        at = " / ".join(f"{each:.3f}" for each in found["losses"])
        rates = f"{100 * found['match_raw']:.1f} | {100 * found['strict_raw']:.1f}"
        seconds = json.loads(cpu_file.read_text())
        lines.append(
            f"| {cpu_file.parent.name} | {card['steps']} | {seconds:.0f} | {card['samples']:,} | {found['loss']:.3f} | "
            f"{at} | {rates} |\n"
        )
    return HEADING.format(levels=levels) + "".join(lines)


device = choose_device(arguments.device, arguments.threads)
for path in sorted(arguments.settings.glob("*.yaml"), key=lambda p: (p.stem != "baseline", p.stem)):
    if arguments.rows and path.stem not in arguments.rows:
        continue
    if not train(path, device):
        break
    (arguments.out / "table.md").write_text(table(), encoding="utf-8")
print(table())
