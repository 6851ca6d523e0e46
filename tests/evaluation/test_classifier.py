"""The judge of digits: the bundled one is good, and a new one can be trained, saved and loaded."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from r2id.data.loading import load_images
from r2id.errors import InputError
from r2id.evaluation import classifier as module
from r2id.evaluation.classifier import (
    DigitClassifier,
    accuracy,
    load_classifier,
    main,
    save_classifier,
    train_classifier,
)

DIGITS = Path(__file__).parent.parent / "fixtures" / "digits"


@pytest.fixture(scope="module")
def bundled() -> DigitClassifier:
    return load_classifier()


@pytest.fixture(scope="module")
def unseen_digits():
    return load_images(DIGITS, "test", image_size=(32, 32))


@pytest.fixture(scope="module")
def train_digits():
    return load_images(DIGITS, "train", image_size=(32, 32), limit=200)


class TestBundled:
    def test_recognises_digits_it_has_not_seen(self, bundled, unseen_digits):
        assert accuracy(bundled, unseen_digits) >= 0.97

    @pytest.mark.parametrize("size", [(28, 28), (64, 48), (20, 24)])
    def test_recognises_them_at_other_sizes(self, bundled, size):
        assert accuracy(bundled, load_images(DIGITS, "test", image_size=size)) >= 0.95

    @pytest.mark.parametrize("size", [(1, 1), (3, 50), (32, 32), (200, 7)])
    def test_takes_any_size(self, bundled, size):
        with torch.inference_mode():
            logits = bundled(torch.rand(2, 1, *size) * 2 - 1)
        assert logits.shape == (2, 10) and logits.isfinite().all()

    def test_is_ready_to_judge_in_single_precision(self, bundled):
        assert bundled.dtype == torch.float32 and not bundled.training

    def test_is_small(self):
        weights = module.BUNDLED / "diffusion_pytorch_model.safetensors"
        assert weights.stat().st_size < 1_000_000
        assert {tensor.dtype for tensor in load_file(weights).values() if tensor.ndim} == {torch.float16}

    def test_logits_are_read_off_the_features(self, bundled, unseen_digits):
        images = unseen_digits.batch(slice(0, 5))
        with torch.inference_mode():
            features = bundled.features(images)
            assert features.shape == (5, bundled.config.feature_dimension)
            torch.testing.assert_close(bundled.head(features), bundled(images))

    def test_features_of_one_image_do_not_depend_on_the_others(self, bundled, unseen_digits):
        with torch.inference_mode():
            together = bundled.features(unseen_digits.batch(slice(0, 5)))
            alone = bundled.features(unseen_digits.batch([3]))
        torch.testing.assert_close(alone, together[3:4], atol=1e-4, rtol=1e-4)


class TestAccuracy:
    def test_counts_every_digit_once(self, bundled, unseen_digits):
        right = accuracy(bundled, unseen_digits)
        assert accuracy(bundled, unseen_digits, batch_size=7) == right
        wrong = replace(unseen_digits, labels=(unseen_digits.labels + 1) % 10)
        assert accuracy(bundled, wrong) <= 1 - right


class TestTraining:
    def test_lowers_the_loss(self, train_digits):
        losses: list[float] = []
        train_classifier(train_digits, epochs=4, batch_size=25, on_epoch=lambda epoch, loss: losses.append(loss))
        assert len(losses) == 4 and losses[-1] < 0.7 * losses[0]

    def test_depends_on_nothing_but_the_seed(self, train_digits):
        def weights(seed: int) -> torch.Tensor:
            trained = train_classifier(train_digits, epochs=1, seed=seed, batch_size=100)
            assert not trained.training
            return torch.cat([parameter.detach().flatten() for parameter in trained.parameters()])

        first = weights(0)
        torch.rand(3)
        assert torch.equal(weights(0), first)
        assert not torch.equal(weights(1), first)

    def test_leaves_the_random_state_alone(self, train_digits):
        before = torch.random.get_rng_state()
        train_classifier(train_digits, epochs=1, batch_size=200)
        assert torch.equal(torch.random.get_rng_state(), before)

    def test_augmentation_moves_digits_on_black(self, train_digits):
        images = train_digits.batch(slice(0, 50))
        moved = module._augment(images)
        assert moved.shape == images.shape and moved.min() == -1 and moved.max() <= 1
        assert not torch.equal(moved, images)
        ink = (images + 1).sum((1, 2, 3)), (moved + 1).sum((1, 2, 3))
        assert (ink[1] / ink[0]).mean() == pytest.approx(1, abs=0.1)

    def test_names_what_is_wrong_with_the_data(self, train_digits):
        with pytest.raises(InputError, match="has no labels"):
            train_classifier(replace(train_digits, labels=None))
        with pytest.raises(InputError, match="has the labels cat, dog; they must be digits"):
            train_classifier(replace(train_digits, label_names=("cat", "dog")))
        with pytest.raises(InputError, match="has the labels 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10"):
            train_classifier(replace(train_digits, label_names=tuple(map(str, range(11)))))
        with pytest.raises(InputError, match="has 3 channels; it must have 1"):
            train_classifier(replace(train_digits, images=train_digits.images.expand(-1, 3, -1, -1)))
        with pytest.raises(InputError, match="There are 200 images; give at least one batch of 201"):
            train_classifier(train_digits, batch_size=201)
        with pytest.raises(InputError, match="epochs is 0"):
            train_classifier(train_digits, epochs=0)


class TestFiles:
    def test_saved_and_loaded_in_half_precision(self, tmp_path):
        torch.manual_seed(0)
        original = DigitClassifier(width=4, feature_dimension=12).eval()
        (tmp_path / "README.md").write_text("kept")
        save_classifier(original, tmp_path)
        loaded = load_classifier(tmp_path)
        assert {file.name for file in tmp_path.iterdir()} == {
            "README.md",
            "config.json",
            "diffusion_pytorch_model.safetensors",
        }
        assert original.dtype == loaded.dtype == torch.float32
        images = torch.rand(3, 1, 32, 32) * 2 - 1
        with torch.inference_mode():
            torch.testing.assert_close(loaded(images), original(images), atol=5e-3, rtol=0)

    def test_a_folder_without_a_classifier(self, tmp_path):
        with pytest.raises(InputError, match="holds no classifier"):
            load_classifier(tmp_path)

    def test_command(self, tmp_path, capsys):
        main([str(DIGITS), "--output", str(tmp_path / "new"), "--epochs", "1", "--seed", "3"])
        printed = capsys.readouterr().out
        assert "epoch 1/1" in printed and "test accuracy" in printed
        assert load_classifier(tmp_path / "new").config.feature_dimension == 64

    def test_command_says_what_is_missing(self, tmp_path, capsys):
        with pytest.raises(SystemExit) as caught:
            main([str(tmp_path / "gone"), "--output", str(tmp_path / "new")])
        assert caught.value.code == 2
        assert "gone does not exist" in capsys.readouterr().err
        assert not (tmp_path / "new").exists()
