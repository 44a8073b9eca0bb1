"""Pictures read, and scored by metrics of numpy, in a loader's workers: a few batches are in memory at a time."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from frex.data.workers import prepare_process
from frex.images import Image, read_image
from frex.metrics.catalogue import METRICS
from frex.metrics.metric import Faces, Scorer
from frex.tensors import to_tensor


@dataclass(frozen=True)
class Pair:
    """A restored picture and its clean one, BGR, with the scores of the metrics that ran in the worker."""

    index: int
    restored: Image
    gt: Image
    scores: dict[str, float]


class Pairs(Dataset[Pair]):
    """`metrics` are keys of those to calculate here. `resized`: the first of each pair is brought to the size of the second, bilinearly.

    Raises FRExError for a picture that cannot be read.
    """

    def __init__(self, restored: Sequence[Path], gt: Sequence[Path], resized: bool, metrics: Sequence[str], weights: Path | None) -> None:
        self.restored, self.gt = restored, gt
        self.resized = resized
        self.metrics, self.weights = metrics, weights
        self._scorers: dict[str, Scorer] | None = None

    def __len__(self) -> int:
        return len(self.gt)

    def __getitem__(self, index: int) -> Pair:
        prepare_process(get_worker_info() is not None)
        gt = read_image(self.gt[index])
        restored = gt if self.restored[index] == self.gt[index] else read_image(self.restored[index])
        if self.resized and restored.shape != gt.shape:
            restored = cv2.resize(restored, (gt.shape[1], gt.shape[0]), interpolation=cv2.INTER_LINEAR)
        return Pair(index, restored, gt, self._scores(restored, gt))

    @torch.inference_mode()
    def _scores(self, restored: Image, gt: Image) -> dict[str, float]:
        if self._scorers is None:
            # Each worker has its own: not all can be sent to one.
            self._scorers = {key: METRICS[key].load(self.weights, torch.device('cpu')) for key in self.metrics}
        faces = [to_tensor(picture)[None] for picture in (restored, gt)]
        return {key: float(scorer(*faces).item()) for key, scorer in self._scorers.items()}


def batches_of(pairs: Pairs, batch_size: int, num_workers: int) -> Iterator[list[Pair]]:
    """The pairs in order, as lists of up to `batch_size` whose pictures have one size."""
    loader: DataLoader[Pair] = DataLoader(pairs, batch_size, num_workers=min(num_workers, -(-len(pairs) // batch_size)), collate_fn=list)
    for batch in loader:
        by_size: dict[tuple[int, ...], list[Pair]] = defaultdict(list)
        for pair in batch:
            by_size[pair.gt.shape].append(pair)
        yield from by_size.values()


def as_faces(pictures: Sequence[Image], device: torch.device) -> Faces:
    """Pictures of one size, for networks."""
    return torch.stack([to_tensor(picture) for picture in pictures]).to(device)
