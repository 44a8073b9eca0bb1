"""Other methods beside FREx: runs are recorded, and a failure does not stop others."""

import json
import os
import subprocess
import sys
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
import pytest
from tiny import faces as random_faces

from frex.cli.main import main
from frex.errors import FRExError
from frex.images import read_image, write_image
from frex.peers import compare
from frex.peers import run_network as network_runs
from frex.peers.command_results import choose_result, find_results
from frex.peers.face_folder import FaceFolder, result_name
from frex.peers.methods import CommandMethod, NetworkMethod, UnavailableMethod, read_methods
from frex.peers.run_command import fill_command, run_command
from frex.peers.run_network import derive_seed, run_network
from frex.restore import FaceRestorer
from frex.tensors import to_images


@pytest.fixture
def lq(tmp_path):
    """Write three faces, one of them in a sub-folder."""
    folder = tmp_path / 'lq'
    for name, image in zip(('b.png', 'a.jpg', 'sub/a.png'), to_images(random_faces(3)), strict=True):
        write_image(folder / name, cv2.resize(image[:8, :8], (64, 64), interpolation=cv2.INTER_CUBIC))
    return folder


def peers(lq, output, *more):
    return main(['peers', '-i', str(lq), '-o', str(output), '--device', 'cpu', *more])


def record(path):
    return json.loads(path.read_text())


# --- Networks


@pytest.fixture
def inverting(monkeypatch, tmp_path):
    """Return a method whose network inverts a face, and the list of seeds that it was given."""
    seeds = []

    def load(model, device):
        return lambda image, seed: seeds.append(seed) or 255 - image

    monkeypatch.setitem(network_runs.LOADERS, 'frex', load)
    (tmp_path / 'model.pth').write_bytes(b'weights')
    return NetworkMethod('inverted', 'frex', tmp_path / 'model.pth'), seeds


def test_a_bad_image_stops_no_other(lq, tmp_path, inverting):
    (lq / 'a.jpg').write_bytes(b'no image')
    write_image(lq / 'wide.png', np.zeros((8, 16, 3), np.uint8))
    run = run_network(inverting[0], FaceFolder.open(lq, '-i'), tmp_path / 'images', 'cpu')
    assert list(run.missing) == ['a.jpg', 'wide.png']
    assert 'not an image' in run.missing['a.jpg']
    assert '16 x 8 is not square' in run.missing['wide.png']
    assert (run.faces, run.timed) == (4, 2)
    np.testing.assert_array_equal(read_image(tmp_path / 'images/sub/a.png'), 255 - read_image(lq / 'sub/a.png'))


def test_a_broken_off_run_goes_on_and_tells_how_many_faces_it_timed(lq, tmp_path, inverting):
    method, seeds = inverting
    write_image(tmp_path / 'images/a.png', np.zeros((64, 64, 3), np.uint8))
    run = run_network(method, FaceFolder.open(lq, '-i'), tmp_path / 'images', 'cpu')
    assert (run.faces, run.timed) == (3, 2)
    # The first goes through twice, to warm up, and each has the seed of its name whatever came before.
    assert seeds == [derive_seed('b.png'), derive_seed('b.png'), derive_seed('sub/a.png')]
    assert not read_image(tmp_path / 'images/a.png').any()
    assert run.seconds_a_face == pytest.approx(run.seconds.restoring / 2)


def test_peak_memory_is_that_of_the_process_alone():
    code = "from frex.peers.measurement import read_peak_memory\nheld = b'1' * 200_000_000\ndel held\nprint(read_peak_memory()['host'])"
    peak = int(subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout)
    # This process holds torch.
    assert 200_000_000 < peak < 300_000_000


# --- Commands


def run_line(line, lq, tmp_path, results=None):
    return run_command(CommandMethod('other', line, results), FaceFolder.open(lq, '-i'), tmp_path / 'other/images')


