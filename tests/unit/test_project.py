"""What the project promises about itself: environments, rooms, rules."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PINS = dict(pin.split("==") for pin in PROJECT["tool"]["uv"]["constraint-dependencies"])
RULES = sorted((ROOT / "rules").glob("*.smk"))
# Of two rooms the later one may import the earlier one.
ROOMS = (
    "whynot", "ids", "codes", "doubts", "files", "isolation", "progress", "terminal", "block", "sampling", "shipped",
    "relaxing", "dft", "config", "schema", "tables", "tabledoc", "store", "rng", "crystal", "reduction", "placements",
    "gates", "jobs", "journal", "sources", "evidence", "reading", "planning", "diffusion", "relaxation", "deciding",
    "catalog", "verification", "release", "pages", "scripting", "training", "calibration", "single", "checking",
    "status", "rerun", "stages", "distillation", "benchmark", "census", "cli",
)  # fmt: skip


@pytest.mark.parametrize("path", sorted((ROOT / "envs").glob("*.yaml")), ids=lambda p: p.stem)
def test_environments_hold_the_pinned_versions(path: Path) -> None:
    dependencies = yaml.safe_load(path.read_text())["dependencies"]
    (pip,) = (each["pip"] for each in dependencies if isinstance(each, dict))
    assert pip
    for requirement in pip:
        name, version = requirement.split("==")
        assert PINS[name] == version


def test_every_dependency_is_pinned_and_in_an_environment() -> None:
    names = {re.split(r"[<>=]", each)[0] for each in PROJECT["project"]["dependencies"]}
    assert names <= PINS.keys()
    in_environments = "".join(path.read_text() for path in (ROOT / "envs").iterdir())
    missing = {name for name in names if f"{name}==" not in in_environments}
    assert all(name.startswith("snakemake") for name in missing), missing


@pytest.mark.parametrize("path", RULES, ids=lambda p: p.stem)
def test_rules_are_thin_and_logged(path: Path) -> None:
    text = path.read_text()
    assert "lambda" not in text
    n_rules = len(re.findall(r"^rule ", text, re.MULTILINE))
    for directive in ("log:", "benchmark:", "conda:"):
        assert len(re.findall(rf"^    {directive}", text, re.MULTILINE)) == n_rules, directive


def test_sizes() -> None:
    assert len((ROOT / "Snakefile").read_text().splitlines()) <= 80
    for path in (ROOT / "scripts").glob("*.py"):
        if path.stem != "pin_versions":
            assert len(path.read_text().splitlines()) <= 30, path
    for path in (ROOT / "hinpaint").rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 330, path


def test_no_two_test_files_share_a_name() -> None:
    """Pytest would collect neither: to it they are one module."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names)), sorted(names)


def test_test_files_stay_readable() -> None:
    for path in (ROOT / "tests").rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 450, path


def test_rooms_import_only_rooms_before_them() -> None:
    for path in (ROOT / "hinpaint").rglob("*.py"):
        parts = path.relative_to(ROOT / "hinpaint").with_suffix("").parts
        room = parts[0]
        if room == "__init__":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hinpaint."):
                used = node.module.split(".")[1]
                assert ROOMS.index(used) <= ROOMS.index(room), f"{path.name} imports {node.module}"
                assert room != "stages" or used != "stages", f"{path.name} imports another stage"
