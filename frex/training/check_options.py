"""The checks of a run's typed options, before any of its files is read.

Each raises FRExError, which starts with `where`: the option file, followed by the key where a function checks only one.
"""

import inspect
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from basicsr.models.lr_scheduler import CosineAnnealingRestartLR, MultiStepRestartLR
from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY, Registry

from frex.errors import FRExError, nearest
from frex.metrics.basicsr_functions import NETWORKS
from frex.models.critic import active_critics
from frex.models.objective import TERMS, TERMS_2D, TERMS_3D, active_losses
from frex.models.optimization import choose_trained_parts
from frex.options import FRExConfig, RunConfig, check_arguments
from frex.options.convert import ComponentOptions, MetricOptions
from frex.options.data import FaceDegradationOptions
from frex.options.train import TrainOptions
from frex.weights.network_file import check_frex_arguments
from frex.weights.state_dict import build_checked
from frex_arch import FREx, FREx3D

# NIQE needs two blocks of 96 x 96 pixels in a square image.
LEAST_NIQE_SIZE = 192
# BasicSR takes higher for better where a metric says nothing. That holds for these alone, of its metrics and of FREx's.
HIGHER_BY_DEFAULT = ('calculate_psnr', 'calculate_ssim')
SCHEDULERS: dict[str, Callable[..., Any]] = {
    'MultiStepLR': MultiStepRestartLR,
    'MultiStepRestartLR': MultiStepRestartLR,
    'CosineAnnealingRestartLR': CosineAnnealingRestartLR,
}


def check_options(config: RunConfig, where: str) -> None:
    """Check what the types of options leave open; of models other than FREx's own only their networks, the rest is BasicSR's."""
    look_up(config.model_type, MODEL_REGISTRY, f'{where}: model_type')
    for key, network in config.networks.items():
        check_network(network, f'{where}: {key}')
    if isinstance(config, FRExConfig):
        check_frequencies(config, where)
        check_metrics(config, where)
        check_datasets(config, where)
        if config.train is not None:
            check_training(config, config.train, where)
        elif config.path.pretrain_network_g is None:
            raise FRExError(f'{where}: path.pretrain_network_g: missing; a test needs a trained network')


def look_up(name: str, registry: Registry, where: str) -> Any:
    """Return what `registry` has under `name`, or under that with BasicSR's suffix `_basicsr`; raise FRExError where it has nothing."""
    if name not in registry and f'{name}_basicsr' not in registry:
        raise FRExError(f'{where}: {f"no {name!r} is registered" if name else "missing"}; {nearest(name, list(registry.keys()))}')
    return registry.get(name)


def check_network(network: ComponentOptions, where: str) -> None:
    """Check the type of a network and, where it is one of FREx, its keys and values by building it without storage."""
    constructor = look_up(network.type, ARCH_REGISTRY, f'{where}.type')
    if constructor.__module__.split('.')[0] != 'frex_arch':
        return
    if constructor in (FREx, FREx3D):
        check_frex_arguments(constructor, network.arguments, where)
    check_arguments(constructor, network.arguments, where)
    with torch.device('meta'):
        build_checked(constructor, network.arguments, where)


def check_frequencies(config: FRExConfig, where: str) -> None:
    """Check how often the run logs, validates and saves, and how much of it is kept."""
    val, logger = config.val, config.logger
    counts = {'val.val_freq': val.val_freq, 'val.grid_images': val.grid_images, 'logger.print_freq': logger.print_freq}
    counts |= {'logger.save_checkpoint_freq': logger.save_checkpoint_freq, 'logger.keep_last': logger.keep_last}
    for key, count in counts.items():
        if count is not None and count < 1:
            raise FRExError(f'{where}: {key}: a whole number of at least 1 is needed, not {count}')


def check_metrics(config: FRExConfig, where: str) -> None:
    """Check the metrics of validation, and that `save_best` names some of them."""
    metrics = config.val.metrics
    for name, metric in metrics.items():
        check_metric(metric, f'{where}: val.metrics.{name}')
        if metric.type == 'calculate_niqe' and config.out_size < LEAST_NIQE_SIZE:
            reason = f'NIQE needs images of at least {LEAST_NIQE_SIZE} pixels, and network_g.out_size is {config.out_size}'
            raise FRExError(f'{where}: val.metrics.{name}: {reason}')
    for name in config.val.save_best or ():
        if name not in metrics:
            raise FRExError(f'{where}: val.save_best: no metric {name!r}; {nearest(name, list(metrics))}')


