# hinpaint: completes missing hydrogen in crystallographic databases.
#
#   results/<run>/<table>/shard=0007.parquet    one file a stage and shard: the unit of retry and of re-running
#   results/<run>/catalog.duckdb                every table, LES statistics, SQL views
#   results/<run>/release/<version>/            the corrected database with its manifest
#   results/<run>/{logs,benchmarks}/<rule>/     what each job said and used
#
#   snakemake --profile profiles/local          on this machine
#   snakemake --profile slurm                   on a cluster
import shlex
import sys

sys.path.insert(0, workflow.basedir)
from hinpaint.config import ConfigError, parse_config, stage_settings, write_resolved

if not workflow.config_settings.configfiles:

    configfile: "config.yaml"


try:
    settings = parse_config(config)
    if settings.verify.code:
        from hinpaint.verification.picks import check_query

        check_query(settings)
except ConfigError as error:
    sys.exit(f"hinpaint: {error}")

# Scripts find the package where the workflow lies, in every environment. A prefix of one's own replaces Snakemake's
# `set`, without which a failed script before `| tee` would count as a success.
shell.prefix(f"set -euo pipefail; export PYTHONPATH={shlex.quote(str(workflow.basedir))}; ")
RESULTS = settings.results
CONFIG = write_resolved(settings)
SHARDS = [f"{shard:04d}" for shard in range(settings.shards)]
PARTS = [f"{part:04d}" for part in range(len(settings.ingest_parts))]


wildcard_constraints:
    shard=r"\d{4}",
    part=r"\d{4}",


include: "rules/ingest.smk"
include: "rules/inpaint.smk"
include: "rules/relax.smk"
include: "rules/match.smk"
include: "rules/aggregate.smk"


if settings.verify.code:

    include: "rules/verify.smk"


include: "rules/release.smk"
include: "rules/figures.smk"


rule all:
    default_target: True
    input:
        RESULTS / "catalog.duckdb",
        RESULTS / "release" / settings.release.version / "manifest.json",
        expand(RESULTS / "figures/{name}.svg", name=FIGURES),
        # Named here so that a file somebody deleted is made again, though later ones exist.
        expand(
            RESULTS / "{table}/shard={part}.parquet",
            table=["records", "entries", "evidence", "source_text"],
            part=PARTS,
        ),
        expand(
            RESULTS / "{table}/shard={shard}.parquet",
            table=["tasks", "trials", "relaxed", "matches", "arrangements"],
            shard=SHARDS,
        ),
