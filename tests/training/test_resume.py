"""A run that is broken off anywhere and resumed ends with the weights of an unbroken one, bit for bit."""

import shutil
import signal
import time
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
from frex.models.optimization import Stepper, build_optimizer
from frex.models.scalars import read_scalars
from frex.options.convert import ComponentOptions
from frex.options.train import OptimizerOptions, TrainOptions
from frex.training.pipeline import newest_state

compat.install()

from basicsr.models.lr_scheduler import CosineAnnealingRestartLR, MultiStepRestartLR  # noqa: E402 (compat comes first)

TIMES = ('time', 'data_time', 'images_per_second', 'memory_gb')
# Five visits an epoch are two iterations, so that kill points lie within epochs and at their ends.
SHORT = [
    *IN_ONE_PROCESS,
    *('datasets:train:dataset_enlarge_ratio=1', 'datasets:train:batch_size_per_gpu=2'),
    *('train:total_iter=7', 'train:net_d_reg_every=2', 'val:val_freq=2', 'logger:save_checkpoint_freq=1', 'logger:print_freq=1'),
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


@pytest.mark.parametrize('after', [1, 2, 3, 6])
def test_a_resumed_run_ends_as_the_unbroken_one(unbroken, after, face_folder, tmp_path, monkeypatch):
    broken_off(unbroken, after, tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(arguments(unbroken[1], face_folder)) == 0
    assert_equal(unbroken[2], weights(tmp_path, unbroken[1].stem))
    assert scalars(tmp_path, unbroken[1].stem) == scalars(unbroken[0], unbroken[1].stem)


def test_each_logged_scalar_stands_in_a_file(unbroken):
    records = scalars(unbroken[0], unbroken[1].stem)
    steps = [record for record in records if 'epoch' in record]
    assert [record['iter'] for record in steps] == [1, 2, 3, 4, 5, 6, 7]
    assert {'l_g_pix', 'l_d_dual', 'lrs'} < set(steps[0])
    assert [(record['iter'], record['dataset']) for record in records if 'psnr' in record] == [(step, 'faces_val') for step in (2, 4, 6, 7)]


def test_so_does_stage_a_with_its_pool_of_codes(face_folder, tmp_path, monkeypatch):
    (tmp_path / 'unbroken').mkdir()
    (tmp_path / 'resumed').mkdir()
    whole = run_unbroken(TINY_STAGE_A, face_folder, tmp_path / 'unbroken')
    broken_off(whole, 3, tmp_path / 'resumed')
    monkeypatch.chdir(tmp_path / 'resumed')
    assert main(arguments(TINY_STAGE_A, face_folder)) == 0
    assert_equal(whole[2], weights(tmp_path / 'resumed', TINY_STAGE_A.stem))


def test_whatever_the_number_of_workers(unbroken, face_folder, tmp_path, monkeypatch):
    broken_off(unbroken, 3, tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(arguments(unbroken[1], face_folder, 'datasets:train:num_worker_per_gpu=2')) == 0
    assert_equal(unbroken[2], weights(tmp_path, unbroken[1].stem))


def test_a_damaged_state_is_passed_over(unbroken, face_folder, tmp_path, monkeypatch, capsys):
    experiment = broken_off(unbroken, 4, tmp_path)
    state = experiment / 'training_states/4.state'
    state.write_bytes(state.read_bytes()[:1000])
    monkeypatch.chdir(tmp_path)
    assert main(arguments(unbroken[1], face_folder)) == 0
    assert 'skipped: ' in capsys.readouterr().err
    assert_equal(unbroken[2], weights(tmp_path, unbroken[1].stem))


@pytest.mark.parametrize('wait', [0.0, 0.35])
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
    assert 2 < int(state.stem) < 7
    assert Command(main, *command, folder=tmp_path).wait() == 0
    assert_equal(expected, weights(tmp_path, options.stem))


# --- Another learning rate

HALVED = [MultiStepRestartLR, {'milestones': [2, 5], 'gamma': 0.5}]


def scheduled(rate, kind, arguments):
    """A stepper at a rate, and its schedule."""
    net = nn.Linear(2, 1)
    options = TrainOptions(optim_g=OptimizerOptions('Adam', rate), scheduler=ComponentOptions({}), total_iter=10)
    stepper = Stepper(net, build_optimizer(options.optim_g, list(net.parameters())), options)
    return stepper, kind(stepper.optimizer, **arguments)


def rates(stepper, schedule, steps):
    """The rate after each of so many steps."""
    found = []
    for _ in range(steps):
        stepper.optimizer.step()
        schedule.step()
        found += [group['lr'] for group in stepper.optimizer.param_groups]
    return found


def resumed(old_rate, new_rate, after, kind, arguments):
    """A stepper of the new rate with the state of one of the old rate after some steps; its schedule, and what was answered."""
    old, old_schedule = scheduled(old_rate, kind, arguments)
    rates(old, old_schedule, after)
    new, new_schedule = scheduled(new_rate, kind, arguments)
    new.optimizer.load_state_dict(old.optimizer.state_dict())
    new_schedule.load_state_dict(old_schedule.state_dict())
    return new, new_schedule, new.restart_rate(new_schedule)


def test_the_options_rate_wins_lowered_as_far_as_the_schedule_had_come():
    """2e-3 was halved; so is the 1e-4 that takes its place, and again at the next milestone."""
    stepper, schedule, answer = resumed(2e-3, 1e-4, 3, *HALVED)
    (group,) = stepper.optimizer.param_groups
    assert answer == 1e-4
    assert (group['lr'], group['initial_lr'], schedule.base_lrs) == (pytest.approx(5e-5), 1e-4, [1e-4])
    assert rates(stepper, schedule, 3) == pytest.approx([5e-5, 2.5e-5, 2.5e-5])


@pytest.mark.parametrize('rate', [2e-3, 2e-3 * (1 + 1e-12)])
def test_the_same_rate_goes_on_as_it_was(rate):
    stepper, schedule, answer = resumed(2e-3, rate, 3, *HALVED)
    (group,) = stepper.optimizer.param_groups
    assert answer is None
    assert (group['lr'], group['initial_lr'], schedule.base_lrs) == (1e-3, 2e-3, [2e-3])


@pytest.mark.parametrize(
    ('kind', 'arguments'),
    [
        HALVED,
        (MultiStepRestartLR, {'milestones': [1, 6], 'gamma': 0.5, 'restarts': [0, 5], 'restart_weights': [1, 0.3]}),
        (CosineAnnealingRestartLR, {'periods': [5, 5], 'restart_weights': [1, 0.5]}),
    ],
    ids=['milestones', 'restarts', 'cosine'],
)
def test_another_rate_goes_on_as_if_it_had_been_so_from_the_start(kind, arguments):
    expected = rates(*scheduled(1e-4, kind, arguments), 9)
    stepper, schedule, _ = resumed(2e-3, 1e-4, 3, kind, arguments)
    assert stepper.optimizer.param_groups[0]['lr'] == pytest.approx(expected[2])
    assert rates(stepper, schedule, 6) == pytest.approx(expected[3:])


def test_each_optimiser_of_a_run_follows_its_own_options_and_it_is_said(tmp_path, caplog):
    halved_at_1 = {'scheduler': {'type': 'MultiStepLR', 'milestones': [1], 'gamma': 0.5}}
    old = build(tmp_path, train=halved_at_1)
    for optimizer in old.optimizers:
        optimizer.step()
    old.update_learning_rate(2)
    old.save_training_state(0, 2)
    new = build(tmp_path, train=halved_at_1 | {'optim_g': {'lr': 1e-4}})
    new.resume_training(torch.load(Path(new.opt['path']['training_states']) / '2.state', weights_only=True))
    # Those of the critics stay, corrected for lazy R1.
    assert [optimizer.param_groups[0]['lr'] for optimizer in new.optimizers] == pytest.approx([5e-5, 1e-3 * 16 / 17, 1e-3 * 16 / 17])
    assert caplog.text.count('The learning rate is ') == 1
    assert 'The learning rate is 1.000e-04 now, as the options say' in caplog.text


# --- What is resumed from


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
