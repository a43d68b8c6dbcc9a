"""Weights from structures: denoising score matching on positions, resumable to the step, on one device or many."""
