# Trials against the reference and against each other -> matches, arrangements.


rule match:
    input:
        tasks=RESULTS / "tasks/shard={shard}.parquet",
        trials=RESULTS / "trials/shard={shard}.parquet",
        relaxed=RESULTS / "relaxed/shard={shard}.parquet",
    output:
        matches=RESULTS / "matches/shard={shard}.parquet",
        arrangements=RESULTS / "arrangements/shard={shard}.parquet",
        runs=RESULTS / "runs/match-shard={shard}.parquet",
    log:
        RESULTS / "logs/match/shard={shard}.log",
    benchmark:
        RESULTS / "benchmarks/match/shard={shard}.tsv"
    conda:
        "../envs/tables.yaml"
    shell:
        "python scripts/match.py --config {CONFIG} --shard {wildcards.shard} --tasks {input.tasks}"
        " --trials {input.trials} --relaxed {input.relaxed} --matches {output.matches}"
        " --arrangements {output.arrangements} --runs {output.runs} 2>&1 | tee {log}"
