"""Tests of what happens to inputs whose results exist already. No image is read."""

from pathlib import Path

import pytest

from frex.restore.folder.inputs import find_inputs
from frex.restore.folder.outputs import Outputs
from frex.restore.folder.planning import Job, Plan, PreviousResults
from frex.restore.folder.report import FaceRecord, ImageRecord, Report, Run, absolute_name

SETTINGS = {'aligned': False, 'model_path': '/net.pth', 'fidelity_weight': 1.0, 'upscale': 1.0, 'batch_size': 4}
NOW = Run(settings=SETTINGS, started=1, ended=2)


@pytest.fixture
def place(tmp_path):
    """Helpers: `file` makes an empty file, and `plan` returns the jobs and records for inputs, given the records of the report."""

    class Place:
        folder = tmp_path
        out = tmp_path / 'out'

        def file(self, name):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            return path

        def made(self, name, run='one', **more):
            """Make the restored image of an input, and return its record."""
            self.file(f'out/restored_imgs/{Path(name).name}')
            return ImageRecord(
                input=absolute_name(tmp_path / name), status='restored', output=f'restored_imgs/{Path(name).name}', run=run, **more
            )

        def plan(self, *given, records=(), runs=(('one', NOW),), exist='skip', aligned=False):
            found = find_inputs([str(tmp_path / name) for name in given], recursive=False)
            previous = PreviousResults(Report(version=1, runs=dict(runs), images=list(records)), SETTINGS | {'aligned': aligned})
            plan = Plan(Outputs(self.out, exist=exist), previous, aligned, found)
            planned = [plan.decide(item) for item in found]
            jobs = [one.item.path.name for one in planned if isinstance(one, Job)]
            return jobs, [(one.status, one.reason) for one in planned if isinstance(one, ImageRecord)]

    return Place()


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
    assert place.plan('in') == ([], [('skipped', 'are not in the report: made elsewhere, or by a run that was killed')])


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


@pytest.mark.parametrize('error', [OSError(36, 'File name too long'), ValueError('embedded null byte')])
def test_a_name_that_makes_trouble_stops_no_other(place, error, monkeypatch):
    place.file('in/a.png')
    place.file('in/b.png')
    plan = Outputs.plan

    def trouble(self, item, aligned):
        if item.path.name == 'a.png':
            raise error
        return plan(self, item, aligned)

    monkeypatch.setattr(Outputs, 'plan', trouble)
    jobs, ((status, reason),) = place.plan('in')
    assert (jobs, status) == (['b.png'], 'failed')
    assert str(error) in reason
