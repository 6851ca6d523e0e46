"""The parts of a pipeline, and all that follows from them without sampling: defaults, tokens, pictures of latents."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from r2id.conditioning.labels import LabelConditioner
from r2id.conditioning.text import TextConditioner, text_states
from r2id.conditioning.words import WordConditioner
from r2id.diffusion.defaults import GenerationDefaults
from r2id.diffusion.schedule import check_scheduler
from r2id.errors import InputError
from r2id.files.checksums import checksum
from r2id.files.images import as_output, check_output_type
from r2id.geometry.canvas import Canvas, canvas_of, check_canvas, plain
from r2id.geometry.sizes import Size, check_size, first_given
from r2id.networks.batches import decode_some_at_once
from r2id.networks.diffuser import R2ID
from r2id.networks.resampler import R2IR
from r2id.runtime.memory import check_fits_in_memory


def check_parts(diffuser: R2ID, conditioner: Any, resampler: R2IR | None, text_encoder: Any, tokenizer: Any) -> None:
    """Raise InputError unless the parts of a pipeline fit each other."""
    kind, dim = type(conditioner).__name__, conditioner.config.dim
    reads_states = isinstance(conditioner, TextConditioner)
    if text_encoder is not None and not reads_states:
        raise InputError(
            f"text_encoder is a {type(text_encoder).__name__}, of which a {kind} reads nothing; "
            "leave it out, or give a TextConditioner"
        )
    missing = [name for name, one in (("text_encoder", text_encoder), ("tokenizer", tokenizer)) if one is None]
    if reads_states and missing:
        verb = "is" if len(missing) == 1 else "are"
        raise InputError(f"{' and '.join(missing)} {verb} missing; a {kind} needs those that it was trained with")
    if reads_states and (width := text_encoder.config.hidden_size) != (read := conditioner.config.text_dim):
        raise InputError(
            f"text_encoder has states of {width} channels and the conditioner reads {read}; "
            "give the one that it was trained with"
        )
    if dim != (read := diffuser.config.token_dim):
        raise InputError(
            f"conditioner makes tokens of {dim} channels and the diffuser reads {read}; give those of one training"
        )
    if resampler and (channels := resampler.config.latent_channels) != (made := diffuser.config.channels):
        raise InputError(
            f"resampler has latents of {channels} channels and the diffuser generates {made}; "
            "give the one whose latents it learnt"
        )


class Parts:
    """A base of `R2Pipeline`, whose arguments the parts are. diffusers sets them, the config and the device."""

    diffuser: R2ID
    conditioner: LabelConditioner | TextConditioner | WordConditioner
    resampler: R2IR | None
    scheduler: Any
    text_encoder: Any
    tokenizer: Any
    config: Any
    _execution_device: torch.device

    @property
    def generation_defaults(self) -> GenerationDefaults:
        """Defaults of a call; `register_to_config(generation_defaults=…)` changes them."""
        return GenerationDefaults.of(self.diffuser, self.resampler, self.config["generation_defaults"])

    def defaults_on(self, canvas: Canvas | None) -> GenerationDefaults:
        """Return the defaults for a canvas, which sets the sizes of a model of many proportions."""
        defaults = self.generation_defaults
        return defaults.on(canvas) if canvas and self.diffuser.config.canvas is None else defaults

    @property
    def shows_texts(self) -> bool:
        """Whether a call takes any text, in place of labels."""
        return not self.conditioner.label_names

    def checksum(self) -> int:
        """Return a checksum of all weights."""
        networks = (self.diffuser, self.conditioner, self.resampler, self.text_encoder)
        return checksum(chain.from_iterable(network.state_dict().values() for network in networks if network))

    @torch.no_grad()
    def tokens(self, labels: Sequence[str | int | None]) -> Tensor:
        """Return tokens [B, T, token_dim] of labels or texts; None means no label or text.

        Raises InputError for a label that the model does not know.
        """
        if self.text_encoder is not None:
            texts = ["" if label is None else str(label) for label in labels]
            states, present = text_states(self.tokenizer, self.text_encoder, texts)
            return self.conditioner(states.to(self._execution_device), present.to(self._execution_device))
        return self.conditioner(self.conditioner.read(labels).to(self._execution_device))

    @property
    def image_channels(self) -> int:
        """1 for grey pictures, 3 for RGB."""
        return self.resampler.config.image_channels if self.resampler else self.diffuser.config.channels

    @torch.no_grad()
    def decode(self, latents: Tensor, size: Size, canvas: Canvas | None = None, output_type: str = "pil") -> Any:
        """Decode latents of a call at another size, without sampling again.

        Args:
            latents: [B, C, h, w], as in `R2PipelineOutput.latents`.
            size: height and width of the pictures.
            canvas: proportions of the picture. The default is the canvas of the latents, or else that of training or,
                if training had many, the proportions of `size`.
            output_type: "pil", "np" or "pt", as in `R2PipelineOutput.images`.
        Raises:
            InputError: for a size below 1, an invalid canvas, another output_type, or pictures that exceed the
                memory.
        """
        check_output_type(output_type)
        size = check_size(size)
        canvas = check_canvas(first_given(canvas, canvas_of(latents), self.diffuser.config.canvas, size))
        latents = plain(latents)
        check_fits_in_memory([size], len(latents), self.image_channels)
        if self.resampler is None:
            resized = torch.nn.functional.interpolate(latents, size, mode="bicubic", antialias=True)
            return as_output(resized.clamp(-1, 1), output_type)
        pictures = list(decode_some_at_once(self.resampler, latents, size, canvas))
        return as_output(torch.cat(pictures) if len(pictures) > 1 else pictures[0], output_type)

    def check_scheduler(self, num_inference_steps: int) -> None:
        """Raise InputError if the scheduler cannot sample the diffuser in this number of steps."""
        check_scheduler(self.scheduler, self.diffuser.config.prediction_type, num_inference_steps)
