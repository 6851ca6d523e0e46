"""Model cards: what is known of a model, and somebody's own card."""

import json

import pytest
from huggingface_hub import ModelCard
from published import files

from r2id import InputError, R2Pipeline, cli
from r2id.files.cards import CARD, GENERATED, keep_card
from r2id.networks.loading import PRETRAINED
from r2id.publishing.card import model_card

SIZES = {"8x8": 0.25, "16x16": 0.5}


class TestCards:
    def test_a_saved_pipeline_has_one_that_says_what_is_known(self, tmp_path):
        R2Pipeline.from_pretrained("mnist").save_pretrained(tmp_path)
        card = ModelCard.load(tmp_path / CARD)
        assert card.data.library_name == "diffusers" and card.data.license is None and card.data.eval_results is None
        assert card.data.pipeline_tag == "unconditional-image-generation"
        for part in ("mnist, split train, 60000 images", "steps 8000", "Weights: not given", "6,478,736"):
            assert part in card.text
        assert "README.md" not in files(tmp_path / "resampler")

    def test_it_is_written_anew_until_somebody_removes_the_line_that_says_so(self, pipeline, tmp_path):
        path = tmp_path / CARD
        pipeline.save_pretrained(tmp_path)
        pipeline.diffuser.register_to_config(training={"data": "circles", "steps": 5})
        pipeline.save_pretrained(tmp_path)
        assert "steps 5" in path.read_text()
        assert path.read_text().count(GENERATED) == 1
        path.write_text(path.read_text().replace(GENERATED, "").replace("steps 5", "5 steps"))
        mine = path.read_bytes()
        pipeline.save_pretrained(tmp_path)
        assert path.read_bytes() == mine
        pipeline.save_pretrained(tmp_path, card=model_card(pipeline, license="mit"))
        assert ModelCard.load(path).data.license == "mit"
        asked_for = path.read_bytes()
        pipeline.save_pretrained(tmp_path)
        assert path.read_bytes() == asked_for

    def test_it_tells_every_training_that_the_weights_went_through(self, pipeline, capsys, monkeypatch, tmp_path):
        first = {"data": "Hugging Face data set a/circles, split train, 9 images", "steps": 50, "image_size": [8, 8]}
        second = {"data": "Hugging Face data set a/squares, split train, 9 images", "steps": 7, "started_from": first}
        pipeline.diffuser.register_to_config(training=second)
        pipeline.save_pretrained(tmp_path)
        card = ModelCard.load(tmp_path / CARD)
        assert "**diffuser**, 1 of 2: data Hugging Face data set a/circles, split train, 9 images, steps" in card.text
        assert "image_size 8x8\n\n**diffuser**, 2 of 2: data Hugging Face data set a/squares, " in card.text
        assert card.data.datasets == ["a/circles", "a/squares"] and "{" not in card.text
        monkeypatch.setattr("sys.argv", ["r2id", "info", "--model", str(tmp_path)])
        cli.main()
        shown = " ".join(capsys.readouterr().out.split())
        assert "training, 1 of 2: data=Hugging Face data set a/circles" in shown and "image_size=8x8" in shown
        assert "training, 2 of 2: data=Hugging Face data set a/squares" in shown and "{" not in shown

    def test_a_folder_that_is_replaced_keeps_somebodys_own(self, pipeline, tmp_path):
        old, new = tmp_path / "old", tmp_path / "new"
        for folder in (old, new):
            pipeline.save_pretrained(folder)
        pipeline.diffuser.register_to_config(training={"data": "circles"})
        pipeline.save_pretrained(new)
        keep_card(old, new)
        assert "circles" in (new / CARD).read_text()
        (old / CARD).write_text("mine")
        keep_card(old, new)
        assert (new / CARD).read_text() == "mine"

    def test_figures_are_those_of_the_trained_size(self, make_pipeline, tmp_path):
        pipeline = make_pipeline(canvas=(8, 8), training={"data": "Hugging Face data set a/b, split train, 9 images"})
        rows = [{"latents": "4x4", "pictures": size, "MSE": value, "method": "R2IR"} for size, value in SIZES.items()]
        report = {
            "settings": {
                "weights": pipeline.checksum(),
                "data": "Hugging Face data set a/b, split test, 5 images",
                "limit": 5,
                "count": 6,
                "denoising_error": 5,
            },
            "reconstruction": [*rows, {"latents": "4x4", "pictures": "8x8", "MSE": 0.9, "method": "Lanczos"}],
            "generation": [
                {
                    "latents": "real",
                    "pictures": "8x8",
                    "accuracy": 1.0,
                    "Fréchet": 0.0,
                    "accuracy by class": {"3": 1.0},
                },
                {"latents": "4x4", "pictures": "8x8", "accuracy": 0.75, "Fréchet": None},
            ],
            "denoising_error": [{"latents": "4x4", "t": 0.5, "error": 1.0}],
        }
        (tmp_path / "evaluation.json").write_text(json.dumps(report))
        card = model_card(pipeline, "a/model", evaluation=tmp_path / "evaluation.json", data_license="CC0")
        card = ModelCard(str(card))
        found = {result.metric_type: result.metric_value for result in card.data.eval_results}
        assert found == {"mse": 0.25, "accuracy": 0.75} and card.data.eval_results[0].dataset_type == "a/b"
        assert card.data.datasets == ["a/b"] and "CC0" in card.text
        assert "| 4x4 | 8x8 | 0.25 |" in card.text and "0.9" not in card.text and "| real | 8x8 | 1 | 0 |" in card.text
        assert "6 generated pictures:" in card.text
        report["settings"]["weights"] += 1
        (tmp_path / "other.json").write_text(json.dumps(report))
        with pytest.raises(InputError, match="other.json measured other weights"):
            model_card(pipeline, evaluation=tmp_path / "other.json")
        with pytest.raises(InputError, match="gone.json cannot be read as figures"):
            model_card(pipeline, evaluation=tmp_path / "gone.json")

    def test_the_bundled_one_is_read_by_the_hubs_client(self):
        card = ModelCard.load(PRETRAINED / "mnist" / CARD)
        assert card.data.license == "apache-2.0" and card.data.pipeline_tag and "CC BY-SA 3.0" in card.text
        forms = {"mse": "{:.4f}", "accuracy": "{:.1%}", "frechet-distance": "{:.3f}"}
        for result in card.data.eval_results:
            assert forms[result.metric_type].format(result.metric_value).replace("%", " %") in card.text
        written = (PRETRAINED / "mnist" / CARD).read_text(encoding="utf-8").count("\n      value: ")
        assert len(card.data.eval_results) == written > 0

    def test_the_command_writes_one_and_never_over_another(self, capsys, monkeypatch, tmp_path):
        def run(*arguments) -> None:
            monkeypatch.setattr("sys.argv", ["r2id", "card", *map(str, arguments)])
            cli.main()

        run("--license", "mit", "--output", tmp_path / CARD)
        assert ModelCard.load(tmp_path / CARD).data.license == "mit"
        with pytest.raises(SystemExit):
            run("--license", "apache-2.0", "--output", tmp_path / CARD)
        assert "is there already" in capsys.readouterr().err
        R2Pipeline.from_pretrained("mnist").save_pretrained(tmp_path / "model")
        run("--model", tmp_path / "model", "--license", "mit")
        assert ModelCard.load(tmp_path / "model" / CARD).data.license == "mit"
