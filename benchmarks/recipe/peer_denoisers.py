"""Networks of diffusers that R2ID is compared with: a UNet on pixels, and a DiT on latents."""

from __future__ import annotations

import math
from typing import Any

import torch
from diffusers import DiTTransformer2DModel, UNet2DConditionModel, UNet2DModel, UniPCMultistepScheduler
from torch import Tensor, nn
from torch.nn import functional

from r2id.data.captions import WordCaptions
from r2id.diffusion.guidance import guide, is_guided
from r2id.diffusion.prediction import prediction_error, signal_and_spread
from r2id.diffusion.sampling import Trajectory
from r2id.diffusion.schedule import cosine_alpha_bar
from r2id.networks.diffuser import Prediction

CLASS_WIDTHS, CAPTION_WIDTHS = (32, 64, 112, 128), (32, 64, 96, 96)
"""Channels of the UNet from fine to coarse, for classes and for captions. It has about as many
parameters as the smaller R2ID."""
TIMESTEPS = 1000
"""Times from 0 to 1 are told as 0 to 1,000, as both networks are used to."""


class Peer(nn.Module):
    """A network that denoises samples of any size, given labels or captions. A call returns the loss of a step.

    Args:
        network: of diffusers.
        kind: what it predicts.
        no_label: the label that means none, after all others.
        captions: reads captions, which labels are then indices of; trained along.
    """

    def __init__(self, network: nn.Module, kind: Prediction, no_label: int, captions: WordCaptions | None) -> None:
        super().__init__()
        self.network, self.kind, self.no_label, self.captions = network, kind, no_label, captions

    def told(self, labels: Tensor) -> dict[str, Tensor]:
        """Return the network's arguments for labels [B]."""
        return {"class_labels": labels}

    def predict(self, noisy: Tensor, alpha_bar: Tensor, labels: Tensor) -> Tensor:
        """Return the prediction for x_t [B, C, h, w] with ᾱ [B] or [1]."""
        time = torch.arccos(alpha_bar.clamp(0, 1).sqrt()) * (2 / math.pi) * TIMESTEPS
        return self.network(noisy, time.expand(len(noisy)), **self.told(labels)).sample

    def forward(self, clean: Tensor, labels: Tensor, size: tuple[int, int]) -> Tensor:
        """Return the loss of evenly spread times, with a tenth of the labels dropped, as R2ID's."""
        count, device = len(clean), clean.device
        time = (torch.arange(count, device=device) + torch.rand(count, device=device)) / count
        alpha_bar = cosine_alpha_bar(time, size, None)
        noise = torch.randn_like(clean)
        signal, spread = signal_and_spread(alpha_bar)
        labels = torch.where(torch.rand(count, device=device) < 0.1, self.no_label, labels)
        prediction = self.predict(signal * clean + spread * noise, alpha_bar, labels)
        return prediction_error(prediction, clean, noise, alpha_bar, self.kind).square().mean()

    @torch.no_grad()
    def sample(
        self,
        labels: Tensor,
        shape: tuple[int, int, int],
        steps: int,
        scale: float,
        interval: tuple[float, float],
        generator: torch.Generator,
    ) -> Tensor:
        """Return samples [B, *shape] for labels [B], by the scheduler and guidance of `R2Pipeline`."""
        scheduler = UniPCMultistepScheduler(
            beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", timestep_spacing="trailing"
        )
        noise = torch.randn(len(labels), *shape, generator=generator)
        path = Trajectory(noise, scheduler, 1.0, steps, generator, labels.device)
        nothing = torch.full_like(labels, self.no_label)
        for step, timestep in enumerate(path.scheduler.timesteps):
            noisy, alpha_bar = path.noisy(step)
            prediction = self.predict(noisy, alpha_bar, labels)
            if is_guided(float(timestep) / TIMESTEPS, scale, interval):
                prediction = guide(prediction, self.predict(noisy, alpha_bar, nothing), scale)
            path.advance(step, prediction, self.kind)
        return path.sample


