"""Splats: Gaussians that make up a picture, as numbers that a network gives and as a file holds (design §6)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from r2id.errors import InputError
from r2id.geometry.coordinates import canvas_extent

LEAST_SCALE, MOST_SCALE = 1e-6, 1e3
"""Scales that a splat may have, as shares of the canvas's longer side."""
MOST_LOG_WEIGHT = 50.0
"""Bound of the logarithm of a splat's weight, on both sides."""


@dataclass(frozen=True)
class Splats:
    """Gaussians of pictures, in absolute coordinates: the canvas's longer side is 1, its centre (0, 0).

    A shape is the logarithm of the square root of a covariance, [[m − a, b], [b, m + a]] in (y, x). Here m is the mean
    of both log-scales. Half of their difference, times (cos 2θ, sin 2θ), is (a, b), where θ turns from x towards y. So
    each ellipse has one shape, which any three numbers give.

    Attributes:
        centres: (y, x), [B, N, 2].
        shapes: (m, a, b), [B, N, 3].
        colours: in [−1, 1], [B, N, C] with 1 channel for grey or 3 for RGB.
        log_weights: [B, N].
        extent: absolute sides of the canvas, (height, width); the longer is 1.
        background: grey level, in [−1, 1], where no splat reaches.
    """

    centres: Tensor
    shapes: Tensor
    colours: Tensor
    log_weights: Tensor
    extent: tuple[float, ...] = (1.0, 1.0)
    background: float = -1.0

    @classmethod
    def of_ellipses(
        cls,
        centres: Tensor,
        scales: Tensor,
        rotations: Tensor,
        colours: Tensor,
        weights: Tensor,
        canvas: tuple[float, float] = (1, 1),
        background: float = -1.0,
    ) -> Splats:
        """Return splats from scales and rotations.

        Args:
            centres, colours: as of `Splats`.
            scales: standard deviations along both axes of the ellipse, [B, N, 2].
            rotations: angle of the first of these axes from x towards y, in radians, [B, N].
            weights: [B, N], above 0.
            canvas: (height, width) of the picture; only its proportions count.
            background: as of `Splats`.
        Raises:
            InputError: for what `check` refuses.
        """
        _check_range("scale", scales, LEAST_SCALE, MOST_SCALE)
        _check_range("weight", weights, torch.tensor(-MOST_LOG_WEIGHT).exp().item(), float("inf"))
        first, second = scales.log().unbind(-1)
        mean, half = (first + second) / 2, (first - second) / 2
        shapes = torch.stack([mean, half * (2 * rotations).cos(), half * (2 * rotations).sin()], -1)
        splats = cls(centres, shapes, colours, weights.log(), canvas_extent(canvas), background)
        return splats.check()

    @property
    def scales(self) -> Tensor:
        """Standard deviations along both axes of each ellipse, the longer first: [B, N, 2]."""
        mean, a, b = self.shapes.unbind(-1)
        half = torch.hypot(a, b)
        return torch.stack([mean + half, mean - half], -1).exp()

    @property
    def rotations(self) -> Tensor:
        """Angle of the longer axis from x towards y, in (−π/2, π/2]: [B, N]."""
        return torch.atan2(self.shapes[..., 2], self.shapes[..., 1]) / 2

    @property
    def weights(self) -> Tensor:
        """Weight of each splat at its centre, above 0: [B, N]."""
        return self.log_weights.exp()

    def covariances(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the entries yy, xy and xx of each covariance, [B, N] each."""
        mean, a, b = self.shapes.unbind(-1)
        # Of a round splat the root has no gradient, so its argument stays above 0.
        half = (a.square() + b.square() + 1e-12).sqrt()
        scale, cosh, sinch = (2 * mean).exp(), (2 * half).cosh(), (2 * half).sinh() / half
        return scale * (cosh - sinch * a), scale * sinch * b, scale * (cosh + sinch * a)

    def check(self) -> Splats:
        """Return the splats. Raises InputError if there are none, a number is not finite or out of its range."""
        if self.centres.ndim != 3 or self.centres.shape[1] == 0:
            raise InputError(f"there are no splats in centres of shape {tuple(self.centres.shape)}; give at least one")
        count, channels = self.centres.shape[:2], self.colours.shape[-1]
        shapes = ((*count, 2), (*count, 3), (*count, channels), count)
        for name, shape in zip(("centres", "shapes", "colours", "log_weights"), shapes, strict=True):
            values = getattr(self, name)
            if values.shape != shape:
                raise InputError(f"the {name} of splats have shape {tuple(values.shape)}; it must be {tuple(shape)}")
            if not values.isfinite().all():
                bad = values[~values.isfinite()][0].item()
                raise InputError(f"the {name} of splats hold {bad}; every number must be finite")
        if channels not in (1, 3):
            raise InputError(f"splats have {channels} channels; give 1 for grey or 3 for RGB")
        _check_range("scale", self.scales, LEAST_SCALE, MOST_SCALE)
        _check_range("colour", self.colours, -1, 1)
        _check_range("log-weight", self.log_weights, -MOST_LOG_WEIGHT, MOST_LOG_WEIGHT)
        if not -1 <= self.background <= 1:
            raise InputError(f"the background of splats is {self.background}; it must be from -1 to 1")
        return self

    def each(self, chosen: Tensor | slice) -> Splats:
        """Return some of the splats of every picture, by index."""
        names = ("centres", "shapes", "colours", "log_weights")
        return replace(self, **{name: getattr(self, name)[:, chosen] for name in names})


def _check_range(name: str, values: Tensor, least: float, most: float) -> None:
    """Raise InputError for a number that is not from `least` to `most`, but for rounding."""
    slack = 1e-6 * max(abs(least), 1) if least < 0 else 1e-6 * least
    outside = ~((values >= least - slack) & (values <= most * (1 + 1e-6)))
    if outside.any():
        value = values[outside][0].item()
        raise InputError(f"a splat has the {name} {value:g}; it must be from {least:g} to {most:g}")
