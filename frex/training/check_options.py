"""The checks of a run's options before anything is created. Each raises FRExError, which names file and key."""

import inspect
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY, Registry

from frex.data.face_degradation_dataset import FaceDegradationDataset
from frex.data.face_options import FaceDegradationOptions
from frex.errors import FRExError, nearest
from frex.metrics.basicsr_functions import NETWORKS
from frex.metrics.feature_statistics import FeatureStatistics
from frex.metrics.fid import FID
from frex.models.critic import COMPARISONS, critic_names
from frex.models.objective import TERMS, TERMS_2D, TERMS_3D
from frex.models.train_options import TrainOptions
from frex.options import DistOptions, Options, arguments_of, check_arguments, convert
from frex.weights.network_file import check_frex_arguments
from frex.weights.priors import PRIORS
from frex.weights.state_dict import build_checked
from frex_arch import FREx, FREx3D

SECTIONS = {
    'val': ['val_freq', 'save_img', 'pbar', 'suffix', 'metrics', 'save_best', 'grid_images'],
    'logger': ['print_freq', 'save_checkpoint_freq', 'keep_last', 'use_tb_logger', 'wandb'],
}
PATH_HINTS = ['strict_load_g', 'param_key_g', 'resume_state', *(f'pretrain_network_{part}' for part in ('g', *PRIORS))]
SCHEDULERS = ['MultiStepLR', 'MultiStepRestartLR', 'CosineAnnealingRestartLR']
PATH_KEYS = re.compile(
    r'(pretrain_network|param_key|strict_load)_(g|d_\w+)|pretrain_network_(eg3d|stylegan2|backbone|encoder_3d|encoder_2d)|resume_state|ignore_resume_networks'
    r'|experiments_root|results_root|models|training_states|visualization|log'
)


def check(opt: Options, where: str) -> None:
    """Check all options of a run but its files; of models other than FREx's own only their networks, the rest is BasicSR's."""
    look_up(opt['model_type'], MODEL_REGISTRY, f'{where}: model_type')
    convert(DistOptions, opt.get('dist_params') or {}, f'{where}: dist_params')
    for key, network in opt.items():
        if key.startswith('network_') and network is not None:
            check_network(network, f'{where}: {key}')
    if opt['model_type'] == 'FRExModel':
        check_sections(opt, where)
        for dataset in opt['datasets'].values():
            check_dataset_options(dataset, opt, where)
        check_training(opt, where) if opt['is_train'] else check_test(opt, where)


def look_up(name: Any, registry: Registry, where: str) -> Any:
    """Return what `registry` has under `name`; raise FRExError where that is nothing."""
    if name not in registry and f'{name}_basicsr' not in registry:
        raise FRExError(f'{where}: no {name!r} is registered; {nearest(str(name), list(registry.keys()))}')
    return registry.get(name)


def check_network(network: Options, where: str) -> None:
    """Check type, keys and values of a network by building it without storage."""
    kind = network.get('type')
    constructor = look_up(kind, ARCH_REGISTRY, f'{where}.type')
    if constructor.__module__.split('.')[0] != 'frex_arch':
        return
    arguments = arguments_of(network)
    if constructor in (FREx, FREx3D):
        check_frex_arguments(constructor, arguments, where)
    check_arguments(constructor, arguments, where)
    with torch.device('meta'):
        build_checked(constructor, arguments, where)


def check_sections(opt: Options, where: str) -> None:
    """Check the keys of sections in which BasicSR would silently ignore unknown ones, and `check_checkpointing`."""
    for section, known in SECTIONS.items():
        for key in opt.get(section) or {}:
            if key not in known:
                raise FRExError(f'{where}: {section}.{key}: unknown key; {nearest(key, known)}')
    for key in opt['path']:
        if not PATH_KEYS.fullmatch(key):
            raise FRExError(f'{where}: path.{key}: unknown key; {nearest(key, PATH_HINTS)}')
    critics = [f'network_d_{name}' for name in COMPARISONS]
    for key in opt:
        if key.startswith('network_') and key not in ('network_g', *critics):
            raise FRExError(f'{where}: {key}: unknown network; {nearest(key, ["network_g", *critics])}')
    check_checkpointing(opt, where)


