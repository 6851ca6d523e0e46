"""Arguments of networks: what their constructors cannot use is named with what is accepted."""

from inspect import signature

import pytest

from r2id.errors import InputError
from r2id.networks.arguments import check_arguments
from r2id.networks.diffuser import R2ID
from r2id.networks.resampler import R2IR
from r2id.training.presets import DIFFUSER_PRESETS, RESAMPLER_PRESETS
from r2id.training.setup import network_arguments


@pytest.mark.parametrize(
    ("network", "pair", "sentence"),
    [
        (R2ID, "dim=abc", "with dim='abc'; it must be a whole number of at least 1$"),
        (R2ID, "dim=0", "with dim=0; it must be a whole number of at least 1$"),
        (R2ID, "dim=True", "with dim=True; "),
        (R2ID, "dim=1e3", "with dim=1000.0; "),
        (R2ID, "encoder_blocks=-1", "with encoder_blocks=-1; it must be a whole number of at least 0$"),
        (R2ID, "radius=far", "with radius='far'; it must be a number above 0 or None$"),
        (R2ID, "local_radius=inf", "with local_radius='inf'; "),
        (R2ID, "qk_norm=maybe", "with qk_norm='maybe'; it must be True or False$"),
        (R2ID, "attention=x", "with attention='x'; it must be 'linear' or 'softmax'$"),
        (R2ID, "canvas=(1, 0)", r"with canvas=\(1, 0\); it must be 2 numbers, each a number above 0 or None$"),
        (R2ID, "canvas=5", "with canvas=5; "),
        (R2ID, "training=5", "with training=5; it must be a dict or None$"),
        (R2ID, "depth=3", "no argument 'depth'; choose from channels, dim, "),
        (R2ID, "self=3", "no argument 'self'"),
        (R2IR, "radius=None", "with radius=None; it must be a number above 0$"),
        (R2IR, "pixels_per_cell=0", "with pixels_per_cell=0; "),
        (R2IR, "widths=5", "with widths=5; it must be 4 numbers, each a whole number of at least 1$"),
        (R2IR, "widths=(1, 2)", r"with widths=\(1, 2\); it must be 4 numbers"),
        (R2IR, "decoder_blocks=(1, 1, -1, 1)", "it must be 4 numbers, each a whole number of at least 0$"),
    ],
)
def test_what_cannot_be_is_named(network, pair, sentence):
    with pytest.raises(InputError, match=sentence):
        check_arguments(network, network_arguments((pair,)))


@pytest.mark.parametrize(("network", "presets"), [(R2IR, RESAMPLER_PRESETS), (R2ID, DIFFUSER_PRESETS)])
def test_defaults_and_presets_are_accepted(network, presets):
    check_arguments(network, {name: one.default for name, one in signature(network).parameters.items()})
    for preset in presets.values():
        check_arguments(network, network_arguments(preset.model))
    check_arguments(
        R2ID, network_arguments(("canvas=[2, 3]", "encoder_blocks=0", "radius=1", "noise_reference_size=None"))
    )
