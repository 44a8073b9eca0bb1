"""Files are read through one door, which neither waits for a pipe nor ends in a traceback."""

import os
import pickle
import re
import shutil
import socket
from pathlib import Path

import pytest
from scored_folders import write_yaw_labels

from frex.cli.main import main
from frex.errors import FRExError
from frex.images import read_image
from frex.utils.files import MissingFileError, UnreadableFileError, open_regular, read_regular, read_start, sha256

READERS = [read_regular, sha256, lambda path: read_start(path, 8), lambda path: open_regular(path).close()]
# Linux calls it a regular file; reading its first bytes is an error of the device.
EIO = Path('/proc/self/mem')


@pytest.fixture
def special(tmp_path):
    """Return paths of what is no file, by the word for it."""
    os.mkfifo(tmp_path / 'pipe')
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'link').symlink_to('pipe')
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / 'socket'))
    return {
        tmp_path / 'pipe': 'a named pipe',
        tmp_path / 'link': 'a named pipe',
        tmp_path / 'socket': 'a socket',
        tmp_path / 'folder': 'a folder',
        Path('/dev/zero'): 'a device',
        Path('/dev/full'): 'a device',
    }


@pytest.mark.parametrize('read', READERS)
def test_what_is_no_file_is_refused_at_once(read, special):
    for path, what in special.items():
        with pytest.raises(UnreadableFileError, match=rf'^{path}: cannot be read \({what}, not a file\)$'):
            read(path)


def test_a_file_is_read(tmp_path):
    path = tmp_path / 'a'
    path.write_bytes(b'0123456789')
    assert (read_regular(path), read_start(path, 4), read_start(path, 99)) == (b'0123456789', b'0123', b'0123456789')
    assert sha256(path).startswith('84d89877')


@pytest.mark.parametrize('read', READERS)
def test_missing_and_forbidden_files_are_one_line(read, tmp_path, monkeypatch):
    with pytest.raises(MissingFileError, match=rf'^{tmp_path / "a"}: no such file$'):
        read(tmp_path / 'a')
    (tmp_path / 'a').touch()

    def forbidden(path, flags):
        raise PermissionError(13, 'Permission denied', path)

    monkeypatch.setattr('frex.utils.files._open_without_waiting', forbidden)
    with pytest.raises(FRExError, match=rf'^{tmp_path / "a"}: cannot be read \(Permission denied\)$') as error:
        read(tmp_path / 'a')
    # Who expects an OSError gets one.
    assert isinstance(error.value, OSError)
    assert error.value.strerror == 'Permission denied'


def test_the_errors_come_out_of_other_processes(special, tmp_path):
    """Once by pickle, as a pool sends them, and for images once by the text, as torch's loaders do."""
    for path in (*special, tmp_path / 'missing'):
        with pytest.raises(OSError, match=str(path)) as error:
            read_regular(path)
        again = pickle.loads(pickle.dumps(error.value))  # noqa: S301
        assert (type(again), str(again), again.strerror) == (type(error.value), str(error.value), error.value.strerror)
        with pytest.raises(FRExError) as of_image:
            read_image(path)
        assert str(type(of_image.value)(str(of_image.value))) == str(error.value)


@pytest.mark.parametrize('kind', ['pipe', 'socket', 'device'])
def test_what_is_no_image_in_a_folder_of_images_is_named(kind, tmp_path, face_folder, capsys, monkeypatch):
    faces = shutil.copytree(face_folder, tmp_path / 'faces')
    monkeypatch.chdir(faces)
    path = faces / 'x.png'
    if kind == 'pipe':
        os.mkfifo(path)
    elif kind == 'device':
        path.symlink_to('/dev/zero')
    else:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind('x.png')
    folder, labels = str(faces), write_yaw_labels(tmp_path, {f'{path.name}': 0.0 for path in faces.iterdir()})
    commands = [
        ['evaluate', '--restored', f'A={folder}', '--gt', folder, '--metrics', 'psnr', '--device', 'cpu', '--num_workers', '0'],
        ['degrade', folder, '-o', str(tmp_path / 'out'), '--size', '64', '--num_workers', '0'],
        ['cameras', 'preview', folder, str(labels), '-o', str(tmp_path / 'preview')],
    ]
    for command in commands:
        assert main(command) == 1, command
        last = capsys.readouterr().err.splitlines()[-1]
        assert re.search(rf'{path}: cannot be read \(a (named )?{kind}, not a file\)$', last)


@pytest.mark.skipif(not EIO.exists(), reason='Linux alone has such a file')
@pytest.mark.parametrize('read', READERS[:3])
def test_an_error_of_the_device_is_one_line(read):
    with pytest.raises(UnreadableFileError, match=r'cannot be read \(Input/output error\)'):
        read(EIO)


COMMANDS = [
    ('weights', 'check', '{}'),
    ('weights', 'convert', '{}', '{folder}/b.safetensors'),
    ('weights', 'grow', '{}', '{folder}/b.safetensors'),
    ('restore', '-i', '{image}', '-o', '{folder}/out', '--model_path', '{}'),
    ('restore', '-i', '{}.txt', '-o', '{folder}/out', '--model_path', '{}'),
    ('train', '-opt', '{}.yml'),
]


@pytest.mark.parametrize('command', COMMANDS, ids=lambda command: ' '.join(command[:2]))
@pytest.mark.parametrize('fault', ['pipe', 'forbidden', 'device'])
def test_commands_end_with_one_line(command, fault, tmp_path, monkeypatch, capsys, face_folder):
    path = tmp_path / 'a'
    for suffix in ('', '.txt', '.yml'):
        file = tmp_path / f'a{suffix}'
        if fault == 'pipe':
            os.mkfifo(file)
        elif fault == 'device' and EIO.exists():
            file.symlink_to(EIO)
        else:
            file.write_bytes(b'{}')
    if fault == 'forbidden':
        allowed = os.open

        def forbid(name, flags, *more, **named):
            if os.fspath(name).startswith(os.fspath(path)):
                raise PermissionError(13, 'Permission denied', name)
            return allowed(name, flags, *more, **named)

        monkeypatch.setattr('os.open', forbid)
    image = next(face_folder.glob('*.png'))
    status = main([part.replace('{}', str(path)).format(folder=tmp_path, image=image) for part in command])
    assert status == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert 'a named pipe' in lines[0] if fault == 'pipe' else lines[0]
    assert str(path) in lines[0]
    assert not any('Traceback' in line for line in lines)


def test_a_pipe_in_place_of_the_report_does_not_hang_a_run(checkpoint, face_folder, tmp_path, capsys):
    (tmp_path / 'out').mkdir()
    os.mkfifo(tmp_path / 'out/report.json')
    command = [
        'restore',
        '-i',
        str(face_folder),
        '-o',
        str(tmp_path / 'out'),
        '--model_path',
        str(checkpoint),
        '--aligned',
        '--device',
        'cpu',
    ]
    assert main(command) == 1
    assert 'report.json: not a report of this program' in capsys.readouterr().err
