"""Softmax attention: the formula, in chunks, with queries and keys that are normed."""

import math

import pytest
import torch

from r2id.networks import softmax_attention
from r2id.networks.attention import LinearAttention
from r2id.networks.softmax_attention import SoftmaxAttention

CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def test_it_is_the_formula_head_by_head_and_in_chunks():
    attention = SoftmaxAttention(12, 3, source_dim=5)
    query, source = torch.randn(2, 4, 12), torch.randn(2, 7, 5)
    queries = attention.to_query(query).view(2, 4, 3, 4)
    keys, values = (part.reshape(2, 7, 3, 4) for part in attention.to_key_value(source).chunk(2, -1))
    heads = []
    for head in range(3):
        scores = queries[:, :, head] @ keys[:, :, head].mT / math.sqrt(4)
        heads.append((scores.exp() / scores.exp().sum(-1, keepdim=True)) @ values[:, :, head])
    expected = attention.to_out(torch.cat(heads, -1))
    torch.testing.assert_close(attention(query, source), expected, **CLOSE)
    summary = attention.summarise(source[:, :3]) + attention.summarise(source[:, 3:])
    torch.testing.assert_close(attention.read(query, summary), expected, **CLOSE)
    twice = attention(query, torch.cat([source, source], 1))
    torch.testing.assert_close(twice, expected, **CLOSE)


@pytest.mark.parametrize("make", [
    lambda qk_norm: SoftmaxAttention(12, 3, qk_norm),
    lambda qk_norm: LinearAttention(12, 3, "elu", qk_norm=qk_norm),
])  # fmt: skip
def test_with_a_norm_the_size_of_queries_and_keys_is_that_of_the_gain(make):
    query, source = torch.randn(2, 4, 12), torch.randn(2, 7, 12)
    for qk_norm in (True, False):
        attention = make(qk_norm)
        before = attention(query, source)
        with torch.no_grad():
            attention.to_query.weight.mul_(3)
            attention.to_key_value.weight[:12].mul_(3)
        assert torch.allclose(attention(query, source), before, rtol=1e-3, atol=1e-5) is qk_norm
    attention = make(True)
    before = attention(query, source)
    torch.nn.init.uniform_(attention.query_norm.weight, 2, 5)
    assert not torch.allclose(attention(query, source), before, rtol=1e-3, atol=1e-4)


def test_learning_from_few_samples_gives_the_answers_and_gradients_of_torchs_fused_attention(monkeypatch):
    attention = SoftmaxAttention(12, 3, source_dim=5)
    query, source = torch.randn(2, 4, 12), torch.randn(2, 7, 5)
    found = []
    for few in (7, 6):
        monkeypatch.setattr(softmax_attention, "FEW_SAMPLES", few)
        attention.zero_grad()
        answers = attention(query, source)
        answers.square().sum().backward()
        found.append([answers, *(parameter.grad.clone() for parameter in attention.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_an_unfit_number_of_heads_is_refused():
    with pytest.raises(ValueError, match="num_heads is 5; it must divide the 12 channels"):
        SoftmaxAttention(12, 5)
