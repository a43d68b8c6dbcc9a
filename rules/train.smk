# Structures -> weights: a workflow of its own, as a run only needs the weights that are shipped.
#
#   snakemake -s rules/train.smk --directory . --cores 1 --config structures=STRUCTURES.parquet
#
# Other settings: add settings=FILE.yaml. Rates while it trains: add validation=STRUCTURES. A training that was stopped
# goes on where it was.
from pathlib import Path

SETTINGS = Path(config.get("settings", "config/training/td-small.yaml"))
FOLDER = Path("training") / SETTINGS.stem
VALIDATION = [config["validation"]] if "validation" in config else []


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
