"""What decides LES: energies of arrangements of one host, compared with each other. Batches and a term of the loss.

NequIP's own loss asks for the energy of every structure alone, and most of that error is shared by all arrangements of
a composition, where it does no harm. So a batch holds several arrangements of each of its hosts, and one more term
looks at the differences alone.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from nequip.data import AtomicDataDict
from nequip.train import HuberLoss
from torch import Tensor
from torch.utils.data import DataLoader, Sampler


class WithinHost(HuberLoss):  # type: ignore[misc]
    """Huber loss of energies per site relative to the mean of all structures of the same composition in the batch.

    It takes whole data dictionaries (``field: null`` in a ``MetricsManager``). Structures that are alone with their
    composition do not count.
    """

    def update(self, preds: dict[str, Tensor], target: dict[str, Tensor]) -> None:
        """Add one batch."""
        groups = same_composition(preds)
        error = (preds[AtomicDataDict.TOTAL_ENERGY_KEY] - target[AtomicDataDict.TOTAL_ENERGY_KEY]).view(-1)
        error = error / preds[AtomicDataDict.NUM_NODES_KEY].view(-1)
        relative = relative_to_mean(error, groups)
        super().update(relative, torch.zeros_like(relative))

    def __str__(self) -> str:
        return "within_host"


def same_composition(data: dict[str, Tensor]) -> Tensor:
    """Number the compositions of a batch, (structures,): equal where structures have as many atoms of every type."""
    types, owner = data[AtomicDataDict.ATOM_TYPE_KEY].view(-1), data[AtomicDataDict.BATCH_KEY].view(-1)
    counts = torch.zeros(data[AtomicDataDict.NUM_NODES_KEY].numel(), int(types.max()) + 1, dtype=torch.long)
    counts = counts.to(types.device).index_put_((owner, types), torch.ones_like(types), accumulate=True)
    _, numbers = torch.unique(counts, dim=0, return_inverse=True)
    return torch.as_tensor(numbers)


def relative_to_mean(values: Tensor, groups: Tensor) -> Tensor:
    """Subtract the mean of its group from each value (n,); groups of one are left out."""
    sizes = torch.zeros(int(groups.max()) + 1, dtype=values.dtype, device=values.device)
    sizes = sizes.index_add(0, groups, torch.ones_like(values))
    sums = torch.zeros_like(sizes).index_add(0, groups, values)
    return (values - (sums / sizes)[groups])[sizes[groups] > 1]


class HostBatches(Sampler[list[int]]):
    """Batches of several structures of each of several compositions; an epoch visits every structure about once."""

    def __init__(
        self, compositions: Sequence[Any], hosts: int, arrangements: int, generator: torch.Generator | None
    ) -> None:
        """Group structures by composition.

        Args:
            compositions: what is equal for structures of one composition, in the order of the data set.
            hosts: groups in a batch.
            arrangements: structures of each of them.
            generator: draws; None takes torch's own.
        """
        members = defaultdict(list)
        for index, composition in enumerate(compositions):
            members[composition].append(index)
        self._members = list(members.values())
        self._hosts, self._arrangements, self._generator = hosts, arrangements, generator

    def __len__(self) -> int:
        """Batches an epoch."""
        groups = sum(-(-len(each) // self._arrangements) for each in self._members)
        return (groups + self._hosts - 1) // self._hosts

    def __iter__(self) -> Iterator[list[int]]:
        """Draw an epoch."""
        groups = []
        for members in self._members:
            order = [members[i] for i in torch.randperm(len(members), generator=self._generator).tolist()]
            groups += [order[i : i + self._arrangements] for i in range(0, len(order), self._arrangements)]
        shuffled = [groups[i] for i in torch.randperm(len(groups), generator=self._generator).tolist()]
        for start in range(0, len(shuffled), self._hosts):
            yield [index for group in shuffled[start : start + self._hosts] for index in group]


def host_loader(
    dataset: Any, generator: torch.Generator, collate_fn: Callable[..., Any], hosts: int, arrangements: int,
    batch_size: int | None = None,
) -> DataLoader[Any]:  # fmt: skip
    """Build the loader that NequIP's data module asks for (``_target_`` of ``train_dataloader``).

    With ``batch_size`` it is a plain one: ``nequip-package`` wants a structure to try the model on.
    """
    if batch_size is not None:
        return DataLoader(dataset, batch_size=batch_size, collate_fn=collate_fn)
    compositions = [tuple(sorted(each[AtomicDataDict.ATOMIC_NUMBERS_KEY].tolist())) for each in dataset.data_list]
    batches = HostBatches(compositions, hosts, arrangements, generator)
    return DataLoader(dataset, batch_sampler=batches, collate_fn=collate_fn)
