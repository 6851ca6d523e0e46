"""What a network predicts of x_t = √ᾱ·x + √(1 − ᾱ)·ε: the noise, the velocity or the clean sample (design §4).

With a = √ᾱ and s = √(1 − ᾱ), the velocity is v = a·ε − s·x (Salimans & Ho 2022, arXiv:2202.00512). A clean sample x̂
stands for the noise ε̂ = (x_t − a·x̂)/s. As a² + s² = 1, it stands for the velocity v̂ = (a·x_t − x̂)/s.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from r2id.networks.diffuser import Prediction

LEAST_SPREAD = 0.05 / math.hypot(0.05, 0.95)
"""Least √(1 − ᾱ) that errors of a clean sample are divided by, 0.053.

Li & He (2025, "Back to basics") mix t·x + (1 − t)·ε and clamp 1 − t at 0.05. Scaled to variance 1, that mixture is x_t
with √(1 − ᾱ) = (1 − t)/√(t² + (1 − t)²). This is its value at the clamp."""


def signal_and_spread(alpha_bar: Tensor) -> tuple[Tensor, Tensor]:
    """Return √ᾱ and √(1 − ᾱ), [B, 1, 1, 1] each, of ᾱ [B]."""
    return alpha_bar.sqrt()[:, None, None, None], (1 - alpha_bar).sqrt()[:, None, None, None]


def prediction_error(prediction: Tensor, clean: Tensor, noise: Tensor, alpha_bar: Tensor, kind: Prediction) -> Tensor:
    """Return the error whose mean square is the loss, [B, C, h, w], in float32.

    That of a clean sample is the error of its velocity: v̂ − v = (a·x_t − x̂)/s − (a·x_t − x)/s = (x − x̂)/s, with s
    clamped at LEAST_SPREAD. Losses of "sample" and "v_prediction" are therefore in the same units.

    Args:
        prediction: of the network for x_t, [B, C, h, w].
        clean, noise: x and ε, [B, C, h, w].
        alpha_bar: ᾱ, [B].
        kind: the network's `prediction_type`.
    """
    signal, spread = signal_and_spread(alpha_bar)
    if kind == "epsilon":
        return prediction.float() - noise
    if kind == "v_prediction":
        return prediction.float() - (signal * noise - spread * clean)
    return (clean - prediction.float()) / spread.clamp_min(LEAST_SPREAD)


def predicted_noise(prediction: Tensor, noisy: Tensor, alpha_bar: Tensor, kind: Prediction) -> Tensor:
    """Return ε̂ of a prediction for x_t (`noisy`), both [B, C, h, w]. Where there is almost no noise, a clean sample
    says nothing of it, and √(1 − ᾱ) is clamped at LEAST_SPREAD."""
    signal, spread = signal_and_spread(alpha_bar)
    if kind == "epsilon":
        return prediction
    if kind == "v_prediction":
        return spread * noisy + signal * prediction
    return (noisy - signal * prediction) / spread.clamp_min(LEAST_SPREAD)


def predicted_sample(prediction: Tensor, noisy: Tensor, alpha_bar: Tensor, kind: Prediction) -> Tensor:
    """Return x̂ of a prediction for x_t (`noisy`), both [B, C, h, w]. Where there is almost no signal, noise says
    nothing of it, and √ᾱ is clamped at LEAST_SPREAD."""
    signal, spread = signal_and_spread(alpha_bar)
    if kind == "epsilon":
        return (noisy - spread * prediction) / signal.clamp_min(LEAST_SPREAD)
    return signal * noisy - spread * prediction if kind == "v_prediction" else prediction


def perfect_prediction(clean: Tensor, noisy: Tensor, alpha_bar: Tensor, kind: Prediction) -> Tensor:
    """Return the prediction of this kind that a clean sample x̂ stands for in x_t (`noisy`), [B, C, h, w] each."""
    if kind == "sample":
        return clean
    if kind == "v_prediction":
        return velocity_of_sample(clean, noisy, alpha_bar)
    signal, spread = signal_and_spread(alpha_bar)
    return (noisy - signal * clean) / spread.clamp_min(torch.finfo(torch.float32).eps)


def velocity_of_sample(clean: Tensor, noisy: Tensor, alpha_bar: Tensor) -> Tensor:
    """Return the velocity that a clean sample x̂ stands for in x_t (`noisy`), [B, C, h, w] each.

    A sampler takes x̂ = a·x_t − s·v̂ from it again. It needs no clamp but against division by zero.
    """
    signal, spread = signal_and_spread(alpha_bar)
    return (signal * noisy - clean) / spread.clamp_min(torch.finfo(torch.float32).eps)
