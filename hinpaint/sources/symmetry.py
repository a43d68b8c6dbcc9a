"""Symmetry operators of a CIF block: from its operator loop, else from the name of its space group."""

import re
from dataclasses import dataclass
from functools import lru_cache

import gemmi
import numpy as np
from gemmi import cif

from hinpaint.crystal import FloatArray
from hinpaint.sources.records import Note, RefusedError
from hinpaint.whynot import Reason

MAX_OPERATORS = 1000
_OPERATOR_TAGS = (
    "_space_group_symop_operation_xyz", "_symmetry_equiv_pos_as_xyz", "_space_group_symop.operation_xyz",
)  # fmt: skip
_HALL_TAGS = ("_space_group_name_Hall", "_symmetry_space_group_name_Hall")
_NAME_TAGS = ("_symmetry_space_group_name_H-M", "_space_group_name_H-M_alt", "_space_group_name_H-M_full")
_NUMBER_TAGS = ("_space_group_IT_number", "_symmetry_Int_Tables_number")


@dataclass(frozen=True)
class Symmetry:
    """Operators of the space group in the record's setting.

    Attributes:
        rotations: (m, 3, 3), the identity first.
        translations: (m, 3).
        notes: where they came from and whether the name agrees.
    """

    rotations: FloatArray
    translations: FloatArray
    notes: tuple[Note, ...] = ()


def value_of(block: cif.Block, *tags: str) -> str | None:
    """First value given under one of the tags, unquoted and with single spaces; None when absent, ``.`` or ``?``."""
    for tag in tags:
        raw = block.find_value(tag)
        if raw is not None and not cif.is_null(raw):
            text = " ".join(str(cif.as_string(raw)).split())
            if text and text not in ("?", "."):
                return text
    return None


def space_group_name(block: cif.Block) -> str | None:
    """Hermann-Mauguin symbol as declared."""
    return value_of(block, *_NAME_TAGS)


def read_symmetry(block: cif.Block, alpha: float, gamma: float) -> Symmetry:
    """Read the operators of a block.

    Args:
        block: the CIF data block.
        alpha: cell angle in degrees; with ``gamma`` it tells rhombohedral from hexagonal axes.
        gamma: cell angle in degrees.

    Returns:
        The operators.

    Raises:
        RefusedError: no operators are given, or they cannot be understood.
    """
    named = _from_name(block, alpha, gamma)
    for tag in _OPERATOR_TAGS:
        texts = [str(cif.as_string(v)) for v in block.find_values(tag) if not cif.is_null(v)]
        if texts:
            return _from_texts(texts, named)
    if named is None:
        name = space_group_name(block) or "none"
        raise RefusedError(Reason.UNKNOWN_SYMMETRY, f"no operators, and space group {name[:40]!r} is not known")
    return _assemble(list(dict.fromkeys(named)), (Note.SYMMETRY_FROM_NAME,))


def _from_texts(texts: list[str], named: tuple[str, ...] | None) -> Symmetry:
    if len(texts) > MAX_OPERATORS:
        raise RefusedError(Reason.UNKNOWN_SYMMETRY, f"{len(texts)} symmetry operators, more than {MAX_OPERATORS}")
    operators = []
    for text in texts:
        operator = _operator(text)
        if operator is None:
            raise RefusedError(Reason.UNKNOWN_SYMMETRY, f"operator {text[:60]!r} cannot be read")
        operators.append(operator)
    unique = list(dict.fromkeys(operators))
    notes = (Note.SYMMETRY_DISAGREES,) if named is not None and len(set(named)) != len(unique) else ()
    if _is_group(tuple(unique)):
        return _assemble(unique, notes)
    # A list with a line missing would lose atoms without a trace; the name completes it if it holds all that is listed.
    if named is None or not set(unique) <= set(named):
        raise RefusedError(Reason.UNKNOWN_SYMMETRY, f"the {len(unique)} operators form no group")
    return _assemble(list(dict.fromkeys(named)), notes)


