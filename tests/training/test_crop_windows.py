"""Windows of larger grids of latents, learnt with the coordinates of the whole."""

from pathlib import Path

import pytest
import torch

from r2id.diffusion.schedule import cosine_alpha_bar
from r2id.errors import InputError
from r2id.files.latents import Latents
from r2id.geometry.coordinates import Grid
from r2id.networks.diffuser import R2ID
from r2id.networks.resampler import R2IR
from r2id.training.objectives import DiffusionObjective
from r2id.training.settings import DiffuserTraining
from r2id.training.setup import train_diffuser

DIGITS = Path(__file__).parents[1] / "fixtures" / "digits"
CLOSE = {"rtol": 1e-4, "atol": 1e-5}
MODEL = ("dim=16", "num_heads=2", "encoder_blocks=1", "decoder_blocks=1", "token_dim=8", "time_dim=8", "num_high=3")


@pytest.mark.parametrize("variant", [{}, {"local_radius": 0.3}, {"attention": "softmax", "radius": None}])
def test_windows_of_a_batch_are_predicted_as_each_alone_at_its_place(make_diffuser, variant):
    diffuser = make_diffuser(**variant)
    grid = Grid.of_size((10, 12), (2, 3))
    top, left = torch.tensor([0, 6, 3]), torch.tensor([7, 0, 4])
    windows = grid.windows(top[:, None] + torch.arange(4), left[:, None] + torch.arange(5))
    sample, alpha_bar, tokens = torch.randn(3, 3, 4, 5), torch.rand(3), torch.randn(3, 2, 8)
    together = diffuser(sample, alpha_bar, tokens, grid=windows)
    for one in range(3):
        part = grid.crop(slice(int(top[one]), int(top[one]) + 4), slice(int(left[one]), int(left[one]) + 5))
        some = slice(one, one + 1)
        alone = diffuser(sample[some], alpha_bar[some], tokens[some], grid=part)
        torch.testing.assert_close(alone, together[some], **CLOSE)
    elsewhere = diffuser(sample, alpha_bar, tokens, (2, 3))
    assert (elsewhere - together).abs().max() > 1e-3


def test_sampled_jitter_moves_every_window_on_its_own(make_diffuser):
    diffuser = make_diffuser(jitter="sampled").train()
    windows = Grid.of_size((8, 8)).windows(torch.tensor([[1, 2], [5, 6]]), torch.tensor([[0, 1], [0, 1]]))
    points = windows.points()
    assert points.relative.shape == (2, 4, 2)
    assert torch.equal(points.relative[0], windows.first_window().points().relative)
    assert diffuser(torch.randn(2, 3, 2, 2), torch.rand(2), torch.randn(2, 2, 8), grid=windows).isfinite().all()


@pytest.fixture
def objective(make_pipeline):
    pipeline = make_pipeline(resampler=None, noise_reference_size=4)
    return DiffusionObjective(pipeline, 0.1, crop=(4, 5))


def test_a_window_has_the_samples_and_the_coordinates_of_its_place(objective):
    grid = Grid.of_size((10, 6), (5, 3))
    places = grid.points().relative.mT.view(1, 2, 10, 6).repeat(500, 1, 1, 1)
    taken, windows = objective._window(places, grid)
    assert taken.shape == (500, 2, 4, 5) and windows.cell == grid.cell and windows.whole_size == (10, 6)
    assert torch.equal(taken[:, 0], windows.axes[0][:, :, None].expand(-1, -1, 5))
    assert torch.equal(taken[:, 1], windows.axes[1][:, None, :].expand(-1, 4, -1))
    # Every place, and all equally often.
    tops = windows.axes[0][:, 0].unique(return_counts=True)[1]
    assert len(tops) == 7 and tops.min() > 40
    assert len(windows.axes[1][:, 0].unique()) == 2


def test_a_grid_that_fits_is_learnt_as_a_whole(objective):
    grid = Grid.of_size((4, 3))
    samples = torch.randn(2, 1, 4, 3)
    assert objective._window(samples, grid) == (samples, grid)


def test_a_window_has_the_noise_of_its_whole_grid(objective, monkeypatch):
    told, forward = [], R2ID.forward

    def noted(self, sample, alpha_bar, tokens, canvas, grid):
        told.append((alpha_bar, grid))
        return forward(self, sample, alpha_bar, tokens, canvas, grid)

    monkeypatch.setattr(R2ID, "forward", noted)
    objective(torch.rand(8, 1, 12, 12), torch.zeros(8, dtype=torch.long), (12, 12))
    (alpha_bar, grid), *_ = told
    strata = torch.arange(9) / 8
    bounds = cosine_alpha_bar(strata, (12, 12), 4)
    assert grid.size == (4, 5) and grid.whole_size == (12, 12)
    assert (alpha_bar <= bounds[:-1]).all() and (alpha_bar >= bounds[1:]).all()


