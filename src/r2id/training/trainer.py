"""The training loop, the same for both networks, and the two ways into it."""

from __future__ import annotations

import ast
import math
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from diffusers.training_utils import EMAModel
from diffusers.utils import make_image_grid
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from tqdm import tqdm

from r2id.card import keep_card
from r2id.conditioning import LabelConditioner, TextConditioner, load_text_encoder
from r2id.diffuser import R2ID
from r2id.errors import InputError
from r2id.files import clear_leftovers, replace_folder
from r2id.layers import EncoderBlock, SelfBlock
from r2id.locks import alone
from r2id.model import checksum, load_part
from r2id.pipeline import R2Pipeline, as_output
from r2id.precision import REPLACED, autocast, usable_precision
from r2id.processes import Share
from r2id.resampler import R2IR
from r2id.sizes import Size, check_size, in_proportion
from r2id.training.captions import Captions, labelled_by_captions
from r2id.training.checkpoints import Checkpoints, whole
from r2id.training.data import ImageDataset, load_sizes
from r2id.training.objectives import DiffusionObjective, Objective, ReconstructionObjective
from r2id.training.presets import DiffuserTraining, ResamplerTraining, Training

RANGES: tuple[tuple[tuple[str, ...], float, float], ...] = (
    (("steps", "batch_size", "log_every", "checkpoint_every", "num_tokens"), 1, math.inf),
    (("warmup_steps", "sample_every", "seed"), 0, 2**62),
    (
        ("learning_rate", "final_learning_rate", "weight_decay", "gradient_clip", "latent_noise", "latent_jitter"),
        0,
        math.inf,
    ),
    (("beta2", "ema_decay", "label_dropout", "pixel_share"), 0, 1),
)
"""Names of settings, and the least and the most that they may be."""


def train_resampler(config: ResamplerTraining) -> Path:
    """Train R2IR; returns the folder it was saved to, `config.output`/resampler.

    Raises InputError for data, settings or checkpoints that cannot be used.
    """
    data = _load_data(config)
    channels = data[0].images.shape[1]
    torch.manual_seed(config.seed)
    if config.start_from:
        resampler = _load_resampler(config.start_from, channels)
    else:
        resampler = _build(
            R2IR,
            {
                "image_channels": channels,
                "sample_size": max(max(one.images.shape[-2:]) for one in data),
                "latent_size": max(config.latent_sizes[0]),
            }
            | network_arguments(config.model),
        )
    objective = ReconstructionObjective(resampler, config.latent_noise, config.pixel_share, config.latent_jitter)

    def save(record: dict[str, Any]) -> Path:
        measure_latents(resampler, config, data)
        resampler.register_to_config(training=record)
        return replace_folder(config.output / "resampler", resampler.save_pretrained)

    return train(config, objective, resampler, data, save)


