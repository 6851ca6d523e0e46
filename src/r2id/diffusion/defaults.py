"""Generation defaults of a model, stored with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from numbers import Integral
from typing import Any

from r2id.diffusion.guidance import check_guidance
from r2id.errors import InputError
from r2id.geometry.canvas import Canvas
from r2id.geometry.sizes import Size, check_size, in_proportion, with_longer_side
from r2id.networks.diffuser import R2ID
from r2id.networks.resampler import R2IR

SAMPLING = ("num_inference_steps", "guidance_scale", "guidance_interval")


def sampling_options(options: Any) -> dict[str, Any]:
    """Return those attributes of `options` that say how to sample, as arguments of a pipeline's call."""
    return {name: getattr(options, name) for name in SAMPLING}


@dataclass(frozen=True)
class GenerationDefaults:
    """Generation defaults of a model, saved in model_index.json as `generation_defaults`.

    Attributes:
        size: height and width of the pictures; for a model of many proportions, those of a square picture.
        latent_size: height and width of the latents; for a model of pixels, those of the generated image.
        num_inference_steps, guidance_scale, guidance_interval: as for a call of the pipeline.
        examples: labels or texts that show what the model can do; empty for the first labels.
        most_latents: latents along the longer side that the model learnt, at most. Grids of more are sampled from
            coarse to fine (`diffusion.stages`). None for a model that samples any at once.
    Raises:
        InputError: for a value that a call would refuse.
    """

    size: Size
    latent_size: Size
    num_inference_steps: int = 20
    guidance_scale: float = 4.0
    guidance_interval: tuple[float, float] = (0.3, 0.8)
    examples: tuple[str, ...] = ()
    most_latents: int | None = None

    def __post_init__(self) -> None:
        check_size(self.size, "the default size")
        check_size(self.latent_size, "the default latent_size")
        if not isinstance(self.num_inference_steps, Integral) or self.num_inference_steps < 1:
            raise InputError(
                f"the default num_inference_steps is {self.num_inference_steps!r}; "
                "it must be a whole number of at least 1"
            )
        check_guidance(self.guidance_scale, self.guidance_interval)
        if self.most_latents is not None and (not isinstance(self.most_latents, Integral) or self.most_latents < 1):
            raise InputError(
                f"the default most_latents is {self.most_latents!r}; it must be a whole number of at least 1"
            )

    def fill(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return arguments of a call, by name, with the defaults in place of None."""
        return {name: getattr(self, name) if given is None else given for name, given in arguments.items()}

    def shown(self, label_names: Sequence[str], count: int) -> list[str]:
        """Return at most `count` labels or texts to show a model of these labels by."""
        known = [one for one in self.examples if one in label_names or not label_names]
        return list(known or label_names)[:count]

    def on(self, canvas: Canvas) -> GenerationDefaults:
        """Return the defaults in the proportions of a canvas, for a model of many proportions."""
        return replace(self, size=in_proportion(self.size, canvas), latent_size=in_proportion(self.latent_size, canvas))

    @classmethod
    def of(cls, diffuser: R2ID, resampler: R2IR | None, stored: Mapping[str, Any] | None = None) -> GenerationDefaults:
        """Return the defaults stored with a model; missing values follow from its networks."""
        given = {name: value for name, value in (stored or {}).items() if value is not None}
        canvas = diffuser.config.canvas
        # Latents get the density of the resampler's training. A pyramid has no size of its own.
        has_own_size = resampler is not None and not resampler.is_pyramid
        latent_side = resampler.config.latent_size if has_own_size else diffuser.config.sample_size  # type: ignore[union-attr]
        latent_size = with_longer_side(latent_side, canvas or (1, 1))
        if resampler is not None and not has_own_size:
            grid = check_size(given.get("latent_size", latent_size), "the default latent_size")
            size: Any = with_longer_side(resampler.longer_side(grid, canvas), canvas or grid)
        elif canvas:
            size = tuple(canvas)
        else:
            size = (resampler.config.sample_size,) * 2 if resampler else (latent_side,) * 2
        return cls.from_json({"size": size, "latent_size": latent_size} | given)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> GenerationDefaults:
        """Return stored defaults, whose pairs may be lists."""
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(stored) - set(known)):
            raise InputError(f"generation_defaults has {unknown[0]!r}; choose from {', '.join(known)}")
        values: Any = {name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()}
        return cls(**values)
