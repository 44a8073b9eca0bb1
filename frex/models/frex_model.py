"""FREx as a BasicSR model: the training step of the paper's section "Optimization"."""

import signal
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import torch
import torch.distributed as dist
from basicsr.archs import build_network
from basicsr.losses import build_loss
from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import get_dist_info, master_only
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from frex.errors import FRExError
from frex.models.acceleration import accelerate, set_tf32
from frex.models.batch import Batch
from frex.models.checkpointed_model import CheckpointedModel
from frex.models.critic import Critic, active_critics, frozen
from frex.models.latents import draw_latents
from frex.models.objective import Objective, Output, total, zero_gradient_terms
from frex.models.optimization import Stepper, build_optimizer, choose_trained_parts
from frex.models.training_state import set_random_state
from frex.options.convert import ComponentOptions
from frex.utils.files import write_atomically
from frex.utils.signals import StopSignal
from frex.weights.download import obtain_file
from frex.weights.priors import PRIORS, load_prior
from frex_arch import FREx, FREx3D


class FRExModel(CheckpointedModel):
    """Trains FREx around its two frozen priors, or FREx3D around its one.

    Only losses that the option file names are used. BasicSR runs the training loop and logs.
    """

    stop: StopSignal | None = None
    epoch = 0
    """The epoch of the last batch."""

    @cached_property
    def damaged(self) -> set[str]:
        """The reasons for which this process could not read images of the training set."""
        return set()

    # --- Set-up

    def init_training_settings(self) -> None:
        """Load the priors into net_g, and make the averaged network, objective, critics, optimisers and schedulers.

        BasicSR calls it once net_g is built and `pretrain_network_g` is loaded, which brings its own priors. In a resumed run the averaged
        network continues from the run's checkpoint, else it starts as a copy of net_g; it shares net_g's frozen parameters and
        buffers.
        """
        set_tf32(self.train_options.tf32)
        self._load_priors()
        self.net_g.train()
        self.net_g_ema = build_network(self.config.net_g.section).to(self.device).eval()
        self.model_ema(0)
        path = self.config.path
        if path.pretrain_network_g and path.resumes('g'):
            self.load_network(self.net_g_ema, path.pretrain_network_g, True, 'params_ema')
        # After all loading, so that nothing is loaded into the trained network through the averaged one.
        self._share_frozen_memory()
        self.objective = Objective(self.train_options).to(self.device)
        active = active_critics(self.config)
        self.critics = [self._build_critic(name, critic) for name, critic in active.items()]
        for name in self.config.critics:
            if name not in active:
                get_root_logger().warning(f'Left out, since it would train nothing: network_d_{name}.')
        self.setup_optimizers()
        self.setup_schedulers()

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """Apply the options of training to a network or critic, then move it to the device; outside of training only move it.

        The options say which parts are frozen (`frozen_parts`), whether the priors are trained, too (`train_priors`), and what makes
        training faster. BasicSR wraps the network after that, since distributed training waits for a gradient of every parameter.
        """
        if isinstance(net, FREx | FREx3D) and self.is_train:
            choose_trained_parts(net, self.train_options)
            if net.eg3d is not None:
                net.eg3d.checkpoint_rendering = self.train_options.checkpoint_renderer
        if self.is_train:
            accelerate(net, self.train_options)
        return super().model_to_device(net)

    def _load_priors(self) -> None:
        """Load the priors and encoders from the files that the options name, unless `pretrain_network_g` brings its own."""
        path, net = self.config.path, self.get_bare_model(self.net_g)
        for name in PRIORS:
            file = path.file(name)
            if file and path.pretrain_network_g:
                get_root_logger().info(f'Not loading {name} of {file}: pretrain_network_g brings its own.')
            elif file:
                get_root_logger().info(f'Loading {name} of {file}.')
                for setting, (there, here) in load_prior(net, name, obtain_file(file), self.config.net_g.arguments).items():
                    get_root_logger().warning(f'{name}: {setting} is {here}; the file was made with {there}.')

    def _build_critic(self, name: str, options: ComponentOptions) -> Critic:
        net = self.model_to_device(build_network(options.section))
        self.print_network(net)
        file, param_key, strict = self.config.path.source(f'd_{name}')
        if file:
            self.load_network(net, file, strict, param_key)
        loss = build_loss(self.train_options.losses[f'{name}_gan_opt'].section).to(self.device)
        return Critic(name, net, loss, self.train_options, sizes=getattr(self.get_bare_model(net), 'sizes', ()))

    def setup_optimizers(self) -> None:
        self.stepper = Stepper(self.net_g, build_optimizer(self.train_options.optim_g, self._parameter_groups()), self.train_options)
        self.optimizers += [stepper.optimizer for stepper in self._steppers()]

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """Return the trained parameters of net_g as groups of an optimiser: all, and Enc_3D's apart where it has a rate of its own."""
        options = self.train_options
        trainable = {name: value for name, value in self.get_bare_model(self.net_g).named_parameters() if value.requires_grad}
        own = {name for name in trainable if name.startswith('encoder_3d.') and options.encoder_3d_lr is not None}
        groups: list[dict[str, Any]] = [
            {'params': [value for name, value in trainable.items() if name not in own]},
            {'params': [trainable[name] for name in trainable if name in own], 'lr': options.encoder_3d_lr},
        ]
        return [group for group in groups if group['params']]

    @master_only
    def print_network(self, net: nn.Module) -> None:
        bare = self.get_bare_model(net)
        parts = [f'{name} {_millions(part.parameters())}' for name, part in bare.named_children()]
        trainable = _millions(parameter for parameter in bare.parameters() if parameter.requires_grad)
        get_root_logger().info(f'Network {type(bare).__name__}: {trainable} trainable parameters ({", ".join(parts)})')

    # --- Training

    def feed_data(self, data: dict[str, Any]) -> None:
        """Move a batch of the data set to the device, and log the images that could not be read for it.

        `data` is a batch of samples of `FaceDegradationDataset`, of which `lq` and `gt` are needed. The first batch of a resumed run sets
        the random states of the loaded training state.
        """
        if self.random_state_of_resume is not None:
            # Set only now, since building networks and loaders draws random numbers, too.
            set_random_state(self.random_state_of_resume)
            self.random_state_of_resume = None
        tensors = {key: value.to(self.device, non_blocking=True) for key, value in data.items() if torch.is_tensor(value)}
        self.lq, self.gt = (self._in_memory_format(tensors[key]) for key in ('lq', 'gt'))
        self.crop, self.camera, self.has_camera = (tensors.get(key) for key in ('crop', 'camera', 'has_camera'))
        self.epoch = int(tensors['epoch'][0]) if 'epoch' in tensors else 0
        self._log_damaged(line for lines in data.get('damaged', ()) for line in lines.splitlines())

    def _log_damaged(self, reasons: Iterable[str]) -> None:
        """Log each unreadable image once, as an error, since only errors are logged on all ranks."""
        for reason in reasons:
            if reason not in self.damaged:
                self.damaged.add(reason)
                get_root_logger().error(f'{reason}; another image is taken in its place ({len(self.damaged)} such images so far)')

    def _in_memory_format(self, images: Tensor) -> Tensor:
        return images.contiguous(memory_format=torch.channels_last) if self.is_train and self.train_options.channels_last else images

    def optimize_parameters(self, current_iter: int) -> None:
        """Do one training step on the batch of `feed_data`: the generator's (Eq. 18), each critic's, and the moving average.

        A step without finite losses and gradients is skipped and logged; FRExError ends the run after `most_bad_steps` of them in a row.
        Where a process has received SIGTERM, all save after the step and raise SystemExit.
        """
        batch = Batch(self.lq, self.gt, self.crop, self.camera, self._draw_latents(), self.has_camera)
        batches = batch.split(self.train_options.accumulate)

        # The generator's step, with frozen critics (Eq. 18).
        outputs, losses = [], []
        with frozen(self.critics), self.stepper.step() as parts:
            for batch in parts(batches):
                with self.stepper.autocast():
                    output = self.net_g(batch.lq, batch.crop, **self.extra_outputs())
                    losses.append(self.generator_losses(output, batch))
                self.stepper.backward(total(losses[-1]) / len(batches) + zero_gradient_terms(output))
                outputs.append(detached(output))
        log = means(losses)

        # Each critic's step, on what the generator has made.
        for critic in self.critics:
            critic.stepper.stepped = True
        if self.stepper.stepped:
            for critic in self.critics:
                log |= critic.step(outputs, batches, current_iter)
            self.model_ema(self.train_options.ema_decay)

        self._stop_if_broken(batches, current_iter)
        self.output = outputs[-1]
        self.log_dict = self.reduce_loss_dict(log)
        self._stop_at_sigterm(current_iter)

    def generator_losses(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """Return the weighted terms of the generator, by their names in the log."""
        adversarial = {f'l_g_{critic.name}': critic.generator_loss(output, batch) for critic in self.critics}
        return self.objective(output, batch) | adversarial

    def extra_outputs(self) -> dict[str, bool]:
        """Return the arguments with which FREx makes the 3D prior's own image, where a term compares it; FREx3D always makes it."""
        return {'image_3d': True} if self.objective.needs_image_3d and isinstance(self.get_bare_model(self.net_g), FREx) else {}

    def _draw_latents(self) -> Tensor | None:
        eg3d = self.get_bare_model(self.net_g).eg3d
        return draw_latents(eg3d, len(self.lq)) if any(critic.name == 'latent' for critic in self.critics) else None

    def _stop_at_sigterm(self, current_iter: int) -> None:
        """If any process has received SIGTERM, save the training state and exit with status 128 + SIGTERM, as if the signal ended it."""
        if self.stop is not None and self.stop.received_by_any(self.device):
            self.save(self.epoch, current_iter)
            get_root_logger().warning(f'Stopped by SIGTERM and saved at iteration {current_iter}; continue with --auto_resume.')
            raise SystemExit(128 + signal.SIGTERM)

    def _stop_if_broken(self, batches: Sequence[Batch], current_iter: int) -> None:
        """Warn of a step without finite losses and gradients; after `most_bad_steps` in a row save the batch and raise FRExError."""
        for stepper in self._steppers():
            if not stepper.stepped:
                name = type(self.get_bare_model(stepper.net)).__name__
                get_root_logger().warning(f'iter {current_iter}: the losses of {name} are not finite; the step is skipped.')
            if stepper.bad_steps >= self.train_options.most_bad_steps:
                path = self.config.path.root / f'not_finite_iter{current_iter}_rank{get_dist_info()[0]}.pth'
                with write_atomically(path) as part:
                    torch.save({'batches': [batch._asdict() for batch in batches]}, part)
                raise FRExError(
                    f'iter {current_iter}: {stepper.bad_steps} consecutive steps without finite losses and gradients; the last '
                    f'batch is {path}; continue from an earlier checkpoint with a lower train.optim_g.lr, train.grad_clip, or without bf16'
                )

    @torch.no_grad()
    def model_ema(self, decay: float = 0.999) -> None:
        """Move the trained parameters of the averaged network towards those of net_g: decay * averaged + (1 - decay) * trained."""
        pairs = zip(self.net_g_ema.parameters(), self.get_bare_model(self.net_g).parameters(), strict=True)
        averaged, trained = zip(*(pair for pair in pairs if pair[1].requires_grad), strict=True)
        get_ema_multi_avg_fn(decay)(averaged, trained, None)

    def _share_frozen_memory(self) -> None:
        """Let the averaged network use the memory of the trained one's frozen parameters and buffers, so that no step copies them."""
        net = self.get_bare_model(self.net_g)
        for mine, its in zip(self.net_g_ema.parameters(), net.parameters(), strict=True):
            if not its.requires_grad:
                mine.data = its.data
        for mine, its in zip(self.net_g_ema.buffers(), net.buffers(), strict=True):
            mine.data = its.data

    @torch.no_grad()
    def reduce_loss_dict(self, loss_dict: dict[str, Tensor]) -> dict[str, float]:
        """Return losses as numbers, on rank 0 their means over all processes, with one copy to the CPU; BasicSR's method makes one each."""
        values = torch.stack([loss.float() for loss in loss_dict.values()])
        rank, world_size = get_dist_info()
        if world_size > 1:
            dist.reduce(values, dst=0)
            values = values / world_size if rank == 0 else values
        return dict(zip(loss_dict, values.cpu().tolist(), strict=True))


def detached(output: Output) -> Output:
    """Return an output for the critics, through which no gradient flows to the generator."""
    fields = (tuple(image.detach() for image in field) if isinstance(field, tuple) else field for field in output)
    return type(output)(*(field.detach() if isinstance(field, Tensor) else field for field in fields))


def means(losses: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return each loss term's mean, detached, over `losses`: the terms, by name, of each of the equally large parts of a batch."""
    return {name: torch.stack([terms[name].detach() for terms in losses]).mean() for name in losses[0]}


def _millions(parameters: Any) -> str:
    return f'{sum(parameter.numel() for parameter in parameters) / 1e6:.2f} M'
