"""Train a plain convolutional U-Net, the baseline of the small FREx: what the same faces and number of samples give without any prior.

    python benchmarks/small/unet.py -opt options/small/3_stage_b.yml --samples 500000 -o experiments/unet

trains it with an L1 loss on the `datasets: train` of an option file of FREx. It continues where it was stopped; SIGINT and SIGTERM save
first.
"""

import json
import math
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from frex.data.face_degradation_dataset import FaceDegradationDataset
from frex.data.sampler import VisitSampler
from frex.errors import FRExError
from frex.options import RunOptions, requested_options
from frex.utils.files import write_atomically
from frex.utils.signals import stop_on_signals
from frex.weights.state_dict import load_strict, pick_state
from frex.weights.torch_file import read_torch_file

# Training steps between two checkpoints.
SAVE_EVERY = 500
EMA_DECAY = 0.998


@dataclass(frozen=True)
class UNetOptions:
    """The network takes faces of `size` x `size` pixels, a power of two.

    It has `width` channels at full size, twice as many at each halving down to 8 x 8, at most eight times as many.
    """

    size: int = 64
    width: int = 32


class UNet(nn.Module):
    """A U-Net with two convolutions per level on the way down and up, joined by skips; it adds its output to the degraded image."""

    def __init__(self, options: UNetOptions) -> None:
        super().__init__()
        levels = int(math.log2(options.size // 8)) + 1
        widths = [options.width * min(2**level, 8) for level in range(levels)]
        self.down = nn.ModuleList(_make_level(before, width) for before, width in zip([3, *widths], widths, strict=False))
        self.up = nn.ModuleList(_make_level(below + width, width) for below, width in zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.to_image = nn.Conv2d(widths[0], 3, 3, padding=1)
        # With zeros here, the network is the identity at first.
        for parameter in self.to_image.parameters():
            nn.init.zeros_(parameter)
        self.to(memory_format=torch.channels_last)

    def forward(self, lq: Float[Tensor, 'batch 3 size size']) -> Float[Tensor, 'batch 3 size size']:
        """Return the restored faces of degraded ones, both RGB in [-1, 1]."""
        x = lq.contiguous(memory_format=torch.channels_last)
        skips: list[Tensor] = []
        for level in self.down:
            x = level(F.avg_pool2d(x, 2) if skips else x)
            skips.append(x)
        for level, skip in zip(self.up, skips[-2::-1], strict=True):
            x = level(torch.cat([F.interpolate(x, scale_factor=2.0), skip], dim=1))
        return lq + self.to_image(x)


def _make_level(inputs: int, outputs: int) -> nn.Sequential:
    first, second = (nn.Conv2d(channels, outputs, 3, padding=1) for channels in (inputs, outputs))
    return nn.Sequential(first, nn.LeakyReLU(0.2, inplace=True), second, nn.LeakyReLU(0.2, inplace=True))


def describe_cost(options: UNetOptions) -> dict[str, float]:
    """Return the parameters in millions, and the multiply-additions of a forward pass of one face in billions."""
    net = UNet(options)
    with FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 3, options.size, options.size))
    return {
        'parameters in millions': round(sum(parameter.numel() for parameter in net.parameters()) / 1e6, 3),
        'billions of multiply-additions': round(counter.get_total_flops() / 2e9, 3),
    }


def load_unet(path: Path, content: Any = None) -> tuple[UNet, UNetOptions]:
    """Return the averaged network of a checkpoint in evaluation mode, with its options; raise FRExError for another file.

    `content` is that of the file `path`, where it has been read already.
    """
    content = read_torch_file(path) if content is None else content
    if not isinstance(content, dict) or not isinstance(content.get('unet'), dict):
        raise FRExError(f'{path}: not a checkpoint of the U-Net')
    options = UNetOptions(**content['unet'])
    net = UNet(options)
    load_strict(net, pick_state(content, 'params_ema', str(path)), str(path))
    return net.requires_grad_(False).eval(), options


class Training:
    """Network, running average of its weights, optimizer and current step; saved as one file."""

    def __init__(self, options: UNetOptions, lr: float, steps: int) -> None:
        self.options, self.lr, self.steps, self.step = options, lr, steps, 0
        self.net, self.ema = UNet(options), UNet(options).requires_grad_(False)
        self.ema.load_state_dict(self.net.state_dict())
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr)

    def train(self, lq: Tensor, gt: Tensor) -> float:
        """Take one step on degraded and clean faces, RGB in [-1, 1], and return its loss; the rate falls along half a cosine to zero."""
        for group in self.optimizer.param_groups:
            group['lr'] = self.lr * (1 + math.cos(math.pi * self.step / self.steps)) / 2
        loss = F.l1_loss(self.net(lq), gt)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            # The average is over fewer steps at first, so that it forgets the initial weights.
            decay = min(EMA_DECAY, self.step / (self.step + 10))
            for average, parameter in zip(self.ema.parameters(), self.net.parameters(), strict=True):
                average.lerp_(parameter, 1 - decay)
        self.step += 1
        return loss.item()

    def save(self, path: Path) -> None:
        """Write everything atomically, in the place of an earlier file; create its folder where it is missing."""
        states = {'params': self.net.state_dict(), 'params_ema': self.ema.state_dict(), 'optimizer': self.optimizer.state_dict()}
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(path) as part:
            torch.save({'unet': asdict(self.options), 'step': self.step, **states}, part)

    def resume(self, path: Path) -> None:
        """Continue a saved training; raise FRExError where it is of another network."""
        content = read_torch_file(path)
        if not isinstance(content, dict) or content.get('unet') != asdict(self.options):
            raise FRExError(f'{path}: of another network than {self.options}; choose another folder')
        load_strict(self.net, pick_state(content, 'params', str(path)), str(path))
        load_strict(self.ema, pick_state(content, 'params_ema', str(path)), str(path))
        self.optimizer.load_state_dict(content['optimizer'])
        self.step = content['step']


