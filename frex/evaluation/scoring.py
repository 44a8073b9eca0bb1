"""All metrics of one folder, in one passage through its images."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info
from tqdm import tqdm

from frex.data.workers import prepare_process
from frex.errors import FRExError
from frex.evaluation.fid import Features, SetScorer
from frex.evaluation.inputs import BILINEAR, GT, ImageFolder, Inputs
from frex.evaluation.results import PictureScores, Row, Run
from frex.evaluation.summaries import summarize
from frex.evaluation.yaw_bins import Bin
from frex.images import Image, read_image
from frex.metrics.catalogue import METRICS
from frex.metrics.metric import Faces, Metric, MetricFunction
from frex.tensors import to_tensor


@dataclass(frozen=True)
class Pair:
    """A restored image and its clean one, BGR, with the scores of the metrics that ran in the worker."""

    index: int
    restored: Image
    gt: Image
    scores: dict[str, float]


class Pairs(Dataset[Pair]):
    """`metrics` are keys of those to calculate here. `resized`: the first of each pair is brought to the size of the second, bilinearly.

    Raises FRExError for an image that cannot be read.
    """

    def __init__(self, restored: Sequence[Path], gt: Sequence[Path], resized: bool, metrics: Sequence[str], weights: Path | None) -> None:
        self.restored, self.gt = restored, gt
        self.resized = resized
        self.metrics, self.weights = metrics, weights
        self._scorers: dict[str, MetricFunction] | None = None

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
    """The pairs in order, as lists of up to `batch_size` whose images have one size."""
    loader: DataLoader[Pair] = DataLoader(pairs, batch_size, num_workers=min(num_workers, -(-len(pairs) // batch_size)), collate_fn=list)
    for batch in loader:
        by_size: dict[tuple[int, ...], list[Pair]] = defaultdict(list)
        for pair in batch:
            by_size[pair.gt.shape].append(pair)
        yield from by_size.values()


def as_faces(pictures: Sequence[Image], device: torch.device) -> Faces:
    """Images of one size, for networks."""
    return torch.stack([to_tensor(picture) for picture in pictures]).to(device)


@dataclass(frozen=True)
class ComputeOptions:
    """How the work is done: where, how many images at a time, in how many processes they are read."""

    weights: Path | None
    device: torch.device
    batch_size: int
    num_workers: int


def _is_for_workers(metric: Metric, device: torch.device) -> bool:
    """Numpy's work, and where no GPU does it what needs no network: a network would be in the memory of each worker."""
    return metric.on_cpu or (device.type == 'cpu' and not metric.has_network)


class Scorer:
    """The metrics, loaded once for all folders. Raises FRExError for weights that are not theirs."""

    def __init__(self, metrics: Sequence[Metric], workload: ComputeOptions, fid_statistics: Path | None) -> None:
        self.workload = workload
        of_pictures = [metric for metric in metrics if not metric.of_sets]
        self.in_workers = [metric.key for metric in of_pictures if _is_for_workers(metric, workload.device)]
        on_device = [metric for metric in of_pictures if metric.key not in self.in_workers]
        self.scorers: dict[str, MetricFunction] = {metric.key: metric.load(workload.weights, workload.device) for metric in on_device}
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
        """Scores of each image by metric, and what a score of the whole set is made of."""
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


@dataclass(frozen=True)
class _Scoring:
    inputs: Inputs
    judge: Scorer
    bins: Sequence[Bin]
    progress: 'tqdm[None]'

    def run(self, listing: ImageFolder, gt_features: Features | None, resized: bool = False) -> tuple[Run, Features | None]:
        """Score a folder, and its features; those of the clean images are their own."""
        self.progress.set_description(listing.role)
        files, gt_files = (each.of(self.inputs.names) for each in (listing, self.inputs.gt))
        scores, features = self.judge.score(files, gt_files, resized, self.progress)
        set_scores = self.judge.set_scores(features, features if gt_features is None else gt_features, self.bins)
        return Run(listing.folder, files, scores, set_scores), features


def score_rows(inputs: Inputs, judge: Scorer, metrics: Sequence[Metric], bins: Sequence[Bin], seed: int) -> tuple[Row, ...]:
    """Bilinear, where there are degraded images, the methods, and GT."""

    def row(name: str, runs: Sequence[Run]) -> Row:
        return Row(name, name not in inputs.methods, tuple(runs), summarize(metrics, runs, bins, seed), inputs.costs.get(name))

    folders = 1 + (inputs.lq is not None) + sum(map(len, inputs.methods.values()))
    with tqdm(total=len(inputs.names) * folders, unit='picture', disable=None) as progress:
        scoring = _Scoring(inputs, judge, bins, progress)
        # First, since all others are compared with its features.
        gt, features = scoring.run(inputs.gt, None)
        bilinear = [] if inputs.lq is None else [row(BILINEAR, [scoring.run(inputs.lq, features, resized=True)[0]])]
        methods = [row(name, [scoring.run(each, features)[0] for each in listings]) for name, listings in inputs.methods.items()]
        return (*bilinear, *methods, row(GT, [gt]))
