"""Plausibility gates: a relaxed trial that fails one does not count, however low its energy.

A potential can be wrong where nothing like it was ever trained on, and a wrong low energy would count as a success.
"""

import numpy as np

from hinpaint.config import Relax
from hinpaint.crystal import Crystal


def failed_gate(start: Crystal, end: Crystal, settings: Relax) -> str | None:
    """Say which gate a full relaxation fails.

    The host's shift is measured after the common drift of the host is taken out, in the start's cell: the cell's own
    change has a gate of its own.

    Args:
        start: crystal before the relaxation; its coordinates and those of the end are the same images.
        end: crystal after it.
        settings: thresholds.

    Returns:
        One line naming the gate, or None when all are passed.
    """
    change = end.volume / start.volume - 1.0
    if abs(change) > settings.max_volume_change:
        return f"volume changed by {change:+.0%}"
    shift = (end.frac - start.frac)[start.known]
    if len(shift):
        moved = np.linalg.norm((shift - shift.mean(axis=0)) @ start.lattice, axis=1).max()
        if moved > settings.max_host_shift_a:
            return f"a host site moved by {moved:.2f} Å"
    return None