def test_times_of_the_objective_are_logit_normal_if_told(make_pipeline, monkeypatch):
    told, forward = [], R2ID.forward
    monkeypatch.setattr(R2ID, "forward", lambda self, *given: told.append(given[1]) or forward(self, *given))
    objective = DiffusionObjective(make_pipeline(resampler=None, noise_reference_size=None), 0.1, times=(1.0, 0.1))
    objective(torch.rand(64, 1, 2, 2), torch.zeros(64, dtype=torch.long), (2, 2))
    ratio = ((1 - told[0]) / told[0]).sqrt().log()
    assert ratio.mean().item() == pytest.approx(1.0, abs=0.03) and 0.05 < ratio.std() < 0.15


@pytest.fixture
def stored(make_resampler, tmp_path):
    """Latents of 30 pictures at two densities, and their R2IR."""
    make_resampler().save_pretrained(tmp_path / "resampler")
    model = R2IR.from_pretrained(tmp_path / "resampler").checksum()
    for side in (3, 9):
        latents = Latents(torch.rand(30, 3, side, side) * 2 - 1, (1, 1), (), model)
        latents.save(tmp_path / "latents" / f"{side}.safetensors")
    return tmp_path


def training(stored: Path, **changes) -> DiffuserTraining:
    settings = {
        "data": str(stored / "latents"), "resampler": str(stored / "resampler"), "output": stored / "out",
        "model": MODEL, "latent_sizes": ((3, 3),), "steps": 40, "batch_size": 3, "warmup_steps": 2, "sample_every": 0,
        "crop": (4, 4),
    }  # fmt: skip
    return DiffuserTraining(**settings | changes)


def test_stored_latents_are_learnt_in_windows_and_a_share_of_the_steps_as_a_whole(stored, monkeypatch):
    met, forward = [], R2ID.forward

    def noted(self, sample, alpha_bar, tokens, canvas, grid):
        met.append((grid.size, grid.whole_size))
        return forward(self, sample, alpha_bar, tokens, canvas, grid)

    monkeypatch.setattr(R2ID, "forward", noted)
    folder = train_diffuser(training(stored, whole_share=0.25))
    assert set(met) == {((3, 3), (3, 3)), ((4, 4), (9, 9))}
    assert met.count(((3, 3), (3, 3))) == 10
    config = R2ID.from_pretrained(folder / "diffuser").config
    assert config.sample_size == 9 and config.noise_reference_size == 3
    met.clear()
    train_diffuser(training(stored, output=stored / "natural"))
    assert met.count(((3, 3), (3, 3))) == 20


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"crop": (0, 4)}, "crop is"),
        ({"crop": None, "whole_share": 0.5}, "whole_share is 0.5 and crop is not set; set the size of the window"),
        ({"crop": (2, 2), "whole_share": 0.5}, "whole_share is 0.5 and no stored grid fits in a window of 2x2"),
        ({"crop": (9, 9), "whole_share": 0.5}, "whole_share is 0.5 and every stored grid fits in a window of 9x9"),
        ({"whole_share": 1.5}, "whole_share is 1.5; it must be from 0 to 1"),
        ({"data": str(DIGITS), "whole_share": 0.5}, "whole_share is 0.5 and .* holds no latents; store them by encode"),
        ({"latent_jitter": 0.1}, "latent_jitter is 0.1; windows are of even grids, so with crop it is 0"),
    ],
)
def test_windows_that_cannot_be_are_refused_in_a_sentence(stored, changes, sentence):
    with pytest.raises(InputError, match=sentence):
        train_diffuser(training(stored, **changes))


def test_features_of_windows_are_those_of_the_grid(make_diffuser):
    position = make_diffuser().position
    grid = Grid.of_size((7, 5))
    rows, columns = torch.tensor([[0, 1], [5, 6]]), torch.tensor([[2, 3, 4], [0, 1, 2]])
    whole, windows = position(grid), position(grid.windows(rows, columns))
    assert windows.shape == (2, 2, 3, 16)
    for one in range(2):
        torch.testing.assert_close(windows[one], whole[rows[one]][:, columns[one]], **CLOSE)
