# Trials -> relaxed: the potential moves the placed sites, then everything; the reference too.
COMPILED = RESULTS / "potential/compiled.done"

if settings.potential.compile:

    rule compile_potential:
        output:
            touch(COMPILED),
        log:
            RESULTS / "logs/compile_potential.log",
        benchmark:
            RESULTS / "benchmarks/compile_potential.tsv"
        conda:
            "../envs/relax.yaml"
        threads: 2
        params:
            settings=stage_settings(settings, "relax"),
        shell:
            "python scripts/compile_potential.py --config {CONFIG} --threads {threads} --folder {RESULTS}/potential"
            " 2>&1 | tee {log}"


rule relax:
    input:
        tasks=RESULTS / "tasks/shard={shard}.parquet",
        trials=RESULTS / "trials/shard={shard}.parquet",
        # A potential compiled anew gives the same rows to rounding, so its time does not count.
        compiled=ancient(str(COMPILED)) if settings.potential.compile else [],
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
