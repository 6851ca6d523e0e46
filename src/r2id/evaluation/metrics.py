"""Distances between sets of pictures, from features that a judge sees in them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

NEIGHBOURS = 3


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """Return the Fréchet distance between Gaussian fits of two sets of features [N, D] (Heusel et al. 2017,
    arXiv:1706.08500).

    It is NaN if a set has fewer than two features, and so no covariance.
    """
    if min(len(first), len(second)) < 2:
        return math.nan
    measure = FrechetInceptionDistance(feature=_Features(first.shape[1]))
    measure.set_dtype(torch.float64)
    measure.update(first.double(), real=True)
    measure.update(second.double(), real=False)
    return measure.compute().item()


class _Features(nn.Identity):
    """Stands in for torchmetrics' network, because the features are given."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features


def precision_and_recall(real: Tensor, generated: Tensor) -> tuple[float, float]:
    """Return improved precision and recall (Kynkäänniemi et al. 2019, arXiv:1904.06991), with 3 neighbours.

    Precision is the share of generated features [N, D] within the reach of a real one, the distance to its third
    nearest real neighbour. Recall exchanges real and generated. Both are NaN if a set has fewer than two features.
    """
    if min(len(real), len(generated)) < 2:
        return math.nan, math.nan
    return _covered(generated, real), _covered(real, generated)


def _covered(points: Tensor, by: Tensor) -> float:
    # The nearest point is the point itself.
    reach = torch.cdist(by, by).kthvalue(min(NEIGHBOURS + 1, len(by)), dim=1).values
    return (torch.cdist(points, by) <= reach).any(dim=1).float().mean().item()


def distance_within_labels(pixels: Tensor, labels: Tensor) -> float:
    """Return the mean Euclidean distance between pictures [N, D] of one label, averaged over the labels.

    It is NaN if a label has only one picture.
    """
    means = []
    for label in labels.unique():
        same = pixels[labels == label]
        if len(same) < 2:
            return math.nan
        means.append(torch.cdist(same, same).sum() / (len(same) * (len(same) - 1)))
    return torch.stack(means).mean().item()


def nearer_than_real(generated: Tensor, real: Tensor, training: Tensor) -> float:
    """Return the share of generated features [N, D] that are nearer to a training one than most real ones are.

    "Most" is the median over real features that were not trained on, so that a generator without copies gets about 0.5.
    """
    typical = nearest(real, training)[0].median()
    return (nearest(generated, training)[0] < typical).float().mean().item()


def nearest(features: Tensor, training: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distance of each feature [N, D] to the nearest training one [M, D], and the index of that."""
    least = torch.cdist(features, training).min(dim=1)
    return least.values, least.indices
