"""The validation of a model on all processes: restore a data set, compute metrics, write images, and save the best networks."""

import inspect
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger, imwrite, tensor2img
from basicsr.utils.dist_util import get_dist_info
from basicsr.utils.registry import METRIC_REGISTRY
from torch import Tensor
from torch.utils.data import Dataset, default_collate
from tqdm import tqdm

from frex.errors import FRExError
from frex.models.batch import Batch
from frex.models.image_grid import image_grid
from frex.models.objective import Output, in_eg3d_crop
from frex.models.scalars import append_scalars, read_scalars, scalars_path
from frex.models.training_state import gather, random_state, set_random_state
from frex.options import FRExConfig, read_frex_run
from frex.options.convert import MetricOptions
from frex.options.train import TrainOptions
from frex_arch import FREx, FREx3DOutput, FRExOutput


class ValidatedModel(SRModel):
    """BasicSR's model with a validation that is divided among the processes."""

    output: Output

    @cached_property
    def config(self) -> FRExConfig:
        """The options of the run, typed, as they are when the model is built; `opt` is BasicSR's."""
        return read_frex_run(self.opt, 'options')

    @property
    def train_options(self) -> TrainOptions:
        """Return the `train` section of the option file; raise AssertionError in a test run, whose option file has none."""
        assert self.config.train is not None
        return self.config.train

    @cached_property
    def _finished_validations(self) -> set[tuple[str, int | str]]:
        """The data set's name and the iteration of each validation so far, since BasicSR validates once more at the end of training."""
        return set()

    def test(self) -> None:
        """Restore the batch of `feed_data` as `output`, in training by the averaged network."""
        net = self.net_g_ema if self.is_train else self.get_bare_model(self.net_g).eval()
        with torch.no_grad():
            self.output = net(self.lq, self.crop)

    def validation(self, dataloader: Any, current_iter: int | str, tb_logger: Any, save_img: bool = False) -> None:
        """Validate on the data set of `dataloader`, divided among the processes: metrics by `val`, and with `save_img` the images.

        In a test `current_iter` is the name of the run. The metrics are logged and appended to `scalars.jsonl`. In training the best
        networks are saved and a grid of images is written, as `val` says. A data set that has been validated at this iteration is skipped.
        `tb_logger` is TensorBoard's writer, or None. Raises FRExError where no image can be read.
        """
        dataset, val = dataloader.dataset, self.config.val
        name, (rank, world_size) = dataset.opt['name'], get_dist_info()
        if isinstance(current_iter, int):
            # At the end of training BasicSR counts an iteration that it has not done.
            current_iter = min(current_iter, self.train_options.total_iter)
        if (name, current_iter) in self._finished_validations:
            return
        self._finished_validations.add((name, current_iter))
        random_state_before = random_state()
        path_of = (lambda image: self._path_of_result(image, name, current_iter)) if save_img else None
        values = validate(dataset, self._restore, val.metrics, path_of, rank, world_size, val.pbar)
        if val.metrics:
            self.metric_results = values
            self._initialize_best_metric_results(name)
            for metric, value in values.items():
                self._update_best_metric_result(name, metric, value, current_iter)
            if rank == 0:
                self._log_validation_metric_values(current_iter, name, tb_logger)
                append_scalars(scalars_path(self.config), {'iter': current_iter, 'dataset': name, **values})
            self._save_best(name, current_iter)
        if self.is_train and rank == 0 and val.grid_images:
            self._write_grid(dataset, val.grid_images, current_iter, tb_logger)
        # Training continues as if no metric had drawn random numbers.
        set_random_state(random_state_before)

    def _read_best_results(self) -> None:
        """Update the best value of each metric from the log of a resumed run, since BasicSR saves a state before it validates."""
        path, metrics = scalars_path(self.config), self.config.val.metrics
        is_first = get_dist_info()[0] == 0 and path.exists()
        records = gather([record for record in read_scalars(path) if 'dataset' in record] if is_first else [])[0]
        for record in records if metrics else ():
            self._initialize_best_metric_results(record['dataset'])
            for metric in metrics.keys() & record.keys():
                self._update_best_metric_result(record['dataset'], metric, record[metric], record['iter'])

    def _write_grid(self, dataset: Any, count: int, current_iter: int | str, tb_logger: Any) -> None:
        """Write a grid of the first `count` images and all that the network makes of them to a file, and to TensorBoard if in use."""
        samples = default_collate(list(islice(read_samples(dataset, range(len(dataset))), count)))
        lq, gt, crop = (samples[key].to(self.device) for key in ('lq', 'gt', 'crop'))
        shown = {'image_3d': True, 'alphas': True} if isinstance(self.net_g_ema, FREx) else {}
        with torch.no_grad():
            output = self.net_g_ema(lq, crop, **shown)
        if isinstance(output, FREx3DOutput):
            gt = in_eg3d_crop(Batch(lq, gt, crop, None), output.image_3d)
        grid, name = image_grid(lq, output, gt), dataset.opt['name']
        imwrite(tensor2img([grid]), str(Path(self.config.path.visualization) / f'grid_{name}_{current_iter}.jpg'))
        if tb_logger:
            tb_logger.add_image(f'validation/{name}', grid, current_iter)

    def _save_best(self, dataset: str, current_iter: int | str) -> None:
        """Save `net_g_best_METRIC.pth` for each metric of `val.save_best` that is at least as good as ever before; the older is replaced.

        With several validation sets the name is `net_g_best_METRIC_SET.pth`. In a test nothing is saved.
        """
        sets = [phase for phase in self.config.datasets if phase.startswith('val')]
        for metric in self.config.val.save_best or () if self.is_train else ():
            if self.best_metric_results[dataset][metric]['iter'] == current_iter:
                name = f'best_{metric}' if len(sets) == 1 else f'best_{metric}_{dataset}'
                self.save_network([self.net_g, self.net_g_ema], 'net_g', name, param_key=['params', 'params_ema'])

    def _restore(self, sample: dict[str, Any]) -> 'OrderedDict[str, Tensor]':
        """Restore a sample, in a batch of one; return its images as `get_current_visuals` does."""
        self.feed_data(sample)
        self.test()
        return self.get_current_visuals()

    def _path_of_result(self, image: str, dataset: str, current_iter: int | str) -> Path:
        """Return the path at which BasicSR writes the result of an image."""
        folder = Path(self.config.path.visualization)
        if self.is_train:
            return folder / image / f'{image}_{current_iter}.png'
        return folder / dataset / f'{image}_{self.config.val.suffix or self.config.name}.png'

    def get_current_visuals(self) -> 'OrderedDict[str, Tensor]':
        """Return `lq`, `result` and `gt` of the tested batch, on the CPU, scaled from [-1, 1] to [0, 1].

        For FREx3D, `result` and `gt` are in EG3D's crop, `gt` with `result` beyond the edges of the image; `lq` is not in that crop.
        """
        result, gt = self.output.image if isinstance(self.output, FRExOutput) else self.output.image_3d, self.gt
        if isinstance(self.output, FREx3DOutput):
            gt = in_eg3d_crop(Batch(self.lq, self.gt, self.crop, self.camera), result)
        images = {'lq': self.lq, 'result': result, 'gt': gt}
        return OrderedDict((name, (image.detach().cpu() + 1) / 2) for name, image in images.items())


