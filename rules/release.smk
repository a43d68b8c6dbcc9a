# catalog.duckdb -> the corrected database.


rule release:
    input:
        catalog=RESULTS / "catalog.duckdb",
        source_text=expand(RESULTS / "source_text/shard={part}.parquet", part=PARTS),
    output:
        manifest=RESULTS / "release" / settings.release.version / "manifest.json",
        runs=RESULTS / "runs/release-shard=0000.parquet",
    log:
        RESULTS / "logs/release/shard=0000.log",
    benchmark:
        RESULTS / "benchmarks/release/shard=0000.tsv"
    conda:
        "../envs/tables.yaml"
    params:
        settings=stage_settings(settings, "release"),
        results=RESULTS,
        folder=RESULTS / "release" / settings.release.version,
    shell:
        "python scripts/release.py --config {CONFIG} --catalog {input.catalog} --results {params.results}"
        " --release {params.folder} --runs {output.runs} 2>&1 | tee {log}"
