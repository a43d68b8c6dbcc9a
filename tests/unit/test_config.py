import json
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from hinpaint.cli import app
from hinpaint.config import Config, ConfigError, load_config, parse_config, stage_settings, write_resolved
from hinpaint.schema import key_lines


@pytest.fixture
def values(tmp_path: Path) -> dict:
    return {
        "run": "t",
        "sources": [{"database": "d", "version": "1", "format": "cif", "path": str(tmp_path), "licence": "CC0-1.0",
                     "mode": "reconstruct"}],
    }  # fmt: skip


def test_defaults_fill_in(values) -> None:
    config = parse_config(values)
    assert config.element == "H"
    assert config.sources[0].mode == ("reconstruct",)
    assert config.ingest_parts == ((0, 0),)
    assert parse_config({**values, "potential": "sevennet-l3i5"}).potential.name == "sevennet-l3i5"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trails": 3}, "config: trails: unknown key"),
        ({"trials": 0}, "config: trials: .*greater than or equal to 1"),
        ({"element": "hydrogen"}, "config: element: "),
        ({"run": "../x"}, "config: run: "),
        ({"sampler": {"name": "magic"}}, "config: sampler.name: "),
        ({"sampler": {"steps": 3}}, "config: sampler.steps: unknown key"),
        ({"potential": {"name": "nequip"}}, "needs either path or model_id"),
        ({"potential": {"name": "nequip", "path": "/nowhere.zip"}}, "does not exist"),
        ({"sources": []}, "config: sources: "),
        ({"potential": "sevenet"}, "config: potential.name: "),
        ({"potential": {"name": "sevennet-0", "path": "x"}}, "brings its own weights"),
        ({"model": "nope"}, "config: model: no weights 'nope'; shipped are: .*td-small"),
        ({"element": "Zz"}, "config: element: Zz is no element"),
        ({"element": "D"}, "deuterium counts as H"),
        ({"select": {"elements": ["O", "Qq"]}}, "config: select.elements.1: Qq is no element"),
        ({"trials": 0, "seed": -1}, r"\(and 1 more\)"),
    ],
)
def test_errors_are_one_clear_line(values, change, message) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_config({**values, **change})
    assert "\n" not in str(caught.value)


def test_missing_source_is_named(values) -> None:
    values["sources"][0]["path"] = "/nowhere/at/all"
    with pytest.raises(ConfigError, match="/nowhere/at/all does not exist"):
        parse_config(values)


def test_optimade_source_is_a_file(values) -> None:
    values["sources"][0]["format"] = "optimade"
    with pytest.raises(ConfigError, match="is a folder"):
        parse_config(values)


def test_retrained_weights_make_trials_stale(values, tmp_path) -> None:
    weights = tmp_path / "own.safetensors"
    weights.write_bytes(b"x")
    card = weights.with_suffix(".json")
    card.write_text('{"sha256": "a", "conditioning": "td"}')
    config = parse_config({**values, "model": str(weights)})
    before = stage_settings(config, "inpaint")
    card.write_text('{"sha256": "b", "conditioning": "td"}')
    assert stage_settings(config, "inpaint") != before


def test_a_sampler_that_cannot_use_the_weights_is_one_line(values) -> None:
    with pytest.raises(ConfigError, match="replacement cannot use td-medium, which has one noise level per site"):
        parse_config({**values, "sampler": {"name": "replacement"}})
    assert parse_config({**values, "sampler": {"name": "renoise", "n_steps": 25}}).sampler.n_steps == 25


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ('{"sha256": "a"}', "has no conditioning"), ("{}", "has no conditioning and no sha256"), ("[]", "no card"),
        ("{", "not JSON"), ('{"sha256": "a", "conditioning": "magic"}', "which has magic; samplers that can: none"),
    ],
)  # fmt: skip
def test_a_card_that_says_too_little_is_one_line(values, tmp_path, card: str, message: str) -> None:
    (tmp_path / "own.safetensors").write_bytes(b"x")
    (tmp_path / "own.json").write_text(card)
    with pytest.raises(ConfigError, match=message) as caught:
        parse_config({**values, "model": str(tmp_path / "own.safetensors")})
    assert "\n" not in str(caught.value)


def test_noise_must_fall(values) -> None:
    with pytest.raises(ConfigError, match="sigma_end lies above sigma_start"):
        parse_config({**values, "sampler": {"sigma_start": 0.1, "sigma_end": 0.2}})


def test_two_sources_of_one_name_are_refused(values) -> None:
    with pytest.raises(ConfigError, match="share database and version"):
        parse_config({**values, "sources": values["sources"] * 2})


def test_files_that_are_no_configuration(tmp_path) -> None:
    for text in ("a: [", "- 1", ""):
        path = tmp_path / "c.yaml"
        path.write_text(text)
        with pytest.raises(ConfigError):
            load_config(path)
    with pytest.raises(ConfigError, match="No such file"):
        load_config(tmp_path / "none.yaml")


def test_resolved_configuration_reads_back_and_keeps_its_time(values, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = parse_config(values)
    path = write_resolved(config)
    first = path.stat().st_mtime_ns
    assert load_config(path) == config
    write_resolved(config)
    assert path.stat().st_mtime_ns == first


def test_batch_bounds_make_no_job_stale(values) -> None:
    one, other = (parse_config({**values, "sampler": {"max_atoms": n}}) for n in (10, 20))
    assert stage_settings(one, "inpaint") == stage_settings(other, "inpaint")
    assert stage_settings(one, "inpaint") != stage_settings(parse_config({**values, "seed": 5}), "inpaint")
    assert json.loads(stage_settings(one, "relax")).keys() == {"potential", "relax"}
    symmetric = parse_config({**values, "relax": {"fix_symmetry": True}})
    assert stage_settings(symmetric, "relax") != stage_settings(one, "relax")


def test_help_names_every_key() -> None:
    lines = list(key_lines(Config))
    assert any(line.startswith("sources[].licence = (required)") for line in lines)
    assert all("None" not in line.split("#", 1)[1] for line in lines)


def test_shipped_configuration_is_valid() -> None:
    root = Path(__file__).parents[2]
    values = yaml.safe_load((root / "config.yaml").read_text())
    for source in values["sources"]:
        source["path"] = root / source["path"]
    assert parse_config(values).run == "demo"


def test_the_keys_name_what_they_take() -> None:
    lines = {line.split(" = ")[0]: line for line in key_lines(Config)}
    assert lines["sources[].mode"].endswith("(of reconstruct, benchmark, audit)")
    assert "(of " not in lines["sampler.name"]  # its description names them


def test_version() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert done.stdout == f"hinpaint {version('hinpaint')}\n"
