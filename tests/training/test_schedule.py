"""The order of batches and the learning rate, each decided by its step and the seed."""

import math
from dataclasses import replace

import pytest
import torch

from r2id.training.batch_order import batch_indices, bucket_batch, mixed_seed
from r2id.training.loop import learning_rate
from r2id.training.settings import ResamplerTraining


class TestSchedule:
    def test_every_image_comes_once_per_epoch(self):
        batches = torch.cat([batch_indices(10, 4, step, seed=1) for step in range(5)])
        for epoch in (batches[:10], batches[10:]):
            assert sorted(epoch.tolist()) == list(range(10))
        assert batches[:10].tolist() != batches[10:].tolist()

    def test_a_batch_larger_than_the_data_goes_through_them_several_times(self):
        batch = batch_indices(3, 9, batch=2, seed=0)
        assert torch.equal(batch.bincount(), torch.tensor([3, 3, 3]))

    def test_a_batch_is_decided_by_its_step_and_the_seed_alone(self):
        torch.manual_seed(7)
        first = batch_indices(100, 10, batch=13, seed=5)
        batch_indices(100, 10, batch=4, seed=5)
        torch.manual_seed(8)
        assert torch.equal(batch_indices(100, 10, batch=13, seed=5), first)
        assert not torch.equal(batch_indices(100, 10, batch=13, seed=6), first)
        assert not torch.equal(batch_indices(100, 10, batch=14, seed=5), first)

    def test_the_learning_rate_rises_to_its_peak_and_falls_to_its_end(self):
        config = ResamplerTraining(steps=101, warmup_steps=10, learning_rate=1.0, final_learning_rate=0.1)
        rates = [learning_rate(config, step) for step in range(101)]
        assert rates[0] == pytest.approx(0.1) and rates[4] == pytest.approx(0.5) and rates[9] == pytest.approx(1.0)
        assert rates[10] == pytest.approx(1.0)
        assert rates[55] == pytest.approx(0.55)
        assert rates[100] == pytest.approx(0.1) and rates[99] == pytest.approx(0.1, abs=1e-3)
        assert rates[:10] == sorted(rates[:10]) and rates[10:] == sorted(rates[10:], reverse=True)

    def test_the_last_step_takes_the_final_learning_rate(self):
        for steps, warmup in ((8, 2), (24_000, 600), (2, 0)):
            config = ResamplerTraining(steps=steps, warmup_steps=warmup)
            assert learning_rate(config, steps - 1) == pytest.approx(config.final_learning_rate, rel=1e-9)

    def test_an_epoch_over_several_sizes_sees_every_image_once(self):
        counts = [64, 32, 16, 16]
        for epoch in range(3):
            seen = [torch.zeros(count, dtype=torch.long) for count in counts]
            for step in range(16 * epoch, 16 * (epoch + 1)):
                bucket, batch = bucket_batch(counts, 8, step, seed=3)
                seen[bucket] += batch_indices(counts[bucket], 8, batch, seed=3).bincount(minlength=counts[bucket])
            assert all(torch.equal(one, torch.ones_like(one)) for one in seen)

    @pytest.mark.parametrize("counts", [[600, 301, 99, 3, 1], [7]])
    def test_sizes_of_any_count_are_seen_equally_often(self, counts):
        batches = [bucket_batch(counts, 16, step, seed=3) for step in range(1000)]
        for index, count in enumerate(counts):
            own = [batch for bucket, batch in batches if bucket == index]
            assert own == list(range(len(own)))
            # Both ends of the run may cut an epoch.
            expected = 1000 * count / sum(counts)
            assert abs(len(own) - expected) <= 2 + count / 16
        if len(counts) > 1:
            assert batches[:60] != sorted(batches[:60])

    def test_steps_and_epochs_and_uses_draw_differently(self):
        seeds = {mixed_seed(seed, use, number) for seed in (0, 1) for use in ("step", "images") for number in range(50)}
        assert len(seeds) == 200 and all(0 <= seed < 2**63 for seed in seeds)

    def test_the_learning_rate_can_do_without_a_warm_up(self):
        config = replace(ResamplerTraining(), steps=10, warmup_steps=0, learning_rate=1.0, final_learning_rate=0.0)
        assert learning_rate(config, 0) == 1.0 and math.isfinite(learning_rate(config, 9))