def train_diffuser(config: DiffuserTraining) -> Path:
    """Train R2ID and its conditioner; returns the folder of the whole pipeline, `config.output`/pipeline.

    Raises InputError for data, settings, a resampler, a text encoder or checkpoints that cannot be used.
    """
    data = _load_data(config)
    channels, resampler = data[0].images.shape[1], None
    if config.resampler == "none" and config.latent_jitter:
        raise InputError(f"latent_jitter is {config.latent_jitter}; pixels cannot move, so without a resampler it is 0")
    if config.resampler != "none":
        resampler = _load_resampler(config.resampler, channels)
        channels = resampler.config.latent_channels
    canvas = tuple(data[0].images.shape[-2:]) if len(data) == 1 else None
    torch.manual_seed(config.seed)
    start = R2Pipeline.from_pretrained(config.start_from) if config.start_from else None
    if start:
        diffuser = start.diffuser
        diffuser.register_to_config(canvas=canvas)
        if diffuser.config.channels != channels:
            raise InputError(
                f"the diffuser of {config.start_from} takes {diffuser.config.channels} channels and what it would "
                f"learn has {channels}; give the resampler that it was trained with"
            )
    else:
        diffuser = _build(
            R2ID,
            {
                "channels": channels,
                "sample_size": max(max(size) for one in data for size in latent_sizes(config, data, one)),
                "canvas": canvas,
                "noise_reference_size": max(config.latent_sizes[0]),
                "radius": 1.5 / max(config.latent_sizes[0]),
            }
            | network_arguments(config.model),
        )
    captions = None
    if config.text_encoder:
        tokenizer, encoder = load_text_encoder(config.text_encoder)
        texts = _conditioner(start, config.num_tokens, diffuser, TextConditioner, text_dim=encoder.config.hidden_size)
        pipeline = R2Pipeline(diffuser, texts, resampler, text_encoder=encoder, tokenizer=tokenizer)
        process = PartialState()
        captions = Captions(
            texts, tokenizer, encoder.to(process.device), data[0].label_names, process.is_local_main_process
        )
    else:
        labels = _conditioner(start, config.num_tokens, diffuser, LabelConditioner, label_names=data[0].label_names)
        pipeline = R2Pipeline(diffuser, labels, resampler)
    objective = DiffusionObjective(pipeline, config.label_dropout, config.latent_jitter, captions)

    def save(record: dict[str, Any]) -> Path:
        diffuser.register_to_config(training=record)

        def write(folder: Path) -> None:
            pipeline.save_pretrained(folder)
            keep_card(config.output / "pipeline", folder)

        return replace_folder(config.output / "pipeline", write)

    return train(config, objective, diffuser, data, save)


def train(
    config: Training,
    objective: Objective,
    network: R2IR | R2ID,
    data: Sequence[ImageDataset],
    save: Callable[[dict[str, Any]], Path],
) -> Path:
    """Minimise the objective, with checkpoints, logs and averaged weights.

    All randomness of a step, and its images, follow from the seed and the step's number, so a resumed run continues
    exactly where it was. Interrupting (Ctrl-C) lets the step finish and writes a checkpoint. While one training runs,
    no other may have its output folder; what a killed one left there unfinished is removed.

    Args:
        config: settings.
        objective: module from images, labels and a latent grid to a loss; what it trains requires gradients.
        network: the part of the objective that `config.compile` compiles; its arguments may not change on resuming.
        data: the images, with labels; of several sizes, a data set for each.
        save: called with the record of the training once it is done and the averaged weights are in place.
    Returns:
        what `save` returns.
    """
    # Accelerate's own would be that of the first training in a process, and bfloat16 on any device.
    accelerator = Accelerator(
        mixed_precision="no",
        log_with="tensorboard",
        project_dir=config.output,
        step_scheduler_with_optimizer=False,
    )
    if config.batch_size % accelerator.num_processes:
        raise InputError(
            f"batch_size is {config.batch_size}; it must be a multiple of the {accelerator.num_processes} processes"
        )
    if config.shard and accelerator.num_processes == 1:
        raise InputError("shard is on and there is one process; start several, as with accelerate launch")
    taken = f"another training is running in {config.output}; wait until it ends, or give another output folder"
    if usable_precision(config.precision, accelerator.device) != config.precision and accelerator.is_main_process:
        print(f"r2id: {REPLACED}", file=sys.stderr)
    lock = alone(config.output / ".training.lock", taken) if accelerator.is_main_process else nullcontext(False)
    with lock as is_alone:
        if is_alone:
            clear_leftovers(config.output)
            clear_leftovers(config.output / "checkpoints")
        return _train(config, objective, network, data, save, accelerator)


