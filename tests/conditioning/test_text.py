"""Texts: read by a frozen encoder, learnt from captions, shown as labels are."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import BertConfig, BertModel

from r2id.batch.pictures import Pictures
from r2id.cli import main
from r2id.conditioning.labels import LabelConditioner
from r2id.conditioning.text import TextConditioner, load_text_encoder, text_states
from r2id.data.captions import Captions
from r2id.data.loading import load_images
from r2id.diffusion.pipeline import R2Pipeline
from r2id.errors import InputError
from r2id.evaluation.denoising_error import measure_denoising_error
from r2id.publishing.onnx import export_onnx
from r2id.training.objectives import DiffusionObjective
from r2id.training.settings import DiffuserTraining
from r2id.training.setup import train_diffuser
from text_encoders import TEXT, tiny_tokenizer


@pytest.fixture(scope="module")
def captioned(tmp_path_factory) -> Path:
    """Circles and squares of plain colours, of three sizes, with captions."""
    folder, rows = tmp_path_factory.mktemp("captioned"), []
    for index in range(12):
        colour = ("red", "green", "blue")[index % 3]
        Image.new("RGB", ((8, 8), (12, 6), (4, 8))[index // 4], colour).save(folder / f"{index}.png")
        rows.append({"file_name": f"{index}.png", "text": f"a {colour} square"})
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


class TestEncoder:
    @pytest.mark.parametrize("kind", ["clip", "t5", "bert"])
    def test_a_text_has_the_same_states_alone_and_beside_longer_ones(self, encoders, kind):
        tokenizer, encoder = load_text_encoder(encoders[kind])
        states, present = text_states(tokenizer, encoder, ["a red circle", "", "big " * 40])
        alone, all_present = text_states(tokenizer, encoder, ["a red circle"])
        assert present.sum(dim=1).tolist() == [5, 2, 16] and states.shape == (3, 16, 8) and all_present.all()
        torch.testing.assert_close(states[0, :5], alone[0])
        assert not any(parameter.requires_grad for parameter in encoder.parameters()) and not encoder.training

    def test_a_tokenizer_that_knows_no_length_cuts_at_the_positions_of_its_encoder(self, encoders):
        tokenizer, encoder = load_text_encoder(str(encoders["bert"]))
        tokenizer.model_max_length = int(1e30)
        states, present = text_states(tokenizer, encoder, ["a red circle " * 50])
        assert states.shape[1] == present.sum() == 16

    def test_what_is_no_text_encoder_is_named(self, encoders, tmp_path):
        with pytest.raises(InputError, match="gone cannot be loaded as a text encoder"):
            load_text_encoder(str(tmp_path / "gone"))
        BertModel(BertConfig(**TEXT)).save_pretrained(tmp_path / "bare")
        with pytest.raises(InputError, match="bare cannot be loaded .*knows no words"):
            load_text_encoder(str(tmp_path / "bare"))
        BertModel(BertConfig(**TEXT)).save_pretrained(tmp_path / "pickled")
        (tmp_path / "pickled" / "model.safetensors").rename(tmp_path / "pickled" / "pytorch_model.bin")
        with pytest.raises(InputError, match="pickled cannot be loaded .*, as safetensors"):
            load_text_encoder(str(tmp_path / "pickled"))

    def test_weights_that_are_missing_are_not_drawn_at_random(self, tmp_path):
        BertModel(BertConfig(**TEXT)).save_pretrained(tmp_path)
        tiny_tokenizer().save_pretrained(tmp_path)
        config = json.loads((tmp_path / "config.json").read_text()) | {"num_hidden_layers": 3}
        (tmp_path / "config.json").write_text(json.dumps(config))
        with pytest.raises(InputError, match="weights are missing, such as encoder.layer.2"):
            load_text_encoder(str(tmp_path))

    def test_a_tokenizer_that_makes_nothing_of_the_empty_text_is_refused(self, encoders):
        _, encoder = load_text_encoder(encoders["bert"])
        with pytest.raises(InputError, match="no token at all"):
            text_states(tiny_tokenizer("$A"), encoder, ["a red circle", ""])


class TestConditioner:
    def test_tokens_are_as_many_for_any_text_and_padding_says_nothing(self):
        conditioner = TextConditioner(8, num_tokens=3, dim=12)
        states, present = torch.randn(2, 7, 8), torch.arange(7) < torch.tensor([[4], [7]])
        tokens = conditioner(states, present)
        assert tokens.shape == (2, 3, 12)
        states[0, 4:] = 100.0
        torch.testing.assert_close(conditioner(states, present), tokens)
        torch.testing.assert_close(conditioner(states[:1, :4], present[:1, :4]), tokens[:1])

    def test_captions_encoded_once_give_the_tokens_of_their_texts(self, text_pipeline):
        texts = ["a red circle", "square", "a big blue square"]
        captions = Captions(
            text_pipeline.conditioner, text_pipeline.tokenizer, text_pipeline.text_encoder, texts, progress=False
        )
        found = captions(torch.tensor([2, 0, captions.no_label]))
        expected = text_pipeline.tokens(["a big blue square", "a red circle", None])
        torch.testing.assert_close(found, expected, atol=2e-3, rtol=2e-3)


class TestPipeline:
    def test_a_prompt_is_a_label_by_the_name_of_other_pipelines(self, text_pipeline):
        arguments = {"latent_size": (2, 3), "size": (8, 12), "num_inference_steps": 2, "output_type": "pt"}
        one, other, third = (
            text_pipeline(generator=seeded(), **arguments, **given).images
            for given in ({"prompt": "a red circle"}, {"class_labels": "a red circle"}, {"prompt": ["a blue circle"]})
        )
        assert torch.equal(one, other) and not torch.equal(one, third)

    def test_a_saved_pipeline_comes_back_whole(self, text_pipeline, tmp_path):
        text_pipeline.save_pretrained(tmp_path)
        loaded = R2Pipeline.from_pretrained(tmp_path)
        loaded.set_progress_bar_config(disable=True)
        assert loaded.checksum() == text_pipeline.checksum()
        arguments = {"latent_size": (2, 3), "size": (4, 4), "num_inference_steps": 2, "output_type": "pt"}
        one, other = (
            pipeline(["a", "red", "circle"], generator=seeded(), **arguments).images
            for pipeline in (text_pipeline, loaded)
        )
        assert torch.equal(one, other)

    def test_what_cannot_be_is_said(self, text_pipeline, make_pipeline, tmp_path):
        with pytest.raises(InputError, match="no prompt given"):
            text_pipeline()
        with pytest.raises(InputError, match="class_labels and prompt are both given"):
            text_pipeline(["a"], prompt="a")
        with pytest.raises(InputError, match="'a cat' is not known"):
            make_pipeline()(prompt="a cat")
        with pytest.raises(InputError, match="encoder is not exported"):
            export_onnx(text_pipeline, tmp_path)


class TestParts:
    """Parts that do not fit each other are told of where the pipeline is made or loaded."""

    def parts(self, pipeline: R2Pipeline, **others) -> dict:
        names = ("diffuser", "conditioner", "resampler", "text_encoder", "tokenizer")
        return {name: getattr(pipeline, name) for name in names} | others

    @pytest.mark.parametrize(
        ("others", "sentence"),
        [
            ({"text_encoder": None}, "text_encoder is missing; a TextConditioner needs"),
            ({"tokenizer": None}, "tokenizer is missing"),
            ({"text_encoder": None, "tokenizer": None}, "text_encoder and tokenizer are missing"),
            ({"conditioner": TextConditioner(6, dim=8)}, "text_encoder has states of 8 channels .* reads 6"),
            ({"conditioner": TextConditioner(8, dim=12)}, "conditioner makes tokens of 12 channels .* reads 8"),
            (
                {"conditioner": LabelConditioner(dim=12), "text_encoder": None},
                "conditioner makes tokens of 12 channels .* reads 8",
            ),
            (
                {"conditioner": LabelConditioner(dim=8)},
                "text_encoder is a CLIPTextModel, of which a LabelConditioner reads nothing",
            ),
        ],
    )
    def test_in_one_sentence(self, text_pipeline, others, sentence):
        R2Pipeline(**self.parts(text_pipeline))
        with pytest.raises(InputError, match=sentence) as caught:
            R2Pipeline(**self.parts(text_pipeline, **others))
        assert "\n" not in str(caught.value)

    def test_the_resampler_has_the_latents_of_the_diffuser(self, text_pipeline, make_resampler):
        with pytest.raises(InputError, match="resampler has latents of 5 channels and the diffuser generates 3"):
            R2Pipeline(**self.parts(text_pipeline, resampler=make_resampler(latent_channels=5)))

    def test_another_encoder_in_a_folder_is_told_of(self, text_pipeline, tmp_path):
        text_pipeline.save_pretrained(tmp_path)
        BertModel(BertConfig(**TEXT | {"hidden_size": 12})).save_pretrained(tmp_path / "text_encoder")
        index = json.loads((tmp_path / "model_index.json").read_text())
        index["text_encoder"] = ["transformers", "BertModel"]
        (tmp_path / "model_index.json").write_text(json.dumps(index))
        with pytest.raises(InputError, match="text_encoder has states of 12 channels and the conditioner reads 8"):
            R2Pipeline.from_pretrained(tmp_path)


class TestTraining:
    @pytest.fixture(scope="class")
    def trained(self, encoders, captioned, tmp_path_factory) -> Path:
        return train_diffuser(
            DiffuserTraining(
                data=str(captioned),
                output=tmp_path_factory.mktemp("run"),
                image_size=(8, 8),
                resampler="none",
                text_encoder=encoders["t5"],
                latent_sizes=((4, 4),),
                steps=60,
                batch_size=12,
                warmup_steps=2,
                learning_rate=5e-3,
                sample_every=30,
                model=("dim=16", "num_heads=2", "encoder_blocks=1", "decoder_blocks=1", "token_dim=8", "time_dim=8"),
            )
        )

    def test_the_text_decides_what_is_denoised(self, trained, captioned):
        pipeline = R2Pipeline.from_pretrained(trained)
        data = load_images(captioned, image_size=(4, 4))
        names, losses = list(data.captions), []
        for texts in (names, names[1:] + names[:1]):
            captions = Captions(pipeline.conditioner, pipeline.tokenizer, pipeline.text_encoder, texts, progress=False)
            objective = DiffusionObjective(pipeline, 0.0, captions=captions).eval()
            torch.manual_seed(0)
            with torch.no_grad():
                losses.append(objective(data.batch(slice(None)), torch.arange(12), (4, 4)).item())
        assert losses[0] < 0.9 * losses[1]

    def test_the_denoising_error_takes_captions(self, trained, captioned):
        data = load_images(captioned, image_size=(4, 4))
        rows = list(measure_denoising_error(R2Pipeline.from_pretrained(trained), data, (4, 4), seed=0))
        names = ("given", "dropped", "shuffled")
        errors = {name: sum(row["error"] for row in rows if row["label"] == name) for name in names}
        assert errors["given"] < errors["dropped"] and errors["given"] < errors["shuffled"]

    def test_the_command_line_shows_texts(self, trained, tmp_path, monkeypatch, capsys):
        def run(*arguments: str) -> int:
            monkeypatch.setattr("sys.argv", ["r2id", "sample", "--model", str(trained), *arguments])
            try:
                main()
            except SystemExit as stop:
                return stop.code
            return 0

        output = ["--output", str(tmp_path / "out"), "--latent-size", "4x4", "--num-inference-steps", "2"]
        assert run("--prompt", "a red circle", "--prompt", "a/../b, c", *output) == 0
        assert {path.name for path in (tmp_path / "out" / "8x8").iterdir()} == {
            "0-a_red_circle.png",
            "1-a_.._b_c.png",
        }
        capsys.readouterr()
        assert run(*output) == 2 and "no text given" in capsys.readouterr().err
        assert run("--prompt", "a", "--labels", "b", *output) == 2
        assert "--labels, or --class, and --prompt are both given" in capsys.readouterr().err

    def test_pictures_without_captions_are_refused(self, encoders, tmp_path):
        Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
        config = DiffuserTraining(
            data=str(tmp_path), output=tmp_path / "run", resampler="none", text_encoder=encoders["bert"]
        )
        with pytest.raises(InputError, match="1 images has no captions; give a column text"):
            train_diffuser(config)


def test_a_long_text_is_a_short_name(tmp_path):
    assert len(Pictures(tmp_path, ["word " * 100], [(4, 4)]).file(0, (4, 4)).name) < 100