class UNet(Peer):
    """UNet2DModel for classes, UNet2DConditionModel for captions: the velocity of pixels, as is usual for both.

    Args:
        names: number of classes.
        captions: as of a `Peer`, with tokens of `dim` channels.
        widths: channels from fine to coarse, by default CLASS_WIDTHS or CAPTION_WIDTHS. Both coarse levels, with a
            quarter and an eighth of the pixels along a side, have attention.
    """

    def __init__(
        self, names: int, captions: WordCaptions | None, dim: int, widths: tuple[int, ...] | None = None
    ) -> None:
        widths = widths or (CLASS_WIDTHS if captions is None else CAPTION_WIDTHS)
        common: dict[str, Any] = {
            "in_channels": 3, "out_channels": 3, "block_out_channels": widths, "layers_per_block": 1,
            "norm_num_groups": 8, "attention_head_dim": 16 if captions is None else 4,
        }  # fmt: skip
        if captions is None:
            network: nn.Module = UNet2DModel(
                **common,
                down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
                up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
                num_class_embeds=names + 1,
            )
        else:
            network = UNet2DConditionModel(
                **common,
                down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
                up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
                cross_attention_dim=dim,
            )
        super().__init__(network, "v_prediction", names, captions)

    def told(self, labels: Tensor) -> dict[str, Tensor]:
        return {"encoder_hidden_states": self.captions(labels)} if self.captions else {"class_labels": labels}


class DiT(Peer):
    """DiTTransformer2DModel: the clean latents, because it learns little of velocities with as many channels.

    It knows classes alone. In their place, it is told the mean token of a caption.

    Args:
        names: number of classes.
        captions: as of a `Peer`, with tokens of `dim` channels.
        channels: of a latent.
        side: latents along a side in training.
        layers: blocks.
    """

    def __init__(
        self, names: int, captions: WordCaptions | None, dim: int, channels: int, side: int, layers: int = 5
    ) -> None:
        network = AnyShape(
            num_attention_heads=6,
            attention_head_dim=32,
            in_channels=channels,
            num_layers=layers,
            attention_bias=True,
            sample_size=side,
            patch_size=1,
            num_embeds_ada_norm=names if captions is None else 1,
        )
        # Every block begins as the identity (Peebles & Xie 2023, arXiv:2212.09748).
        for block in network.transformer_blocks:
            nn.init.zeros_(block.norm1.linear.weight)
            if captions is not None:
                block.norm1.emb.class_embedder = nn.Linear(dim, network.inner_dim)
            else:
                # Labels are dropped once, by the loss.
                block.norm1.emb.class_embedder.dropout_prob = 0
        for last in (network.proj_out_1, network.proj_out_2):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        super().__init__(network, "sample", names, captions)

    def told(self, labels: Tensor) -> dict[str, Tensor]:
        return {"class_labels": self.captions(labels).mean(1) if self.captions else labels}


class AnyShape(DiTTransformer2DModel):
    """DiTTransformer2DModel with a patch of 1 on grids of any proportions; its own last lines take squares alone.

    Positions on another grid are those of diffusers, which span the same range.
    """

    def forward(self, hidden_states: Tensor, timestep: Tensor, class_labels: Tensor) -> Any:
        x = self.pos_embed(hidden_states)
        for block in self.transformer_blocks:
            x = block(x, timestep=timestep, class_labels=class_labels)
        condition = self.transformer_blocks[0].norm1.emb(timestep, class_labels, hidden_dtype=x.dtype)
        shift, scale = self.proj_out_1(functional.silu(condition)).chunk(2, dim=1)
        x = self.proj_out_2(self.norm_out(x) * (1 + scale[:, None]) + shift[:, None])
        return _Output(x.mT.unflatten(2, hidden_states.shape[-2:]))


class _Output:
    def __init__(self, sample: Tensor) -> None:
        self.sample = sample
