"""A census of a database export: how many records lack the element, on what evidence, and why the others stop."""
