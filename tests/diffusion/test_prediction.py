"""What a network predicts: each kind follows from the others, and a clean sample's error is that of its velocity."""

import math

import pytest
import torch

from r2id.diffusion.prediction import (
    LEAST_SPREAD,
    predicted_noise,
    predicted_sample,
    prediction_error,
    velocity_of_sample,
)

KINDS = ("epsilon", "v_prediction", "sample")


@pytest.fixture
def mixed():
    """Clean samples, noise, ᾱ, their mixture, and the exact prediction of each kind."""
    clean, noise = torch.randn(2, 5, 3, 4, 2).unbind()
    alpha_bar = torch.tensor([0.01, 0.3, 0.5, 0.9, 0.99])
    signal, spread = (part.sqrt()[:, None, None, None] for part in (alpha_bar, 1 - alpha_bar))
    exact = {"epsilon": noise, "v_prediction": signal * noise - spread * clean, "sample": clean}
    return clean, noise, alpha_bar, signal * clean + spread * noise, exact


@pytest.mark.parametrize("kind", KINDS)
def test_noise_and_clean_sample_follow_from_an_exact_prediction_which_has_no_error(mixed, kind):
    clean, noise, alpha_bar, noisy, exact = mixed
    close = {"rtol": 1e-3, "atol": 1e-4}
    torch.testing.assert_close(predicted_noise(exact[kind], noisy, alpha_bar, kind), noise, **close)
    torch.testing.assert_close(predicted_sample(exact[kind], noisy, alpha_bar, kind), clean, **close)
    assert prediction_error(exact[kind], clean, noise, alpha_bar, kind).abs().max() < 1e-6


def test_the_error_of_a_clean_sample_is_that_of_its_velocity(mixed):
    clean, noise, alpha_bar, noisy, _ = mixed
    guess = clean + 0.1 * torch.randn_like(clean)
    velocity = velocity_of_sample(guess, noisy, alpha_bar)
    expected = prediction_error(velocity, clean, noise, alpha_bar, "v_prediction")
    found = prediction_error(guess, clean, noise, alpha_bar, "sample")
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(predicted_sample(velocity, noisy, alpha_bar, "v_prediction"), guess)


def test_the_clamp_is_that_of_a_mixture_of_a_twentieth_of_noise():
    # 0.95·x + 0.05·ε, scaled to variance 1: only in its ratio of noise to signal does it differ from x_t.
    assert LEAST_SPREAD / math.sqrt(1 - LEAST_SPREAD**2) == pytest.approx(0.05 / 0.95)
    clean = torch.zeros(2, 1, 1, 1)
    alpha_bar = torch.tensor([1.0, 1 - LEAST_SPREAD**2])
    error = prediction_error(clean + 0.1, clean, clean, alpha_bar, "sample")
    torch.testing.assert_close(error.flatten(), torch.full((2,), -0.1 / LEAST_SPREAD), rtol=1e-4, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_errors_are_in_float32_of_any_prediction(mixed, kind):
    clean, noise, alpha_bar, _, exact = mixed
    assert prediction_error(exact[kind].bfloat16(), clean, noise, alpha_bar, kind).dtype == torch.float32
