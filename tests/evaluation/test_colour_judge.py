"""The judge of colour pictures, with features that stand in for those of a large network: the colours of 16 areas."""

import json
from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from r2id.cli import main
from r2id.conditioning.labels import LabelConditioner
from r2id.data.dataset import ImageDataset
from r2id.diffusion.pipeline import R2Pipeline
from r2id.errors import InputError
from r2id.evaluation import colour_features
from r2id.evaluation.colour_features import ColourFeatures
from r2id.evaluation.colour_heads import CaptionVectors, match_captions, probe_classes
from r2id.evaluation.colour_judge import ColourJudging, is_judged_in_colour
from r2id.evaluation.evaluate import evaluate
from r2id.evaluation.generation import Reference
from r2id.evaluation.images import some_of_every_label
from r2id.evaluation.judge import Judged
from r2id.evaluation.metrics import frechet_distance, nearer_than_real, nearest
from r2id.evaluation.plan import Plan
from r2id.evaluation.report import read_evaluation

COLOURS = {
    "red": (230, 40, 30), "green": (40, 180, 60), "blue": (40, 60, 220), "yellow": (240, 220, 40),
    "black": (20, 20, 20), "white": (240, 240, 240), "orange": (250, 150, 30), "purple": (130, 40, 160),
    "pink": (250, 150, 190), "brown": (120, 70, 30), "gray": (128, 128, 128), "cyan": (60, 220, 220),
}  # fmt: skip
PLAN = {
    "canvases": 2,
    "duplicates": 3,
    "limit": 0,
    "denoising_error": 0,
    "latent_size": ((2, 2),),
    "num_inference_steps": 1,
    "guidance_scale": 1.0,
}


def areas(pictures: Tensor) -> Tensor:
    return functional.adaptive_avg_pool2d(pictures.expand(-1, 3, -1, -1), 4).flatten(1)


def coloured(count: int, seed: int, size: int = 8, names: tuple[str, ...] = tuple(COLOURS)) -> ImageDataset:
    """Noisy pictures of plain colours, with the colour as label and as caption."""
    chance = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % len(names)
    plain = torch.tensor([COLOURS[name] for name in names])[labels][:, :, None, None].float()
    shade = 25 * torch.randn(count, 1, 1, 1, generator=chance)
    noise = 25 * torch.randn(count, 3, size, size, generator=chance)
    images = (plain + shade + noise).clamp(0, 255).byte()
    captions = tuple(f"a {names[label]} square" for label in labels)
    return ImageDataset(images, labels, names, captions, f"colours {seed}")


def of_texts(data: ImageDataset) -> ImageDataset:
    return replace(data, labels=None, label_names=())


@pytest.fixture
def of_colours(make_diffuser, make_resampler):
    """Builds an untrained pipeline for labels, of RGB."""

    def make(names=tuple(COLOURS)) -> R2Pipeline:
        pipeline = R2Pipeline(make_diffuser(), LabelConditioner(names, dim=8).eval(), make_resampler(image_channels=3))
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    return make


def judging(train: ImageDataset, test: ImageDataset) -> ColourJudging:
    return ColourJudging(areas, torch.device("cpu"), train, lambda size: coloured(len(test), 1, size[0]))


