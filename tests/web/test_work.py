"""The work behind the page: it is `frex restore`, and its results are those of the command."""

import json
import threading
import zipfile
from dataclasses import fields

import numpy as np
import pytest
from restore_command import files, names
from restore_command import run as command
from tiny import tiny_frex, tiny_network_options
from trained_priors import save_opaque_network

from frex.errors import FRExError
from frex.images import read_image
from frex.web.options import WebOptions
from frex.web.work import SMALL, WebRestorer
from frex.weights.network_file import save_checkpoint


@pytest.fixture
def trained_prior(tmp_path, monkeypatch):
    """A checkpoint whose 3D prior is opaque and not as it was at the start of training, and meshes of few points."""
    monkeypatch.setattr('frex.web.run.GRID', 16)
    return save_opaque_network(tmp_path / 'net_g.pth')


def test_the_results_are_those_of_the_command(work, session, upload, small_model, tmp_path):
    photos = [session.add(upload('a.png')).path, session.add(upload('b.jpg', seed=2)).path]
    made = work.restore(session, SMALL, upscale=2.0, fidelity_weight=0.5)
    flags = ['--model_path', small_model, '-s', 2, '-w', 0.5, '--device', 'cpu']
    assert command('-i', *photos, '-o', tmp_path / 'out', *flags) == 0
    assert files(made.options.output) == files(tmp_path / 'out')
    for name in files(tmp_path / 'out'):
        if name != 'report.json':
            assert (made.options.output / name).read_bytes() == (tmp_path / 'out' / name).read_bytes(), name
    assert [(record.status, len(record.faces)) for record in made.records] == [('restored', 2), ('restored', 2)]


def test_another_weight_makes_another_result_in_place_of_the_first(work, session, upload):
    session.add(upload('a.png'))
    first = work.restore(session, SMALL)
    before = read_image(first.options.output / 'restored_imgs/a.png')
    second = work.restore(session, SMALL, fidelity_weight=0.0)
    assert not np.array_equal(read_image(second.options.output / 'restored_imgs/a.png'), before)
    assert not first.folder.exists()


def test_records_come_in_the_order_of_the_uploads(work, session, upload):
    for seed, name in enumerate(('z.png', 'a.png', 'm.png')):
        session.add(upload(name, seed=seed))
    made = work.restore(session, SMALL)
    assert [record.input.rpartition('/')[2] for record in made.records] == ['z.png', 'a.png', 'm.png']


def test_the_archive_holds_all_results_and_the_report(work, session, upload):
    session.add(upload('a.png'))
    made = work.restore(session, SMALL)
    with zipfile.ZipFile(made.archive) as archive:
        assert sorted(archive.namelist()) == files(made.options.output)
        assert json.loads(archive.read('report.json'))['pictures'][0]['status'] == 'restored'
        assert archive.read('restored_imgs/a.png') == (made.options.output / 'restored_imgs/a.png').read_bytes()


def test_before_and_after_are_shown_at_the_size_of_the_result_up_to_a_bound(work, session, upload, monkeypatch):
    session.add(upload('a.png'))
    made = work.restore(session, SMALL, upscale=2.0)
    assert [read_image(path).shape for path in made.before_and_after(0)] == [(400, 600, 3)] * 2
    assert np.array_equal(read_image(made.before_and_after(0)[1]), read_image(made.options.output / 'restored_imgs/a.png'))
    monkeypatch.setattr('frex.web.run.SHOWN_SIDE', 150)
    made = work.restore(session, SMALL, upscale=2.0)
    assert [read_image(path).shape for path in made.before_and_after(0)] == [(100, 150, 3)] * 2


def test_an_aligned_face_is_shown_before_and_after_too(work, session, upload):
    session.add(upload('a.png', 80, 80))
    made = work.restore(session, SMALL, aligned=True)
    assert [path.parent.name for path in made.before_and_after(0)] == ['cropped_faces', 'restored_faces']


def test_an_image_that_fails_stops_nothing(work, session, upload):
    session.add(upload('wide.png'))
    session.add(upload('square.png', 80, 80, seed=2))
    made = work.restore(session, SMALL, aligned=True)
    assert [record.status for record in made.records] == ['failed', 'restored']
    assert 'is not square' in made.records[0].reason
    assert made.before_and_after(0) is None


