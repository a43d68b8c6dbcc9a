# Structures -> weights: a workflow of its own, as a run only needs the weights that are shipped.
#
#   snakemake -s rules/train.smk --directory . --cores 1 --config structures=STRUCTURES.parquet
#
# Other settings: add settings=FILE.yaml. A training that was stopped goes on where it was.
from pathlib import Path

SETTINGS = Path(config.get("settings", "config/training/td-small.yaml"))
FOLDER = Path("training") / SETTINGS.stem


rule train:
    default_target: True
    input:
        structures=config["structures"],
        settings=SETTINGS,
    output:
        weights=FOLDER / "weights.safetensors",
        card=FOLDER / "weights.json",
    log:
        FOLDER / "train.log",
    benchmark:
        FOLDER / "train.tsv"
    conda:
        "../envs/inpaint.yaml"
    threads: workflow.cores
    params:
        folder=FOLDER,
    shell:
        "python scripts/train.py --config {input.settings} --structures {input.structures}"
        " --out {params.folder} --threads {threads} 2>&1 | tee -a {log}"