def _train(
    config: Training,
    objective: Any,
    network: R2IR | R2ID,
    data: Sequence[ImageDataset],
    save: Callable[[dict[str, Any]], Path],
    accelerator: Accelerator,
) -> Path:
    checkpoints = Checkpoints(config.output / "checkpoints")
    frozen = [parameter for parameter in objective.parameters() if not parameter.requires_grad]
    settings = _plain(asdict(config)) | {
        "data_checksum": checksum(values for one in data for values in (one.images, one.labels) if values is not None),
        "frozen_weights_checksum": checksum(frozen),
    }
    # Arguments also follow from other settings, such as the reach of R2IR from its first latent size.
    arguments = {f"network {name}": value for name, value in _plain(dict(network.config)).items() if name[0] != "_"}
    start, elapsed = checkpoints.begin(settings | arguments, config.resume)
    if start > config.steps:
        raise InputError(f"the newest checkpoint is of step {start}; steps is {config.steps} and must be at least that")
    accelerator.init_trackers("logs")
    if config.shard:
        shard(objective, accelerator.device.type, accelerator.num_processes)
    parameters = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=config.learning_rate, betas=(0.9, config.beta2), weight_decay=config.weight_decay
    )
    average = EMAModel(parameters, decay=config.ema_decay, foreach=not config.shard)
    objective.train()
    share = objective.share = Share(accelerator.process_index, accelerator.num_processes)
    if config.compile:
        check_compiler(accelerator.device)
        if accelerator.is_main_process:
            print(
                "r2id: the first steps at other latent grids compile the network, for a minute or more", file=sys.stderr
            )
        compile_network(network)
    if config.shard:
        optimizer = accelerator.prepare(optimizer)
    else:
        objective, optimizer = accelerator.prepare(objective, optimizer)
    average.to(accelerator.device)
    if start:
        checkpoints.load(start, parameters, average.shadow_params, optimizer)
        average.optimization_step = start

    def checkpoint(step: int) -> None:
        seconds = elapsed + time.monotonic() - began
        state = (parameters, average.shadow_params, optimizer)
        checkpoints.save(step, seconds, settings | arguments, *state, accelerator.is_main_process)

    began = time.monotonic()
    progress = tqdm(
        total=config.steps,
        initial=start,
        desc="training",
        unit="step",
        disable=not accelerator.is_main_process,
        smoothing=0.05,
    )
    with progress, stop_requests() as stop:
        for step in range(start, config.steps):
            rate = learning_rate(config, step)
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss, norm = _step(config, step, objective, optimizer, accelerator, data, share)
            average.step(parameters)

            progress.update()
            done = step + 1
            stopping = _in_any_process(stop.is_set(), accelerator)
            stored = stopping or done % config.checkpoint_every == 0 or done == config.steps
            if stored or done % config.log_every == 0:
                loss = accelerator.gather(loss.detach()).mean().item()
                if not (math.isfinite(loss) and math.isfinite(norm.item())):
                    raise InputError(
                        f"the loss is {loss} and its gradient {norm.item()} at step {done}; "
                        f"lower the learning rate, {config.learning_rate}"
                    )
                images_per_second = config.batch_size * (done - start) / (time.monotonic() - began)
                progress.set_postfix(loss=f"{loss:.4f}", images_per_second=f"{images_per_second:.0f}")
                accelerator.log(
                    {
                        "loss": loss,
                        "learning rate": rate,
                        "gradient norm": norm.item(),
                        "images per second": images_per_second,
                    },
                    step=done,
                )
            if config.sample_every and done % config.sample_every == 0:
                average.store(parameters)
                average.copy_to(parameters)
                # Where weights are spread, a block gathers its own from all processes: all of them draw the pictures.
                if accelerator.is_main_process or config.shard:
                    with outer_weights(objective), torch.compiler.set_stance("force_eager"):
                        _log_preview(accelerator, objective, data[0], latent_sizes(config, data, data[0]), done)
                average.restore(parameters)
            if stored:
                checkpoint(done)
            if stopping:
                progress.close()
                _end(accelerator)
                raise KeyboardInterrupt(f"stopped after step {done}; continue with --resume")
    progress.close()
    average.copy_to(parameters)
    objective.eval()
    record = settings | {
        "precision": usable_precision(config.precision, accelerator.device),
        "data": data[0].source,
        "seconds": round(elapsed + time.monotonic() - began),
        "machine": describe_machine(accelerator),
    }
    for name in ("output", "resume", "resampler", "shard", "start_from"):
        record.pop(name, None)
    if config.start_from:
        # What matters of a start is how its weights came about, not where they lay; the arguments are in the config.
        record |= {"model": [], "started_from": network.config.training}
    if config.shard:
        gather_weights(objective)
    folder = save(record) if accelerator.is_main_process else config.output
    _end(accelerator)
    return folder


