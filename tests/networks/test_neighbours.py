"""Depthwise kernels of the offset between samples: one sum, however it is computed, at any density."""

import copy
import math
from functools import partial
from itertools import product

import pytest
import torch

from r2id.geometry.coordinates import Grid
from r2id.networks.attention import LinearAttention
from r2id.networks.layers import EncoderBlock
from r2id.networks.neighbours import Bands, Pairs, Stencil, neighbours_of

CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def slow(values, samples, radius, basis, weight):
    """The formula itself, one pair and one cosine after another."""
    places = samples.points() if isinstance(samples, Grid) else samples
    out = torch.zeros_like(values)
    reach = [max(radius / side, cell) for side, cell in zip(places.extent, places.cell, strict=True)]
    for query, here in enumerate(places.relative.tolist()):
        total = 0.0
        for source, there in enumerate(places.relative.tolist()):
            delta = [(t - h) / r for t, h, r in zip(there, here, reach, strict=True)]
            if max(map(abs, delta)) >= 1:
                continue
            window = math.prod(math.cos(math.pi * one / 2) ** 2 for one in delta)
            total += window
            for j, k in product(range(basis), repeat=2):
                value = window
                for order, one in ((j, delta[0]), (k, delta[1])):
                    value *= math.cos(math.pi * order * (one + 1) / 2) * (math.sqrt(2) if order else 1)
                out[:, query] += value * weight[j * basis + k] * values[:, source]
        out[:, query] /= total
    return out


@pytest.mark.parametrize("radius", [0.05, 0.3, 2.0])
@pytest.mark.parametrize("basis", [1, 3])
@pytest.mark.parametrize(("size", "canvas"), [((4, 4), None), ((3, 7), (2, 3)), ((1, 5), None)])
def test_every_form_is_the_formula(size, canvas, radius, basis):
    grid = Grid.of_size(size, canvas)
    values, weight = torch.randn(2, math.prod(size), 3), torch.randn(basis**2, 3)
    scattered = grid.points().jittered(0.3)
    for samples, form in ((grid, Stencil), (grid.jittered(0.2), Bands), (scattered, Pairs)):
        found = neighbours_of(samples, radius, basis)
        assert isinstance(found, form)
        torch.testing.assert_close(found.mix(values, weight), slow(values, samples, radius, basis, weight), **CLOSE)


def test_a_part_of_a_grid_is_as_a_grid_of_its_own():
    part = Grid.of_size((8, 9), (3, 2)).crop(slice(2, 6), slice(0, 5))
    values, weight = torch.randn(1, 20, 2), torch.randn(9, 2)
    found = [neighbours_of(part, 0.3, 3, convolves).mix(values, weight) for convolves in (True, False)]
    assert part.even and not part.crop(torch.tensor([2, 0]), slice(None)).even
    for one in found:
        torch.testing.assert_close(one, slow(values, part, 0.3, 3, weight), **CLOSE)


def test_two_densities_of_one_picture_give_one_answer():
    weight, answers = torch.randn(9, 1), []
    for side in (16, 32):
        y, x = Grid.of_size((side, side)).points().relative.unbind(1)
        picture = (torch.sin(3 * y) * torch.cos(4 * x) + y)[None, :, None]
        answers.append(neighbours_of(Grid.of_size((side, side)), 0.2, 3).mix(picture, weight).view(1, 1, side, side))
    coarse, fine = answers[0], torch.nn.functional.avg_pool2d(answers[1], 2)
    assert (coarse - fine).abs().max() < 0.05 * coarse.std()


def test_it_is_computed_in_the_precision_of_its_values():
    grid, weight = Grid.of_size((5, 4)), torch.randn(9, 3)
    values = torch.randn(2, 20, 3)
    for samples in (grid, grid.jittered(), grid.points()):
        expected = neighbours_of(samples, 0.3, 3).mix(values, weight)
        with torch.autocast("cpu", torch.bfloat16):
            found = neighbours_of(samples, 0.3, 3).mix(values.bfloat16(), weight)
        assert found.dtype == torch.bfloat16
        torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.05)


def test_a_compiled_block_convolves_at_every_size():
    pytest.importorskip("torch._inductor.cpp_builder").get_cpp_compiler()
    block = EncoderBlock(8, 4, partial(LinearAttention, 8, 2, "softmax"), local_basis=3)
    torch.nn.init.normal_(block.feed.kernel)
    compiled = copy.deepcopy(block)
    compiled.compile()
    torch.compiler.reset()
    for size in ((4, 4), (5, 3)):
        near = [neighbours_of(Grid.of_size(size), 0.4, 3)]
        x, time = torch.randn(2, math.prod(size), 8), torch.randn(2, 4)
        answers = [one([x], [time], near)[0] for one in (block, compiled)]
        for answer in answers:
            answer.square().mean().backward()
        torch.testing.assert_close(*answers, **CLOSE)
    torch.testing.assert_close(block.feed.kernel.grad, compiled.feed.kernel.grad, **CLOSE)
    torch.compiler.reset()
