"""The paper's table as a benchmark: systems side by side on the same tasks, through the workflow's own stages."""
