"""A run that is broken off anywhere and resumed ends with the weights of an unbroken one, bit for bit."""

import pickle
import shutil
import signal
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from option_files import IN_ONE_PROCESS, face_folders
from processes import Command
from tiny import TINY_OPTIONS, TINY_STAGE_A
from tiny_model import build
from torch import nn

from frex import compat
from frex.cli.main import main
from frex.errors import FRExError
from frex.models.built_options import BuiltOptions
from frex.models.latents import LatentPool
from frex.models.optimization import build_optimizer
from frex.models.scalars import read_scalars
from frex.options import RunOptions, complete, load_options, merge, read_run
from frex.options.train import OptimizerOptions
from frex.training.pipeline import TrainingData, newest_state
from frex.training.run_folder import RunFolder

compat.install()

from basicsr.models.lr_scheduler import CosineAnnealingRestartLR, MultiStepRestartLR  # noqa: E402 (compat comes first)

TIMES = ('time', 'data_time', 'images_per_second', 'memory_gb')
# Five visits an epoch are two iterations, so that kill points lie within epochs and at their ends.
SHORT = [
    *IN_ONE_PROCESS,
    *('datasets:train:dataset_enlarge_ratio=1', 'datasets:train:batch_size_per_gpu=2'),
    *('train:total_iter=5', 'train:net_d_reg_every=2', 'val:val_freq=2', 'logger:save_checkpoint_freq=1', 'logger:print_freq=1'),
]


def arguments(options, faces, *more):
    folders = face_folders(faces, faces.with_name('two'))
    return ['train', '-opt', str(options), '--auto_resume', *folders, *SHORT, *more]


def weights(folder, name):
    """All networks at the end of a run."""
    models = folder / 'experiments' / name / 'models'
    return {path.name: torch.load(path, weights_only=True) for path in sorted(models.glob('*_latest.pth'))}


def scalars(folder, name):
    """What was logged, without what a clock says."""
    records = read_scalars(folder / 'experiments' / name / 'scalars.jsonl')
    return [{key: value for key, value in record.items() if key not in TIMES} for record in records]


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for file, content in one.items():
        for key in ('params', 'params_ema'):
            assert [name for name, value in content.get(key, {}).items() if not torch.equal(value, other[file][key][name])] == [], file