Metrics = Mapping[str, MetricOptions]
# A sample in a batch of one -> images `result` and, where there is one, `gt`, in [0, 1].
Restore = Callable[[dict[str, Any]], Mapping[str, torch.Tensor]]


def read_samples(dataset: Dataset, indices: Iterable[int]) -> Iterator[dict[str, Any]]:
    """Yield the samples of a data set at `indices`; leave out and log those that cannot be read.

    A run starts only where all can be read, so these were damaged or removed since.
    """
    for index in indices:
        try:
            yield dataset[index]
        except FRExError as error:
            get_root_logger().error(f'{error}; left out of the validation')


def validate(
    dataset: Dataset, restore: Restore, metrics: Metrics, path_of: Callable[[str], Path] | None, rank: int, world_size: int, progress: bool
) -> dict[str, float]:
    """Return each metric over a data set, the same in all processes; write results to the paths that `path_of` gives for their names.

    Each of the `world_size` processes must call it with its `rank`, and restores its own part of the images. Without `path_of` nothing is
    written; existing files are replaced. `progress` shows a bar. A metric that is a function of two images is averaged over images; one
    that is a class is given all of them, and computes its own value. Raises FRExError where no image can be read.
    """
    kinds = {name: METRIC_REGISTRY.get(metric.type) for name, metric in metrics.items()}
    of_sets = {name: kinds[name](**metric.arguments) for name, metric in metrics.items() if inspect.isclass(kinds[name])}
    of_images = {name: metric for name, metric in metrics.items() if name not in of_sets}
    device = torch.device('cuda' if world_size > 1 and dist.get_backend() == 'nccl' else 'cpu')
    # Sums of the metrics and, last, the number of images, in this process's part of the data set, which may be empty.
    sums = torch.zeros(len(of_images) + 1, dtype=torch.float64, device=device)
    indices = tqdm(range(rank, len(dataset), world_size), unit='image', disable=not progress or rank > 0)  # type: ignore[arg-type]
    for single in read_samples(dataset, indices):
        sample = default_collate([single])
        images = {name: tensor2img([image]) for name, image in restore(sample).items() if name != 'lq'}
        data = {own: images[name] for own, name in (('img', 'result'), ('img2', 'gt')) if name in images}
        values = [kinds[name](**data, **metric.arguments) for name, metric in of_images.items()]
        sums += torch.tensor([*values, 1.0], dtype=torch.float64, device=device)
        for metric in of_sets.values():
            metric.add(**data)
        if path_of is not None:
            imwrite(images['result'], str(path_of(sample['name'][0])))
    if world_size > 1:
        dist.all_reduce(sums)
    if not sums[-1]:
        raise FRExError('validation: none of its images can be read any more')
    means = dict(zip(of_images, (sums[:-1] / sums[-1].clamp(min=1)).tolist(), strict=True))
    return {name: of_sets[name].value() if name in of_sets else means[name] for name in metrics}
