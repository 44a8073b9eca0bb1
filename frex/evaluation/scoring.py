"""Compute all metrics of a folder in one pass over its images."""

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
from frex.evaluation.results import ImageScores, Row, Run
from frex.evaluation.summaries import summarize
from frex.evaluation.yaw_bins import Bin
from frex.images import Image, read_image
from frex.metrics.catalogue import METRICS
from frex.metrics.metric import Faces, Metric, MetricFunction
from frex.tensors import to_tensor


@dataclass(frozen=True)
class Pair:
    """A restored image and its clean image, BGR, with the scores of the metrics that ran in the worker process."""

    index: int
    restored: Image
    gt: Image
    scores: dict[str, float]


class Pairs(Dataset[Pair]):
    """Reads pairs of images and scores them with `metrics`, keys of the catalogue, on the CPU.

    With `resized`, the restored image is resized to the clean one bilinearly. Raises FRExError for an image that cannot be read.
    """

    def __init__(self, restored: Sequence[Path], gt: Sequence[Path], resized: bool, metrics: Sequence[str], weights: Path | None) -> None:
        self.restored, self.gt = restored, gt
        self.resized = resized
        self.metrics, self.weights = metrics, weights
        self._functions: dict[str, MetricFunction] | None = None

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
        """Return the score of each metric for one pair; load the metrics on the first call."""
        if self._functions is None:
            # Each worker loads its own metrics, since not all of them can be pickled.
            self._functions = {key: METRICS[key].load(self.weights, torch.device('cpu')) for key in self.metrics}
        faces = [to_tensor(image)[None] for image in (restored, gt)]
        return {key: float(function(*faces).item()) for key, function in self._functions.items()}


