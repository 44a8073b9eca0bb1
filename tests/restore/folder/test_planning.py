"""Tests of what happens to inputs whose results exist already. No image is read."""

from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from frex.restore.folder.claims import Claims
from frex.restore.folder.inputs import find_inputs
from frex.restore.folder.journal import Journal
from frex.restore.folder.outputs import Outputs
from frex.restore.folder.planning import SHARED, UNKNOWN, Job, Plan
from frex.restore.folder.recovery import recover_killed_runs
from frex.restore.folder.report import FaceRecord, ImageRecord, Report, Run, absolute_name
from frex.utils.sharding import Shard

SETTINGS = {'aligned': False, 'model_path': '/net.pth', 'fidelity_weight': 1.0, 'upscale': 1.0, 'batch_size': 4}
NOW = Run(settings=SETTINGS, started=1, ended=2)


class Place:
    """A folder of inputs and results. `runs` are those that were begun by `begin`, in the order of their beginning."""

    def __init__(self, folder, stack):
        self.folder, self.out, self.stack = folder, folder / 'out', stack
        self.runs = []

    def file(self, name):
        """Make an empty file."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return path

    def made(self, name, run='one', **more):
        """Make the restored image of an input, and return its record."""
        self.file(f'out/restored_imgs/{Path(name).name}')
        return ImageRecord(
            input=absolute_name(self.folder / name), status='restored', output=f'restored_imgs/{Path(name).name}', run=run, **more
        )

    def begin(self, *given, exist='skip', aligned=False, **settings):
        """Begin a run on inputs, and return it."""
        settings = SETTINGS | {'aligned': aligned} | settings
        journal = self.stack.enter_context(Journal(self.out, Shard(), f'run{len(self.runs)}', settings, 0))
        found = find_inputs([str(self.folder / name) for name in given], recursive=False)
        self.runs.append(Begun(Plan(Outputs(self.out, exist=exist), Claims(journal), aligned, found), found, journal))
        return self.runs[-1]

    def plan(self, *given, records=(), runs=(('one', NOW),), **options):
        """Begin a run, given the records of the report, and return what it decides on each of its inputs."""
        self.out.mkdir(exist_ok=True)
        report = Report(version=1, runs=dict(runs), images=list(records))
        (self.out / 'report.json').write_bytes(msgspec.json.encode(report))
        return self.begin(*given, **options).decide()


class Begun:
    """A run that has begun."""

    def __init__(self, plan, inputs, journal):
        self.plan, self.inputs, self.journal = plan, inputs, journal

    def decide(self):
        """Return the names of the inputs that are to be restored, and the status and reason of each other."""
        planned = [self.plan.decide(item) for item in self.inputs]
        jobs = [one.item.path.name for one in planned if isinstance(one, Job)]
        return jobs, [(one.status, one.reason) for one in planned if isinstance(one, ImageRecord)]

    def restore(self):
        """Decide, and make the restored image of each input that is to be restored."""
        for item in self.inputs:
            planned = self.plan.decide(item)
            if isinstance(planned, Job):
                path = planned.results.image
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
                output = path.relative_to(self.journal.folder).as_posix()
                planned = ImageRecord(input=absolute_name(item.path), status='restored', output=output)
            self.journal.add(planned)

    def end(self):
        self.journal.merge_into_report(finished=True)
        self.journal.__exit__(None, None, None)

    def kill(self):
        """End the run as if it was killed."""
        self.journal.file.close()
        self.journal.lock.end(tidied=False)


@pytest.fixture
def place(tmp_path):
    with ExitStack() as stack:
        yield Place(tmp_path, stack)


def test_what_this_input_made_is_skipped(place):
    place.file('in/a.png')
    place.file('in/b.png')
    assert place.plan('in', records=[place.made('in/a.png')]) == (['b.png'], [('skipped', None)])


def test_another_images_result_is_never_taken_for_ones_own(place):
    place.file('d1/a.png')
    path = place.file('d2/a.png')
    jobs, ((status, reason),) = place.plan('d2', records=[place.made('d1/a.png')])
    assert (jobs, status) == ([], 'failed')
    owner = place.folder / 'd1/a.png'
    assert reason == f'{path}: restored_imgs/a.png is the result of {owner}; give another --output or --suffix, or --exist rename'


def test_another_images_faces_are_not_written_over(place):
    place.file('d2/a.png')
    place.file('out/restored_faces/a_00.png')
    face = FaceRecord(files={'restored_faces': 'restored_faces/a_00.png'})
    record = ImageRecord(input='/d1/a.png', status='failed', faces=[face], run='one')
    _, ((_, reason),) = place.plan('d2', records=[record])
    assert 'restored_faces/a_00.png is the result of /d1/a.png' in reason


def test_results_that_are_gone_are_in_nobodys_way(place):
    place.file('d2/a.png')
    record = place.made('d1/a.png')
    (place.out / record.output).unlink()
    assert place.plan('d2', records=[record]) == (['a.png'], [])


def test_an_image_is_itself_by_whatever_way(place):
    place.file('d1/a.png')
    (place.folder / 'link').symlink_to('d1')
    assert place.plan('link', records=[place.made('d1/a.png')]) == ([], [('skipped', None)])


@pytest.mark.parametrize('exist', ['overwrite', 'rename'])
def test_who_asks_for_it_gets_another_images_name(place, exist):
    place.file('d2/a.png')
    assert place.plan('d2', records=[place.made('d1/a.png')], exist=exist) == (['a.png'], [])


def test_results_of_other_settings_are_told(place):
    place.file('in/a.png')
    other = Run(settings=SETTINGS | {'fidelity_weight': 0.5, 'upscale': 2.0, 'batch_size': 8}, started=1, ended=2)
    told = [('skipped', 'were made with other settings (fidelity_weight 0.5, upscale 2.0)')]
    assert place.plan('in', records=[place.made('in/a.png')], runs=[('one', other)]) == ([], told)


def test_results_of_aligned_faces_know_no_upscale(place):
    place.file('in/a.png')
    place.file('out/restored_faces/a_00.png')
    record = ImageRecord(
        input=absolute_name(place.folder / 'in/a.png'),
        status='restored',
        faces=[FaceRecord(files={'restored_faces': 'restored_faces/a_00.png'})],
        run='one',
    )
    runs = [('one', Run(settings=SETTINGS | {'aligned': True, 'upscale': 2.0}, started=1, ended=2))]
    assert place.plan('in', records=[record], runs=runs, aligned=True) == ([], [('skipped', None)])


def test_results_that_the_report_does_not_know_are_told(place):
    place.file('in/a.png')
    place.made('in/a.png')
    assert place.plan('in') == ([], [('skipped', UNKNOWN)])


@pytest.mark.parametrize('exist', ['overwrite', 'skip'])
def test_no_result_is_written_over_an_input(place, exist):
    path = place.file('out/restored_imgs/a.png')
    reason = f'{path}: its result would be written over the input {path}; give another --output'
    assert place.plan('out/restored_imgs', exist=exist) == ([], [('failed', reason)])


def test_no_face_is_written_over_an_input(place):
    path = place.file('out/cmp/a_00.png')
    place.file('in/a.png')
    jobs, ((status, reason),) = place.plan('in', 'out/cmp', exist='overwrite')
    assert (jobs, status) == (['a_00.png'], 'failed')
    assert reason.endswith(f'a.png: its result would be written over the input {path}; give another --output')


def test_restored_images_can_be_restored_once_more_beside(place):
    place.file('out/restored_imgs/a.png')
    assert place.plan('out/restored_imgs', exist='rename') == (['a.png'], [])


# --- Runs at the same time, and runs that are killed


TAKEN = 'restored_imgs/a.png is the result of {}, which another run restores at the same time; give another --output'


@pytest.mark.parametrize('aligned', [False, True])
@pytest.mark.parametrize('exist', ['skip', 'overwrite'])
@pytest.mark.parametrize('progress', ['decide', 'restore', 'end'])
def test_of_two_runs_at_once_the_first_has_the_name(place, exist, aligned, progress):
    first, second = (place.file(f'{folder}/a.png') for folder in ('d1', 'd2'))
    runs = [place.begin(folder, exist=exist, aligned=aligned) for folder in ('d1', 'd2')]
    # However far the first one is when the second comes to the image.
    runs[0].restore() if progress != 'decide' else runs[0].decide()
    if progress == 'end':
        runs[0].end()
    jobs, ((status, reason),) = runs[1].decide()
    assert (jobs, status) == ([], 'failed')
    assert reason.startswith(f'{second}: ')
    assert f'is the result of {first}, which another run restores at the same time; give another --output' in reason


def test_of_two_runs_at_once_the_names_are_those_of_files(place):
    place.file('d1/a.png')
    place.file('d2/a.jpg')
    runs = [place.begin('d1'), place.begin('d2')]
    assert runs[0].decide() == (['a.png'], [])
    # The images differ in their suffix, the faces do not.
    assert 'restored_faces/a_00.png is the result of' in runs[1].decide()[1][0][1]


@pytest.mark.parametrize('exist', ['skip', 'overwrite'])
@pytest.mark.parametrize('progress', ['decide', 'restore', 'end'])
def test_runs_on_the_same_inputs_share_them(place, exist, progress):
    for name in 'abcd':
        place.file(f'in/{name}.png')
    runs = [place.begin('in', exist=exist), place.begin('in', exist=exist)]
    getattr(runs[0], 'decide' if progress == 'decide' else 'restore')()
    if progress == 'end':
        runs[0].end()
    done = ('skipped', None if (progress, exist) == ('none', 'skip') else SHARED)
    assert runs[1].decide() == ([], [done] * 4)


def test_runs_with_other_settings_at_once_do_not_share(place):
    path = place.file('in/a.png')
    runs = [place.begin('in', fidelity_weight=0.5), place.begin('in')]
    runs[0].decide()
    _, ((status, reason),) = runs[1].decide()
    assert (status, reason.partition('; ')[0]) == (
        'failed',
        f'{path}: another run makes restored_imgs/a.png at the same time with other settings (fidelity_weight 0.5)',
    )


def test_renaming_runs_at_once_take_different_names(place):
    place.file('in/a.png')
    runs = [place.begin('in', exist='rename') for _ in range(4)]
    names = [run.plan.decide(item).results.image.name for run in runs for item in run.inputs]
    assert names == ['a.png', 'a(1).png', 'a(2).png', 'a(3).png']


@pytest.mark.parametrize('recovered', [True, False])
def test_what_a_killed_run_had_begun_is_restored_by_the_next(place, recovered):
    place.file('d1/a.png')
    second = place.file('d2/a.png')
    place.begin('d1').decide()
    # Killed after the result had its name, and before the record was written.
    place.file('out/restored_imgs/a.png')
    place.runs[0].kill()
    if recovered:
        recover_killed_runs(place.out, [])
    assert place.begin('d1').decide() == (['a.png'], [])
    place.runs[1].kill()
    if recovered:
        recover_killed_runs(place.out, [])
    _, ((status, reason),) = place.begin('d2').decide()
    assert status == 'failed'
    assert reason.startswith(f'{second}: restored_imgs/a.png is the result of {place.folder / "d1/a.png"}')


def test_an_image_that_a_run_took_over_from_a_killed_one_is_its_own(place):
    place.file('in/a.png')
    runs = [place.begin('in') for _ in range(3)]
    runs[0].decide()
    runs[0].kill()
    assert runs[1].decide() == (['a.png'], [])
    assert runs[2].decide() == ([], [('skipped', SHARED)])


@pytest.mark.parametrize('error', [OSError(36, 'File name too long'), ValueError('embedded null byte')])
def test_a_name_that_makes_trouble_stops_no_other(place, error, monkeypatch):
    place.file('in/a.png')
    place.file('in/b.png')
    plan = Outputs.plan

    def trouble(self, item, *more):
        if item.path.name == 'a.png':
            raise error
        return plan(self, item, *more)

    monkeypatch.setattr(Outputs, 'plan', trouble)
    jobs, ((status, reason),) = place.plan('in')
    assert (jobs, status) == (['b.png'], 'failed')
    assert str(error) in reason