def check_checkpointing(opt: Options, where: str) -> None:
    """Check metrics, `save_best`, and how often the run logs, validates and saves."""
    val = opt.get('val') or {}
    metrics = val.get('metrics') or {}
    for name, metric in metrics.items():
        kind = look_up(metric.get('type'), METRIC_REGISTRY, f'{where}: val.metrics.{name}.type')
        check_metric(kind, arguments_of(metric, 'better'), f'{where}: val.metrics.{name}')
        if inspect.isclass(kind) and metric.get('better') not in ('lower', 'higher'):
            raise FRExError(f'{where}: val.metrics.{name}.better: missing; lower or higher')
    for name in val.get('save_best') or ():
        if name not in metrics:
            raise FRExError(f'{where}: val.save_best: no metric {name!r}; {nearest(str(name), list(metrics))}')
    counts = {'val.val_freq': val.get('val_freq'), 'val.grid_images': val.get('grid_images')}
    counts |= {f'logger.{key}': opt['logger'].get(key) for key in ('print_freq', 'save_checkpoint_freq', 'keep_last')}
    for key, count in counts.items():
        if count is not None and (not isinstance(count, int) or count < 1):
            raise FRExError(f'{where}: {key}: a whole number of at least 1 is needed, not {count!r}')


def check_metric(kind: Any, arguments: Options, where: str) -> None:
    """Check a metric's keys, the arguments of its network, and its statistics; `preflight` reads the file of the network."""
    check_arguments(kind, arguments, where)
    images = {} if inspect.isclass(kind) else {'img': None, 'img2': None}
    try:
        inspect.signature(kind).bind(**images, **arguments)
    except TypeError as error:
        raise FRExError(f'{where}: {error}') from None
    if kind in NETWORKS:
        network = NETWORKS[kind]
        # The weights of some come with a package, without an option.
        build = build_without_file if 'weights' in inspect.signature(network).parameters else build_checked
        build(network, arguments | {'device': 'meta'}, where)
    if arguments.get('statistics') is not None and kind is FID:
        try:
            FeatureStatistics.load(Path(arguments['statistics']).expanduser())
        except FRExError as error:
            raise FRExError(f'{where}.statistics: {error}') from None


def check_training(opt: Options, where: str) -> None:
    """Check the `train` section, its losses, and that the critics fit the generator."""
    options = convert(TrainOptions, opt.get('train') or {}, f'{where}: train')
    losses = {key: getattr(options, key) for key in (*TERMS, *(f'{name}_gan_opt' for name in COMPARISONS)) if getattr(options, key)}
    for key, loss in losses.items():
        check_loss(loss, f'{where}: train.{key}')
    if not losses.keys() & TERMS.keys():
        raise FRExError(f'{where}: train: no loss; give at least one of {", ".join(TERMS)}')
    check_loss_inputs(opt['network_g'], [*losses, *(f'network_d_{name}' for name in critic_names(opt))], where)
    check_parts(opt, options, where)
    if options.scheduler.get('type') not in SCHEDULERS:
        raise FRExError(f'{where}: train.scheduler.type: {options.scheduler.get("type")!r}; known: {", ".join(SCHEDULERS)}')
    for name in critic_names(opt):
        if f'{name}_gan_opt' not in losses:
            raise FRExError(f'{where}: train.{name}_gan_opt: missing, but there is a network_d_{name}')
        check_critic(opt[f'network_d_{name}'], _out_size(opt), f'{where}: network_d_{name}')
    if 'train' not in opt['datasets']:
        raise FRExError(f'{where}: datasets.train: missing')


def check_loss(loss: Options, where: str) -> None:
    """Check type, keys and values of a loss by building it; a frozen network in it is built without its file, which `preflight` reads."""
    constructor = look_up(loss.get('type'), LOSS_REGISTRY, f'{where}.type')
    if constructor.__name__ == 'PerceptualLoss':
        raise FRExError(f"{where}.type: BasicSR's PerceptualLoss returns two losses at once; use VGGPerceptualLoss and StyleLoss")
    arguments = arguments_of(loss)
    if 'weights' not in inspect.signature(constructor).parameters:
        build_checked(constructor, arguments, where)
        return
    check_arguments(constructor, arguments, where)
    build_without_file(constructor, arguments, where)


def build_without_file(constructor: Callable[..., Any], arguments: Options, where: str) -> None:
    """Build a loss or network without storage and without its file, which raises FRExError for wrong arguments."""
    with torch.device('meta'), warnings.catch_warnings():
        # Loading into a network without storage does nothing, which torch warns of.
        warnings.simplefilter('ignore')
        build_checked(constructor, arguments | {'weights': None}, where)


