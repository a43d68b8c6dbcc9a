"""Closed list of doubts: what speaks against a released candidate, and whether it keeps the grade from `accept`."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Doubt(StrEnum):
    """What was seen in a candidate or among its trials. The list is closed."""

    SHORT_X_H = "short_x_h"
    LONG_X_H = "long_x_h"
    SHORT_H_H = "short_h_h"
    LARGE_SHIFT = "large_shift"
    SYMMETRY_LOWERED = "symmetry_lowered"
    ONE_TRIAL_ONLY = "one_trial_only"
    NO_AGREEMENT = "no_agreement"
    CLOSE_RIVAL = "close_rival"
    MOST_FAILED = "most_failed"
    HOST_STRAINED = "host_strained"
    COUNT_UNSURE = "count_unsure"
    BEYOND_CALIBRATION = "beyond_calibration"
    OTHER_ELEMENT = "other_element"
    DFT_REFUTED = "dft_refuted"


@dataclass(frozen=True)
class DoubtInfo:
    """What a doubt says.

    Attributes:
        text: explanation.
        needs_review: a candidate with it is graded `review` at best, whatever its confidence.
    """

    text: str
    needs_review: bool = False


DOUBTS: dict[Doubt, DoubtInfo] = {
    Doubt.SHORT_X_H: DoubtInfo("a placed hydrogen is nearer to its neighbour than neutrons find bonds to it", True),
    Doubt.LONG_X_H: DoubtInfo("a placed hydrogen is further from every neighbour than neutrons find bonds", True),
    Doubt.SHORT_H_H: DoubtInfo("two hydrogens lie closer than in any common group", True),
    Doubt.LARGE_SHIFT: DoubtInfo("relaxation moved a placed site by more than 1 Å: sampler and potential disagree"),
    Doubt.SYMMETRY_LOWERED: DoubtInfo("the placed sites keep only a part of the host's symmetry"),
    Doubt.ONE_TRIAL_ONLY: DoubtInfo("only one trial converged and passed the gates, so nothing could agree", True),
    Doubt.NO_AGREEMENT: DoubtInfo("several trials passed and no other one reached this arrangement"),
    Doubt.CLOSE_RIVAL: DoubtInfo("another arrangement lies less than 5 meV/atom above this one"),
    Doubt.MOST_FAILED: DoubtInfo("more than half of the trials did not converge or failed a gate"),
    Doubt.HOST_STRAINED: DoubtInfo(
        "the host gains more than 20 meV/atom once it may relax: the placed sites or the potential do not fit it"
    ),
    Doubt.COUNT_UNSURE: DoubtInfo("the record leaves open how many sites are missing (evidence below 0.9)", True),
    Doubt.BEYOND_CALIBRATION: DoubtInfo("the cell is larger than any that the confidence was fitted on"),
    Doubt.OTHER_ELEMENT: DoubtInfo("the confidence was fitted on hydrogen, not on this element", True),
    Doubt.DFT_REFUTED: DoubtInfo(
        "the potential finds it lower in energy than the source's structure, DFT finds it higher: the source stands",
        True,
    ),
}


def needs_review(doubts: Iterable[str]) -> bool:
    """Whether one of the doubts keeps the grade from `accept`."""
    return any(DOUBTS[Doubt(each)].needs_review for each in doubts)