def iterate_batches(dataset: FaceDegradationDataset, batch_size: int, seed: int, step: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (degraded, clean) batches, RGB in [-1, 1], without end from `step` on, as FREx's training with this seed visits them.

    Raises FRExError where the data set has fewer faces than a batch.
    """
    sampler = VisitSampler(dataset, 1, 0, dataset.options.dataset_enlarge_ratio, seed)
    loader = DataLoader(dataset, batch_size, sampler=sampler, num_workers=0, drop_last=True)
    an_epoch = len(sampler) // batch_size
    if not an_epoch:
        raise FRExError(f'{len(sampler)} faces an epoch are fewer than a batch of {batch_size}')
    for epoch in range(step // an_epoch, sys.maxsize):
        sampler.set_epoch(epoch)
        sampler.skipped = {step // an_epoch: step % an_epoch * batch_size}
        for batch in loader:
            yield batch['lq'], batch['gt']


def run(args: Namespace) -> int:
    """Train to the end or to a signal; return the exit status."""
    opt = requested_options(RunOptions(args.opt, force_yml=args.force_yml))
    section, seed = opt['datasets']['train'], opt.get('manual_seed', 0)
    dataset = FaceDegradationDataset({'seed': seed, **section, 'phase': 'train'})
    options = UNetOptions(dataset.options.gt_size, args.width)
    steps = -(-args.samples // section['batch_size_per_gpu'])
    torch.manual_seed(seed)
    training, path = Training(options, args.lr, steps), args.output / 'unet.pth'
    if path.is_file():
        training.resume(path)
    print(json.dumps(asdict(options) | describe_cost(options) | {'steps': steps}), flush=True)
    losses: list[float] = []
    start = time.process_time()
    with stop_on_signals() as stop:
        for lq, gt in iterate_batches(dataset, section['batch_size_per_gpu'], seed, training.step):
            if training.step >= steps or stop():
                break
            losses.append(training.train(lq, gt))
            if training.step % args.print_freq == 0:
                mean, spent = sum(losses) / len(losses), (time.process_time() - start) / len(losses) / len(gt)
                print(f'step {training.step}/{steps}  l1 {mean:.4f}  {spent * 1e3:.1f} CPU ms a sample', flush=True)
                losses, start = [], time.process_time()
            if training.step % SAVE_EVERY == 0:
                training.save(path)
    training.save(path)
    return stop.status


if __name__ == '__main__':
    parser = ArgumentParser(description=__doc__.partition('\n')[0], allow_abbrev=False)
    parser.add_argument('-opt', required=True, help='option file of FREx whose datasets: train it takes, with manual_seed')
    parser.add_argument('--force_yml', nargs='+', metavar='KEY:KEY=VALUE', help='changes of the option file')
    parser.add_argument('--width', type=int, default=32, metavar='N', help='channels at full size: sets the cost (default: 32)')
    parser.add_argument('--samples', required=True, type=int, metavar='N', help='faces it sees in all')
    parser.add_argument('--lr', type=float, default=5e-4, help='learning rate at the start (default: 5e-4)')
    parser.add_argument('--print_freq', type=int, default=100, metavar='N', help='steps between lines of the log (default: 100)')
    parser.add_argument('-o', '--output', required=True, type=Path, metavar='DIR', help='unet.pth is written there, and read from there')
    sys.exit(run(parser.parse_args()))