def run_unbroken(options, faces, folder):
    """A whole run; answers its folder, options and weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(arguments(options, faces)) == 0
    return folder, options, weights(folder, options.stem)


@pytest.fixture(scope='module')
def unbroken(face_folder, tmp_path_factory):
    return run_unbroken(TINY_OPTIONS, face_folder, tmp_path_factory.mktemp('unbroken'))


def broken_off(unbroken, after, folder):
    """A copy of the run as it was after an iteration."""
    source, options, _ = unbroken
    shutil.copytree(source / 'experiments', folder / 'experiments')
    experiment = folder / 'experiments' / options.stem
    for path in (*experiment.glob('models/*'), *experiment.glob('training_states/*')):
        number = path.stem.rpartition('_')[2]
        if not number.isdecimal() or int(number) > after:
            path.unlink()
    return experiment


# Within an epoch, and at the end of one; the test of a damaged state goes on within the second epoch.
@pytest.mark.parametrize('after', [1, 4])
def test_a_resumed_run_ends_as_the_unbroken_one(unbroken, after, face_folder, tmp_path, monkeypatch):
    broken_off(unbroken, after, tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(arguments(unbroken[1], face_folder)) == 0
    assert_equal(unbroken[2], weights(tmp_path, unbroken[1].stem))
    assert scalars(tmp_path, unbroken[1].stem) == scalars(unbroken[0], unbroken[1].stem)


def test_each_logged_scalar_stands_in_a_file(unbroken):
    records = scalars(unbroken[0], unbroken[1].stem)
    steps = [record for record in records if 'epoch' in record]
    assert [record['iter'] for record in steps] == [1, 2, 3, 4, 5]
    assert {'l_g_pix', 'l_d_dual', 'lrs'} < set(steps[0])
    assert [(record['iter'], record['dataset']) for record in records if 'psnr' in record] == [(step, 'faces_val') for step in (2, 4, 5)]


@pytest.mark.slow
def test_so_does_stage_a_with_its_pool_of_codes(face_folder, tmp_path, monkeypatch):
    # A pool that is full after the first step.
    monkeypatch.setattr('frex.models.critic.LatentPool', partial(LatentPool, size=2))
    (tmp_path / 'unbroken').mkdir()
    (tmp_path / 'resumed').mkdir()
    whole = run_unbroken(TINY_STAGE_A, face_folder, tmp_path / 'unbroken')
    broken_off(whole, 3, tmp_path / 'resumed')
    monkeypatch.chdir(tmp_path / 'resumed')
    assert main(arguments(TINY_STAGE_A, face_folder)) == 0
    assert_equal(whole[2], weights(tmp_path / 'resumed', TINY_STAGE_A.stem))


@pytest.mark.slow
def test_whatever_the_number_of_workers(unbroken, face_folder, tmp_path, monkeypatch):
    broken_off(unbroken, 3, tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(arguments(unbroken[1], face_folder, 'datasets:train:num_worker_per_gpu=2')) == 0
    assert_equal(unbroken[2], weights(tmp_path, unbroken[1].stem))


@pytest.mark.slow
def test_a_damaged_state_is_passed_over(unbroken, face_folder, tmp_path, monkeypatch, capsys):
    experiment = broken_off(unbroken, 4, tmp_path)
    state = experiment / 'training_states/4.state'
    state.write_bytes(state.read_bytes()[:1000])
    monkeypatch.chdir(tmp_path)
    assert main(arguments(unbroken[1], face_folder)) == 0
    assert 'skipped: ' in capsys.readouterr().err
    assert_equal(unbroken[2], weights(tmp_path, unbroken[1].stem))


@pytest.mark.parametrize('wait', [0.0, 0.35])
@pytest.mark.slow
def test_a_killed_run_is_resumed(face_folder, tmp_path, wait, unbroken):
    """SIGKILL at whatever it is doing, some time after its first state."""
    _, options, expected = unbroken
    run = Command(main, *arguments(options, face_folder), folder=tmp_path)
    first = Path(tmp_path / 'experiments' / options.stem / 'training_states/1.state')
    while not first.exists():
        assert run.running
        time.sleep(0.02)
    time.sleep(wait)
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    done = Command(main, *arguments(options, face_folder), folder=tmp_path)
    assert done.wait() == 0, done.stderr[-2000:]
    assert 'Resuming training from epoch' in done.stderr + done.stdout
    assert_equal(expected, weights(tmp_path, options.stem))


@pytest.mark.slow
def test_a_job_that_is_asked_to_stop_saves_first(unbroken, face_folder, tmp_path):
    """SIGTERM to all of its processes, the loader's workers too, with no checkpoint asked for before the end."""
    _, options, expected = unbroken
    command = arguments(options, face_folder, 'logger:save_checkpoint_freq=1000', 'logger:print_freq=1')
    run = Command(main, *command, folder=tmp_path)
    while 'iter:       2,' not in run.stderr:
        assert run.running
        time.sleep(0.01)
    run.send_signal_to_all(signal.SIGTERM)
    assert run.wait() == 128 + signal.SIGTERM
    (state,) = (tmp_path / 'experiments' / options.stem / 'training_states').iterdir()
    assert f'Stopped by SIGTERM and saved at iteration {state.stem}; continue with --auto_resume.' in run.stderr
    assert 2 < int(state.stem) < 5
    assert Command(main, *command, folder=tmp_path).wait() == 0
    assert_equal(expected, weights(tmp_path, options.stem))


# --- Another schedule or optimiser

HALVED = [MultiStepRestartLR, {'milestones': [2, 5], 'gamma': 0.5}]


def scheduled(rate, kind, arguments, **optimizer):
    """An optimiser at a rate, and its schedule."""
    built = build_optimizer(OptimizerOptions(**{'type': 'Adam', 'lr': rate} | optimizer), list(nn.Linear(2, 1).parameters()))
    return built, kind(built, **arguments)


