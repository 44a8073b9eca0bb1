"""The options of a run, typed: what FREx works with, beside the dictionary that BasicSR reads."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from frex.errors import FRExError, nearest
from frex.options.convert import ComponentOptions, Options, convert, convert_known
from frex.options.data import DatasetOptions, FaceDegradationOptions
from frex.options.sections import DistOptions, LoggerOptions, PathOptions, ValOptions
from frex.options.train import LoopOptions, TrainOptions

MODEL, DATASET = 'FRExModel', 'FaceDegradationDataset'
DEFAULT_SIZE = 512
# The critics, in the order of their optimisers in training states.
CRITICS = ('dual', 'multi_scale', 'latent')
NETWORKS = ('network_g', *(f'network_d_{name}' for name in CRITICS))
KNOWN = ('name', 'model_type', 'num_gpu', 'manual_seed', *NETWORKS, 'datasets', 'path', 'train', 'val', 'logger', 'dist_params')
# Other keys of BasicSR, and those that it and `complete` add.
OTHERS = ('scale', 'find_unused_parameters', 'is_train', 'auto_resume', 'root_path', 'dist', 'rank', 'world_size')


@dataclass(frozen=True, kw_only=True)
class RunValues:
    """The options of a run that are no sections."""

    name: str
    """The name of the run: its folder below `experiments` or `results`."""
    model_type: str
    """`FRExModel`; BasicSR's other models run as they do there."""
    num_gpu: int
    """Number of GPUs, or `auto` for all that there are; 0 for the CPU. One process uses one GPU."""
    is_train: bool
    manual_seed: int = 0
    """Seed of all random numbers."""
    auto_resume: bool = False


@dataclass(frozen=True, kw_only=True)
class RunConfig(RunValues):
    """What FREx reads of the options of a run of any model."""

    networks: Mapping[str, ComponentOptions]
    """By their keys, `network_g` and others."""
    files: Mapping[str, str]
    """The files that networks start from, by their options, `path.pretrain_network_g` and others."""
    path: PathOptions
    dist_params: DistOptions
    datasets: Mapping[str, DatasetOptions]
    train: LoopOptions | None
    """None in a test."""


@dataclass(frozen=True, kw_only=True)
class FRExConfig(RunConfig):
    """All options of a run of FREx."""

    train: TrainOptions | None
    val: ValOptions
    logger: LoggerOptions

    @property
    def face_sets(self) -> dict[str, FaceDegradationOptions]:
        """The data sets of degraded faces by their names; `check_options` refuses a run that has others."""
        return {name: dataset for name, dataset in self.datasets.items() if isinstance(dataset, FaceDegradationOptions)}

    @property
    def net_g(self) -> ComponentOptions:
        """The options of the generator."""
        return self.networks['network_g']

    @property
    def out_size(self) -> int:
        """The width in pixels of the images that the generator makes."""
        return int(self.net_g.arguments.get('out_size', DEFAULT_SIZE))

    @property
    def critics(self) -> dict[str, ComponentOptions]:
        """The options of the critics by their names."""
        return {name: self.networks[f'network_d_{name}'] for name in CRITICS if f'network_d_{name}' in self.networks}


def read_run(opt: Options, where: str) -> RunConfig:
    """Read the options that `complete` has returned, of a run of FREx as FRExConfig.

    Raises FRExError, which starts with `where`, for a missing key, for a value of another type and, in a run of FREx, for an unknown key.
    """
    if opt['model_type'] == MODEL:
        return read_frex_run(opt, where)
    train = convert_known(LoopOptions, opt.get('train') or {}, f'{where}: train') if opt['is_train'] else None
    return RunConfig(**_common_fields(opt, where), path=convert_known(PathOptions, opt['path'], f'{where}: path'), train=train)


def read_frex_run(opt: Options, where: str) -> FRExConfig:
    """Read the options of a run of FREx that `complete` has returned.

    Raises FRExError, which starts with `where`, for an unknown or missing key, and for a value of another type.
    """
    for key in opt:
        if key not in (*KNOWN, *OTHERS):
            raise FRExError(f'{where}: {key}: unknown key; {nearest(key, list(KNOWN))}')
    return FRExConfig(
        **_common_fields(opt, where),
        path=convert(PathOptions, opt['path'], f'{where}: path'),
        train=convert(TrainOptions, opt.get('train') or {}, f'{where}: train') if opt['is_train'] else None,
        val=convert(ValOptions, opt.get('val') or {}, f'{where}: val'),
        logger=convert(LoggerOptions, opt.get('logger') or {}, f'{where}: logger'),
    )


def _common_fields(opt: Options, where: str) -> dict[str, Any]:
    """Read the fields of `RunConfig` except `path` and `train`, which depend on the model, and return them by name.

    Other keys of `opt` are ignored. Raises FRExError as `convert_known` does, and for an unknown key in `dist_params` or in the options
    of a data set of degraded faces.
    """
    files = {f'path.{key}': value for key, value in opt['path'].items() if key.startswith('pretrain_network_')}
    return vars(convert_known(RunValues, opt, where)) | {
        'networks': {key: ComponentOptions(opt[key]) for key in opt if key.startswith('network_') and opt[key] is not None},
        'files': {option: str(name) for option, name in files.items() if name is not None},
        'datasets': {name: _read_dataset(dataset, f'{where}: datasets.{name}') for name, dataset in opt['datasets'].items()},
        'dist_params': convert(DistOptions, opt.get('dist_params') or {}, f'{where}: dist_params'),
    }


def _read_dataset(dataset: Options, where: str) -> DatasetOptions:
    if dataset.get('type') == DATASET:
        return convert(FaceDegradationOptions, dataset, where)
    return convert_known(DatasetOptions, dataset, where)
