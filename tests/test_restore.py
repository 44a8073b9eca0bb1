"""Restoring a folder of aligned faces, as `inference_frex.py` does."""

import shutil

import cv2
import numpy as np
import pytest
import torch

from frex.cli.restore import main
from frex.errors import FRExError
from frex.images import read_image, resize, write_image
from frex.restore import FaceRestorer
from frex.restore.align import TEMPLATE_512, align_face
from frex.restore.restorer import choose_device
from frex.tensors import to_images, to_tensor

FOLDERS = ('cropped_faces', 'restored_faces', 'cmp')


@pytest.fixture(scope='module')
def restorer(checkpoint):
    return FaceRestorer.from_pretrained(checkpoint, 'cpu')


def run(*arguments):
    return main([str(argument) for argument in arguments])


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_pictures_go_to_the_network_and_back_unchanged():
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    tensor = to_tensor(image)[None]
    assert tensor.shape == (1, 3, 8, 8)
    # RGB in [-1, 1]: red is BGR's last.
    assert tensor[0, 0, 0, 0].item() == pytest.approx(image[0, 0, 2] / 127.5 - 1)
    assert np.array_equal(to_images(tensor)[0], image)


def test_out_of_range_colours_are_clamped():
    assert to_images(torch.tensor([-3.0, 0.0, 3.0]).reshape(1, 3, 1, 1))[0, 0, 0].tolist() == [255, 128, 0]


def test_restored_is_what_the_network_says(restorer):
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    with torch.no_grad():
        expected = to_images(restorer.net(to_tensor(image)[None]).image)[0]
    assert np.array_equal(restorer.restore_aligned(image), expected)


def test_a_picture_of_any_size_comes_back_at_the_networks(restorer):
    assert restorer.restore_aligned(np.zeros((37, 37, 3), np.uint8)).shape == (64, 64, 3)


def test_a_picture_that_is_not_square_is_no_aligned_face(restorer):
    with pytest.raises(FRExError, match='90 x 37 is not square'):
        restorer.restore_aligned(np.zeros((37, 90, 3), np.uint8))


def test_an_output_that_is_not_finite_is_no_picture(checkpoint):
    broken = FaceRestorer.from_pretrained(checkpoint, 'cpu')
    broken.net.stylegan2.to_rgbs[-1].bias.data.fill_(float('nan'))
    with pytest.raises(FRExError, match='not finite'):
        broken.restore_aligned(np.zeros((64, 64, 3), np.uint8))


def test_a_folder_is_restored_into_gfpgans_folders(checkpoint, face_folder, tmp_path, restorer, capsys):
    assert run('-i', face_folder, '-o', tmp_path, '--model_path', checkpoint, '--aligned') == 0
    expected = [f'face{number}_00.png' for number in range(5)]
    assert [names(tmp_path / folder) for folder in FOLDERS] == [expected] * 3
    original = resize(read_image(face_folder / 'face2.jpg'), 64)
    restored = restorer.restore_aligned(original)
    assert np.array_equal(read_image(tmp_path / 'restored_faces/face2_00.png'), restored)
    assert np.array_equal(read_image(tmp_path / 'cmp/face2_00.png'), np.hstack([original, restored]))
    assert 'restored 5, already there 0, failed 0' in capsys.readouterr().out


def test_one_picture_can_be_given(checkpoint, face_folder, tmp_path):
    arguments = (
        '-i',
        face_folder / 'face1.png',
        '-o',
        tmp_path,
        '--model_path',
        checkpoint,
        '--aligned',
        '--suffix',
        '_frex',
        '--ext',
        'jpg',
    )
    assert run(*arguments) == 0
    assert names(tmp_path / 'restored_faces') == ['face1_00_frex.jpg']


def test_one_bad_file_is_named_and_the_rest_goes_on(checkpoint, face_folder, tmp_path, capsys):
    faces = tmp_path / 'faces'
    shutil.copytree(face_folder, faces)
    (faces / 'broken.png').write_bytes((faces / 'face0.png').read_bytes()[:100])
    (faces / 'empty.jpg').write_bytes(b'')
    assert run('-i', faces, '-o', tmp_path / 'out', '--model_path', checkpoint, '--aligned') == 1
    printed = capsys.readouterr()
    assert 'restored 5, already there 0, failed 2' in printed.out
    assert 'broken.png: not a picture, or a damaged one' in printed.err
    assert 'empty.jpg: not a picture, or a damaged one' in printed.err
    assert len(names(tmp_path / 'out/restored_faces')) == 5


