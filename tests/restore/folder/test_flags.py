"""The flags of the command, and the hints where one is mistaken."""

import pytest
from restore_command import names, run

from frex.cli.main import main as frex

pytestmark = pytest.mark.usefixtures('weights_folder')


@pytest.mark.parametrize(
    ('slip', 'hint'),
    [
        (['-only_center_face'], '-only_center_face: write it with two dashes, --only_center_face'),
        (['-only_centre_face'], '-only_centre_face: did you mean --only_center_face?'),
        (['-only_center'], 'ambiguous option: -only_center could match -o, -only_center_face'),
        (['-aligned'], '--aligned'),
        (['-has_aligned'], '--has_aligned'),
        (['-suffix', 'x'], '--suffix'),
        (['-suffix=x'], '--suffix'),
        (['-upscale', '2'], '--upscale'),
        (['-ext', 'png'], '--ext'),
        (['-input_path', 'x'], '--input_path'),
        (['-fidelity_weight', '0.5'], '--fidelity_weight'),
        (['--only_center'], "unrecognized arguments: --only_center (did you mean '--only_center_face'?)"),
        (['--save_3D'], "unrecognized arguments: --save_3D (did you mean '--save_3d'?)"),
        (['--fidelity=0.5'], "unrecognized arguments: --fidelity=0.5 (did you mean '--fidelity_weight'?)"),
        (['--qqq'], 'unrecognized arguments: --qqq\n'),
        (['--draw_box'], '--draw_box: FREx draws no boxes; report.json has those of all faces'),
        (['--bg_tile', '-1'], "'-1' is not a whole number"),
        (['-v', '1.3'], '-v: FREx has no versions of networks; give a checkpoint by --model_path'),
        (['--weight', '0.5'], "--weight: GFPGAN's weight is --fidelity_weight here"),
        (['-w', '2'], '2 must be 0 to 1'),
        (['-s', '0'], '0 must be 0.01 to 64'),
        (['-s', 'nan'], 'nan must be'),
        (['--batch_size', '0'], "'0' is not a whole number of at least 1"),
        (['--det_threshold', 'x'], "'x' is not a number"),
        (['--detection_model', 'dlib'], 'invalid choice'),
        (['--detection_size', 'x'], "'x' is not a whole number"),
    ],
)
def test_a_slip_is_refused_with_a_hint_and_nothing_is_written(checkpoint, face_folder, tmp_path, monkeypatch, capsys, slip, hint):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        run('-i', face_folder, '-o', 'out', '--model_path', checkpoint, '--aligned', *slip)
    assert stopped.value.code == 2
    assert hint in capsys.readouterr().err
    assert names(tmp_path) == []


def test_frex_restore_hints_at_its_own_flags(checkpoint, face_folder, capsys):
    with pytest.raises(SystemExit):
        frex(['restore', '-i', str(face_folder), '--model_path', str(checkpoint), '--fidelty_weight', '1'])
    assert "unrecognized arguments: --fidelty_weight 1 (did you mean '--fidelity_weight'?)" in capsys.readouterr().err


def test_values_may_stand_next_to_short_flags(checkpoint, face_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (
        run(
            '-i',
            face_folder / 'face0.png',
            '-oout',
            '-w0.5',
            '-s2',
            '-r',
            '--bg_upsampler',
            'None',
            '--model_path',
            checkpoint,
            '--aligned',
        )
        == 0
    )
    assert names(tmp_path / 'out/restored_faces') == ['face0_00.png']


def test_all_wrong_flags_are_told_at_once_and_short(face_folder, tmp_path, capsys, no_small_model):
    """This is how GFPGAN is called."""
    given = ['-i', face_folder, '-o', tmp_path / 'out', '-v', '1.3', '-s', '2', '--bg_upsampler', 'realesrgan', '--wieght', '1']
    with pytest.raises(SystemExit) as stopped:
        run(*given)
    assert stopped.value.code == 2
    usage, *lines = capsys.readouterr().err.splitlines()
    assert usage.startswith('usage: inference_frex.py -i PATH')
    starts = (
        '-v: FREx has no versions',
        'unrecognized arguments: --wieght 1',
        'give a FREx',
    )
    assert len(lines) == 3
    for line, start in zip(lines, starts, strict=True):
        assert line.startswith(f'inference_frex.py: error: {start}')
    assert names(tmp_path) == []
