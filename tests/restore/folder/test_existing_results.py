"""Results that are there already: skipped, overwritten or renamed, and never taken for those of another image."""

import re
import shutil

import pytest
from restore_command import command, files, names, report, run, statuses

from frex.cli.restore import main

pytestmark = pytest.mark.usefixtures('weights_folder')


def test_results_are_not_overwritten_unless_asked(whole, tmp_path, capsys):
    assert whole() == 0
    kept, missing = tmp_path / 'out/restored_imgs/a.png', tmp_path / 'out/restored_imgs/below/b.jpg'
    kept.write_bytes(b'mine')
    missing.unlink()
    capsys.readouterr()
    assert whole() == 0
    assert kept.read_bytes() == b'mine'
    assert missing.exists()
    assert re.search(r'^restored +1 +2 faces\nno face +0\nskipped +2 +results are there', capsys.readouterr().out)
    # The report still has all images.
    assert statuses(tmp_path / 'out') == {'a.png': 'restored', 'b.jpg': 'restored', 'empty.png': 'no face'}
    assert whole('--exist', 'overwrite') == 0
    assert kept.read_bytes() != b'mine'


def test_results_can_be_renamed(whole, tmp_path):
    assert whole() == 0
    before = {file: (tmp_path / 'out' / file).read_bytes() for file in files(tmp_path / 'out') if file != 'report.json'}
    assert whole('--exist', 'rename') == 0
    after = files(tmp_path / 'out')
    assert len(after) == 2 * len(before) + 1
    assert 'restored_faces/below/b(1)_01.png' in after
    assert all((tmp_path / 'out' / file).read_bytes() == content for file, content in before.items())


def test_a_result_of_the_same_name_is_never_taken_for_ones_own(checkpoint, face_folder, tmp_path, capsys):
    out = tmp_path / 'out'
    for folder, face in (('d1', 'face0.png'), ('d2', 'face1.png')):
        (tmp_path / folder).mkdir()
        shutil.copy(face_folder / face, tmp_path / folder / 'a.png')
    assert main(command(checkpoint, tmp_path / 'd1', out)) == 0
    before = (out / 'restored_faces/a_00.png').read_bytes()
    assert main(command(checkpoint, tmp_path / 'd2', out)) == 1
    assert f'is the result of {tmp_path / "d1/a.png"}; give another --output' in capsys.readouterr().out
    assert (out / 'restored_faces/a_00.png').read_bytes() == before
    assert main(command(checkpoint, tmp_path / 'd2', out, '--exist', 'rename')) == 0
    assert names(out / 'restored_faces') == ['a(1)_00.png', 'a_00.png']


def test_skipped_results_of_other_settings_are_told(aligned, capsys):
    assert [aligned('-w', '0.5'), aligned(), aligned('-w', '0.5')] == [0, 0, 0]
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith('skipped: ')]
    assert told == ['skipped: 5 were made with other settings (fidelity_weight 0.5)']


def test_overwriting_leaves_no_faces_of_an_earlier_run(whole, detector, tmp_path):
    assert whole('--save_3d') == 0
    detector.faces = detector.faces[:1]
    assert whole('--exist', 'overwrite') == 0
    assert [path for path in files(tmp_path / 'out') if path.startswith(('cmp', 'depth'))] == ['cmp/a_00.png', 'cmp/below/b_00.png']


def test_results_inside_of_the_input_folder_are_no_input(checkpoint, photos, detector, capsys):
    arguments = ('-i', photos, '-r', '-o', photos, '--model_path', checkpoint, '--exist', 'overwrite')
    assert [run(*arguments), run(*arguments)] == [0, 0]
    assert len(report(photos)['pictures']) == 3
