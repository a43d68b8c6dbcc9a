"""The forward process: a variance-exploding SDE on wrapped fractional coordinates with one noise time per site.

MatterGen's process (Zeni et al., Nature 639, 624, 2025; score SDEs: Song et al., arXiv 2011.13456): the standard
deviation grows geometrically with time and scales with n_sites^(-1/3), so that it is about the same length in every
cell; coordinates wrap at 1.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class WrappedVE:
    """Wrapped variance-exploding process.

    Attributes:
        sigma_min: standard deviation at t = 0 for a cell of one site, fractional units.
        sigma_max: the same at t = 1.
        n_images: periodic images summed on each side; 3 is exact to single precision for the range used.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    sigma_min: float = 0.005
    sigma_max: float = 1.5
    n_images: int = 3

    def sigma(self, t: float) -> float:
        """Standard deviation at a time for a cell of one site."""
        return self.sigma_min * math.exp(t * math.log(self.sigma_max / self.sigma_min))

    def time(self, sigma: float) -> float:
        """Time at which a cell of one site has a standard deviation."""
        return math.log(sigma / self.sigma_min) / math.log(self.sigma_max / self.sigma_min)

    def std(self, t: Tensor, n_sites: Tensor) -> Tensor:
        """Standard deviation of the noise.

        Args:
            t: (n,) times between 0 and 1.
            n_sites: (n,) number of sites of the crystal each entry belongs to.

        Returns:
            (n,) standard deviations, fractional units.
        """
        base = self.sigma_min * (self.sigma_max / self.sigma_min) ** t
        return base * n_sites.to(t.dtype).pow(-1 / 3)

    def diffusion_squared(self, t: Tensor, n_sites: Tensor) -> Tensor:
        """g(t)^2 = d sigma^2 / dt, (n,)."""
        return 2 * math.log(self.sigma_max / self.sigma_min) * self.std(t, n_sites).square()

    def score_times_std(self, displacement: Tensor, std: Tensor) -> Tensor:
        """Score of the wrapped normal times its standard deviation: what the network learns to predict.

        The density factorises over the three coordinates, so the images are summed one coordinate at a time.

        Args:
            displacement: (n, 3) noisy minus clean coordinates, any representative.
            std: (n,) standard deviations.

        Returns:
            (n, 3) score times std.
        """
        images = torch.arange(-self.n_images, self.n_images + 1, device=displacement.device, dtype=displacement.dtype)
        folded = displacement - displacement.round()
        offsets = folded[..., None] + images
        scaled = offsets / std[:, None, None]
        weight = torch.softmax(-0.5 * scaled.square(), dim=-1)
        return -(weight * scaled).sum(dim=-1)