class TestHeads:
    def test_a_probe_finds_the_classes_of_pictures_it_did_not_see(self):
        train, test = coloured(120, 0), coloured(60, 1)
        names = [train.label_names[label] for label in train.labels]
        recognise = probe_classes(areas(train.batch(slice(None))), names, test.label_names)
        found = recognise(areas(test.batch(slice(None))), torch.zeros(60))
        assert (found == test.labels).float().mean() > 0.85

        # The same scores as those of the classes, turned and without what all classes share.
        seen = areas(test.batch(slice(None)))
        logits = recognise.logits(seen)
        alike = logits - logits.mean(1, keepdim=True)
        torch.testing.assert_close(
            torch.cdist(recognise.scores(seen), recognise.scores(seen)), torch.cdist(alike, alike), rtol=1e-3, atol=0.05
        )

    def test_a_class_without_a_training_picture_is_named(self):
        with pytest.raises(InputError, match="no training picture of 'teal'"):
            probe_classes(torch.randn(2, 3), ["red", "blue"], ["blue", "teal"])

    def test_a_matcher_finds_the_caption_among_ten_and_a_wrong_one_is_not_it(self):
        train, test = coloured(240, 0), coloured(60, 1)
        subjects = sorted(set(test.captions))
        own = torch.tensor([subjects.index(caption) for caption in test.captions])
        features = areas(test.batch(slice(None)))
        captions = [(caption,) for caption in train.captions]
        recognise = match_captions(areas(train.batch(slice(None))), captions, subjects, [range(12)] * 12)
        assert (recognise(features, own) == own).float().mean() > 0.8
        wrong = (own + 5) % 12
        assert (recognise(features, wrong) == wrong).float().mean() < 0.2

    def test_the_nine_others_are_among_the_alternatives_if_these_are_enough(self):
        subjects = [f"{name} {thing}" for name in COLOURS for thing in ("cat", "house")]
        features, cats = torch.randn(40, 6), range(0, 24, 2)
        alternatives = [cats if index % 2 == 0 else (1, 3) for index in range(24)]
        recognise = match_captions(features, [[subjects[index % 24]] for index in range(40)], subjects, alternatives)
        seen = {int(recognise(10 * torch.randn(1, 6), torch.tensor([4]))) for _ in range(100)}
        assert seen <= set(cats) and 1 < len(seen) <= 10
        assert any(int(recognise(10 * torch.randn(1, 6), torch.tensor([1]))) not in (1, 3) for _ in range(30))

    def test_words_without_a_vector_say_nothing(self):
        vectors = CaptionVectors()
        assert torch.equal(vectors("Red heart!"), vectors("red кот heart")) and not vectors("кот").any()


class TestDistances:
    def test_copies_are_nearer_to_the_training_pictures_than_unseen_ones_are(self):
        training, real, fresh = (torch.randn(300, 8, generator=torch.Generator().manual_seed(n)) for n in range(3))
        assert nearer_than_real(training[:100] + 0.01, real, training) == 1
        assert nearer_than_real(fresh, real, training) == pytest.approx(0.5, abs=0.12)
        assert nearer_than_real(fresh + 10, real, training) == 0
        assert nearest(training[[7, 3]] + 0.01, training)[1].tolist() == [7, 3]

    def test_the_distance_grows_from_a_half_to_a_blur_to_another_class(self, of_colours):
        red, other = coloured(300, 0, names=("red",)), coloured(300, 1, names=("blue",))
        judge = judging(coloured(240, 2), red).judge(of_colours(), coloured(24, 3))
        smeared = functional.avg_pool2d(red.batch(slice(150, None)), 5, 1, 2, count_include_pad=False)
        sets = (red.batch(slice(150)), red.batch(slice(150, None)), smeared, other.batch(slice(150)))
        first, half, blurred, another = (
            judge.look(pictures, torch.zeros(150, dtype=int)).features for pictures in sets
        )
        distances = [frechet_distance(first, features) for features in (half, blurred, another)]
        assert distances == sorted(distances) and distances[2] > 10 * distances[0]


