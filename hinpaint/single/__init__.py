"""One structure, no workflow: what `hinpaint inpaint` does, by the code that a run over a database uses."""
