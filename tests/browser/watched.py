"""A page under watch."""

from pathlib import Path
from urllib.parse import unquote, urlparse

from playwright.sync_api import Page


class Watched:
    """A page that notes what it should not do: errors, warnings, requests beyond the folder."""

    def __init__(self, page: Page, folder: Path) -> None:
        self.page, self.folder = page, folder
        self.complaints: list[str] = []
        page.on("console", lambda message: self._note(message.type in ("error", "warning"), message.text))
        page.on("pageerror", lambda error: self._note(True, str(error)))
        page.on("dialog", lambda dialog: (self._note(True, dialog.message), dialog.dismiss()))
        page.on("request", lambda request: self._note(not self._inside(request.url), request.url))

    def open(self, name: str) -> Page:
        self.page.goto((self.folder / name).as_uri())
        return self.page

    def _inside(self, url: str) -> bool:
        parts = urlparse(url)
        if parts.scheme in ("data", "blob"):
            return True
        return parts.scheme == "file" and Path(unquote(parts.path)).resolve().is_relative_to(self.folder.parent)

    def _note(self, bad: bool, text: str) -> None:
        # drivers that draw on the processor say how slow reading pixels is
        if bad and "GPU stall due to ReadPixels" not in text:
            self.complaints.append(text)
