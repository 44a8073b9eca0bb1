"""The order in which training visits images: in each epoch another one, which depends on the seed, and each image once."""

import pytest

from frex.data.sampler import VisitSampler


def test_processes_draw_differently_and_visit_each_image_once():
    visits = [list(VisitSampler(range(7), 2, rank, ratio=2, seed=1)) for rank in (0, 1)]
    assert sorted(visit for _, visit in visits[0] + visits[1]) == list(range(14))


def visit(seed, epoch, skipped=0):
    """Return the visits of an epoch of twenty images, in order."""
    sampler = VisitSampler(range(20), 1, 0, seed=seed)
    sampler.set_epoch(epoch)
    sampler.skipped = {epoch: skipped}
    keys = list(sampler)
    assert {key[0] for key in keys} <= {epoch}
    return [key[1] for key in keys]


def test_each_epoch_and_each_seed_have_an_order_of_their_own():
    orders = [visit(seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert len(set(map(tuple, orders))) == 4
    assert all(sorted(order) == list(range(20)) for order in orders)
    assert visit(1, 1) == orders[3]


@pytest.mark.parametrize('skipped', [1, 19, 20])
def test_a_resumed_epoch_goes_on_where_it_was_broken_off(skipped):
    assert visit(0, 3, skipped) == visit(0, 3)[skipped:]
