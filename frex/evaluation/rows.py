"""The rows of the table."""

from collections.abc import Sequence
from dataclasses import dataclass

from tqdm import tqdm

from frex.evaluation.fid import Features
from frex.evaluation.inputs import Inputs
from frex.evaluation.listing import Listing
from frex.evaluation.poses import Bin
from frex.evaluation.results import BILINEAR, GT, Row, Run
from frex.evaluation.scoring import Judge
from frex.evaluation.summaries import summarize
from frex.metrics.metric import Metric


@dataclass(frozen=True)
class _Scoring:
    inputs: Inputs
    judge: Judge
    bins: Sequence[Bin]
    progress: 'tqdm[None]'

    def run(self, listing: Listing, gt_features: Features | None, resized: bool = False) -> tuple[Run, Features | None]:
        """Score a folder, and its features; those of the clean pictures are their own."""
        self.progress.set_description(listing.role)
        files, gt_files = (each.of(self.inputs.names) for each in (listing, self.inputs.gt))
        scores, features = self.judge.score(files, gt_files, resized, self.progress)
        set_scores = self.judge.set_scores(features, features if gt_features is None else gt_features, self.bins)
        return Run(listing.folder, files, scores, set_scores), features


def score_rows(inputs: Inputs, judge: Judge, metrics: Sequence[Metric], bins: Sequence[Bin], seed: int) -> tuple[Row, ...]:
    """Bilinear, where there are degraded pictures, the methods, and GT."""

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
