"""What FREx patches in basicsr 1.4.2, against what it does without."""

import random

import numpy as np
import pytest
import torch

from frex import compat

compat.install()

from basicsr.data import degradations, prefetch_dataloader  # noqa: E402 (compat comes first)


def test_installing_twice_changes_nothing():
    once = degradations.add_jpg_compression
    compat.install()
    assert degradations.add_jpg_compression is once


def test_basicsrs_random_jpeg_runs_on_todays_opencv():
    image = np.linspace(0, 1, 16 * 16 * 3, dtype=np.float32).reshape(16, 16, 3)
    degraded = degradations.random_add_jpg_compression(image, quality_range=(50, 51))
    assert degraded.shape == image.shape
    assert 0 < np.abs(degraded - image).mean() < 0.02


def test_an_error_in_the_prefetching_thread_reaches_the_trainer():
    def generator():
        yield 1
        raise ValueError('damaged image')

    prefetching = prefetch_dataloader.PrefetchGenerator(generator(), 1)
    assert next(prefetching) == 1
    with pytest.raises(ValueError, match='damaged image'):
        next(prefetching)


def test_the_end_of_the_data_is_still_the_end():
    assert list(prefetch_dataloader.PrefetchGenerator(iter([1, 2, 3]), 1)) == [1, 2, 3]


def draws(seed):
    torch.manual_seed(seed)
    compat.seed_worker(worker_id=0, num_workers=1, rank=0, seed=0)
    return np.random.random(), random.random()  # noqa: NPY002 (what basicsr's data sets draw from)


def test_workers_draw_anew_in_each_epoch_and_repeat_a_run():
    assert draws(1) == draws(1)
    assert draws(1)[0] != draws(2)[0]
    assert draws(1)[1] != draws(2)[1]