class TestJudge:
    def test_real_pictures_of_classes_are_recognised(self, of_colours):
        test = coloured(60, 1)
        judge = judging(coloured(240, 0), test).judge(of_colours(), test)
        assert sorted(judge.subjects) == sorted(COLOURS)
        row = Reference.of(judge, test, (8, 8)).row(60)
        assert row["accuracy"] > 0.85 and 0 < row["nearer to training"] < 1 and row["intra-class distance ratio"] == 1
        assert Judged.of(judge, test.batch([0, 1]), torch.zeros(2)).features.shape == (2, 48)

    def test_pictures_of_other_classes_are_far_by_the_class_judge_and_each_class_has_its_accuracy(self, of_colours):
        test = coloured(240, 1)
        judge = judging(coloured(240, 0), test).judge(of_colours(), test)
        real = Judged.of(judge, test.batch(slice(None)), judge.labels(test))
        others, wrong = coloured(240, 2), "black"
        same = Judged.of(judge, others.batch(slice(None)), judge.labels(others))
        # Pictures of yellow in place of black ones.
        swapped = others.picked([9 if index % 12 == 4 else index for index in range(240)])
        far = Judged.of(judge, swapped.batch(slice(None)), judge.labels(others))
        near, beyond = judge.further(same, real), judge.further(far, real)
        assert beyond["Fréchet, class judge"] > 3 * near["Fréchet, class judge"] > 0
        assert beyond["accuracy by class"].keys() == set(COLOURS) and beyond["accuracy by class"][wrong] == 0
        assert {**near["accuracy by class"], wrong: 0} == beyond["accuracy by class"]
        assert sum(near["accuracy by class"].values()) / 12 == pytest.approx(same.accuracy())

    def test_real_pictures_of_texts_are_recognised(self, text_pipeline):
        train, test = of_texts(coloured(240, 0)), of_texts(coloured(60, 1))
        judge = judging(train, test).judge(text_pipeline, test)
        row = Reference.of(judge, test, (8, 8)).row(60)
        assert row["accuracy"] > 0.8 and "Fréchet, class judge" not in row and "accuracy by class" not in row
        with pytest.raises(InputError, match="does not know 'a teal square'"):
            judge.labels(replace(test, captions=("a teal square", *test.captions[1:])))
        with pytest.raises(InputError, match=r"the data \(colours 0\) has no captions"):
            judging(replace(train, captions=None), test).judge(text_pipeline, test)

    @pytest.mark.parametrize("kind", ["classes", "texts"])
    def test_it_is_the_same_for_a_pipeline_that_is_measured_in_bfloat16(self, of_colours, text_pipeline, kind):
        train, test = coloured(240, 0), coloured(60, 1)
        if kind == "texts":
            train, test = of_texts(train), of_texts(test)
        pipeline = text_pipeline if kind == "texts" else of_colours()
        exact = Reference.of(judging(train, test).judge(pipeline, test), test, (8, 8))
        with torch.autocast("cpu", torch.bfloat16):
            same = Reference.of(judging(train, test).judge(pipeline, test), test, (8, 8))
        assert torch.equal(same.judged.taken_for, exact.judged.taken_for) and same.row(60) == exact.row(60)

    def test_digits_have_their_own_judge(self, of_colours, make_pipeline):
        digits = replace(coloured(10, 0), label_names=tuple("0123456789"), labels=torch.arange(10))
        grey = replace(digits, images=digits.images[:, :1])
        assert not is_judged_in_colour(make_pipeline(), grey) and is_judged_in_colour(make_pipeline(), digits)
        assert is_judged_in_colour(of_colours(), coloured(12, 0))
        assert not is_judged_in_colour(of_colours(), replace(coloured(12, 0), labels=None))

    def test_a_few_training_pictures_are_of_every_label(self):
        many = coloured(240, 0)
        skewed = replace(many, labels=torch.where(torch.arange(240) < 229, 0, torch.arange(240) % 12))
        for count in (12, 20, 120):
            some = some_of_every_label(skewed, count)
            assert len(some) == count and set(some.labels.tolist()) == set(skewed.labels.tolist())
        # Where all labels are there anyway, they are the same pictures.
        assert torch.equal(some_of_every_label(many, 200).images, many.some(200).images)
        assert len(some_of_every_label(of_texts(many), 7)) == 7 and len(some_of_every_label(skewed, 3)) == 3

    def test_a_missing_network_is_named_with_its_extra(self, monkeypatch):
        monkeypatch.setattr(colour_features.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(InputError, match=r"r2id\[judge\]"):
            ColourFeatures()


class TestEvaluation:
    def test_an_untrained_model_is_found_out_and_shown_beside_its_neighbours(self, of_colours, tmp_path):
        test, plan = coloured(60, 1), Plan(**PLAN, count=36, size=((8, 8), (16, 16)))
        source = judging(coloured(240, 0), test)
        pipeline = of_colours()
        report = evaluate(pipeline, test, plan, colour=source, output=tmp_path)
        real, twice, *generated = report.rows["generation"]
        assert [real["pictures"], twice["pictures"]] == ["8x8", "16x16"] and real["latents"] == "real"
        assert [row["pictures"] for row in generated] == ["8x8", "16x16"]
        for row in generated:
            assert row.keys() == real.keys() and row["accuracy"] < 0.4 < real["accuracy"]
            assert row["Fréchet"] > 5 * real["Fréchet"] and row["nearer to training"] < 0.5
        rows = report.rows["duplicates"]
        assert [row["shown"] for row in rows] == ["once", "tiled 1x2", "tiled 2x1", "tiled 2x2", *["generated"] * 3]
        assert [row["pictures"] for row in rows[4:]] == ["8x8", "16x16", "32x32"]
        assert len(report.rows["outpainting"]) == 1 and len(report.rows["joint"]) == 3
        # What is there is not measured again, and what is not is added.
        whole = report.rows["duplicates"]
        (tmp_path / "evaluation.json").write_text(
            json.dumps({"settings": report.settings} | report.rows | {"duplicates": whole[:5]})
        )
        again = evaluate(pipeline, test, plan, colour=source, output=tmp_path, resume=True)
        assert again.rows == report.rows
        assert (tmp_path / "neighbours.png").read_bytes().startswith(b"\x89PNG")
        kept = json.loads((tmp_path / "evaluation.json").read_text())
        assert kept["settings"]["judge"] == "240 images of colours 0"

    def test_the_border_of_colour_pictures_is_measured(self, of_colours):
        test, pipeline = coloured(6, 1), of_colours()
        plan = Plan(limit=6, consistency=6, count=0, denoising_error=0, latent_size=((2, 2),), size=((8, 8),))
        (row,) = evaluate(pipeline, test, plan).rows["consistency"]
        pictures = test.batch(slice(None))
        with torch.no_grad():
            decoded = pipeline.resampler.decode(pipeline.resampler.encode(pictures, (2, 2)), (8, 8))
        error = (decoded - pictures).square()
        inside = error[..., 1:-1, 1:-1]
        ring = (error.sum() - inside.sum()) / (error.numel() - inside.numel())
        assert row["ring / inside"] == pytest.approx((ring / inside.mean()).item(), rel=1e-4)

    def test_without_a_judge_of_colours_generation_is_not_measured(self, of_colours, capsys):
        plan = Plan(**PLAN | {"denoising_error": 12}, count=4, size=((8, 8),))
        report = evaluate(of_colours(), coloured(12, 1), plan)
        assert set(report.rows) == {"denoising_error"} and "judge" not in report.settings
        assert "generation cannot be measured: The data (colours 1) has the labels red" in capsys.readouterr().err

    @pytest.mark.parametrize("wanted", ["canvases", "duplicates"])
    def test_canvases_and_duplicates_need_no_generated_pictures(self, wanted, of_colours, capsys):
        plan = Plan(**PLAN | {"canvases": None, "duplicates": None, wanted: 2}, count=0, size=((8, 8),))
        train, test = coloured(120, 0), coloured(12, 1)
        report = evaluate(of_colours(), test, plan, colour=judging(train, test))
        sections = {"canvases": {"outpainting", "joint", "panoramas"}, "duplicates": {"duplicates"}}
        assert set(report.rows) == sections[wanted] and report.settings["judge"].startswith("120 images")
        with pytest.raises(InputError, match="cannot be measured: there is no judge of colour pictures"):
            evaluate(of_colours(), test, plan)

    def test_the_command_line_trains_the_judge_on_another_split(self, of_colours, tmp_path, monkeypatch, capsys):
        for split, count in (("train", 48), ("test", 24)):
            data = coloured(count, len(split))
            for index, image in enumerate(data.images):
                path = tmp_path / "data" / split / data.label_names[data.labels[index]] / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
        of_colours().save_pretrained(tmp_path / "model")

        class StandIn(torch.nn.Module):
            forward = staticmethod(areas)

        monkeypatch.setattr("r2id.evaluation.images.ColourFeatures", StandIn)
        options = [
            "--data", str(tmp_path / "data"), "--image-size", "8x8", "--size", "8x8", "--latent-size", "2x2",
            "--count", "12", "--limit", "0", "--denoising-error", "0", "--num-inference-steps", "1",
            "--canvases", "0", "--duplicates", "0",
        ]  # fmt: skip
        arguments = ["r2id", "evaluate", "--model", str(tmp_path / "model"), *options]
        monkeypatch.setattr("sys.argv", [*arguments, "--judge-images", "36", "--output", str(tmp_path / "out")])
        main()
        settings, rows = read_evaluation(tmp_path / "out" / "evaluation.json")
        assert settings["judge"].startswith("36 images of image folder data, split train")
        assert rows["generation"][0]["accuracy"] > 0.8
        assert "it is not the FID" in capsys.readouterr().err
        monkeypatch.setattr("sys.argv", [*arguments, "--train-split", "validation"])
        with pytest.raises(SystemExit):
            main()
        assert "has no split 'validation'; choose from 'test', 'train'" in capsys.readouterr().err

    def test_texts_are_generated_and_judged(self, make_diffuser, make_resampler, text_pipeline):
        parts = text_pipeline.components | {"resampler": make_resampler(image_channels=3)}
        parts.pop("generation_defaults", None)
        pipeline = R2Pipeline(**parts)
        pipeline.set_progress_bar_config(disable=True)
        train, test = of_texts(coloured(120, 0)), of_texts(coloured(24, 1))
        report = evaluate(pipeline, test, Plan(**PLAN, count=24, size=((8, 8),)), colour=judging(train, test))
        real, generated = report.rows["generation"]
        assert generated["accuracy"] < 0.5 < real["accuracy"]
