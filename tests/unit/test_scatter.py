import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hinpaint.diffusion.scatter import scatter, scatter_add, segment_coo, segment_csr

REFERENCE = {
    "sum": sum,
    "mean": lambda rows: sum(rows) / len(rows),
    "min": min,
    "max": max,
    "mul": lambda rows: torch.tensor(rows).prod().item(),
}


@given(
    st.lists(st.tuples(st.integers(0, 6), st.floats(-3, 3, width=32)), min_size=1, max_size=30),
    st.sampled_from(sorted(REFERENCE)),
)
def test_scatter_is_the_definition(pairs: list[tuple[int, float]], reduce: str) -> None:
    index = torch.tensor([i for i, _ in pairs])
    values = torch.tensor([v for _, v in pairs], dtype=torch.float64)
    out = scatter(values, index, dim=0, dim_size=8, reduce=reduce)
    for slot in range(8):
        rows = [v for i, v in pairs if i == slot]
        expected = REFERENCE[reduce](rows) if rows else (1.0 if reduce == "mul" else 0.0)
        assert out[slot].item() == pytest.approx(expected, abs=1e-6)


def test_scatter_over_any_dimension() -> None:
    values = torch.arange(12.0).reshape(3, 4)
    index = torch.tensor([0, 1, 0, 1])
    expected = torch.stack([values[:, 0] + values[:, 2], values[:, 1] + values[:, 3]], dim=1)
    assert torch.equal(scatter(values, index, dim=1), expected)
    assert torch.equal(scatter_add(values, index, dim=-1, dim_size=3)[:, :2], expected)


def test_scatter_into_given_tensor_counts_its_values() -> None:
    out = torch.tensor([10.0, 20.0])
    assert scatter(torch.tensor([1.0, 2.0]), torch.tensor([0, 0]), out=out).tolist() == [13.0, 20.0]
    assert scatter(torch.tensor([1.0, 50.0]), torch.tensor([0, 1]), out=out, reduce="max").tolist() == [10.0, 50.0]


def test_scatter_refuses_unknown_reduction() -> None:
    with pytest.raises(ValueError, match="reduce must be one of"):
        scatter(torch.ones(2), torch.zeros(2, dtype=torch.long), reduce="median")


def test_segments_with_empty_ones() -> None:
    values = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    pointer = torch.tensor([0, 0, 3, 3, 4])
    assert segment_csr(values, pointer).flatten().tolist() == [0.0, 6.0, 0.0, 4.0]
    assert segment_csr(values, pointer, reduce="max").flatten().tolist() == [0.0, 3.0, 0.0, 4.0]
    index = torch.tensor([1, 1, 1, 3])
    assert torch.equal(segment_coo(values, index, dim_size=4), segment_csr(values, pointer))


def test_gradients_flow() -> None:
    values = torch.rand(5, 2, dtype=torch.float64, requires_grad=True)
    index = torch.tensor([0, 2, 2, 1, 0])
    assert torch.autograd.gradcheck(lambda v: scatter(v, index, dim=0, reduce="mean"), values)
