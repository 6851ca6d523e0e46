"""Conventions of the Hugging Face hub and of diffusers' pipelines: loading, saving, cards, uploading, switches."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline, EulerDiscreteScheduler
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from huggingface_hub import ModelCard
from huggingface_hub.errors import EntryNotFoundError

from r2id import R2ID, R2IR, InputError, LabelConditioner, R2Pipeline, cli
from r2id.diffusion import folders
from r2id.files import hub
from r2id.files.cards import CARD, GENERATED, keep_card
from r2id.networks.loading import PRETRAINED
from r2id.publishing.card import model_card

FEW = {"latent_size": (3, 2), "size": (8, 6), "num_inference_steps": 3, "output_type": "pt"}
COMMIT = "0" * 40


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def pictures(pipeline: R2Pipeline) -> torch.Tensor:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline([3, 8], generator=seeded(), **FEW).images


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def pipeline(make_pipeline):
    return make_pipeline()


@pytest.fixture
def in_cache(monkeypatch, tmp_path):
    """Puts a folder into an empty cache of the hub, as if it had been fetched."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))

    def put(folder: Path, name: str) -> Path:
        repository = tmp_path / "cache" / f"models--{name.replace('/', '--')}"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text(COMMIT)
        return shutil.copytree(folder, repository / "snapshots" / COMMIT)

    return put


