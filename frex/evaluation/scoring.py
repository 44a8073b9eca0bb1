"""Compute all metrics of a folder of restored images in one pass over them."""

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
from frex.evaluation.fid import Features, FidScorer
from frex.evaluation.inputs import BILINEAR, GT, ImageFolder, Inputs
from frex.evaluation.pyiqa_scorer import PyiqaScorer
from frex.evaluation.results import ImageScores, Row, Run
from frex.evaluation.summaries import summarize
from frex.evaluation.yaw_bins import YawBin
from frex.images import Image, read_image
from frex.metrics.catalogue import METRICS
from frex.metrics.metric import Faces, Metric, MetricFunction
from frex.tensors import to_tensor


@dataclass(frozen=True)
class ImagePair:
    """A restored image and its clean image, BGR uint8 of equal size, with the scores that the worker process computed, by metric key.

    `index` is the place of the image in the evaluation's names.
    """

    index: int
    restored: Image
    gt: Image
    scores: dict[str, float]


class ImagePairs(Dataset[ImagePair]):
    """A data set that reads pairs of images and computes `metrics`, keys of the catalogue, on the CPU.

    `restored` and `gt` are files in the same order. With `resized`, a restored image is resized bilinearly to the size of the clean one;
    without it both must have one size, which is not checked. `weights` is the folder of weight files. Reading an item raises FRExError
    where an image cannot be read.
    """

    def __init__(self, restored: Sequence[Path], gt: Sequence[Path], resized: bool, metrics: Sequence[str], weights: Path | None) -> None:
        self.restored, self.gt = restored, gt
        self.resized = resized
        self.metrics, self.weights = metrics, weights
        self._functions: dict[str, MetricFunction] | None = None

    def __len__(self) -> int:
        return len(self.gt)

    def __getitem__(self, index: int) -> ImagePair:
        prepare_process(get_worker_info() is not None)
        gt = read_image(self.gt[index])
        restored = gt if self.restored[index] == self.gt[index] else read_image(self.restored[index])
        if self.resized and restored.shape != gt.shape:
            restored = cv2.resize(restored, (gt.shape[1], gt.shape[0]), interpolation=cv2.INTER_LINEAR)
        return ImagePair(index, restored, gt, self._scores(restored, gt))

    @torch.inference_mode()
    def _scores(self, restored: Image, gt: Image) -> dict[str, float]:
        """Return the score of each of `self.metrics` for a pair of BGR uint8 images of one size, NaN where it is undefined.

        The first call loads the metrics, to the CPU.
        """
        if self._functions is None:
            # Each worker loads its own metrics, since not all of them can be pickled.
            self._functions = {key: METRICS[key].load(self.weights, torch.device('cpu')) for key in self.metrics}
        faces = [to_tensor(image)[None] for image in (restored, gt)]
        return {key: float(function(*faces).item()) for key, function in self._functions.items()}


