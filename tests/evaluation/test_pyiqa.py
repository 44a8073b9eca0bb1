"""`frex evaluate --pyiqa`: an outside scorer in a process of its own. A small package stands in for pyiqa."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from processes import ROOT
from scored_folders import QUICK, clean, off_by, run, write

from frex.errors import FRExError
from frex.evaluation import Settings, evaluate
from frex.evaluation.pyiqa_scorer import start_pyiqa

# What FREx uses of pyiqa: two metrics, whose scores say what they were given.
STAND_IN = """
import os, socket

__version__ = '9.8.7'
print('noise on standard output')


def list_models():
    return ['musiq', 'psnrlike', 'downloads', 'dies', 'fails', 'draws']


class Metric:
    def __init__(self, name, device):
        self.name, self.device = name, device
        self.lower_better = name == 'psnrlike'
        self.metric_mode = 'FR' if name == 'psnrlike' else 'NR'

    def __call__(self, image, reference=None):
        assert image.device.type == self.device and str(image.dtype) == 'torch.float32' and image.ndim == 4
        if self.name == 'dies':
            os._exit(5)
        if self.name == 'fails':
            raise ValueError('an image\\nof a kind that it does not take')
        if self.name == 'draws':
            return image.new_empty(1).uniform_()
        if self.name == 'psnrlike':
            return (image - reference).abs().mean() * 255
        # Red alone.
        assert reference is None
        return image[:, 0].mean()[None]


def create_metric(name, device):
    if name == 'downloads':
        socket.create_connection(('192.0.2.1', 80), timeout=1)
    return Metric(name, device)
