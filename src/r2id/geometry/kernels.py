"""Interpolation along one axis: which samples a place reads, and with what weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


def cubic(x: Tensor) -> Tensor:
    """Keys' cubic convolution kernel with a = −½ (Keys 1981, eq. 4)."""
    x = x.abs()
    near = (1.5 * x - 2.5) * x.square() + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


def raised_cosine(x: Tensor) -> Tensor:
    """cos²(πx/2) between −1 and 1, which falls from 1 at 0 to 0; at a distance of 1, two of them add up to 1."""
    return torch.where(x.abs() < 1, (0.5 * math.pi * x).cos().square(), 0.0)


@dataclass(frozen=True)
class Reading:
    """Weights with which places along an axis read its samples.

    Attributes:
        indices: [N] of the samples that any of the places reads.
        weights: [places, N], or [places, N, K] for K numbers of each sample.
    """

    indices: Tensor
    weights: Tensor

    def to(self, device: torch.device) -> Reading:
        return Reading(self.indices.to(device), self.weights.to(device))


def cubic_reading(places: Tensor, count: int, width: float) -> Reading:
    """How ordered places read samples that lie at ½, 1½ …, by a cubic kernel (design §3).

    Args:
        places: [P], ascending, in samples from the edge.
        count: how many samples there are. Beyond both ends the last one goes on.
        width: samples that one place stands for; above 1 the kernel widens, so that nothing aliases.
    """
    width = max(1.0, width)
    # In float64, so that weights are the same wherever a long axis is cut.
    places = places.double() if places.device.type != "mps" else places
    first, last = math.floor(places[0].item() - 2 * width), math.ceil(places[-1].item() + 2 * width)
    samples = torch.arange(first, last + 1, device=places.device)
    weights = cubic((places[:, None] - samples - 0.5) / width)
    return Reading(samples.clamp(0, count - 1), (weights / weights.sum(1, keepdim=True)).float())


def area_reading(places: Tensor, count: int, width: float) -> Reading:
    """How places read samples that lie at ½, 1½ …, as means over areas `width` samples wide.

    Args:
        places: [P], in samples from the edge.
        count: how many samples there are.
        width: samples that one place stands for.
    """
    samples = torch.arange(count, device=places.device)
    first, last = (places + sign * width / 2 for sign in (-1, 1))
    overlap = torch.minimum(last[:, None], samples + 1) - torch.maximum(first[:, None], samples)
    weights = overlap.clamp(min=0)
    return Reading(samples, (weights / weights.sum(1, keepdim=True)).float())


def line_reading(places: Tensor, count: int) -> Reading:
    """How ordered places read samples of which each holds a constant and a slope, [places, N, 2].

    Each of the two neighbours of a place answers by a straight line of the offset. A raised cosine blends them.
    """
    places = places - 0.5
    first = max(0, math.floor(places[0].item()))
    last = min(count - 1, math.floor(places[-1].item()) + 1)
    samples = torch.arange(first, last + 1, device=places.device)
    offset = places[:, None] - samples
    weight = raised_cosine(offset)
    weight = weight / weight.sum(1, keepdim=True)
    return Reading(samples, torch.stack([weight, 2 * weight * offset], dim=2).float())


def read_separably(picture: Tensor, rows: Reading, columns: Reading) -> Tensor:
    """[B, C, H, W] read along both axes: [B, C, places of rows, places of columns]."""
    # Colours in bfloat16 would be rounded to fewer levels than a file has.
    with torch.autocast(picture.device.type, enabled=False):
        some = picture.float().index_select(2, rows.indices).index_select(3, columns.indices)
        return rows.weights @ (some @ columns.weights.mT)
