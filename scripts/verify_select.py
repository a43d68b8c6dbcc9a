"""Pick the entries that DFT verifies."""

from hinpaint.scripting import parse_arguments, plain_errors
from hinpaint.stages.verify import select

arguments, config = parse_arguments(__doc__, files=("catalog", "whynot", "runs", "work"), lists=("tasks",))
with plain_errors():
    select(config, arguments.catalog, arguments.tasks, arguments.whynot, arguments.runs, arguments.work)
