"""Global and local attention, both linear in the number of samples (design §1.2, §2).

Both are weighted averages, so results do not depend on the density of the samples. In both, queries need only a
summary of the source. One network can therefore work at every resolution.
"""

from __future__ import annotations

import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from r2id.geometry.coordinates import Grid, Points, Samples
from r2id.networks.norms import RMSNorm

FeatureMap = Literal["elu", "softmax"]


class Summary(NamedTuple):
    """Sums over the keys that queries read: Σ φ(k) vᵀ, [B, heads, d, d], and Σ φ(k), [B, heads, d]."""

    key_values: Tensor
    keys: Tensor

    def __add__(self, other: Summary) -> Summary:  # type: ignore[override]
        """Return the summary of both sources, so that a source can be read in chunks."""
        # A long sum in bfloat16 loses small terms.
        return Summary(self.key_values.float() + other.key_values, self.keys + other.keys)


class Neighbourhoods(NamedTuple):
    """Sums over the sources around some places that local attention reads: Σ w φ_k v and Σ w. For a picture their
    shapes are [B, w, h, basis²·d] and [w, h]; the axes of the places come in reverse order."""

    values: Tensor
    weight: Tensor
    places: Grid

    def __add__(self, other: Neighbourhoods) -> Neighbourhoods:  # type: ignore[override]
        """Return the sums over both sources, so that a source can be read in chunks."""
        return Neighbourhoods(self.values.float() + other.values, self.weight + other.weight, self.places)


PLACES_PER_COSINE = 4
"""Places per radius and cosine of the basis. Interpolation between them is accurate to a thousandth."""


