"""Consoles that are not UTF-8: tables, messages and file names are written as far as the console has their characters."""

import io
import os
import subprocess
import sys
from contextlib import contextmanager

import cv2
import numpy as np
import pytest
from processes import ROOT
from scored_folders import clean, off_by, write

from frex.cli.main import main

ENCODINGS = ('ascii', 'cp1252', 'cp932')
# A method's name, and a name for files, with characters that some of the encodings lack.
METHOD, FILE = 'Grün ✓', 'Zoë 図'


@contextmanager
def console(encoding, monkeypatch):
    """Give standard streams of an encoding, which refuse other characters; yield both."""
    output, errors = (io.TextIOWrapper(io.BytesIO(), encoding, errors='strict', write_through=True) for _ in range(2))
    with monkeypatch.context() as patch:
        patch.setattr(sys, 'stdout', output)
        patch.setattr(sys, 'stderr', errors)
        yield output, errors


def written(stream):
    """Return the bytes that were written to a stream."""
    return stream.buffer.getvalue()


@pytest.mark.parametrize('encoding', ENCODINGS)
def test_a_table_and_its_files_are_written(encoding, tmp_path, monkeypatch, weights_folder):
    write(tmp_path / 'gt/a.png', clean(0))
    write(tmp_path / 'ours/a.png', off_by(clean(0), 2))
    write(tmp_path / 'same/a.png', clean(0))
    restored = [f'{METHOD}={tmp_path / "ours"}', f'same={tmp_path / "same"}']
    command = ['evaluate', '--gt', str(tmp_path / 'gt'), '--metrics', 'psnr', '--device', 'cpu', '--num_workers', '0']
    with console(encoding, monkeypatch) as (output, errors):
        assert main([*command, '--restored', *restored, '--markdown', str(tmp_path / 'table.md'), '--csv', str(tmp_path / 'm.csv')]) == 0
    text = written(output).decode(encoding)
    # The file is UTF-8 wherever it is written.
    table = (tmp_path / 'table.md').read_text(encoding='utf-8')
    assert f'| {METHOD} ' in table
    assert 'PSNR ↑' in table
    assert METHOD in (tmp_path / 'm.csv').read_text(encoding='utf-8')
    shown = {'ascii': 'Gr\\xfcn \\u2713', 'cp1252': 'Grün \\u2713', 'cp932': 'Gr\\xfcn \\u2713'}[encoding]
    assert f'| {shown} ' in text
    assert ('PSNR ↑' if encoding == 'cp932' else 'PSNR ^') in text
    assert ('∞' if encoding == 'cp932' else '**inf**') in text
    assert b'Traceback' not in written(errors)


@pytest.mark.parametrize('encoding', ENCODINGS)
def test_images_are_restored_whatever_their_names(encoding, tmp_path, monkeypatch, checkpoint):
    (tmp_path / 'faces').mkdir()
    image = cv2.imencode('.png', np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))[1].tobytes()
    (tmp_path / f'faces/{FILE}.png').write_bytes(image)
    (tmp_path / f'faces/{FILE} damaged.png').write_bytes(image[:99])
    command = ['restore', '-i', str(tmp_path / 'faces'), '-o', str(tmp_path / 'out'), '--model_path', str(checkpoint), '--aligned']
    with console(encoding, monkeypatch) as (output, errors):
        assert main([*command, '--device', 'cpu', '--offline']) == 1
    assert (tmp_path / f'out/restored_faces/{FILE}_00.png').is_file() or (tmp_path / f'out/restored_faces/{FILE}.png').is_file()
    assert FILE in (tmp_path / 'out/report.json').read_text(encoding='utf-8')
    text = (written(output) + written(errors)).decode(encoding)
    assert f'{FILE} damaged.png'.encode(encoding, 'backslashreplace').decode(encoding) in text
    assert 'Traceback' not in text


@pytest.mark.parametrize('encoding', ENCODINGS)
def test_errors_are_written(encoding, monkeypatch):
    with console(encoding, monkeypatch) as (_, errors):
        assert main(['options', 'copy', FILE]) == 1
    assert f'frex: error: no option file {FILE} comes'.encode(encoding, 'backslashreplace') in written(errors)


# The locale of POSIX, where Python may not choose UTF-8 by itself.
POSIX = {'LC_ALL': 'C', 'PYTHONUTF8': '0', 'PYTHONCOERCECLOCALE': '0'}


@pytest.mark.parametrize(
    'environment', [{'PYTHONIOENCODING': 'ascii'}, {'PYTHONIOENCODING': 'cp1252:strict'}, POSIX], ids=['ascii', 'cp1252', 'POSIX']
)
@pytest.mark.slow
def test_a_process_of_such_a_locale_reads_and_writes_files_of_any_name(environment, tmp_path):
    write(tmp_path / f'{FILE}/{FILE}.png', clean(0, 64))
    command = [sys.executable, '-m', 'frex', 'degrade', FILE, '-o', f'{FILE} out', '--num_workers', '0']
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | environment | {'PYTHONPATH': str(ROOT)}, capture_output=True)
    assert done.returncode == 0, done.stderr.decode(errors='replace')[-1500:]
    assert [path.name for path in (tmp_path / f'{FILE} out/images').iterdir()] == [f'{FILE}.png']
