# Systems side by side on complete structures: a workflow of its own, made of the stages of a run.
#
#   snakemake -s rules/benchmark.smk --directory . --profile profiles/local --config settings=FILE.yaml structures=EXPORT
#
# `hinpaint benchmark` starts it. Some systems only: add systems=NAME,NAME. What is there is not made again.
import shlex
import sys
from pathlib import Path

ROOT = Path(workflow.basedir).parent
sys.path.insert(0, str(ROOT))
from hinpaint.benchmark.figures import FIGURES
from hinpaint.benchmark.settings import load_benchmark, plan_settings, write_resolved
from hinpaint.config import ConfigError, stage_settings

try:
    table = load_benchmark(
        Path(config["settings"]), Path(config["structures"]).absolute() if "structures" in config else None
    )
    chosen = str(config["systems"]).split(",") if "systems" in config else [each.name for each in table.unfolded]
    SYSTEMS = {name: table.system(name) for name in chosen}
    configs = {name: table.config_of(system) for name, system in SYSTEMS.items()}
    BENCHMARK = write_resolved(table, SYSTEMS.values())
except ConfigError as error:
    sys.exit(f"hinpaint: {error}")

shell.prefix(f"set -euo pipefail; export PYTHONPATH={shlex.quote(str(ROOT))}; ")
settings = table.shared_config()
RESULTS = table.results
CONFIG = RESULTS / "config.json"
SHARDS = [f"{shard:04d}" for shard in range(settings.shards)]
PARTS = [f"{part:04d}" for part in range(len(settings.ingest_parts))]
SYSTEM = f"{RESULTS}/systems/{{system}}"
TABLES = ["tasks", "trials", "relaxed", "matches", "arrangements"]


wildcard_constraints:
    shard=r"\d{4}",
    part=r"\d{4}",
    end=r"\d{4}",
    system=r"[A-Za-z0-9_-]+",


include: "ingest.smk"


def rounds_of(system):
    """Ends of a system's rounds as they stand in paths."""
    return [f"{end:04d}" for end in SYSTEMS[system].round_ends]


def earlier_rounds(wildcards):
    """Ends of the rounds before this one."""
    return [int(end) for end in rounds_of(wildcards.system) if end < wildcards.end]


def before_round(wildcards):
    """What a round needs besides its system's trials: the round before it, or the references."""
    file = f"shard={wildcards.shard}.parquet"
    ends = [end for end in rounds_of(wildcards.system) if end < wildcards.end]
    if ends:
        return [RESULTS / f"systems/{wildcards.system}/rounds/{ends[-1]}" / name / file for name in TABLES]
    full = configs[wildcards.system].relax.max_steps_full > 0
    return [RESULTS / "references/relaxed" / file] if full else []


def deciding(stage):
    """The settings of a system that decide the rows of a stage."""

    def settings_of(wildcards):
        return stage_settings(configs[wildcards.system], stage)

    return settings_of


def settings_of_plan(wildcards):
    """What decides which entries a system takes."""
    return plan_settings(table, wildcards.system)


rule benchmark_plan:
    input:
        tasks=expand(RESULTS / "tasks/shard={shard}.parquet", shard=SHARDS),
    output:
        expand(
            SYSTEM + "/{name}/shard={shard}.parquet",
            name=["tasks", "to_relax", "relaxed"],
            shard=SHARDS,
            allow_missing=True,
        ),
    log:
        SYSTEM + "/logs/plan.log",
    benchmark:
        SYSTEM + "/benchmarks/plan.tsv"
    conda:
        "../envs/tables.yaml"
    params:
        settings=settings_of_plan,
        folder=SYSTEM,
    shell:
        "python scripts/benchmark_plan.py --benchmark {BENCHMARK} --system {wildcards.system} --tasks {input.tasks}"
        " --folder {params.folder} 2>&1 | tee {log}"


rule benchmark_plan_references:
    input:
        tasks=expand(RESULTS / "tasks/shard={shard}.parquet", shard=SHARDS),
    output:
        expand(RESULTS / "references/{name}/shard={shard}.parquet", name=["tasks", "to_relax", "trials"], shard=SHARDS),
    log:
        RESULTS / "references/logs/plan.log",
    benchmark:
        RESULTS / "references/benchmarks/plan.tsv"
    conda:
        "../envs/tables.yaml"
    params:
        settings=plan_settings(table, "references"),
        folder=RESULTS / "references",
    shell:
        "python scripts/benchmark_plan.py --benchmark {BENCHMARK} --system references --tasks {input.tasks}"
        " --folder {params.folder} 2>&1 | tee {log}"


