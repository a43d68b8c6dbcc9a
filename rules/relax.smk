# Trials -> relaxed: the potential moves the placed sites, then everything; the reference too.


rule relax:
    input:
        tasks=RESULTS / "tasks/shard={shard}.parquet",
        trials=RESULTS / "trials/shard={shard}.parquet",
    output:
        relaxed=RESULTS / "relaxed/shard={shard}.parquet",
        runs=RESULTS / "runs/relax-shard={shard}.parquet",
    log:
        RESULTS / "logs/relax/shard={shard}.log",
    benchmark:
        RESULTS / "benchmarks/relax/shard={shard}.tsv"
    conda:
        "../envs/relax.yaml"
    threads: 1
    params:
        settings=stage_settings(settings, "relax"),
    # A signal ends the job, which keeps what it has; the shell waits for it, and its last words still reach the log.
    shell:
        "trap : INT TERM; python scripts/relax.py --config {CONFIG} --shard {wildcards.shard} --threads {threads}"
        " --tasks {input.tasks} --trials {input.trials} --relaxed {output.relaxed} --runs {output.runs}"
        " --journal {RESULTS}/journal/relax/shard={wildcards.shard} 2>&1 | (trap '' INT TERM; tee {log})"