def rates(optimizer, schedule, steps):
    """The rate after each of so many steps."""
    found = []
    for _ in range(steps):
        for parameter in optimizer.param_groups[0]['params']:
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        schedule.step()
        found += [group['lr'] for group in optimizer.param_groups]
    return found


def resumed(old, new, after):
    """An optimiser and a schedule built as `new`, with the state of those built as `old` after some steps; and what was answered."""
    rates(*old, after)
    optimizer, schedule = new
    built = BuiltOptions(*new)
    # As a file has them.
    old_states = [pickle.loads(pickle.dumps(each.state_dict())) for each in old]  # noqa: S301
    optimizer.load_state_dict(old_states[0])
    schedule.load_state_dict(old_states[1])
    return optimizer, schedule, built.follow(old_states[1])


RESTARTS = [MultiStepRestartLR, {'milestones': [1, 6], 'gamma': 0.5, 'restarts': [0, 5], 'restart_weights': [1, 0.3]}]
COSINE = [CosineAnnealingRestartLR, {'periods': [5, 5], 'restart_weights': [1, 0.5]}]
SCHEDULES = [
    HALVED,
    [MultiStepRestartLR, {'milestones': [2, 2, 7], 'gamma': 0.5}],
    [MultiStepRestartLR, {'milestones': [2, 5], 'gamma': 0.1}],
    RESTARTS,
    [MultiStepRestartLR, RESTARTS[1] | {'restart_weights': [1, 0.7]}],
    COSINE,
    [CosineAnnealingRestartLR, {'periods': [3, 9], 'restart_weights': [1, 0.5]}],
    [CosineAnnealingRestartLR, COSINE[1] | {'eta_min': 1e-4}],
]


def test_a_rate_is_followed_lowered_as_far_as_the_schedule_had_come():
    """2e-3 was halved; so is the 1e-4 that takes its place, and again at the next milestone."""
    optimizer, schedule, changes = resumed(scheduled(2e-3, *HALVED), scheduled(1e-4, *HALVED), 3)
    (group,) = optimizer.param_groups
    assert changes == {'lr': (2e-3, 1e-4)}
    assert (group['lr'], group['initial_lr'], schedule.base_lrs) == (pytest.approx(5e-5), 1e-4, [1e-4])
    assert rates(optimizer, schedule, 3) == pytest.approx([5e-5, 2.5e-5, 2.5e-5])


@pytest.mark.parametrize('schedule', SCHEDULES)
@pytest.mark.parametrize('rate', [2e-3, 2e-3 * (1 + 1e-12)])
def test_the_same_options_go_on_as_they_were(rate, schedule):
    old, new = scheduled(2e-3, *schedule), scheduled(rate, *schedule)
    optimizer, resumed_schedule, changes = resumed(old, new, 3)
    assert changes == {}
    assert optimizer.param_groups[0]['lr'] == old[0].param_groups[0]['lr']
    assert resumed_schedule.state_dict() == old[1].state_dict()
    assert rates(optimizer, resumed_schedule, 5) == rates(*old, 5)


@pytest.mark.parametrize('after', [1, 3, 5])
@pytest.mark.parametrize('new', range(len(SCHEDULES)))
@pytest.mark.parametrize('old', range(len(SCHEDULES)))
def test_other_options_go_on_as_if_they_had_been_so_from_the_start(old, new, after):
    expected = rates(*scheduled(1e-4, *SCHEDULES[new]), 9)
    optimizer, schedule, changes = resumed(scheduled(2e-3, *SCHEDULES[old]), scheduled(1e-4, *SCHEDULES[new]), after)
    assert 'lr' in changes
    assert optimizer.param_groups[0]['lr'] == pytest.approx(expected[after - 1])
    assert rates(optimizer, schedule, 9 - after) == pytest.approx(expected[after:])
    # What is saved next is the state of the new schedule alone.
    assert schedule.state_dict().keys() == scheduled(1e-4, *SCHEDULES[new])[1].state_dict().keys()