def _in_any_process(here: bool, accelerator: Accelerator) -> bool:
    """Whether something is so in any process, as it is or is not here.

    One process alone does not wait for its GPU, which would idle until the next step.
    """
    if accelerator.num_processes == 1:
        return here
    return bool(accelerator.gather(torch.tensor([here], device=accelerator.device)).any())


def _end(accelerator: Accelerator) -> None:
    """Close the log and leave the process group.

    Gloo's threads free the tensors of the last gather a little after it, and need Python's lock to do so; the process
    group's destructor waits for those threads with the lock held (pytorch issue 56297), so it may only run once they
    are done. They are when all processes have met, for one waits there without the lock.
    """
    accelerator.wait_for_everyone()
    accelerator.end_training()


@contextmanager
def stop_requests() -> Iterator[threading.Event]:
    """An event that Ctrl-C (SIGINT) or SIGTERM sets, so that a step is whole before the training stops.

    A second signal ends it at once.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: object) -> None:
        number = signal.Signals(number)
        stop.set()
        # Not by print: the signal may have come in the middle of one.
        os.write(2, b"\nr2id: stopping after this step; once more to stop at once\n")
        signal.signal(number, before[number])

    for number in before:
        signal.signal(number, note)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _step(
    config: Training,
    step: int,
    objective: Any,
    optimizer: Any,
    accelerator: Accelerator,
    data: Sequence[ImageDataset],
    share: Share,
) -> tuple[Tensor, Tensor]:
    """One optimiser step on this process's share of the batch: its loss, and the norm of the gradient."""
    some = data[size_index([len(one) for one in data], step, config.seed)]
    indices = share.take(batch_indices(len(some), config.batch_size, step, config.seed))
    torch.manual_seed(_mix(config.seed, step))
    sizes = latent_sizes(config, data, some)
    latent_size = sizes[int(torch.randint(len(sizes), ()))]
    assert some.labels is not None
    device = accelerator.device
    images, labels = (
        part.to(device, non_blocking=device.type == "cuda") for part in (some.batch(indices), some.labels[indices])
    )
    with autocast(config.precision, accelerator.device):
        loss = objective(images, labels, latent_size)
    optimizer.zero_grad()
    accelerator.backward(loss)
    norm = accelerator.clip_grad_norm_(objective.parameters(), config.gradient_clip)
    optimizer.step()
    return loss, whole(torch.as_tensor(norm))


def shard(objective: nn.Module, device_type: str, processes: int) -> None:
    """Spread the weights over the processes. A block's come together while it computes, what is outside of blocks for
    all of a step."""
    mesh = init_device_mesh(device_type, (processes,))
    for module in list(objective.modules()):
        # Blocks that are read by parts, those of the published R2IR, would not see their weights come together.
        if isinstance(module, (EncoderBlock, SelfBlock)):
            fully_shard(module, mesh=mesh)
    fully_shard(objective, mesh=mesh)


@contextmanager
def outer_weights(objective: Any) -> Iterator[None]:
    """Every process has the weights outside of blocks for a while, where they are spread over the processes."""
    if not isinstance(objective, FSDPModule):
        yield
        return
    objective.unshard()
    yield
    objective.reshard()


def gather_weights(objective: nn.Module) -> None:
    """Give every process all of the weights for good."""
    for module in objective.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if isinstance(parameter, DTensor):
                setattr(module, name, nn.Parameter(whole(parameter), parameter.requires_grad))
        if isinstance(module, FSDPModule):
            # Its hooks would wait for the other processes, to gather what is here by now.
            module._forward_pre_hooks.clear()  # type: ignore[attr-defined]
            module._forward_hooks.clear()  # type: ignore[attr-defined]


