"""Typed settings of trainings, which also define the command line.

This file imports neither torch nor diffusers, so that help is instant.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from r2id.geometry.sizes import Size


@dataclass(frozen=True)
class Training:
    """Settings that all trainings share."""

    data: str = "ylecun/mnist"
    """A folder of images, a folder of MNIST-style IDX files, or the id of a dataset on the Hugging Face hub."""
    output: Path = Path("runs/r2id")
    """Folder for checkpoints, logs and the trained model."""
    resume: bool = False
    """Continue from the newest checkpoint in the output folder."""
    split: str = "train"
    """Split of the data to train on."""
    background: int = 0
    """Grey level, 0 to 255, behind transparent pixels."""
    num_workers: int = 0
    """Threads that decode the pictures before the training begins; 0 for none beside the main one."""
    latent_sizes: tuple[Size, ...] = ((4, 4),)
    """Latent grids; every step draws one of them. The first sets latent_size of R2IR and noise_reference_size of R2ID,
    and of both the radius, one and a half of its cells. The trained model generates the median one by default."""
    steps: int = 24_000
    """Optimiser steps; the learning rate falls over all of them."""
    seconds: float | None = None
    """Seconds to train for in place of steps, with reading the data and compiling, and over all runs of a training that
    is resumed. The learning rate falls with the clock, so that no two such trainings are quite the same."""
    batch_size: int = 100
    """Images per step, over all processes together."""
    gradient_accumulation: int = 1
    """Parts that the batch of a step is computed in, one after another, which takes less memory."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """adamw, or muon for the matrices of attention and feed-forward and adamw for the rest, at the same learning
    rate."""
    learning_rate: float = 1e-3
    """Peak of the learning rate, reached after the warm-up."""
    final_learning_rate: float = 1e-5
    """Learning rate that the cosine decay ends at."""
    warmup_steps: int = 600
    """Steps of linear warm-up from 0."""
    weight_decay: float = 0.01
    """AdamW's decoupled weight decay."""
    beta2: float = 0.999
    """AdamW's decay of the second moment."""
    ema_decay: float = 0.999
    """Decay of the averaged weights, which are the ones that are kept."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Mixed precision: fp32 is float32 (on GPUs TensorFloat32), and so is bf16 on a device without units for it."""
    compile: bool = False
    """Run the network through torch.compile: some minutes at first, then faster steps."""
    shard: bool = False
    """Shard the weights, averages and optimiser state over the processes (FSDP), for networks that exceed one
    device."""
    seed: int = 0
    """Seed of the weights, the data order and all noise."""
    log_every: int = 50
    """Steps between TensorBoard scalars."""
    sample_every: int = 1000
    """Steps between TensorBoard pictures; 0 for none."""
    checkpoint_every: int = 1000
    """Steps between checkpoints; the last two are kept."""
    portable: bool = False
    """Write each checkpoint also as one file, checkpoint.safetensors in the output folder, of some 4.5 bytes a weight.
    In an output folder on another machine, resume goes on from it, closely but not exactly."""
    model: tuple[str, ...] = ()
    """Arguments of the network that differ from its defaults, as NAME=VALUE; replaces the preset's. The help lists the
    names with their defaults. With init_from, the arguments are those of the network there."""
    init_from: str | None = None
    """Bundled name, folder or hub id of a trained pipeline (or, for R2IR, of an R2IR alone) whose weights to go on
    from, in place of random ones."""


@dataclass(frozen=True)
class ImageTraining(Training):
    """Settings of trainings on whole images."""

    image_size: Size | None = (32, 32)
    """Height and width that every image is resized to, bicubic; none for the images' own sizes."""
    keep_proportions: bool = False
    """Resize every image to about as many pixels as image_size has, in its own proportions. A step takes images of one
    size, and latents in their proportions."""
    channels: Literal[1, 3] | None = None
    """1 for grey, 3 for RGB; by default what the data has."""
    caption_column: str | None = None
    """Column of the captions, by default text, caption or prompt; for training with a text encoder."""
    latent_jitter: float = 0.0
    """Standard deviation, in cells, by which rows and columns of the latents move from step to step."""