@pytest.mark.parametrize(
    ('old', 'new', 'names'),
    [
        (HALVED, SCHEDULES[1], {'milestones'}),
        (HALVED, SCHEDULES[2], {'gamma'}),
        (RESTARTS, SCHEDULES[4], {'restart_weights'}),
        (COSINE, SCHEDULES[6], {'periods'}),
        (COSINE, SCHEDULES[7], {'eta_min'}),
        (HALVED, COSINE, {'periods', 'restart_weights', 'eta_min'}),
    ],
)
def test_what_differs_of_a_schedule_is_answered(old, new, names):
    *_, changes = resumed(scheduled(2e-3, *old), scheduled(2e-3, *new), 3)
    assert changes.keys() == names
    assert all(value == new[1].get(name, 0) for name, (_, value) in changes.items())


@pytest.mark.parametrize(
    'change', [{'betas': (0.5, 0.9)}, {'weight_decay': 0.1}, {'type': 'AdamW'}, {'type': 'AdamW', 'weight_decay': 0.1}], ids=str
)
def test_an_optimiser_follows_its_options(change):
    """Its next steps are those of an optimiser of these options with the same moments."""
    old, new = scheduled(2e-3, *HALVED), scheduled(2e-3, *HALVED, **change)
    optimizer, _, changes = resumed(old, new, 3)
    assert {name: value for name, (_, value) in changes.items()} == change
    expected = build_optimizer(OptimizerOptions(**{'type': 'Adam', 'lr': 2e-3} | change), list(nn.Linear(2, 1).parameters()))
    settings = ('betas', 'weight_decay', 'decoupled_weight_decay', 'type')
    assert type(optimizer) is type(expected)
    assert [optimizer.param_groups[0].get(name) for name in settings] == [expected.param_groups[0].get(name) for name in settings]
    assert len(optimizer.state) == 2


def test_each_optimiser_of_a_run_follows_its_own_options_and_it_is_said(tmp_path, caplog):
    halved_at_1 = {'scheduler': {'type': 'MultiStepLR', 'milestones': [1], 'gamma': 0.5}}
    old = build(tmp_path, train=halved_at_1)
    for optimizer in old.optimizers:
        optimizer.step()
    old.update_learning_rate(2)
    old.save_training_state(0, 2)
    new = build(tmp_path, train=halved_at_1 | {'optim_g': {'lr': 1e-4, 'betas': [0.0, 0.9]}})
    new.resume_training(torch.load(Path(new.opt['path']['training_states']) / '2.state', weights_only=True))
    # Those of the critics stay, corrected for lazy R1.
    assert [optimizer.param_groups[0]['lr'] for optimizer in new.optimizers] == pytest.approx([5e-5, 1e-3 * 16 / 17, 1e-3 * 16 / 17])
    said = [record.message for record in caplog.records if 'as the options say' in record.message]
    assert 'FREx: lr is 0.0001 now, as the options say, and not 0.002, as in the state.' in said
    assert [line.split(' ')[:2] for line in said] == [['FREx:', 'lr'], ['FREx:', 'betas']]


# --- What is resumed from


def test_a_run_that_is_resumed_from_an_earlier_state_keeps_what_it_saves_then(tmp_path, caplog):
    model = build(tmp_path, logger={'keep_last': 2}, network_d_multi_scale=None)
    for step in (2, 8, 20):
        model.save(0, step)
    states = Path(model.opt['path']['training_states'])
    kept = torch.load(states / '8.state', weights_only=True)
    resumed_model = build(tmp_path, logger={'keep_last': 2}, network_d_multi_scale=None)
    resumed_model.resume_training(kept)
    assert '3 files of iterations after 8, where this run continues, are now in ' in caplog.text
    resumed_model.save(0, 9)
    assert newest_state(states) == str(states / '9.state')
    assert sorted(path.name for path in states.glob('*.state')) == ['8.state', '9.state']
    assert [path.name for path in states.glob('archived_*/*')] == ['20.state']
    models = Path(model.opt['path']['models'])
    assert sorted(path.name for path in models.glob('archived_*/*')) == ['net_d_dual_20.pth', 'net_g_20.pth']
    resumed_model.resume_training(torch.load(states / '9.state', weights_only=True))
    assert len(list(states.glob('archived_*'))) == 1


