"""Compiled denoising steps: the same pictures, few compilations, and an end of them on request."""

import copy
import functools

import pytest
import torch
from torch import nn

from r2id.diffusion import compiled
from r2id.errors import InputError

SIZES = [(3, 2), (4, 4), (2, 5), (5, 3), (6, 4), (3, 7)]
FEW = {"num_inference_steps": 3, "output_type": "latent", "guidance_interval": (0.0, 0.5)}
"""Some of the steps are guided."""


def latents(pipeline, labels=(3, 7), latent_size=(4, 3), **arguments) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return pipeline(list(labels), latent_size, generator=generator, **FEW | arguments).latents


@pytest.fixture
def pipeline(make_pipeline):
    torch.compiler.reset()
    compiled._graphed.cache_clear()
    yield make_pipeline()
    torch.compiler.reset()
    compiled._graphed.cache_clear()


def test_pictures_change_by_rounding_only(pipeline):
    pytest.importorskip("torch._inductor.cpp_builder").get_cpp_compiler()
    plain = latents(pipeline)
    pipeline.compile()
    torch.testing.assert_close(latents(pipeline), plain, rtol=1e-4, atol=1e-5)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"]


def test_all_sizes_share_a_few_compilations(pipeline, monkeypatch):
    graphs, compile_module = [], nn.Module.compile

    def counting(graph, _):
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(nn.Module, "compile", lambda module: compile_module(module, backend=counting))
    plain = [latents(pipeline, (3, 7, 1)[: 1 + number % 3], size) for number, size in enumerate(SIZES)]
    pipeline.compile()
    counts = []
    for number, (size, expected) in enumerate(zip(SIZES, plain, strict=True)):
        torch.testing.assert_close(latents(pipeline, (3, 7, 1)[: 1 + number % 3], size), expected)
        counts.append(len(graphs))
    assert counts[0] > 0 and counts[3:] == [counts[3]] * 3 and counts[-1] <= 8


def replaying(graph, _):
    """A backend whose results are in the same memory each time, as those of a CUDA graph."""
    memory = []

    def replay(*inputs):
        results = graph.forward(*inputs)
        if not memory:
            memory.extend(one.clone() for one in results)
        for kept, result in zip(memory, results, strict=True):
            kept.copy_(result)
        return tuple(memory)

    return replay


class TestGraphsOfWholeSteps:
    @pytest.fixture(autouse=True)
    def modes(self, monkeypatch):
        """The modes that were asked for; steps are compiled by `replaying`, on the CPU."""
        modes, compile_function = [], torch.compile

        def recording(function, *, mode, dynamic):
            modes.append(mode)
            return compile_function(function, dynamic=dynamic, backend=replaying)

        monkeypatch.setattr(torch, "compile", recording)
        return modes

    def test_results_outlive_the_next_step(self, pipeline, modes):
        sample, alpha_bar = torch.randn(1, 3, 4, 4), torch.tensor([0.3])
        tokens = [pipeline.tokens([3]), pipeline.tokens([None])]
        steps = {
            "guidance_branches": lambda x: pipeline.diffuser.guidance_branches(x, alpha_bar, tokens),
            "joint_branches": lambda x: sum(
                pipeline.diffuser.joint_branches([x, x.mT], [alpha_bar] * 2, tokens, [(4, 4), (4, 3)]), []
            ),
        }
        with torch.no_grad():
            plain = [step(sample) for step in steps.values()]
            compiled.replay_steps(pipeline.diffuser)
            replayed = [step(sample) for step in steps.values()]
            for step in steps.values():
                step(-sample)
        torch.testing.assert_close(replayed, plain)
        assert modes == ["reduce-overhead"] * 2

    def test_pictures_are_those_of_plain_steps(self, pipeline):
        plain = latents(pipeline)
        compiled.replay_steps(pipeline.diffuser)
        torch.testing.assert_close(latents(pipeline), plain)

    def test_a_copy_computes_with_its_own_weights(self, pipeline):
        compiled.replay_steps(pipeline.diffuser)
        twin = copy.deepcopy(pipeline.diffuser)
        nn.init.zeros_(twin.out.weight)
        nn.init.zeros_(twin.out.bias)
        with torch.no_grad():
            (answer,) = twin.guidance_branches(torch.randn(1, 3, 4, 4), torch.tensor([0.3]), [pipeline.tokens([3])])
        assert not answer.any()


def test_without_a_compiler_there_is_a_sentence(pipeline):
    import torch._inductor.config

    with (
        torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",)}),
        pytest.raises(InputError, match="no C\\+\\+ compiler such as g\\+\\+; sample without compiling"),
    ):
        pipeline.compile()


def test_an_interruption_cancels_what_is_queued(pipeline, monkeypatch):
    from torch._inductor.async_compile import AsyncCompile

    ended = []

    class Pool:
        def shutdown(self, **how):
            ended.append(how)

    monkeypatch.setattr(AsyncCompile, "pool", staticmethod(functools.cache(Pool)))
    AsyncCompile.pool()

    def interrupted(*_):
        raise KeyboardInterrupt

    pipeline.diffuser.guidance_branches = interrupted
    with pytest.raises(KeyboardInterrupt):
        latents(pipeline)
    assert ended == [{"wait": False, "cancel_futures": True}]
