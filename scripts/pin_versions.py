"""Pin every version in pyproject.toml: refresh the generated constraint list, or --check that it is complete."""

import argparse
import re
import subprocess
import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
BLOCK = re.compile(r"(# pins: begin[^\n]*\n).*?(# pins: end)", re.DOTALL)


def resolved() -> list[str]:
    """Every package uv resolves, as name==version."""
    subprocess.run(["uv", "lock", "--quiet"], cwd=PROJECT.parent, check=True)  # noqa: S607 - uv is on the path
    packages = tomllib.loads((PROJECT.parent / "uv.lock").read_text(encoding="utf-8"))["package"]
    return sorted(f"{p['name']}=={p['version']}" for p in packages if "registry" in p["source"])


def with_pins(text: str, pins: list[str]) -> str:
    """The project file with another list of pins."""
    lines = "".join(f'    "{pin}",\n' for pin in pins)
    return BLOCK.sub(lambda found: f"{found[1]}constraint-dependencies = [\n{lines}]\n{found[2]}", text)


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--check", action="store_true", help="fail when a resolved package is not pinned")
original = PROJECT.read_text(encoding="utf-8")
if parser.parse_args().check:
    missing = set(resolved()) - set(tomllib.loads(original)["tool"]["uv"]["constraint-dependencies"])
    sys.exit(f"not pinned: {', '.join(sorted(missing))}; run python {Path(__file__).name}" if missing else 0)
(PROJECT.parent / "uv.lock").unlink(missing_ok=True)
PROJECT.write_text(with_pins(original, []), encoding="utf-8")
PROJECT.write_text(with_pins(original, resolved()), encoding="utf-8")