def iterate_batches(pairs: Pairs, batch_size: int, num_workers: int) -> Iterator[list[Pair]]:
    """Yield the pairs in order, as lists of at most `batch_size` pairs whose images have the same size."""
    loader: DataLoader[Pair] = DataLoader(pairs, batch_size, num_workers=min(num_workers, -(-len(pairs) // batch_size)), collate_fn=list)
    for batch in loader:
        by_size: dict[tuple[int, ...], list[Pair]] = defaultdict(list)
        for pair in batch:
            by_size[pair.gt.shape].append(pair)
        yield from by_size.values()


def stack_images(images: Sequence[Image], device: torch.device) -> Faces:
    """Return images of equal size as one batch, RGB in [-1, 1], on `device`."""
    return torch.stack([to_tensor(image) for image in images]).to(device)


@dataclass(frozen=True)
class ComputeOptions:
    """The folder of weights, the device, the number of images in a batch and the number of worker processes that read images."""

    weights: Path | None
    device: torch.device
    batch_size: int
    num_workers: int


def _runs_in_workers(metric: Metric, device: torch.device) -> bool:
    """Return whether worker processes compute a metric: those that use numpy, and without a GPU those that need no network.

    A metric with a network stays in the main process, since each worker would hold its own copy of the weights.
    """
    return metric.on_cpu or (device.type == 'cpu' and not metric.has_network)


class Scorer:
    """The metrics, loaded once for all folders. Raises FRExError for weights that are missing or of another network."""

    def __init__(self, metrics: Sequence[Metric], compute_options: ComputeOptions, fid_statistics: Path | None) -> None:
        self.compute_options = compute_options
        image_metrics = [metric for metric in metrics if not metric.compares_sets]
        self.worker_metrics = [metric.key for metric in image_metrics if _runs_in_workers(metric, compute_options.device)]
        on_device = [metric for metric in image_metrics if metric.key not in self.worker_metrics]
        self.functions: dict[str, MetricFunction] = {
            metric.key: metric.load(compute_options.weights, compute_options.device) for metric in on_device
        }
        compares_sets = [metric for metric in metrics if metric.compares_sets]
        self.set_scorer = (
            SetScorer(compares_sets[0], compute_options.weights, compute_options.device, fid_statistics) if compares_sets else None
        )

    @property
    def notes(self) -> dict[str, str]:
        """Return the lines of the protocol that say what FID is computed against."""
        return {} if self.set_scorer is None else self.set_scorer.notes

    def set_scores(self, features: Features | None, gt: Features | None, bins: Sequence[Bin]) -> dict[str, tuple[float, ...]]:
        """Return the scores of set metrics by key, one score per bin; empty where there is no such metric."""
        if self.set_scorer is None or features is None or gt is None:
            return {}
        return {self.set_scorer.key: self.set_scorer.scores(features, gt, bins)}

    def score(
        self, restored: Sequence[Path], gt: Sequence[Path], resized: bool, progress: 'tqdm[None]'
    ) -> tuple[Mapping[str, ImageScores], Features | None]:
        """Return the scores of each image by metric, and the features from which set metrics are computed."""
        keys = [*self.functions, *self.worker_metrics]
        scores = {key: np.full(len(gt), np.nan) for key in keys}
        features = None if self.set_scorer is None else np.empty((len(gt), self.set_scorer.width), dtype=np.float32)
        pairs = Pairs(restored, gt, resized, self.worker_metrics, self.compute_options.weights)
        try:
            self._score_batches(pairs, scores, features, progress)
        except torch.cuda.OutOfMemoryError:
            raise FRExError(
                f'--batch_size {self.compute_options.batch_size}: the GPU has too little free memory; take a smaller one'
            ) from None
        return scores, features

    @torch.inference_mode()
    def _score_batches(self, pairs: Pairs, scores: Mapping[str, ImageScores], features: Features | None, progress: 'tqdm[None]') -> None:
        """Fill `scores` and `features`, which are indexed by image."""
        device = self.compute_options.device
        for batch in iterate_batches(pairs, self.compute_options.batch_size, self.compute_options.num_workers):
            indices = [pair.index for pair in batch]
            restored, gt = (stack_images(images, device) for images in zip(*((pair.restored, pair.gt) for pair in batch), strict=True))
            for key, function in self.functions.items():
                scores[key][indices] = function(restored, gt).cpu().numpy()
            for pair in batch:
                for key, score in pair.scores.items():
                    scores[key][pair.index] = score
            if self.set_scorer is not None and features is not None:
                features[indices] = self.set_scorer.features(restored)
            progress.update(len(batch))


@dataclass(frozen=True)
class _Scoring:
    """The state of scoring one folder after another."""

    inputs: Inputs
    scorer: Scorer
    bins: Sequence[Bin]
    progress: 'tqdm[None]'

    def run(self, image_folder: ImageFolder, gt_features: Features | None, resized: bool = False) -> tuple[Run, Features | None]:
        """Score a folder and return its run and features; GT itself is scored with `gt_features` None, against its own features."""
        self.progress.set_description(image_folder.role)
        files, gt_files = (folder.of(self.inputs.names) for folder in (image_folder, self.inputs.gt))
        scores, features = self.scorer.score(files, gt_files, resized, self.progress)
        set_scores = self.scorer.set_scores(features, features if gt_features is None else gt_features, self.bins)
        return Run(image_folder.folder, files, scores, set_scores), features


def score_rows(inputs: Inputs, scorer: Scorer, metrics: Sequence[Metric], bins: Sequence[Bin], seed: int) -> tuple[Row, ...]:
    """Return the rows of the table: bilinear where there are degraded images, the methods, and GT."""

    def row(name: str, runs: Sequence[Run]) -> Row:
        return Row(name, name not in inputs.methods, tuple(runs), summarize(metrics, runs, bins, seed), inputs.costs.get(name))

    folders = 1 + (inputs.lq is not None) + sum(map(len, inputs.methods.values()))
    with tqdm(total=len(inputs.names) * folders, unit='image', disable=None) as progress:
        scoring = _Scoring(inputs, scorer, bins, progress)
        # GT is first, since the others are compared with its features.
        gt, features = scoring.run(inputs.gt, None)
        bilinear = [] if inputs.lq is None else [row(BILINEAR, [scoring.run(inputs.lq, features, resized=True)[0]])]
        methods = [
            row(name, [scoring.run(folder, features)[0] for folder in image_folders]) for name, image_folders in inputs.methods.items()
        ]
        return (*bilinear, *methods, row(GT, [gt]))
