"""FREx as a BasicSR model: one training step that reads like the paper."""

import signal
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from basicsr.archs import build_network
from basicsr.losses import build_loss
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import master_only
from torch import Tensor, nn

from frex.errors import FRExError
from frex.files import replacing
from frex.models.batch import Batch
from frex.models.critic import Critic, critic_names, frozen
from frex.models.latents import draw_latents
from frex.models.objective import TERMS_3D, Objective, Output, in_eg3d_crop, total
from frex.models.optimization import Stepper
from frex.models.train_options import TrainOptions
from frex.models.training_state import StopSignal, forget_older, gathered, random_state, set_random_state
from frex.models.validation import validate
from frex.options import convert
from frex.weights.network_file import read_state, save_checkpoint
from frex.weights.priors import PRIORS, load_prior
from frex.weights.state import load_matching, load_strict
from frex_arch import FREx, FREx3D, FREx3DOutput, FRExOutput


class FRExModel(SRModel):
    """Trains FREx around its two frozen priors, or FREx3D around its one (section "Optimization" of the paper).

    Which losses act follows from which are configured. Validation, logging and the loop are BasicSR's.
    """

    output: Output
    random_state_of_resume: dict[str, Any] | None = None
    stop: StopSignal | None = None
    epoch = 0
    """That of the last batch."""

    # --- Set-up

    def init_training_settings(self) -> None:
        self.train_options = convert(TrainOptions, self.opt['train'], 'train')
        self._load_priors()
        self.net_g.train()
        self.net_g_ema = build_network(self.opt['network_g']).to(self.device).eval()
        self.model_ema(0)
        path = self.opt['path']
        if path.get('resume_state'):
            self.load_network(self.net_g_ema, path['pretrain_network_g'], True, 'params_ema')
        self.objective = Objective(self.train_options).to(self.device)
        self.critics = [self._build_critic(name) for name in critic_names(self.opt)]
        self.setup_optimizers()
        self.setup_schedulers()

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """As BasicSR's; first, what is not trained is frozen, since distributed training would wait for its gradients."""
        if isinstance(net, FREx | FREx3D) and self.is_train:
            options = convert(TrainOptions, self.opt['train'], 'train')
            for part in options.frozen_parts:
                net.get_submodule(part).requires_grad_(False)
            if net.eg3d is not None:
                net.eg3d.checkpoint_rendering = options.checkpoint_renderer
        return super().model_to_device(net)

    def _load_priors(self) -> None:
        """The two generators and the backbone start from the files that the options name; a checkpoint of FREx brings its own."""
        path, net = self.opt['path'], self.get_bare_model(self.net_g)
        for name in PRIORS:
            file = path.get(f'pretrain_network_{name}')
            if file and path.get('pretrain_network_g'):
                get_root_logger().info(f'Not loading {name} of {file}: pretrain_network_g brings its own.')
            elif file:
                get_root_logger().info(f'Loading {name} of {file}.')
                for setting, (there, here) in load_prior(net, name, Path(file), self.opt['network_g']).items():
                    get_root_logger().warning(f'{name}: {setting} is {here}; the file was made with {there}.')

    def _build_critic(self, name: str) -> Critic:
        net = self.model_to_device(build_network(self.opt[f'network_d_{name}']))
        self.print_network(net)
        pretrained = self.opt['path'].get(f'pretrain_network_d_{name}')
        if pretrained:
            self.load_network(net, pretrained)
        loss = build_loss(getattr(self.train_options, f'{name}_gan_opt')).to(self.device)
        return Critic(name, net, loss, self.train_options, sizes=getattr(self.get_bare_model(net), 'sizes', ()))

    def setup_optimizers(self) -> None:
        trainable = [parameter for parameter in self.net_g.parameters() if parameter.requires_grad]
        self.stepper = Stepper(self.net_g, self.train_options.optim_g.build(trainable), self.train_options)
        self.optimizers += [stepper.optimizer for stepper in self._steppers()]

    def _steppers(self) -> list[Stepper]:
        return [self.stepper, *(critic.stepper for critic in self.critics)]

    @master_only
    def print_network(self, net: nn.Module) -> None:
        bare = self.get_bare_model(net)
        parts = [f'{name} {_millions(part.parameters())}' for name, part in bare.named_children()]
        trainable = _millions(parameter for parameter in bare.parameters() if parameter.requires_grad)
        get_root_logger().info(f'Network {type(bare).__name__}: {trainable} trainable parameters ({", ".join(parts)})')

    # --- Training

    def feed_data(self, data: dict[str, Any]) -> None:
        if self.random_state_of_resume is not None:
            # Building networks and loaders has drawn since.
            set_random_state(self.random_state_of_resume)
            self.random_state_of_resume = None
        tensors = {key: value.to(self.device, non_blocking=True) for key, value in data.items() if torch.is_tensor(value)}
        self.lq, self.gt = tensors['lq'], tensors['gt']
        self.crop, self.camera = tensors.get('crop'), tensors.get('camera')
        self.epoch = int(tensors['epoch'][0]) if 'epoch' in tensors else 0

    def optimize_parameters(self, current_iter: int) -> None:
        batches = Batch(self.lq, self.gt, self.crop, self.camera, self._draw_latents()).split(self.train_options.accumulate)

        # The generator, against critics that stay as they are (Eq. 18).
        outputs, losses = [], []
        with frozen(self.critics), self.stepper.step() as parts:
            for batch in parts(batches):
                with self.stepper.autocast():
                    output = self.net_g(batch.lq, batch.crop, **self._also_asked())
                    losses.append(self.generator_losses(output, batch))
                self.stepper.backward(total(losses[-1]) / len(batches))
                outputs.append(detached(output))
        log = means(losses)

        # Each critic, against what the generator has made.
        for critic in self.critics:
            critic.stepper.stepped = True
        if self.stepper.stepped:
            for critic in self.critics:
                log |= critic.step(outputs, batches, current_iter)
            self.model_ema(self.train_options.ema_decay)

        self._stop_if_broken(batches, current_iter)
        self.output = outputs[-1]
        self.log_dict = self.reduce_loss_dict(log)
        self._stop_if_asked(current_iter)

    def generator_losses(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """Weighted terms of the generator, by their names in the log."""
        adversarial = {f'l_g_{critic.name}': critic.generator_loss(output, batch) for critic in self.critics}
        return self.objective(output, batch) | adversarial

    def _also_asked(self) -> dict[str, bool]:
        """FREx makes the 3D prior's own picture only where a term compares it."""
        needed = any(getattr(self.train_options, key) for key in TERMS_3D)
        return {'image_3d': True} if needed and isinstance(self.get_bare_model(self.net_g), FREx) else {}

    def _draw_latents(self) -> Tensor | None:
        eg3d = self.get_bare_model(self.net_g).eg3d
        return draw_latents(eg3d, len(self.lq)) if any(critic.name == 'latent' for critic in self.critics) else None

    def _stop_if_asked(self, current_iter: int) -> None:
        """SIGTERM: save and end, as a process that the signal ends."""
        if self.stop is not None and self.stop.came_to_any(self.device):
            self.save(self.epoch, current_iter)
            get_root_logger().warning(f'Stopped by SIGTERM and saved at iteration {current_iter}; go on with --auto_resume.')
            raise SystemExit(128 + signal.SIGTERM)

    def _stop_if_broken(self, batches: Sequence[Batch], current_iter: int) -> None:
        """After too many steps without finite losses and gradients: keep the batch as evidence, and stop."""
        for stepper in self._steppers():
            if not stepper.stepped:
                name = type(self.get_bare_model(stepper.net)).__name__
                get_root_logger().warning(f'iter {current_iter}: the losses of {name} are not finite; the step is skipped.')
            if stepper.bad_steps >= self.train_options.most_bad_steps:
                path = Path(self.opt['path']['experiments_root']) / f'not_finite_iter{current_iter}_rank{self.opt["rank"]}.pth'
                with replacing(path) as part:
                    torch.save({'batches': [batch._asdict() for batch in batches]}, part)
                raise FRExError(
                    f'iter {current_iter}: {stepper.bad_steps} steps without finite losses and gradients, one after the other; the last '
                    f'batch is {path}; go on from an earlier checkpoint with a lower train.optim_g.lr, train.grad_clip, or without bf16'
                )

    @torch.no_grad()
    def model_ema(self, decay: float = 0.999) -> None:
        """Move the averaged network towards the trained one; frozen parameters and buffers are copied bit for bit."""
        averaged = self.net_g_ema.state_dict()
        trainable = {name: parameter.requires_grad for name, parameter in self.net_g_ema.named_parameters()}
        for name, value in self.get_bare_model(self.net_g).state_dict().items():
            if trainable.get(name):
                averaged[name].lerp_(value, 1 - decay)
            else:
                averaged[name].copy_(value)

    # --- Validation and results

    def test(self) -> None:
        net = self.net_g_ema if self.is_train else self.get_bare_model(self.net_g).eval()
        with torch.no_grad():
            self.output = net(self.lq, self.crop)

    def validation(self, dataloader: Any, current_iter: int | str, tb_logger: Any, save_img: bool = False) -> None:
        """BasicSR's, shared among the processes; in a test `current_iter` is the name of the run."""
        name, val = dataloader.dataset.opt['name'], self.opt['val'] or {}
        metrics = val.get('metrics') or {}
        path_of = (lambda image: self._path_of_result(image, name, current_iter)) if save_img else None
        rank, world_size = self.opt['rank'], self.opt['world_size']
        means = validate(dataloader.dataset, self._restore, metrics, path_of, rank, world_size, val.get('pbar', False))
        if metrics:
            self.metric_results = means
            self._initialize_best_metric_results(name)
            for metric, value in means.items():
                self._update_best_metric_result(name, metric, value, current_iter)
            if rank == 0:
                self._log_validation_metric_values(current_iter, name, tb_logger)
            self._save_best(name, current_iter)

    def _save_best(self, dataset: str, current_iter: int | str) -> None:
        """`net_g_best_METRIC.pth` of the metrics that `val.save_best` lists, whenever one is better than all before."""
        for metric in self.opt['val'].get('save_best') or () if self.is_train else ():
            if self.best_metric_results[dataset][metric]['iter'] == current_iter:
                self.save_network([self.net_g, self.net_g_ema], 'net_g', f'best_{metric}', param_key=['params', 'params_ema'])

    def _restore(self, sample: dict[str, Any]) -> 'OrderedDict[str, Tensor]':
        self.feed_data(sample)
        self.test()
        return self.get_current_visuals()

    def _path_of_result(self, image: str, dataset: str, current_iter: int | str) -> Path:
        """Where BasicSR puts it."""
        folder = Path(self.opt['path']['visualization'])
        if self.opt['is_train']:
            return folder / image / f'{image}_{current_iter}.png'
        return folder / dataset / f'{image}_{self.opt["val"].get("suffix") or self.opt["name"]}.png'

    def get_current_visuals(self) -> 'OrderedDict[str, Tensor]':
        """`lq`, `result` and `gt` in [0, 1]; FREx3D is compared in EG3D's crop."""
        result, gt = self.output.image if isinstance(self.output, FRExOutput) else self.output.image_3d, self.gt
        if isinstance(self.output, FREx3DOutput):
            gt = in_eg3d_crop(Batch(self.lq, self.gt, self.crop, self.camera), result)
        pictures = {'lq': self.lq, 'result': result, 'gt': gt}
        return OrderedDict((name, (picture.detach().cpu() + 1) / 2) for name, picture in pictures.items())

    def save(self, epoch: int, current_iter: int) -> None:
        self.save_network([self.net_g, self.net_g_ema], 'net_g', current_iter, param_key=['params', 'params_ema'])
        for critic in self.critics:
            self.save_network(critic.net, f'net_d_{critic.name}', current_iter)
        self.save_training_state(epoch, current_iter)
        keep = self.opt['logger'].get('keep_last')
        if keep and self.opt['rank'] == 0:
            forget_older([Path(self.opt['path'][folder]) for folder in ('models', 'training_states')], keep)

    @master_only
    def save_network(
        self, net: nn.Module | list[nn.Module], net_label: str, current_iter: int | str, param_key: str | list[str] = 'params'
    ) -> None:
        """Write `models/LABEL_ITER.pth`: the state dict(s), and the options that the network was built with."""
        nets = net if isinstance(net, list) else [net]
        keys = param_key if isinstance(param_key, list) else [param_key]
        states = {key: self.get_bare_model(item).state_dict() for key, item in zip(keys, nets, strict=True)}
        path = Path(self.opt['path']['models']) / f'{net_label}_{"latest" if current_iter == -1 else current_iter}.pth'
        options = net_label.replace('net_', 'network_', 1)
        save_checkpoint(path, states, {options: self.opt[options]})

    def save_training_state(self, epoch: int, current_iter: int) -> None:
        """Write `training_states/ITER.state`, all that a resumed run needs to go on as this one; nothing for the last, `latest` one."""
        if current_iter == -1:
            return
        pools = {critic.name: critic.pool.codes for critic in self.critics if critic.pool is not None}
        processes = gathered({'random': random_state(), 'pools': pools})
        if self.opt['rank'] == 0:
            state = {
                'epoch': epoch,
                'iter': current_iter,
                'optimizers': [optimizer.state_dict() for optimizer in self.optimizers],
                'schedulers': [scheduler.state_dict() for scheduler in self.schedulers],
                'bad_steps': [stepper.bad_steps for stepper in self._steppers()],
                'best_metric_results': getattr(self, 'best_metric_results', {}),
                'processes': processes,
            }
            with replacing(Path(self.opt['path']['training_states']) / f'{current_iter}.state') as part:
                torch.save(state, part)

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """Go on from a training state; one that BasicSR wrote has less in it. The random numbers wait for the first batch."""
        try:
            super().resume_training(resume_state)
        except (AssertionError, ValueError, KeyError) as error:
            raise FRExError(
                f'{self.opt["path"]["resume_state"]}: not of these networks and train.frozen_parts ({" ".join(str(error).split())}); '
                'start from its networks by path.pretrain_network_g instead'
            ) from None
        for stepper, schedule in zip(self._steppers(), self.schedulers, strict=True):
            rate = stepper.restart_rate(schedule)
            if rate is not None:
                get_root_logger().warning(f'The learning rate is {rate:.3e} now, as the options say, and not the one of the state.')
        self.best_metric_results = resume_state.get('best_metric_results', {})
        for stepper, bad_steps in zip(self._steppers(), resume_state.get('bad_steps', ()), strict=False):
            stepper.bad_steps = bad_steps
        processes = resume_state.get('processes', [])
        if len(processes) != self.opt['world_size']:
            get_root_logger().warning(f'The state is of {len(processes)} processes, this run has {self.opt["world_size"]}: it draws anew.')
            return
        own = processes[self.opt['rank']]
        self.random_state_of_resume = own['random']
        for critic in self.critics:
            if critic.pool is not None:
                critic.pool.codes = [code.to(self.device) for code in own['pools'].get(critic.name, [])]

    def load_network(self, net: nn.Module, load_path: str, strict: bool = True, param_key: str | None = 'params') -> None:
        """Load `param_key` of a file (all of it if None), never another key in its place."""
        state = read_state(Path(load_path), param_key)
        get_root_logger().info(f'Loading {param_key or "all"} of {load_path}.')
        if strict:
            load_strict(self.get_bare_model(net), state, load_path)
        else:
            get_root_logger().warning(f'Not loaded: {load_matching(self.get_bare_model(net), state) or "nothing"}.')


def detached(output: Output) -> Output:
    """An output that the critics can look at without a way back to the generator."""
    fields = (tuple(image.detach() for image in field) if isinstance(field, tuple) else field for field in output)
    return type(output)(*(field.detach() if isinstance(field, Tensor) else field for field in fields))


def means(losses: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Each term's mean over the parts of a batch."""
    return {name: torch.stack([terms[name].detach() for terms in losses]).mean() for name in losses[0]}


def _millions(parameters: Any) -> str:
    return f'{sum(parameter.numel() for parameter in parameters) / 1e6:.2f} M'
