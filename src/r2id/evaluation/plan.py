"""Options of an evaluation, and the limits of its numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from r2id.diffusion.defaults import GenerationDefaults, sampling_options
from r2id.errors import InputError
from r2id.geometry.sizes import Size, scaled

Factors = tuple[tuple[float, float], ...]
LATENT_SIZES: Factors = ((0.5, 0.5), (1, 1), (1.75, 1.75))
SIZES: Factors = ((1, 1), (2, 2), (27 / 32, 18 / 32), (0.5, 0.5))
QUICK_LATENT_SIZES: Factors = ((1, 1),)
QUICK_SIZES: Factors = ((1, 1), (27 / 32, 18 / 32))
"""Default sizes, as multiples of the model's own height and width."""

MOST = {"consistency": 500}
"""Upper limits of images. Decoding at four times the size costs as much as twenty reconstructions."""

QUICK_MOST = {
    "limit": 100, "consistency": 25, "count": 100, "real": 1000, "denoising_error": 50, "judge_images": 500,
    "canvases": 8, "duplicates": 10,
}  # fmt: skip
"""Upper limits of images for a minute on two cores."""

LEAST = {
    "count": 0, "limit": 0, "denoising_error": 0, "num_inference_steps": 1, "judge_images": 1, "canvases": 0,
    "duplicates": 0,
}  # fmt: skip
"""Lower limits of numbers."""

COLOUR_COUNTS = {"canvases": 32, "duplicates": 60}
"""Numbers of colour pictures by default, beside generated ones."""

COLOUR_ONLY = ("judge_images", "canvases", "duplicates")
"""Numbers that mean nothing for digits, which have their own judge."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Options of `r2id evaluate`.

    Attributes:
        quick: apply the limits QUICK_MOST, and measure fewer sizes by default.
        count: pictures to generate at each latent size.
        limit: test images to reconstruct; None for all.
        denoising_error: test images for the denoising error.
        latent_size, size: sizes of the latents and the pictures, (height, width); by default LATENT_SIZES and SIZES
            times the model's own.
        seed: seed of the generated pictures and all noise.
        precision: "fp32" or, on devices that have it, "bf16" for generation and the denoising error.
        num_inference_steps, guidance_scale, guidance_interval: sampling options, by default the model's own.
        judge_images: most training images for the judge of colour pictures.
        canvases: outpainted pictures, joint samples and panoramas of a model of colour pictures; 0 for none, by default
            COLOUR_COUNTS, or none without generated pictures.
        duplicates: its pictures at each scale whose subjects are counted; as `canvases`.
        consistency, real: images for the agreement of sizes, and real images for comparison; None for all.
    Raises:
        InputError: a number is too small, or there is nothing to measure.
    """

    quick: bool = False
    count: int = 1000
    limit: int | None = None
    denoising_error: int = 512
    latent_size: tuple[Size, ...] = ()
    size: tuple[Size, ...] = ()
    seed: int = 0
    precision: str = "fp32"
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    guidance_interval: tuple[float, float] | None = None
    judge_images: int = 2000
    canvases: int | None = None
    duplicates: int | None = None
    consistency: int | None = None
    real: int | None = None

    def __post_init__(self) -> None:
        for name, least in LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"{name} is {value}; it must be at least {least}")
        measured = (self.count, self.limit is None or self.limit, self.denoising_error, self.canvases, self.duplicates)
        if not any(measured):
            raise InputError(
                "limit, count and denoising_error are all 0; at least one must be more, or for colour pictures "
                "canvases or duplicates"
            )

    def most(self, name: str) -> int:
        """Return the number `name`, or its upper limit if that is less."""
        given: int = getattr(self, name)
        return min(given, QUICK_MOST.get(name, given)) if self.quick else given

    def of(self, images: int, defaults: GenerationDefaults) -> Plan:
        """Return the plan with every number and size filled in, for this number of images and a model's defaults."""
        numbers: dict[str, Any] = dict.fromkeys(("limit", "consistency", "real", "denoising_error"), images)
        numbers |= {"count": self.count, "judge_images": self.judge_images}
        numbers |= {name: most if self.count else 0 for name, most in COLOUR_COUNTS.items()}
        numbers |= {name: given for name in COLOUR_COUNTS if (given := getattr(self, name)) is not None}
        for limits in (asdict(self), MOST, QUICK_MOST if self.quick else {}):
            numbers |= {name: min(n, limits[name]) for name, n in numbers.items() if limits.get(name) is not None}
        numbers["consistency"] = min(numbers["consistency"], numbers["limit"])
        numbers |= defaults.fill(sampling_options(self))
        latent_factors, factors = (QUICK_LATENT_SIZES, QUICK_SIZES) if self.quick else (LATENT_SIZES, SIZES)
        latent_sizes = self.latent_size or tuple(scaled(defaults.latent_size, factor) for factor in latent_factors)
        sizes = self.size or tuple(scaled(defaults.size, factor) for factor in factors)
        # A repeated size is measured once.
        return replace(
            self, latent_size=tuple(dict.fromkeys(latent_sizes)), size=tuple(dict.fromkeys(sizes)), **numbers
        )
