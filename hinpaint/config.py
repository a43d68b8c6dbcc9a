"""The configuration: one pydantic block a section, unknown keys refused, checked before anything runs."""

import json
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import gemmi
import yaml
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from hinpaint.block import Block
from hinpaint.dft import DECIDING as DFT
from hinpaint.dft import Verify
from hinpaint.files import sha256_file, write_atomic
from hinpaint.relaxing import Potential, Relax, potential_block
from hinpaint.sampling import Sampler, misfit, read_card
from hinpaint.shipped import DEFAULT_WEIGHTS, POTENTIALS, potential_card

Mode = Literal["reconstruct", "benchmark", "audit"]
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


def _known_element(symbol: str) -> str:
    if gemmi.Element(symbol).atomic_number == 0 or symbol in ("X", "D"):
        hint = "; deuterium counts as H" if symbol == "D" else ""
        raise ValueError(f"{symbol} is no element{hint}")
    return symbol


Element = Annotated[str, Field(pattern=r"^[A-Z][a-z]?$"), AfterValidator(_known_element)]


class ConfigError(Exception):
    """The configuration cannot be used. The message is one line that says what to change."""


class Source(Block):
    """One database export to read."""

    database: Annotated[str, Field(pattern=_NAME, description="short name, first part of every entry key")]
    version: Annotated[str, Field(pattern=_NAME, description="version of the export, second part of every entry key")]
    format: Annotated[
        Literal["cif", "optimade", "extxyz", "aiida", "entries"],
        Field(
            description="cif: folder, .tar(.gz|.xz|.bz2|.zst) or .zip of CIFs; optimade: JSON Lines; extxyz: frames of "
            "extended XYZ; aiida: .aiida archive; entries: Parquet of the table entries; text may be compressed"
        ),
    ]
    path: Annotated[Path, Field(description="folder, archive or file; relative to the working directory")]
    licence: Annotated[str, Field(min_length=1, description="licence of the records, an SPDX identifier where one exists")]  # fmt: skip  # noqa: E501
    redistributable: Annotated[bool, Field(description="false where the licence forbids passing records on: they are counted, none is curated")] = True  # fmt: skip  # noqa: E501
    mode: Annotated[
        tuple[Mode, ...],
        BeforeValidator(lambda value: (value,) if isinstance(value, str) else value),
        Field(min_length=1, description="what to do; with several, an entry takes the first one that fits it"),
    ]
    partitions: Annotated[int, Field(ge=1, le=1000, description="ingest jobs this source is split into")] = 1
    index: Annotated[Path | None, Field(description="cif: COD's table data, as CSV or MySQL dump (.sql), plain or compressed; entries it answers are not read")] = None  # fmt: skip  # noqa: E501
    time_limit_s: Annotated[float, Field(gt=0, le=3600, description="wall-clock seconds for reading one record")] = 10.0

    @field_validator("path", "index")
    @classmethod
    def _path_exists(cls, value: Path | None) -> Path | None:
        if value is not None and not value.exists():
            raise ValueError(f"{value} does not exist")
        return value

    @model_validator(mode="after")
    def _fits_format(self) -> Self:
        if self.format not in ("cif", "entries") and not self.path.is_file():
            raise ValueError(f"{self.path} is a folder; format {self.format} is one file")
        if self.index is not None and (self.format != "cif" or not self.index.is_file()):
            raise ValueError("index is one file and belongs to format cif")
        return self


class Select(Block):
    """Which entries to take; the others get a row in whynot."""

    max_sites: Annotated[int, Field(ge=2, le=2000, description="sites in the completed cell at most")] = 64
    primitive_cell: Annotated[
        bool, Field(description="complete the primitive cell where the missing sites divide evenly, and map back")
    ] = True
    limit: Annotated[int | None, Field(ge=1, description="entries to take at most, in key order; empty: all")] = None
    elements: Annotated[
        tuple[Element, ...] | None,
        Field(description="take only entries made of these elements; empty: any"),
    ] = None


