"""Every scheduler of diffusers for a variance-preserving process samples, or is refused in one sentence."""

import inspect

import diffusers
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler
from seeds import seeded

from r2id.diffusion.schedule import (
    SIGMA_OPTIONS,
    alpha_bar_at,
    alpha_bar_of_step,
    cosine_alpha_bar,
    logit_normal_time,
    shift_scheduler,
    start_scheduler,
)
from r2id.errors import InputError

OPTIONS = (*SIGMA_OPTIONS, "use_beta_sigmas", "use_flow_sigmas")
FEW = {"latent_size": (6, 5), "size": []}
REFUSED = {
    "DDIMInverseScheduler": "from pictures to noise",
    "DPMSolverMultistepInverseScheduler": "from pictures to noise",
    "CogVideoXDPMScheduler": "needs .* at every step",
    "RePaintScheduler": "needs .* at every step",
    "UnCLIPScheduler": "a noise schedule that cannot be set",
    "use_beta_sigmas": "pure noise",
    "use_flow_sigmas": "not of a variance-preserving process",
}


def schedulers():
    """Each that has a table of betas, without and with each of its ways to choose sigmas."""
    kinds = [getattr(diffusers, name) for name in sorted(dir(diffusers)) if name.endswith("Scheduler")]
    for kind in kinds:
        parameters = inspect.signature(kind).parameters
        if "beta_schedule" in parameters:
            yield from ((kind, option) for option in (None, *OPTIONS) if option is None or option in parameters)


@pytest.fixture(params=["v_prediction", "sample"])
def two_values(make_pipeline, request):
    """A pipeline whose network knows of latents that every sample is -1 or 1, as likely."""
    pipeline = make_pipeline(noise_reference_size=4, prediction_type=request.param)
    pipeline.resampler.latent_std.fill_(1.0)
    pipeline.resampler.latent_mean.zero_()

    def perfect(sample, alpha_bar, branches, canvas=None):
        share, noisy = alpha_bar.double()[:, None, None, None], sample.double()
        clean = torch.tanh(share.sqrt() * noisy / (1 - share).clamp_min(1e-12))
        if request.param == "sample":
            return tuple(clean.float() for _ in branches)
        noise = (noisy - share.sqrt() * clean) / (1 - share).clamp_min(1e-12).sqrt()
        return tuple((share.sqrt() * noise - (1 - share).sqrt() * clean).float() for _ in branches)

    pipeline.diffuser.guidance_branches = perfect
    return pipeline


@pytest.mark.parametrize(
    ("kind", "option"), schedulers(), ids=lambda value: getattr(value, "__name__", value or "plain")
)
def test_every_scheduler_samples_or_is_refused(two_values, kind, option):
    try:
        scheduler = kind.from_config(two_values.scheduler.config, **({option: True} if option else {}))
    except ImportError as error:
        pytest.skip(str(error))
    two_values.scheduler = scheduler
    reason = REFUSED.get(kind.__name__) or REFUSED.get(option or "")
    if reason:
        with pytest.raises(InputError, match=reason) as caught:
            two_values([1], num_inference_steps=50, **FEW)
        assert "\n" not in str(caught.value)
        return
    latents = two_values([1, 2], num_inference_steps=50, generator=seeded(), **FEW).latents
    assert (latents.abs() - 1).abs().mean() < 0.02 and latents.mean().abs() < 0.4
    try:
        assert two_values([1], num_inference_steps=2, generator=seeded(), **FEW).latents.isfinite().all()
    except InputError as error:
        assert "no schedule of 2 steps" in str(error)


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        (FlowMatchEulerDiscreteScheduler, "FlowMatchEulerDiscreteScheduler is not of a variance-preserving process"),
        (diffusers.EDMEulerScheduler, "EDMEulerScheduler is not of a variance-preserving process"),
    ],
)
def test_other_processes_are_refused(make_pipeline, kind, named):
    with pytest.raises(InputError, match=named):
        make_pipeline(scheduler=kind())([1], **FEW)


