"""R2ID: any size, cheap guidance, and an untouched start."""

import pytest
import torch

from r2id.conditioning.labels import LabelConditioner
from r2id.errors import InputError
from r2id.geometry.coordinates import Grid
from r2id.networks.diffuser import R2ID


def inputs(size=(5, 3), channels=3):
    return torch.randn(2, channels, *size), torch.tensor([0.3, 0.8]), torch.randn(2, 2, 8)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 3), (12, 4)])
@pytest.mark.parametrize("feature_map", ["softmax", "elu"])
@pytest.mark.parametrize("channels", [1, 3])
def test_samples_of_any_size_keep_their_shape(make_diffuser, size, feature_map, channels):
    sample, alpha_bar, tokens = inputs(size, channels)
    prediction = make_diffuser(feature_map=feature_map, channels=channels)(sample, alpha_bar, tokens)
    assert prediction.shape == sample.shape and prediction.isfinite().all() and prediction.std() > 1e-3


VARIANTS = (
    {},
    {"local_radius": 0.3},
    {"attention": "softmax", "qk_norm": True},
    {"qk_norm": True},
    {"attention": "softmax", "local_radius": 0.3},
)


@pytest.mark.parametrize("variant", VARIANTS)
def test_guidance_branches_are_separate_predictions(make_diffuser, variant):
    diffuser = make_diffuser(**variant)
    sample, alpha_bar, tokens = inputs()
    others = torch.randn(2, 2, 8)
    first, second = diffuser.guidance_branches(sample, alpha_bar, [tokens, others])
    torch.testing.assert_close(first, diffuser(sample, alpha_bar, tokens), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(second, diffuser(sample, alpha_bar, others), rtol=1e-4, atol=1e-5)
    assert (first - second).abs().max() > 1e-3


@pytest.mark.parametrize("variant", VARIANTS)
def test_samples_may_lie_on_any_grid(make_diffuser, variant):
    diffuser = make_diffuser(**variant)
    even = Grid.of_size((5, 3))
    sample, alpha_bar, tokens = inputs()
    torch.testing.assert_close(diffuser(sample, alpha_bar, tokens, grid=even), diffuser(sample, alpha_bar, tokens))
    mirrored = even.crop(torch.arange(4, -1, -1), slice(None))
    upside_down = diffuser(sample.flip(2), alpha_bar, tokens, grid=mirrored).flip(2)
    torch.testing.assert_close(upside_down, diffuser(sample, alpha_bar, tokens), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_samples_of_a_batch_do_not_touch_each_other(make_diffuser, variant):
    diffuser = make_diffuser(**variant)
    sample, alpha_bar, tokens = inputs()
    alone = diffuser(sample[1:], alpha_bar[1:], tokens[1:])
    torch.testing.assert_close(diffuser(sample, alpha_bar, tokens)[1:], alone, rtol=1e-4, atol=1e-5)


def test_a_new_model_predicts_zero():
    diffuser = R2ID(channels=3, dim=16, num_heads=2, encoder_blocks=1, decoder_blocks=1, token_dim=8, time_dim=8)
    assert not diffuser(*inputs()).any()


def test_local_kernels_start_as_none_and_then_matter_as_a_convolution_or_not(make_diffuser):
    plain, local = make_diffuser(), make_diffuser(local_radius=0.3)
    assert local.load_state_dict(plain.state_dict(), strict=False).unexpected_keys == []
    kernels = [block.feed.kernel for block in (*R2ID(local_radius=0.3).encoder, *local.encoder, *local.decoder)]
    assert not any(kernel.any() for kernel in kernels[:8])
    for kernel in kernels:
        torch.nn.init.zeros_(kernel)
    sample, alpha_bar, tokens = inputs()
    torch.testing.assert_close(local(sample, alpha_bar, tokens), plain(sample, alpha_bar, tokens))
    for block in (*local.encoder, *local.decoder):
        torch.nn.init.normal_(block.feed.kernel)
    convolved = local(sample, alpha_bar, tokens)
    assert (convolved - plain(sample, alpha_bar, tokens)).abs().max() > 1e-2
    local.convolves = False
    torch.testing.assert_close(local(sample, alpha_bar, tokens), convolved, rtol=1e-4, atol=1e-5)


def test_many_samples_are_answered_alike_in_chunks(make_diffuser, monkeypatch):
    sample, alpha_bar, tokens = inputs((6, 7))
    for variant in VARIANTS:
        diffuser = make_diffuser(**variant)
        with torch.no_grad():
            expected = diffuser(sample, alpha_bar, tokens)
            with monkeypatch.context() as patch:
                patch.setattr("r2id.networks.diffuser.SAMPLES_AT_ONCE", 10)
                torch.testing.assert_close(diffuser(sample, alpha_bar, tokens), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradient_reaches_every_parameter_once_the_output_is_not_zero(make_diffuser, variant):
    diffuser = make_diffuser(jitter="sampled", **variant).train()
    sample, alpha_bar, tokens = inputs()
    # The time embedding acts only through modulations, which start at zero too.
    for name, parameter in diffuser.named_parameters():
        if "modulation" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    diffuser(sample, alpha_bar, tokens).square().mean().backward()
    dead = [name for name, one in diffuser.named_parameters() if one.grad is None or not one.grad.any()]
    assert dead == []


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_all_prediction_types_build_and_are_remembered(make_diffuser, prediction_type):
    assert make_diffuser(prediction_type=prediction_type).config.prediction_type == prediction_type


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("prediction_type", "clean"),
        ("feature_map", "relu"),
        ("jitter", "expcted"),
        ("num_heads", 5),
        ("attention", "cubic"),
    ],
)
def test_an_unknown_argument_value_is_refused_by_name(make_diffuser, argument, value):
    with pytest.raises(ValueError, match=f"{argument} is {value!r}"):
        make_diffuser(**{argument: value})


def test_the_canvas_is_that_of_training_or_else_the_samples_own(make_diffuser):
    sample, alpha_bar, tokens = inputs((4, 8))
    free, square = make_diffuser(), make_diffuser(canvas=(32, 32))
    square.load_state_dict(free.state_dict())
    own, trained = free(sample, alpha_bar, tokens), square(sample, alpha_bar, tokens)
    assert torch.equal(free(sample, alpha_bar, tokens, canvas=(4, 8)), own)
    assert torch.equal(free(sample, alpha_bar, tokens, canvas=(1, 1)), trained)
    assert torch.equal(square(sample, alpha_bar, tokens, canvas=(1, 2)), own)
    assert (own - trained).abs().max() > 1e-3


def test_wrong_channels_are_refused_with_the_shape(make_diffuser):
    _, alpha_bar, tokens = inputs()
    with pytest.raises(InputError, match=r"\(2, 4, 5, 5\).*\[batch, 3, height, width\]"):
        make_diffuser()(torch.zeros(2, 4, 5, 5), alpha_bar, tokens)


def test_the_time_embedding_tells_levels_of_noise_apart(make_diffuser):
    embedding = make_diffuser(time_dim=32).time
    levels = torch.cos(torch.linspace(0, torch.pi / 2, 30)).square()
    for of_sample, of_area in ((levels, levels), (levels, levels.flip(0)), (levels, levels * 0)):
        vectors = embedding(torch.stack([of_sample, of_area], dim=-1))
        distances = torch.cdist(vectors, vectors) + torch.eye(30) * 100
        assert distances.min() > 1e-3
        assert vectors.isfinite().all()
    ends = torch.tensor([[0.0, 1.0], [-1e-6, 1 + 1e-6]])
    torch.testing.assert_close(*embedding(ends).unbind())


def test_grids_of_other_densities_are_told_apart_by_their_noise(make_diffuser):
    """A checkerboard of one picture, denser: with the noise shifted the model knows that each sample says less."""
    sample, alpha_bar, tokens = inputs((3, 3))
    dense = sample.repeat_interleave(2, -1).repeat_interleave(2, -2)
    seen = []
    for reference in (None, 4):
        diffuser = make_diffuser(noise_reference_size=reference)
        diffuser.time.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
        for grid in (sample, dense):
            diffuser(grid, alpha_bar, tokens)
    unshifted, unshifted_dense, shifted, shifted_dense = seen
    assert torch.equal(unshifted, unshifted_dense) and torch.equal(unshifted[:, 0], unshifted[:, 1])
    assert torch.equal(shifted[:, 0], shifted_dense[:, 0]) and (shifted[:, 1] < shifted_dense[:, 1]).all()


def test_the_level_of_noise_changes_the_prediction_once_the_modulation_is_trained(make_diffuser):
    diffuser = make_diffuser()
    torch.nn.init.normal_(diffuser.out_norm.modulation.weight)
    sample, alpha_bar, tokens = inputs()
    assert (diffuser(sample, alpha_bar, tokens) - diffuser(sample, 1 - alpha_bar, tokens)).abs().max() > 1e-3


def test_jitter_is_for_training_only(make_diffuser):
    diffuser = make_diffuser(jitter="sampled")
    assert torch.equal(diffuser(*(batch := inputs())), diffuser(*batch))
    diffuser.train()
    assert not torch.equal(diffuser(*batch), diffuser(*batch))


def test_a_saved_model_comes_back_whole(make_diffuser, tmp_path):
    diffuser = make_diffuser(canvas=(4, 6), training={"steps": 3})
    diffuser.save_pretrained(tmp_path)
    loaded = R2ID.from_pretrained(tmp_path)
    assert tuple(loaded.config.canvas) == (4, 6) and loaded.config.training == {"steps": 3}
    batch = inputs()
    assert torch.equal(loaded(*batch), diffuser(*batch))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights_give_nearly_the_same(make_diffuser, dtype):
    diffuser = make_diffuser()
    batch = inputs()
    exact = diffuser(*batch)
    low = diffuser.to(dtype)(*(part.to(dtype) for part in batch))
    assert low.dtype == dtype and (low.float() - exact).abs().max() < 0.1 * exact.abs().max()


@pytest.mark.parametrize("at_once", [1, 7, 20])
def test_samples_taken_in_pieces_come_out_as_together(make_diffuser, monkeypatch, at_once):
    diffuser = make_diffuser()
    sample, alpha_bar, tokens = inputs()
    together = diffuser.guidance_branches(sample, alpha_bar, [tokens, 2 * tokens])
    monkeypatch.setattr("r2id.networks.diffuser.SAMPLES_AT_ONCE", at_once)
    with torch.no_grad():
        chunks = diffuser.guidance_branches(sample, alpha_bar, [tokens, 2 * tokens])
    for one, other in zip(chunks, together, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


class TestLabelConditioner:
    def test_labels_become_tokens_that_differ(self):
        conditioner = LabelConditioner(["cat", "dog"], num_tokens=3, dim=8)
        tokens = conditioner(torch.tensor([conditioner.index("cat"), conditioner.index("dog"), conditioner.no_label]))
        assert tokens.shape == (3, 3, 8)
        assert torch.pdist(tokens.flatten(1)).min() > 0.1

    def test_labels_may_be_numbers_and_unknown_ones_are_refused_with_those_known(self):
        conditioner = LabelConditioner(dim=8)
        assert conditioner.index(7) == conditioner.index("7") == 7
        with pytest.raises(InputError, match="'ten'.*0, 1, 2"):
            conditioner.index("ten")

    def test_a_saved_conditioner_comes_back_with_its_labels(self, tmp_path):
        conditioner = LabelConditioner(["cat", "dog"], dim=8)
        conditioner.save_pretrained(tmp_path)
        loaded = LabelConditioner.from_pretrained(tmp_path)
        assert loaded.label_names == ["cat", "dog"]
        assert torch.equal(loaded(torch.tensor([1])), conditioner(torch.tensor([1])))


class TestJointCanvases:
    CANVASES = ((4, 4), (2, 3))

    def noisy(self) -> tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor]]:
        samples = [torch.randn(2, 3, *size) for size in ((5, 4), (3, 6))]
        return samples, [torch.rand(2), torch.rand(2)], list(torch.randn(2, 2, 2, 8))

    def test_one_canvas_is_predicted_as_alone_to_the_bit(self, make_diffuser):
        diffuser = make_diffuser()
        (sample, _), (alpha_bar, _), branches = self.noisy()
        joint = diffuser.joint_branches([sample], [alpha_bar], branches, [(4, 4)])
        alone = diffuser.guidance_branches(sample, alpha_bar, branches, (4, 4))
        assert all(torch.equal(one[0], other) for one, other in zip(joint, alone, strict=True))

    @pytest.mark.parametrize("variant", VARIANTS)
    def test_the_same_canvas_twice_is_as_alone_because_attention_averages(self, make_diffuser, variant):
        diffuser = make_diffuser(**variant)
        (sample, _), (alpha_bar, _), branches = self.noisy()
        joint = diffuser.joint_branches([sample] * 2, [alpha_bar] * 2, branches, [(4, 4)] * 2)
        for parts, alone in zip(joint, diffuser.guidance_branches(sample, alpha_bar, branches, (4, 4)), strict=True):
            for part in parts:
                torch.testing.assert_close(part, alone, rtol=1e-4, atol=1e-5)

    def test_canvases_see_each_other_through_the_blocks_alone(self, make_diffuser):
        samples, alpha_bars, branches = self.noisy()
        for blocks, apart in ((1, False), (0, True)):
            diffuser = make_diffuser(encoder_blocks=blocks, decoder_blocks=blocks)
            joint = diffuser.joint_branches(samples, alpha_bars, branches, self.CANVASES)
            for number, canvas in enumerate(self.CANVASES):
                alone = diffuser.guidance_branches(samples[number], alpha_bars[number], branches, canvas)
                for one, other in zip(joint, alone, strict=True):
                    assert one[number].shape == samples[number].shape
                    assert torch.allclose(one[number], other, rtol=1e-4, atol=1e-5) == apart

    @pytest.mark.parametrize("variant", VARIANTS)
    def test_chunks_and_branches_one_by_one_change_nothing(self, make_diffuser, variant, monkeypatch):
        diffuser = make_diffuser(**variant)
        given = (*self.noisy(), self.CANVASES)
        with torch.no_grad():
            whole = diffuser.joint_branches(*given)
            monkeypatch.setattr("r2id.networks.diffuser.SAMPLES_AT_ONCE", 14)
            for one, other in zip(whole, diffuser.joint_branches(*given), strict=True):
                for part, chunked in zip(one, other, strict=True):
                    torch.testing.assert_close(part, chunked, rtol=1e-4, atol=1e-5)
