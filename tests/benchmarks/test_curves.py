"""The plots of a training run are drawn from its scalars."""

import json

import pytest
from curves import draw_curves, smooth
from PIL import Image


def test_curves_of_a_run_are_drawn_and_its_first_and_last_tenth_averaged(tmp_path):
    steps = [{'epoch': 0, 'iter': number, 'l_g_pix': float(number), 'time': 1.0} for number in range(1, 21)]
    validations = [{'iter': number, 'psnr': 20.0 + number} for number in (10, 20)]
    (tmp_path / 'scalars.jsonl').write_text(''.join(f'{json.dumps(record)}\n' for record in [*steps, *validations]))
    assert draw_curves(tmp_path, 'a run', tmp_path / 'run.png') == {'l_g_pix': [1.5, 19.5]}
    with Image.open(tmp_path / 'run.png') as image:
        assert image.width == pytest.approx(1024, abs=2)
        assert len(image.convert('RGB').getcolors(1 << 20)) > 50


def test_smoothing_follows_slowly():
    assert smooth([0.0, 10.0, 10.0]) == pytest.approx([0.0, 1.0, 1.9])
