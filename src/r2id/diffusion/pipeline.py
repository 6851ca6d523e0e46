"""R2Pipeline: labels → latents → pictures of any size. What a user calls."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from numbers import Real
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
from r2id.conditioning.text import TextConditioner, text_states
from r2id.diffusion.defaults import GenerationDefaults
from r2id.diffusion.folders import add_code, fetch, importable
from r2id.diffusion.guidance import check_guidance, guide, is_guided
from r2id.diffusion.noise_field import field_noise, finest_grid
from r2id.diffusion.schedule import alpha_bar_of_step, check_scheduler, start_scheduler
from r2id.errors import InputError
from r2id.files.atomic import fill_folder
from r2id.files.checksums import checksum
from r2id.files.images import as_output, check_output_type
from r2id.geometry.canvas import Canvas, LatentTensor, canvas_of, check_canvas, plain
from r2id.geometry.density import density
from r2id.geometry.sizes import Size, check_size
from r2id.networks.diffuser import R2ID
from r2id.networks.loading import PipelineSwitches, Publishing, check_variant, for_upload, load_pretrained
from r2id.networks.resampler import R2IR, decode_some_at_once
from r2id.runtime.late import late
from r2id.runtime.memory import check_fits_in_memory


@dataclass
class R2PipelineOutput(BaseOutput):
    """Pictures and the latents they were decoded from.

    Attributes:
        images: one picture per label, as PIL images, or stacked: numpy [B, H, W, C] in [0, 1], or tensors
            [B, C, H, W] in [−1, 1]. Where several sizes were asked for, a list of that for each size. The latents,
            where they were asked for in place of pictures.
        latents: [B, C, h, w] as the resampler decodes them, in [−1, 1]. Their `canvas` gives the proportions.
    """

    images: Any
    latents: Tensor


class R2Pipeline(Publishing, PipelineSwitches, DiffusionPipeline):
    """Generates latents of any height and width with R2ID and decodes them at any number of sizes with R2IR.

    Args:
        diffuser: the R2ID.
        conditioner: turns labels, or the states of a text encoder, into the diffuser's tokens.
        resampler: the R2IR whose latents the diffuser generates; None if it generates pixels.
        scheduler: any diffusers scheduler for a variance-preserving process, such as DDIM, DPM-Solver++ or Euler;
            by default UniPC with the cosine schedule.
        text_encoder, tokenizer: of transformers; None for a model of labels.
        generation_defaults: fields of `GenerationDefaults`, which are saved with the model; those not given follow from
            the networks.
    Raises:
        InputError: for generation_defaults that a call would not take.
    """

    _optional_components = ["resampler", "scheduler", "text_encoder", "tokenizer"]
    _callback_tensor_inputs = ["latents"]
    model_cpu_offload_seq: Any = "text_encoder->conditioner->diffuser->resampler"

    def __init__(
        self,
        diffuser: R2ID,
        conditioner: LabelConditioner | TextConditioner,
        resampler: R2IR | None = None,
        scheduler: Any = None,
        text_encoder: Any = None,
        tokenizer: Any = None,
        generation_defaults: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        defaults = GenerationDefaults.of(diffuser, resampler, generation_defaults)
        self.register_to_config(generation_defaults=asdict(defaults))
        # Noise alone tells a velocity what to become; noise predicted in it says nothing of the picture, and the first
        # step is taken from a little below. Not every setting is UniPC's: the config carries them to other schedulers.
        scheduler = scheduler or UniPCMultistepScheduler.from_config(
            {
                "beta_schedule": "squaredcos_cap_v2",
                "prediction_type": diffuser.config.prediction_type,
                "timestep_spacing": "trailing" if diffuser.config.prediction_type == "v_prediction" else "leading",
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
        """Load a pipeline: a folder, the name of bundled weights ("mnist"), or a Hugging Face hub id. A folder that
        holds a pipeline comes before bundled weights of the same name.

        Moved to `device`, if that is given. Raises InputError where there is no complete pipeline of that name. Other
        arguments are `DiffusionPipeline.from_pretrained`'s.
        """
        return load_pretrained(super().from_pretrained, pretrained_model_name_or_path, "model_index.json", **kwargs)

    @classmethod
    def load_config(cls, *args: Any, **kwargs: Any) -> Any:
        """diffusers' own, which `from_pretrained` calls: the code that lies in the folder is not run."""
        config = super().load_config(*args, **kwargs)
        return importable(config, cls.__name__) if isinstance(config, dict) else config

    @classmethod
    def download(cls, pretrained_model_name: str | os.PathLike, **kwargs: Any) -> str:
        """Fetch a pipeline from the Hugging Face hub, or find it in the cache; returns its folder.

        Arguments are `DiffusionPipeline.download`'s; of them `variant`, `revision`, `cache_dir`, `token`,
        `force_download` and `local_files_only` count. Code is not fetched to be run, and pickles not at all.
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
            push_to_hub: upload it, too; then `repo_id` and other arguments of `push_to_hub` may be given.
            card: the README.md to write. By default one is made from what is known, unless another than such a one is
                there.
            kwargs: further arguments of `DiffusionPipeline.save_pretrained`, such as `variant`.
        """
        folder, uploading = Path(save_directory), for_upload(save_directory, kwargs)

        def save(temporary: Path) -> None:
            DiffusionPipeline.save_pretrained(self, temporary, **kwargs)
            add_code(temporary, self)
            late("publishing").write_card(self, card, folder, temporary)

        fill_folder(folder, save)
        if push_to_hub:
            self.push_to_hub(card=card, **uploading)

    @property
    def generation_defaults(self) -> GenerationDefaults:
        """What a call takes where nothing is given; `register_to_config(generation_defaults=…)` changes it."""
        return GenerationDefaults.of(self.diffuser, self.resampler, self.config["generation_defaults"])

    def defaults_on(self, canvas: Canvas | None) -> GenerationDefaults:
        """The same for pictures of such proportions, which change the sizes of a model that was trained on many."""
        defaults = self.generation_defaults
        return defaults.on(canvas) if canvas and self.diffuser.config.canvas is None else defaults

    def checksum(self) -> int:
        """A number that tells the weights of this pipeline from others."""
        networks = (self.diffuser, self.conditioner, self.resampler, self.text_encoder)
        return checksum(chain.from_iterable(network.state_dict().values() for network in networks if network))

    @torch.no_grad()
    def tokens(self, labels: Sequence[str | int | None]) -> Tensor:
        """Tokens [B, T, token_dim] of labels or texts; None stands for none.

        Raises InputError for a label that the model does not know.
        """
        if self.text_encoder is not None:
            texts = ["" if label is None else str(label) for label in labels]
            states, present = text_states(self.tokenizer, self.text_encoder, texts)
            return self.conditioner(states.to(self._execution_device), present.to(self._execution_device))
        conditioner = self.conditioner
        indices = [conditioner.no_label if label is None else conditioner.index(label) for label in labels]
        return conditioner(torch.tensor(indices, device=self._execution_device))

    # As in all of diffusers' pipelines, so that what comes out may go into a training, which tensors of inference_mode
    # may not. Around a call, inference_mode works as well; it saves a few per cent of a single digit, and less of many.
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
        return_dict: bool = True,
    ) -> R2PipelineOutput:
        """Generate one picture for each label or text.

        Sizes, steps and guidance that are not given are the model's own, `generation_defaults`.

        Args:
            class_labels: what each picture shows: labels that the model knows, for the bundled one "0" … "9" or 0 … 9,
                or for a model of texts one text or several.
            latent_size: height and width of the latents; for a model of pixels, of the generated image.
            size: height and width of the pictures, or a list of several (none, for
                the latents alone), all decoded from the same latents.
            num_inference_steps: steps of the scheduler.
            guidance_scale: strength of classifier-free guidance; 1 is none, and twice as cheap in the decoder blocks.
            guidance_interval: from which to which time, 0 clean to 1 noise, guidance is applied (Kynkäänniemi et al.
                2024, arXiv:2404.07724). Without it near 1, pictures of one label differ more; near 0 it changes little.
            generator: one for all, or a list with one for each picture, which makes each independent of the others.
            latents: noise [B, C, h, w] to start from instead of the generator's; then `latent_size` is unused.
            canvas: proportions of the picture; by default those the model was trained on, or, if these were many, those
                of `size`, of several the first. A `size` of other proportions shows the same picture stretched.
            output_type: "pil", "np" or "pt"; "latent" for the latents in place of pictures, whatever `size`.
            callback_on_step_end: called as (pipeline, step, timestep, {"latents": …}); may return new latents, and set
                `pipeline._interrupt` to end with what is there. A `PipelineCallback` of diffusers, or several.
            callback_on_step_end_tensor_inputs: what the callback is given; there are only "latents".
            prompt: the texts under the name that they have in other pipelines, one or several; then without
                `class_labels`.
            return_dict: False for a tuple of pictures and latents.
        Raises:
            InputError: for an unknown label, a size below 1, a canvas that is none, generators that are not as many as
                the labels, or pictures that would not fit in memory.
        """
        size, class_labels = _plain(size), _plain(class_labels)
        defaults = self.generation_defaults
        if num_inference_steps is None:
            num_inference_steps = defaults.num_inference_steps
        if guidance_scale is None:
            guidance_scale = defaults.guidance_scale
        if guidance_interval is None:
            guidance_interval = defaults.guidance_interval
        if not isinstance(size, Sequence | None):
            raise InputError(f"size is {size!r}; it must be (height, width) or a list of such pairs")
        single = size is None or (len(size) == 2 and all(isinstance(side, Real) for side in size))
        asked: Any = [] if size is None else [size] if single else size
        sizes = [check_size(one) for one in asked]
        check_output_type(output_type, ("pil", "np", "pt", "latent"))
        if latents is not None:
            latent_size = latents.shape[-2:]  # type: ignore[assignment]
        if latent_size is not None:
            latent_size = check_size(latent_size, "the latent size")
        canvas = canvas or canvas_of(latents) or self.diffuser.config.canvas
        canvas = check_canvas(canvas or next(iter(sizes), latent_size or defaults.size))
        defaults = self.defaults_on(canvas)
        latent_size = latent_size or defaults.latent_size
        if size is None:
            sizes = [defaults.size]
        if output_type == "latent":
            sizes = []
        if prompt is not None:
            if class_labels is not None:
                raise InputError("class_labels and prompt are both given; they are two names of the same, give one")
            class_labels = [prompt] if isinstance(prompt, str) else prompt
        if isinstance(class_labels, str) and self.text_encoder is not None:
            class_labels = [class_labels]
        if isinstance(class_labels, (str, int)):
            raise InputError(f"class_labels is {class_labels!r}; it must be a list of labels, one for each picture")
        check_guidance(guidance_scale, guidance_interval)
        if not class_labels:
            if self.text_encoder is not None:
                raise InputError("no prompt given; this model shows what a text says")
            raise InputError(f"no class_labels given; this model knows {', '.join(self.conditioner.label_names)}")
        image_channels = self.resampler.config.image_channels if self.resampler else self.diffuser.config.channels
        check_fits_in_memory(sizes, len(class_labels), image_channels)
        # A sample, its features in a block, and the feed-forward's four times as many.
        check_fits_in_memory([latent_size], len(class_labels), 4 * self.diffuser.config.dim)
        if latents is None:
            # The field on its finest grid, and the parts that it is put together from.
            check_fits_in_memory([finest_grid(latent_size)], len(class_labels), 2 * self.diffuser.config.channels)
        if isinstance(generator, (list, tuple)) and len(generator) != len(class_labels):
            raise InputError(
                f"generator is a list of {len(generator)} and class_labels of {len(class_labels)}; "
                "give one generator for all, or a list with one for each label"
            )
        if latents is not None and latents.shape[:2] != (len(class_labels), self.diffuser.config.channels):
            raise InputError(
                f"latents of shape {tuple(latents.shape)} do not fit {len(class_labels)} labels; "
                f"the shape must be ({len(class_labels)}, {self.diffuser.config.channels}, height, width)"
            )
        self.check_scheduler(num_inference_steps)
        if isinstance(callback_on_step_end, (PipelineCallback, MultiPipelineCallbacks)):
            callback_on_step_end_tensor_inputs = callback_on_step_end.tensor_inputs
        if not set(callback_on_step_end_tensor_inputs) <= set(self._callback_tensor_inputs):
            raise InputError(
                f"callback_on_step_end_tensor_inputs is {list(callback_on_step_end_tensor_inputs)}; "
                f"there are only {self._callback_tensor_inputs}"
            )
        tokens, no_tokens = self.tokens(class_labels), self.tokens([None] * len(class_labels))
        dtype = self.diffuser.dtype
        if latents is None:
            latents = field_noise(len(class_labels), self.diffuser.config.channels, latent_size, generator)

        ratio = density(latent_size, self.diffuser.config.noise_reference_size)
        scheduler = start_scheduler(self.scheduler, ratio, num_inference_steps, self._execution_device)
        accepted = inspect.signature(scheduler.step).parameters
        step_arguments = {"generator": generator} if "generator" in accepted else {}
        self._interrupt, self._num_timesteps = False, len(scheduler.timesteps)
        self._guidance_scale = guidance_scale
        # Some schedulers begin with numbers, and take differences, that half precision does not hold.
        sample = plain(latents).to(self._execution_device, torch.float32) * scheduler.init_noise_sigma
        for step, timestep in enumerate(self.progress_bar(scheduler.timesteps)):
            if self._interrupt:
                break
            alpha_bar = alpha_bar_of_step(scheduler, step).reshape(1).to(sample.device)
            scaled = scheduler.scale_model_input(sample, timestep).to(dtype)
            time = float(timestep) / scheduler.config.num_train_timesteps
            guided = is_guided(time, self.guidance_scale, guidance_interval)
            branches = [tokens, no_tokens] if guided else [tokens]
            prediction, *unconditional = self.diffuser.guidance_branches(scaled, alpha_bar, branches, canvas)
            if guided:
                prediction = guide(prediction, unconditional[0], self.guidance_scale)
            prediction = prediction.to(sample.dtype)
            sample = scheduler.step(prediction, timestep, sample, **step_arguments).prev_sample
            if callback_on_step_end:
                tensors = {"latents": sample} if callback_on_step_end_tensor_inputs else {}
                sample = (callback_on_step_end(self, step, timestep, tensors) or {}).get("latents", sample)

        sample = sample.to(dtype)
        if self.resampler:
            sample = self.resampler.destandardise(sample)
        sample = LatentTensor.of(sample, canvas)
        images: Any = [self.decode(sample, one, canvas, output_type) for one in sizes]
        self.maybe_free_model_hooks()
        if output_type == "latent":
            images = sample
        elif single:
            images = images[0]
        result = R2PipelineOutput(images=images, latents=sample)
        # Annotated for what nearly everybody asks for, who would have to tell it from a tuple otherwise.
        return result if return_dict else result.to_tuple()  # type: ignore[return-value]

    @torch.no_grad()
    def decode(self, latents: Tensor, size: Size, canvas: Canvas | None = None, output_type: str = "pil") -> Any:
        """Pictures of the latents that a call returned, at another size, without sampling again.

        Args:
            latents: [B, C, h, w], as in `R2PipelineOutput.latents`.
            size: height and width of the pictures.
            canvas: proportions of the picture; by default those that the latents were generated with. Of latents from
                elsewhere, those the model was trained on, or, if these were many, those of `size`.
            output_type: "pil", "np" or "pt", as in `R2PipelineOutput.images`.
        Raises:
            InputError: for a size below 1, a canvas that is none, another output_type, or pictures that would not
                fit in memory.
        """
        check_output_type(output_type)
        size = check_size(size)
        canvas = check_canvas(canvas or canvas_of(latents) or self.diffuser.config.canvas or size)
        latents = plain(latents)
        channels = self.resampler.config.image_channels if self.resampler else latents.shape[1]
        check_fits_in_memory([size], len(latents), channels)
        if self.resampler is None:
            resized = torch.nn.functional.interpolate(latents, size, mode="bicubic", antialias=True)
            return as_output(resized.clamp(-1, 1), output_type)
        pictures = list(decode_some_at_once(self.resampler, latents, size, canvas))
        return as_output(torch.cat(pictures) if len(pictures) > 1 else pictures[0], output_type)

    @property
    def num_timesteps(self) -> int:
        """Steps of the call that runs, or ran last, for callbacks."""
        return self._num_timesteps

    @property
    def guidance_scale(self) -> float:
        """Strength of guidance in the call that runs, or ran last, for callbacks; they may set `_guidance_scale`."""
        return self._guidance_scale

    @property
    def interrupt(self) -> bool:
        """Whether a callback has asked the call that runs to end."""
        return self._interrupt

    def check_scheduler(self, num_inference_steps: int) -> None:
        """Raises InputError where the scheduler cannot sample from the diffuser in so many steps."""
        check_scheduler(self.scheduler, self.diffuser.config.prediction_type, num_inference_steps)


def _plain(value: Any) -> Any:
    """A list in place of an array of numpy or torch; anything else as it is."""
    return value.tolist() if hasattr(value, "tolist") else value
