"""Loading from the Hugging Face hub, its cache and folders, and uploading."""

import pytest
import torch
from huggingface_hub import ModelCard
from published import COMMIT, files, pictures

from r2id import R2ID, R2IR, InputError, LabelConditioner, R2Pipeline, cli
from r2id.diffusion import folders
from r2id.files.cards import CARD
from r2id.publishing.card import model_card


class TestLoading:
    def test_info_of_a_model_of_the_hub_is_that_of_its_folder(self, pipeline, in_cache, monkeypatch, capsys, tmp_path):
        pipeline.save_pretrained(tmp_path / "saved")
        in_cache(tmp_path / "saved", "someone/digits")
        shown = []
        for model in (str(tmp_path / "saved"), "someone/digits"):
            monkeypatch.setattr("sys.argv", ["r2id", "info", "--model", model])
            cli.main()
            shown.append(capsys.readouterr().out.partition("\n")[2])
        assert shown[0] == shown[1] and "R2ID" in shown[0]

    def test_a_pipeline_comes_from_the_cache_of_the_hub(self, pipeline, in_cache, tmp_path):
        pipeline.save_pretrained(tmp_path / "saved")
        in_cache(tmp_path / "saved", "someone/digits")
        loaded = R2Pipeline.from_pretrained("someone/digits")
        assert torch.equal(pictures(loaded), pictures(pipeline))
        assert loaded.config["_name_or_path"] == "someone/digits"
        again = R2Pipeline.from_pretrained(
            "someone/digits", cache_dir=tmp_path / "cache", revision=COMMIT, local_files_only=True
        )
        assert again.checksum() == pipeline.checksum()
        with pytest.raises(InputError, match="someone/others is not a folder"):
            R2Pipeline.from_pretrained("someone/others")

    def test_networks_come_from_a_subfolder(self, pipeline, in_cache, tmp_path):
        pipeline.save_pretrained(tmp_path / "saved")
        in_cache(tmp_path / "saved", "someone/digits")
        for name in ("someone/digits", tmp_path / "saved"):
            assert R2IR.from_pretrained(name, subfolder="resampler").checksum() == pipeline.resampler.checksum()
            assert isinstance(R2ID.from_pretrained(name, subfolder="diffuser"), R2ID)
        assert R2IR.from_pretrained("mnist", subfolder="resampler").config.latent_channels == 64

    @pytest.mark.parametrize(("variant", "weights"), [(None, {"", "fp16"}), ("fp16", {"fp16"}), ("bf16", {""})])
    def test_only_what_is_needed_is_fetched(self, monkeypatch, tmp_path, variant, weights):
        from huggingface_hub.utils import filter_repo_objects

        names = ["model_index.json", "README.md", "pipeline.py", "old/w.safetensors", "net/config.json", "net/net.bin"]
        names += ["net/model.safetensors", "net/model.fp16.safetensors", "tokenizer/merges.txt"]
        fetched = set()

        def snapshot(name, allow_patterns, ignore_patterns):
            wanted = filter_repo_objects(names, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns)
            for one in wanted:
                (tmp_path / one).parent.mkdir(exist_ok=True)
                (tmp_path / one).touch()
                fetched.add(one)
            return str(tmp_path)

        monkeypatch.setattr(folders, "snapshot_download", snapshot)
        parts = {"net": ["r2id.net", "Net"], "tokenizer": ["transformers", "T"], "text_encoder": [None, None]}
        assert folders.fetch("me/net", parts, variant) == str(tmp_path)
        expected = {"model_index.json", "net/config.json", "tokenizer/merges.txt"}
        plain = "net/model.fp16.safetensors" if variant == "fp16" else "net/model.safetensors"
        assert fetched == expected | {plain}

    def test_a_variant_is_saved_and_loaded(self, pipeline, tmp_path):
        pipeline.to(torch.float16).save_pretrained(tmp_path, variant="fp16")
        assert {name for name in files(tmp_path) if name.endswith(".safetensors")} == {
            f"{part}/diffusion_pytorch_model.fp16.safetensors" for part in ("diffuser", "conditioner", "resampler")
        }
        loaded = R2Pipeline.from_pretrained(tmp_path, variant="fp16")
        assert loaded.dtype == torch.float32 and loaded.checksum() == pipeline.checksum()
        with pytest.raises(InputError, match=f"^{tmp_path} has no weights without a variant; there are 'fp16'$"):
            R2Pipeline.from_pretrained(tmp_path)

    def test_a_variant_that_is_not_there_is_named(self, pipeline, in_cache, tmp_path):
        missing = "has no weights of variant 'fp16'; there are those without a variant$"
        with pytest.raises(InputError, match=f"^mnist {missing}"):
            R2Pipeline.from_pretrained("mnist", variant="fp16")
        with pytest.raises(InputError, match=f"^mnist {missing}"):
            R2ID.from_pretrained("mnist", subfolder="diffuser", variant="fp16")
        pipeline.save_pretrained(tmp_path / "saved", max_shard_size="5KB")
        in_cache(tmp_path / "saved", "someone/digits")
        with pytest.raises(InputError, match=f"^someone/digits {missing}"):
            R2Pipeline.from_pretrained("someone/digits", variant="fp16")
        pipeline.resampler.save_pretrained(tmp_path / "saved" / "resampler", variant="bf16", max_shard_size="5KB")
        with pytest.raises(InputError, match="'fp16'; there are those without a variant, 'bf16'$"):
            R2IR.from_pretrained(tmp_path / "saved", subfolder="resampler", variant="fp16")

    def test_it_may_be_loaded_to_a_device(self, pipeline, tmp_path):
        pipeline.save_pretrained(tmp_path)
        loaded = R2Pipeline.from_pretrained(tmp_path, device="meta")
        assert {part.device.type for part in (loaded.diffuser, loaded.conditioner, loaded.resampler)} == {"meta"}
        assert torch.equal(pictures(R2Pipeline.from_pretrained(tmp_path, device="cpu")), pictures(pipeline))
        for kind, part in ((R2IR, "resampler"), (R2ID, "diffuser"), (LabelConditioner, "conditioner")):
            assert kind.from_pretrained(tmp_path, subfolder=part, device=torch.device("meta")).device.type == "meta"
        with pytest.raises(InputError, match="device 'gpu' cannot be used; take cpu, or cuda"):
            R2Pipeline.from_pretrained(tmp_path, device="gpu")
        with pytest.raises(InputError, match="device 'cpu' and device_map 'cpu' are both given"):
            R2Pipeline.from_pretrained(tmp_path, device="cpu", device_map="cpu")

    @pytest.mark.parametrize(
        ("arguments", "named"),
        [
            ({"device_map": "auto"}, "cannot be loaded with device_map 'auto': auto not supported"),
            ({"dtype": torch.float32, "torch_dtype": torch.float32}, "with dtype 'torch.float32' and torch_dtype"),
        ],
    )
    def test_an_argument_that_is_refused_is_named(self, pipeline, tmp_path, arguments, named):
        pipeline.save_pretrained(tmp_path)
        with pytest.raises(InputError, match=named) as caught:
            R2Pipeline.from_pretrained(tmp_path, **arguments)
        assert "damaged" not in str(caught.value) and "\n" not in str(caught.value)

    def test_pickles_are_not_read_even_if_asked_for(self, pipeline, tmp_path):
        pipeline.resampler.save_pretrained(tmp_path, safe_serialization=False)
        assert "diffusion_pytorch_model.bin" in files(tmp_path)
        for asked in ({}, {"use_safetensors": False}):
            with pytest.raises(InputError, match="diffusion_pytorch_model.safetensors"):
                R2IR.from_pretrained(tmp_path, **asked)

    def test_a_device_map_loads_piece_by_piece(self, pipeline, tmp_path):
        pipeline.save_pretrained(tmp_path)
        loaded = R2Pipeline.from_pretrained(tmp_path, device_map="cpu")
        assert torch.equal(pictures(loaded), pictures(pipeline))


