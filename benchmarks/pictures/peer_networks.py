"""Networks that R2IR is compared with: an autoencoder with a latent, and a network for super-resolution."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional

PIXELS = 16
"""Pixels along a side of what one latent of the autoencoder stands for."""
STRIP = 64
"""Rows of a picture that the head answers at once, so that memory stays small."""


class Autoencoder(nn.Module):
    """diffusers' AutoencoderKL (Rombach et al. 2022): 64 numbers for 16×16 pixels, as many parameters as the pyramid.

    It has no attention in the middle, whose cost is quadratic in the pixels.
    """

    def __init__(self, widths: tuple[int, ...] = (32, 32, 64, 112, 176), latent_channels: int = 64) -> None:
        super().__init__()
        count = len(widths)
        self.network = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * count,
            up_block_types=("UpDecoderBlock2D",) * count,
            block_out_channels=widths,
            layers_per_block=1,
            latent_channels=latent_channels,
            norm_num_groups=16,
            mid_block_add_attention=False,
        ).to(memory_format=torch.channels_last)

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures again, [B, 3, H, W] in about [−1, 1] with sides in multiples of 16, and the KL divergence."""
        posterior = self.network.encode(_last(picture)).latent_dist
        latent = posterior.sample() if self.training else posterior.mode()
        return self.network.decode(latent).sample, posterior.kl().mean() / latent[0].numel()

    def encode(self, picture: Tensor, pixels_per_cell: float = PIXELS) -> Tensor:
        """The mean latent [B, C, h, w]; the picture's edges are repeated up to whole latents."""
        if pixels_per_cell != PIXELS:
            raise ValueError(f"pixels_per_cell is {pixels_per_cell}; this autoencoder has {PIXELS} only")
        height, width = picture.shape[-2:]
        padded = functional.pad(picture, (0, -width % PIXELS, 0, -height % PIXELS), mode="replicate")
        return self.network.encode(_last(padded)).latent_dist.mode()

    def decode(self, latent: Tensor, size: tuple[int, int]) -> Tensor:
        """The picture, cut to its size."""
        return self.network.decode(_last(latent)).sample[..., : size[0], : size[1]].float()


class SuperResolution(nn.Module):
    """Residual blocks without normalisation (EDSR, Lim et al. 2017) and the head of LIIF (Chen et al. 2021).

    The head has feature unfolding, the local ensemble and cell decoding. Its first layer is linear in the 3×3 features
    that are unfolded, so it is a convolution that runs once a pixel given, not once a pixel wanted. The network
    corrects the bicubic picture (VDSR, Kim et al. 2016), and is that picture before it is trained. Blocks and head are
    narrower than published, so that ×2 takes as many multiply-adds as the pyramid's.
    """

    def __init__(self, channels: int = 72, blocks: int = 20, hidden: int = 96) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3, channels, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1)
            )
            for _ in range(blocks)
        )
        self.last = nn.Conv2d(channels, channels, 3, padding=1)
        self.unfolded = nn.Conv2d(channels, hidden, 3, padding=1)
        self.place = nn.Linear(4, hidden)
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 3))
        nn.init.zeros_(self.head[-1].weight)
        nn.init.zeros_(self.head[-1].bias)
        self.to(memory_format=torch.channels_last)

    def features(self, picture: Tensor) -> Tensor:
        """What the head reads, [B, H, W, hidden], of a picture [B, 3, H, W] in [−1, 1]."""
        x = first = self.enter(_last(picture))
        for block in self.blocks:
            x = x + block(x)
        return self.unfolded(self.last(x) + first).permute(0, 2, 3, 1)

    def read(self, features: Tensor, rows: Tensor, columns: Tensor, cell: tuple[float, float]) -> Tensor:
        """Corrections [B, 3, rows, columns] at places in pixels of the picture given.

        Args:
            features: [B, H, W, hidden].
            rows, columns: ascending places; the first pixel's centre is 0.5.
            cell: height and width of a pixel wanted, in pixels given.
        """
        total: Tensor | float = 0.0
        first, second = _neighbours(rows, features.shape[1]), _neighbours(columns, features.shape[2])
        told = self.place.weight[:, 2:] @ self.place.weight.new_tensor(cell) + self.place.bias
        for row, down, row_share in first:
            for column, right, column_share in second:
                near = features[:, row][:, :, column]
                moved = down[:, None, None] * self.place.weight[:, 0] + right[:, None] * self.place.weight[:, 1]
                total = total + self.head(near + moved + told) * (row_share[:, None] * column_share)[..., None]
        return total.permute(0, 3, 1, 2)  # type: ignore[union-attr]

    def forward(self, picture: Tensor, size: tuple[int, int]) -> Tensor:
        """The picture [B, 3, H, W] at `size`, in strips."""
        plain = functional.interpolate(picture, size, mode="bicubic", antialias=True)
        cell = (picture.shape[-2] / size[0], picture.shape[-1] / size[1])
        rows, columns = (
            (torch.arange(count, device=picture.device) + 0.5) * side for count, side in zip(size, cell, strict=True)
        )
        features = self.features(picture)
        strips = [self.read(features, some, columns, cell) for some in rows.split(STRIP)]
        return plain + torch.cat(strips, 2).float()


def _neighbours(places: Tensor, count: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """The two pixels of a row that each place lies between: index, offset of the place from its centre, and share.

    A share is how near the place is to the pixel, so both are 1 together and a pixel's own place is its own.
    """
    before = (places - 0.5).floor()
    found = []
    for index in (before, before + 1):
        share = 1 - (places - 0.5 - index).abs()
        inside = index.long().clamp(0, count - 1)
        found.append((inside, places - 0.5 - inside, share))
    return found


def _last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
