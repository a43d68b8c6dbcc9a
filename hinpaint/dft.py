"""The block of the configuration that asks for DFT: what to verify, with which code, at what settings."""

import shlex
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from hinpaint.block import Block

# What decides an energy; which entries are picked, and how many, does not.
DECIDING = ("code", "command", "relax", "fmax_ev_per_a", "max_steps", "cutoff_ev", "k_spacing_per_a", "smearing_ev",
            "max_iterations", "time_limit_s", "pseudo_table")  # fmt: skip


class Verify(Block):
    """DFT on a selection of entries: has the last word where a verdict rests on the potential's energy."""

    code: Annotated[Literal["gpaw", "espresso"] | None, Field(description="gpaw, or espresso (Quantum ESPRESSO); empty: no verification")] = None  # fmt: skip  # noqa: E501
    command: Annotated[str | None, Field(min_length=1, description="Python that has GPAW, or pw.x; `mpirun -np {ranks} pw.x` takes the profile's threads; empty: /usr/bin/python3 or pw.x")] = None  # fmt: skip  # noqa: E501
    query: Annotated[str | None, Field(min_length=1, description="SQL on the run's catalog that gives entry_key of the entries to verify; empty: those whose LES or whose replacement rests on energy")] = None  # fmt: skip  # noqa: E501
    picks: Annotated[int | None, Field(ge=0, description="entries of the query to verify at most, drawn by the seed; empty: all")] = 20  # fmt: skip  # noqa: E501
    controls: Annotated[int, Field(ge=0, description="structural matches to verify beside them, drawn by the seed")] = 10  # fmt: skip  # noqa: E501
    check: Annotated[int, Field(ge=0, description="picks to compute again at a higher cutoff and denser k-points: the numerical error")] = 2  # fmt: skip  # noqa: E501
    max_sites: Annotated[int, Field(ge=1, description="sites in the task's cell at most")] = 12
    shards: Annotated[int, Field(ge=1, le=1000, description="verification jobs the picks are spread over")] = 1
    relax: Annotated[Literal["none", "h_only", "full"], Field(description="what DFT relaxes before the energies are compared, from the potential's geometries")] = "none"  # fmt: skip  # noqa: E501
    fmax_ev_per_a: Annotated[float, Field(gt=0, description="force threshold of that relaxation")] = 0.05
    max_steps: Annotated[int, Field(ge=1, description="steps of that relaxation")] = 60
    cutoff_ev: Annotated[float | None, Field(ge=100, le=3000, description="plane-wave cutoff; empty: 400 with gpaw, the pseudopotential table's with espresso")] = None  # fmt: skip  # noqa: E501
    k_spacing_per_a: Annotated[float, Field(gt=0.01, le=10, description="largest distance of k-points, 2 pi included")] = 0.35  # fmt: skip  # noqa: E501
    smearing_ev: Annotated[float, Field(gt=0, le=1, description="width of the smearing; energies are extrapolated to zero")] = 0.1  # fmt: skip  # noqa: E501
    max_iterations: Annotated[int, Field(ge=1, description="steps to a self-consistent density, in each of a few ways that are tried")] = 150  # fmt: skip  # noqa: E501
    time_limit_s: Annotated[float, Field(gt=0, le=604800, description="wall-clock seconds of one calculation")] = 7200.0
    pseudo_table: Annotated[Path | None, Field(description="espresso: JSON with filename, cutoff_wfc and cutoff_rho (Ry) of each element, as SSSP publishes it; the files lie beside it")] = None  # fmt: skip  # noqa: E501

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.command is not None:
            try:
                words = shlex.split(self.command.format(ranks=1))
            except (KeyError, IndexError, ValueError) as error:
                raise ValueError(
                    "verify.command knows {ranks} and nothing else in braces, and closes its quotes"
                ) from error
            if not words:
                raise ValueError("verify.command is empty")
        if self.code == "espresso" and (self.pseudo_table is None or not self.pseudo_table.is_file()):
            raise ValueError("code espresso needs pseudo_table, a JSON file beside the pseudopotentials")
        return self

    def program(self, ranks: int) -> list[str]:
        """The command's words, for so many MPI ranks."""
        default = "pw.x" if self.code == "espresso" else "/usr/bin/python3"
        return shlex.split((self.command or default).format(ranks=ranks))
