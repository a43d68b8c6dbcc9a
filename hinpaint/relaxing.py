"""The blocks of the configuration that concern relaxation: which potential, and how far."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from hinpaint.block import Block


class Potential(Block):
    """The interatomic potential that relaxes."""

    name: Annotated[
        Literal["sevennet-0", "sevennet-l3i5", "nequip-small", "nequip", "mace", "mattersim"],
        Field(
            description="sevennet-0, sevennet-l3i5 (weights inside the sevenn wheel), nequip-small (shipped; see first "
            "docs/potentials.md), nequip, mace or mattersim"
        ),
    ] = "sevennet-0"
    path: Annotated[Path | None, Field(description="nequip: packaged (.nequip.zip) or compiled (.nequip.pt2/.pth) file; mace, mattersim: weights")] = None  # fmt: skip  # noqa: E501
    model_id: Annotated[str | None, Field(description="nequip: a nequip.net id, where there is a network")] = None
    sha256: Annotated[str | None, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the file at path; such files hold code, so it must be named")] = None  # fmt: skip  # noqa: E501

    compile: Annotated[bool, Field(description="nequip, nequip-small: compile the package for the device first; runs eagerly where that fails")] = False  # fmt: skip  # noqa: E501

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.name == "nequip" and (self.path is None) == (self.model_id is None):
            raise ValueError("potential nequip needs either path or model_id")
        if self.name in ("mace", "mattersim") and (self.path is None or self.model_id is not None):
            raise ValueError(f"potential {self.name} needs path, and no model_id")
        if self.name.startswith("sevennet") and (self.path is not None or self.model_id is not None):
            raise ValueError(f"potential {self.name} brings its own weights; path and model_id belong to nequip")
        if self.path is not None and not self.path.is_file():
            raise ValueError(f"{self.path} does not exist")
        if self.path is not None and self.sha256 is None:
            raise ValueError("potential.path needs potential.sha256 (sha256sum FILE prints it)")
        packaged = self.path is None or self.path.name.endswith(".nequip.zip")
        if self.compile and not (self.name.startswith("nequip") and packaged):
            raise ValueError("potential.compile is for packages (nequip-small, or nequip with a .nequip.zip)")
        return self


class Relax(Block):
    """How structures are relaxed, first the placed sites alone, then everything."""

    fmax_ev_per_a: Annotated[float, Field(gt=0, description="force threshold")] = 0.05
    max_steps_h_only: Annotated[int, Field(ge=1, description="steps with host and cell fixed")] = 100
    max_steps_full: Annotated[int, Field(ge=0, description="steps with everything free; 0 skips the level")] = 200
    fix_symmetry: Annotated[bool, Field(description="each level keeps the space group of its start (to 0.01 Å)")] = (
        False
    )
    max_atoms: Annotated[int, Field(ge=1, description="atoms in a batch at most (a larger crystal runs alone; a CPU takes 32 a thread)")] = 2048  # fmt: skip  # noqa: E501
    share_within_a: Annotated[float, Field(ge=0, le=0.5, description="trials of an entry whose placed sites end this near in the first level are relaxed fully once; 0: each by itself")] = 0.1  # fmt: skip  # noqa: E501
    max_above_lowest_ev: Annotated[float | None, Field(gt=0, description="trials that end higher above the entry's lowest in the first level, eV a cell, are not relaxed fully; empty: all are")] = None  # fmt: skip  # noqa: E501
    time_limit_s: Annotated[float | None, Field(gt=0, description="wall-clock seconds of a structure in one level; empty: none")] = 3600.0  # fmt: skip  # noqa: E501
    min_hh_a: Annotated[float, Field(ge=0, description="gate: shortest distance between placed sites")] = 0.6
    min_distance_a: Annotated[float, Field(ge=0, description="gate: shortest distance between any two sites")] = 0.6
    max_volume_change: Annotated[float, Field(gt=0, description="gate: relative change of volume in the full level")] = 0.15  # fmt: skip  # noqa: E501
    max_stretch: Annotated[float, Field(gt=0, description="gate: relative change of any length in the cell in the full level")] = 0.15  # fmt: skip  # noqa: E501
    max_host_shift_a: Annotated[float, Field(gt=0, description="gate: a host site's displacement in the full level")] = 1.0  # fmt: skip  # noqa: E501


def potential_block(value: Any) -> Any:
    """The block of a potential that is given by its name alone."""
    return {"name": value} if isinstance(value, str) else value