rule benchmark_inpaint:
    input:
        tasks=SYSTEM + "/tasks/shard={shard}.parquet",
    output:
        trials=SYSTEM + "/trials/shard={shard}.parquet",
        runs=SYSTEM + "/runs/inpaint-shard={shard}.parquet",
    log:
        SYSTEM + "/logs/inpaint/shard={shard}.log",
    benchmark:
        SYSTEM + "/benchmarks/inpaint/shard={shard}.tsv"
    conda:
        "../envs/inpaint.yaml"
    threads: 1
    params:
        settings=deciding("inpaint"),
        system=SYSTEM,
    # A signal ends the job, which keeps what it has; the shell waits for it, and its last words still reach the log.
    shell:
        "trap : INT TERM; python scripts/inpaint.py --config {params.system}/config.json --shard {wildcards.shard}"
        " --threads {threads} --tasks {input.tasks} --trials {output.trials} --runs {output.runs}"
        " --journal {params.system}/journal/inpaint/shard={wildcards.shard} 2>&1 | (trap '' INT TERM; tee {log})"


rule benchmark_match:
    input:
        tasks=SYSTEM + "/tasks/shard={shard}.parquet",
        trials=SYSTEM + "/trials/shard={shard}.parquet",
        relaxed=SYSTEM + "/relaxed/shard={shard}.parquet",
    output:
        matches=SYSTEM + "/matches/shard={shard}.parquet",
        arrangements=SYSTEM + "/arrangements/shard={shard}.parquet",
        runs=SYSTEM + "/runs/match-shard={shard}.parquet",
    log:
        SYSTEM + "/logs/match/shard={shard}.log",
    benchmark:
        SYSTEM + "/benchmarks/match/shard={shard}.tsv"
    conda:
        "../envs/tables.yaml"
    params:
        system=SYSTEM,
    shell:
        "python scripts/match.py --config {params.system}/config.json --shard {wildcards.shard} --tasks {input.tasks}"
        " --trials {input.trials} --relaxed {input.relaxed} --matches {output.matches}"
        " --arrangements {output.arrangements} --runs {output.runs} 2>&1 | tee {log}"


rule benchmark_references:
    input:
        tasks=RESULTS / "references/tasks/shard={shard}.parquet",
        trials=RESULTS / "references/trials/shard={shard}.parquet",
    output:
        relaxed=RESULTS / "references/relaxed/shard={shard}.parquet",
        runs=RESULTS / "references/runs/relax-shard={shard}.parquet",
    log:
        RESULTS / "references/logs/relax/shard={shard}.log",
    benchmark:
        RESULTS / "references/benchmarks/relax/shard={shard}.tsv"
    conda:
        "../envs/relax.yaml"
    threads: 1
    params:
        settings=stage_settings(settings, "relax"),
    shell:
        "trap : INT TERM; python scripts/relax.py --config {CONFIG} --shard {wildcards.shard} --threads {threads}"
        " --tasks {input.tasks} --trials {input.trials} --relaxed {output.relaxed} --runs {output.runs}"
        " --journal {RESULTS}/references/journal/relax/shard={wildcards.shard} 2>&1 | (trap '' INT TERM; tee {log})"


rule benchmark_round:
    input:
        tasks=SYSTEM + "/to_relax/shard={shard}.parquet",
        trials=SYSTEM + "/trials/shard={shard}.parquet",
        before=before_round,
    output:
        expand(SYSTEM + "/rounds/{end}/{name}/shard={shard}.parquet", name=TABLES, allow_missing=True),
        expand(
            SYSTEM + "/rounds/{end}/runs/{stage}-shard={shard}.parquet", stage=["relax", "match"], allow_missing=True
        ),
    log:
        SYSTEM + "/logs/round/{end}/shard={shard}.log",
    benchmark:
        SYSTEM + "/benchmarks/round/{end}/shard={shard}.tsv"
    conda:
        "../envs/relax.yaml"
    threads: 1
    params:
        settings=deciding("relax"),
        judging=table.les.model_dump_json(include={"tol_mev_per_atom"}),
        earlier=earlier_rounds,
        system=SYSTEM,
    shell:
        "trap : INT TERM; python scripts/benchmark_round.py --config {params.system}/config.json"
        " --shard {wildcards.shard} --threads {threads} --end {wildcards.end} --earlier {params.earlier}"
        " --system {params.system} --references {RESULTS}/references 2>&1 | (trap '' INT TERM; tee {log})"


rule benchmark_results:
    default_target: True
    input:
        [
            RESULTS / f"systems/{system}/{name}/shard={shard}.parquet"
            for system in SYSTEMS
            for name in ["matches", *(f"rounds/{end}/arrangements" for end in rounds_of(system))]
            for shard in SHARDS
        ],
    output:
        results=RESULTS / "results.json",
        figures=expand(RESULTS / "figures/{name}.{kind}", name=FIGURES, kind=["png", "svg"]),
    log:
        RESULTS / "logs/results.log",
    benchmark:
        RESULTS / "benchmarks/results.tsv"
    conda:
        "../envs/relax.yaml"
    params:
        benchmark=table.model_dump_json(),
        # Those of earlier calls too, as far as they are finished.
        systems=[each.name for each in table.unfolded],
        folder=RESULTS / "figures",
    shell:
        "python scripts/benchmark_results.py --benchmark {BENCHMARK} --systems {params.systems}"
        " --results {output.results} --figures {params.folder} 2>&1 | tee {log}"
