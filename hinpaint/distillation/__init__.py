"""NequIP models that learn from a larger potential: structures, labels, training, and what they reach."""
