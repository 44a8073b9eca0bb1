"""The smaller sections of option files, typed: `path`, `val`, `logger` and `dist_params`."""

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple

from frex.options.convert import MetricOptions, Options


class NetworkSource(NamedTuple):
    """The file that a network starts from, which of its weights to take, and whether they must be those of the whole network."""

    file: str | None
    param_key: str | None
    strict: bool


@dataclass(frozen=True)
class PathOptions:
    """The section `path`: the files that a run starts from, and its folders, which `complete` names."""

    log: str = ''
    visualization: str = ''
    experiments_root: str = ''
    results_root: str = ''
    models: str = ''
    training_states: str = ''

    resume_state: str | None = None
    """The training state to continue from; `--auto_resume` finds the newest of the run."""
    ignore_resume_networks: list[str] | None = None
    """Keys of networks that a resumed run does not continue; they start from their `pretrain_network_*` instead."""

    pretrain_network_eg3d: str | None = None
    """What the 3D prior starts from: a key of `frex weights list`, or a file."""
    pretrain_network_stylegan2: str | None = None
    """What the 2D prior starts from: a key of `frex weights list`, or a file."""
    pretrain_network_backbone: str | None = None
    """What Enc_3D's backbone starts from: a key of `frex weights list`, or a file."""
    pretrain_network_encoder_3d: str | None = None
    """A checkpoint whose Enc_3D is the start: that of stage A."""
    pretrain_network_encoder_2d: str | None = None
    """A checkpoint whose Enc_2D is the start."""

    pretrain_network_g: str | None = None
    """A checkpoint of the whole network; it brings its own priors."""
    param_key_g: str | None = 'params'
    """Which weights of that checkpoint to take: `params`, or `params_ema` for the averaged ones."""
    strict_load_g: bool = True
    """Whether the checkpoint must have all weights of the network and no others."""
    pretrain_network_d_dual: str | None = None
    """A checkpoint of the dual critic."""
    param_key_d_dual: str | None = 'params'
    """As `param_key_g`."""
    strict_load_d_dual: bool = True
    """As `strict_load_g`."""
    pretrain_network_d_multi_scale: str | None = None
    """A checkpoint of the critics of the decoder's images."""
    param_key_d_multi_scale: str | None = 'params'
    """As `param_key_g`."""
    strict_load_d_multi_scale: bool = True
    """As `strict_load_g`."""
    pretrain_network_d_latent: str | None = None
    """A checkpoint of the critic of latent codes."""
    param_key_d_latent: str | None = 'params'
    """As `param_key_g`."""
    strict_load_d_latent: bool = True
    """As `strict_load_g`."""

    @property
    def root(self) -> Path:
        """The folder of the run."""
        return Path(self.experiments_root or self.results_root)

    def file(self, name: str) -> str | None:
        """Return the file that a network, or the part `name` of net_g, starts from; None where the options name none."""
        file: str | None = getattr(self, f'pretrain_network_{name}')
        return file

    def resumes(self, name: str) -> bool:
        """Return whether the network `name`, `g` or `d_CRITIC`, continues from the run's own checkpoint."""
        return bool(self.resume_state) and f'network_{name}' not in (self.ignore_resume_networks or ())

    def source(self, name: str) -> NetworkSource:
        """Return what the network `name`, `g` or `d_CRITIC`, starts from; in a resumed run that is what FREx has saved."""
        if self.resumes(name):
            return NetworkSource(self.file(name), 'params', True)
        return NetworkSource(*(getattr(self, f'{key}_{name}') for key in ('pretrain_network', 'param_key', 'strict_load')))


@dataclass(frozen=True)
class ValOptions:
    """The section `val`."""

    val_freq: int = 5000
    """Iterations between validations."""
    save_img: bool = False
    """Whether to write the restored images of each validation."""
    pbar: bool = False
    """Whether to show a progress bar."""
    suffix: str | None = None
    """The end of the names of results of a test; None: the name of the run."""
    metrics: dict[str, MetricOptions] = field(default_factory=dict)
    """Metrics by names of your choice, each with `type` and arguments; `~` takes one away."""
    save_best: list[str] | None = None
    """Metrics whose best network is kept."""
    grid_images: int | None = None
    """Number of images of which all that the network makes is shown."""


@dataclass(frozen=True)
class LoggerOptions:
    """The section `logger`, all in iterations."""

    print_freq: int = 100
    """Iterations between lines of the log."""
    save_checkpoint_freq: int = 5000
    """Iterations between checkpoints."""
    keep_last: int | None = None
    """Number of checkpoints that are kept; None: all."""
    use_tb_logger: bool = False
    """Whether to write scalars and images for TensorBoard."""
    wandb: dict[str, Any] | None = None
    """BasicSR's options of Weights & Biases."""


@dataclass(frozen=True)
class DistOptions:
    """The section `dist_params`: BasicSR's keys, and the minutes that processes wait for each other."""

    backend: Literal['nccl', 'gloo'] = 'nccl'
    """How processes talk to each other; without GPUs always `gloo`."""
    port: int | None = None
    """For Slurm; torchrun has its own."""
    timeout: float | None = None
    """Minutes that processes wait for each other."""

    def arguments(self, num_gpu: int) -> Options:
        """Return the keyword arguments of BasicSR's `init_dist`, with `timeout` as a timedelta; a `num_gpu` of 0 selects gloo."""
        timeout = None if self.timeout is None else timedelta(minutes=self.timeout)
        return vars(self) | {'timeout': timeout, 'backend': self.backend if num_gpu else 'gloo'}
