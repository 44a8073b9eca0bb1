"""Models as training has them, of the tiny option files, with a batch of random faces."""

import copy
from pathlib import Path

import torch
from tiny import TINY_OPTIONS, faces, trained

from frex.models.batch import Batch
from frex.options import RunOptions, complete, load_options, merge
from frex.training import pipeline
from frex_arch.camera import frontal_camera

ONE_PROCESS = {'dist': False, 'rank': 0, 'world_size': 1}


def build(root, path_of_options=TINY_OPTIONS, processes=ONE_PROCESS, **changes):
    """Return the model of a tiny option file with `changes` to its sections, on the CPU; its folders below `root` are made.

    `processes` are the options that BasicSR adds for distributed training.
    """
    pipeline.register()
    run = RunOptions(str(path_of_options))
    opt = complete(merge(load_options(path_of_options), changes), run, Path(root), True, 0)
    opt |= processes
    for folder in ('models', 'training_states'):
        Path(opt['path'][folder]).mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    return pipeline.basicsr.train.build_model(opt)


def batch(labels=True, size=2):
    """Return what a data loader gives for `size` faces; without `labels`, as for images that have no camera."""
    data = {'lq': faces(size, seed=1), 'gt': faces(size, seed=2), 'crop': torch.tensor([[1.083, -0.043, -0.129]]).repeat(size, 1)}
    return data | ({'camera': frontal_camera(size), 'gt_path': ['a'] * size} if labels else {})


def labelled_batch(model):
    """Return the batch that `model` has been fed, as its losses take it."""
    return Batch(model.lq, model.gt, model.crop, model.camera)


def trained_for_two_steps(root, **changes):
    """Return a model after two steps, the second with R1.

    Its attributes `before`, for the generator, and `before_critics` hold the state dicts from before.
    """
    model = build(root, train={'net_d_reg_every': 2}, **changes)
    model.before = copy.deepcopy(model.net_g.state_dict())
    model.before_critics = [copy.deepcopy(critic.net.state_dict()) for critic in model.critics]
    model.feed_data(batch())
    for step in (1, 2):
        model.optimize_parameters(step)
    return model


def gradients(net):
    """Return the gradients of `net` by the names of its parameters, where it has some."""
    return {name: parameter.grad.clone() for name, parameter in net.named_parameters() if parameter.grad is not None}


def gradients_of_a_step(root, iteration=16, size=2, changes=(), **train):
    """Return the gradients of the generator and of each critic after one step on one batch, without jitter and noise.

    `iteration` is the step's number: a multiple of `net_d_reg_every` has R1. `train` are changes to that section, `changes` to others.
    """
    model = build(root, train=train, **dict(changes))
    trained(model.net_g.eval())
    data, side = batch(size=size), model.opt['network_g']['out_size']
    model.feed_data(data | {key: data[key][..., :side, :side] for key in ('lq', 'gt')})
    model.optimize_parameters(iteration)
    return [gradients(net) for net in (model.net_g, *(critic.net for critic in model.critics))]


def assert_equal_steps(found, expected):
    """Check that two lists of gradients are the same up to rounding."""
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.keys() == theirs.keys()
        for name, gradient in theirs.items():
            assert (mine[name] - gradient).norm() <= 1e-3 * gradient.norm() + 1e-9, name
