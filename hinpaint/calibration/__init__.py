"""Fits the confidence model to runs whose answers are known, and measures how well it is calibrated."""
