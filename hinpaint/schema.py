"""The configuration's keys as text, generated from the pydantic blocks."""

from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

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
            yield f"{path} = {_default(field)}  # {field.description}{_among(field)}"
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


def _among(field: FieldInfo) -> str:
    """The values that a key takes, unless its description names them all."""
    choices = _choices(field.annotation)
    said = all(choice in (field.description or "") for choice in choices)
    return "" if said else f" (of {', '.join(choices)})"


def _choices(annotation: Any) -> list[str]:
    """Values of the `Literal` in an annotation, however deep."""
    if get_origin(annotation) is Literal:
        return [str(each) for each in get_args(annotation)]
    return list(dict.fromkeys(choice for part in get_args(annotation) for choice in _choices(part)))


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "(required)"
    return "(empty)" if field.default is None else str(field.default)
