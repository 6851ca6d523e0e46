"""A whole evaluation: what cannot be measured is said, what has been measured is kept, and gone on after."""

import json
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from r2id.conditioning.labels import LabelConditioner
from r2id.data.loading import load_images
from r2id.diffusion.defaults import GenerationDefaults, sampling_options
from r2id.diffusion.pipeline import R2Pipeline
from r2id.errors import InputError
from r2id.evaluation.denoising_error import TIMES
from r2id.evaluation.evaluate import evaluate
from r2id.evaluation.generation import Reference
from r2id.evaluation.plan import QUICK_MOST, Plan
from r2id.evaluation.report import read_evaluation

DIGITS = Path(__file__).parents[1] / "fixtures" / "digits"
SMALL = {
    "count": 20,
    "limit": 8,
    "denoising_error": 6,
    "latent_size": ((2, 2), (3, 2)),
    "size": ((16, 16), (8, 8)),
    "num_inference_steps": 2,
}
DIGITS_DEFAULTS = GenerationDefaults((32, 32), (8, 8))
ONLY_RECONSTRUCTION = {"count": 0, "denoising_error": 0}


@pytest.fixture(scope="module")
def pictures():
    return load_images(DIGITS, "test", image_size=(16, 16), limit=20)


def model_of(names, make_pipeline):
    tiny = make_pipeline()
    return R2Pipeline(tiny.diffuser, LabelConditioner(names, dim=8), tiny.resampler)


def assert_same(rows, others):
    """Equal but for the last bits, which may depend on where in memory a tensor happens to lie."""
    assert rows.keys() == others.keys()
    for section in rows:
        for row, other in zip(rows[section], others[section], strict=True):
            assert row.keys() == other.keys()
            for name, value in row.items():
                assert value == (
                    pytest.approx(other[name], rel=1e-4, abs=1e-6) if type(value) is float else other[name]
                )


def test_sizes_are_not_compared_where_no_images_are_to_be(pictures, make_pipeline):
    plan = Plan(count=0, denoising_error=0, consistency=0, limit=2, latent_size=((2, 2),), size=((16, 16),))
    assert set(evaluate(make_pipeline(), pictures, plan).rows) == {"reconstruction"}


class TestPlan:
    def test_quick_limits_images_pictures_and_the_real_digits(self):
        plan = Plan(quick=True).of(10_000, DIGITS_DEFAULTS)
        assert {name: getattr(plan, name) for name in QUICK_MOST} == QUICK_MOST
        assert Plan(quick=True).most("judge_images") == QUICK_MOST["judge_images"] < Plan().most("judge_images")
        assert Plan(quick=True, judge_images=36).most("judge_images") == 36
        assert plan.real == 1000 and plan.latent_size == ((8, 8),) and plan.size == ((32, 32), (27, 18))
        assert Plan(quick=True, count=7, limit=5, latent_size=((2, 3),)).of(10_000, DIGITS_DEFAULTS) == replace(
            plan, count=7, limit=5, consistency=5, latent_size=((2, 3),)
        )

    def test_by_default_all_images_are_measured_and_sizes_named_twice_once(self):
        plan = Plan(latent_size=((2, 2), (4, 4), (2, 2))).of(10_000, DIGITS_DEFAULTS)
        assert (plan.limit, plan.real, plan.consistency, plan.count, plan.denoising_error) == (
            10_000,
            10_000,
            500,
            1000,
            512,
        )
        assert plan.latent_size == ((2, 2), (4, 4)) and len(plan.size) == 4

    def test_sizes_are_a_models_own(self):
        plan = Plan().of(10, DIGITS_DEFAULTS)
        assert plan.latent_size == ((4, 4), (8, 8), (14, 14)) and plan.num_inference_steps == 20
        assert plan.size == ((32, 32), (64, 64), (27, 18), (16, 16))
        other = GenerationDefaults((64, 64), (16, 16), 7, 1.5, (0.0, 1.0))
        plan = Plan(quick=True, guidance_scale=3.0).of(10, other)
        assert plan.latent_size == ((16, 16),) and plan.size == ((64, 64), (54, 36))
        assert sampling_options(plan) == {
            "num_inference_steps": 7, "guidance_scale": 3.0, "guidance_interval": (0.0, 1.0)
        }  # fmt: skip

    def test_no_more_is_planned_than_there_is(self):
        plan = Plan().of(3, DIGITS_DEFAULTS)
        assert (plan.limit, plan.real, plan.consistency, plan.count, plan.denoising_error) == (3, 3, 3, 1000, 3)

    def test_nothing_to_measure_is_refused(self):
        with pytest.raises(InputError, match="limit, count and denoising_error are all 0"):
            Plan(limit=0, count=0, denoising_error=0)


