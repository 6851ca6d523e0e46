"""The published form of R2IR, with global attention from coordinates to the whole source (design §1.3)."""

from __future__ import annotations

from torch import Tensor, nn

from r2id.geometry.coordinates import Grid, Samples
from r2id.geometry.fourier import FourierPositionEmbedding
from r2id.networks.attention import FeatureMap, Summary
from r2id.networks.layers import CrossBlock, RMSNorm


class GlobalDirection(nn.Module):
    """The published network of one direction. Queries are coordinates only. In every block they attend to the whole
    source, which is colour + coordinates."""

    def __init__(
        self,
        source_channels: int,
        channels: int,
        dim: int,
        num_heads: int,
        num_blocks: int,
        feature_map: FeatureMap,
        source_position: FourierPositionEmbedding,
        query_position: FourierPositionEmbedding,
    ) -> None:
        super().__init__()
        self.colour = nn.Linear(source_channels, dim)
        self.source_position = source_position
        self.query_position = query_position
        self.source_norm = RMSNorm(dim)
        self.blocks = nn.ModuleList(CrossBlock(dim, num_heads, feature_map) for _ in range(num_blocks))
        self.out = nn.Sequential(RMSNorm(dim), nn.Linear(dim, channels), nn.Tanh())

    def summarise(self, values: Tensor, source: Samples) -> list[Summary]:
        """Return one summary per block of a source with values [B, *size, C] or [B, N, C]."""
        tokens = self.source_norm((self.colour(values) + self.source_position(source)).flatten(1, -2))
        return [block.attention.summarise(tokens) for block in self.blocks]  # type: ignore[union-attr, operator]

    def read(self, summaries: list[Summary], query: Samples) -> Tensor:
        """Return colours at the queries, each from its own coordinates and the summaries only."""
        x = self.query_position(query).flatten(0, -2)
        for block, summary in zip(self.blocks, summaries, strict=True):
            x = block(x, summary)
        x = self.out(x)
        return x.unflatten(1, query.size) if isinstance(query, Grid) else x

    def summarise_chunk(self, values: Tensor, chunk: Grid, query: Grid) -> list[Summary]:
        """Return the summaries of a part of the image. Summaries add up."""
        return self.summarise(values, chunk)

    def answer(self, summaries: list[Summary], query: Samples) -> Tensor:
        """Return colours at the queries from the sum of summaries over all chunks."""
        return self.read(summaries, query)

    def forward(self, values: Tensor, source: Samples, query: Samples) -> Tensor:
        return self.read(self.summarise(values, source), query)
