"""The training loop, the same for both networks."""

from __future__ import annotations

import inspect
import math
import platform
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from diffusers.utils import make_image_grid
from torch import Tensor
from tqdm import tqdm

from r2id.data.captions import one_of_each
from r2id.data.dataset import Dataset
from r2id.errors import InputError
from r2id.files.atomic import clear_leftovers
from r2id.files.checksums import checksum
from r2id.files.images import as_output
from r2id.files.locks import alone
from r2id.files.record import plain
from r2id.geometry.sizes import Size
from r2id.networks.compiling import check_compiler, compilations, compile_network
from r2id.networks.diffuser import R2ID
from r2id.networks.resampler import R2IR
from r2id.runtime.precision import REPLACED, autocast, usable_precision
from r2id.runtime.processes import Share
from r2id.training.batch_order import batch_indices, bucket_batch, latent_sizes, mixed_seed, seen_counts
from r2id.training.checkpoints import Checkpoints, whole
from r2id.training.latent_statistics import spread_over
from r2id.training.objectives import Objective
from r2id.training.optimizers import build_optimizer
from r2id.training.settings import Training
from r2id.training.sharding import gather_weights, outer_weights, shard
from r2id.training.stopping import StepAbandoned, stop_requests


def train(
    config: Training,
    objective: Objective,
    network: R2IR | R2ID,
    data: Sequence[Dataset],
    save: Callable[[dict[str, Any]], Path],
    since: float | None = None,
) -> Path:
    """Minimise the objective, with checkpoints, logs and averaged weights.

    The images and random numbers of a step follow from the seed and the step's number, so a resumed run continues
    exactly. Ctrl-C writes a checkpoint after the step, or before it while the step compiles. Only one training may run
    in an output folder. Partial files of a killed one are removed.

    Args:
        config: settings.
        objective: module from images, labels and a latent grid to a loss; trained parameters require gradients.
        network: part of the objective that `config.compile` compiles; its arguments may not change on resuming.
        data: images with labels, one data set for each size.
        save: called with the record of the training once the averaged weights are in place.
        since: `time.monotonic()` from which `config.seconds` are counted; by default now.
    Returns:
        The result of `save`.
    """
    # accelerate would keep the precision of the process's first training, and use bfloat16 on any device.
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
    if config.batch_size // accelerator.num_processes % config.gradient_accumulation:
        raise InputError(
            f"gradient_accumulation is {config.gradient_accumulation}; it must divide the "
            f"{config.batch_size // accelerator.num_processes} images of each process"
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
        return _train(config, objective, network, data, save, since, accelerator)


def _train(
    config: Training,
    objective: Any,
    network: R2IR | R2ID,
    data: Sequence[Dataset],
    save: Callable[[dict[str, Any]], Path],
    since: float | None,
    accelerator: Accelerator,
) -> Path:
    checkpoints = Checkpoints(config.output / "checkpoints", writes_portable=config.portable)
    frozen = [parameter for parameter in objective.parameters() if not parameter.requires_grad]
    settings = plain(asdict(config)) | {
        "data_checksum": checksum(values for one in data for values in (*one.parts, one.labels) if values is not None),
        "frozen_weights_checksum": checksum(frozen),
    }
    # Arguments also depend on other settings, such as R2IR's radius on the first latent size.
    arguments = {f"network {name}": value for name, value in plain(dict(network.config)).items() if name[0] != "_"}
    start, elapsed = checkpoints.begin(settings | arguments, config.resume, _defaults(config, network))
    if start > config.steps and config.seconds is None:
        raise InputError(f"the newest checkpoint is of step {start}; steps is {config.steps} and must be at least that")
    accelerator.init_trackers("logs")
    if config.shard:
        shard(objective, accelerator.device.type, accelerator.num_processes)
    parameters = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    optimizer: Any = build_optimizer(config, objective, accelerator.device)
    average = EMAModel(parameters, decay=config.ema_decay, foreach=not config.shard)
    objective.train()
    share = objective.share = Share(accelerator.process_index, accelerator.num_processes)
    unwrapped = objective
    if config.compile:
        check_compiler(accelerator.device, "add --no-compile")
        if accelerator.is_main_process:
            print(
                "r2id: the first steps at each latent grid compile the network, for a minute or more; "
                "--no-compile avoids it, and later steps are slower",
                file=sys.stderr,
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

    loaded = time.monotonic()
    began = loaded if since is None or config.seconds is None else since

    def done_share(step: int) -> float:
        if config.seconds is None:
            return step / config.steps
        seconds = elapsed + time.monotonic() - began
        if accelerator.num_processes > 1:
            clocks = accelerator.gather(torch.tensor([seconds], device=accelerator.device))
            seconds = clocks.max().item()
        return seconds / config.seconds

    progress = tqdm(
        total=config.steps if config.seconds is None else None,
        initial=start,
        desc="training",
        unit="step",
        disable=not accelerator.is_main_process,
        smoothing=0.05,
    )

    def note_compiling(compiling: bool) -> None:
        stop.at_once = compiling and accelerator.num_processes == 1
        progress.set_description("compiling" if compiling else "training")

    with progress, stop_requests() as stop, compilations(note_compiling) if config.compile else nullcontext():
        done, share_done = start, done_share(start)
        while share_done < 1:
            step, unwrapped.done_share = done, share_done
            rate = learning_rate(config, step) if config.seconds is None else clocked_rate(config, step, share_done)
            for group in optimizer.param_groups:
                group["lr"] = rate
            try:
                loss, norm = _step(config, step, objective, optimizer, accelerator, data, share)
            except StepAbandoned:
                progress.close()
                if step > start:
                    checkpoint(step)
                _end(accelerator)
                raise KeyboardInterrupt(_stopped(step)) from None
            average.step(parameters)

            progress.update()
            done, share_done = step + 1, done_share(step + 1)
            stopping = _in_any_process(stop.asked, accelerator)
            stored = stopping or done % config.checkpoint_every == 0 or share_done >= 1
            if stored or done % config.log_every == 0:
                loss = accelerator.gather(loss.detach()).mean().item()
                if not (math.isfinite(loss) and math.isfinite(norm.item())):
                    raise InputError(
                        f"the loss is {loss} and its gradient {norm.item()} at step {done}; "
                        f"lower the learning rate, {config.learning_rate}"
                    )
                images_per_second = config.batch_size * (done - start) / (time.monotonic() - loaded)
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
                # Sharded weights are gathered from all processes, so all of them generate the pictures.
                if accelerator.is_main_process or config.shard:
                    with outer_weights(objective), torch.compiler.set_stance("force_eager"):
                        _log_preview(accelerator, objective, data[0], latent_sizes(config, data, data[0]), done)
                average.restore(parameters)
            if stored:
                checkpoint(done)
            if stopping:
                progress.close()
                _end(accelerator)
                raise KeyboardInterrupt(_stopped(done))
    progress.close()
    average.copy_to(parameters)
    objective.eval()
    record = settings | {
        "steps": done,
        "precision": usable_precision(config.precision, accelerator.device),
        "data": data[0].source,
        "seconds": round(elapsed + time.monotonic() - began),
        "machine": describe_machine(accelerator),
    }
    for name in ("output", "resume", "resampler", "shard", "init_from", "num_workers", "drawings"):
        record.pop(name, None)
    if config.init_from:
        # The record keeps how the initial weights were trained, not their path; the arguments are in the config.
        record |= {"model": [], "started_from": network.config.training}
    if config.shard:
        gather_weights(objective)
    folder = save(record) if accelerator.is_main_process else config.output
    _end(accelerator)
    return folder


def _defaults(config: Training, network: R2IR | R2ID) -> dict[str, Any]:
    """Return the defaults of the settings, and of the network's arguments by the names that checkpoints give them."""
    parameters = inspect.signature(type(network)).parameters.values()
    return plain({one.name: one.default for one in fields(config)}) | plain(
        {f"network {one.name}": one.default for one in parameters if one.default is not one.empty}
    )


def _in_any_process(here: bool, accelerator: Accelerator) -> bool:
    """Return whether a flag is set in any process.

    A single process does not wait for its GPU, which would idle until the next step.
    """
    if accelerator.num_processes == 1:
        return here
    return bool(accelerator.gather(torch.tensor([here], device=accelerator.device)).any())


def _end(accelerator: Accelerator) -> None:
    """Close the log and leave the process group.

    Gloo's threads free the tensors of the last gather later, with Python's lock. The process group's destructor waits
    for those threads while it holds the lock (pytorch issue 56297), so they must end first. Waiting for all processes,
    without the lock, gives them the time.
    """
    accelerator.wait_for_everyone()
    accelerator.end_training()


def _stopped(steps: int) -> str:
    return f"stopped after step {steps}; continue with --resume" if steps else "stopped before the end of step 1"


def _step(
    config: Training,
    step: int,
    objective: Any,
    optimizer: Any,
    accelerator: Accelerator,
    data: Sequence[Dataset],
    share: Share,
) -> tuple[Tensor, Tensor]:
    """Run an optimiser step on this process's share of the batch; return its loss and the gradient's norm."""
    bucket, batch = bucket_batch(seen_counts(data), config.batch_size, step, config.seed)
    some = data[bucket]
    assert some.labels is not None
    chosen = batch_indices(len(some), config.batch_size, batch, config.seed)
    indices = share.take(chosen)
    labels = share.take(one_of_each(some.labels[chosen], mixed_seed(config.seed, "captions", step)))
    torch.manual_seed(mixed_seed(config.seed, "step", step))
    sizes = latent_sizes(config, data, some)
    latent_size = sizes[int(torch.randint(len(sizes), ()))]
    device, count = accelerator.device, config.gradient_accumulation
    optimizer.zero_grad()
    losses = []
    for part, (which, of_part) in enumerate(zip(indices.chunk(count), labels.chunk(count), strict=True), start=1):
        images, of_part = some.batch(which, device), of_part.to(device, non_blocking=device.type == "cuda")
        # Processes exchange their gradients once, with the last part.
        with nullcontext() if part == count else accelerator.no_sync(objective):
            with autocast(config.precision, device):
                loss = objective(images, of_part, latent_size, **({"mirrored": True} if some.mirrored else {}))
            accelerator.backward(loss / count)
        losses.append(loss.detach())
    norm = accelerator.clip_grad_norm_(objective.parameters(), config.gradient_clip)
    optimizer.step()
    return torch.stack(losses).mean(), whole(torch.as_tensor(norm))


def learning_rate(config: Training, step: int) -> float:
    """Return the learning rate of a step, counted from 0: linear warm-up from 0, then a cosine from `learning_rate` to
    `final_learning_rate` at the last step."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    return _falling_rate(config, (step - config.warmup_steps) / max(1, config.steps - 1 - config.warmup_steps))


def clocked_rate(config: Training, step: int, share: float) -> float:
    """Return the learning rate of a step when a share of the time has passed: linear warm-up over steps, times a cosine
    over the time."""
    return min(1.0, (step + 1) / max(1, config.warmup_steps)) * _falling_rate(config, share)


def _falling_rate(config: Training, share: float) -> float:
    falling = 0.5 * (1 + math.cos(math.pi * share))
    return config.final_learning_rate + falling * (config.learning_rate - config.final_learning_rate)


def _log_preview(accelerator: Accelerator, objective: Any, data: Dataset, sizes: tuple[Size, ...], step: int) -> None:
    """Log preview pictures at each latent grid to TensorBoard."""
    module = accelerator.unwrap_model(objective).eval()
    assert data.labels is not None
    shown = spread_over(data, 10)
    images, labels = data.batch(shown).to(accelerator.device), one_of_each(data.labels[shown], 0)
    names = [data.label_names[index] for index in labels]
    for height, width in dict.fromkeys(sizes):
        pictures = as_output(module.preview(images, names, (height, width)), "pil")
        grid = make_image_grid(pictures, rows=len(pictures) // len(images), cols=len(images)).convert("RGB")
        array = torch.frombuffer(bytearray(grid.tobytes()), dtype=torch.uint8).view(1, grid.height, grid.width, 3)
        if accelerator.is_main_process:
            accelerator.get_tracker("tensorboard").log_images(
                {f"latents {height}x{width}": array.numpy()}, step, dataformats="NHWC"
            )
    module.train()


def describe_machine(accelerator: Accelerator) -> str:
    """Return the device and versions of a training, for its record."""
    device = accelerator.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    return f"{accelerator.num_processes} × {name}, {platform.machine()}, torch {torch.__version__}"
