"""A shard of any sizes in one job: every structure has its rows, whatever is wrong with a few of them."""

import numpy as np
import pytest
from cheap_potential import pair_potential

from hinpaint.crystal import Crystal
from hinpaint.relaxation.batch import RelaxJob
from hinpaint.relaxation.levels import relax_levels
from hinpaint.relaxing import Relax
from hinpaint.whynot import Reason

pytestmark = pytest.mark.slow

_SIDE_A = 2.97


def _block(n_sites: int, stream: np.random.Generator) -> Crystal:
    """MgO in the structure of CsCl, cells in a row, one H at a random face of each until the sites are used up."""
    n_cells = max(1, n_sites // 3)
    across = min(n_cells, 3)
    along = -(-n_cells // across)
    corners = np.array([[i, 0, k] for k in range(along) for i in range(across)][:n_cells], dtype=float)
    size = np.array([across, 1.0, along])
    faces = np.array([[0.5, 0.5, 0.1], [0.5, 0.1, 0.5], [0.1, 0.5, 0.5]])
    hydrogen = corners + faces[stream.integers(3, size=n_cells)] + 0.05 * stream.standard_normal((n_cells, 3))
    frac = np.concatenate([corners, corners + 0.5, hydrogen])[:n_sites] / size
    species = (["Mg"] * n_cells + ["O"] * n_cells + ["H"] * n_cells)[:n_sites]
    return Crystal.build(_SIDE_A * np.diag(size), species, frac, [name != "H" for name in species])


def test_512_structures_of_2_to_200_sites() -> None:
    stream = np.random.default_rng(5)
    sizes = np.concatenate([[2, 200], np.exp(stream.uniform(np.log(2), np.log(200), 507)).astype(int)])
    crystals = [_block(int(size), stream) for size in sizes]
    poisoned = crystals[200].with_frac(np.full_like(crystals[200].frac, np.nan))
    frac = crystals[300].frac.copy()
    frac[-1] = frac[0]
    on_one_spot = crystals[300].with_frac(frac)
    single = Crystal.build(4 * np.eye(3), ["H"], [[0, 0, 0]], [False])
    crystals += [poisoned, on_one_spot, single]
    assert len(crystals) == 512
    jobs = [RelaxJob((f"x|1|{number}", 0), crystal, ~crystal.known) for number, crystal in enumerate(crystals)]
    potential = pair_potential()
    settings = Relax(fmax_ev_per_a=0.1, max_steps_h_only=10, max_steps_full=3)
    found = relax_levels(lambda: potential, jobs, settings, lambda _level: lambda _done, _total: None)
    assert [(level, outcome.key) for level, outcome in found] == [
        (level, job.key) for level in ("h_only", "full") for job in jobs
    ]
    for _, outcome in found:
        bad = {"x|1|509": Reason.NOT_FINITE, "x|1|510": Reason.COLLAPSED}.get(outcome.key[0])
        if bad is not None:
            assert (outcome.reason, outcome.energy_ev) == (bad, None)
        else:
            assert outcome.reason != Reason.OUT_OF_MEMORY
            assert outcome.reason != Reason.NOT_FINITE
    assert found[511][1].converged
    sound = [outcome for _, outcome in found if outcome.energy_ev is not None]
    assert len(sound) > 900
    assert all(np.isfinite(outcome.crystal.frac).all() for outcome in sound)
