"""One module a stage: reads the tables of earlier stages, writes its own; no stage imports another."""
