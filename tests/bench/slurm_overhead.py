"""What Slurm costs: the same database on the same cores, with the local profile and through a real Slurm (root).

PYTHONPATH=tests/slurm:tests/workflow python tests/bench/slurm_overhead.py --source COD.tar.xz --shards 64
PYTHONPATH=tests/slurm:tests/workflow python tests/bench/slurm_overhead.py --config config.yaml

With --source real stages with few steps, with --config a run as it is configured. Prints both times, the bar of 1.3
times the local run plus 10 s a job, and whether the two releases are the same to the last bit.
"""

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path

import yaml
from slurm_cluster import Cluster
from slurm_run import CONFIG, SlurmRun, make_run

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
what = parser.add_mutually_exclusive_group(required=True)
what.add_argument("--source", type=Path, help="CIFs: a folder or an archive")
what.add_argument("--config", type=Path, help="configuration of a whole run, such as the demonstration's")
parser.add_argument("--shards", type=int, default=64)
parser.add_argument("--max-sites", type=int, default=20)
parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)), help="cores both may use")
parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()))
parser.add_argument("--impatient", action="store_true", help="ask Slurm every 2 s instead of as the profile says")
arguments = parser.parse_args()


def prepare(folder: Path) -> SlurmRun:
    """A run of what was asked for; the profile is the project's, with one core for each GPU job."""
    run = make_run(folder, impatient=arguments.impatient, inpaint={"cpus_per_gpu": 1}, relax={"cpus_per_gpu": 1})
    if arguments.config:
        config = yaml.safe_load(arguments.config.read_text()) | {"run": CONFIG["run"]}
        for source in config["sources"]:
            source["path"] = str(Path(source["path"]).resolve())
    else:
        config = CONFIG | {"shards": arguments.shards, "select": {"max_sites": arguments.max_sites}}
        config["sources"] = [{**CONFIG["sources"][0], "path": str(arguments.source.resolve()), "mode": ["reconstruct"]}]
    (run.folder / "tiny.yaml").write_text(yaml.safe_dump(config))
    return run


scratch = Path(tempfile.mkdtemp(prefix="hinpaint-overhead-", dir=arguments.scratch))
scratch.chmod(0o755)
try:
    local = prepare(scratch / "local")
    began = time.perf_counter()
    local.locally("--cores", str(arguments.cores), timeout=36000)
    local_s = time.perf_counter() - began
    print(f"local: {local_s:.0f} s", flush=True)

    (scratch / "cluster").mkdir()
    cluster = Cluster(scratch / "cluster", cpus=arguments.cores)
    cluster.start()
    try:
        through = prepare(scratch / "slurm")
        began = time.perf_counter()
        running = through.start()
        if running.finish(36000) != 0:
            raise SystemExit(running.text()[-4000:])
        slurm_s = time.perf_counter() - began
        n_jobs = len(cluster.jobs())
    finally:
        cluster.stop()
    bar = 1.3 * local_s + 10 * n_jobs
    print(f"Slurm: {slurm_s:.0f} s for {n_jobs} jobs on {arguments.cores} cores; bar {bar:.0f} s")
    print(f"ratio {slurm_s / local_s:.2f}, {(slurm_s - local_s) / n_jobs:.1f} s more a job")
    print("same files" if through.content() == local.content() else "FILES DIFFER")
finally:
    shutil.rmtree(scratch, ignore_errors=True)
