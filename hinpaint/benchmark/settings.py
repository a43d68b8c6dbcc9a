"""The configuration of a benchmark: the structures, and one block a system."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from hinpaint.block import Block
from hinpaint.config import (
    Config,
    ConfigError,
    Element,
    Les,
    Source,
    parse_block,
    parse_config,
    read_yaml,
)
from hinpaint.files import write_atomic
from hinpaint.relaxing import Potential, Relax, potential_block
from hinpaint.sampling import Sampler
from hinpaint.shipped import DEFAULT_WEIGHTS

_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,30}$"


class Rounds(Block):
    """Which trials of a system are relaxed, and when one stops."""

    level: Annotated[Literal["h_only", "full"], Field(description="h_only: the placed sites alone; full: then everything, which LES needs")]  # fmt: skip  # noqa: E501
    ends: Annotated[tuple[int, ...], Field(min_length=1, description="trials after which an entry that has a success is left alone: any-of-k is exact there")] = (1, 5, 10, 30)  # fmt: skip  # noqa: E501
    max_sites: Annotated[int | None, Field(ge=2, description="relax cells of at most so many sites; empty: all of the system's")] = None  # fmt: skip  # noqa: E501
    limit: Annotated[int | None, Field(ge=1, description="relax a random part of so many entries; empty: all of the system's")] = None  # fmt: skip  # noqa: E501
    controls: Annotated[int, Field(ge=0, le=100, description="random-placement controls an entry, relaxed in the first round")] = 0  # fmt: skip  # noqa: E501

    @model_validator(mode="after")
    def _rise(self) -> Self:
        if list(self.ends) != sorted({each for each in self.ends if each > 0}):
            raise ValueError("ends must rise from 1 or more")
        return self


class System(Block):
    """One row of the table."""

    name: Annotated[str, Field(pattern=_NAME, description="short name, part of file names")]
    label: Annotated[str, Field(min_length=1, max_length=40, description="what the table and the figures call it")]
    sampler: Annotated[Sampler, Field(description="how sites are placed")]
    model: Annotated[str, Field(min_length=1, description="shipped weights by name, or the path of a .safetensors file")] = DEFAULT_WEIGHTS  # fmt: skip  # noqa: E501
    trials: Annotated[int, Field(ge=1, le=1000, description="trials an entry")] = 1
    steps: Annotated[tuple[int, ...], Field(description="make one system for each of these n_steps, named <name>-<n_steps>: a line of the figure of steps")] = ()  # fmt: skip  # noqa: E501
    max_sites: Annotated[int | None, Field(ge=2, description="cells of at most so many sites; empty: all")] = None
    limit: Annotated[int | None, Field(ge=1, description="a random part of so many entries, the same for every system; empty: all")] = None  # fmt: skip  # noqa: E501
    relax: Annotated[Rounds | None, Field(description="which trials are relaxed; empty: none")] = None

    def unfolded(self) -> tuple["System", ...]:
        """One system for each number of ``steps``; itself when there are none."""
        if not self.steps:
            return (self,)
        return tuple(
            self.model_copy(update={"name": f"{self.name}-{n}", "label": f"{self.label}, {n} steps", "steps": (),
                                    "sampler": self.sampler.model_copy(update={"n_steps": n})})
            for n in self.steps
        )  # fmt: skip

    @property
    def round_ends(self) -> tuple[int, ...]:
        """Ends of the rounds that its trials fill, the last one cut to the number of trials."""
        if self.relax is None:
            return ()
        return tuple(sorted({min(end, self.trials) for end in self.relax.ends}))


class Benchmark(Block):
    """A table of systems on the same structures."""

    name: Annotated[str, Field(pattern=_NAME, description="name of the benchmark; results go to results/<name>/")]
    title: Annotated[str, Field(min_length=1, description="what the structures are, in the table's heading")]
    seed: Annotated[int, Field(ge=0, lt=2**63, description="seed of every random stream and of the random parts")] = 0
    element: Annotated[Element, Field(description="element that is stripped and found again")] = "H"
    source: Annotated[Source, Field(description="complete structures; its path may be given on the command line")]
    max_sites: Annotated[int, Field(ge=2, le=2000, description="sites in a cell at most")] = 64
    shards: Annotated[int, Field(ge=1, le=5000, description="shards the tasks are spread over")] = 1
    potential: Annotated[Potential, BeforeValidator(potential_block), Field(description="name, or a block")] = Potential()  # fmt: skip  # noqa: E501
    relax: Annotated[Relax, Field(description="how structures are relaxed")] = Relax()
    les: Annotated[Les, Field(description="how trials are judged; chance_trials is not used, see relax.controls")] = Les()  # fmt: skip  # noqa: E501
    systems: Annotated[tuple[System, ...], Field(min_length=1, description="the rows of the table, in their order")]

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [each.name for each in self.unfolded]
        twice = {name for name in names if names.count(name) > 1 or name == REFERENCES}
        if twice:
            raise ValueError(f"systems need names of their own, not twice {', '.join(sorted(twice))}")
        return self

    @property
    def unfolded(self) -> tuple[System, ...]:
        """All systems, one for each number of steps."""
        return tuple(each for system in self.systems for each in system.unfolded())

    @property
    def results(self) -> Path:
        """Folder of this benchmark."""
        return Path("results") / self.name

    def system(self, name: str) -> System:
        """The system of this name.

        Raises:
            ConfigError: there is none.
        """
        for each in self.unfolded:
            if each.name == name:
                return each
        raise ConfigError(f"no system {name}; there are {', '.join(each.name for each in self.unfolded)}")

    def shared_config(self) -> Config:
        """What ingest, plan and the relaxation of references are run with."""
        return parse_config(self._common(self.name))

    def config_of(self, system: System) -> Config:
        """What the stages of one system are run with.

        Raises:
            ConfigError: the sampler cannot use the weights, or there are no such weights.
        """
        values = self._common(f"{self.name}.{system.name}")
        values |= {"sampler": system.sampler, "model": system.model, "trials": system.trials}
        values["les"] = self.les.model_copy(update={"chance_trials": system.relax.controls if system.relax else 0})
        if system.relax is None or system.relax.level == "h_only":
            values["relax"] = self.relax.model_copy(update={"max_steps_full": 0})
        try:
            return parse_config(values)
        except ConfigError as error:
            raise ConfigError(f"system {system.name}: {error}") from error

    def _common(self, run: str) -> dict[str, Any]:
        return {
            "run": run, "seed": self.seed, "element": self.element, "sources": [self.source], "shards": self.shards,
            "select": {"max_sites": self.max_sites}, "trials": 1, "potential": self.potential, "relax": self.relax,
            "les": self.les,
        }  # fmt: skip


REFERENCES = "references"
"""Stands for a system where the references are relaxed, which all systems share."""


def load_benchmark(path: Path, structures: Path | None = None) -> Benchmark:
    """Read and validate the YAML (or resolved JSON) of a benchmark.

    Args:
        path: the file.
        structures: path of the source, instead of the one in the file.

    Raises:
        ConfigError: the file is absent, not YAML, or invalid.
    """
    values = read_yaml(path)
    source = values.get("source") if isinstance(values, Mapping) else None
    if isinstance(source, dict):
        source.setdefault("mode", "benchmark")
        if structures is not None:
            source["path"] = structures
    return parse_block(Benchmark, values)


def write_resolved(benchmark: Benchmark, systems: Iterable[System]) -> Path:
    """Write what scripts read: ``benchmark.json``, and ``config.json`` for what is shared and for each system."""
    root = benchmark.results
    _write(root / "config.json", benchmark.shared_config().model_dump_json(indent=2))
    for each in systems:
        _write(root / "systems" / each.name / "config.json", benchmark.config_of(each).model_dump_json(indent=2))
    _write(root / "benchmark.json", benchmark.model_dump_json(indent=2))
    return root / "benchmark.json"


def plan_settings(benchmark: Benchmark, name: str) -> str:
    """What decides which entries a system takes, as JSON: what Snakemake compares to see whether a job is stale."""
    chosen = benchmark.unfolded if name == REFERENCES else (benchmark.system(name),)
    keys = {"name", "max_sites", "limit", "relax"}
    parts = [each.model_dump(mode="json", include=keys) for each in chosen if name != REFERENCES or each.relax]
    return json.dumps([benchmark.seed, parts], sort_keys=True)


def _write(path: Path, text: str) -> None:
    text += "\n"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_atomic(path, lambda handle: handle.write(text.encode()))
