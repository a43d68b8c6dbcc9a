"""hinpaint completes crystal structures whose hydrogen is missing, for whole databases at a time."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hinpaint.catalog.query import open_catalog

__all__ = ["open_catalog"]


def __getattr__(name: str) -> Any:
    """Load what the package offers when it is first asked for: `import hinpaint` costs nothing."""
    if name == "open_catalog":
        from hinpaint.catalog.query import open_catalog

        return open_catalog
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
