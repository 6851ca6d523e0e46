"""Conventions of diffusers' pipelines: loading by diffusers alone, precision, callbacks, outputs and switches."""

import json

import pytest
import torch
from diffusers import DiffusionPipeline, EulerDiscreteScheduler
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from published import FEW, files, pictures, seeded

from r2id import R2ID, R2IR, InputError, R2Pipeline
from r2id.networks.loading import PRETRAINED


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
