"""Texts read word by word: known words, learned ones, unknown ones, and a model trained on them."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from r2id.cli import main
from r2id.conditioning.word_vectors import WordVectors, load_word_vectors, word_vector_folder, words_of
from r2id.conditioning.words import MOST_WORDS, WordConditioner
from r2id.data.captions import WordCaptions
from r2id.data.loading import load_images
from r2id.diffusion.pipeline import R2Pipeline
from r2id.errors import InputError
from r2id.evaluation.evaluate import evaluate
from r2id.evaluation.plan import Plan
from r2id.training.settings import DiffuserTraining
from r2id.training.setup import train_diffuser

VECTORS = WordVectors(("a", "red", "green", "heart", "rocket"), torch.randn(5, 6, generator=torch.Generator()).half())
SHAPE = {"text_dim": 8, "num_blocks": 1, "num_tokens": 3, "dim": 8, "num_heads": 2}


@pytest.fixture
def conditioner() -> WordConditioner:
    return WordConditioner.of(VECTORS, ["red quokka", "blue"], **SHAPE).eval()


class TestWords:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("Red Heart, 3d style!", ["red", "heart", "3d", "style"]),
            ("the cat's café", ["the", "cat", "café"]),
            ("flag: Côte d’Ivoire", ["flag", "côte", "divoire"]),
            ("ＲＥＤ\n心 赤い", ["red", "心", "赤", "い"]),
            (" !? ❤ ", []),
        ],
    )
    def test_a_text_is_split_into_small_words_without_punctuation(self, text, words):
        assert words_of(text) == words

    def test_the_bundled_vectors_know_colours_and_what_is_like_what(self):
        vectors = load_word_vectors()
        index = {word: number for number, word in enumerate(vectors.words)}
        assert len(index) == len(vectors.words) == 28_500 and vectors.vectors.dtype == torch.float16

        def alike(one: str, other: str) -> float:
            pair = vectors.vectors[[index[one], index[other]]].float()
            return torch.cosine_similarity(pair[0], pair[1], dim=0).item()

        assert alike("heart", "hearts") > alike("heart", "rocket") + 0.1
        assert alike("cat", "kitten") > alike("cat", "truck") + 0.2
        assert {"red", "green", "blue", "watermelon", "smiling", "tropical"} <= index.keys()

    def test_a_folder_comes_before_the_bundled_vectors_and_must_be_whole(self, tmp_path, monkeypatch):
        assert word_vector_folder("words").name == "words" and word_vector_folder("openai/clip") is None
        save_file({"vectors": torch.zeros(2, 4)}, tmp_path / "vectors.safetensors")
        (tmp_path / "words.txt").write_text("one\ntwo\n")
        assert word_vector_folder(str(tmp_path)) == tmp_path
        assert load_word_vectors(tmp_path).words == ("one", "two")
        (tmp_path / "words.txt").write_text("one\n")
        with pytest.raises(InputError, match=r"1 words and vectors of the shape \(2, 4\)"):
            load_word_vectors(tmp_path)
        (tmp_path / "vectors.safetensors").write_bytes(b"torn")
        with pytest.raises(InputError, match="cannot be read as word vectors"):
            load_word_vectors(tmp_path)


class TestReading:
    def test_known_and_learned_words_have_vectors_of_their_own(self, conditioner, caplog):
        assert set(conditioner.vocabulary) == {*VECTORS.words, "quokka", "blue"}
        tokens = conditioner(conditioner.read(["red heart", "green heart", "quokka", "heart red", None]))
        assert tokens.shape == (5, 3, 8) and not caplog.messages
        differences = torch.cdist(tokens.flatten(1), tokens.flatten(1)) + torch.eye(5)
        assert differences.min() > 1e-3

    def test_a_text_has_the_same_tokens_alone_and_beside_longer_ones(self, conditioner):
        together = conditioner(conditioner.read(["red", "a red heart quokka", None]))
        for index, text in enumerate(["red", "a red heart quokka", None]):
            torch.testing.assert_close(conditioner(conditioner.read([text])), together[index : index + 1])

    def test_an_unknown_word_is_read_as_the_one_spelled_most_like_it_or_left_out(self, conditioner, caplog):
        read = conditioner.read(["a rockett", "a rocket", "a кот heart", "a heart"])
        assert torch.equal(read[0], read[1]) and torch.equal(read[2], read[3])
        assert caplog.messages == [
            "the word 'rockett' is not known, and read as 'rocket'",
            "the word 'кот' is not known, and left out",
        ]
        bundled = WordConditioner.of(load_word_vectors(), [], **SHAPE)
        assert torch.equal(bundled.read(["a rocket"]), bundled.read(["rocket"]))
        conditioner.read(["a rockett"])
        assert len(caplog.messages) == 2

    @pytest.mark.parametrize("text", ["", " ,!", "кот 心", "zzzzzz"])
    def test_a_text_without_a_known_word_says_nothing_and_is_told_of(self, conditioner, caplog, text):
        assert torch.equal(conditioner.read([text]), conditioner.read([None]))
        assert caplog.messages[-1] == f"no word of the text {text!r} is known, so the picture may show anything"
        assert len(caplog.messages) == 1

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("красное red сердце", "the words 'красное', 'сердце' are not known, and left out"),
            ("a b c red d e b", "the words 'b', 'c', 'd' and 1 more are not known, and left out"),
            (
                "rockett hearts кот",
                "the words 'rockett', 'hearts' are not known, and read as 'rocket', 'heart'; "
                "the word 'кот' is not known, and left out",
            ),
            ("кот red кот", "the word 'кот' is not known, and left out"),
            ("red " * 70 + "кот", "a text has 71 words, and the first 64 are read"),
            ("кот red x " * 50, "a text has 150 words, and the first 64 are read; the words 'кот', 'x' are not known"),
            ("кот " * 150, f"no word of the text {'кот ' * 10!r} is known"),
        ],
    )
    def test_what_is_not_known_of_a_text_is_one_line(self, conditioner, caplog, text, told):
        conditioner.read([text])
        (line,) = caplog.messages
        assert line.startswith(told)

    def test_an_enormous_text_is_read_at_its_beginning(self, conditioner, caplog):
        read = conditioner.read(["red heart " * 100_000])
        assert read.shape == (1, 1 + MOST_WORDS) and caplog.messages == [
            "a text has 200000 words, and the first 64 are read",
        ]
        assert conditioner(read).isfinite().all()

    def test_further_words_are_learned_beside_those_that_were(self, conditioner):
        assert conditioner.with_words(["a blue quokka"]) is conditioner
        extended = conditioner.with_words(["a zebra", "an aardvark"]).eval()
        assert {"zebra", "aardvark", "an"} < set(extended.vocabulary)
        texts = ["red quokka", "blue rocket", None]
        torch.testing.assert_close(extended(extended.read(texts)), conditioner(conditioner.read(texts)))

    def test_captions_read_once_give_the_tokens_of_their_texts(self, conditioner):
        captions = WordCaptions(conditioner, ["red heart", "blue"])
        found = captions(torch.tensor([1, 0, captions.no_label]))
        expected = conditioner(conditioner.read(["blue", "red heart", None]))
        torch.testing.assert_close(found, expected)


class TestPipeline:
    @pytest.fixture
    def pipeline(self, conditioner, make_diffuser, make_resampler) -> R2Pipeline:
        pipeline = R2Pipeline(make_diffuser(), conditioner, make_resampler())
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
    def test_a_saved_pipeline_comes_back_with_its_words(self, pipeline, tmp_path, dtype):
        if dtype != torch.float32:
            pipeline.to(dtype)
        pipeline.save_pretrained(tmp_path)
        loaded = R2Pipeline.from_pretrained(tmp_path)
        if dtype != torch.float32:
            loaded.to(dtype)
        assert loaded.conditioner.vocabulary == pipeline.conditioner.vocabulary
        assert loaded.checksum() == pipeline.checksum() and loaded.shows_texts
        assert loaded.conditioner.fixed.dtype == torch.float16
        texts = ["a red quokka", "rocket", None]
        assert torch.equal(loaded.tokens(texts), pipeline.tokens(texts))

    def test_a_prompt_shows_what_it_says(self, pipeline):
        arguments = {"latent_size": (2, 2), "size": (4, 4), "num_inference_steps": 2, "output_type": "pt"}

        def picture(prompt) -> torch.Tensor:
            return pipeline(prompt=prompt, generator=torch.Generator().manual_seed(0), **arguments).images

        assert torch.equal(picture("a red heart"), picture(["A red, heart!"]))
        assert not torch.equal(picture("a red heart"), picture("a green heart"))
        with pytest.raises(InputError, match="no prompt given"):
            pipeline()


class TestTraining:
    @pytest.fixture(scope="class")
    def captioned(self, tmp_path_factory) -> Path:
        """Plain colours, one of them with a name that has no vector."""
        folder, rows = tmp_path_factory.mktemp("captioned"), []
        for index in range(12):
            name, colour = (("red", "red"), ("green", "lime"), ("quokkaish", "blue"))[index % 3]
            Image.new("RGB", (4, 4), colour).save(folder / f"{index}.png")
            rows.append({"file_name": f"{index}.png", "text": [f"a {name} square", f"{name}"]})
        (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
        return folder

    def settings(self, captioned: Path, output: Path, **others) -> DiffuserTraining:
        how = {
            "data": str(captioned), "output": output, "image_size": (4, 4), "resampler": "none",
            "text_encoder": "words", "latent_sizes": ((4, 4),), "steps": 60, "batch_size": 12, "warmup_steps": 2,
            "learning_rate": 5e-3, "sample_every": 30,
            "model": ("dim=16", "num_heads=2", "encoder_blocks=1", "decoder_blocks=1", "token_dim=8", "time_dim=8"),
        }  # fmt: skip
        return DiffuserTraining(**how | others)

    @pytest.fixture(scope="class")
    def trained(self, captioned, tmp_path_factory) -> Path:
        return train_diffuser(self.settings(captioned, tmp_path_factory.mktemp("run")))

    def test_the_command_line_shows_texts_and_says_what_it_does_not_know(
        self, trained, tmp_path, monkeypatch, capsys, caplog
    ):
        arguments = ["--prompt", "a red square", "--prompt", "Quokkaish кот", "--num-inference-steps", "2"]
        output = ["--latent-size", "4x4", "--output", str(tmp_path / "out")]
        monkeypatch.setattr("sys.argv", ["r2id", "sample", "--model", str(trained), *arguments, *output])
        main()
        assert sorted(path.name for path in (tmp_path / "out" / "4x4").iterdir()) == [
            "0-a_red_square.png",
            "1-Quokkaish_кот.png",
        ]
        assert caplog.messages == ["the word 'кот' is not known, and left out"]

    def test_the_right_caption_has_less_error_than_that_of_another_image(self, trained, captioned, tmp_path, capsys):
        pipeline = R2Pipeline.from_pretrained(trained)
        data = load_images(captioned, image_size=(4, 4))
        report = evaluate(pipeline, data, Plan(limit=0, count=0, latent_size=((4, 4),)), output=tmp_path)
        errors = {
            label: sum(row["error"] for row in report.rows["denoising_error"] if row["label"] == label)
            for label in ("given", "dropped", "shuffled")
        }
        assert errors["given"] < 0.9 * errors["shuffled"] and errors["given"] < errors["dropped"]
        assert "with label   without  another's" in capsys.readouterr().out
        assert (tmp_path / "denoising-error.png").is_file()

    def test_a_trained_model_learns_further_words(self, trained, captioned, tmp_path):
        before = R2Pipeline.from_pretrained(trained).conditioner
        assert before.config.learned_words == 2 and before.config.fixed_words == 28_500
        rows = [json.loads(line) for line in (captioned / "metadata.jsonl").read_text().splitlines()]
        for row in rows:
            Image.open(captioned / row["file_name"]).save(tmp_path / row["file_name"])
            row["text"] = "a glorbish thing"
        (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
        again = self.settings(tmp_path, tmp_path / "run", init_from=str(trained), steps=2, sample_every=0, model=())
        after = R2Pipeline.from_pretrained(train_diffuser(again)).conditioner
        assert {"quokkaish", "glorbish"} < set(after.vocabulary) and after.config.learned_words == 3
        old, new = (one.learned[one.vocabulary["quokkaish"]] for one in (before, after))
        torch.testing.assert_close(new, old, atol=0.05, rtol=0.05)


class TestSharedVectors:
    TEXTS = ("a red heart", "quokka", "blue quokkas")

    @pytest.fixture
    def bundled(self) -> WordConditioner:
        return WordConditioner.of(load_word_vectors(), ["red quokka"], **SHAPE).eval()

    def test_weights_saved_without_the_bundled_vectors_read_the_same(self, bundled, tmp_path):
        words = bundled.read(self.TEXTS)
        expected = bundled(words)
        bundled.share_vectors()
        bundled.save_pretrained(tmp_path)
        assert sum(file.stat().st_size for file in tmp_path.iterdir()) < bundled.fixed.nbytes / 10
        loaded = WordConditioner.from_pretrained(tmp_path).eval()
        assert torch.equal(loaded.read(self.TEXTS), words)
        torch.testing.assert_close(loaded(words), expected)

    def test_they_learn_further_words(self, bundled):
        words = bundled.read(self.TEXTS)
        bundled.share_vectors()
        extended = bundled.with_words(["wombat"])
        assert "wombat" in extended.vocabulary and extended.config.vectors_of == bundled.config.vectors_of
        torch.testing.assert_close(extended(extended.read(self.TEXTS)), bundled(words))

    def test_other_vectors_are_not_shared(self, conditioner, bundled, tmp_path):
        with pytest.raises(InputError, match=r"bundled as 'words'; they must be those"):
            conditioner.share_vectors()
        bundled.share_vectors()
        bundled.save_pretrained(tmp_path)
        config = json.loads((tmp_path / "config.json").read_text())
        config["vectors_of"]["checksum"] += 1
        (tmp_path / "config.json").write_text(json.dumps(config))
        with pytest.raises(InputError, match="the word vectors words are not those"):
            WordConditioner.from_pretrained(tmp_path)


def test_info_tells_of_bundled_parts_by_name_and_counts_what_was_learnt(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["r2id", "info", "emoji"])
    main()
    shown = capsys.readouterr().out
    learnt = sum(one.numel() for one in R2Pipeline.from_pretrained("emoji").conditioner.parameters())
    assert "vectors_of=words" in shown and "latents_of=pictures" in shown
    assert f"conditioner: WordConditioner, {learnt:,} parameters" in shown
