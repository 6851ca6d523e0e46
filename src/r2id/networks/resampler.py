"""R2IR, the resolution-invariant image resampler: image ↔ latent, any size ↔ any size (design §1.3)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor

from r2id.errors import InputError
from r2id.fields.cell_field import CellField
from r2id.fields.image_field import ImageField
from r2id.fields.splats import SplatField
from r2id.files.checksums import checksum
from r2id.geometry.canvas import LatentTensor, canvas_of, plain
from r2id.geometry.cells import Cells, Window, cells_of
from r2id.geometry.coordinates import Grid, Points, Samples
from r2id.geometry.fourier import FourierPositionEmbedding, Jitter, check_jitter
from r2id.geometry.sizes import Size, check_size, first_given, listed, size_text
from r2id.geometry.splats import Splats
from r2id.networks.attention import FeatureMap
from r2id.networks.forms import settings_of_form
from r2id.networks.lattices import POINTS, Pixels, regions_of
from r2id.networks.loading import CheckedLoading
from r2id.networks.local import LocalDecoder, LocalEncoder
from r2id.networks.published import GlobalDirection
from r2id.networks.pyramid import PyramidDecoder, PyramidEncoder, encode_decode
from r2id.networks.splats import SplatDecoder
from r2id.runtime.memory import CHUNK_PIXELS


class R2IR(CheckedLoading, ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Encoder and decoder between images and latents of any size. A latent is a small picture.

    Its values lie in (−1, 1), except those of the pyramid, which are not bounded.

    Args:
        image_channels: 1 for grey, 3 for RGB.
        latent_channels: channels of the latent; of splats, 6 + `image_channels` for each splat of a latent.
        attention: "local" for neighbourhoods of a fixed size (design §2), "global" for the published design. "pyramid",
            for photographs, has lattices of a canvas measured in cells (design §3). "splats" has the local encoder, and
            latents that are Gaussians, whose sum is the picture (design §6).
        feature_map: feature map of the global linear attention, "softmax" or "elu".
        dim, num_heads, num_blocks: channels, heads and transformer blocks of each direction.
        num_high, num_low: position frequencies π·2^k for k = −num_low … num_high − 1.
        jitter: jitter of the positions, half a pixel, or "none". "sampled" moves the samples in training. "expected"
            averages over the jitter in closed form, in training and after.
        sample_size: pixels along the longer side of the training images, their finest detail. A pyramid, whose pictures
            have no size of their own, uses neither this nor the next.
        latent_size: latents along the longer side for images of `sample_size`.
        radius, basis: reach of local attention in units of 1/latent_size, and its cosines per axis.
        value_dim: channels of an embedded pixel in the local encoder.
        pixel_dim, pixel_blocks: channels and feed-forward blocks of each pixel in the local decoder.
        widths: channels of the pyramid on its lattices of 8, 4, 2 and 1 points a cell.
        block_dim: most channels inside of its blocks.
        encoder_blocks, decoder_blocks: blocks of each direction of the pyramid on each of these lattices.
        read_channels, read_dim: channels that a decoded pixel of the pyramid reads, and that turn them into a colour.
        pixels_per_cell: pixels along a side of the pyramid's cell, for an image encoded without a latent size.
        training: record of the training, kept with the weights.
    """

    @register_to_config
    def __init__(
        self,
        image_channels: int = 1,
        latent_channels: int = 64,
        attention: Literal["local", "global", "pyramid", "splats"] = "local",
        feature_map: FeatureMap = "softmax",
        dim: int = 192,
        num_heads: int = 6,
        num_blocks: int = 4,
        num_high: int = 10,
        num_low: int = 6,
        jitter: Jitter = "expected",
        sample_size: int = 32,
        latent_size: int = 4,
        radius: float = 1.5,
        basis: int = 12,
        value_dim: int = 8,
        pixel_dim: int = 96,
        pixel_blocks: int = 2,
        widths: Sequence[int] = (32, 96, 192, 320),
        block_dim: int = 64,
        encoder_blocks: Sequence[int] = (1, 1, 2, 2),
        decoder_blocks: Sequence[int] = (2, 8, 6, 4),
        read_channels: int = 32,
        read_dim: int = 64,
        pixels_per_cell: float = 16,
        training: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        check_jitter(jitter)

        def position(reference: int, channels: int = dim) -> FourierPositionEmbedding:
            return FourierPositionEmbedding(channels, num_high, num_low, reference, jitter == "expected")

        shape = (dim, num_heads, num_blocks, feature_map)
        if attention == "global":
            self.encoder: Any = GlobalDirection(
                image_channels, latent_channels, *shape, position(sample_size), position(latent_size)
            )
            self.decoder: Any = GlobalDirection(
                latent_channels, image_channels, *shape, position(latent_size), position(sample_size)
            )
        elif attention in ("local", "splats"):
            kernel = (radius / latent_size, basis)
            self.encoder = LocalEncoder(
                image_channels, latent_channels, value_dim, *shape, *kernel, position(latent_size)
            )
        elif attention == "pyramid":
            self.encoder = PyramidEncoder(image_channels, latent_channels, widths, encoder_blocks, block_dim)
            self.decoder = PyramidDecoder(
                image_channels, latent_channels, widths, decoder_blocks, block_dim, read_channels, read_dim
            )
        else:
            names = "'local', 'global', 'pyramid' or 'splats'"
            raise ValueError(f"attention is {attention!r}; it must be {names}")
        if attention == "local":
            self.decoder = LocalDecoder(
                image_channels,
                latent_channels,
                *shape,
                *kernel,
                pixel_dim,
                pixel_blocks,
                position(latent_size),
                position(sample_size, pixel_dim),
            )
        elif attention == "splats":
            if jitter == "sampled":
                raise ValueError("jitter is 'sampled'; with splats it must be 'expected' or 'none'")
            self.decoder = SplatDecoder(image_channels, latent_channels, sample_size)
            self.decoder.spread(self.encoder.out[1])
        self.register_buffer("latent_mean", torch.zeros(latent_channels))
        self.register_buffer("latent_std", torch.ones(latent_channels))

    def register_to_config(self, **settings: Any) -> None:
        """Keep settings in the config, as diffusers does, without those of other forms."""
        form = settings.get("attention") or self.config.attention
        super().register_to_config(**settings_of_form({"attention": form} | settings))

    @apply_forward_hook
    def encode(
        self,
        image: Tensor,
        size: Size | Grid | None = None,
        canvas: tuple[float, float] | None = None,
        pixels_per_cell: float | None = None,
    ) -> Tensor:
        """Encode an image [B, C, H, W] in [−1, 1] to a latent [B, latent_channels, h, w] of `size` (h, w).

        Latents lie in even rows and columns, or on a grid given as `size`. `canvas` gives the proportions of the
        picture, by default those of H × W. Without gradients, large images are read in chunks of constant memory.

        Without a size, the pyramid makes one latent for each `pixels_per_cell` pixels along a side, so a larger picture
        has more latents. The canvas, in cells, travels with them.

        Raises InputError for other channels than the model's, an empty size, or a missing one that the form needs. A
        pyramid takes no `canvas`, and another form no `pixels_per_cell`.
        """
        if self.is_pyramid:
            if canvas is not None:
                raise InputError(
                    f"canvas is {canvas}; a pyramid takes the canvas from the picture and its cells, leave it out"
                )
            self.check_channels(image, self.config.image_channels, "an image")
            return self.encode_regions(regions_of(image), (image.shape[-2], image.shape[-1]), size, pixels_per_cell)
        if pixels_per_cell is not None:
            raise InputError(
                f"pixels_per_cell is {pixels_per_cell}; attention {self.config.attention!r} takes a latent size instead"
            )
        if size is None:
            raise InputError(f"no latent size is given, which attention {self.config.attention!r} needs")
        self.check_channels(image, self.config.image_channels, "an image")
        height, width = image_size = (image.shape[-2], image.shape[-1])
        if len(image) * height * width > CHUNK_PIXELS and not torch.is_grad_enabled():
            step = max(1, CHUNK_PIXELS // (len(image) * width))
            strips = (slice(top, top + step) for top in range(0, height, step))
            whole = slice(0, width)
            return self.encode_chunks(((rows, whole, image[:, :, rows]) for rows in strips), image_size, size, canvas)
        canvas = first_given(canvas, image_size)
        source = Grid.of_size(image_size, canvas, image.device)
        return self.encoder(image.movedim(1, -1), source, _latent_grid(size, canvas, image.device)).movedim(-1, 1)

    @apply_forward_hook
    def encode_chunks(
        self,
        chunks: Iterable[tuple[slice, slice, Tensor]],
        image_size: Size,
        size: Size | Grid,
        canvas: tuple[float, float] | None = None,
    ) -> Tensor:
        """Encode an image that comes in chunks and is never whole in memory.

        Args:
            chunks: rows, columns and pixels [B, C, h, w] of parts that cover the image once, in any order. Memory is
                proportional to the pixels of a chunk.
            image_size: (height, width) of the whole image.
            size, canvas: as for `encode`.
        Raises:
            InputError: for other channels than the model's, an empty size, no chunks, or a pyramid, which asks for the
                regions that it needs (`encode_regions`).
        """
        if self.is_pyramid:
            raise InputError("a pyramid takes no chunks in any order; give encode_regions the regions that it asks for")
        canvas = first_given(canvas, image_size)
        source = query = summaries = None
        for rows, columns, pixels in chunks:
            self.check_channels(pixels, self.config.image_channels, "a chunk")
            if source is None or query is None:
                source = Grid.of_size(image_size, canvas, pixels.device)
                query = _latent_grid(size, canvas, pixels.device)
            more = self.encoder.summarise_chunk(pixels.movedim(1, -1), source.crop(rows, columns), query)
            summaries = [one + other for one, other in zip(summaries, more, strict=True)] if summaries else more
        if summaries is None or query is None:
            raise InputError(f"no chunks given of an image of {size_text(image_size)}")
        return self.encoder.answer(summaries, query).movedim(-1, 1)

    @apply_forward_hook
    def encode_regions(
        self, pixels: Pixels, image_size: Size, size: Size | Grid | None = None, pixels_per_cell: float | None = None
    ) -> Tensor:
        """`encode` of an image that is read region by region and never lies in memory as a whole, by a pyramid.

        Args:
            pixels: gives the pixels [B, C, h, w] in [−1, 1] of a region (top, left, bottom, right).
            image_size: (height, width) of the whole image.
            size, pixels_per_cell: as for `encode`.
        Raises:
            InputError: for an empty size, both a size and `pixels_per_cell`, or a model that is no pyramid.
        """
        self._check_pyramid()
        cells = self._cells(check_size(image_size), size, pixels_per_cell)
        return LatentTensor.of(self.encoder.encode_cells(pixels, image_size, cells).movedim(-1, 1), cells)

    @apply_forward_hook
    def encode_points(self, colours: Tensor, points: Points, size: Size) -> Tensor:
        """Encode colours [B, N, C] at arbitrary points of a canvas, in any order. Raises InputError for an empty
        size."""
        if self.is_pyramid:
            latent = self.encoder.encode_scattered(colours, points, check_size(size)).movedim(-1, 1)
            return LatentTensor.of(latent, (float(size[0]), float(size[1])))
        canvas = points.extent
        return self.encoder(colours, points, Grid.of_size(check_size(size), canvas, colours.device)).movedim(-1, 1)

    @apply_forward_hook
    def field(
        self, latent: Tensor, canvas: tuple[float, float] | None = None, grid: Grid | None = None
    ) -> ImageField | CellField | SplatField:
        """Return the latent [B, latent_channels, h, w] as a function of coordinates.

        `canvas` is that of the latent's picture, as of a `LatentTensor`, by default what the latent carries, or else
        h × w. `grid` has the places of the latents, by default even rows and columns of the canvas. Raises InputError
        for other channels than the model's, or a grid for a pyramid.
        """
        self.check_channels(latent, self.config.latent_channels, "a latent")
        canvas, latent = listed(first_given(canvas, canvas_of(latent))), plain(latent)
        if self.is_pyramid:
            if grid is not None:
                raise InputError("a grid is given; the latents of a pyramid lie in even rows and columns, leave it out")
            values = latent.movedim(1, -1)
            whole = Window(0, 0, latent.shape[-2], latent.shape[-1])
            return self._cell_field(lambda window: whole.crop(values, window, 1), cells_of(whole.size, canvas))
        source = grid or Grid.of_size((latent.shape[-2], latent.shape[-1]), canvas, latent.device)
        if self.has_splats:
            return self.decoder.field(latent.movedim(1, -1), source)
        return ImageField(
            self.decoder, latent.movedim(1, -1), source, self.config.sample_size, self.config.image_channels
        )

    def splats(self, latent: Tensor, canvas: tuple[float, float] | None = None) -> Splats:
        """Return the splats of a latent [B, latent_channels, h, w], which `files.splats` writes.

        `canvas` is as for `field`. Raises InputError for other channels than the model's, or a model without splats.
        """
        if not self.has_splats:
            raise InputError(f"attention is {self.config.attention!r}; only the latents of 'splats' are splats")
        return self.field(latent, canvas).splats  # type: ignore[union-attr]

    @apply_forward_hook
    def field_of(self, image: Tensor | Pixels, size: Size, pixels_per_cell: float = 4) -> CellField:
        """A picture as a function of coordinates, encoded where it is asked and kept nowhere.

        Args:
            image: [1, C, H, W] in [−1, 1]; or a function that gives the pixels of a region, as of a huge file.
            size: (H, W) of the image.
            pixels_per_cell: pixels a cell, along a side; fewer keep more detail.
        Raises:
            InputError: for a model that is no pyramid.
        """
        self._check_pyramid()
        pixels = regions_of(image) if isinstance(image, Tensor) else image
        cells = self._cells(size, None, pixels_per_cell)
        return self._cell_field(lambda window: self.encoder.encode_window(pixels, size, cells, window), cells)

    def decode(self, latent: Tensor, size: Size, canvas: tuple[float, float] | None = None) -> Tensor:
        """Decode a latent [B, latent_channels, h, w] to an image [B, C, H, W] in (−1, 1) of `size` (H, W).

        `canvas` gives the proportions of the latent's picture, by default those that the latent carries, or else those
        of H × W. Other proportions of `size` stretch the picture, as resizing does. Raises InputError for other
        channels than the model's or an empty size.
        """
        return self.field(latent, first_given(canvas, canvas_of(latent), check_size(size))).render(size)

    @property
    def is_pyramid(self) -> bool:
        """Whether this is the form that measures a canvas in cells, and reads pictures region by region."""
        return self.config.attention == "pyramid"

    @property
    def has_splats(self) -> bool:
        """Whether this is the form whose latents are Gaussians."""
        return self.config.attention == "splats"

    def longer_side(self, latent_size: Size, canvas: tuple[float, float] | None = None) -> int:
        """Return the pixels along the longer side of a picture that is as dense in latents (h, w) as in training.

        A pyramid's cell has `pixels_per_cell`, any other canvas has `sample_size`.
        """
        if self.is_pyramid:
            return max(1, round(max(cells_of(latent_size, canvas)) * self.config.pixels_per_cell))
        return self.config.sample_size

    @property
    def features(self) -> int:
        """Numbers held for each latent while it is encoded; a pyramid works in blocks and holds the latent alone."""
        return self.config.latent_channels if self.is_pyramid else 4 * self.config.dim

    def checksum(self) -> int:
        """Return a checksum of the weights, which files of latents keep."""
        return checksum(self.parameters())

    def described(self, name: str) -> dict[str, Any]:
        """Return what `of_description` builds this R2IR from, if its weights are bundled under that name."""
        mean, std = (statistic.tolist() for statistic in (self.latent_mean, self.latent_std))
        return {"model": name, "checksum": self.checksum(), "mean": mean, "std": std}

    @classmethod
    def of_description(cls, description: Mapping[str, Any], dtype: torch.dtype | None = None) -> R2IR:
        """Load the R2IR that `described` tells of, with weights in `dtype`. Raises InputError if the weights of that
        name are others now."""
        resampler = cls.from_pretrained(description["model"])
        if resampler.checksum() != description["checksum"]:
            raise InputError(
                f"the weights {description['model']} are not those that this model learnt the latents of; "
                "take the version of r2id that it came with"
            )
        resampler.latent_mean.copy_(torch.tensor(description["mean"]))
        resampler.latent_std.copy_(torch.tensor(description["std"]))
        # diffusers would warn of modules that stay in float32, of which this has none.
        return resampler if dtype in (None, resampler.dtype) else torch.nn.Module.to(resampler, dtype)

    def take_statistics(self, other: R2IR) -> None:
        """Standardise latents as another R2IR does."""
        self.latent_mean.copy_(other.latent_mean)
        self.latent_std.copy_(other.latent_std)

    @apply_forward_hook
    def standardise(self, latent: Tensor) -> Tensor:
        """Return the latent as R2ID sees it, with mean 0 and mean variance 1 over its training set.

        Every channel has standard deviation 1, or in a pyramid one by its share of the picture
        (`training.latent_statistics`).
        """
        return (latent - self.latent_mean[:, None, None]) / self.latent_std[:, None, None]

    @apply_forward_hook
    def destandardise(self, latent: Tensor) -> Tensor:
        """Invert `standardise`, and clamp to the range of the encoder where it has one."""
        values = latent * self.latent_std[:, None, None] + self.latent_mean[:, None, None]
        return values if self.is_pyramid else values.clamp(-1, 1)

    def forward(
        self,
        image: Tensor,
        latent_size: Size | Grid,
        query: Grid | None = None,
        latent_noise: Tensor | None = None,
    ) -> Tensor:
        """Run a training pass: encode, add noise, decode some pixels.

        Args:
            image: [B, C, H, W] in [−1, 1].
            latent_size: (h, w) to encode to, or the grid of latents.
            query: pixels to decode, by default the image's own.
            latent_noise: [B, latent_channels, h, w], added to the latent; none by default.
        Returns:
            [B, C, rows, columns], the pixels of the query.
        """
        size = (image.shape[-2], image.shape[-1])
        pixels = Grid.of_size(size, device=image.device)
        answers = query or pixels
        if self.is_pyramid:
            cells = self._cells(size, latent_size, None)
            return encode_decode(self.encoder, self.decoder, image, cells, answers, latent_noise)
        latents = _latent_grid(latent_size, size, image.device)
        if self.config.attention == "global":
            # Values are a list, in the order of the points.
            decoded = self._encode_decode(
                image.flatten(2).mT,
                self._scattered(pixels),
                self._scattered(latents),
                self._scattered(answers),
                None if latent_noise is None else latent_noise.flatten(2).mT,
            )
            return decoded.unflatten(1, answers.size).movedim(-1, 1)
        if self.training and self.config.jitter == "sampled":
            pixels, answers = pixels.jittered(), answers.jittered()
        noise = None if latent_noise is None else latent_noise.movedim(1, -1)
        return self._encode_decode(image.movedim(1, -1), pixels, latents, answers, noise).movedim(-1, 1)

    def _encode_decode(
        self, values: Tensor, pixels: Samples, latents: Samples, answers: Samples, latent_noise: Tensor | None
    ) -> Tensor:
        latent = self.encoder(values, pixels, latents)
        if latent_noise is not None:
            latent = latent + latent_noise
        return self.decoder(latent, latents, answers)

    def _check_pyramid(self) -> None:
        if not self.is_pyramid:
            raise InputError(f"attention is {self.config.attention!r}; only a pyramid reads a picture region by region")

    def _cells(self, size: Size, latents: Size | Grid | None, pixels_per_cell: float | None) -> Cells:
        """The canvas in cells: as many as there are latents, or else one for every so many pixels."""
        if latents is not None and pixels_per_cell is not None:
            raise InputError(f"a latent size and pixels_per_cell {pixels_per_cell} are given; give one of them")
        if latents is not None:
            height, width = latents.size if isinstance(latents, Grid) else check_size(latents, "the latent size")
            return float(height), float(width)
        side = self.config.pixels_per_cell if pixels_per_cell is None else pixels_per_cell
        if not 0 < side < math.inf:
            raise InputError(f"pixels_per_cell is {side}; it must be a number above 0")
        return size[0] / side, size[1] / side

    def _cell_field(self, latents_of: Callable[[Window], Tensor], cells: Cells) -> CellField:
        return CellField(self.decoder, latents_of, cells, self.config.image_channels, POINTS, self.device)

    def _scattered(self, grid: Grid) -> Points:
        points = grid.points()
        return points.jittered() if self.training and self.config.jitter == "sampled" else points

    @staticmethod
    def check_channels(tensor: Tensor, channels: int, name: str) -> None:
        """Raise InputError unless a tensor is [B, channels, h, w]; `name` says in the error what it is."""
        if tensor.ndim != 4 or tensor.shape[1] != channels:
            raise InputError(
                f"{name} of shape {tuple(tensor.shape)} does not fit this model; "
                f"it takes [batch, {channels}, height, width]"
            )


def _latent_grid(size: Size | Grid, canvas: tuple[float, float], device: torch.device) -> Grid:
    return size if isinstance(size, Grid) else Grid.of_size(check_size(size, "the latent size"), canvas, device)