def test_a_command_meets_a_flat_folder_of_images_alone_and_its_results_get_their_names_back(lq, tmp_path):
    (lq / 'dataset.json').write_text('{}')
    run = run_line(f'ls {{input}} > {tmp_path}/seen && mkdir {{output}}/deep && cp {{input}}/* {{output}}/deep', lq, tmp_path)
    assert (tmp_path / 'seen').read_text().split() == ['a.jpg', 'b.png', 'sub--a.png']
    for name in ('a.jpg', 'b.png', 'sub/a.png'):
        np.testing.assert_array_equal(read_image(tmp_path / 'other/images' / result_name(name)), read_image(lq / name))
    assert run.missing == {}
    assert (run.timing, run.seconds.loading) == ('command', None)
    assert run.seconds_a_face == pytest.approx(run.seconds.total / 3)
    # Nothing but the results stays.
    assert [path.name for path in (tmp_path / 'other').iterdir()] == ['images']


def test_a_placeholder_in_the_name_of_a_folder_stays():
    assert fill_command('cp {input}/${a} {output}', Path('/{output}'), Path('/b')) == "cp '/{output}'/${a} /b"


def test_faces_without_a_result_are_named(lq, tmp_path):
    run = run_line('cp {input}/b.png {output}', lq, tmp_path)
    assert run.missing == {'a.jpg': 'the command wrote no image a', 'sub/a.png': 'the command wrote no image sub--a'}
    # Its time is that of the faces it wrote.
    assert (run.faces, run.timed) == (3, 1)
    assert run.seconds_a_face == run.seconds.total


def test_a_command_of_which_no_image_can_be_read_has_no_time_a_face(lq, tmp_path):
    run = run_line('for name in a b sub--a; do echo no image > {output}/$name.png; done # {input}', lq, tmp_path)
    assert (len(run.missing), run.timed, run.seconds_a_face) == (3, 0, None)


def test_memory_of_a_command_is_its_own(lq, tmp_path):
    # This process holds torch, and far more than these.
    assert run_line('cp {input}/* {output}', lq, tmp_path).peak_memory_bytes['host'] < 30_000_000
    holding = f"{sys.executable} -S -c 'len(bytearray(range(250)) * 1000000)' && cp {{input}}/* {{output}}"
    assert 250_000_000 < run_line(holding, lq, tmp_path).peak_memory_bytes['host'] < 300_000_000


def test_folders_with_blanks_and_quotes_in_their_names_reach_a_command_whole(lq, tmp_path):
    place = tmp_path / "it's a $(place)"
    place.mkdir()
    assert run_line('cp {input}/* {output}', lq, place).missing == {}


@pytest.fixture
def gpen(lq):
    """A shell command that writes files like GPEN's demo.py: each face's result, inverted here, and result beside input."""
    invert = f"{sys.executable} -c 'import cv2, sys; cv2.imwrite(sys.argv[2], 255 - cv2.imread(sys.argv[1]))'"
    return (
        f'cd {{input}} && for file in *; do cp "$file" {{output}}/"${{file%.*}}"_COMP.jpg && '
        f'{invert} "$file" {{output}}/"${{file%.*}}"_GPEN.png; done'
    )


def test_of_several_images_that_are_called_after_a_face_the_user_says_which(gpen, lq, tmp_path, capfd):
    assert peers(lq, tmp_path / 'results', '--command', f'gpen={gpen}') == 1
    assert 'several kinds of images: {name}_COMP (3 of 3), {name}_GPEN (3 of 3); choose one by --results' in capfd.readouterr().err
    assert peers(lq, tmp_path / 'results', '--command', f'gpen={gpen}', '--results', 'gpen={name}_GPEN') == 0
    for name in ('b.png', 'sub/a.png'):
        made = read_image(tmp_path / 'results/gpen/images' / result_name(name))
        np.testing.assert_array_equal(made, 255 - read_image(lq / name))
    assert record(tmp_path / 'results/gpen/run.json')['results'] == '{name}_GPEN'
    assert peers(lq, tmp_path / 'results', '--command', f'gpen={gpen}', '--results', 'gpen={name}_COMP') == 1
    assert 'was begun with another results' in capfd.readouterr().err


