"""The flags of the network for the background, from the options to the written image."""

from pathlib import PurePosixPath

import numpy as np
import pytest
from fake_detector import detected, landmarks_at, smooth
from fake_restorer import fake_restorer

from frex.images import read_image, write_image
from frex.restore.folder import restore_folder
from frex.restore.folder.inputs import Input
from frex.restore.folder.options import RestoreOptions
from frex.restore.folder.outputs import Outputs
from frex.restore.folder.planning import Job
from frex.restore.folder.restore_folder import flag_notes, load_run_upsampler
from frex.restore.folder.stages import Photographs

FACE = detected(landmarks_at(160, 100, 120), 0.99)


def white(image, size):
    return np.full((size[1], size[0], 3), 255, np.uint8)


@pytest.fixture
def restored(tmp_path):
    def restored(**flags):
        path = tmp_path / 'photo.png'
        write_image(path, smooth(200, 320))
        options = RestoreOptions(input=(str(path),), output=tmp_path / 'out', upscale=2, **flags)
        stages = Photographs(fake_restorer(FACE, change=lambda lq: 0 * lq), options, white)
        job = Job(item := Input(path, PurePosixPath('photo')), Outputs(options.output).results(item))
        loaded = stages.prepare(job)
        record = stages.finish(loaded, stages.restore(loaded.faces))
        return read_image(options.output / record.output), record.notes

    return restored


def test_the_network_enlarges_the_background_and_not_the_face(restored):
    image, notes = restored(bg_upsampler='net.pth')
    assert (image[0] == 255).all()
    # The restored face is grey.
    assert (abs(image[200, 320].astype(int) - 128) <= 1).all()
    assert any('enlarged' in note for note in notes)


def test_it_enlarges_faces_alone_where_only_that_is_asked_for(restored):
    image, notes = restored(face_upsample=True)
    assert not (image[0] == 255).any()
    assert (image[200, 320] == 255).all()
    assert not any('enlarged' in note for note in notes)


@pytest.mark.parametrize(
    ('flags', 'loaded'),
    [
        ({'bg_upsampler': 'None', 'face_upsample': True}, 'realesrgan_x2plus'),
        ({'bg_upsampler': 'net.pth', 'face_upsample': True}, 'net.pth'),
    ],
)
def test_the_network_that_is_loaded(flags, loaded, monkeypatch):
    names = []
    monkeypatch.setattr(restore_folder, 'load_upsampler', lambda name, *_: names.append(name))
    load_run_upsampler(RestoreOptions(input=('x',), **flags), fake_restorer())
    assert names == [loaded]


def test_by_default_none_is_loaded(monkeypatch):
    monkeypatch.setattr(restore_folder, 'load_upsampler', None)
    assert load_run_upsampler(RestoreOptions(input=('x',)), fake_restorer()) is None


def test_aligned_faces_load_none_and_a_line_says_so(monkeypatch):
    monkeypatch.setattr(restore_folder, 'load_upsampler', None)
    options = RestoreOptions(input=('x',), aligned=True, bg_upsampler='realesrgan')
    assert load_run_upsampler(options, fake_restorer()) is None
    assert any('--bg_upsampler' in note for note in flag_notes(options))
