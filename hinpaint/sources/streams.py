"""Files opened for reading, compressed or not; what they unpack to is bounded, whatever their headers claim."""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Protocol

import pyarrow as pa

MAX_RATIO = 200
"""Unpacked bytes per compressed byte; CIFs reach 7 to 30, and this bound only counts beyond ``FREE_BYTES``."""

FREE_BYTES = 128 * 1024 * 1024
"""Unpacked bytes that are always allowed."""

MAX_RECORDS = 5_000_000
"""Records, or members of any kind, of one file; ten times the size of COD."""

MAX_EMPTY_LINES = 10_000
"""Empty lines one after the other; a bomb of a megabyte can hold a hundred million."""

STREAM_ERRORS = (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError)
"""What a damaged or hostile compressed file raises while it is read."""

_BUFFER = 1024 * 1024
_PIECE = 64 * 1024
# An xz header may ask for a dictionary of 4 GiB; xz -9 takes 65 MiB.
_XZ_MEMORY = 256 * 1024 * 1024


class UnpacksTooFarError(OSError):
    """A file unpacks to far more than its size: a bomb."""


class _Unpacker(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Xz:
    """The xz streams of a file; unlike :class:`lzma.LZMAFile` with a bound on the decoder's memory."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._decoder: lzma.LZMADecompressor | None = None

    def read(self, size: int, /) -> bytes:
        while True:
            decoder = self._decoder
            if decoder is not None and not decoder.eof:
                packed = self._file.read(_BUFFER) if decoder.needs_input else b""
                if decoder.needs_input and not packed:
                    raise EOFError("the file ends inside an xz stream")
            else:
                # Streams may be padded with zeros, in the last one's rest as well as in what follows.
                packed = (decoder.unused_data if decoder is not None else b"").lstrip(b"\0")
                while not packed:
                    block = self._file.read(_BUFFER)
                    if not block:
                        return b""
                    packed = block.lstrip(b"\0")
                self._decoder = decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
            if unpacked := decoder.decompress(packed, size):
                return unpacked


def _zstd(file: IO[bytes]) -> _Unpacker:
    stream: _Unpacker = pa.CompressedInputStream(file, "zstd")
    return stream


def _gzip(file: IO[bytes]) -> _Unpacker:
    return gzip.GzipFile(fileobj=file, mode="rb")


_FORMATS: dict[bytes, Callable[[IO[bytes]], _Unpacker]] = {
    b"\x1f\x8b": _gzip,
    b"\xfd7zXZ\x00": _Xz,
    b"BZh": bz2.BZ2File,
    b"\x28\xb5\x2f\xfd": _zstd,
}


class _Unpacked(io.RawIOBase):
    """Unpacked bytes of a compressed file, counted against the compressed bytes read so far."""

    def __init__(self, file: IO[bytes], unpacker: _Unpacker) -> None:
        self._file = file
        self._unpacker = unpacker
        self._count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        # A cut file loses the piece in which it ends, so pieces are small.
        content = self._unpacker.read(min(len(buffer), _PIECE))
        buffer[: len(content)] = content
        self._count += len(content)
        check_ratio(self._count, self._file.tell())
        return len(content)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def check_ratio(unpacked: int, packed: int) -> None:
    """Stop reading what unpacks too far.

    Raises:
        UnpacksTooFarError: ``unpacked`` bytes came out of ``packed`` ones, and no honest text does that.
    """
    if unpacked > max(FREE_BYTES, MAX_RATIO * packed):
        raise UnpacksTooFarError(f"{packed} bytes unpack to more than {unpacked}; the rest is not read")


def open_bounded(path: Path | str) -> IO[bytes]:
    """Open a file that is plain or compressed with gzip, xz, bzip2 or zstd, as its first bytes tell.

    Args:
        path: the file.

    Returns:
        A buffered binary stream in constant memory; a plain file can be positioned, an unpacked one only read forward.
        Reading raises one of ``STREAM_ERRORS`` where the file is damaged or unpacks too far.
    """
    file = io.BufferedReader(io.FileIO(path), _BUFFER)
    try:
        head = file.peek(8)
        for magic, unpack in _FORMATS.items():
            if head.startswith(magic):
                return io.BufferedReader(_Unpacked(file, unpack(file)), _BUFFER)
    except BaseException:
        file.close()
        raise
    return file


def read_line(handle: IO[bytes], limit: int) -> tuple[bytes, bool]:
    """Read the next line as it is and keep at most ``limit`` bytes of it.

    Returns:
        The line with its end, empty at the end of the file, and whether it was longer; what was cut is skipped.
    """
    line = handle.readline(limit + 1)
    too_long = len(line) > limit
    rest = line
    while too_long and rest and not rest.endswith(b"\n"):
        rest = handle.readline(limit)
    return line[:limit], too_long


def read_filled_line(handle: IO[bytes], limit: int) -> tuple[bytes, bool, int]:
    """Read the next line that is not empty, as :func:`read_line` does.

    Returns:
        The same, and how many lines were read.

    Raises:
        UnpacksTooFarError: there are more empty lines than any writer leaves.
    """
    for number in range(1, MAX_EMPTY_LINES + 2):
        line, too_long = read_line(handle, limit)
        if not line or line.strip():
            return line, too_long, number
    raise UnpacksTooFarError(f"more than {MAX_EMPTY_LINES} empty lines; the rest is not read")