@lru_cache(maxsize=4096)
def _is_group(triplets: tuple[str, ...]) -> bool:
    """Say whether the product of any two operators is listed; for a finite set that includes identity and inverses.

    A rotation becomes one number, its entries the digits in base 16; the numbers of all products are then one matrix
    product, as every entry of a product is bilinear in the factors.
    """
    operators = [gemmi.Op(t) for t in triplets]
    rotations = np.array([op.rot for op in operators], dtype=np.float64) / gemmi.Op.DEN
    translations = np.array([op.tran for op in operators], dtype=np.float64)
    if np.abs(rotations).max() > 1:  # in no setting that is used; digits of products would run over
        return False
    digits = 16.0 ** np.arange(9).reshape(3, 3)
    n_operators = len(operators)
    left = np.einsum("aij,ik->ajk", rotations, digits).reshape(n_operators, 9)
    products = left @ rotations.reshape(n_operators, 9).T
    moved = (rotations.reshape(-1, 3) @ translations.T).reshape(n_operators, 3, n_operators) + translations[:, :, None]
    places = gemmi.Op.DEN ** np.arange(3.0)
    listed = np.einsum("aij,ij->a", rotations, digits) + 16.0**9 * (translations % gemmi.Op.DEN @ places)
    found = products + 16.0**9 * np.einsum("aib,i->ab", moved % gemmi.Op.DEN, places)
    return bool(np.isin(found, listed).all())


def _assemble(triplets: list[str], notes: tuple[Note, ...]) -> Symmetry:
    # The expansion relies on the identity coming first; the order of the others stays the source's.
    if "x,y,z" not in triplets:
        raise RefusedError(Reason.UNKNOWN_SYMMETRY, "the operators lack the identity")
    triplets.remove("x,y,z")
    return Symmetry(*_matrices(("x,y,z", *triplets)), notes)


@lru_cache(maxsize=8192)
def _operator(text: str) -> str | None:
    """Normalised triplet, or None when the text is no operator."""
    if len(text) > 100:
        return None
    try:
        operator = gemmi.Op(text.lower().replace(" ", "")).wrap()
    except (ValueError, RuntimeError):
        return None
    # "x,,z" parses too, as an operator that flattens the crystal.
    return str(operator.triplet()) if abs(operator.det_rot()) == gemmi.Op.DEN**3 else None


@lru_cache(maxsize=1024)
def _matrices(triplets: tuple[str, ...]) -> tuple[FloatArray, FloatArray]:
    """Rotations (m, 3, 3) and translations (m, 3); shared by all records of a group, so they cannot be written to."""
    operators = [gemmi.Op(triplet) for triplet in triplets]
    rotations = np.array([op.rot for op in operators], dtype=np.float64) / gemmi.Op.DEN
    translations = np.array([op.tran for op in operators], dtype=np.float64) / gemmi.Op.DEN
    rotations.setflags(write=False)
    translations.setflags(write=False)
    return rotations, translations


def _from_name(block: cif.Block, alpha: float, gamma: float) -> tuple[str, ...] | None:
    number = value_of(block, *_NUMBER_TAGS)
    return _operators_of(
        value_of(block, *_HALL_TAGS), space_group_name(block), number, round(alpha, 2), round(gamma, 2)
    )


@lru_cache(maxsize=4096)
def _operators_of(hall: str | None, name: str | None, number: str | None, alpha: float, gamma: float) -> tuple[str, ...] | None:  # fmt: skip  # noqa: E501
    group = _group_of(hall, name, number, alpha, gamma)
    return tuple(op.wrap().triplet() for op in group) if group is not None else None


def _group_of(hall: str | None, name: str | None, number: str | None, alpha: float, gamma: float) -> gemmi.GroupOps | None:  # fmt: skip  # noqa: E501
    if hall and len(hall) < 60:
        try:
            return gemmi.symops_from_hall(hall)
        except (ValueError, RuntimeError):
            pass
    if name:
        # "R 3 c {rhombohedral axes}": the cell's angles say the same.
        found = gemmi.find_spacegroup_by_name(re.sub(r"\{.*?\}", "", name).strip(), alpha, gamma)
        return found.operations() if found is not None else None
    # A number means the standard setting, which a record with an unknown name need not have.
    if number and number.isdigit() and 1 <= int(number) <= 230:
        return gemmi.find_spacegroup_by_number(int(number)).operations()
    return None
