"""R2Pipeline: labels or texts → latents → pictures of any size."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import UniPCMultistepScheduler
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.utils import BaseOutput
from huggingface_hub import ModelCard
from torch import Tensor

from r2id.conditioning.labels import LabelConditioner
from r2id.conditioning.text import TextConditioner
from r2id.conditioning.words import WordConditioner
from r2id.diffusion.arguments import (
    check_callback_tensors,
    check_each,
    check_joint,
    check_known,
    check_memory,
    labels_of,
    sizes_of,
)
from r2id.diffusion.canvases import Canvases
from r2id.diffusion.compiled import Compiled
from r2id.diffusion.defaults import GenerationDefaults
from r2id.diffusion.folders import add_code, fetch, importable
from r2id.diffusion.guidance import check_guidance, is_guided
from r2id.diffusion.inpainting import KnownPicture
from r2id.diffusion.noise_field import same_field
from r2id.diffusion.parts import check_parts
from r2id.diffusion.sampling import Trajectory, predict
from r2id.diffusion.schedule import scheduler_prediction
from r2id.diffusion.stages import refined, stages_of, windows_of
from r2id.diffusion.windows import Windows
from r2id.files.atomic import fill_folder
from r2id.files.cards import write_card
from r2id.files.images import check_output_type
from r2id.geometry.canvas import Canvas, LatentTensor, canvas_of, check_canvas
from r2id.geometry.density import density
from r2id.geometry.sizes import Size, check_size, first_given, in_proportion, listed
from r2id.networks.diffuser import R2ID
from r2id.networks.loading import PipelineSwitches, Publishing, check_variant, for_upload, load_pretrained
from r2id.networks.resampler import R2IR


@dataclass
class R2PipelineOutput(BaseOutput):
    """Pictures and the latents they were decoded from.

    Attributes:
        images: one picture per label, as PIL images, numpy [B, H, W, C] in [0, 1] or tensors [B, C, H, W] in [−1, 1].
            Several sizes give a list of these, one for each size. With output_type "latent", the latents.
        latents: [B, C, h, w] in [−1, 1]; their `canvas` gives the proportions of the picture. A joint sample has a list
            of them, one for each canvas.
    """

    images: Any
    latents: Any


class R2Pipeline(Publishing, PipelineSwitches, Canvases, Compiled, DiffusionPipeline):
    """Generates latents of any height and width with R2ID and decodes them at any number of sizes with R2IR.

    Args:
        diffuser: the R2ID.
        conditioner: turns labels, words, or the states of a text encoder, into the diffuser's tokens.
        resampler: the R2IR whose latents the diffuser generates; None if it generates pixels, or for the bundled one
            that the diffuser names.
        scheduler: any diffusers scheduler for a variance-preserving process, such as DDIM, DPM-Solver++ or Euler;
            by default UniPC with the cosine schedule.
        text_encoder, tokenizer: those of transformers; None for a model of labels or words.
        generation_defaults: fields of `GenerationDefaults`, saved with the model; missing ones follow from the
            networks.
    Raises:
        InputError: for parts that do not fit each other, and generation_defaults that a call would refuse.
    """

    _optional_components = ["resampler", "scheduler", "text_encoder", "tokenizer"]
    _callback_tensor_inputs = ["latents"]
    model_cpu_offload_seq: Any = "text_encoder->conditioner->diffuser->resampler"

    def __init__(
        self,
        diffuser: R2ID,
        conditioner: LabelConditioner | TextConditioner | WordConditioner,
        resampler: R2IR | None = None,
        scheduler: Any = None,
        text_encoder: Any = None,
        tokenizer: Any = None,
        generation_defaults: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if resampler is None and diffuser.config.latents_of:
            resampler = R2IR.of_description(diffuser.config.latents_of, diffuser.dtype).to(diffuser.device)
        check_parts(diffuser, conditioner, resampler, text_encoder, tokenizer)
        defaults = GenerationDefaults.of(diffuser, resampler, generation_defaults)
        self.register_to_config(generation_defaults=asdict(defaults))
        # At pure noise, a velocity says something of the picture, and predicted noise nothing, so its first step starts
        # lower. Some settings are not UniPC's own; the config carries them to other schedulers.
        expected = scheduler_prediction(diffuser.config.prediction_type)
        scheduler = scheduler or UniPCMultistepScheduler.from_config(
            {
                "beta_schedule": "squaredcos_cap_v2",
                "prediction_type": expected,
                "timestep_spacing": "trailing" if expected == "v_prediction" else "leading",
                "clip_sample": False,
            }
        )
        self.register_modules(
            diffuser=diffuser,
            conditioner=conditioner,
            resampler=resampler,
            scheduler=scheduler,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
        )

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any) -> R2Pipeline:
        """Load a pipeline from a folder, by the name of bundled weights ("mnist") or by a Hugging Face hub id.

        A folder with a model comes before bundled weights of the same name. `device` moves the pipeline. Other
        arguments are those of `DiffusionPipeline.from_pretrained`. Raises InputError if no complete pipeline has that
        name.
        """
        return load_pretrained(super().from_pretrained, pretrained_model_name_or_path, "model_index.json", **kwargs)

    @classmethod
    def load_config(cls, *args: Any, **kwargs: Any) -> Any:
        """Return the config for `from_pretrained`, so that code in the folder is not run."""
        config = super().load_config(*args, **kwargs)
        return importable(config, cls.__name__) if isinstance(config, dict) else config

    @classmethod
    def download(cls, pretrained_model_name: str | os.PathLike, **kwargs: Any) -> str:
        """Fetch a pipeline from the Hugging Face hub or its cache; returns its folder.

        Arguments are those of `DiffusionPipeline.download`; `variant`, `revision`, `cache_dir`, `token`,
        `force_download` and `local_files_only` have an effect. Fetched code is not run, and pickles are not fetched.
        """
        names = ("revision", "cache_dir", "token", "force_download", "local_files_only")
        where = {name: kwargs[name] for name in names if kwargs.get(name) is not None}
        name = str(pretrained_model_name)
        folder = fetch(name, cls.load_config(name, **where), kwargs.get("variant"), **where)
        check_variant(Path(folder) / "model_index.json", kwargs.get("variant"), name)
        return folder

    def save_pretrained(  # type: ignore[override]
        self,
        save_directory: str | os.PathLike,
        push_to_hub: bool = False,
        card: ModelCard | None = None,
        **kwargs: Any,
    ) -> None:
        """Save to a folder, each file whole or not at all, with a model card.

        Args:
            save_directory: the folder; other files in it stay.
            push_to_hub: upload it too, with `repo_id` and other arguments of `push_to_hub`.
            card: the README.md to write. The default is generated, unless the folder has a card of its own.
            kwargs: further arguments of `DiffusionPipeline.save_pretrained`, such as `variant`.
        """
        folder, uploading = Path(save_directory), for_upload(save_directory, kwargs)

        def save(temporary: Path) -> None:
            DiffusionPipeline.save_pretrained(self, temporary, **kwargs)
            add_code(temporary, self)
            write_card(self, card, folder, temporary)

        fill_folder(folder, save)
        if push_to_hub:
            self.push_to_hub(card=card, **uploading)

    # no_grad, as in all of diffusers' pipelines: results may enter a training, which tensors of inference_mode may not.
    # A caller may use inference_mode, which saves a few per cent of the time of a single digit.
    @torch.no_grad()
    def __call__(
        self,
        class_labels: Sequence[str | int] | None = None,
        latent_size: Size | None = None,
        size: Size | Sequence[Size] | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        guidance_interval: tuple[float, float] | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: Tensor | None = None,
        canvas: Canvas | None = None,
        output_type: str = "pil",
        callback_on_step_end: Callable[..., dict] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        prompt: str | Sequence[str] | None = None,
        joint: bool = False,
        known: KnownPicture | None = None,
        windows: Windows | None = None,
        return_dict: bool = True,
        **unknown: Any,
    ) -> R2PipelineOutput:
        """Generate one picture for each label or text.

        Sizes, steps and guidance default to the model's own, `generation_defaults`.

        Args:
            class_labels: a label for each picture, "0" … "9" or 0 … 9 for the bundled model. A model of texts takes
                one text or several.
            latent_size: height and width of the latents; for a model of pixels, those of the generated image. More than
                the model learnt (`most_latents` of its defaults) are sampled from coarse to fine.
            size: height and width of the pictures, or a list of sizes, all decoded from the same latents. An empty list
                decodes nothing.
            num_inference_steps: steps of the scheduler.
            guidance_scale: strength of classifier-free guidance; 1 turns it off, and halves the cost of decoder blocks.
            guidance_interval: times, from 0 (clean) to 1 (noise), between which guidance is applied (Kynkäänniemi et
                al. 2024, arXiv:2404.07724). Guidance near 1 lowers variety; near 0 it changes little.
            generator: one for all pictures, or a list with one for each, which makes them independent of each other.
            latents: initial noise [B, C, h, w] in place of the generator's, of a grid that is sampled at once;
                `latent_size` is then unused.
            canvas: proportions of the picture. The default is those of training or, if these were many, those of the
                first `size`. A `size` of other proportions stretches the picture.
            output_type: "pil", "np" or "pt"; "latent" returns latents in place of pictures, whatever `size`.
            callback_on_step_end: called as (pipeline, step, timestep, {"latents": …}). It may return new latents, and
                set `pipeline._interrupt` to stop. A `PipelineCallback` of diffusers, or several, works too.
            callback_on_step_end_tensor_inputs: tensors for the callback; only "latents" exists.
            prompt: one text or several, in place of `class_labels`, as in other pipelines.
            joint: sample a canvas for each `size`, in its proportions, all as one picture. The canvases start from the
                same field of noise and see each other in every step (design §5). `latent_size` is then that of a square
                canvas, others get as many samples.
            known: a picture whose known part stays, on the same canvas, as `inpaint` and `outpaint` make it.
            windows: those in which a large canvas is predicted, as `panorama` makes them.
            return_dict: False returns a tuple of pictures and latents.
        Raises:
            InputError: for an unknown label or argument, a size below 1, or an invalid canvas. Also for another number
                of generators than of labels, or pictures that exceed the memory.
        """
        check_known(unknown, self.__call__)
        labels, (sizes, several) = labels_of(class_labels, prompt, self.conditioner.label_names), sizes_of(size)
        check_output_type(output_type, ("pil", "np", "pt", "latent"))
        channels = self.diffuser.config.channels
        check_each(len(labels), channels, generator, latents)
        if joint:
            check_joint(sizes, several, latents, canvas)
            defaults = self.generation_defaults
            canvases: list[Canvas] = list(sizes)
            square = check_size(first_given(latent_size, defaults.latent_size), "the latent size")
            latent_sizes = [in_proportion(square, one) for one in canvases]
        else:
            if latents is not None:
                latent_size = latents.shape[-2:]  # type: ignore[assignment]
            if latent_size is not None:
                latent_size = check_size(latent_size, "the latent size")
            own = first_given(self.diffuser.config.canvas, next(iter(sizes), latent_size))
            canvas = first_given(canvas, canvas_of(latents), own)
            defaults = self.defaults_on(None if canvas is None else check_canvas(canvas))
            canvases = [check_canvas(first_given(canvas, defaults.size))]
            latent_sizes = [first_given(latent_size, defaults.latent_size)]
        num_inference_steps = listed(first_given(num_inference_steps, defaults.num_inference_steps))
        guidance_scale, guidance_interval = check_guidance(
            first_given(guidance_scale, defaults.guidance_scale),
            first_given(guidance_interval, defaults.guidance_interval),
        )
        if size is None:
            sizes = [defaults.size]
        if output_type == "latent":
            sizes = []
        check_memory(
            self.diffuser, len(labels), latent_sizes, sizes, canvases, self.image_channels, draws_noise=latents is None
        )
        self.check_scheduler(num_inference_steps)
        if isinstance(callback_on_step_end, (PipelineCallback, MultiPipelineCallbacks)):
            callback_on_step_end_tensor_inputs = callback_on_step_end.tensor_inputs
        check_callback_tensors(callback_on_step_end_tensor_inputs, self._callback_tensor_inputs)
        tokens, no_tokens = self.tokens(labels), self.tokens([None] * len(labels))
        stages = [latent_sizes]
        if latents is None and windows is None:
            stages = stages_of(latent_sizes, defaults.most_latents)
        if known and len(stages) == 1:
            # Gone over again, what is new follows the known part without a seam.
            stages *= 2
        self._interrupt, self._guidance_scale = False, guidance_scale
        paths: list[Trajectory] = []
        taken = 0
        for grids in stages:
            if self._interrupt:
                break
            noises = same_field(len(labels), channels, grids, generator) if paths or latents is None else [latents]
            within = [windows] if windows else None
            starts: list[Tensor | None] = [None] * len(grids)
            if paths:
                within = windows_of(grids, defaults.most_latents)
                if known:
                    known = known.refined(paths[0].sample, grids[0])
                    starts = [known.clean]
                    within = within and [one.of(1 - known.cells) for one in within]
                else:
                    each = zip(paths, grids, canvases, strict=True)
                    starts = [refined(self.resampler, path.sample, grid, canvas) for path, grid, canvas in each]
            paths = self._paths(noises, within, starts, num_inference_steps, generator)
            self._num_timesteps = taken + len(paths[0].steps)
            for step in self.progress_bar(paths[0].steps):
                if self._interrupt:
                    break
                self._advance(paths, step, (tokens, no_tokens), guidance_interval, canvases, within, known)
                if callback_on_step_end:
                    present = [path.sample for path in paths] if joint else paths[0].sample
                    tensors = {"latents": present} if callback_on_step_end_tensor_inputs else {}
                    timestep = paths[0].scheduler.timesteps[step]
                    present = (callback_on_step_end(self, taken, timestep, tensors) or {}).get("latents", present)
                    for path, sample in zip(paths, present if joint else [present], strict=True):
                        path.sample = sample
                taken += 1

        clean = [path.sample.to(self.diffuser.dtype) for path in paths]
        if self.resampler:
            clean = [self.resampler.destandardise(sample) for sample in clean]
        results = [LatentTensor.of(sample, canvas) for sample, canvas in zip(clean, canvases, strict=True)]
        shown = zip(results if joint else results * len(sizes), sizes, strict=bool(sizes))
        images: Any = [self.decode(sample, one, output_type=output_type) for sample, one in shown]
        self.maybe_free_model_hooks()
        kept = results if joint else results[0]
        if output_type == "latent":
            images = kept
        elif not several:
            images = images[0]
        result = R2PipelineOutput(images=images, latents=kept)
        # The annotation leaves out the tuple, which few callers ask for.
        return result if return_dict else result.to_tuple()  # type: ignore[return-value]

    def _paths(
        self,
        noises: Sequence[Tensor],
        windows: Sequence[Windows] | None,
        starts: Sequence[Tensor | None],
        num_inference_steps: int,
        generator: Any,
    ) -> list[Trajectory]:
        """Return the trajectory of each canvas, from noise or from clean samples."""
        reference, device = self.diffuser.config.noise_reference_size, self._execution_device
        grids = [one.size for one in windows] if windows else [noise.shape[-2:] for noise in noises]
        return [
            Trajectory(noise, self.scheduler, density(grid, reference), num_inference_steps, generator, device, start)
            for noise, grid, start in zip(noises, grids, starts, strict=True)
        ]

    def _advance(
        self,
        paths: Sequence[Trajectory],
        step: int,
        conditions: tuple[Tensor, Tensor],
        guidance_interval: tuple[float, float],
        canvases: Sequence[Canvas],
        windows: Sequence[Windows] | None,
        known: KnownPicture | None,
    ) -> None:
        """Take one step of every trajectory. `conditions` are the tokens of the labels and those of none."""
        kind, scheduler = self.diffuser.config.prediction_type, paths[0].scheduler
        time = float(scheduler.timesteps[step]) / scheduler.config.num_train_timesteps
        branches = conditions if is_guided(time, self.guidance_scale, guidance_interval) else conditions[:1]
        network = partial(predict, self.diffuser, branches, self.guidance_scale)
        noisy, alpha_bars = zip(*(path.noisy(step) for path in paths), strict=True)
        if known:
            done, within = step / paths[0].steps.stop, windows[0] if windows else None
            whole = partial(network, [within.canvas] if within else canvases, None)
            predictions: Sequence[Tensor] = [known.predict(whole, noisy[0], alpha_bars[0], kind, done, within)]
        else:
            predictions = network(canvases, windows, noisy, alpha_bars)
        for path, prediction in zip(paths, predictions, strict=True):
            path.advance(step, prediction, kind)

    @property
    def num_timesteps(self) -> int:
        """Steps of the current or last call so far known, for callbacks; a later stage adds its own."""
        return self._num_timesteps

    @property
    def guidance_scale(self) -> float:
        """Guidance scale of the current or last call, for callbacks; they may set `_guidance_scale`."""
        return self._guidance_scale

    @property
    def interrupt(self) -> bool:
        """Whether a callback has stopped the current call."""
        return self._interrupt
