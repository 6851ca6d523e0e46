"""State of one visitor of the generator: latents, their canvases and sizes, and what is looked at."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from r2id.geometry.canvas import Canvas
from r2id.geometry.sizes import Size, in_proportion

View = tuple[float, float, float, float]
WHOLE: View = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Session:
    """State of one visitor: latents with labels, the decoded size, the picked picture and its visible part.

    A joint sample has a session for each canvas, of which the first holds the others. Pictures are numbered by label,
    and those of a label by canvas.
    """

    latents: Tensor
    labels: tuple[str, ...]
    canvas: Canvas
    size: Size
    picked: int = 0
    view: View = WHOLE
    others: tuple[Session, ...] = ()

    @property
    def canvases(self) -> tuple[Session, ...]:
        """The session of every canvas."""
        return self, *self.others

    @property
    def grid(self) -> Size:
        """Height and width of the latents of this canvas."""
        return self.latents.shape[-2], self.latents.shape[-1]

    @property
    def count(self) -> int:
        """Number of pictures."""
        return len(self.latents) * len(self.canvases)

    @property
    def names(self) -> tuple[str, ...]:
        """The label or text of every picture."""
        labels = self.labels or ("your picture",) * len(self.latents)
        return tuple(label for label in labels for _ in self.canvases)

    @property
    def picked_one(self) -> Session:
        """The session of the picked picture alone."""
        canvases = self.canvases
        one, index = canvases[self.picked % len(canvases)], self.picked // len(canvases)
        return Session(
            one.latents[index : index + 1], one.labels[index : index + 1], one.canvas, one.size, view=self.view
        )

    def resized(self, size: Size) -> Session:
        """Return the session with whole pictures of a size; several canvases keep their proportions and get its
        area."""
        if not self.others:
            return replace(self, size=size, view=WHOLE)
        first, *others = (replace(one, size=in_area(size, one.canvas), view=WHOLE) for one in self.canvases)
        return replace(first, others=tuple(others))


def zoomed(view: View, part: View) -> View:
    """Return `part` of the part `view`, each (top, left, bottom, right) from 0 to 1; never thinner than 1e-6."""
    top, left, bottom, right = (min(1.0, max(0.0, float(edge))) for edge in part)
    height, width = view[2] - view[0], view[3] - view[1]
    if (bottom - top) * height < 1e-6 or (right - left) * width < 1e-6:
        return view
    return view[0] + top * height, view[1] + left * width, view[0] + bottom * height, view[1] + right * width


def in_area(size: Size, canvas: Canvas) -> Size:
    """Return a size in the proportions of a canvas with about as many pixels as `size`."""
    side = (size[0] * size[1]) ** 0.5
    return in_proportion((side, side), canvas)