def test_a_quick_evaluation_looks_at_few_real_digits(make_pipeline, pictures, monkeypatch):
    monkeypatch.setitem(QUICK_MOST, "real", 12)
    looked_at, plain = [], Reference.of

    def of(judge, data, size, on_batch):
        looked_at.append((len(data), size))
        return plain(judge, data, size, on_batch)

    monkeypatch.setattr(Reference, "of", of)
    plan = Plan(quick=True, limit=0, count=2, denoising_error=0, latent_size=((2, 2),), num_inference_steps=1)
    assert evaluate(make_pipeline(), pictures, plan).settings["real"] == 12
    assert looked_at == [(12, (16, 16)), (12, (14, 9))]


@pytest.mark.parametrize("names", [["cat", "dog"], ["0", "1", "2"]])
def test_a_model_of_other_labels_is_measured_by_what_it_reconstructs(names, make_pipeline, pictures, capsys):
    report = evaluate(model_of(names, make_pipeline), pictures, Plan(**SMALL))
    assert set(report.rows) == {"reconstruction", "consistency"}
    assert report.settings["count"] == report.settings["denoising_error"] == 0
    (sentence,) = capsys.readouterr().err.splitlines()
    assert "generation and denoising error cannot be measured: label " in sentence and names[-1] in sentence


def test_data_without_labels_are_reconstructed(make_pipeline, pictures, capsys):
    report = evaluate(make_pipeline(), replace(pictures, labels=None, label_names=()), Plan(**SMALL))
    assert set(report.rows) == {"reconstruction", "consistency"}
    (sentence,) = capsys.readouterr().err.splitlines()
    assert "generation and denoising error cannot be measured: the data" in sentence and "no labels" in sentence


def test_a_model_of_known_labels_that_are_no_digits_has_a_denoising_error(make_pipeline, pictures, capsys):
    pets = replace(pictures, labels=pictures.labels % 2, label_names=("cat", "dog"))
    report = evaluate(model_of(["cat", "dog"], make_pipeline), pets, Plan(**SMALL))
    assert set(report.rows) == {"reconstruction", "consistency", "denoising_error"}
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence.startswith("generation cannot be measured") and "cat, dog" in sentence


def test_where_nothing_is_left_to_measure_that_is_an_error(make_pipeline, pictures):
    with pytest.raises(InputError, match="reconstruction cannot be measured: this model works on pixels"):
        evaluate(make_pipeline(resampler=None), pictures, Plan(**SMALL | ONLY_RECONSTRUCTION))
    with pytest.raises(InputError, match="generation cannot be measured.*no labels"):
        evaluate(make_pipeline(), replace(pictures, labels=None), Plan(**SMALL | {"limit": 0, "denoising_error": 0}))


@pytest.mark.parametrize("wanted", ["limit", "count", "denoising_error"])
def test_latents_that_memory_cannot_hold_are_refused_before_any_work(wanted, make_pipeline, pictures):
    plan = Plan(**{"limit": 0, "count": 0, "denoising_error": 0, wanted: 1}, latent_size=((2, 2), (100_000, 100_000)))
    with pytest.raises(InputError, match="1 times 100000x100000 needs .* GiB"):
        evaluate(make_pipeline(), pictures, plan)