def test_bad_choices_are_refused_in_one_line(work, session, upload):
    with pytest.raises(FRExError, match='nothing to restore'):
        work.restore(session, SMALL)
    session.add(upload('a.png'))
    with pytest.raises(FRExError, match='scaled by 5 is more than the 1 million pixels'):
        work.restore(session, SMALL, upscale=5.0)
    with pytest.raises(FRExError, match='--det_threshold 2'):
        work.restore(session, SMALL, det_threshold=2.0)
    with pytest.raises(FRExError, match='not a model of this page'):
        work.restore(session, '/etc/passwd')


def test_the_models_are_the_small_one_and_those_that_are_given(small_model, checkpoint):
    assert WebRestorer(WebOptions()).models == (SMALL,)
    work = WebRestorer(WebOptions(model_path=(str(checkpoint),), device='cpu'))
    assert work.models == (SMALL, str(checkpoint))
    assert work.load(str(checkpoint)) is work.load(str(checkpoint)) is not work.load(SMALL)


def test_without_the_small_model_the_given_ones_are_offered(no_small_model, checkpoint):
    assert WebRestorer(WebOptions(model_path=(str(checkpoint),))).models == (str(checkpoint),)
    nothing = WebRestorer(WebOptions())
    with pytest.raises(FRExError, match='give a FREx checkpoint by --model_path'):
        nothing.load(nothing.models[0])


def test_images_of_two_tabs_are_restored_one_after_the_other(work, sessions, upload, monkeypatch):
    running, most = [], []

    def restore(options, restorer):
        running.append(options)
        most.append(len(running))
        threading.Event().wait(0.05)
        running.pop()

    monkeypatch.setattr('frex.web.work.restore_folder', restore)
    monkeypatch.setattr('frex.web.work.read_records', lambda run: [])
    monkeypatch.setattr('frex.web.work.pack_results', lambda run: None)
    opened = [sessions.get(str(number)) for number in range(3)]
    for number, session in enumerate(opened):
        session.add(upload('a.png', seed=number))
    threads = [threading.Thread(target=work.restore, args=(session, SMALL)) for session in opened]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1]


def test_heads_are_recovered_on_demand(detector, trained_prior, session, upload, small_model):
    work = WebRestorer(WebOptions(model_path=(str(trained_prior),), device='cpu'))
    session.add(upload('a.png'))
    session.add(upload('b.png', seed=2))
    made = work.restore(session, str(trained_prior), upscale=2.0)
    assert made.has_heads
    assert made.mesh(made.records[1].faces[0]) is None
    assert work.recover_heads(session, 1) == []
    faces = made.records[1].faces
    assert [made.mesh(face).name for face in faces] == ['b_00.glb', 'b_01.glb']
    assert [made.mesh(face).read_bytes()[:4] for face in faces] == [b'glTF'] * 2
    assert all(made.file(face, 'depth').is_file() for face in faces)
    assert [made.mesh(face) for face in made.records[0].faces] == [None, None]
    assert names(made.options.output / 'restored_imgs') == ['a.png', 'b.png']
    assert read_image(made.options.output / 'restored_imgs/b.png').shape == (400, 600, 3)
    with zipfile.ZipFile(made.archive) as archive:
        assert {'heads/b_00.glb', 'depth/b_00.png', 'codes/b_01.safetensors'} <= set(archive.namelist())


def test_a_head_without_a_surface_has_a_line_that_says_so(detector, trained_prior, session, upload, small_model, monkeypatch):
    work = WebRestorer(WebOptions(model_path=(str(trained_prior),), device='cpu'))
    session.add(upload('a.png'))
    work.restore(session, str(trained_prior))

    def fail(eg3d, head, grid):
        raise FRExError('no mesh: nothing there')

    monkeypatch.setattr('frex.web.run.extract_mesh', fail)
    assert work.recover_heads(session, 0) == ['face 0: no mesh: nothing there', 'face 1: no mesh: nothing there']


def test_a_random_prior_has_no_heads(work, session, upload, tmp_path):
    net = tiny_frex()
    path = tmp_path / 'random.pth'
    save_checkpoint(path, {'params_ema': net.state_dict()}, {'network_g': {'type': 'FREx', **tiny_network_options()}})
    work = WebRestorer(WebOptions(model_path=(str(path),), device='cpu'))
    session.add(upload('a.png'))
    made = work.restore(session, str(path))
    assert not made.has_heads
    with pytest.raises(FRExError, match='never trained'):
        work.recover_heads(session, 0)


def test_the_limits_reach_the_sessions():
    assert {field.name for field in fields(WebOptions)} >= {'host', 'port', 'model_path'}
    limits = WebOptions(most_files=2, most_megabytes=3, most_megapixels=4).limits
    assert (limits.files, limits.megabytes, limits.pixels) == (2, 3, 4_000_000)
