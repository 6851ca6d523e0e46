"""Both attentions against their formulas, written out slowly, and what follows from them."""

import math
from itertools import product

import pytest
import torch
from torch import Tensor

from r2id.geometry.coordinates import Grid, Points
from r2id.networks.attention import LinearAttention, LocalKernelAttention, Summary


def quadratic(attention: LinearAttention, query: Tensor, source: Tensor) -> Tensor:
    """Σ_n φ(q)·φ(k_n) v_n / Σ_n φ(q)·φ(k_n), with the whole matrix of weights, one head at a time."""

    def feature_map(x: Tensor, temperature: Tensor | None) -> Tensor:
        if attention.feature_map == "elu":
            return torch.where(x > 0, x + 1, x.exp())
        sharpened = temperature * x / x.square().mean(dim=-1, keepdim=True).sqrt()
        return sharpened.exp() / sharpened.exp().sum(dim=-1, keepdim=True)

    queries = query @ attention.to_query.weight.T
    dim = queries.shape[-1]
    keys = source @ attention.to_key_value.weight[:dim].T
    values = source @ attention.to_key_value.weight[dim:].T
    width = dim // attention.num_heads
    heads = []
    for head in range(attention.num_heads):
        part = slice(head * width, (head + 1) * width)
        softmax = attention.feature_map == "softmax"
        query_features = feature_map(queries[..., part], attention.query_temperature[head] if softmax else None)
        key_features = feature_map(keys[..., part], attention.key_temperature[head] if softmax else None)
        weights = query_features @ key_features.mT
        heads.append((weights / weights.sum(dim=-1, keepdim=True)) @ values[..., part])
    return torch.cat(heads, dim=-1) @ attention.to_out.weight.T + attention.to_out.bias


def linear_attention(feature_map: str, **arguments) -> LinearAttention:
    attention = LinearAttention(12, 3, feature_map, **arguments)
    if feature_map == "softmax":
        torch.nn.init.uniform_(attention.query_temperature, 1, 6)
        torch.nn.init.uniform_(attention.key_temperature, 1, 6)
    return attention


