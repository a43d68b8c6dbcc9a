"""Members of a tar archive one after the other, forwards, with bounded headers; nothing is ever extracted.

:mod:`tarfile` understands the headers (ustar, GNU, PAX), but it trusts them: a header may ask for gigabytes of names,
step backwards for ever, or end an archive in the middle without a word. So it reads through :class:`_Forward`, which
has no way back and a budget, and the end is checked.
"""

import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from hinpaint.sources.streams import open_bounded

MAX_HEADER_BYTES = 256 * 1024
"""Bytes of headers before one member: names, PAX records, maps of sparse files."""

_BLOCK = 512
_STEP = 1024 * 1024
# Archives are padded to whole records of 20 blocks (tar -b can ask for more).
_PADDING = 64 * 1024


class _Forward:
    """A stream as :mod:`tarfile` sees it: forwards only, with a budget of bytes for each header."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._position = 0
        self._budget = MAX_HEADER_BYTES
        self.last = b""

    def allow_header(self) -> None:
        self._budget = MAX_HEADER_BYTES

    def tell(self) -> int:
        return self._position

    def read(self, size: int) -> bytes:
        self._budget -= size
        if size < 0 or self._budget < 0:
            raise tarfile.ReadError(f"a header of more than {MAX_HEADER_BYTES} bytes")
        self.last = self.take(size)
        return self.last

    def take(self, size: int) -> bytes:
        """Read without the budget: a member's content."""
        content = self._stream.read(size)
        self._position += len(content)
        return content

    def seek(self, position: int) -> None:
        if position < self._position:
            raise tarfile.ReadError("a header points backwards")
        if self._stream.seekable():
            self._position = self._stream.seek(position)
            return
        while self._position < position and self.take(min(_STEP, position - self._position)):
            pass


class TarReader:
    """A tar archive, plain or compressed, opened for one pass.

    Iterating gives the headers; :meth:`content` reads the member whose header came last. Memory does not grow with the
    number of members.

    Raises:
        tarfile.TarError: while iterating, where the archive is damaged, cut, or followed by more data.
    """

    def __init__(self, path: Path) -> None:
        self._stream = open_bounded(path)
        self._forward = _Forward(self._stream)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def __iter__(self) -> Iterator[tarfile.TarInfo]:
        archive = tarfile.TarFile(fileobj=self._forward, mode="r")  # type: ignore[arg-type]
        while (info := archive.next()) is not None:
            yield info
            # A TarFile remembers every member and every global header; COD has half a million members.
            archive.members = []  # type: ignore[attr-defined]
            archive.pax_headers.clear()  # type: ignore[attr-defined]
            self._forward.allow_header()
        self._check_end()

    def content(self, info: tarfile.TarInfo) -> Callable[[int], bytes]:
        """Give a function that reads at most so many bytes of the member; to be called before the next header."""

        def read(size: int) -> bytes:
            self._forward.seek(info.offset_data)
            content = self._forward.take(min(size, info.size))
            if len(content) < min(size, info.size):
                raise tarfile.ReadError(f"the archive ends inside {info.name[:100]!r}")
            return content

        return read

    def _check_end(self) -> None:
        """Tarfile ends without a word at a damaged header, at the end of a cut file and before a second archive."""
        if self._forward.last != bytes(_BLOCK):
            raise tarfile.ReadError("a damaged header, or no end mark: the archive may be cut")
        if self._forward.take(_PADDING).strip(b"\0"):
            raise tarfile.ReadError("the archive's end mark is followed by more data, which is not read")
