"""All metrics of one folder, in one passage through its pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from frex.errors import FRExError
from frex.evaluation.fid import Features, SetScorer
from frex.evaluation.loading import Pairs, as_faces, batches_of
from frex.evaluation.poses import Bin
from frex.evaluation.results import PictureScores
from frex.metrics.metric import Metric, Scorer


@dataclass(frozen=True)
class Workload:
    """How the work is done: where, how many pictures at a time, in how many processes they are read."""

    weights: Path | None
    device: torch.device
    batch_size: int
    num_workers: int


def _is_for_workers(metric: Metric, device: torch.device) -> bool:
    """Numpy's work, and where no GPU does it what needs no network: a network would be in the memory of each worker."""
    return metric.on_cpu or (device.type == 'cpu' and not metric.has_network)


class Judge:
    """The metrics, loaded once for all folders. Raises FRExError for weights that are not theirs."""

    def __init__(self, metrics: Sequence[Metric], workload: Workload, fid_statistics: Path | None) -> None:
        self.workload = workload
        of_pictures = [metric for metric in metrics if not metric.of_sets]
        self.in_workers = [metric.key for metric in of_pictures if _is_for_workers(metric, workload.device)]
        on_device = [metric for metric in of_pictures if metric.key not in self.in_workers]
        self.scorers: dict[str, Scorer] = {metric.key: metric.load(workload.weights, workload.device) for metric in on_device}
        of_sets = [metric for metric in metrics if metric.of_sets]
        self.set_scorer = SetScorer(of_sets[0], workload.weights, workload.device, fid_statistics) if of_sets else None

    @property
    def notes(self) -> dict[str, str]:
        """For the protocol: what sets are compared with."""
        return {} if self.set_scorer is None else self.set_scorer.notes

    def set_scores(self, features: Features | None, gt: Features | None, bins: Sequence[Bin]) -> dict[str, tuple[float, ...]]:
        """By metric, of each bin."""
        if self.set_scorer is None or features is None or gt is None:
            return {}
        return {self.set_scorer.key: self.set_scorer.scores(features, gt, bins)}

    def score(
        self, restored: Sequence[Path], gt: Sequence[Path], resized: bool, progress: 'tqdm[None]'
    ) -> tuple[Mapping[str, PictureScores], Features | None]:
        """Scores of each picture by metric, and what a score of the whole set is made of."""
        keys = [*self.scorers, *self.in_workers]
        scores = {key: np.full(len(gt), np.nan) for key in keys}
        features = None if self.set_scorer is None else np.empty((len(gt), self.set_scorer.width), dtype=np.float32)
        pairs = Pairs(restored, gt, resized, self.in_workers, self.workload.weights)
        try:
            self._fill(pairs, scores, features, progress)
        except torch.cuda.OutOfMemoryError:
            raise FRExError(f'--batch_size {self.workload.batch_size}: the GPU has too little free memory; take a smaller one') from None
        return scores, features

    @torch.inference_mode()
    def _fill(self, pairs: Pairs, scores: Mapping[str, PictureScores], features: Features | None, progress: 'tqdm[None]') -> None:
        device = self.workload.device
        for batch in batches_of(pairs, self.workload.batch_size, self.workload.num_workers):
            indices = [pair.index for pair in batch]
            restored, gt = (as_faces(pictures, device) for pictures in zip(*((pair.restored, pair.gt) for pair in batch), strict=True))
            for key, scorer in self.scorers.items():
                scores[key][indices] = scorer(restored, gt).cpu().numpy()
            for pair in batch:
                for key, score in pair.scores.items():
                    scores[key][pair.index] = score
            if self.set_scorer is not None and features is not None:
                features[indices] = self.set_scorer.features(restored)
            progress.update(len(batch))