@pytest.mark.parametrize("feature_map", ["elu", "softmax"])
class TestLinearAttention:
    def test_equals_the_quadratic_formula(self, feature_map):
        attention = linear_attention(feature_map, source_dim=7)
        query, source = torch.randn(2, 5, 12), torch.randn(2, 9, 7)
        torch.testing.assert_close(attention(query, source), quadratic(attention, query, source), rtol=1e-4, atol=1e-5)

    def test_shared_queries_answer_each_source(self, feature_map):
        attention = linear_attention(feature_map)
        query, source = torch.randn(5, 12), torch.randn(3, 9, 12)
        expected = quadratic(attention, query.expand(3, 5, 12), source)
        torch.testing.assert_close(attention(query, source), expected, rtol=1e-4, atol=1e-5)

    def test_summaries_of_two_halves_add_to_that_of_the_whole(self, feature_map):
        attention = linear_attention(feature_map)
        source = torch.randn(2, 11, 12)
        halves = attention.summarise(source[:, :4]) + attention.summarise(source[:, 4:])
        assert isinstance(halves, Summary)
        query = torch.randn(2, 6, 12)
        torch.testing.assert_close(attention.read(query, halves), attention(query, source), rtol=1e-4, atol=1e-5)

    def test_neither_the_order_nor_the_density_of_the_source_matters(self, feature_map):
        attention = linear_attention(feature_map)
        query, source = torch.randn(2, 6, 12), torch.randn(2, 11, 12)
        answers = attention(query, source)
        torch.testing.assert_close(attention(query, source.flip(1)), answers, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(attention(query, source.repeat(1, 5, 1)), answers, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("autocast", [False, True])
    def test_a_large_image_is_no_trouble_in_half_precision(self, feature_map, precision, autocast):
        attention = linear_attention(feature_map)
        query, source = torch.randn(1, 6, 12), torch.randn(1, 300_000, 12) + 1
        exact = attention(query, source)
        if autocast:
            with torch.autocast("cpu", precision):
                low = attention(query, source)
        else:
            low = attention.to(precision)(query.to(precision), source.to(precision))
        assert low.dtype == precision
        assert (low.float() - exact).abs().max() < 0.05


def test_linear_attention_names_what_it_does_not_know():
    with pytest.raises(ValueError, match="relu"):
        LinearAttention(12, 3, "relu")
    with pytest.raises(ValueError, match="num_heads is 5"):
        LinearAttention(12, 5, "elu")


def triple_loop(attention: LocalKernelAttention, values: Tensor, source: Points, query: Points) -> Tensor:
    """The class's formula in float64: every query, every source, every basis function."""
    weight, bias = attention.weight.detach().double(), attention.bias.detach().double()
    reach = [max(attention.radius, cell * extent) for cell, extent in zip(source.cell, source.extent, strict=True)]
    values = values.double()
    answers = []
    for place in query.absolute().double():
        total, answer = 0.0, torch.zeros(len(values), attention.dim, dtype=torch.float64)
        for index, there in enumerate(source.absolute().double()):
            deltas = [(there[axis] - place[axis]).item() / reach[axis] for axis in range(len(reach))]
            if any(abs(delta) >= 1 for delta in deltas):
                continue
            window = math.prod(math.cos(math.pi * delta / 2) ** 2 for delta in deltas)
            total += window
            for orders in product(range(attention.basis), repeat=len(reach)):
                basis = math.prod(
                    math.cos(math.pi * k * (delta + 1) / 2) * (math.sqrt(2) if k else 1)
                    for k, delta in zip(orders, deltas, strict=True)
                )
                answer += window * basis * (values[:, index] @ weight[orders])
        answers.append(answer / total + bias)
    return torch.stack(answers, dim=1).float()


def local_attention(radius: float = 0.4, basis: int = 3, num_axes: int = 2) -> LocalKernelAttention:
    attention = LocalKernelAttention(4, 5, radius, basis, num_axes)
    torch.nn.init.normal_(attention.bias)
    return attention


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


class TestLocalKernelAttention:
    @pytest.mark.parametrize("canvas", [(1, 1), (2, 3), (3, 1)])
    @pytest.mark.parametrize(
        ("sources", "queries"), [((3, 4), (5, 7)), ((5, 6), (2, 3)), ((1, 1), (2, 2)), ((1, 7), (3, 1))]
    )
    def test_equals_the_formula_between_grids_and_points_alike(self, canvas, sources, queries):
        attention = local_attention()
        source, query = Grid.of_size(sources, canvas), Grid.of_size(queries, canvas)
        values = torch.randn(2, *sources, 4)
        expected = triple_loop(attention, values.flatten(1, 2), source.points(), query.points())
        close(attention(values, source, query), expected.unflatten(1, queries))
        close(attention(values, source, query.points()), expected)
        close(attention(values.flatten(1, 2), source.points(), query), expected.unflatten(1, queries))
        close(attention(values.flatten(1, 2), source.points(), query.points()), expected)

    @pytest.mark.parametrize(
        ("sources", "queries"),
        [((9,), (14,)), ((30,), (4,)), ((1,), (3,)), ((3, 2, 4), (2, 3, 5)), ((2, 5, 3), (3, 2, 1))],
    )
    @pytest.mark.parametrize("summed_up", [False, True])
    def test_equals_the_formula_on_a_signal_of_one_axis_and_a_volume_of_three(self, sources, queries, summed_up):
        attention = local_attention(num_axes=len(sources))
        source, query = Grid.of_size(sources), Grid.of_size(queries, sources)
        values = torch.randn(2, *sources, 4)
        expected = triple_loop(attention, values.flatten(1, -2), source.points(), query.points())
        if summed_up:
            close(attention.answer(attention.summarise(values, source, query), query), expected.unflatten(1, queries))
        else:
            close(attention(values, source, query), expected.unflatten(1, queries))
            close(attention(values, source, query.points()), expected)
            close(attention(values.flatten(1, -2), source.points(), query.points()), expected)

    def test_a_dense_signal_is_interpolated_closely_and_answered_from_pieces(self, monkeypatch):
        attention = local_attention(radius=0.5, num_axes=1)
        grid, values = Grid.of_size((200,)), torch.randn(2, 200, 4)
        interpolated = attention(values, grid, grid)
        halves = [
            attention.summarise(values[:, part], grid.crop(part), grid) for part in (slice(0, 70), slice(70, 200))
        ]
        assert halves[0].places.size < grid.size
        close(attention.answer(halves[0] + halves[1], grid), interpolated)
        (near,) = attention.reach(grid, grid.crop(slice(0, 1)))
        assert near == slice(0, 100)
        monkeypatch.setattr("r2id.networks.attention.PLACES_PER_COSINE", 1000)
        exact = attention(values, grid, grid)
        assert 0 < (interpolated - exact).square().mean().sqrt() < 0.001 * exact.std()

    def test_equals_the_formula_between_scattered_points(self):
        attention = local_attention()
        source, query = (
            Grid.of_size((4, 5), (4, 5)).points().jittered(),
            Grid.of_size((3, 3), (4, 5)).points().jittered(),
        )
        values = torch.randn(1, 20, 4)
        close(attention(values, source, query), triple_loop(attention, values, source, query))

    def test_equals_the_formula_between_jittered_grids(self):
        attention = local_attention()
        source, query = Grid.of_size((4, 5)).jittered(0.25), Grid.of_size((6, 6), (4, 5)).jittered(0.25)
        values = torch.randn(1, 4, 5, 4)
        expected = triple_loop(attention, values.flatten(1, 2), source.points(), query.points())
        close(attention(values, source, query), expected.unflatten(1, (6, 6)))

    def test_many_points_are_answered_in_pieces_as_the_grids_they_form(self):
        attention = local_attention(radius=0.3)
        source, query = Grid.of_size((30, 30)), Grid.of_size((24, 36), (1, 1))
        values = torch.randn(1, 30, 30, 4)
        close(attention(values, source, query.points()), attention(values, source, query).flatten(1, 2))

    def test_the_order_of_points_does_not_matter(self):
        attention = local_attention()
        points = Grid.of_size((6, 6)).points().jittered()
        values, order = torch.randn(2, 36, 4), torch.randperm(36)
        shuffled = Points(points.relative[order], points.cell, points.extent)
        query = Grid.of_size((3, 3))
        close(attention(values[:, order], shuffled, query), attention(values, points, query))

    @pytest.mark.parametrize("as_points", [False, True])
    @pytest.mark.parametrize("queries", [(4, 8), (20, 40)])
    def test_nothing_beyond_the_radius_is_seen(self, as_points, queries):
        attention = local_attention(radius=0.2)
        source, query = Grid.of_size((10, 20)), Grid.of_size(queries)
        values = torch.randn(1, 10, 20, 4)
        changed = values.clone()
        changed[:, 7, 4] += 10
        place = source.points().absolute().view(10, 20, 2)[7, 4]
        distance = (query.points().absolute() - place).abs().amax(dim=-1)
        asked = query.points() if as_points else query
        before, after = (attention(v, source, asked).reshape(-1, 5) for v in (values, changed))
        moved = (after - before).abs().amax(dim=-1)
        assert torch.equal(moved > 0, distance < 0.2)
        assert 0 < (moved > 0).sum() < len(moved)

    @pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 5)])
    @pytest.mark.parametrize("as_points", [False, True])
    def test_a_source_sparser_than_the_radius_still_reaches_every_query(self, size, as_points):
        attention = local_attention(radius=0.01)
        source, query = Grid.of_size(size), Grid.of_size((16, 16), size)
        asked = query.points() if as_points else query
        ones, twos = (attention(torch.full((1, *size, 4), value), source, asked) for value in (1.0, 2.0))
        assert ones.isfinite().all()
        assert ((twos - ones).abs().amax(dim=-1) > 1e-3).all()

    def test_queries_that_see_nothing_get_the_bias(self):
        attention = local_attention(radius=0.1)
        source = Points(torch.tensor([[-0.4, -0.4], [-0.35, -0.4]]), (0.1, 0.1), (1.0, 1.0))
        answers = attention(torch.randn(1, 2, 4), source, Points(torch.tensor([[0.4, 0.4]]), (0.1, 0.1), (1.0, 1.0)))
        close(answers[0, 0], attention.bias)

    def test_the_density_of_the_source_hardly_matters(self):
        attention = local_attention(radius=0.3)
        query = Grid.of_size((5, 5))
        constant = [attention(torch.ones(1, n, n, 4), Grid.of_size((n, n)), query) for n in (20, 40)]
        spread = (constant[1] - attention.bias).std()
        assert (constant[0] - constant[1]).abs().max() < 0.1 * spread

    def test_sources_in_reach_are_all_that_is_needed(self):
        attention = local_attention(radius=0.15)
        source = Grid.of_size((16, 24))
        query = Grid.of_size((32, 48)).crop(slice(9, 14), slice(30, 41))
        values = torch.randn(1, 16, 24, 4)
        rows, columns = attention.reach(source, query)
        assert rows.stop - rows.start < 16 and columns.stop - columns.start < 24
        near = attention(values[:, rows, columns], source.crop(rows, columns), query)
        close(near, attention(values, source, query))

    @pytest.mark.parametrize(("size", "canvas"), [((70, 64), (1, 1)), ((60, 90), (1, 2))])
    @pytest.mark.parametrize("basis", [1, 6])
    def test_dense_queries_are_interpolated_closely(self, size, canvas, basis, monkeypatch):
        attention = local_attention(radius=0.5, basis=basis)
        grid, values = Grid.of_size(size, canvas), torch.randn(2, *size, 4)
        interpolated, summary = attention(values, grid, grid), attention.summarise(values, grid, grid)
        assert summary.places.size < size
        monkeypatch.setattr("r2id.networks.attention.PLACES_PER_COSINE", 100)
        exact = attention(values, grid, grid)
        assert 0 < (interpolated - exact).square().mean().sqrt() < 0.001 * exact.std()

    @pytest.mark.parametrize("region", [(slice(0, 40), slice(0, 50)), (slice(7, 30), slice(20, 45))])
    def test_still_denser_queries_of_a_dense_source_are_interpolated_closely(self, region):
        attention = local_attention(radius=0.5, basis=2)
        source, query = Grid.of_size((24, 20)), Grid.of_size((40, 50), (24, 20)).crop(*region)
        values = torch.randn(2, 24, 20, 4)
        places = attention.summarise(values, source, query).places.size
        assert math.prod(places) <= 24 * 20 < math.prod(query.size)
        interpolated = attention(values, source, query)
        exact = attention(values, source, query.points()).view_as(interpolated)
        # Rounding alone differs by less.
        assert 1e-5 * exact.std() < (interpolated - exact).square().mean().sqrt() < 0.001 * exact.std()

    def test_dense_queries_are_answered_the_same_from_pieces_of_the_source(self):
        attention = local_attention(radius=0.5, basis=1)
        source, query = Grid.of_size((60, 50)), Grid.of_size((30, 40), (60, 50))
        values = torch.randn(1, 60, 50, 4)
        halves = (
            attention.summarise(values[:, rows], source.crop(rows, slice(None)), query)
            for rows in (slice(0, 25), slice(25, 60))
        )
        first, second = halves
        assert first.places.size < query.size
        close(attention.answer(first + second, query), attention(values, source, query))

    def test_gradients_reach_values_and_weights_the_same_way_on_both_paths(self):
        attention = local_attention()
        source, query = Grid.of_size((4, 4)), Grid.of_size((3, 5), (1, 1))
        target = torch.randn(1, 15, 5)
        gradients = []
        for asked in (query, query.points()):
            values = torch.ones(1, 4, 4, 4, requires_grad=True)
            loss = (attention(values, source, asked).reshape(1, 15, 5) - target).square().sum()
            gradients.append(torch.autograd.grad(loss, [values, attention.weight, attention.bias]))
        for grid, points in zip(*gradients, strict=True):
            assert grid.abs().max() > 0
            torch.testing.assert_close(grid, points, rtol=1e-3, atol=1e-4)