class Les(Block):
    """How trials are judged."""

    tol_mev_per_atom: Annotated[float, Field(ge=0, description="a trial is lower when it is by more than this; from where on the potential is right: docs/verification.md")] = 1.0  # fmt: skip  # noqa: E501
    strict_a: Annotated[float, Field(gt=0, description="strict rate: largest distance of a placed site")] = 0.3
    chance_trials: Annotated[int, Field(ge=0, le=100, description="random-placement controls per entry with a reference")] = 1  # fmt: skip  # noqa: E501
    bootstrap: Annotated[int, Field(ge=10, le=100000, description="bootstrap samples of the intervals")] = 1000


def _date_text(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value  # YAML reads 2026-11-23 as a date


class Grades(Block):
    """From which confidence on a released candidate gets which grade; certain doubts keep it from accept."""

    accept: Annotated[float, Field(gt=0, le=1, description="confidence from which on a candidate is accepted")] = 0.9
    reject: Annotated[float, Field(ge=0, lt=1, description="confidence below which it is rejected")] = 0.3

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.reject >= self.accept:
            raise ValueError("reject must lie below accept")
        return self


_Date = Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]


class Release(Block):
    """The corrected database that comes out."""

    version: Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$", description="version of the release")] = "1.0.0"
    title: Annotated[str, Field(min_length=1, description="title in the release's README")] = "Corrected structures"
    previous: Annotated[Path | None, Field(description="folder of the release to compare with; empty: the highest lower version beside this one")] = None  # fmt: skip  # noqa: E501
    version_check: Annotated[Literal["refuse", "report"], Field(description="when the changes ask for a higher version: refuse, or only say so in the README")] = "refuse"  # fmt: skip  # noqa: E501
    licences: Annotated[tuple[str, ...] | None, Field(description="licences whose records may enter; empty: all but those that forbid changed copies or grant nothing")] = None  # fmt: skip  # noqa: E501
    creators: Annotated[tuple[str, ...], Field(description="who publishes it: `Family, Given`, or an organisation")] = ()  # fmt: skip  # noqa: E501
    date: Annotated[_Date | None, BeforeValidator(_date_text), Field(description="date of publication; never the clock's, so that equal runs agree")] = None  # fmt: skip  # noqa: E501
    url: Annotated[str | None, Field(pattern=r"^https?://[^\s]+$", description="where the release is published")] = None

    @field_validator("previous")
    @classmethod
    def _previous_exists(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_dir():
            raise ValueError(f"{value} is no folder")
        return value


class Config(Block):
    """What to curate. Threads, partitions and memory belong in a Snakemake profile."""

    run: Annotated[str, Field(pattern=_NAME, description="name of the run; results go to results/<run>/")]
    seed: Annotated[int, Field(ge=0, lt=2**63, description="seed of every random stream")] = 0
    element: Annotated[Element, Field(description="element to complete")] = "H"
    sources: Annotated[tuple[Source, ...], Field(min_length=1, description="the database exports to read")]
    select: Annotated[Select, Field(description="which entries to take")] = Select()
    shards: Annotated[int, Field(ge=1, le=5000, description="shards the tasks are spread over")] = 1
    trials: Annotated[int, Field(ge=1, le=1000, description="trials per task")] = 10
    sampler: Annotated[Sampler, Field(description="how sites are placed")] = Sampler()
    model: Annotated[str, Field(min_length=1, description="shipped weights by name, or the path of a .safetensors file")] = DEFAULT_WEIGHTS  # fmt: skip  # noqa: E501
    potential: Annotated[
        Potential, BeforeValidator(potential_block), Field(description="name, or a block for a file of your own")
    ] = Potential()
    relax: Annotated[Relax, Field(description="how structures are relaxed")] = Relax()
    les: Annotated[Les, Field(description="how trials are judged")] = Les()
    grades: Annotated[Grades, Field(description="what becomes of a confidence")] = Grades()
    verify: Annotated[Verify, Field(description="what DFT verifies")] = Verify()
    release: Annotated[Release, Field(description="what is published")] = Release()

    @field_validator("model")
    @classmethod
    def _weights_have_a_card(cls, value: str) -> str:
        read_card(value)
        return value

    @model_validator(mode="after")
    def _sampler_fits_model(self) -> Self:
        problem = misfit(self.sampler, self.model, read_card(self.model)["conditioning"])
        if problem:
            raise ValueError(problem)
        return self

    @model_validator(mode="after")
    def _distinct_sources(self) -> Self:
        keys = [(source.database, source.version) for source in self.sources]
        if len(set(keys)) < len(keys):
            raise ValueError("two sources share database and version; give one of them another version")
        return self

    @property
    def ingest_parts(self) -> tuple[tuple[int, int], ...]:
        """(source index, partition) of every ingest job, in the order of their shard numbers."""
        return tuple((i, part) for i, source in enumerate(self.sources) for part in range(source.partitions))

    @property
    def results(self) -> Path:
        """Folder of this run."""
        return Path("results") / self.run


def parse_block[B: Block](block: type[B], values: Any) -> B:
    """Validate one block.

    Raises:
        ConfigError: with one line naming the first key that is wrong and how many more there are.
    """
    try:
        return block.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_one_line(error)) from error


