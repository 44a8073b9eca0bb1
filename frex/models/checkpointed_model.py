"""The half of the model that saves: checkpoints, training states, and resuming from them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from basicsr.utils import get_root_logger, get_time_str
from basicsr.utils.dist_util import get_dist_info, master_only
from torch import Tensor, nn

from frex.errors import FRExError
from frex.models.built_options import BuiltOptions
from frex.models.critic import Critic
from frex.models.optimization import Stepper
from frex.models.training_state import archive_later, gather, random_state, remove_older
from frex.models.validated_model import ValidatedModel
from frex.utils.files import write_atomically
from frex.weights.network_file import read_state, save_checkpoint
from frex.weights.state_dict import load_matching, load_strict


def match_parameter_layout(optimizer: torch.optim.Optimizer) -> None:
    """Give an optimiser's loaded state the memory layout of its parameters, which `train.channels_last` may have changed since.

    A fused optimiser goes through parameter and state in the order of memory.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


class CheckpointedModel(ValidatedModel):
    """Writes checkpoints that name their own network, and states from which a run continues as if it had never stopped."""

    critics: Sequence[Critic]
    stepper: Stepper
    random_state_of_resume: dict[str, Any] | None = None

    def _steppers(self) -> list[Stepper]:
        return [self.stepper, *(critic.stepper for critic in self.critics)]

    def save(self, epoch: int, current_iter: int) -> None:
        """Save the networks and the training state of an iteration; all processes must call it.

        Then only the checkpoints and states of the `logger.keep_last` highest iterations are kept, or all where that is None. -1 stands for
        the end of training: the networks' files are named `latest`, and no state is saved.
        """
        self.save_network([self.net_g, self.net_g_ema], 'net_g', current_iter, param_key=['params', 'params_ema'])
        for critic in self.critics:
            self.save_network(critic.net, f'net_d_{critic.name}', current_iter)
        self.save_training_state(epoch, current_iter)
        keep = self.config.logger.keep_last
        if keep and get_dist_info()[0] == 0:
            remove_older(self._folders, keep)

    @property
    def _folders(self) -> list[Path]:
        return [Path(self.config.path.models), Path(self.config.path.training_states)]

    @master_only
    def _archive_later(self, iteration: int) -> None:
        """Put away what the run saved after `iteration`, else `logger.keep_last` and `--auto_resume` would prefer it to what follows."""
        time = get_time_str()
        later = archive_later(self._folders, iteration, time)
        if later:
            where = ' and '.join(sorted(str(folder / f'archived_{time}') for folder in {path.parent for path in later}))
            get_root_logger().warning(f'{len(later)} files of iterations after {iteration}, where this run continues, are now in {where}.')

    @master_only
    def save_network(
        self, net: nn.Module | list[nn.Module], net_label: str, current_iter: int | str, param_key: str | list[str] = 'params'
    ) -> None:
        """Write `models/LABEL_ITER.pth`: the state dict(s), and the options that the network was built with.

        Where `net` is a list, `param_key` names the state dict of each. ITER is `latest` for -1. Only the first process writes. An existing
        file is replaced.
        """
        nets = net if isinstance(net, list) else [net]
        keys = param_key if isinstance(param_key, list) else [param_key]
        states = {key: self.get_bare_model(item).state_dict() for key, item in zip(keys, nets, strict=True)}
        path = Path(self.config.path.models) / f'{net_label}_{"latest" if current_iter == -1 else current_iter}.pth'
        key = net_label.replace('net_', 'network_', 1)
        save_checkpoint(path, states, {key: self.config.networks[key].section})

    def save_training_state(self, epoch: int, current_iter: int) -> None:
        """Write `training_states/ITER.state`, all that a resumed run needs beside the networks; all processes must call it.

        Nothing is written for iteration -1, with which BasicSR saves at the end. An existing file is replaced.
        """
        if current_iter == -1:
            return
        pools = {critic.name: [code.cpu() for code in critic.pool.codes] for critic in self.critics if critic.pool is not None}
        processes = gather({'random': random_state(), 'pools': pools})
        if get_dist_info()[0] == 0:
            state = {
                'epoch': epoch,
                'iter': current_iter,
                'optimizers': [optimizer.state_dict() for optimizer in self.optimizers],
                'schedulers': [scheduler.state_dict() for scheduler in self.schedulers],
                'bad_steps': [stepper.bad_steps for stepper in self._steppers()],
                'r1': [critic.r1 for critic in self.critics],
                'best_metric_results': getattr(self, 'best_metric_results', {}),
                'processes': processes,
            }
            with write_atomically(Path(self.config.path.training_states) / f'{current_iter}.state') as part:
                torch.save(state, part)

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """Continue from a training state, FREx's or BasicSR's, which has less in it. Random states are set at the first batch.

        Optimisers and schedules follow the options of this run; each option that differs in the state is logged. In a run of another number
        of processes random numbers start anew. Checkpoints and states of later iterations are archived. Raises FRExError where the state is
        of other networks, or where other parts were trained.
        """
        options = [BuiltOptions(optimizer, schedule) for optimizer, schedule in zip(self.optimizers, self.schedulers, strict=True)]
        try:
            super().resume_training(resume_state)
        except (AssertionError, ValueError, KeyError) as error:
            raise FRExError(
                f'{self.config.path.resume_state}: it belongs to other networks, train.frozen_parts or train.encoder_3d_lr '
                f'({" ".join(str(error).split())}); start from its networks by path.pretrain_network_g instead'
            ) from None
        self._archive_later(resume_state['iter'])
        for optimizer in self.optimizers:
            match_parameter_layout(optimizer)
        for stepper, built, state in zip(self._steppers(), options, resume_state['schedulers'], strict=True):
            for name, (old, new) in built.follow(state).items():
                network = type(self.get_bare_model(stepper.net)).__name__
                get_root_logger().warning(f'{network}: {name} is {new} now, as the options say, and not {old}, as in the state.')
        self.best_metric_results = resume_state.get('best_metric_results', {})
        self._read_best_results()
        for stepper, bad_steps in zip(self._steppers(), resume_state.get('bad_steps', ()), strict=False):
            stepper.bad_steps = bad_steps
        for critic, r1 in zip(self.critics, resume_state.get('r1', ()), strict=False):
            critic.r1 = r1.to(self.device)
        processes = resume_state.get('processes', [])
        rank, world_size = get_dist_info()
        if len(processes) != world_size:
            get_root_logger().warning(f'The state is of {len(processes)} processes, this run has {world_size}: random numbers start anew.')
            return
        own = processes[rank]
        self.random_state_of_resume = own['random']
        for critic in self.critics:
            if critic.pool is not None:
                critic.pool.codes = [code.to(self.device) for code in own['pools'].get(critic.name, [])]

    def load_network(self, net: nn.Module, load_path: str, strict: bool = True, param_key: str | None = 'params') -> None:
        """Load `param_key` of a file (all of it if None) into `net`; unlike BasicSR's, never take another key in its place.

        Without `strict` weights that do not fit are logged and left out. Raises FRExError where the file is missing, damaged or without the
        key, and with `strict` where not all weights fit.
        """
        state = read_state(Path(load_path), param_key)
        get_root_logger().info(f'Loading {param_key or "all"} of {load_path}.')
        if strict:
            load_strict(self.get_bare_model(net), state, load_path)
        else:
            get_root_logger().warning(f'Not loaded: {load_matching(self.get_bare_model(net), state) or "nothing"}.')