@dataclass(frozen=True)
class ResamplerTraining(ImageTraining):
    """Train R2IR to encode and decode images."""

    output: Path = Path("runs/resampler")
    """Folder for checkpoints, logs and the trained resampler."""
    latent_noise: float = 0.0
    """Standard deviation of the Gaussian noise added to the latent."""
    pixel_share: float = 1.0
    """Share of the rows, and of the columns, that a step decodes."""
    two_tone: float = 0.0
    """Weight, at the end, of the mean of 1 − c² over points between the pixels, which moves their colours c to black or
    white. Ink on paper is so, and pixels are means over its edges."""


@dataclass(frozen=True)
class PictureTraining(Training):
    """Train the pyramid form of R2IR on photographs and drawings of any size."""

    data: str = "photographs"
    """A folder of photographs, or the id of a dataset on the Hugging Face hub."""
    drawings: tuple[Path, ...] = ()
    """Packages of Iconify, as `npm pack` fetches them, or folders with their icons.json."""
    output: Path = Path("runs/resampler")
    """Folder for checkpoints, logs and the trained resampler."""
    num_workers: int = 0
    """Threads that decode photographs, and processes that render drawings, before the training begins; 0 for none
    beside the main one."""
    latent_sizes: tuple[Size, ...] = ((8, 8),)
    """Cells of a crop; every step draws one of these. Crops are square."""
    tile_size: int = 256
    """Side of the tiles that photographs are cut into, in pixels. Smaller photographs are left out."""
    drawing_size: int = 512
    """Side that drawings are rendered at, in pixels."""
    drawing_share: float = 0.125
    """Share of the steps that learn drawings."""
    latent_noise: float = 0.03
    """Largest standard deviation of the Gaussian noise added to the latents, as a share of their own."""
    squared_from: float = 0.5
    """Share of the training after which errors are squared; before, they are absolute."""


@dataclass(frozen=True)
class DiffuserTraining(ImageTraining):
    """Train R2ID to generate the latents of a trained R2IR, or pixels."""

    data: str = "ylecun/mnist"
    """A folder of images, a folder of MNIST-style IDX files, the id of a dataset on the Hugging Face hub, or a file or
    folder of latents that `r2id encode` wrote. image_size and latent_sizes are then those of the latents."""
    output: Path = Path("runs/diffuser")
    """Folder for checkpoints, logs and the trained pipeline."""
    resampler: str = "runs/resampler/resampler"
    """Folder or hub id of the R2IR whose latents to learn, or of a pipeline that has it; "none" to work straight on
    pixels, at latent_sizes."""
    label_dropout: float = 0.1
    """Share of the labels that are dropped, for classifier-free guidance."""
    num_tokens: int = 2
    """Conditioning tokens per label or text."""
    times: Literal["uniform", "logit-normal"] = "uniform"
    """Distribution of the levels of noise: uniform in the angle of the cosine schedule, or logit-normal, where the
    logarithm of the ratio of noise to signal is normal."""
    time_mean: float = 0.0
    """Mean of that logarithm, for logit-normal; above 0 there is more noise."""
    time_std: float = 1.0
    """Standard deviation of that logarithm, for logit-normal."""
    crop: Size | None = None
    """Height and width of the window of latents that a sample shows to learning, anywhere in a larger grid and with the
    coordinates that it has there; none for whole grids."""
    whole_share: float | None = None
    """With crop, share of the steps that learn grids which fit in the window as a whole; by default as many as there
    are."""
    picture_weight: float = 0.0
    """Weight of the error of the decoded pictures, beside that of the latents. It decodes a fourth of each batch."""
    flips: bool = False
    """Mirror half of the images and tell the network which, so that it generates pictures that are not mirrored.
    `r2id encode --mirrored` mirrors those of stored latents, without this setting."""
    text_encoder: str | None = None
    """To learn captions, not labels: "words" for the bundled word vectors under a small transformer that is trained
    along, or the folder or hub id of a frozen text encoder such as openai/clip-vit-base-patch32."""
