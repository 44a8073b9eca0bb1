"""The wheel does what a clone does: it is built, installed, and run from an empty folder that no clone is near."""

import subprocess
import sys
import zipfile

import pytest
from processes import ROOT

SHORT = [
    '--force_yml',
    'train:total_iter=2',
    'val=~',
    'datasets:val=~',
    'logger:use_tb_logger=false',
    'datasets:train:num_worker_per_gpu=0',
]
SHORT += ['datasets:train:persistent_workers=false']

pytestmark = [pytest.mark.wheel, pytest.mark.timeout(600)]


def run(folder, *command, path=''):
    environment = {'PATH': '/usr/bin:/bin', 'OMP_NUM_THREADS': '1', 'HOME': str(folder), 'PYTHONPATH': str(path)}
    done = subprocess.run([sys.executable, *map(str, command)], cwd=folder, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    """The wheel and the sdist of this checkout."""
    folder = tmp_path_factory.mktemp('dist')
    run(folder, '-m', 'build', '--no-isolation', '-o', folder, ROOT)
    (wheel,), (sdist,) = folder.glob('*.whl'), folder.glob('*.tar.gz')
    return wheel, sdist


@pytest.fixture(scope='module')
def frex(built, tmp_path_factory):
    """A function that runs a program of the installed wheel in a folder."""
    place = tmp_path_factory.mktemp('installed')
    run(place, '-m', 'pip', 'install', '-q', '--no-deps', '--no-index', '--target', place, built[0])
    return lambda folder, program, *arguments: run(folder, place / 'bin' / program, *arguments, path=place)


@pytest.fixture
def trained(frex, tmp_path, face_folder):
    """A folder in which the wheel has trained on its own option file."""
    frex(tmp_path, 'frex', 'train', '-opt', 'options/train_frex_tiny.yml', *SHORT, f'datasets:train:dataroot_gt={face_folder}')
    return tmp_path


def test_it_holds_all_that_is_no_code(built):
    names = zipfile.ZipFile(built[0]).namelist()
    expected = {f'frex/option_files/{path.relative_to(ROOT / "options").as_posix()}' for path in (ROOT / 'options').rglob('*.yml')}
    expected |= {'frex/py.typed', 'frex_arch/py.typed', 'frex/weights/manifest.yml'}
    expected |= {path.relative_to(ROOT).as_posix() for path in (ROOT / 'frex').rglob('*.safetensors')}
    assert expected <= set(names)
    assert {name.split('/')[0] for name in names if '.dist-info' not in name} == {'frex', 'frex_arch'}


def test_the_package_index_would_take_both(built, tmp_path):
    assert run(tmp_path, '-m', 'twine', 'check', '--strict', *built).count('PASSED') == 2


def test_option_files_are_listed_and_copied(frex, tmp_path):
    assert 'options/train_frex.yml' in frex(tmp_path, 'frex', 'options', 'list').splitlines()
    frex(tmp_path, 'frex', 'options', 'copy', 'train_frex_tiny')
    assert (tmp_path / 'options/train_frex_tiny.yml').read_bytes() == (ROOT / 'options/train_frex_tiny.yml').read_bytes()


def test_what_it_trains_it_restores_with(trained, frex, face_folder):
    model = trained / 'experiments/train_frex_tiny/models/net_g_latest.pth'
    frex(trained, 'frex', 'restore', '-i', face_folder, '-o', 'out', '--model_path', model, '--aligned')
    assert len(list((trained / 'out/restored_faces').iterdir())) == 5


def test_basicsrs_program_trains(frex, tmp_path, face_folder):
    frex(tmp_path, 'basicsr', 'train', '-opt', 'options/train_frex_3d_tiny.yml', *SHORT, f'datasets:train:dataroot_gt={face_folder}')
    assert (tmp_path / 'experiments/train_frex_3d_tiny/models/net_g_latest.pth').exists()


def test_it_ablates(frex, tmp_path, face_folder):
    short = [*SHORT, f'datasets:train:dataroot_gt={face_folder}']
    base = ['--base', 'options/train_frex_tiny.yml', '--configurations', 'without_awb', '--seeds', 0]
    frex(tmp_path, 'frex', 'ablate', '--gt', face_folder, '-o', 'out', '--metrics', 'psnr', '--num_workers', 0, *base, *short)
    assert 'without_awb' in next((tmp_path / 'out').glob('*.md')).read_text()
