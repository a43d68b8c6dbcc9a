"""Batched relaxation with machine-learned interatomic potentials."""
