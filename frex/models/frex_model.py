"""FREx as a BasicSR model: one training step that reads like the paper."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from basicsr.archs import build_network
from basicsr.losses import build_loss
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import master_only
from torch import Tensor, nn

from frex.files import replacing
from frex.models.batch import Batch
from frex.models.critic import Critic, critic_names, frozen
from frex.models.objective import Objective, total
from frex.models.train_options import TrainOptions
from frex.options import convert
from frex.weights.network_file import read_state, save_checkpoint
from frex.weights.priors import PRIORS, load_prior
from frex.weights.state import load_matching, load_strict
from frex_arch import FRExOutput


class FRExModel(SRModel):
    """Trains the parts of FREx around its two frozen priors (section "Optimization" of the paper).

    Which losses act follows from which are configured. Validation, logging and the loop are BasicSR's.
    """

    output: FRExOutput

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

    def _load_priors(self) -> None:
        """The two generators and the backbone start from the files that the options name; a checkpoint of FREx brings its own."""
        path, net = self.opt['path'], self.get_bare_model(self.net_g)
        if path.get('pretrain_network_g'):
            return
        for name in PRIORS:
            file = path.get(f'pretrain_network_{name}')
            if file:
                get_root_logger().info(f'Loading {name} of {file}.')
                for setting, (there, here) in load_prior(net, name, Path(file), self.opt['network_g']).items():
                    get_root_logger().warning(f'{name}: {setting} is {here}; the file was made with {there}.')

    def _build_critic(self, name: str) -> Critic:
        net = self.model_to_device(build_network(self.opt[f'network_d_{name}']))
        self.print_network(net)
        pretrained = self.opt['path'].get(f'pretrain_network_d_{name}')
        if pretrained:
            self.load_network(net, pretrained)
        return Critic(
            name,
            net,
            build_loss(getattr(self.train_options, f'{name}_gan_opt')).to(self.device),
            r1_weight=self.train_options.r1_reg_weight,
            r1_every=self.train_options.net_d_reg_every,
            sizes=getattr(self.get_bare_model(net), 'sizes', ()),
        )

    def setup_optimizers(self) -> None:
        trainable = [parameter for parameter in self.net_g.parameters() if parameter.requires_grad]
        self.optimizer_g = self.train_options.optim_g.build(trainable)
        self.optimizers.append(self.optimizer_g)
        for critic in self.critics:
            critic.set_optimizer(self.train_options.optim_d or self.train_options.optim_g)
            self.optimizers.append(critic.optimizer)

    @master_only
    def print_network(self, net: nn.Module) -> None:
        bare = self.get_bare_model(net)
        parts = [f'{name} {_millions(part.parameters())}' for name, part in bare.named_children()]
        trainable = _millions(parameter for parameter in bare.parameters() if parameter.requires_grad)
        get_root_logger().info(f'Network {type(bare).__name__}: {trainable} trainable parameters ({", ".join(parts)})')

    # --- Training

    def feed_data(self, data: dict[str, Any]) -> None:
        tensors = {key: value.to(self.device, non_blocking=True) for key, value in data.items() if torch.is_tensor(value)}
        self.lq, self.gt = tensors['lq'], tensors['gt']
        self.crop, self.camera = tensors.get('crop'), tensors.get('camera')

    def optimize_parameters(self, current_iter: int) -> None:
        batch = Batch(self.lq, self.gt, self.crop, self.camera)

        with frozen(self.critics):
            self.output = self.net_g(batch.lq, batch.crop)
            losses = self.generator_losses(self.output, batch)
            self.optimizer_g.zero_grad(set_to_none=True)
            total(losses).backward()
            self.optimizer_g.step()

        for critic in self.critics:
            losses |= critic.step(self.output, batch, current_iter)

        self.model_ema(self.train_options.ema_decay)
        self.log_dict = self.reduce_loss_dict(losses)

    def generator_losses(self, output: FRExOutput, batch: Batch) -> dict[str, Tensor]:
        """Weighted terms of the generator, by their names in the log."""
        adversarial = {f'l_g_{critic.name}': critic.generator_loss(output, batch) for critic in self.critics}
        return self.objective(output, batch) | adversarial

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
        net = self.net_g_ema if self.is_train else self.net_g.eval()
        with torch.no_grad():
            self.output = net(self.lq, self.crop)

    def get_current_visuals(self) -> 'OrderedDict[str, Tensor]':
        pictures = {'lq': self.lq, 'result': self.output.image, 'gt': self.gt}
        return OrderedDict((name, (picture.detach().cpu() + 1) / 2) for name, picture in pictures.items())

    def save(self, epoch: int, current_iter: int) -> None:
        self.save_network([self.net_g, self.net_g_ema], 'net_g', current_iter, param_key=['params', 'params_ema'])
        for critic in self.critics:
            self.save_network(critic.net, f'net_d_{critic.name}', current_iter)
        self.save_training_state(epoch, current_iter)

    @master_only
    def save_network(
        self, net: nn.Module | list[nn.Module], net_label: str, current_iter: int, param_key: str | list[str] = 'params'
    ) -> None:
        """Write `models/LABEL_ITER.pth`: the state dict(s), and the options that the network was built with."""
        nets = net if isinstance(net, list) else [net]
        keys = param_key if isinstance(param_key, list) else [param_key]
        states = {key: self.get_bare_model(item).state_dict() for key, item in zip(keys, nets, strict=True)}
        path = Path(self.opt['path']['models']) / f'{net_label}_{"latest" if current_iter == -1 else current_iter}.pth'
        options = net_label.replace('net_', 'network_', 1)
        save_checkpoint(path, states, {options: self.opt[options]})

    @master_only
    def save_training_state(self, epoch: int, current_iter: int) -> None:
        """Write `training_states/ITER.state`: optimisers and schedulers; nothing for the last, `latest` one."""
        if current_iter == -1:
            return
        state = {
            'epoch': epoch,
            'iter': current_iter,
            'optimizers': [optimizer.state_dict() for optimizer in self.optimizers],
            'schedulers': [scheduler.state_dict() for scheduler in self.schedulers],
        }
        with replacing(Path(self.opt['path']['training_states']) / f'{current_iter}.state') as part:
            torch.save(state, part)

    def load_network(self, net: nn.Module, load_path: str, strict: bool = True, param_key: str | None = 'params') -> None:
        """Load `param_key` of a file (all of it if None), never another key in its place."""
        state = read_state(Path(load_path), param_key)
        get_root_logger().info(f'Loading {param_key or "all"} of {load_path}.')
        if strict:
            load_strict(self.get_bare_model(net), state, load_path)
        else:
            get_root_logger().warning(f'Not loaded: {load_matching(self.get_bare_model(net), state) or "nothing"}.')


def _millions(parameters: Any) -> str:
    return f'{sum(parameter.numel() for parameter in parameters) / 1e6:.2f} M'