"""


@pytest.fixture
def pyiqa(tmp_path, monkeypatch):
    """Put the stand-in where Python processes find it; return its folder."""
    (tmp_path / 'packages/pyiqa').mkdir(parents=True)
    (tmp_path / 'packages/pyiqa/__init__.py').write_text(STAND_IN)
    monkeypatch.setenv('PYTHONPATH', str(tmp_path / 'packages'))
    return tmp_path / 'packages'


def named(*names, **changes):
    """The quick settings with these metrics of pyiqa."""
    return Settings(**{**{key: getattr(QUICK, key) for key in ('metrics', 'num_workers', 'device')}, 'pyiqa': names, **changes})


def test_its_columns_stand_behind_those_of_table_1_and_name_it(folders, pyiqa, capfd):
    assert run(folders, '--metrics', 'psnr', 'ssim', '--pyiqa', 'psnrlike', 'musiq', '--json', folders / 'all.json') == 0
    out = capfd.readouterr().out
    (head,) = [line for line in out.splitlines() if line.startswith('| Method') and 'SSIM' in line and 'pyiqa' in line][:1]
    assert [cell.strip() for cell in head.strip('|').split('|')] == [
        'Method',
        'PSNR ↑',
        'SSIM ↑',
        'psnrlike (pyiqa 9.8.7) ↓',
        'musiq (pyiqa 9.8.7) ↑',
    ]
    assert 'noise' not in out
    assert '- psnrlike (pyiqa 9.8.7): psnrlike of pyiqa 9.8.7 with its defaults, run outside of FREx' in out
    told = json.loads((folders / 'all.json').read_text())
    assert [(metric['key'], metric['better']) for metric in told['metrics'][2:]] == [('pyiqa_psnrlike', 'lower'), ('pyiqa_musiq', 'higher')]


def test_it_scores_the_pixels_that_the_other_metrics_score(folders, pyiqa):
    for name in ('a/one', 'a/two', 'b/one', 'three'):
        write(folders / 'lq' / f'{name}.png', np.full((7, 7, 3), (10, 20, 30), np.uint8))
    found = evaluate({'A': [folders / 'A']}, folders / 'gt', folders / 'lq', settings=named('psnrlike', 'musiq'))
    bilinear, method, gt = found.rows
    # The errors of A; degraded images are resized as for the other metrics.
    np.testing.assert_allclose(method.runs[0].scores['pyiqa_psnrlike'], [2, 4, 6, 8], atol=1e-4)
    np.testing.assert_allclose(bilinear.runs[0].scores['pyiqa_musiq'], [30 / 255] * 4, atol=1e-6)
    expected = [clean(number)[:, :, 2].mean() / 255 for number in range(4)]
    np.testing.assert_allclose(gt.runs[0].scores['pyiqa_musiq'], expected, atol=1e-6)
    summary = method.summaries['pyiqa_psnrlike'][0]
    assert summary.mean == pytest.approx(5, abs=1e-4)
    assert summary.low < 5 < summary.high
    assert list(method.summaries) == ['psnr', 'pyiqa_psnrlike', 'pyiqa_musiq']


def test_this_process_never_imports_it(folders, pyiqa):
    evaluate({'A': [folders / 'A']}, folders / 'gt', settings=named('musiq'))
    assert 'pyiqa' not in sys.modules
    imports = re.compile(r'^\s*(import|from) pyiqa\b', re.MULTILINE)
    assert [path for path in (ROOT / 'frex').rglob('*.py') if imports.search(path.read_text())] == []


@pytest.mark.parametrize(
    ('names', 'message'),
    [
        (['musik'], "--pyiqa musik: unknown to this pyiqa; did you mean 'musiq'?"),
        (['fails'], r'--pyiqa: pyiqa failed: ValueError: an image\nof a kind that it does not take'),
        (['musiq', 'dies'], f'--pyiqa: the process of {sys.executable} ended with status 5'),
    ],
    ids=['unknown', 'fails', 'dies'],
)
def test_a_failure_is_one_line(names, message, folders, pyiqa, capfd):
    assert run(folders, '--metrics', 'psnr', '--pyiqa', *names) == 1
    told = [line for line in capfd.readouterr().err.splitlines() if line.startswith('frex: error: ')]
    assert told == [f'frex: error: {message}']


def test_offline_it_reaches_no_other_machine(folders, pyiqa, capfd):
    assert run(folders, '--metrics', 'psnr', '--pyiqa', 'downloads', '--offline') == 1
    assert '--pyiqa: pyiqa failed: OSError: --offline forbids downloads' in capfd.readouterr().err


def test_without_it_the_line_says_what_to_do(folders, capfd, monkeypatch):
    monkeypatch.setenv('PYTHONPATH', '')
    program = folders / 'python'
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    program.chmod(0o755)
    assert run(folders, '--metrics', 'psnr', '--pyiqa', 'musiq', '--pyiqa_python', program) == 1
    told = capfd.readouterr().err
    assert f"--pyiqa: {program} has no pyiqa (No module named 'pyiqa'); install it there: pip install pyiqa" in told


@pytest.mark.parametrize(
    ('program', 'message'), [('nowhere', 'cannot be run (No such file'), ('no_program', 'cannot be run (Permission denied')]
)
def test_a_python_that_cannot_be_run_is_one_line(program, message, folders, capfd):
    (folders / 'no_program').write_text('')
    assert run(folders, '--metrics', 'psnr', '--pyiqa', 'musiq', '--pyiqa_python', folders / program) == 1
    assert f'--pyiqa_python {folders / program}: {message}' in capfd.readouterr().err


def test_another_program_than_python_is_one_line(folders, capfd):
    assert run(folders, '--metrics', 'psnr', '--pyiqa', 'musiq', '--pyiqa_python', '/bin/true') == 1
    assert '--pyiqa: the process of /bin/true ended with status 0' in capfd.readouterr().err


def test_a_python_without_metrics_is_refused(folders, capfd):
    assert run(folders, '--pyiqa_python', sys.executable) == 1
    assert '--pyiqa_python: no metric is named by --pyiqa' in capfd.readouterr().err


def test_a_killed_process_is_told_and_none_is_left(pyiqa):
    image = off_by(clean(0), 1)
    with start_pyiqa(['draws', 'musiq', 'draws'], None, torch.device('cpu')) as scorer:
        first, second = scorer.score(image, image), scorer.score(image, image)
        assert list(first) == ['pyiqa_draws', 'pyiqa_musiq']
        # A metric that draws random crops draws the same for each image.
        assert 0 < first['pyiqa_draws'] == second['pyiqa_draws']
        process = scorer._process
        process.kill()
        process.wait()
        with pytest.raises(FRExError, match='was killed, probably because memory ran out'):
            scorer.score(image, image)
    assert process.returncode == -9
    with start_pyiqa(['musiq'], None, torch.device('cpu')) as scorer:
        process = scorer._process
        assert process.poll() is None
    assert process.poll() is not None


def test_modules_of_its_folder_do_not_hide_packages(pyiqa):
    (pyiqa / 'results.py').write_text('MINE = 1')
    (pyiqa / 'pyiqa/__init__.py').write_text('from results import MINE\n' + STAND_IN)
    script = ROOT / 'frex/evaluation/pyiqa_process.py'
    order = json.dumps({'metrics': ['musiq'], 'device': 'cpu', 'offline': False}) + '\n'
    done = subprocess.run([sys.executable, script], input=order, capture_output=True, text=True, env=os.environ)
    assert json.loads(done.stdout) == {'version': '9.8.7', 'metrics': {'musiq': {'lower_better': False, 'needs_gt': False}}}