class GlobalAttention(nn.Module, ABC):
    """Multi-head attention of every query to a whole source, which `summarise` turns into what `read` needs.

    Args:
        dim: channels of the queries and the result.
        num_heads: number of heads; must divide `dim`.
        source_dim: channels of the source; by default `dim`.
        qk_norm: RMS norm of queries and keys (Henry et al. 2020, arXiv:2010.04245), with a learned gain per channel.
    """

    def __init__(self, dim: int, num_heads: int, source_dim: int | None, qk_norm: bool) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"num_heads is {num_heads}; it must divide the {dim} channels")
        self.num_heads = num_heads
        self.to_query = nn.Linear(dim, dim, bias=False)
        self.to_key_value = nn.Linear(source_dim or dim, 2 * dim, bias=False)
        self.to_out = nn.Linear(dim, dim)
        self.query_norm = RMSNorm(dim // num_heads) if qk_norm else nn.Identity()
        self.key_norm = RMSNorm(dim // num_heads) if qk_norm else nn.Identity()

    @abstractmethod
    def summarise(self, source: Tensor) -> Any:
        """Return the summary of a source [B, N, source_dim]; summaries of its parts add up."""

    @abstractmethod
    def read(self, query: Tensor, summary: Any) -> Tensor:
        """Return answers [B, M, dim] for queries [B, M, dim]."""

    def forward(self, query: Tensor, source: Tensor) -> Tensor:
        return self.read(query, self.summarise(source))


class LinearAttention(GlobalAttention):
    """Global multi-head attention, φ(Q)(φ(K)ᵀV) / (φ(Q)·Σφ(K)) (Katharopoulos et al. 2020, arXiv:2006.16236).

    Args:
        dim, num_heads, source_dim: as for `GlobalAttention`.
        feature_map: "elu" is φ(x) = elu(x) + 1. "softmax" is a softmax over the head's channels of RMS-normalised
            x, sharpened by a learned temperature per head that starts at 4.
        qk_norm: as for `GlobalAttention`, before the feature map.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        feature_map: FeatureMap,
        source_dim: int | None = None,
        qk_norm: bool = False,
    ) -> None:
        super().__init__(dim, num_heads, source_dim, qk_norm)
        if feature_map not in ("elu", "softmax"):
            raise ValueError(f"feature_map is {feature_map!r}; it must be 'elu' or 'softmax'")
        self.feature_map = feature_map
        if feature_map == "softmax":
            self.query_temperature = nn.Parameter(torch.full((num_heads, 1), 4.0))
            self.key_temperature = nn.Parameter(torch.full((num_heads, 1), 4.0))

    def summarise(self, source: Tensor) -> Summary:
        """Return the summary of a source [B, N, source_dim]. Sums avoid float16, in which they would overflow."""
        key, value = (part.unflatten(-1, (self.num_heads, -1)) for part in self.to_key_value(source).chunk(2, -1))
        key = self._features(self.key_norm(key), "key_temperature")
        with torch.autocast(source.device.type, enabled=False):
            if key.dtype == torch.float16:
                key, value = key.float(), value.float()
            return Summary(torch.einsum("bnhd,bnhe->bhde", key, value), key.float().sum(dim=1))

    def read(self, query: Tensor, summary: Summary) -> Tensor:
        """Return answers [B, M, dim] for queries [B, M, dim], or [M, dim] if all share them."""
        heads = self.to_query(query).unflatten(-1, (self.num_heads, -1))
        query = self._features(self.query_norm(heads), "query_temperature")
        query = query.expand(len(summary.keys), *query.shape[-3:])
        # Division of both by the same sum keeps them in range for sources of any size.
        scale = summary.keys.sum(dim=-1, keepdim=True)
        key_values = (summary.key_values / scale[..., None]).to(query.dtype)
        weighted = torch.einsum("bmhd,bhde->bmhe", query, key_values)
        total = torch.einsum("bmhd,bhd->bmh", query, (summary.keys / scale).to(query.dtype))
        return self.to_out((weighted / (total[..., None] + 1e-6)).flatten(-2))

    def _features(self, x: Tensor, temperature: str) -> Tensor:
        if self.feature_map == "elu":
            return functional.elu(x) + 1
        root_mean_square = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32) / x.shape[-1] ** 0.5
        sharpness = getattr(self, temperature) / root_mean_square.clamp_min(1e-6)
        return functional.softmax(x * sharpness, dim=-1).to(x.dtype)


class LocalKernelAttention(nn.Module):
    """Attention to a neighbourhood, by a kernel of the offset between query and source (design §2).

    For a query at p and sources x_n with values v_n, offsets δ_n = (x_n − p)/R in absolute coordinates:

        out(p) = Σ_n w(δ_n) Σ_k φ_k(δ_n) W_k v_n / Σ_n w(δ_n) + b

    The window is w(δ) = cos²(πδ_y/2)·cos²(πδ_x/2) for |δ| < 1. The φ are products over the axes of cos(πj(δ + 1)/2),
    j = 0 … basis − 1, times √2 for j > 0. Other numbers of axes work alike. R is at least one cell of the source, so
    that every query sees a source.

    The sum over n and the product with W_k commute. The cheaper order applies W to the fewer points. Between two grids,
    window and basis separate over the axes, and both orders are one thin matrix product per axis. Other points go
    through the list of (query, source) pairs in reach.

    out(p) has no detail much finer than a cosine of the basis. A denser grid of queries is therefore answered at fewer
    places and interpolated. If these are no more than the sources, neighbourhoods are summed there, so that the cost is
    linear in the samples.

    Args:
        source_dim, dim: channels of the source and the result.
        radius: R, in absolute coordinates (the canvas's longest side is 1).
        basis: cosines per axis; a picture has basis² of φ.
        num_axes: axes of the samples; a picture has 2.
    """

    def __init__(self, source_dim: int, dim: int, radius: float, basis: int, num_axes: int = 2) -> None:
        super().__init__()
        self.source_dim, self.dim, self.radius, self.basis = source_dim, dim, radius, basis
        self.num_axes = num_axes
        self.weight = nn.Parameter(torch.empty(*[basis] * num_axes, source_dim, dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        nn.init.normal_(self.weight, std=1 / math.sqrt(source_dim * basis ** (num_axes / 2)))

    def forward(self, values: Tensor, source: Samples, query: Samples) -> Tensor:
        """Return answers at `query`.

        Args:
            values: [B, *source.size, source_dim] on a Grid, [B, N, source_dim] at Points.
            source: places of the values.
            query: places of the answers, on the same canvas.
        Returns:
            [B, *query.size, dim] for a Grid, [B, M, dim] for Points.
        """
        if isinstance(source, Grid) and isinstance(query, Grid):
            places = self._places(source, query)
            if math.prod(places.size) <= math.prod(source.size):
                return self.answer(self.summarise_at(places, values, source), query)
            # The first product runs over the sources of every axis. The axis with the fewest queries keeps it small.
            order = sorted(range(self.num_axes), key=lambda axis: (query.size[axis], -axis))
            return self.read(self.spread(values), source, query, order)
        flat = values.flatten(1, -2)
        answers = self._read_pairs(flat, _as_points(source), _as_points(query))
        return answers.unflatten(1, query.size) if isinstance(query, Grid) else answers

    def spread(self, values: Tensor) -> Tensor:
        """Return W_k v_n of every source and basis function: [B, H, W, source_dim] → [B, H, W, basis, basis, dim]."""
        weight = self.weight.movedim(-2, 0).flatten(1)
        # One product of two matrices: for a view of other values, torch would copy the weight for each row.
        spread = values.flatten(0, -2) @ weight.to(values.dtype)
        return spread.view(*values.shape[:-1], *[self.basis] * self.num_axes, self.dim)

    def read(self, spread: Tensor, source: Grid, query: Grid, order: Sequence[int]) -> Tensor:
        """Return answers [B, *query.size, dim] from the result of `spread`, by products over one axis after another in
        `order`."""
        sources, bases, queries, batch, channel = self._dimensions()
        places, left = list(sources), list(bases)
        for axis in order:
            weights = self._weights(source, query, axis).to(spread.dtype)
            before = [batch, *places, *left, channel]
            places[axis] = queries[axis]
            left.remove(bases[axis])
            summed = [queries[axis], sources[axis], bases[axis]]
            spread = torch.einsum(weights, summed, spread, before, [batch, *places, *left, channel])
        return spread + self.bias.to(spread.dtype)

    def summarise(self, values: Tensor, chunk: Grid, query: Grid) -> Neighbourhoods:
        """Return the sums of a chunk of the source, [B, *chunk.size, source_dim], for the neighbourhoods of `query`."""
        return self.summarise_at(self._places(chunk, query), values, chunk)

    def summarise_at(self, places: Grid, values: Tensor, chunk: Grid) -> Neighbourhoods:
        """Return the sums of a chunk of the source, [B, *chunk.size, source_dim], for neighbourhoods at `places`."""
        along = [self._axis(chunk, places, axis) for axis in range(self.num_axes)]
        kernels = [(window[..., None] * basis).to(values.dtype) for window, basis in along]
        sources, bases, queries, batch, channel = self._dimensions()
        gathered = values
        for axis in reversed(range(1, self.num_axes)):
            # Places of the later axes, sources, and bases of the later axes; this axis's places and bases join them.
            before = [batch, *reversed(queries[axis + 1 :]), *sources[: axis + 1], *bases[axis + 1 :], channel]
            after = [batch, *reversed(queries[axis:]), *sources[:axis], *bases[axis:], channel]
            summed = [queries[axis], sources[axis], bases[axis]]
            gathered = torch.einsum(kernels[axis], summed, gathered, before, after)
        gathered = gathered.flatten(0, self.num_axes - 1).flatten(2)
        # One product per column of places gives the layout that `answer` reads, without reordering.
        every_row = kernels[0].mT.flatten(0, 1).expand(len(gathered), -1, -1)
        gathered = every_row.bmm(gathered).view(len(values), *reversed(places.size), -1)
        return Neighbourhoods(gathered, _outer(window.sum(dim=1) for window, _ in reversed(along)), places)

    def answer(self, summary: Neighbourhoods, query: Grid) -> Tensor:
        """Return answers [B, *query.size, dim] from the sums over all chunks; they equal those of `forward`."""
        answers = self._mix(summary.values)
        answers = answers / summary.weight.clamp_min(1e-24)[..., None].to(answers.dtype)
        answers = answers.permute(0, *reversed(range(1, self.num_axes + 1)), -1) + self.bias.to(answers.dtype)
        sources, _, queries, batch, channel = self._dimensions()
        for axis, (places, asked) in enumerate(zip(summary.places.axes, query.axes, strict=True)):
            if places is not asked:
                between = _interpolation(places, asked, answers)
                before = [batch, *queries[:axis], *sources[axis:], channel]
                after = [batch, *queries[: axis + 1], *sources[axis + 1 :], channel]
                answers = torch.einsum(between, [queries[axis], sources[axis]], answers, before, after)
        return answers

    def reach(self, source: Grid, query: Grid) -> tuple[slice, ...]:
        """Return the part of each axis of `source` that samples of `query` can see."""
        return tuple(self._band(source, query, axis) for axis in range(self.num_axes))

    def _dimensions(self) -> tuple[range, range, range, int, int]:
        """Return einsum's indices of sources, the basis and the queries of each axis, the batch and the channels."""
        axes = self.num_axes
        return range(axes), range(axes, 2 * axes), range(2 * axes, 3 * axes), 3 * axes, 3 * axes + 1

    def _places(self, source: Grid, query: Grid) -> Grid:
        """Return the places where neighbourhoods are summed: along each axis the queries, or fewer if these suffice."""

        def along(axis: int, here: Tensor) -> Tensor:
            span = len(here) * query.cell[axis]
            enough = math.ceil(PLACES_PER_COSINE * self.basis * span / self._reach(source, axis)) + 4
            if len(here) <= enough:
                return here
            return torch.lerp(here.min(), here.max(), torch.linspace(0, 1, enough, device=here.device))

        return replace(query, axes=tuple(along(axis, here) for axis, here in enumerate(query.axes)), even=False)

    def _mix(self, gathered: Tensor) -> Tensor:
        """Σ_k W_k v_k of [..., k·source_dim]: [..., dim]."""
        if gathered.dtype == torch.float32:
            # Sums over chunks are float32; weights may be in half precision.
            gathered = gathered.to(self.weight.dtype)
        return gathered @ self.weight.flatten(0, -2).to(gathered.dtype)

    def _weights(self, source: Grid, query: Grid, axis: int) -> Tensor:
        """Return window times basis of one axis, divided by the window's sum: [queries, sources, basis]."""
        window, basis = self._axis(source, query, axis)
        return (window / window.sum(dim=1, keepdim=True).clamp_min(1e-12))[..., None] * basis

    def _axis(self, source: Grid, query: Grid, axis: int) -> tuple[Tensor, Tensor]:
        """Return window [queries, sources] and basis [queries, sources, basis] of one axis."""
        return self._kernel(source.axes[axis][None] - query.axes[axis][:, None], source, axis)

    def _kernel(self, offset: Tensor, source: Samples, axis: int) -> tuple[Tensor, Tensor]:
        """Return window [...] and basis [..., basis] at relative offsets along one axis."""
        return window_and_basis(offset / self._reach(source, axis), self.basis)

    def _reach(self, source: Samples, axis: int) -> float:
        return relative_reach(self.radius, source, axis)

    def _band(self, source: Grid, query: Grid, axis: int) -> slice:
        here, there, radius = query.axes[axis], source.axes[axis], self._reach(source, axis)
        seen = torch.nonzero((there > here.min() - radius) & (there < here.max() + radius))
        return slice(int(seen[0]), int(seen[-1]) + 1)

    def _read_pairs(self, values: Tensor, source: Points, query: Points, numbers_at_once: int = 1 << 24) -> Tensor:
        """Return answers [B, M, dim] at any points, through the list of pairs in reach."""
        order = source.relative[:, 0].argsort()
        placed, values = source.relative[order], values[:, order]
        radius = self._reach(source, 0)
        first = torch.searchsorted(placed[:, 0].contiguous(), query.relative[:, 0].contiguous() - radius)
        last = torch.searchsorted(placed[:, 0].contiguous(), query.relative[:, 0].contiguous() + radius)
        counts = last - first
        answers = []
        # Each pair takes a value per basis function and channel.
        pairs_at_once = numbers_at_once // (max(1, len(values)) * self.basis**self.num_axes * self.source_dim)
        step = max(1, pairs_at_once // max(1, int(counts.max()) if len(counts) else 1))
        for start in range(0, max(1, len(counts)), step):
            chunk = slice(start, start + step)
            queries = torch.arange(len(counts[chunk]), device=counts.device).repeat_interleave(counts[chunk])
            offsets = torch.arange(len(queries), device=counts.device)
            began = torch.cat([counts.new_zeros(1), counts[chunk].cumsum(0)[:-1]])
            sources = offsets - began[queries] + first[chunk][queries]
            offset = placed[sources] - query.relative[chunk][queries]
            for axis in range(1, self.num_axes):
                near = offset[:, axis].abs() < self._reach(source, axis)
                queries, sources, offset = queries[near], sources[near], offset[near]
            along = (self._kernel(offset[:, axis], source, axis) for axis in range(self.num_axes))
            windows, bases = zip(*along, strict=True)
            window = reduce(operator.mul, windows)
            total = window.new_zeros(len(counts[chunk])).index_add_(0, queries, window).clamp_min(1e-24)
            kernel = (window / total[queries])[:, None]
            for basis in bases:
                kernel = (kernel[:, :, None] * basis[:, None, :]).flatten(1)
            seen = torch.einsum("pk,bpc->bpkc", kernel.to(values.dtype), values[:, sources]).flatten(2)
            shape = (len(values), len(counts[chunk]), seen.shape[-1])
            mixed = self._mix(seen.new_zeros(shape).index_add_(1, queries, seen))
            answers.append(mixed + self.bias.to(mixed.dtype))
        return torch.cat(answers, dim=1)


def window_and_basis(delta: Tensor, basis: int) -> tuple[Tensor, Tensor]:
    """Return window [...] and basis [..., basis] at offsets δ along one axis, in radii."""
    window = torch.cos(delta * (math.pi / 2)).square() * (delta.abs() < 1)
    orders = torch.arange(basis, device=delta.device, dtype=delta.dtype)
    cosines = torch.cos((delta[..., None] + 1) * orders * (math.pi / 2))
    return window, cosines * torch.where(orders == 0, 1.0, math.sqrt(2))


def relative_reach(radius: float, source: Samples, axis: int) -> float:
    """Return a radius in relative coordinates, at least one cell of the source."""
    return torch.sym_max(radius / source.extent[axis], source.cell[axis])


def _as_points(samples: Samples) -> Points:
    return samples.points() if isinstance(samples, Grid) else samples


def _outer(vectors: Iterable[Tensor]) -> Tensor:
    """Return the outer product of vectors: [length of the first, length of the second, …]."""
    return reduce(lambda product, vector: product[..., None] * vector, vectors)


def _interpolation(places: Tensor, query: Tensor, like: Tensor) -> Tensor:
    """Return weights [queries, places] of cubic Lagrange interpolation between the four nearest equidistant places."""
    position = (query - places[0]) / (places[-1] - places[0]) * (len(places) - 1)
    first = (position.floor() - 1).clamp(0, len(places) - 4)
    s = position - first
    cubics = [
        -(s - 1) * (s - 2) * (s - 3) / 6,
        s * (s - 2) * (s - 3) / 2,
        -s * (s - 1) * (s - 3) / 2,
        s * (s - 1) * (s - 2) / 6,
    ]
    nearest = first.long()[:, None] + torch.arange(4, device=query.device)
    weights = query.new_zeros(len(query), len(places)).scatter(1, nearest, torch.stack(cubics, dim=1))
    return weights.to(like)