class Hub:
    """Keeps what would be uploaded."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.card, self.calls = folder, None, []

    def create_repo(self, repo_id, **arguments):
        self.calls.append(arguments)
        return type("Url", (), {"repo_id": repo_id if "/" in repo_id else f"me/{repo_id}"})

    def upload_folder(self, *, repo_id, folder_path, path_in_repo, **arguments):
        self.calls.append(arguments)
        shutil.copytree(folder_path, self.folder / repo_id / (path_in_repo or ""), dirs_exist_ok=True)
        return f"https://hub/{repo_id}"

    def load(self, repo_id, **arguments):
        if not (self.folder / repo_id / CARD).exists():
            raise EntryNotFoundError("no card")
        return ModelCard((self.folder / repo_id / CARD).read_text())


@pytest.fixture
def online(monkeypatch, tmp_path):
    stand_in = Hub(tmp_path / "hub")
    monkeypatch.setattr(hub, "create_repo", stand_in.create_repo)
    monkeypatch.setattr(hub, "upload_folder", stand_in.upload_folder)
    monkeypatch.setattr(hub.ModelCard, "load", stand_in.load)
    return stand_in


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


class TestPlainDiffusers:
    @pytest.fixture(autouse=True)
    def modules(self, monkeypatch, tmp_path):
        monkeypatch.setattr("diffusers.utils.dynamic_modules_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))

    def test_it_loads_a_saved_pipeline_that_it_may_trust(self, pipeline, tmp_path):
        pipeline.save_pretrained(tmp_path / "saved")
        with pytest.raises(ValueError, match="trust_remote_code=True"):
            DiffusionPipeline.from_pretrained(tmp_path / "saved")
        loaded = DiffusionPipeline.from_pretrained(tmp_path / "saved", trust_remote_code=True)
        assert type(loaded) is R2Pipeline and type(loaded.resampler) is R2IR
        assert torch.equal(pictures(loaded), pictures(pipeline))
        loaded.save_pretrained(tmp_path / "again")
        assert files(tmp_path / "again") == files(tmp_path / "saved")

    def test_it_loads_the_bundled_weights(self, tmp_path):
        bundled = PRETRAINED / "mnist"
        loaded = DiffusionPipeline.from_pretrained(bundled, trust_remote_code=True)
        assert type(loaded) is R2Pipeline and loaded.checksum() == R2Pipeline.from_pretrained("mnist").checksum()
        loaded.save_pretrained(tmp_path / "saved")
        for path in bundled.rglob("*.py"):
            assert path.read_bytes() == (tmp_path / "saved" / path.relative_to(bundled)).read_bytes()
        assert files(tmp_path / "saved") == {name for name in files(bundled) if "__pycache__" not in name}

    @pytest.mark.parametrize("trusted", [True, False], ids=["by diffusers", "by R2Pipeline"])
    def test_it_loads_one_whose_code_names_the_modules_of_version_0_1(self, pipeline, tmp_path, trusted):
        pipeline.save_pretrained(tmp_path)
        index = json.loads((tmp_path / "model_index.json").read_text())
        (tmp_path / "pipeline.py").write_text("from r2id.pipeline import R2Pipeline  # noqa: F401\n")
        for part, module in (("diffuser", "diffuser"), ("resampler", "resampler"), ("conditioner", "conditioning")):
            (tmp_path / part / f"r2id_{part}.py").unlink()
            code = f"from r2id.{module} import {index[part][1]}  # noqa: F401\n"
            (tmp_path / part / f"r2id_{module}.py").write_text(code)
            index[part][0] = f"r2id_{module}"
        (tmp_path / "model_index.json").write_text(json.dumps(index))
        if trusted:
            loaded = DiffusionPipeline.from_pretrained(tmp_path, trust_remote_code=True)
        else:
            loaded = R2Pipeline.from_pretrained(tmp_path)
        assert type(loaded) is R2Pipeline and type(loaded.diffuser) is R2ID
        assert torch.equal(pictures(loaded), pictures(pipeline))

    def test_the_code_names_the_package_alone(self, pipeline, tmp_path):
        pipeline.save_pretrained(tmp_path)
        code = {path.name: path.read_text() for path in tmp_path.rglob("*.py")}
        assert code == {
            f"{file}.py": f"from r2id import {name}  # noqa: F401\n"
            for file, name in {
                "pipeline": "R2Pipeline",
                "r2id_diffuser": "R2ID",
                "r2id_resampler": "R2IR",
                "r2id_conditioner": "LabelConditioner",
            }.items()
        }

    def test_it_loads_one_from_the_cache_of_the_hub(self, pipeline, in_cache, tmp_path):
        pipeline.save_pretrained(tmp_path / "saved")
        in_cache(tmp_path / "saved", "someone/digits")
        loaded = DiffusionPipeline.from_pretrained("someone/digits", trust_remote_code=True)
        assert torch.equal(pictures(loaded), pictures(pipeline))

    def test_what_it_would_fetch_from_the_hub_is_there(self, pipeline, tmp_path):
        from diffusers.pipelines.pipeline_loading_utils import _get_custom_components_and_folders

        pipeline.save_pretrained(tmp_path)
        config = json.loads((tmp_path / "model_index.json").read_text())
        code, _ = _get_custom_components_and_folders("someone/digits", config, files(tmp_path))
        assert set(code) == {"diffuser", "conditioner", "resampler"}

    def test_the_code_in_a_folder_is_not_run_by_this_package(self, pipeline, tmp_path):
        pipeline.save_pretrained(tmp_path)
        for path in tmp_path.rglob("*.py"):
            path.write_text("raise SystemExit('run')")
        assert R2Pipeline.from_pretrained(tmp_path).checksum() == pipeline.checksum()

    def test_a_text_pipeline_keeps_its_encoder(self, text_pipeline, tmp_path):
        text_pipeline.save_pretrained(tmp_path)
        loaded = DiffusionPipeline.from_pretrained(tmp_path, trust_remote_code=True)
        loaded.set_progress_bar_config(disable=True)
        one, other = (each("a red circle", generator=seeded(), **FEW).images for each in (text_pipeline, loaded))
        assert torch.equal(one, other)


class TestPrecision:
    @pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 2e-3), (torch.float16, 1e-4)])
    def test_pictures_in_half_precision_are_those_of_float32(self, dtype, tolerance):
        few = {"latent_size": (4, 4), "size": (20, 20), "num_inference_steps": 3, "output_type": "np"}
        exact, rounded = (R2Pipeline.from_pretrained("mnist", dtype=kind) for kind in (torch.float32, dtype))
        for pipeline in (exact, rounded):
            pipeline.set_progress_bar_config(disable=True)
        assert rounded.dtype == dtype
        for scheduler in (rounded.scheduler, EulerDiscreteScheduler.from_config(rounded.scheduler.config)):
            exact.scheduler = rounded.scheduler = scheduler
            one, other = (each(["3", "8"], generator=seeded(), **few) for each in (exact, rounded))
            assert other.latents.dtype == dtype
            assert ((one.images - other.images) ** 2).mean() < tolerance

    def test_the_checksum_is_of_the_weights_and_not_of_their_type(self, pipeline):
        half = pipeline.to(torch.float16).checksum()
        assert pipeline.to(torch.float32).checksum() == half
        assert pipeline.to(torch.bfloat16).checksum() != half


class Halve(PipelineCallback):
    tensor_inputs = ["latents"]

    def callback_fn(self, pipeline, step_index, timestep, callback_kwargs):
        assert pipeline.num_timesteps == 3
        return {"latents": callback_kwargs["latents"] / 2}


class TestCallbacks:
    def test_those_of_diffusers_are_called_in_turn(self, pipeline):
        twice = pipeline(
            [3], generator=seeded(), callback_on_step_end=MultiPipelineCallbacks([Halve(), Halve()]), **FEW
        )
        quarter = pipeline(
            [3],
            generator=seeded(),
            callback_on_step_end=lambda *given: {"latents": given[3]["latents"] / 4},
            callback_on_step_end_tensor_inputs=["latents"],
            **FEW,
        )
        assert torch.equal(twice.images, quarter.images)

    def test_other_tensors_are_refused(self, pipeline):
        with pytest.raises(InputError, match="prompt_embeds.*only"):
            pipeline([3], callback_on_step_end_tensor_inputs=["prompt_embeds"], **FEW)

    def test_a_call_ends_where_a_callback_says_so(self, pipeline):
        seen = []

        def stop(caller, step, timestep, tensors):
            seen.append(tensors["latents"])
            caller._interrupt = step == 1
            return tensors

        result = pipeline([3], generator=seeded(), callback_on_step_end=stop, **FEW)
        assert len(seen) == 2 and pipeline.interrupt
        assert torch.equal(result.latents, pipeline.resampler.destandardise(seen[-1]))
        pipeline([3], **FEW)
        assert not pipeline.interrupt

    def test_one_may_change_the_guidance(self, pipeline):
        """As those of diffusers do, which set the private name and read the other."""
        seen = []

        def without(caller, step, timestep, tensors):
            seen.append(caller.guidance_scale)
            caller._guidance_scale = 1.0
            return tensors

        given = {"guidance_scale": 2.0, "guidance_interval": (0.0, 1.0)}
        changed = pipeline([3], generator=seeded(), callback_on_step_end=without, **given | FEW)
        guided = pipeline([3], generator=seeded(), **given | FEW)
        assert seen == [2.0, 1.0, 1.0] and pipeline.guidance_scale == 2.0
        assert not torch.equal(changed.images, guided.images)


class TestOutputs:
    def test_latents_take_the_place_of_pictures(self, pipeline):
        pipeline.decode = None
        result = pipeline([3, 8], generator=seeded(), **FEW | {"output_type": "latent"})
        assert result.images is result.latents and result.latents.shape == (2, 3, 3, 2)

    def test_a_tuple_holds_pictures_and_latents(self, pipeline):
        images, latents = pipeline([3, 8], generator=seeded(), return_dict=False, **FEW)
        result = pipeline([3, 8], generator=seeded(), **FEW)
        assert torch.equal(images, result.images) and torch.equal(latents, result.latents)

    def test_latents_are_not_decoded_to_latents(self, pipeline):
        with pytest.raises(InputError, match="output_type is 'latent'; it must be 'pil', 'np' or 'pt'"):
            pipeline.decode(torch.zeros(1, 3, 2, 2), (4, 4), output_type="latent")


class TestSwitches:
    @pytest.mark.parametrize("name", ["enable_sequential_cpu_offload", "enable_group_offload"])
    def test_one_that_cannot_work_is_refused(self, pipeline, name):
        with pytest.raises(InputError, match=f"{name} is not possible with R2Pipeline"):
            getattr(pipeline, name)(torch.device("cpu"))
        with pytest.raises(InputError, match="enable_group_offload is not possible with R2ID"):
            pipeline.diffuser.enable_group_offload(torch.device("cpu"))

    def test_networks_are_brought_to_the_device_one_at_a_time(self, pipeline, monkeypatch):
        import accelerate.hooks

        brought = []
        bring = accelerate.hooks.CpuOffload.pre_forward

        def note(hook, module, *arguments, **settings):
            brought.append(type(module).__name__)
            return bring(hook, module, *arguments, **settings)

        before = pictures(pipeline)
        monkeypatch.setattr(accelerate.hooks.CpuOffload, "pre_forward", note)
        pipeline.enable_model_cpu_offload(device="cpu")
        assert torch.equal(pictures(pipeline), before)
        assert list(dict.fromkeys(brought)) == ["LabelConditioner", "R2ID", "R2IR"]
        brought.clear()
        latents = pipeline.resampler.encode(torch.zeros(1, 1, 4, 4), (2, 2))
        pipeline.decode(latents, (5, 5))
        assert brought and set(brought) == {"R2IR"}

    def test_weights_may_be_stored_in_eight_bits(self):
        pipeline = R2Pipeline.from_pretrained("mnist")
        pipeline.set_progress_bar_config(disable=True)
        few = {"latent_size": (4, 4), "num_inference_steps": 4, "output_type": "np"}
        before = pipeline(["3", "8"], generator=seeded(), **few).images
        for network in (pipeline.diffuser, pipeline.resampler):
            network.enable_layerwise_casting(torch.float8_e4m3fn, torch.float32)
        after = pipeline(["3", "8"], generator=seeded(), **few).images
        assert 0 < ((before - after) ** 2).mean() < 2e-3


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
                {"latents": "real", "pictures": "8x8", "accuracy": 1.0, "Fréchet": 0.0},
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


SIZES = {"8x8": 0.25, "16x16": 0.5}


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
