"""NequIP packages compiled to machine code, for exactly one place: package, torch version, device and hardware.

:func:`compile_potential` is a rule of its own and runs ``nequip-compile``; :func:`load_compiled` takes what it made in
the very place that it was made for. Everywhere else, and where compiling failed, the package runs eagerly, with results
that agree to rounding.
"""

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from hinpaint.files import sha256_file, write_atomic
from hinpaint.relaxation.potentials import LoadedPotential, PotentialError, check_sha256, load_potential, package_of
from hinpaint.relaxing import Potential

_SUFFIX = ".nequip.pt2"
_TIME_LIMIT_S = 3600.0
_DETAIL_CHARACTERS = 300


@dataclass(frozen=True)
class Place:
    """What a compiled file is bound to.

    Attributes:
        package_sha256: SHA-256 of the package.
        torch: version of torch.
        device: ``cpu`` or ``cuda``.
        hardware: name of the GPU, or of the processor.
    """

    package_sha256: str
    torch: str
    device: str
    hardware: str

    @classmethod
    def here(cls, package_sha256: str, device: str) -> "Place":
        """The place of this process."""
        kind = torch.device(device).type
        hardware = torch.cuda.get_device_name(device) if kind == "cuda" else _processor()
        return cls(package_sha256, str(torch.__version__), kind, hardware)

    @property
    def key(self) -> str:
        """Stem of the compiled file and of the record beside it."""
        return f"{self.package_sha256[:12]}-{self.torch}-{self.device}"


def compile_potential(
    settings: Potential, folder: Path, device: str, threads: int, say: Callable[[str], None] = print
) -> None:
    """Compile the configured package for this place, unless ``folder`` holds it already.

    Writes ``KEY.json`` and, when it worked, ``KEY.nequip.pt2``. A compilation that fails is recorded, not raised.

    Args:
        settings: the ``potential`` block.
        folder: where the files go.
        device: ``cpu`` or ``cuda``.
        threads: processes that the compiler may start.
        say: takes one line about how it ended.

    Raises:
        PotentialError: the package is absent or another one.
    """
    path, sha256 = package_of(settings)
    place = Place.here(check_sha256(path, sha256), device)
    with suppress(PotentialError):
        say(f"{_compiled(folder, place)[0].name} is there already")
        return
    record: dict[str, str | float | None] = {**asdict(place), "file_sha256": None, "why": None}
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="hinpaint-compile-") as scratch:
        built = Path(scratch) / f"built{_SUFFIX}"
        record["why"] = _nequip_compile(path.resolve(), built, place.device, threads)
        if record["why"] is None:
            file = folder / f"{place.key}{_SUFFIX}"
            with built.open("rb") as source:
                write_atomic(file, lambda handle: shutil.copyfileobj(source, handle))
            record["file_sha256"] = sha256_file(file)
    record["wall_s"] = round(time.monotonic() - began, 1)
    text = json.dumps(record, indent=1) + "\n"
    write_atomic(folder / f"{place.key}.json", lambda handle: handle.write(text.encode()))
    say(f"{place.key}: {record['why'] or 'compiled'} ({record['wall_s']} s)")


def load_compiled(
    settings: Potential, folder: Path, device: str, say: Callable[[str], None] = print
) -> LoadedPotential | None:
    """Load the compiled potential of this place; None, and a line that says why, where the package must run eagerly.

    Args:
        settings: the ``potential`` block.
        folder: where :func:`compile_potential` wrote.
        device: ``cpu`` or ``cuda``.
        say: takes one line.

    Returns:
        The potential under the name and the SHA-256 of its package; None also where no compiled one is asked for.

    Raises:
        PotentialError: the package cannot be had.
    """
    if not settings.compile:
        return None
    _, sha256 = package_of(settings)
    try:
        file, file_sha256 = _compiled(folder, Place.here(sha256, device))
        block = Potential(name="nequip", path=file, sha256=file_sha256)
        loaded = load_potential(block, device)
    except PotentialError as error:
        say(f"{settings.name} runs eagerly: {error}")
        return None
    say(f"{settings.name} runs compiled: {file.name}")
    return replace(loaded, name=settings.name, sha256=sha256)


def _compiled(folder: Path, place: Place) -> tuple[Path, str]:
    """Path and SHA-256 of the file that was compiled for this place; PotentialError says why there is none."""
    path, file = folder / f"{place.key}.json", folder / f"{place.key}{_SUFFIX}"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        found = Place(*(record[name] for name in asdict(place)))
        why, sha256 = record["why"], record["file_sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PotentialError(f"there is no {path} to read (snakemake --forcerun compile_potential)") from error
    if found != place:
        differing = [name for name, value in asdict(place).items() if getattr(found, name) != value]
        there, here = (", ".join(getattr(each, name) for name in differing) for each in (found, place))
        raise PotentialError(f"{file.name} was compiled for {there}, this is {here}")
    if why is not None:
        raise PotentialError(f"nequip-compile failed: {why}")
    return file, check_sha256(file, sha256)


def _nequip_compile(package: Path, built: Path, device: str, threads: int) -> str | None:
    """Run ``nequip-compile`` in the folder of ``built``, and return why it failed, if it did."""
    scratch = built.parent
    # Target batch takes many systems at once; others would treat a batch as one system. TorchScript is not an option:
    # nequip refuses it from torch 2.10 on.
    arguments = ["--mode", "aotinductor", "--device", device, "--target", "batch"]
    command = [str(Path(sys.executable).with_name("nequip-compile")), str(package), str(built), *arguments]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "TORCHINDUCTOR_COMPILE_THREADS": str(threads),
        # Shared caches are where jobs side by side, and torch versions one after the other, get in each other's way.
        "TMPDIR": str(scratch),  # where inductor keeps compiled headers, whatever its cache folder is
        "TORCHINDUCTOR_CACHE_DIR": str(scratch / "inductor"),
        "TORCH_EXTENSIONS_DIR": str(scratch / "extensions"),
        "TRITON_CACHE_DIR": str(scratch / "triton"),
    }
    log = scratch / "log.txt"
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter's script
                command, cwd=scratch, env=environment, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
    except OSError as error:
        return f"{command[0]}: {error.strerror}"
    try:
        code = process.wait(_TIME_LIMIT_S)
    except subprocess.TimeoutExpired:
        return f"ended after {_TIME_LIMIT_S:g} s"
    finally:
        with suppress(ProcessLookupError):  # the compilers that it started end with it
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return None if code == 0 and built.is_file() else _last_line(log) or f"exit code {code}"


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].strip()[:_DETAIL_CHARACTERS] if lines else ""


def _processor() -> str:
    """Name of the processor and its vector instructions: code compiled for one may hold some that another lacks."""
    name = platform.processor() or platform.machine()
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"  # virtual machines hide the generation in the name
