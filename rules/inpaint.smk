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
    # A signal ends the job, which keeps what it has; the shell waits for it, and its last words still reach the log.
    shell:
        "trap : INT TERM; python scripts/inpaint.py --config {CONFIG} --shard {wildcards.shard} --threads {threads}"
        " --tasks {input.tasks} --trials {output.trials} --runs {output.runs}"
        " --journal {RESULTS}/journal/inpaint/shard={wildcards.shard} 2>&1 | (trap '' INT TERM; tee {log})"