def parse_config(values: Any) -> Config:
    """Validate a configuration that is already a mapping (Snakemake's ``config``).

    Raises:
        ConfigError: with one line naming the first key that is wrong and how many more there are.
    """
    return parse_block(Config, values)


def load_config(path: Path) -> Config:
    """Read and validate a YAML configuration file.

    Raises:
        ConfigError: the file is absent, not YAML, or invalid.
    """
    return parse_config(read_yaml(path))


def read_yaml(path: Path) -> Any:
    """Plain values of a YAML file, not yet validated.

    Raises:
        ConfigError: the file is absent or not YAML.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error


def _one_line(error: ValidationError) -> str:
    problems = error.errors(include_url=False)
    first = problems[0]
    where = ".".join(str(part) for part in first["loc"]) or "top level"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "unknown key"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"config: {where}: {message}{more}"


# What decides the rows of each stage. Anything else (batch bounds, shards) may change without making a row stale.
_DECIDING: dict[str, tuple[str, ...]] = {
    "ingest": ("element", "sources"),
    "plan": ("element", "select", "shards"),
    "inpaint": ("seed", "trials", "sampler", "model", "les.chance_trials"),
    "relax": ("potential", "relax"),
    "aggregate": ("les", "grades", "relax.max_steps_full"),
    "verify_select": ("seed", "verify", "les.tol_mev_per_atom", "relax.max_steps_full"),
    "verify": tuple(f"verify.{name}" for name in DFT),
    "verify_collect": ("les",),
    "release": ("release",),
}
_NOT_DECIDING = {"max_atoms", "max_edges", "compile"}


def stage_settings(config: Config, stage: str) -> str:
    """The settings that decide a stage's rows, as JSON: what Snakemake compares to see whether a job is stale."""
    values = config.model_dump(mode="json")
    chosen = {}
    for name in _DECIDING[stage]:
        value: Any = values
        for part in name.split("."):
            value = value[part]
        chosen[name] = {k: v for k, v in value.items() if k not in _NOT_DECIDING} if isinstance(value, dict) else value
    if "grades" in chosen:  # another fit gives other confidences
        chosen["confidence_sha256"] = sha256_file(Path(str(resources.files("hinpaint") / "models/confidence.json")))
    if "potential" in chosen and config.potential.name in POTENTIALS:
        chosen["potential_sha256"] = potential_card(config.potential.name)["sha256"]
    if "model" in chosen:  # weights that were trained again under the same name are other weights
        chosen["model_sha256"] = read_card(config.model)["sha256"]
    return json.dumps(chosen, sort_keys=True)


def write_resolved(config: Config) -> Path:
    """Write the configuration with all defaults filled in to ``results/<run>/config.json`` and return its path.

    The file changes only when its content does. Jobs read it; what makes a job stale is :func:`stage_settings`.
    """
    path = config.results / "config.json"
    text = config.model_dump_json(indent=2) + "\n"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_atomic(path, lambda handle: handle.write(text.encode()))
    return path