@pytest.mark.parametrize(
    ('line', 'message'),
    [('exit 3 # {input} {output}', 'ended with status 3'), ('true {input} {output}', r'wrote no image to \{output\}')],
)
def test_a_command_that_fails_is_told(line, message, lq, tmp_path):
    with pytest.raises(FRExError, match=message):
        run_line(line, lq, tmp_path)


@pytest.mark.parametrize(
    ('made', 'pattern', 'taken'),
    [
        (['face.png'], None, 'face.png'),
        (['cmp/face.png', 'restored_faces/face.jpg'], None, 'restored_faces/face.jpg'),
        # GFPGAN's own script.
        (
            ['cmp/face_00.png', 'cropped_faces/face_00.png', 'restored_faces/face_00.png', 'restored_imgs/face.png'],
            None,
            'restored_faces/face_00.png',
        ),
        (['face_00.png'], None, 'face_00.png'),
        (['face.png', 'face_mask.png'], None, 'face.png'),
        (['deep/face_out.jpg', 'log.png'], None, 'deep/face_out.jpg'),
        (['one/face.png', 'two/face.png'], 'two/{name}', 'two/face.png'),
        (['face.png', 'face_GPEN.jpg', 'other_GPEN.jpg'], '{name}_GPEN', 'face_GPEN.jpg'),
        (['face_GPEN.png', 'face_GPEN.jpg'], '{name}_GPEN.jpg', 'face_GPEN.jpg'),
        (['x_face(1).png', 'x_face11.png'], 'x_{name}(1).png', 'x_face(1).png'),
    ],
)
def test_the_result_of_a_face_is_found_by_its_name(made, pattern, taken):
    found, _ = find_results(['face'], [PurePosixPath(path) for path in made], pattern)
    assert str(choose_result('face', found)) == taken


def test_a_word_after_the_name_is_taken_where_it_is_the_only_one_that_all_have():
    made = [PurePosixPath(name) for name in ('a_out.png', 'a_1_out.png', 'b_out.png', 'b_debug.png', 'a_1_debug.png')]
    found, pattern = find_results(['a', 'a_1', 'b'], made, None)
    assert pattern == '{name}_out'
    assert [str(choose_result(stem, found)) for stem in ('a', 'a_1', 'b')] == ['a_out.png', 'a_1_out.png', 'b_out.png']
    # The only one may lack a face, which is told.
    found, _ = find_results(['a', 'b'], made[:1], None)
    with pytest.raises(FRExError, match='the command wrote no image b'):
        choose_result('b', found)


@pytest.mark.parametrize(
    ('made', 'pattern', 'message'),
    [
        (['face2.png'], None, r'named after a face; it wrote face2\.png; see --results'),
        (['face.png'], '{name}_GPEN', r'matches --results \{name\}_GPEN; it wrote face\.png'),
        (['one/face.png', 'two/face.png'], None, r'several images of it: one/face\.png, two/face\.png'),
        (['one/face_x.png', 'two/face_x.png'], None, r'several images of it: one/face_x\.png, two/face_x\.png'),
        (['face_x.png', 'face_y.png'], None, r'several kinds of images: \{name\}_x \(1 of 1\), \{name\}_y'),
    ],
)
def test_images_that_cannot_be_told_are_listed(made, pattern, message):
    with pytest.raises(FRExError, match=message):
        choose_result('face', find_results(['face'], [PurePosixPath(path) for path in made], pattern)[0])


# --- What is asked for


