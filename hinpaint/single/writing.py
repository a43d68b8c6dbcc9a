"""The CIF and the page of a completed structure."""

from collections.abc import Sequence

import numpy as np

from hinpaint.doubts import DOUBTS, Doubt
from hinpaint.jobs import library_versions
from hinpaint.pages.entry import single_page
from hinpaint.pages.facts import decision_facts
from hinpaint.pages.model import CANDIDATE, EntryPage, Fact, TrialView
from hinpaint.reduction import expand_sites
from hinpaint.release.completion import Completion
from hinpaint.release.entry import Changed, release_entry
from hinpaint.single.deciding import Chosen
from hinpaint.single.reading import CannotCompleteError, Read, explain
from hinpaint.single.trials import Candidate, Tools
from hinpaint.whynot import Stop


def completed_cif(read: Read, chosen: Chosen) -> str:
    """Write the CIF with the candidate's sites, everything else in it kept.

    Raises:
        CannotCompleteError: the text does not read back.
    """
    entry = {"source_sha256": read.sha256, "licence": "as the source"}
    completion = Completion.from_rows(chosen.row, entry, library_versions()["hinpaint"])
    frac = np.reshape(chosen.row["frac_unknown"], (-1, 3))
    released = release_entry(Changed(completion, read.host, frac, read.name, read.name), "cif", read.text)
    if isinstance(released, Stop):
        raise CannotCompleteError(explain(released))
    return released.cif


def page(read: Read, candidates: Sequence[Candidate], chosen: Chosen, tools: Tools) -> str:
    """The page of the structure, in one file that needs no other."""
    evidence = read.evidence
    counts = (
        ("Known sites in the cell", read.host.n_sites),
        ("Missing, as the record says", evidence.n_missing),
        ("Placed", read.n_unknown),
        ("How sure the record makes us of the count", evidence.confidence),
    )
    versions = ", ".join(f"{name} {version}" for name, version in library_versions().items())
    sampler = tools.sampler
    return single_page(
        EntryPage(
            key=read.name,
            name=read.name,
            formula=None,
            action=chosen.row["action"],
            element=read.element,
            host=read.host,
            source_frac=np.zeros((0, 3)),
            placed_frac=np.reshape(chosen.row["frac_unknown"], (-1, 3)),
            trials=tuple(_view(read, each, chosen) for each in candidates),
            decision=decision_facts(chosen.row),
            doubts=tuple(Fact(name, DOUBTS[Doubt(name)].text) for name in chosen.row["doubts"]),
            evidence=tuple(Fact(name, str(value)) for name, value in counts if value is not None),
            codes=tuple(evidence.codes),
            provenance=(
                Fact("SHA-256 of the source's text", read.sha256),
                Fact("Sampler, seed", f"{sampler.name}, {sampler.n_steps} steps, {tools.seed}"),
                Fact("SHA-256 of the diffusion weights", tools.model.sha256),
                Fact("Potential", tools.potential.name),
                Fact("Versions", versions),
            ),
            grade=chosen.row["grade"],
            confidence=chosen.row["confidence"],
        )
    )


def _view(read: Read, candidate: Candidate, chosen: Chosen) -> TrialView:
    stop, energy = candidate.stop, candidate.full.energy_ev
    n_sites = read.primitive_host.n_sites + read.n_placed
    outcome = "passed" if stop is None else stop.reason.value
    return TrialView(
        trial=candidate.trial,
        outcome=CANDIDATE if candidate is chosen.candidate else outcome,
        energy_mev_per_atom=None if energy is None else 1000.0 * (energy - chosen.row["energy_ev"]) / n_sites,
        arrangement=candidate.member.arrangement if candidate.member else None,
        frac=expand_sites(candidate.placed, read.supercell) if candidate.member else None,
        detail=stop.detail if stop else "",
    )
