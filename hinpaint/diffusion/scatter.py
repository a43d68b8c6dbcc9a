"""Pure-torch replacements of the few ``torch_scatter`` functions MatterGen's network imports.

The compiled originals are source builds bound to one torch version; these run on any torch >= 2.10 and any device.
"""

import torch
from torch import Tensor

_REDUCTIONS = {"sum": "sum", "add": "sum", "mean": "mean", "min": "amin", "max": "amax", "mul": "prod"}


def scatter(
    src: Tensor, index: Tensor, dim: int = -1, out: Tensor | None = None, dim_size: int | Tensor | None = None,
    reduce: str = "sum",
) -> Tensor:  # fmt: skip
    """Reduce the slices of ``src`` that share an index.

    Args:
        src: values, any shape.
        index: (k,) with k the length of ``src`` along ``dim``, or any shape that broadcasts to ``src``.
        dim: dimension that is indexed.
        out: tensor to reduce into; its values take part.
        dim_size: length of the result along ``dim``; by default the largest index + 1.
        reduce: sum, add, mean, min, max or mul. Slots without a value are 0 (1 for mul), as in ``torch_scatter``.

    Returns:
        A tensor like ``src`` with ``dim_size`` slots along ``dim``.

    Raises:
        ValueError: unknown ``reduce``.
    """
    if reduce not in _REDUCTIONS:
        raise ValueError(f"reduce must be one of {', '.join(_REDUCTIONS)}, not {reduce!r}")
    dim = dim % src.dim()
    if index.dim() == 1:
        index = index.view([-1 if axis == dim else 1 for axis in range(src.dim())])
    index = index.expand_as(src)
    if out is None:
        size = list(src.shape)
        size[dim] = int(dim_size) if dim_size is not None else (int(index.max()) + 1 if index.numel() else 0)
        start = torch.ones if reduce == "mul" else torch.zeros
        out, include = start(size, dtype=src.dtype, device=src.device), reduce in ("sum", "add", "mul")
    else:
        include = True
    if reduce in ("sum", "add"):
        return out.scatter_add(dim, index, src)
    return out.scatter_reduce(dim, index, src, reduce=_REDUCTIONS[reduce], include_self=include)


def scatter_add(
    src: Tensor, index: Tensor, dim: int = -1, out: Tensor | None = None, dim_size: int | Tensor | None = None
) -> Tensor:
    """Sum the slices of ``src`` that share an index; see :func:`scatter`."""
    return scatter(src, index, dim, out, dim_size, "sum")


def segment_csr(src: Tensor, indptr: Tensor, out: Tensor | None = None, reduce: str = "sum") -> Tensor:
    """Reduce consecutive slices of the first dimension: result i covers rows ``indptr[i]`` to ``indptr[i + 1]``.

    Args:
        src: (n, ...) values.
        indptr: (m + 1,) non-decreasing row offsets, from 0 to n at most.
        out: tensor to reduce into.
        reduce: as for :func:`scatter`.

    Returns:
        (m, ...) reduced values; empty segments are 0 (1 for mul).
    """
    counts = indptr[1:] - indptr[:-1]
    index = torch.repeat_interleave(torch.arange(counts.numel(), device=src.device), counts)
    covered = src[int(indptr[0]) : int(indptr[-1])]
    return scatter(covered, index, 0, out, counts.numel(), reduce)


def segment_coo(
    src: Tensor, index: Tensor, out: Tensor | None = None, dim_size: int | Tensor | None = None, reduce: str = "sum"
) -> Tensor:
    """Reduce rows of ``src`` (n, ...) that share a value of the sorted ``index`` (n,); see :func:`scatter`."""
    return scatter(src, index, 0, out, dim_size, reduce)