class TestUploading:
    def test_a_pipeline_goes_up_with_a_card_and_comes_down_again(self, pipeline, online):
        assert pipeline.push_to_hub("digits", private=True) == "https://hub/me/digits"
        assert online.calls[0] == {"private": True, "token": None, "exist_ok": True}
        assert online.calls[1]["commit_message"] == "Upload R2Pipeline"
        folder = online.folder / "me" / "digits"
        assert R2Pipeline.from_pretrained(folder).checksum() == pipeline.checksum()
        assert 'R2Pipeline.from_pretrained("me/digits")' in (folder / CARD).read_text()

    def test_a_network_alone_goes_up_as_well(self, pipeline, online):
        pipeline.resampler.push_to_hub("someone/eyes", variant="fp16")
        folder = online.folder / "someone" / "eyes"
        assert files(folder) == {"config.json", "diffusion_pytorch_model.fp16.safetensors", CARD}
        assert R2IR.from_pretrained(folder, variant="fp16").checksum() == pipeline.resampler.checksum()
        assert 'R2IR.from_pretrained("someone/eyes")' in (folder / CARD).read_text()
        pipeline.resampler.push_to_hub("someone/all", subfolder="resampler")
        assert files(online.folder / "someone" / "all") == {
            "resampler/config.json",
            "resampler/diffusion_pytorch_model.safetensors",
        }

    def test_saving_may_upload_too(self, pipeline, online, tmp_path):
        pipeline.save_pretrained(tmp_path / "digits", push_to_hub=True, variant="fp16", commit_message="First")
        pipeline.resampler.save_pretrained(tmp_path / "eyes", push_to_hub=True, repo_id="you/eyes")
        assert files(online.folder / "me" / "digits") == files(tmp_path / "digits")
        assert online.calls[1]["commit_message"] == "First"
        assert (online.folder / "you" / "eyes" / "config.json").is_file()

    def test_a_card_on_the_hub_stays_if_somebody_wrote_it(self, pipeline, online):
        pipeline.push_to_hub("digits")
        pipeline.diffuser.register_to_config(training={"data": "circles"})
        pipeline.push_to_hub("digits")
        path = online.folder / "me" / "digits" / CARD
        assert "circles" in path.read_text()
        path.write_text("---\nlicense: mit\n---\nmine\n")
        pipeline.push_to_hub("digits")
        assert path.read_text() == "---\nlicense: mit\n---\nmine\n"
        pipeline.push_to_hub("digits", card=model_card(pipeline, license="apache-2.0"))
        assert ModelCard(path.read_text()).data.license == "apache-2.0"
