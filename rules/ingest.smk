# Records -> entries, evidence, whynot -> tasks in shards.


def state_of_source(wildcards):
    """Dates and sizes of what an ingest job reads, source and index: another one of any makes the job stale."""
    number, _ = settings.ingest_parts[int(wildcards.part)]
    source = settings.sources[number]
    states = [path.stat() for path in (source.path, source.index) if path]
    return [part for state in states for part in (state.st_mtime_ns, state.st_size)]


rule ingest:
    # The source is no `input`: Snakemake refuses to finish a job whose input has a date in the future, and does not see one
    # that was replaced by an older file. Both are a matter of clocks and copies, so its date is compared as a parameter.
    output:
        records=RESULTS / "records/shard={part}.parquet",
        entries=RESULTS / "entries/shard={part}.parquet",
        evidence=RESULTS / "evidence/shard={part}.parquet",
        source_text=RESULTS / "source_text/shard={part}.parquet",
        whynot=RESULTS / "whynot/ingest-shard={part}.parquet",
        runs=RESULTS / "runs/ingest-shard={part}.parquet",
    log:
        RESULTS / "logs/ingest/shard={part}.log",
    benchmark:
        RESULTS / "benchmarks/ingest/shard={part}.tsv"
    conda:
        "../envs/tables.yaml"
    threads: 2
    params:
        settings=stage_settings(settings, "ingest"),
        source=state_of_source,
    shell:
        "python scripts/ingest.py --config {CONFIG} --shard {wildcards.part}"
        " --records {output.records} --entries {output.entries} --evidence {output.evidence}"
        " --source-text {output.source_text} --whynot {output.whynot} --runs {output.runs}"
        " --threads {threads} 2>&1 | tee {log}"


rule plan:
    input:
        entries=expand(RESULTS / "entries/shard={part}.parquet", part=PARTS),
        evidence=expand(RESULTS / "evidence/shard={part}.parquet", part=PARTS),
    output:
        tasks=expand(RESULTS / "tasks/shard={shard}.parquet", shard=SHARDS),
        whynot=RESULTS / "whynot/plan-shard=0000.parquet",
        runs=RESULTS / "runs/plan-shard=0000.parquet",
    log:
        RESULTS / "logs/plan/shard=0000.log",
    benchmark:
        RESULTS / "benchmarks/plan/shard=0000.tsv"
    conda:
        "../envs/tables.yaml"
    params:
        settings=stage_settings(settings, "plan"),
        tasks=RESULTS / "tasks",
    shell:
        "python scripts/plan.py --config {CONFIG} --entries {input.entries} --evidence {input.evidence}"
        " --tasks {params.tasks} --whynot {output.whynot} --runs {output.runs} 2>&1 | tee {log}"
