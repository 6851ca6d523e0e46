"""Figures of reconstruction, against slow formulas; what they compare with is what it is said to be."""

import math
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.nn import functional

from r2id.data.loading import load_images
from r2id.evaluation.reconstruction import METHODS, lanczos, measure_consistency, measure_reconstruction

DIGITS = Path(__file__).parent.parent / "fixtures" / "digits"


@pytest.fixture(scope="module")
def digits():
    return load_images(DIGITS, "test", image_size=(16, 16), limit=70)


def test_lanczos_is_pillows(digits):
    # Pillow clips bytes between its two passes, which shows only at full contrast.
    faint = digits.images[0, 0] // 4 + 96
    byte = Image.fromarray(faint.numpy()).resize((40, 30), Image.Resampling.LANCZOS)
    resized = lanczos(faint[None, None] / 127.5 - 1, (30, 40))
    expected = torch.frombuffer(bytearray(byte.tobytes()), dtype=torch.uint8).view(30, 40) / 127.5 - 1
    assert (resized[0, 0] - expected).abs().max() < 0.01
    assert lanczos(digits.batch([0]), (30, 40)).abs().max() <= 1


def test_errors_are_means_over_images_and_pixels(make_resampler, digits):
    resampler = make_resampler()
    rows = list(measure_reconstruction(resampler, digits, (3, 2), [(16, 16), (10, 20)]))
    assert [(row["pictures"], row["method"]) for row in rows] == [
        (size, method) for size in ("16x16", "10x20") for method in METHODS
    ]
    with torch.inference_mode():
        images = digits.batch(slice(None))
        latents = resampler.encode(images, (3, 2))
        truth = lanczos(images, (10, 20))
        answers = [
            resampler.decode(latents, (10, 20), canvas=(16, 16)),
            lanczos(resampler.decode(latents, (16, 16)), (10, 20)),
            # 3 channels: 3×2 latents hold as many values as a picture of 5×3.
            lanczos(lanczos(images, (5, 3)), (10, 20)),
        ]
    for row, answer in zip(rows[3:], answers, strict=True):
        error = (answer - truth).square().mean().item()
        assert row["MSE"] == pytest.approx(error, rel=1e-4)
        each = (answer - truth).square().mean((1, 2, 3))
        assert row["PSNR"] == pytest.approx((10 * (4 / each).log10()).mean().item(), rel=1e-4)
        assert -1 <= row["SSIM"] <= 1


def test_consistency_and_border(make_resampler, digits):
    resampler = make_resampler()
    row = measure_consistency(resampler, digits, (2, 2))
    with torch.inference_mode():
        images = digits.batch(slice(None))
        latents = resampler.encode(images, (2, 2))
        decoded, double = resampler.decode(latents, (16, 16)), resampler.decode(latents, (32, 32))
    error = (decoded - images).square()
    assert row["2x against 1x"] == pytest.approx(functional.mse_loss(functional.avg_pool2d(double, 2), decoded).item())
    assert row["inside"] == pytest.approx(error[..., 1:-1, 1:-1].mean().item())
    whole = row["inside"] * 14 * 14 + row["outermost ring"] * (16 * 16 - 14 * 14)
    assert whole / (16 * 16) == pytest.approx(error.mean().item())
    assert row["ring / inside"] == pytest.approx(row["outermost ring"] / row["inside"])


def test_pictures_too_small_for_the_window_of_ssim_have_their_other_figures(make_resampler, digits):
    rows = list(measure_reconstruction(make_resampler(), digits, (2, 2), [(5, 16), (1, 1)]))
    assert all(row["MSE"] >= 0 and math.isnan(row["SSIM"]) for row in rows)