def check_metric(metric: MetricOptions, where: str) -> None:
    """Check type and keys of a metric, and the arguments of its network, whose file `check_files` reads."""
    kind = look_up(metric.type, METRIC_REGISTRY, f'{where}.type')
    check_arguments(kind, metric.arguments, where)
    images = {} if inspect.isclass(kind) else {'img': None, 'img2': None}
    try:
        inspect.signature(kind).bind(**images, **metric.arguments)
    except TypeError as error:
        raise FRExError(f'{where}: {error}') from None
    if kind in NETWORKS:
        build_without_file(NETWORKS[kind], metric.arguments | {'device': 'meta'}, where)
    if metric.better not in ('lower', 'higher', *([None] if metric.type in HIGHER_BY_DEFAULT else [])):
        given = 'missing' if metric.better is None else repr(metric.better)
        raise FRExError(f'{where}.better: {given}; lower or higher')


def check_datasets(config: FRExConfig, where: str) -> None:
    """Check that data sets fit the network, and that there is one to train on."""
    for name, dataset in config.datasets.items():
        place = f'{where}: datasets.{name}'
        if not isinstance(dataset, FaceDegradationOptions):
            raise FRExError(f'{place}.type: {dataset.type!r}; {config.model_type} takes a FaceDegradationDataset')
        if dataset.gt_size != config.out_size:
            raise FRExError(f'{place}.gt_size: {dataset.gt_size}, but network_g.out_size is {config.out_size}')
        if dataset.prefetch_mode == 'cuda' and not dataset.pin_memory:
            raise FRExError(f'{place}.pin_memory: prefetch_mode: cuda needs true')
    if config.is_train and 'train' not in config.datasets:
        raise FRExError(f'{where}: datasets.train: missing')


def check_training(config: FRExConfig, train: TrainOptions, where: str) -> None:
    """Check the `train` section, its losses, and that the critics fit the generator."""
    losses, critics = train.losses, active_critics(config)
    for key, loss in losses.items():
        check_loss(loss, f'{where}: train.{key}')
    check_terms(config, train, where)
    check_loss_inputs(config.net_g, [*losses, *(f'network_d_{name}' for name in critics)], where)
    check_parts(config, train, where)
    check_schedule(train, f'{where}: train.scheduler')
    for name, critic in critics.items():
        if f'{name}_gan_opt' not in losses:
            raise FRExError(f'{where}: train.{name}_gan_opt: missing, but there is a network_d_{name}')
        check_critic(critic, config.out_size, f'{where}: network_d_{name}')


def check_terms(config: FRExConfig, train: TrainOptions, where: str) -> None:
    """Check that the generator has a loss, also after those are left out that would train nothing or lack labels."""
    if not train.losses.keys() & TERMS.keys():
        raise FRExError(f'{where}: train: no loss; give at least one of {", ".join(TERMS)}')
    dataset = config.face_sets['train']
    has_labels = dataset.camera_labels or (dataset.mix and dataset.mix.camera_labels)
    active = active_losses(train)
    left = active.keys() & (TERMS.keys() if has_labels else TERMS.keys() - {'camera_opt'})
    if not left and not active_critics(config):
        idle = [key for key in train.losses if key not in active]
        reasons = [f'{", ".join(idle)} would train encoder_3d only, which train.frozen_parts freezes'] if idle else []
        reasons += ['camera_opt needs datasets.train.camera_labels'] if 'camera_opt' in active else []
        raise FRExError(f'{where}: train: no loss is left; {"; ".join(reasons)}')