def iterate_batches(pairs: ImagePairs, batch_size: int, num_workers: int) -> Iterator[list[ImagePair]]:
    """Yield all pairs as lists of at most `batch_size` pairs whose images have the same size.

    `num_workers` processes read them, 0 for this one. Pairs of different sizes in a batch are divided by size, in order within a size.
    """
    loader: DataLoader[ImagePair] = DataLoader(
        pairs, batch_size, num_workers=min(num_workers, -(-len(pairs) // batch_size)), collate_fn=list
    )
    for batch in loader:
        by_size: dict[tuple[int, ...], list[ImagePair]] = defaultdict(list)
        for pair in batch:
            by_size[pair.gt.shape].append(pair)
        yield from by_size.values()


def stack_images(images: Sequence[Image], device: torch.device) -> Faces:
    """Convert BGR images of equal size to one batch on `device`, RGB in [-1, 1]."""
    return torch.stack([to_tensor(image) for image in images]).to(device)


@dataclass(frozen=True)
class ComputeOptions:
    """The folder of weight files, the device, the number of images in a batch, and the number of processes that read images."""

    weights: Path | None
    device: torch.device
    batch_size: int
    num_workers: int


def _runs_in_workers(metric: Metric, device: torch.device) -> bool:
    """Return whether worker processes compute a metric: those of numpy, and where `device` is the CPU those without a network.

    A metric with a network stays in the main process, since each worker would hold its own copy of the weights.
    """
    return metric.on_cpu or (device.type == 'cpu' and not metric.has_network)


class Scorer:
    """All metrics of an evaluation, loaded once for all folders.

    `fid_statistics` is a file that FID compares with; None compares with the clean images. Missing weights are downloaded. Raises FRExError
    where that is not possible or not allowed, and for weights or statistics that are damaged or of another network.
    """

    def __init__(self, metrics: Sequence[Metric], compute_options: ComputeOptions, fid_statistics: Path | None) -> None:
        self.compute_options = compute_options
        image_metrics = [metric for metric in metrics if not metric.compares_sets]
        self.worker_metrics = [metric.key for metric in image_metrics if _runs_in_workers(metric, compute_options.device)]
        on_device = [metric for metric in image_metrics if metric.key not in self.worker_metrics]
        self.functions: dict[str, MetricFunction] = {
            metric.key: metric.load(compute_options.weights, compute_options.device) for metric in on_device
        }
        set_metrics = [metric for metric in metrics if metric.compares_sets]
        self.fid_scorer = (
            FidScorer(set_metrics[0], compute_options.weights, compute_options.device, fid_statistics) if set_metrics else None
        )

    @property
    def notes(self) -> dict[str, str]:
        """Return the protocol's entry on what FID compares with; empty without FID."""
        return {} if self.fid_scorer is None else self.fid_scorer.notes

    def score_bins(self, features: Features | None, gt: Features | None, bins: Sequence[YawBin]) -> dict[str, tuple[float, ...]]:
        """Return the FID of each bin, in the order of `bins`, under FID's metric key; empty where FID is not computed.

        `features` and `gt` are Inception's features of the restored images and of their clean ones, in one order. FID is NaN for a bin of
        fewer than two images and, where it is computed against stored statistics, for each bin but the first, which holds all images.
        """
        if self.fid_scorer is None or features is None or gt is None:
            return {}
        return {self.fid_scorer.key: self.fid_scorer.score_bins(features, gt, bins)}

    def score(
        self, restored: Sequence[Path], gt: Sequence[Path], resized: bool, progress: 'tqdm[None]'
    ) -> tuple[Mapping[str, ImageScores], Features | None]:
        """Return the score of each image by metric key, and the features for FID (None without FID); both in the order of the files.

        With `resized`, restored images are resized to the size of their clean ones. `progress` advances by one per image. Raises FRExError
        where an image cannot be read, and where the GPU has too little memory.
        """
        keys = [*self.functions, *self.worker_metrics]
        scores = {key: np.full(len(gt), np.nan) for key in keys}
        features = None if self.fid_scorer is None else np.empty((len(gt), self.fid_scorer.width), dtype=np.float32)
        pairs = ImagePairs(restored, gt, resized, self.worker_metrics, self.compute_options.weights)
        try:
            self._score_batches(pairs, scores, features, progress)
        except torch.cuda.OutOfMemoryError:
            raise FRExError(
                f'--batch_size {self.compute_options.batch_size}: the GPU has too little free memory; take a smaller one'
            ) from None
        return scores, features

    @torch.inference_mode()
    def _score_batches(
        self, pairs: ImagePairs, scores: Mapping[str, ImageScores], features: Features | None, progress: 'tqdm[None]'
    ) -> None:
        """Fill the arrays `scores` (by metric key) and `features`, one row per image."""
        device = self.compute_options.device
        for batch in iterate_batches(pairs, self.compute_options.batch_size, self.compute_options.num_workers):
            indices = [pair.index for pair in batch]
            restored, gt = (stack_images(images, device) for images in zip(*((pair.restored, pair.gt) for pair in batch), strict=True))
            for key, function in self.functions.items():
                scores[key][indices] = function(restored, gt).cpu().numpy()
            for pair in batch:
                for key, score in pair.scores.items():
                    scores[key][pair.index] = score
            if self.fid_scorer is not None and features is not None:
                features[indices] = self.fid_scorer.extract_features(restored)
            progress.update(len(batch))


@dataclass(frozen=True)
class _FolderScorer:
    """Scores folders, one after the other, with the same metrics, bins and progress bar; `outside` adds metrics of pyiqa."""

    inputs: Inputs
    scorer: Scorer
    bins: Sequence[YawBin]
    progress: 'tqdm[None]'
    outside: PyiqaScorer | None

    def score_folder(self, image_folder: ImageFolder, gt_features: Features | None, resized: bool = False) -> tuple[Run, Features | None]:
        """Return the run of a folder, and the features of its images for FID (None where FID is not computed).

        `gt_features` are those of the clean images. For the folder of clean images, give None: FID then compares it with itself. With
        `resized`, an image is resized bilinearly to the size of its clean image.
        """
        self.progress.set_description(image_folder.role)
        files, gt_files = (folder.paths_of(self.inputs.names) for folder in (image_folder, self.inputs.gt))
        scores, features = self.scorer.score(files, gt_files, resized, self.progress)
        set_scores = self.scorer.score_bins(features, features if gt_features is None else gt_features, self.bins)
        outside = self._score_outside(ImagePairs(files, gt_files, resized, (), None))
        return Run(image_folder.folder, files, {**scores, **outside}, set_scores), features

    def _score_outside(self, pairs: ImagePairs) -> Mapping[str, ImageScores]:
        """Return pyiqa's score of each image by metric key; empty without pyiqa."""
        if self.outside is None:
            return {}
        scores = {metric.key: np.full(len(pairs), np.nan) for metric in self.outside.metrics}
        for pair in map(pairs.__getitem__, range(len(pairs))):
            for key, score in self.outside.score(pair.restored, pair.gt).items():
                scores[key][pair.index] = score
            self.progress.update()
        return scores


def score_rows(
    inputs: Inputs, scorer: Scorer, metrics: Sequence[Metric], bins: Sequence[YawBin], seed: int, outside: PyiqaScorer | None = None
) -> tuple[Row, ...]:
    """Score all folders and return the rows of the table: bilinear (where there are degraded images), the methods, GT.

    `metrics` are those that `scorer` has loaded and those of `outside`; `seed` is that of the bootstrap.
    """

    def row(name: str, runs: Sequence[Run]) -> Row:
        return Row(name, name not in inputs.methods, tuple(runs), summarize(metrics, runs, bins, seed), inputs.costs.get(name))

    folders = 1 + (inputs.lq is not None) + sum(map(len, inputs.methods.values()))
    passes = 1 if outside is None else 2
    with tqdm(total=len(inputs.names) * folders * passes, unit='image', disable=None) as progress:
        folder_scorer = _FolderScorer(inputs, scorer, bins, progress, outside)
        # GT is first, since the others are compared with its features.
        gt, features = folder_scorer.score_folder(inputs.gt, None)
        bilinear = [] if inputs.lq is None else [row(BILINEAR, [folder_scorer.score_folder(inputs.lq, features, resized=True)[0]])]
        methods = [
            row(name, [folder_scorer.score_folder(folder, features)[0] for folder in image_folders])
            for name, image_folders in inputs.methods.items()
        ]
        return (*bilinear, *methods, row(GT, [gt]))
