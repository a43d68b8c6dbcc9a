# Tasks -> trials: the score network places the missing sites.


rule inpaint:
    input:
        tasks=RESULTS / "tasks/shard={shard}.parquet",
    output:
        trials=RESULTS / "trials/shard={shard}.parquet",
        runs=RESULTS / "runs/inpaint-shard={shard}.parquet",
    log:
        RESULTS / "logs/inpaint/shard={shard}.log",
    benchmark:
        RESULTS / "benchmarks/inpaint/shard={shard}.tsv"
    conda:
        "../envs/inpaint.yaml"
    threads: 1
    params:
        settings=stage_settings(settings, "inpaint"),
    shell:
        "python scripts/inpaint.py --config {CONFIG} --shard {wildcards.shard} --threads {threads}"
        " --tasks {input.tasks} --trials {output.trials} --runs {output.runs} 2>&1 | tee {log}"