def test_a_scheduler_of_clean_samples_takes_them_as_they_are(two_values):
    """Some of diffusers' own take them; the default is told the velocity, and must lead to the same latents."""
    expected = two_values([1, 2], num_inference_steps=9, generator=seeded(), **FEW).latents
    config = dict(two_values.scheduler.config) | {"prediction_type": "sample"}
    two_values.scheduler = UniPCMultistepScheduler.from_config(config)
    if two_values.diffuser.config.prediction_type != "sample":
        with pytest.raises(InputError, match="expects prediction_type 'sample' and the model gives 'v_prediction'"):
            two_values([1], **FEW)
        return
    found = two_values([1, 2], num_inference_steps=9, generator=seeded(), **FEW).latents
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_logit_normal_times_keep_their_strata_and_make_the_ratio_of_noise_to_signal_log_normal():
    shares = (torch.arange(4096) + torch.rand(4096)) / 4096
    time = logit_normal_time(shares, 0.8, 0.5)
    assert (time.diff() > -1e-6).all() and logit_normal_time(torch.tensor([0.0, 1.0]), 0, 1).tolist() == [0, 1]
    alpha_bar = cosine_alpha_bar(time, (4, 4), None)
    ratio = ((1 - alpha_bar) / alpha_bar).sqrt().log()
    assert ratio.mean().item() == pytest.approx(0.8, abs=0.01) and ratio.std().item() == pytest.approx(0.5, abs=0.01)


def test_steps_that_a_scheduler_does_not_have_are_refused(two_values):
    two_values.scheduler = diffusers.LCMScheduler.from_config(two_values.scheduler.config)
    with pytest.raises(InputError, match="LCMScheduler has no schedule of 200 steps"):
        two_values([1], num_inference_steps=200, **FEW)


@pytest.mark.parametrize("ratio", [1, 2.0])
@pytest.mark.parametrize("kind", [UniPCMultistepScheduler, DDIMScheduler, DDPMScheduler])
def test_a_call_leaves_the_scheduler_as_it_is(kind, ratio):
    scheduler = kind(beta_schedule="squaredcos_cap_v2")
    scheduler.set_timesteps(7)
    started = start_scheduler(scheduler, ratio, 3, "cpu")
    assert started is not scheduler and len(started.timesteps) == 3 and len(scheduler.timesteps) == 7
    assert torch.equal(started.alphas_cumprod, scheduler.alphas_cumprod) == (ratio == 1)


@pytest.mark.parametrize("ratio", [1, 4.0])
@pytest.mark.parametrize("kind", [DDIMScheduler, diffusers.CogVideoXDDIMScheduler])
def test_a_shifted_copy_changes_the_table_once(kind, ratio):
    scheduler = kind(beta_schedule="squaredcos_cap_v2", rescale_betas_zero_snr=True)
    table = scheduler.alphas_cumprod.double()
    expected = table / (table + ratio * (1 - table))
    torch.testing.assert_close(
        shift_scheduler(scheduler, ratio).alphas_cumprod.double(), expected, rtol=1e-3, atol=1e-6
    )


def test_heun_takes_no_slope_from_pure_noise():
    """It averages the slopes at the ends of a step, and those of the first would differ by thousands."""
    config = {"beta_schedule": "squaredcos_cap_v2", "timestep_spacing": "trailing"}
    started = start_scheduler(diffusers.HeunDiscreteScheduler(**config), 1, 20, "cpu")
    assert started.sigmas[0] < 20


def test_the_network_is_told_the_noise_that_there_is():
    """Whole timesteps, as the table has them; other sigmas belong to no timestep."""
    config = {"beta_schedule": "squaredcos_cap_v2", "timestep_spacing": "trailing"}
    plain = start_scheduler(UniPCMultistepScheduler(**config), 1, 9, "cpu")
    assert all(alpha_bar_of_step(plain, i) == alpha_bar_at(plain, t) for i, t in enumerate(plain.timesteps))
    for kind in (UniPCMultistepScheduler, diffusers.EulerDiscreteScheduler):
        karras = start_scheduler(kind(**config, use_karras_sigmas=True), 1, 9, "cpu")
        torch.testing.assert_close(alpha_bar_of_step(karras, 0), 1 / (1 + karras.sigmas[0] ** 2))