def check_loss_inputs(network: Options, keys: list[str], where: str) -> None:
    """Raise FRExError for a loss or critic whose input the network does not make."""
    fused = {*TERMS_2D, 'network_d_dual', 'dual_gan_opt', 'network_d_multi_scale', 'multi_scale_gan_opt'}
    prior = {*TERMS_3D, 'offset_norm_opt', 'network_d_latent', 'latent_gan_opt'}
    for key in keys:
        if network['type'] == FREx3D.__name__ and key in fused:
            raise FRExError(f'{where}: {key}: needs the fused image, which FREx3D does not make')
        if network.get('use_3d_prior') is False and key in prior:
            raise FRExError(f'{where}: {key}: needs the 3D prior, which network_g.use_3d_prior: false removes')


def check_parts(opt: Options, options: TrainOptions, where: str) -> None:
    """Check that `frozen_parts` are parts of the network, and that `accumulate` divides the batch."""
    with torch.device('meta'):
        net = ARCH_REGISTRY.get(opt['network_g']['type'])(**arguments_of(opt['network_g']))
    parts = [name for name, _ in net.named_modules()]
    for part in options.frozen_parts:
        if part not in parts:
            top = [name for name, _ in net.named_children()]
            raise FRExError(f'{where}: train.frozen_parts: {part!r} is no part of {type(net).__name__}; {nearest(part, top)}')
    batch = (opt['datasets'].get('train') or {}).get('batch_size_per_gpu', options.accumulate)
    if batch % options.accumulate:
        raise FRExError(f'{where}: train.accumulate: {options.accumulate} parts of a batch_size_per_gpu of {batch} are not equal')


def check_critic(network: Options, out_size: int, where: str) -> None:
    """Raise FRExError for a critic of sizes that the generator does not make."""
    if 'out_size' in network and network['out_size'] != out_size:
        raise FRExError(f'{where}.out_size: {network["out_size"]}, but network_g.out_size is {out_size}')
    for size in network.get('sizes', ()):
        if not 8 <= size <= out_size:
            raise FRExError(f'{where}.sizes: {size} is not one of the sizes 8 to {out_size} of the decoder')


def check_test(opt: Options, where: str) -> None:
    """Raise FRExError where a test has no trained network."""
    if opt['path'].get('pretrain_network_g') is None:
        raise FRExError(f'{where}: path.pretrain_network_g: missing; a test needs a trained network')


def check_dataset_options(dataset: Options, opt: Options, where: str) -> None:
    """Check keys and values of an entry of `datasets`."""
    place = f'{where}: datasets.{dataset["phase"]}'
    if dataset.get('type') != FaceDegradationDataset.__name__:
        raise FRExError(f'{place}.type: {dataset.get("type")!r}; FRExModel takes a {FaceDegradationDataset.__name__}')
    options = convert(FaceDegradationOptions, dataset, place)
    if options.gt_size != _out_size(opt):
        raise FRExError(f'{place}.gt_size: {options.gt_size}, but network_g.out_size is {_out_size(opt)}')
    if options.prefetch_mode == 'cuda' and not options.pin_memory:
        raise FRExError(f'{place}.pin_memory: prefetch_mode: cuda needs true')


def check_data(opt: Options, where: str) -> None:
    """Check the images and labels of a run, which `preflight` has found."""
    if opt['model_type'] == 'FRExModel':
        for dataset in opt['datasets'].values():
            check_dataset(dataset, where)


def check_dataset(dataset: Options, where: str) -> None:
    """Raise FRExError where images or labels of a data set are damaged, or too few for one batch."""
    try:
        built = FaceDegradationDataset(dataset)
    except FRExError as error:
        raise FRExError(f'{where}: {error}') from None
    where = f'{where}: datasets.{dataset["phase"]}'
    visits, batch = len(built) * built.options.dataset_enlarge_ratio, built.options.batch_size_per_gpu
    if dataset['phase'] == 'train' and visits < batch:
        raise FRExError(
            f'{where}: {len(built)} images are fewer than batch_size_per_gpu {batch}; add images or raise dataset_enlarge_ratio'
        )


def _out_size(opt: Options) -> int:
    return opt['network_g'].get('out_size', 512)
