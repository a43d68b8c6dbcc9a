"""The run's tables as one DuckDB file, and safe questions to it."""