@pytest.mark.parametrize(
    ('networks', 'commands', 'message'),
    [
        ([], [], 'nothing to run'),
        (['frex'], [], "--method: 'frex' is not of the form"),
        (['a/b=gfpgan'], [], 'is not of the form'),
        (['g=gfpgn:x.pth'], [], "did you mean 'gfpgan'"),
        (['f=frex'], [], 'f=frex:FILE'),
        (['a=gfpgan'], ['A=cp {input} {output}'], 'a: given twice'),
        ([], ['c=cp {input} there'], r'\{output\} is missing'),
        ([], ['c=cp "{input}" {output}'], r'c: \{input\} stands in quotes; remove them'),
        ([], ["c=cp {input} '{output}'"], r'\{output\} stands in quotes'),
        ([], ["c=cp {input} {output} && sh -c 'ls {output}'"], r'\{output\} stands in quotes'),
        ([], ['c=cp \\{input} {output}'], r'\{input\} stands in quotes'),
    ],
)
def test_what_is_asked_wrongly_is_told(networks, commands, message):
    with pytest.raises(FRExError, match=message):
        read_methods(networks, commands, None)


@pytest.mark.parametrize(
    ('results', 'message'),
    [
        (['other={name}_x'], 'other: is no --command'),
        (['c=_x'], r'c: .* needs \{name\} once'),
        (['c={name}/x'], r'c: .* needs \{name\} once, after the last /'),
        (['c={name}_x', 'c={name}_y'], 'c: given twice'),
    ],
)
def test_a_wrong_pattern_of_results_is_told(results, message):
    with pytest.raises(FRExError, match=message):
        read_methods([], ['c=cp "my file" -i={input} {output}/x'], None, results)


def test_a_file_that_is_not_named_is_found_where_weights_are(tmp_path):
    (tmp_path / 'RestoreFormer.pth').write_bytes(b'weights')
    found, absent = read_methods(['r=restoreformer', 'g=gfpgan:nowhere.pth'], [], tmp_path)
    assert found == NetworkMethod('r', 'restoreformer', tmp_path / 'RestoreFormer.pth')
    assert absent == UnavailableMethod('g', 'no file nowhere.pth')


# --- The command line


@pytest.mark.slow
def test_methods_run_one_after_the_other_and_one_that_fails_stops_no_other(lq, tmp_path, checkpoint, capfd):
    output = tmp_path / 'results'
    lines = ['bad=exit 3 # {input} {output}', 'copy=cp {input}/* {output}']
    asked = ['--method', 'absent=gfpgan:nowhere.pth', f'ours=frex:{checkpoint}', '--command', *lines]
    assert peers(lq, output, *asked) == 1
    told = capfd.readouterr()
    assert 'absent: no file nowhere.pth' in told.err
    assert 'bad: the command ended with status 3' in told.err
    assert [line.split()[0] for line in told.out.splitlines()] == ['method', 'absent', 'ours', 'bad', 'copy']

    restorer = FaceRestorer.from_pretrained(checkpoint, 'cpu')
    for name in ('a.jpg', 'b.png', 'sub/a.png'):
        restored = read_image(output / 'ours/images' / result_name(name))
        np.testing.assert_array_equal(restored, restorer.restore_aligned(read_image(lq / name)))
    run, whole = record(output / 'ours/run.json'), record(output / 'peers.json')
    assert (run['faces'], run['timed'], run['timing'], run['missing']) == (3, 3, 'network', {})
    assert 0 < 3 * run['seconds_a_face'] <= run['seconds']['total']
    assert run['peak_memory_bytes']['host'] > 100_000_000
    assert run['device'].startswith('cpu')
    assert whole['methods']['ours']['run'] == run
    assert whole['methods']['bad']['run'] is None
    assert not (output / 'bad/run.json').exists()

    # What is done is kept; what failed is tried again.
    before = {path: path.stat().st_mtime_ns for path in output.rglob('*/images/*.png')}
    assert peers(lq, output, *asked) == 1
    assert {path: path.stat().st_mtime_ns for path in output.rglob('*/images/*.png')} == before
    assert peers(lq, output, '--command', lines[1]) == 0


