# Catalog -> picks -> DFT energies -> the catalog that is released, with verdicts. Only with verify.code.
VERIFY_SHARDS = [f"{shard:04d}" for shard in range(settings.verify.shards)]


rule verify_select:
    input:
        catalog=RESULTS / "verify/catalog.duckdb",
    output:
        tasks=expand(RESULTS / "verify_tasks/shard={shard}.parquet", shard=VERIFY_SHARDS),
        whynot=RESULTS / "whynot/verify-shard=0000.parquet",
        runs=RESULTS / "runs/verify_select-shard=0000.parquet",
    log:
        RESULTS / "logs/verify_select/shard=0000.log",
    benchmark:
        RESULTS / "benchmarks/verify_select/shard=0000.tsv"
    conda:
        "../envs/tables.yaml"
    params:
        settings=stage_settings(settings, "verify_select"),
        work=RESULTS / "verify/work/select",
    shell:
        "python scripts/verify_select.py --config {CONFIG} --catalog {input.catalog} --tasks {output.tasks}"
        " --whynot {output.whynot} --runs {output.runs} --work {params.work} 2>&1 | tee {log}"


rule verify:
    input:
        tasks=RESULTS / "verify_tasks/shard={shard}.parquet",
    output:
        verifications=RESULTS / "verifications/shard={shard}.parquet",
        runs=RESULTS / "runs/verify-shard={shard}.parquet",
    log:
        RESULTS / "logs/verify/shard={shard}.log",
    benchmark:
        RESULTS / "benchmarks/verify/shard={shard}.tsv"
    conda:
        "../envs/tables.yaml"
    threads: 1
    params:
        settings=stage_settings(settings, "verify"),
    # A signal ends the job, which keeps what it has; the shell waits for it, and its last words still reach the log.
    # The journal is one for all shards: a structure that moves to another one is not computed again.
    shell:
        "trap : INT TERM; python scripts/verify.py --config {CONFIG} --shard {wildcards.shard} --threads {threads}"
        " --tasks {input.tasks} --verifications {output.verifications} --runs {output.runs}"
        " --work {RESULTS}/verify/work/shard={wildcards.shard} --journal {RESULTS}/journal/verify"
        " 2>&1 | (trap '' INT TERM; tee {log})"


rule verify_collect:
    input:
        before=RESULTS / "verify/catalog.duckdb",
        tasks=expand(RESULTS / "verify_tasks/shard={shard}.parquet", shard=VERIFY_SHARDS),
        verifications=expand(RESULTS / "verifications/shard={shard}.parquet", shard=VERIFY_SHARDS),
        whynot=RESULTS / "whynot/verify-shard=0000.parquet",
        runs=expand(RESULTS / "runs/verify-shard={shard}.parquet", shard=VERIFY_SHARDS)
        + [RESULTS / "runs/verify_select-shard=0000.parquet"],
    output:
        catalog=RESULTS / "catalog.duckdb",
        runs=RESULTS / "runs/verify_collect-shard=0000.parquet",
    log:
        RESULTS / "logs/verify_collect/shard=0000.log",
    benchmark:
        RESULTS / "benchmarks/verify_collect/shard=0000.tsv"
    conda:
        "../envs/tables.yaml"
    params:
        settings=stage_settings(settings, "verify_collect"),
        results=RESULTS,
    shell:
        "python scripts/verify_collect.py --config {CONFIG} --before {input.before} --results {params.results}"
        " --catalog {output.catalog} --runs {output.runs} 2>&1 | tee {log}"
