"""The figures of `r2id evaluate`: how true the reconstructions are, and whether generated digits are recognised."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from r2id.errors import InputError
from r2id.evaluation.classifier import load_classifier
from r2id.pipeline import R2Pipeline
from r2id.resampler import R2IR
from r2id.sizes import Size
from r2id.training.data import ImageDataset


@torch.inference_mode()
def measure_reconstruction(
    resampler: R2IR,
    data: ImageDataset,
    latent_size: Size,
    batch_size: int = 50,
    on_batch: Callable[[int], object] = int,
) -> float:
    """Mean squared error over all pixels of decode(encode(x, latent_size)) against x, images in [−1, 1].

    `on_batch` is called with the number of images after each batch.
    """
    size = (data.images.shape[-2], data.images.shape[-1])
    total = 0.0
    for indices in torch.arange(len(data)).split(batch_size):
        images = data.batch(indices).to(resampler.device)
        decoded = resampler.decode(resampler.encode(images, latent_size), size)
        total += (decoded - images).square().mean().item() * len(indices)
        on_batch(len(indices))
    return total / len(data)


@torch.inference_mode()
def measure_generation(
    pipeline: R2Pipeline,
    latent_size: Size,
    sizes: Sequence[Size],
    count: int,
    steps: int,
    guidance: float,
    seed: int,
    batch_size: int = 100,
    on_batch: Callable[[int], object] = int,
) -> dict[Size, float]:
    """Share of generated digits that the bundled classifier recognises as the label asked for, by output size.

    Picture number i is of label i mod 10 and drawn from seed + i; all sizes show the same pictures. The classifier
    sees each resized to 32×32, whatever its proportions. `on_batch` is called with the number of pictures after
    each batch.

    Raises:
        InputError: the model's labels are not the digits 0 to 9.
    """
    names = pipeline.conditioner.label_names
    if names != [str(digit) for digit in range(10)]:
        raise InputError(f"generation is judged by a classifier of digits; this model's labels are {', '.join(names)}")
    classifier = load_classifier()
    classifier.to(device=pipeline.device)  # type: ignore[call-arg]
    right = dict.fromkeys(sizes, 0)
    for numbers in torch.arange(count).split(batch_size):
        result = pipeline(
            [names[number % 10] for number in numbers.tolist()],
            latent_size=latent_size,
            size=list(sizes),
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=[torch.Generator().manual_seed(seed + number) for number in numbers.tolist()],
            output_type="pt",
        )
        wanted = (numbers % 10).to(classifier.device)
        for size, pictures in zip(sizes, result.images, strict=True):
            with torch.autocast(classifier.device.type, enabled=False):
                judged = classifier(pictures.float().mean(1, keepdim=True)).argmax(1)
            right[size] += int((judged == wanted).sum())
        on_batch(len(numbers))
    return {size: hits / count for size, hits in right.items()}
