"""Read one partition of a source: records, entries, evidence, source text, reasons."""

from hinpaint.scripting import parse_arguments, plain_errors
from hinpaint.stages.ingest import IngestOutputs, run

if __name__ == "__main__":  # the worker processes import this file
    names = ("records", "entries", "evidence", "source-text", "whynot", "runs")
    arguments, config = parse_arguments(__doc__, files=names, shard=True, workers=True)
    outputs = IngestOutputs(**{name: getattr(arguments, name) for name in (n.replace("-", "_") for n in names)})
    with plain_errors():
        run(config, arguments.shard, outputs, arguments.threads)
