"""Validation and tests: every process takes its share of the pictures, and all have the metrics of all."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from basicsr.metrics import calculate_metric
from basicsr.utils import imwrite, tensor2img
from basicsr.utils.registry import METRIC_REGISTRY
from torch.utils.data import Dataset, default_collate
from tqdm import tqdm

from frex.options import arguments_of

Metrics = Mapping[str, Mapping[str, Any]]
# A sample in a batch of one -> pictures `result` and, where there is one, `gt`, in [0, 1].
Restore = Callable[[dict[str, Any]], Mapping[str, torch.Tensor]]


def validate(
    dataset: Dataset, restore: Restore, metrics: Metrics, path_of: Callable[[str], Path] | None, rank: int, world_size: int, progress: bool
) -> dict[str, float]:
    """Each metric over a data set, the same in all processes; pictures are written where `path_of` their names says.

    A metric that is a function of two pictures is averaged, one that is a class sees all of them.
    """
    of_sets = {
        name: METRIC_REGISTRY.get(metric['type'])(**arguments_of(metric, 'better'))
        for name, metric in metrics.items()
        if _is_of_sets(metric)
    }
    of_pictures = {name: metric for name, metric in metrics.items() if name not in of_sets}
    device = torch.device('cuda' if world_size > 1 and dist.get_backend() == 'nccl' else 'cpu')
    # Sums of the metrics and, at the end, the number of pictures: of a share that may be empty.
    sums = torch.zeros(len(of_pictures) + 1, dtype=torch.float64, device=device)
    for index in tqdm(range(rank, len(dataset), world_size), unit='image', disable=not progress or rank > 0):  # type: ignore[arg-type]
        sample = default_collate([dataset[index]])
        pictures = {name: tensor2img([picture]) for name, picture in restore(sample).items() if name != 'lq'}
        data = {own: pictures[name] for own, name in (('img', 'result'), ('img2', 'gt')) if name in pictures}
        values = [calculate_metric(data, dict(options)) for options in of_pictures.values()]
        sums += torch.tensor([*values, 1.0], dtype=torch.float64, device=device)
        for metric in of_sets.values():
            metric.add(**data)
        if path_of is not None:
            imwrite(pictures['result'], str(path_of(sample['name'][0])))
    if world_size > 1:
        dist.all_reduce(sums)
    means = dict(zip(of_pictures, (sums[:-1] / sums[-1].clamp(min=1)).tolist(), strict=True))
    return {name: of_sets[name].value() if name in of_sets else means[name] for name in metrics}


def _is_of_sets(metric: Mapping[str, Any]) -> bool:
    return inspect.isclass(METRIC_REGISTRY.get(metric['type']))