def test_results_are_not_overwritten_unless_asked(checkpoint, face_folder, tmp_path, capsys):
    arguments = ('-i', face_folder, '-o', tmp_path, '--model_path', checkpoint, '--aligned')
    run(*arguments)
    kept, missing = tmp_path / 'restored_faces/face0_00.png', tmp_path / 'cmp/face0_00.png'
    kept.write_bytes(b'mine')
    missing.unlink()
    assert run(*arguments) == 0
    assert kept.read_bytes() == b'mine'
    assert missing.exists()
    assert 'restored 1, already there 4, failed 0' in capsys.readouterr().out
    assert run(*arguments, '--exist', 'overwrite') == 0
    assert kept.read_bytes() != b'mine'


def test_pictures_of_one_name_do_not_overwrite_each_other(checkpoint, face_folder, tmp_path):
    faces = tmp_path / 'faces'
    faces.mkdir()
    for name in ('a.png', 'b.png'):
        shutil.copy(face_folder / 'face0.png', faces / name)
    shutil.copy(face_folder / 'face2.jpg', faces / 'a.jpg')
    run('-i', faces, '-o', tmp_path / 'out', '--model_path', checkpoint, '--aligned')
    assert names(tmp_path / 'out/restored_faces') == ['a.jpg_00.png', 'a.png_00.png', 'b_00.png']


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'-i': '/no/folder'}, '--input: no folder /no/folder'),
        ({'--model_path': '/no/net.pth'}, '/no/net.pth: no such file'),
        ({'--device': 'cuda:99'}, '--device cuda:99: not usable here'),
        ({'--device': 'abacus'}, '--device abacus: not usable here'),
    ],
)
def test_bad_input_is_one_line_and_status_1(checkpoint, face_folder, tmp_path, capsys, changes, message):
    arguments = {'-i': face_folder, '-o': tmp_path, '--model_path': checkpoint} | changes
    assert run('--aligned', *(item for pair in arguments.items() for item in pair)) == 1
    printed = capsys.readouterr().err.strip()
    assert printed.startswith(f'inference_frex.py: error: {message}')
    assert '\n' not in printed


def test_whole_photographs_are_refused_rather_than_squeezed(checkpoint, face_folder, tmp_path, capsys):
    assert run('-i', face_folder, '-o', tmp_path, '--model_path', checkpoint) == 1
    assert 'give faces in FFHQ alignment, and --aligned' in capsys.readouterr().err


def test_a_single_dash_slip_is_refused(checkpoint, face_folder, tmp_path):
    with pytest.raises(SystemExit) as stopped:
        run('-i', face_folder, '-o', tmp_path, '--model_path', checkpoint, '-aligned')
    assert stopped.value.code == 2


def test_auto_is_a_device_that_works():
    assert torch.zeros(1, device=choose_device('auto')).item() == 0


def test_alignment_puts_the_landmarks_where_ffhq_has_them():
    rng = np.random.default_rng(0)
    # The template turned by 90 degrees, halved and moved.
    landmarks = TEMPLATE_512[:, ::-1] * [0.5, -0.5] + [20, 300]
    photo = rng.integers(0, 256, (350, 350, 3), dtype=np.uint8)
    photo = cv2.GaussianBlur(photo, (0, 0), 4)
    face = align_face(photo, landmarks)
    for point, target in zip(landmarks.round().astype(int), TEMPLATE_512.round().astype(int), strict=True):
        assert np.abs(face[target[1], target[0]].astype(int) - photo[point[1], point[0]]).max() <= 6


def test_landmarks_in_one_place_are_refused():
    with pytest.raises(FRExError, match='one place'):
        align_face(np.zeros((9, 9, 3), np.uint8), np.full((5, 2), 4.0))


def test_a_picture_under_its_final_name_is_whole(tmp_path, monkeypatch):
    monkeypatch.setattr('frex.files.os.replace', lambda part, path: (_ for _ in ()).throw(OSError(28, 'No space left on device')))
    with pytest.raises(OSError, match='No space left'):
        write_image(tmp_path / 'a.png', np.zeros((4, 4, 3), np.uint8))
    assert names(tmp_path) == []