def test_results_that_are_gone_are_made_again_and_no_others(lq, tmp_path, inverting, monkeypatch):
    monkeypatch.setattr(compare, '_run_in_new_process', lambda function, *arguments: function(*arguments))
    output = tmp_path / 'results'
    copy = f'copy=ls {{input}} > {tmp_path}/seen; cp {{input}}/* {{output}}'
    asked = ['--method', f'ours=frex:{inverting[0].model}', '--command', copy]
    assert peers(lq, output, *asked) == 0
    before = record(output / 'peers.json')
    for name in ('ours', 'copy'):
        (output / name / 'images/sub/a.png').unlink()
        (output / name / 'run.json').unlink()
    kept = {path: path.stat().st_mtime_ns for path in output.rglob('*/images/*.png')}
    assert peers(lq, output, *asked) == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert (tmp_path / 'seen').read_text().split() == ['sub--a.png']
    for name in ('ours', 'copy'):
        assert (output / name / 'images/sub/a.png').exists()
        assert record(output / name / 'run.json') == before['methods'][name]['run']


def test_a_network_whose_process_is_killed_is_told(lq, tmp_path, checkpoint, monkeypatch, capfd):
    apart = compare._run_in_new_process
    monkeypatch.setattr(compare, '_run_in_new_process', lambda *_: apart(os._exit, 9))
    assert peers(lq, tmp_path / 'results', '--method', f'ours=frex:{checkpoint}', '--command', 'copy=cp {input}/* {output}') == 1
    assert 'ours: its process was killed' in capfd.readouterr().err
    assert (tmp_path / 'results/copy/run.json').exists()


def test_images_of_a_run_that_was_broken_off_are_not_taken_for_those_of_another_model(lq, tmp_path, inverting, monkeypatch, capfd):
    method, _ = inverting

    def killed(function, *arguments):
        function(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(compare, '_run_in_new_process', killed)
    assert peers(lq, tmp_path / 'results', '--method', f'ours=frex:{method.model}') == 130
    assert (tmp_path / 'results/ours/images/a.png').exists()
    method.model.write_bytes(b'other weights')
    assert peers(lq, tmp_path / 'results', '--method', f'ours=frex:{method.model}') == 1
    assert 'ours: was begun with another model_sha256' in capfd.readouterr().err


def test_a_command_that_failed_may_be_mended_under_its_name(lq, tmp_path):
    assert peers(lq, tmp_path / 'results', '--command', 'copy=pc {input}/* {output}') == 1
    assert peers(lq, tmp_path / 'results', '--command', 'copy=cp {input}/* {output}') == 0


def test_another_method_under_a_name_that_is_taken_is_refused(lq, tmp_path, capfd):
    assert peers(lq, tmp_path / 'results', '--command', 'copy=cp {input}/* {output}') == 0
    assert peers(lq, tmp_path / 'results', '--command', 'copy=cp -v {input}/* {output}') == 1
    assert 'copy: was begun with another command; give it a new name' in capfd.readouterr().err
    assert peers(lq, tmp_path / 'results', '--command', 'copy=cp {input}/* {output}') == 0


@pytest.mark.parametrize(
    ('place', 'message'),
    [('lq/results', 'lies in'), ('others', 'has results for other faces'), ('full', r'holds notes\.txt but no peers\.json')],
)
def test_a_wrong_folder_is_refused(place, message, lq, tmp_path, capsys):
    others = tmp_path / 'other_faces'
    write_image(others / 'x.png', np.zeros((8, 8, 3), np.uint8))
    assert peers(others, tmp_path / 'others', '--command', 'copy=cp {input}/* {output}') == 0
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full/notes.txt').write_text('mine')
    assert peers(lq, tmp_path / place, '--command', 'copy=cp {input}/* {output}') == 1
    assert message.replace('\\', '') in capsys.readouterr().err


def test_two_images_of_one_result_are_refused(lq):
    write_image(lq / 'a.png', np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(FRExError, match=r'would both be restored to a\.png'):
        FaceFolder.open(lq, '--input')