def learning_rate(config: Training, step: int) -> float:
    """Linear warm-up from 0, then a cosine from `learning_rate` to `final_learning_rate` at the last step."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    share = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    falling = 0.5 * (1 + math.cos(math.pi * share))
    return config.final_learning_rate + falling * (config.learning_rate - config.final_learning_rate)


def size_index(counts: Sequence[int], step: int, seed: int) -> int:
    """Which of several data sets step `step` takes all its images from: each as often as its share of the images."""
    generator = torch.Generator().manual_seed(_mix(seed, step, len(counts)))
    return int(torch.multinomial(torch.tensor(counts, dtype=torch.float64), 1, generator=generator))


def latent_sizes(config: Training, data: Sequence[ImageDataset], some: ImageDataset) -> tuple[Size, ...]:
    """The latent grids for some of the data: as they are set or, for images of several sizes, in the proportions of
    these images."""
    if len(data) == 1:
        return config.latent_sizes
    return tuple(in_proportion(size, (some.images.shape[-2], some.images.shape[-1])) for size in config.latent_sizes)


def batch_indices(count: int, batch_size: int, step: int, seed: int) -> Tensor:
    """Which images step `step` sees: consecutive pieces of one random order per epoch, [batch_size]."""
    first = step * batch_size
    pieces = []
    while first < (step + 1) * batch_size:
        epoch, offset = divmod(first, count)
        order = _epoch_order(count, epoch, seed)
        pieces.append(order[offset : offset + (step + 1) * batch_size - first])
        first += len(pieces[-1])
    return torch.cat(pieces)


@lru_cache(maxsize=2)
def _epoch_order(count: int, epoch: int, seed: int) -> Tensor:
    """All images in random order, [count]. A step takes from one epoch or two, and orders of millions are large."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(_mix(seed, epoch)))


def _mix(*numbers: int) -> int:
    """One seed out of several numbers, so that neighbouring steps share no random numbers."""
    mixed = 0
    for number in numbers:
        mixed = (mixed * 6364136223846793005 + number * 1442695040888963407 + 1) % 2**63
    return mixed


@torch.no_grad()
def measure_latents(resampler: R2IR, config: Training, data: Sequence[ImageDataset], count: int = 2000) -> None:
    """Store the mean and standard deviation of every latent channel, over images and latent grids, in the resampler."""
    moments, shares = [], []
    for some in data:
        share = len(some) / sum(map(len, data))
        images = some.batch(_spread_over(some, math.ceil(count * share)))
        for size in dict.fromkeys(latent_sizes(config, data, some)):
            batches = images.to(resampler.device).split(100)
            values = torch.cat([resampler.encode(batch, size).movedim(1, 0).flatten(1) for batch in batches], dim=1)
            moments.append(torch.stack([values.mean(1), values.square().mean(1)]))
            shares.append(share)
    # Every grid counts the same, however many samples it has.
    weights = torch.tensor(shares, device=resampler.device)[:, None, None]
    mean, square = (torch.stack(moments) * weights).sum(0) / weights.sum()
    resampler.latent_mean.copy_(mean)
    resampler.latent_std.copy_((square - mean.square()).clamp_min(1e-6).sqrt())


def _spread_over(data: ImageDataset, count: int) -> Tensor:
    """Indices of `count` images, evenly spaced: data that is sorted by label shows all of them."""
    return torch.linspace(0, len(data) - 1, min(count, len(data))).long()


