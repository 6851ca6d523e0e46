"""The local form of R2IR, in which each sample reads a neighbourhood of fixed size (design §2)."""

from __future__ import annotations

from torch import Tensor, nn

from r2id.geometry.coordinates import Grid, Samples
from r2id.geometry.fourier import FourierPositionEmbedding
from r2id.networks.attention import FeatureMap, LocalKernelAttention, Neighbourhoods
from r2id.networks.layers import PointBlock, RMSNorm, SelfBlock


class LocalEncoder(nn.Module):
    """Encoder: each latent reads its neighbourhood of pixels, then the latents attend to each other."""

    def __init__(
        self,
        image_channels: int,
        latent_channels: int,
        value_dim: int,
        dim: int,
        num_heads: int,
        num_blocks: int,
        feature_map: FeatureMap,
        radius: float,
        basis: int,
        latent_position: FourierPositionEmbedding,
    ) -> None:
        super().__init__()
        self.colour = nn.Sequential(
            nn.Linear(image_channels, 4 * value_dim), nn.GELU(), nn.Linear(4 * value_dim, value_dim)
        )
        self.neighbourhood = LocalKernelAttention(value_dim, dim, radius, basis, latent_position.num_axes)
        self.latent_position = latent_position
        self.blocks = nn.ModuleList(SelfBlock(dim, num_heads, feature_map) for _ in range(num_blocks))
        self.out = nn.Sequential(RMSNorm(dim), nn.Linear(dim, latent_channels), nn.Tanh())

    def summarise_chunk(self, values: Tensor, chunk: Grid, query: Grid) -> list[Neighbourhoods]:
        """Return the summary of a part of the image, [B, *chunk.size, C], for latents at `query`. Summaries add up."""
        return [self.neighbourhood.summarise(self.colour(values), chunk, query)]

    def answer(self, summaries: list[Neighbourhoods], query: Grid) -> Tensor:
        """Return latents at the queries from the sum of summaries over all chunks."""
        return self._attend(self.neighbourhood.answer(summaries[0], query), query)

    def forward(self, values: Tensor, source: Samples, query: Grid) -> Tensor:
        return self._attend(self.neighbourhood(self.colour(values), source, query), query)

    def _attend(self, read: Tensor, query: Grid) -> Tensor:
        x = (read + self.latent_position(query)).flatten(1, -2)
        for block in self.blocks:
            x = block(x)
        return self.out(x).unflatten(1, query.size)


class LocalDecoder(nn.Module):
    """Decoder: the latents attend to each other, then each pixel reads its neighbourhood of latents on its own."""

    def __init__(
        self,
        image_channels: int,
        latent_channels: int,
        dim: int,
        num_heads: int,
        num_blocks: int,
        feature_map: FeatureMap,
        radius: float,
        basis: int,
        pixel_dim: int,
        pixel_blocks: int,
        latent_position: FourierPositionEmbedding,
        pixel_position: FourierPositionEmbedding,
    ) -> None:
        super().__init__()
        self.colour = nn.Linear(latent_channels, dim)
        self.latent_position = latent_position
        self.blocks = nn.ModuleList(SelfBlock(dim, num_heads, feature_map) for _ in range(num_blocks))
        self.narrow = nn.Sequential(RMSNorm(dim), nn.Linear(dim, pixel_dim))
        self.neighbourhood = LocalKernelAttention(pixel_dim, pixel_dim, radius, basis, latent_position.num_axes)
        self.pixel_position = pixel_position
        self.pixel_blocks = nn.ModuleList(PointBlock(pixel_dim) for _ in range(pixel_blocks))
        self.out = nn.Sequential(RMSNorm(pixel_dim), nn.Linear(pixel_dim, image_channels), nn.Tanh())

    def summarise(self, values: Tensor, source: Grid) -> tuple[Tensor, Grid]:
        """Return latents [B, *source.size, C] after their self-attention, and their grid."""
        x = (self.colour(values) + self.latent_position(source)).flatten(1, -2)
        for block in self.blocks:
            x = block(x)
        return self.narrow(x).unflatten(1, source.size), source

    def read(self, summary: tuple[Tensor, Grid], query: Samples) -> Tensor:
        """Return colours at the queries, each from its own coordinates and the latents in reach only."""
        latents, source = summary
        if isinstance(query, Grid) and not self.training:
            near = self.neighbourhood.reach(source, query)
            latents, source = latents[(slice(None), *near)], source.crop(*near)
        return self.colours(self.neighbourhood(latents, source, query), query)

    def colours(self, near: Tensor, query: Samples) -> Tensor:
        """Return colours at the queries from the answers of local attention."""
        x = near + self.pixel_position(query)
        for block in self.pixel_blocks:
            x = block(x)
        return self.out(x)

    def forward(self, values: Tensor, source: Grid, query: Samples) -> Tensor:
        return self.read(self.summarise(values, source), query)
