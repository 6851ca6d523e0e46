"""Test images for a model."""

from __future__ import annotations

from r2id.data.dataset import ImageDataset
from r2id.data.loading import load_images
from r2id.diffusion.pipeline import R2Pipeline
from r2id.errors import InputError
from r2id.geometry.sizes import Size


def load_test_images(pipeline: R2Pipeline, data: str, split: str, size: Size | None) -> ImageDataset:
    """Load images with the channels, the background and by default the size of a pipeline's training."""
    if size is None and pipeline.diffuser.config.canvas is None:
        raise InputError("this model was trained on pictures of several sizes; give --image-size to measure it at one")
    size = size or pipeline.generation_defaults.size
    channels = pipeline.resampler.config.image_channels if pipeline.resampler else pipeline.diffuser.config.channels
    background = (pipeline.diffuser.config.training or {}).get("background", 0)
    return load_images(data, split, image_size=size, channels=channels, background=background)
