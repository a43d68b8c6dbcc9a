# All tables -> catalog.duckdb with LES statistics and decisions.


rule aggregate:
    input:
        records=expand(RESULTS / "records/shard={part}.parquet", part=PARTS),
        entries=expand(RESULTS / "entries/shard={part}.parquet", part=PARTS),
        evidence=expand(RESULTS / "evidence/shard={part}.parquet", part=PARTS),
        whynot=expand(RESULTS / "whynot/ingest-shard={part}.parquet", part=PARTS)
        + [RESULTS / "whynot/plan-shard=0000.parquet"],
        tasks=expand(RESULTS / "tasks/shard={shard}.parquet", shard=SHARDS),
        trials=expand(RESULTS / "trials/shard={shard}.parquet", shard=SHARDS),
        relaxed=expand(RESULTS / "relaxed/shard={shard}.parquet", shard=SHARDS),
        matches=expand(RESULTS / "matches/shard={shard}.parquet", shard=SHARDS),
        arrangements=expand(RESULTS / "arrangements/shard={shard}.parquet", shard=SHARDS),
        runs=expand(RESULTS / "runs/ingest-shard={part}.parquet", part=PARTS)
        + [RESULTS / "runs/plan-shard=0000.parquet"]
        + expand(RESULTS / "runs/{stage}-shard={shard}.parquet", stage=["inpaint", "relax", "match"], shard=SHARDS),
    output:
        # With a verification this is the catalog as the potential has it, which rules/verify.smk completes.
        catalog=RESULTS / ("verify/catalog.duckdb" if settings.verify.code else "catalog.duckdb"),
        runs=RESULTS / "runs/aggregate-shard=0000.parquet",
    log:
        RESULTS / "logs/aggregate/shard=0000.log",
    benchmark:
        RESULTS / "benchmarks/aggregate/shard=0000.tsv"
    conda:
        "../envs/tables.yaml"
    params:
        settings=stage_settings(settings, "aggregate"),
        results=RESULTS,
    shell:
        "python scripts/aggregate.py --config {CONFIG} --results {params.results}"
        " --catalog {output.catalog} --runs {output.runs} 2>&1 | tee {log}"