def test_pictures_are_counted_as_they_are_made_together(make_pipeline, pictures, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "r2id.evaluation.evaluate.check_fits_in_memory",
        lambda sizes, count, channels: asked.append((tuple(sizes), count)),
    )
    evaluate(make_pipeline(), pictures, Plan(**SMALL | ONLY_RECONSTRUCTION))
    assert (((16, 16), (8, 8), (64, 64)), 8) in asked and max(count for _, count in asked) == 8


def test_guidance_is_refused_before_any_work(make_pipeline, pictures, tmp_path):
    with pytest.raises(InputError, match="guidance_scale is nan"):
        evaluate(make_pipeline(), pictures, Plan(**SMALL | {"guidance_scale": float("nan")}), output=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_takes_no_files_is_found_before_the_first_row(make_pipeline, pictures, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        evaluate(make_pipeline(), pictures, Plan(**SMALL), output=tmp_path / "file" / "figures")
    assert "MSE" not in capsys.readouterr().out


def test_one_picture_is_measured_as_far_as_one_can_be(make_pipeline, pictures, tmp_path):
    def refused(constant):
        raise AssertionError(constant)

    evaluate(make_pipeline(), pictures.some(1), Plan(**SMALL | {"count": 1, "denoising_error": 0}), output=tmp_path)
    kept = json.loads((tmp_path / "evaluation.json").read_text(), parse_constant=refused)
    for row in kept["generation"]:
        assert row["accuracy"] is not None
        assert all(
            row[name] is None for name in ("Fréchet", "precision", "recall", "intra-class distance ratio", "distance")
        )


def test_the_same_seed_gives_the_same_figures_and_another_others(make_pipeline, pictures):
    pipeline = make_pipeline()
    first, again, other = (
        evaluate(pipeline, pictures, Plan(**SMALL | {"latent_size": ((2, 2),)}, seed=seed)).rows for seed in (3, 3, 4)
    )
    assert_same(first, again)
    assert first["reconstruction"] == other["reconstruction"]
    generated = [[row for row in rows["generation"] if row["latents"] != "real"] for rows in (first, other)]
    assert generated[0][0]["distance"] != pytest.approx(generated[1][0]["distance"], rel=1e-2)
    assert first["denoising_error"][1]["error"] != pytest.approx(other["denoising_error"][1]["error"], rel=1e-2)


class TestResuming:
    @pytest.fixture
    def interrupted(self):
        """A progress that is interrupted at its number `at`, and the titles it was given."""

        def make(at):
            titles = []

            @contextmanager
            def progress(total, title, done=0):
                titles.append(title)

                def on_batch(count):
                    if len(titles) > at:
                        raise KeyboardInterrupt

                yield on_batch

            return progress, titles

        return make

    def test_it_goes_on_after_the_last_finished_rows_to_the_same_file(
        self, make_pipeline, pictures, tmp_path, interrupted
    ):
        pipeline, plan = make_pipeline(), Plan(**SMALL)
        progress, titles = interrupted(10**6)
        whole = evaluate(pipeline, pictures, plan, output=tmp_path / "whole", progress=progress)
        assert len(titles) == 10
        for at in (1, 3, 5, 7, 9):
            folder = tmp_path / str(at)
            with pytest.raises(KeyboardInterrupt, match="go on with --resume"):
                evaluate(pipeline, pictures, plan, output=folder, progress=interrupted(at)[0])
            _, before = read_evaluation(folder / "evaluation.json")
            progress, again = interrupted(10**6)
            evaluate(pipeline, pictures, plan, output=folder, progress=progress, resume=True)
            settings, rows = read_evaluation(folder / "evaluation.json")
            assert settings == whole.settings and before == {name: rows[name][: len(before[name])] for name in before}
            assert_same(rows, whole.rows)
            lines = [(path / "denoising-error.csv").read_text().splitlines() for path in (folder, tmp_path / "whole")]
            assert len(lines[0]) == len(lines[1]) == 1 + 2 * 2 * len(TIMES)
            # Real digits are looked at again, but for that nothing is measured twice.
            assert again[-(10 - at) :] == titles[at:] and all(title.startswith("real") for title in again[: at - 10])

    def test_generation_goes_on_within_a_row(self, make_pipeline, pictures, tmp_path, monkeypatch):
        """Pictures that were made are not made again, unless that is asked for or they were made otherwise."""
        monkeypatch.setattr("r2id.evaluation.generation.BATCH", 5)
        monkeypatch.setattr("r2id.evaluation.generation.KEEP_EVERY", 0)
        pipeline, plan = make_pipeline(), Plan(**SMALL | {"limit": 0, "denoising_error": 0, "latent_size": ((2, 2),)})
        whole = evaluate(pipeline, pictures, plan).rows["generation"]
        folder, made = tmp_path / "figures", []

        def progress_until(last):
            @contextmanager
            def progress(total, title, done=0):
                if title.startswith("latents"):
                    made.append([done])

                def on_batch(count):
                    if title.startswith("latents"):
                        made[-1].append(count)
                        if sum(made[-1]) == last:
                            raise KeyboardInterrupt

                yield on_batch

            return progress

        def interrupted_at(last, **changes):
            with pytest.raises(KeyboardInterrupt):
                evaluate(pipeline, pictures, plan, output=folder, progress=progress_until(last), **changes)

        interrupted_at(10)
        interrupted_at(15, resume=True)
        interrupted_at(20, resume=True)
        rows = evaluate(pipeline, pictures, plan, output=folder, resume=True, progress=progress_until(None)).rows
        assert made == [[0, 5, 5], [10, 5], [15, 5], [20]]
        assert_same({"generation": whole}, {"generation": rows["generation"]})
        assert [path.name for path in folder.iterdir()] == ["evaluation.json"]
        interrupted_at(10)
        interrupted_at(5)
        (folder / "2x2.unfinished.safetensors").write_bytes(b"damaged")
        interrupted_at(5, resume=True)
        (folder / "evaluation.json").unlink()
        other = replace(plan, seed=1)
        evaluate(pipeline, pictures, other, output=folder, resume=True, progress=progress_until(None))
        assert made[4:] == [[0, 5, 5], [0, 5], [0, 5], [0, 5, 5, 5, 5]]

    def test_the_denoising_error_is_a_file_as_soon_as_a_latent_size_is_done(
        self, make_pipeline, pictures, tmp_path, interrupted
    ):
        plan = Plan(**SMALL | {"count": 0, "limit": 0})
        with pytest.raises(KeyboardInterrupt):
            evaluate(make_pipeline(), pictures, plan, output=tmp_path, progress=interrupted(1)[0])
        assert "2x2" in (tmp_path / "denoising-error.csv").read_text() and (tmp_path / "denoising-error.png").is_file()

    def test_other_settings_and_other_weights_are_refused(self, make_pipeline, pictures, tmp_path):
        pipeline, plan = make_pipeline(), Plan(**SMALL | ONLY_RECONSTRUCTION)
        evaluate(pipeline, pictures, plan, about={"model": "one"}, output=tmp_path)
        before = (tmp_path / "evaluation.json").read_bytes()
        evaluate(pipeline, pictures, plan, about={"model": "the same elsewhere"}, output=tmp_path, resume=True)
        with pytest.raises(InputError, match="limit is 7; what .* was measured with 8"):
            evaluate(pipeline, pictures, replace(plan, limit=7), output=tmp_path, resume=True)
        with pytest.raises(InputError, match="images is "):
            evaluate(pipeline, replace(pictures, images=255 - pictures.images), plan, output=tmp_path, resume=True)
        with torch.no_grad():
            next(pipeline.diffuser.parameters()).add_(1)
        with pytest.raises(InputError, match="weights is "):
            evaluate(pipeline, pictures, plan, output=tmp_path, resume=True)
        assert (tmp_path / "evaluation.json").read_bytes() == before

    def test_it_needs_a_folder_and_begins_where_that_is_empty(self, make_pipeline, pictures, tmp_path):
        plan = Plan(**SMALL | ONLY_RECONSTRUCTION)
        with pytest.raises(InputError, match="--resume is given without --output"):
            evaluate(make_pipeline(), pictures, plan, resume=True)
        assert evaluate(make_pipeline(), pictures, plan, output=tmp_path / "new", resume=True).rows["reconstruction"]
