"""The predictor for Cog, by a module that stands in for Cog, and `cog.yaml`, which names it."""

import inspect
import pathlib
import re
import sys
from importlib import import_module
from types import ModuleType

import numpy as np
import pytest
import yaml
from fake_detector import detected, landmarks_at, smooth
from fake_restorer import fake_restorer
from processes import ROOT

from frex.errors import FRExError
from frex.images import read_image, write_image
from frex.restore import FaceRestorer

COG = yaml.safe_load((ROOT / 'cog.yaml').read_text())


class StandInPath(type(pathlib.Path())):
    """As Cog's, a path."""


def stand_in_input(default=None, **constraints):
    """Return the default, where Cog returns a description of the input; a path in place of none, which only images lack."""
    assert constraints['description']
    assert constraints.keys() <= {'description', 'ge', 'le', 'choices'}
    return StandInPath() if default is None else default


@pytest.fixture
def module(monkeypatch):
    """The module `frex.predict` where a stand-in of cog is installed."""
    cog = ModuleType('cog')
    cog.BasePredictor, cog.Input, cog.Path = object, stand_in_input, StandInPath
    monkeypatch.setitem(sys.modules, 'cog', cog)
    monkeypatch.delitem(sys.modules, 'frex.predict', raising=False)
    yield import_module('frex.predict')
    sys.modules.pop('frex.predict', None)


@pytest.fixture
def restorer(monkeypatch, bare_machine):
    """A restorer whose network inverts, and which finds one face; it is what checkpoints lead to."""
    restorer = fake_restorer(detected(landmarks_at(150, 100, 90)), change=lambda lq: -lq)
    restorer.paths = []
    monkeypatch.setattr(FaceRestorer, 'from_pretrained', lambda path: restorer.paths.append(path) or restorer)
    return restorer


@pytest.fixture
def predictor(module, restorer):
    """A predictor that is set up."""
    predictor = module.Predictor()
    predictor.setup()
    return predictor


@pytest.fixture
def photo(tmp_path):
    """A photograph of 300 x 200 pixels."""
    write_image(tmp_path / 'photo.png', smooth(200, 300))
    return StandInPath(tmp_path / 'photo.png')


def test_the_small_frex_is_the_default_and_a_variable_names_another(module, restorer, monkeypatch):
    module.Predictor().setup()
    monkeypatch.setenv('FREX_MODEL', 'owner/name')
    module.Predictor().setup()
    assert restorer.paths == [None, 'owner/name']


def test_a_photograph_is_restored_at_the_scale(predictor, restorer, photo, capsys):
    result = predictor.predict(photo)
    assert isinstance(result, StandInPath)
    assert result.suffix == '.png'
    expected = restorer.restore(str(photo), upscale=2).image
    assert expected.shape == (400, 600, 3)
    np.testing.assert_array_equal(read_image(result), expected)
    assert re.search(r'^face at \[\d+, \d+, \d+, \d+\]: restored$', capsys.readouterr().out, re.MULTILINE)
    again = predictor.predict(photo, scale=0.5)
    assert again != result
    assert read_image(again).shape == (100, 150, 3)


def test_weights_and_selection_reach_the_network(predictor, restorer, photo):
    restorer.parts.detector().faces += (detected(landmarks_at(60, 60, 90)),)
    restorer.net.calls.clear()
    predictor.predict(photo, fidelity=0.25, structure=0.75)
    predictor.predict(photo, only_center_face=True)
    assert [(faces, fidelity, structure) for faces, _, fidelity, structure in restorer.net.calls] == [(2, 0.25, 0.75), (1, 1.0, 1.0)]


def test_an_aligned_face_needs_no_detector(predictor, restorer, tmp_path):
    face = smooth(64, 64)
    write_image(tmp_path / 'face.png', face)
    asked = len(restorer.parts.detector().asked)
    np.testing.assert_array_equal(read_image(predictor.predict(StandInPath(tmp_path / 'face.png'), aligned=True)), 255 - face)
    assert len(restorer.parts.detector().asked) == asked


def test_a_photograph_without_faces_is_scaled_and_told(predictor, restorer, photo, capsys):
    restorer.parts.detector().faces = ()
    assert read_image(predictor.predict(photo)).shape == (400, 600, 3)
    assert 'no face found' in capsys.readouterr().out


def test_the_background_is_enlarged_by_one_network_for_all_predictions(predictor, module, photo, monkeypatch):
    loaded = []

    class Grey(module.NetworkUpsampler):
        def __init__(self):
            pass

        def __call__(self, image, size):
            return np.full((size[1], size[0], 3), 128, np.uint8)

    monkeypatch.setattr(module, 'load_upsampler', lambda name, device: loaded.append((name, device.type)) or Grey())
    results = [read_image(predictor.predict(photo, background_enhance=True)) for _ in range(2)]
    assert loaded == [('realesrgan_x2plus', 'cpu')]
    # Far from the face.
    assert (results[1][:20, :20] == 128).all()


def test_a_file_that_is_no_image_is_one_line(predictor, tmp_path):
    (tmp_path / 'text.png').write_text('no image')
    with pytest.raises(FRExError, match=r'text\.png'):
        predictor.predict(StandInPath(tmp_path / 'text.png'))


# --- cog.yaml


def test_cog_finds_the_predictor(module):
    path, name = COG['predict'].split(':')
    assert (ROOT / path).samefile(module.__file__)
    predictor = getattr(module, name)
    parameters = inspect.signature(predictor.predict).parameters
    assert list(parameters)[:2] == ['self', 'image']
    # Cog takes the types of inputs from the annotations.
    assert all(parameter.annotation in (StandInPath, float, bool) for parameter in list(parameters.values())[1:])


def test_the_packages_are_those_of_restoring_in_the_tested_versions():
    project = (ROOT / 'pyproject.toml').read_text()
    needed = re.findall(r'^    "([\w-]+)>=', project.split('\ndependencies = [')[1].split('\n]')[0], re.MULTILINE)
    tested = {}
    for line in (ROOT / 'constraints.txt').read_text().splitlines():
        package, _, marker = line.partition('; ')
        if '==' in package and '<' not in marker:
            tested[package.partition('==')[0].lower()] = package.lower()
    assert COG['build']['python_version'] == '3.11'
    assert COG['build']['python_packages'] == [tested[name] for name in [*needed, 'spandrel']]


def test_the_libraries_are_those_of_the_dockerfile():
    assert ' '.join(COG['build']['system_packages']) in (ROOT / 'Dockerfile').read_text()