def test_networks_are_loaded_by_the_keys_of_their_own_checkpoints(tmp_path):
    """Unlike the network that the first start took from another project's file, and those that a resumed run ignores."""
    write_states(tmp_path, 3)
    path = {'resume_state': str(tmp_path / '3.state'), 'param_key_g': 'g_ema', 'strict_load_g': False, 'param_key_d_dual': 'params_ema'}
    path |= {'ignore_resume_networks': ['network_d_dual'], 'strict_load_d_dual': False, 'pretrain_network_d_dual': 'critic.pth'}
    opt = complete(merge(load_options(TINY_OPTIONS), {'path': path}), RunOptions('here'), tmp_path, True, 0)
    config = read_run(opt, 'here')
    assert TrainingData(config, RunFolder(config.path), lambda: None).load_resume_state(opt) == {'epoch': 0, 'iter': 3}
    loaded = {key: value for key, value in opt['path'].items() if key.endswith(('_g', '_d_dual'))}
    assert loaded == {
        'pretrain_network_g': f'{tmp_path}/experiments/train_frex_tiny/models/net_g_3.pth',
        'param_key_g': 'params',
        'strict_load_g': True,
        'pretrain_network_d_dual': 'critic.pth',
        'param_key_d_dual': 'params_ema',
        'strict_load_d_dual': False,
    }


def write_states(folder, *numbers):
    """States that can be read."""
    folder.mkdir(exist_ok=True)
    for number in numbers:
        torch.save({'epoch': 0, 'iter': number}, folder / f'{number}.state')


def test_the_newest_state_is_the_one_of_the_highest_number(tmp_path, capsys):
    write_states(tmp_path, 10, 9, 100, 20)
    assert newest_state(tmp_path) == str(tmp_path / '100.state')
    assert capsys.readouterr() == ('', '')


def test_other_files_are_no_states(tmp_path, capsys):
    write_states(tmp_path, 2)
    for name in ('7.state.1a2b3c4d.part', '8.state.part', '9.part', 'latest.state', '-9.state', '9a.state', '.state', 'notes.txt'):
        (tmp_path / name).write_bytes(b'half of it')
    assert newest_state(tmp_path) == str(tmp_path / '2.state')
    (tmp_path / '2.state').unlink()
    assert newest_state(tmp_path) is None
    assert capsys.readouterr() == ('', '')


def test_without_a_state_there_is_none_to_go_on_from(tmp_path):
    assert newest_state(tmp_path) is None
    assert newest_state(tmp_path / 'not there') is None


def damage(folder):
    """States of which none can be read: cut off, empty, of something else, without its iteration; their names."""
    write_states(folder, 4)
    (folder / '4.state').write_bytes((folder / '4.state').read_bytes()[:-100])
    (folder / '5.state').touch()
    (folder / '6.state').write_text('<!DOCTYPE html>')
    torch.save({'epoch': 0}, folder / '7.state')
    torch.save([0, 7], folder / '8.state')
    return ['8.state', '7.state', '6.state', '5.state', '4.state']


def test_damaged_states_are_passed_over_and_named(tmp_path, capsys):
    names = damage(tmp_path)
    write_states(tmp_path, 2, 3)
    assert newest_state(tmp_path) == str(tmp_path / '3.state')
    output = capsys.readouterr()
    assert output.out == ''
    assert [line.split(': ')[:2] for line in output.err.splitlines()] == [['skipped', str(tmp_path / name)] for name in names]


def test_where_no_state_can_be_read_none_is_taken_for_a_new_start(tmp_path):
    damage(tmp_path)
    with pytest.raises(FRExError) as error:
        newest_state(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert 'start anew without the flag, or name one by path.resume_state' in str(error.value)


def test_then_the_old_run_is_not_put_away(face_folder, tmp_path, monkeypatch, capsys):
    states = tmp_path / 'experiments' / TINY_OPTIONS.stem / 'training_states'
    states.mkdir(parents=True)
    names = damage(states)
    monkeypatch.chdir(tmp_path)
    assert main(arguments(TINY_OPTIONS, face_folder)) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith('frex: error: --auto_resume: no state in ')
    assert [path.name for path in (tmp_path / 'experiments').iterdir()] == [TINY_OPTIONS.stem]
    assert sorted(path.name for path in states.iterdir()) == sorted(names)