def check_schedule(train: TrainOptions, where: str) -> None:
    """Check type, keys and values of `train.scheduler` by building it, and that the periods of a cosine schedule last for the whole run."""
    kind, arguments = train.scheduler.type, train.scheduler.arguments
    if kind not in SCHEDULERS:
        raise FRExError(f'{where}.type: {kind!r}; known: {", ".join(SCHEDULERS)}')
    constructor = SCHEDULERS[kind]
    check_arguments(constructor, arguments, where)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    schedule = build_checked(partial(constructor, optimizer), arguments, where)
    # The first iteration makes no step.
    if isinstance(schedule, CosineAnnealingRestartLR) and sum(schedule.periods) < train.total_iter - 1:
        raise FRExError(f'{where}.periods: {sum(schedule.periods)} iterations in all, but train.total_iter is {train.total_iter}')


def check_loss(loss: ComponentOptions, where: str) -> None:
    """Check type, keys and values of a loss by building it; a frozen network in it is built without its file, which `check_files` reads."""
    constructor = look_up(loss.type, LOSS_REGISTRY, f'{where}.type')
    if constructor.__name__ == 'PerceptualLoss':
        raise FRExError(f"{where}.type: BasicSR's PerceptualLoss returns two losses at once; use VGGPerceptualLoss and StyleLoss")
    if 'weights' in inspect.signature(constructor).parameters:
        check_arguments(constructor, loss.arguments, where)
    build_without_file(constructor, loss.arguments, where)


def build_without_file(constructor: Callable[..., Any], arguments: dict[str, Any], where: str) -> None:
    """Build a loss or metric, one with a frozen network without storage and without its file; raise FRExError for wrong arguments."""
    if 'weights' not in inspect.signature(constructor).parameters:
        # It has no network, or one whose weights come with a package.
        build_checked(constructor, arguments, where)
        return
    with torch.device('meta'), warnings.catch_warnings():
        # Loading into a network without storage does nothing, which torch warns of.
        warnings.simplefilter('ignore')
        build_checked(constructor, arguments | {'weights': None}, where)


def check_loss_inputs(network: ComponentOptions, keys: list[str], where: str) -> None:
    """Raise FRExError for a loss or critic whose input the network does not make; `keys` are those of `train` and of the option file."""
    fused = {*TERMS_2D, 'network_d_dual', 'dual_gan_opt', 'network_d_multi_scale', 'multi_scale_gan_opt'}
    prior = {*TERMS_3D, 'offset_norm_opt', 'network_d_latent', 'latent_gan_opt'}
    for key in keys:
        if network.type == FREx3D.__name__ and key in fused:
            raise FRExError(f'{where}: {key}: needs the 2D branch, which FREx3D lacks')
        if network.arguments.get('use_3d_prior') is False and key in prior:
            raise FRExError(f'{where}: {key}: needs the 3D prior, which network_g.use_3d_prior: false removes')


def check_parts(config: FRExConfig, train: TrainOptions, where: str) -> None:
    """Check that `frozen_parts` are parts of net_g and leave some to train, and that `accumulate` divides the batch of one process."""
    with torch.device('meta'):
        net = ARCH_REGISTRY.get(config.net_g.type)(**config.net_g.arguments)
    # All but the whole network, whose name is empty.
    parts = [name for name, _ in net.named_modules() if name]
    for part in train.frozen_parts:
        if part not in parts:
            top = [name for name, _ in net.named_children()]
            raise FRExError(f'{where}: train.frozen_parts: {part!r} is no part of {type(net).__name__}; {nearest(part, top)}')
    choose_trained_parts(net, train)
    if not any(parameter.requires_grad for parameter in net.parameters()):
        raise FRExError(f'{where}: train.frozen_parts: nothing is left to train; take a part out of {train.frozen_parts}')
    batch = config.datasets['train'].batch_size_per_gpu
    if batch % train.accumulate:
        raise FRExError(f'{where}: train.accumulate: {train.accumulate} parts of a batch_size_per_gpu of {batch} are not equal')


def check_critic(critic: ComponentOptions, out_size: int, where: str) -> None:
    """Raise FRExError for a critic of sizes that the generator, whose images are `out_size` pixels wide, does not make."""
    own_size = critic.arguments.get('out_size', out_size)
    if own_size != out_size:
        raise FRExError(f'{where}.out_size: {own_size}, but network_g.out_size is {out_size}')
    for size in critic.arguments.get('sizes', ()):
        if not 8 <= size <= out_size:
            raise FRExError(f'{where}.sizes: {size} is not one of the sizes 8 to {out_size} of the decoder')
