"""The canvas of latents, which travels with them.

A canvas is (height, width) in cells of any size (design §3). A grid of just as many latents as hold its cells has one
for each, and the last ones reach beyond its edges. Any other grid covers the canvas evenly: only proportions count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from r2id.errors import InputError
from r2id.geometry.sizes import listed

Canvas = tuple[float, float]


def check_canvas(canvas: Sequence[float]) -> Canvas:
    """Return `canvas`. Raises InputError unless it is (height, width), two finite numbers above 0."""
    canvas = listed(canvas)
    try:
        height, width = canvas
        valid = 0 < height < math.inf and 0 < width < math.inf
    except (TypeError, ValueError):
        valid = False
    if not valid:
        raise InputError(f"canvas is {canvas!r}; it must be (height, width), two numbers above 0")
    return height, width


class LatentTensor(Tensor):
    """Latents [B, C, h, w] with the canvas of their picture.

    Results of the shape [any number, C, h, w] keep the canvas. All other results are plain tensors.

    Attributes:
        canvas: (height, width) of the picture, in cells.
    """

    canvas: Canvas

    @classmethod
    def of(cls, latents: Tensor, canvas: Canvas) -> LatentTensor:
        """Return the same latents with a canvas."""
        tensor = plain(latents).as_subclass(cls)
        tensor.canvas = canvas
        return tensor

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], types: Any, arguments: Any = (), named: dict[str, Any] | None = None
    ) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            result = function(*arguments, **named or {})
            sources = [one for one in _flat((arguments, *(named or {}).values())) if hasattr(one, "canvas")]
            # Several canvases leave the result without one.
            if len({source.canvas for source in sources}) != 1:
                return result
            source = sources[0]

            def kept(one: Any) -> Any:
                alike = type(one) is Tensor and one.ndim == 4 and one.shape[1:] == source.shape[1:]
                return cls.of(one, source.canvas) if alike else one

            # torch's own tuples, such as a shape, have other fields.
            return type(result)(map(kept, result)) if type(result) in (tuple, list) else kept(result)

    def __deepcopy__(self, memo: Any) -> LatentTensor:
        return self.detach().clone()  # type: ignore[return-value]


# torch.load then restores the canvas.
torch.serialization.add_safe_globals([LatentTensor])


def plain(latents: Tensor) -> Tensor:
    """Return the same latents without the canvas, for networks."""
    with torch._C.DisableTorchFunctionSubclass():
        return latents.as_subclass(Tensor)


def canvas_of(latents: Tensor | None) -> Canvas | None:
    """Return the canvas of latents, or None."""
    return getattr(latents, "canvas", None)


def _flat(arguments: Any) -> Iterator[Any]:
    for one in arguments:
        if isinstance(one, (tuple, list)):
            yield from _flat(one)
        elif isinstance(one, LatentTensor):
            yield one
