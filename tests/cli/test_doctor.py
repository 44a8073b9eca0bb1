"""`frex doctor` and what an installation without an extra says."""

import sys

import pytest
import torch

import frex
from frex.cli.main import main


def described(capsys, *arguments):
    assert main(['doctor', *map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_versions_and_devices_are_named(capsys):
    text = described(capsys)
    assert f'  frex {frex.__version__}\n' in text
    assert f'torch {torch.__version__}' in text
    assert '  basicsr 1.4.2\n' in text


def test_what_a_command_lacks_is_said_with_what_brings_it(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr('frex.utils.extras.find_spec', lambda name: None)
    monkeypatch.setattr('frex.weights.locate.search_paths', lambda folder: [tmp_path])
    lines = described(capsys, '--weights', tmp_path).splitlines()
    train = next(line for line in lines if line.startswith('  frex train: '))
    build = "pip install 'setuptools>=77,<82' && pip install --no-build-isolation 'frex[train]'"
    assert f'packages basicsr, lmdb, lpips, scipy: {build}; downloads when first needed' in train
    assert 'ffhqrebalanced512-128.pkl' in train
    export = next(line for line in lines if line.startswith('  frex export: '))
    assert export.endswith(": pip install 'frex[export]'")


@pytest.mark.parametrize('package', ['basicsr', 'scipy'])
def test_a_command_without_its_packages_is_one_line(package, capsys, monkeypatch, tmp_path):
    def lack(self, args):
        raise ModuleNotFoundError(f'No module named {package!r}', name=package)

    monkeypatch.setattr('frex.cli.train.read_options', lack)
    monkeypatch.chdir(tmp_path)
    assert main(['train', '-opt', 'options/train_frex_tiny.yml']) == 1
    assert capsys.readouterr().err == (
        f"frex: error: this command needs the package {package}, which is not installed: pip install 'frex[train]'\n"
    )


def test_another_missing_module_is_a_defect_and_shows_where(monkeypatch):
    monkeypatch.setitem(sys.modules, 'frex.training', None)
    with pytest.raises(ModuleNotFoundError):
        main(['train', '-opt', 'options/train_frex_tiny.yml'])


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit) as ended:
        main(['--version'])
    assert not ended.value.code
    assert capsys.readouterr().out == f'FREx {frex.__version__}\n'


def test_the_package_offers_the_restorer():
    assert frex.FaceRestorer.__module__ == 'frex.restore.faces.restorer'
    assert 'FaceRestorer' in dir(frex)
    with pytest.raises(AttributeError, match='NoSuch'):
        frex.NoSuch  # noqa: B018
