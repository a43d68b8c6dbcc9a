# The catalog in pictures, with captions: snakemake --report report.html
FIGURES = ["actions", "rates", "trials", "confidence", "chemistry", "sizes", "placed", "reasons"]
if settings.verify.code:
    FIGURES.append("verified")


rule figures:
    input:
        catalog=RESULTS / "catalog.duckdb",
    output:
        **{
            name: report(
                RESULTS / f"figures/{name}.svg",
                caption=f"../hinpaint/pages/captions/{name}.rst",
                category="Overview",
                labels={"figure": name},
            )
            for name in FIGURES
        },
        runs=RESULTS / "runs/figures-shard=0000.parquet",
    log:
        RESULTS / "logs/figures/shard=0000.log",
    benchmark:
        RESULTS / "benchmarks/figures/shard=0000.tsv"
    conda:
        "../envs/tables.yaml"
    params:
        folder=RESULTS / "figures",
    shell:
        "python scripts/figures.py --config {CONFIG} --catalog {input.catalog} --folder {params.folder}"
        " --runs {output.runs} 2>&1 | tee {log}"