def _log_preview(
    accelerator: Accelerator, objective: Any, data: ImageDataset, sizes: tuple[Size, ...], step: int
) -> None:
    """Pictures of what has been learnt, at each latent grid, to TensorBoard."""
    module = accelerator.unwrap_model(objective).eval()
    assert data.labels is not None
    shown = _spread_over(data, 10)
    images, names = data.batch(shown).to(accelerator.device), [data.label_names[index] for index in data.labels[shown]]
    for height, width in dict.fromkeys(sizes):
        pictures = as_output(module.preview(images, names, (height, width)), "pil")
        grid = make_image_grid(pictures, rows=len(pictures) // len(images), cols=len(images)).convert("RGB")
        array = torch.frombuffer(bytearray(grid.tobytes()), dtype=torch.uint8).view(1, grid.height, grid.width, 3)
        if accelerator.is_main_process:
            accelerator.get_tracker("tensorboard").log_images(
                {f"latents {height}x{width}": array.numpy()}, step, dataformats="NHWC"
            )
    module.train()


def _load_data(config: Training) -> list[ImageDataset]:
    """The images, with labels: a data set for each size."""
    if not config.latent_sizes:
        raise InputError("latent_sizes is empty; it must name at least one HxW")
    for size in config.latent_sizes:
        check_size(size, "latent_sizes")
    for names, least, most in RANGES:
        for name in names:
            if not least <= getattr(config, name, least) <= most:
                accepted = f"from {least} to {most}" if most < math.inf else f"at least {least}"
                raise InputError(f"{name} is {getattr(config, name)}; it must be {accepted}")
    data = load_sizes(
        config.data,
        config.split,
        image_size=config.image_size,
        keep_proportions=config.keep_proportions,
        channels=config.channels,
        background=config.background,
        caption_column=config.caption_column,
    )
    if isinstance(config, DiffuserTraining) and config.text_encoder:
        if data[0].captions is None:
            raise InputError(
                f"text_encoder is {config.text_encoder} and {data[0].source} has no captions; accepted is a column "
                "text or caption in metadata.jsonl or metadata.csv, or a text file beside every image"
            )
        return labelled_by_captions(data)
    if data[0].labels is None:
        zeros = (torch.zeros(len(some), dtype=torch.long) for some in data)
        return [replace(some, labels=labels, label_names=("image",)) for some, labels in zip(data, zeros, strict=True)]
    return data


def network_arguments(pairs: tuple[str, ...]) -> dict[str, Any]:
    """("dim=128", "attention=local") → {"dim": 128, "attention": "local"}. Raises InputError for another form."""
    arguments: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.isidentifier():
            raise InputError(f"model argument {pair!r} is not NAME=VALUE, such as dim=128")
        try:
            arguments[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            arguments[name] = value
    return arguments


def _load_resampler(name: str, channels: int) -> R2IR:
    """A trained R2IR, by itself or a pipeline's. Raises InputError where it takes other images than these."""
    resampler: R2IR = load_part(R2IR, name, "resampler")
    if resampler.config.image_channels != channels:
        raise InputError(
            f"the resampler {name} takes {resampler.config.image_channels} channels and the images "
            f"have {channels}; set channels to {resampler.config.image_channels}"
        )
    return resampler


def _conditioner(start: R2Pipeline | None, num_tokens: int, diffuser: R2ID, kind: Any, **subject: Any) -> Any:
    """The trained conditioner to start from, if it is of this subject, or a new one."""
    trained = start and start.conditioner
    if isinstance(trained, kind) and all(
        _plain(trained.config[name]) == _plain(value) for name, value in subject.items()
    ):
        return trained
    return kind(**subject, num_tokens=num_tokens, dim=diffuser.config.token_dim)


def _build(network: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """The network with these arguments; InputError names one that it does not have or take."""
    try:
        return network(**arguments)
    except (TypeError, ValueError, RuntimeError, ZeroDivisionError) as error:
        raise InputError(f"the model cannot be built: {error}") from error


def compile_network(network: R2IR | R2ID) -> None:
    """Run the network through torch.compile: R2ID block by block, R2IR, which has few of its own, whole.

    All blocks of a kind share what is compiled of one; whole, every one would be compiled.
    """
    # Not by diffusers' compile_repeated_blocks, which knows blocks by the names of classes: spread ones have others.
    blocks: list[nn.Module] = [module for module in network.modules() if isinstance(module, EncoderBlock)]
    for module in blocks or [network]:
        module.compile()


def check_compiler(device: torch.device) -> None:
    """Raises InputError where torch.compile would find no C++ compiler for the CPU."""
    from torch._inductor.cpp_builder import get_cpp_compiler

    if device.type == "cpu":
        try:
            get_cpp_compiler()
        except Exception as error:
            raise InputError("compile is on and there is no C++ compiler such as g++; add --no-compile") from error


def describe_machine(accelerator: Accelerator) -> str:
    """The device and versions that a training ran on, for its record."""
    device = accelerator.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    return f"{accelerator.num_processes} × {name}, {platform.machine()}, torch {torch.__version__}"


def _plain(value: Any) -> Any:
    """The same value in what JSON has: folders as text, tuples as lists."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value
