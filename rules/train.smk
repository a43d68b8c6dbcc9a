# Structures -> weights: a workflow of its own, as a run only needs the weights that are shipped.
#
#   snakemake -s rules/train.smk --directory . --cores 1 --config structures=STRUCTURES.parquet
#
# Other settings: add settings=FILE.yaml. Rates while it trains: add validation=STRUCTURES. A training that was stopped
# goes on where it was.
#
# A NequIP model that learns from SevenNet (docs/potentials.md), measured on a run that SevenNet relaxed (add shards=N for
# more than its first shard):
#
#   snakemake -s rules/train.smk --directory . --cores 1 potential
#     --config structures=STRUCTURES.parquet validation=OTHERS.parquet run=results/NAME
#
# Other settings: add potential=FILE.yaml, for example config/training/nequip-medium.yaml on a GPU.
from pathlib import Path

SETTINGS = Path(config.get("settings", "config/training/td-small.yaml"))
FOLDER = Path("training") / SETTINGS.stem
VALIDATION = [config["validation"]] if "validation" in config else []
POTENTIAL_SETTINGS = Path(config.get("potential", "config/training/nequip-small.yaml"))
POTENTIAL = Path("training") / POTENTIAL_SETTINGS.stem
RUN = Path(config.get("run", "results/demo"))
SHARDS = [f"shard={number:04d}.parquet" for number in range(int(config.get("shards", 1)))]


rule train:
    default_target: True
    input:
        structures=config["structures"],
        validation=VALIDATION,
        settings=SETTINGS,
    output:
        weights=FOLDER / "weights.safetensors",
        card=FOLDER / "weights.json",
    log:
        FOLDER / "train.log",
    benchmark:
        FOLDER / "train.tsv"
    conda:
        "../envs/train.yaml"
    threads: workflow.cores
    params:
        folder=FOLDER,
        validation=[f"--validation {each}" for each in VALIDATION],
    # A signal ends the job, which keeps what it has; the shell waits for it, and its last words still reach the log.
    shell:
        "trap : INT TERM; python scripts/train.py --config {input.settings} --structures {input.structures}"
        " {params.validation} --out {params.folder} --threads {threads} 2>&1 | (trap '' INT TERM; tee -a {log})"


rule label_potential:
    input:
        structures=config["structures"],
        validation=config.get("validation", config["structures"]),
        settings=POTENTIAL_SETTINGS,
    output:
        train=POTENTIAL / "train.extxyz",
        held_out=POTENTIAL / "held_out.extxyz",
    log:
        POTENTIAL / "label.log",
    benchmark:
        POTENTIAL / "label.tsv"
    conda:
        "../envs/distillation.yaml"
    threads: workflow.cores
    params:
        folder=POTENTIAL,
    shell:
        "python scripts/label_potential.py --config {input.settings} --structures {input.structures}"
        " --validation {input.validation} --out {params.folder} --threads {threads} 2>&1 | tee -a {log}"


rule train_potential:
    input:
        rules.label_potential.output,
        settings=POTENTIAL_SETTINGS,
    output:
        package=POTENTIAL / "potential.nequip.zip",
        facts=POTENTIAL / "training.json",
    log:
        POTENTIAL / "fit.log",
    benchmark:
        POTENTIAL / "fit.tsv"
    conda:
        "../envs/distillation.yaml"
    threads: workflow.cores
    params:
        folder=POTENTIAL,
    shell:
        "python scripts/train_potential.py --config {input.settings} --out {params.folder} --threads {threads}"
        " 2>&1 | tee -a {log}"


rule potential:
    input:
        rules.train_potential.output,
        held_out=rules.label_potential.output.held_out,
        run=RUN / "config.json",
        tasks=[RUN / "tasks" / shard for shard in SHARDS],
        trials=[RUN / "trials" / shard for shard in SHARDS],
        relaxed=[RUN / "relaxed" / shard for shard in SHARDS],
    output:
        card=POTENTIAL / "potential.json",
    log:
        POTENTIAL / "appraise.log",
    benchmark:
        POTENTIAL / "appraise.tsv"
    conda:
        "../envs/distillation.yaml"
    threads: workflow.cores
    params:
        folder=POTENTIAL,
    shell:
        "python scripts/appraise_potential.py --run {input.run} --tasks {input.tasks} --trials {input.trials}"
        " --relaxed {input.relaxed} --out {params.folder} --threads {threads} 2>&1 | tee -a {log}"
