"""The configuration's keys as text, generated from the pydantic blocks."""

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined


def key_lines(block: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """One line a key: ``path = default  # meaning``; list items are shown with ``[]``.

    Args:
        block: configuration block.
        prefix: path of the block.
    """
    for name, field in block.model_fields.items():
        inner, is_list = _inner_block(field)
        path = f"{prefix}{name}" + ("[]" if is_list else "")
        if inner is None:
            yield f"{path} = {_default(field)}  # {field.description}"
        else:
            yield f"# {path}: {field.description}"
            yield from key_lines(inner, f"{path}.")


def _inner_block(field: FieldInfo) -> tuple[type[BaseModel] | None, bool]:
    annotation: Any = field.annotation
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    for part in get_args(annotation):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part, True
    return None, False


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "(required)"
    return "(empty)" if field.default is None else str(field.default)
