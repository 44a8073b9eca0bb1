"""The EG3D augmentation set: its poses, its labels, and a folder that does not depend on how the work was divided."""

import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from processes import Command, torchrun
from tiny import tiny_eg3d_file

from frex import __main__ as module_entry
from frex.cli.main import main
from frex.data.contact_sheet import draw_contact_sheet
from frex.data.labels import read_labels, view_angles_in_degrees
from frex.data.landmarks import crop_from_ffhq, mean_head_in_world, project_points
from frex.errors import FRExError
from frex.images import read_image
from frex.synthesis.samples import SamplingRecipe, draw_labels, draw_poses, draw_z, render_samples
from frex.synthesis.synthesize import check_finite
from frex.tensors import to_images
from frex.utils.sharding import choose_local_device, choose_shard
from frex.weights.network_file import NetworkFile, load_network, save_safetensors
from frex_arch import EG3D, StyleGAN2
from frex_arch.camera import FFHQ_RADIUS, frontal_camera, recrop_camera, unpack_camera, yaw_pitch
from frex_arch.crop import mask_in_eg3d_crop, warp_to_crop

NUM = 7


@pytest.fixture(scope='module')
def eg3d_file(tmp_path_factory):
    path = tmp_path_factory.mktemp('eg3d') / 'eg3d.safetensors'
    save_safetensors(path, tiny_eg3d_file())
    return path


@pytest.fixture(scope='module')
def make(eg3d_file):
    """Run the command and return its status."""

    def run(output, *more, num=NUM):
        return main(['synthesize', '--eg3d', str(eg3d_file), '-o', str(output), '-n', str(num), '--device', 'cpu', *map(str, more)])

    return run


@pytest.fixture(scope='module')
def whole(make, tmp_path_factory):
    """Write a set with all options in one run."""
    folder = tmp_path_factory.mktemp('whole') / 'set'
    assert make(folder, '--ws') == 0
    return folder


def content(folder):
    """Return the bytes of every visible file by name."""
    files = (path for path in folder.rglob('*') if path.is_file() and not path.name.startswith('.'))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def image_path(folder, number):
    return folder / f'images/00000/img{number:08d}.png'


# --- Poses and labels


@pytest.mark.parametrize('seed', [0, 1, 20])
@pytest.mark.parametrize(('first', 'num'), [(0, 100), (0, 1000), (3000, 1000)])
def test_any_run_of_samples_is_balanced(seed, first, num):
    yaw, pitch = draw_poses(SamplingRecipe(seed=seed), range(first, first + num))
    assert np.abs(yaw).max() <= 1.2
    assert np.abs(pitch).max() <= 0.3
    # Both shares of the views, both sides, and ten equal parts of each range: a few samples from exact, where chance leaves dozens.
    for part, share in [(np.abs(yaw) > 0.8, 0.2), (yaw > 0, 0.5), (pitch > 0, 0.5), ((yaw > 0) == (pitch > 0), 0.5)]:
        assert part.sum() == pytest.approx(share * num, abs=8)
    np.testing.assert_allclose(np.histogram(yaw, np.linspace(-0.8, 0.8, 11))[0], 0.08 * num, atol=5)
    np.testing.assert_allclose(np.histogram(np.abs(yaw), np.linspace(0.8, 1.2, 6))[0], 0.04 * num, atol=5)
    np.testing.assert_allclose(np.histogram(pitch, np.linspace(-0.3, 0.3, 11))[0], 0.1 * num, atol=5)


def test_a_sample_is_the_same_in_any_company():
    recipe = SamplingRecipe(seed=3)
    together = draw_labels(recipe, range(40))
    for number in (0, 17, 39):
        for alone, all_of_them in zip(draw_labels(recipe, [number]), together, strict=True):
            assert torch.equal(alone[0], all_of_them[number])


def test_another_number_or_seed_is_another_face():
    codes = [draw_z(SamplingRecipe(seed=seed), number, 512) for seed in range(3) for number in range(50)]
    correlation = np.corrcoef(torch.stack(codes)) - np.eye(150)
    assert np.abs(correlation).max() < 6 / np.sqrt(512)
    assert torch.stack(codes).std() == pytest.approx(1, abs=0.01)
    assert (draw_poses(SamplingRecipe(seed=0), [5])[0] != draw_poses(SamplingRecipe(seed=1), [5])[0]).all()


def test_labels_tell_the_poses_and_are_those_of_eg3ds_crop():
    yaw, pitch = draw_poses(SamplingRecipe(), range(50))
    camera, _ = draw_labels(SamplingRecipe(), range(50))
    for found, drawn in zip(yaw_pitch(camera), (yaw, pitch), strict=True):
        np.testing.assert_allclose(found, drawn, atol=1e-6)
    cam2world, intrinsics = unpack_camera(camera)
    np.testing.assert_allclose(cam2world[:, :3, 3].norm(dim=1), FFHQ_RADIUS, rtol=1e-6)
    np.testing.assert_allclose(intrinsics[7], [[4.2647, 0, 0.5], [0, 4.2647, 0.5], [0, 0, 1]], atol=1e-6)


def test_in_the_ffhq_frame_eyes_and_mouth_lie_where_the_alignment_has_them():
    camera, crop = draw_labels(SamplingRecipe(), range(50))
    for seen in (project_points(mean_head_in_world(), label) for label in recrop_camera(camera, crop).double().numpy()):
        np.testing.assert_allclose(crop_from_ffhq(seen), [1, 0, 0], atol=1e-6)


# --- Images


def test_a_set_is_what_its_labels_say(whole, eg3d_file):
    """Render the images again from the written labels and latent codes only."""
    net = load_network(eg3d_file)
    labels = read_labels(whole / 'images/dataset.json')
    assert len(content(whole)) == 2 * NUM + 3
    for number in range(NUM):
        name = f'00000/img{number:08d}.png'
        written = read_image(whole / 'images' / name)
        camera, crop = (torch.from_numpy(vectors[name])[None] for vectors in (labels.cameras, labels.crops))
        ws = torch.from_numpy(np.load(whole / f'ws/00000/img{number:08d}.npy'))[None]
        assert ws.shape == (1, net.num_ws, net.w_dim)
        with torch.no_grad():
            rendered = to_images(net(ws, recrop_camera(camera, crop)).image)[0]
        assert np.abs(rendered.astype(int) - written).max() <= 1
        assert written.std() > 10


def test_codes_are_of_the_frontal_camera_and_truncated(whole, eg3d_file):
    net = load_network(eg3d_file)
    z = torch.from_numpy(np.random.default_rng([0, 1 + 4]).standard_normal(net.z_dim, dtype=np.float32))[None]
    with torch.no_grad():
        w = net.w_avg + 0.7 * (net.mapping(z, frontal_camera()) - net.w_avg)
    torch.testing.assert_close(torch.from_numpy(np.load(whole / 'ws/00000/img00000004.npy')), w[0])


def test_the_image_in_the_ffhq_frame_is_that_of_eg3ds_crop_seen_through_the_crop():
    file = tiny_eg3d_file(out_size=128, render_size=32, depth_samples=24, importance_samples=24)
    net = EG3D(**file.arguments).eval()
    # What super-resolution adds knows the pixels and not the world.
    colours = [name for name in file.state if name.startswith('superresolution') and '.torgb.weight' in name]
    net.load_state_dict(file.state | {name: torch.zeros_like(file.state[name]) for name in colours})
    numbers = range(6)
    _, crop = draw_labels(SamplingRecipe(), numbers)
    ffhq, eg3d = (render_samples(net, SamplingRecipe(frame=frame), numbers).images for frame in ('ffhq', 'eg3d'))
    # Its filters fade to black at the edges of both frames.
    both = mask_in_eg3d_crop(crop, 32)
    inner = (F.avg_pool2d(1 - both, 5, 1, 2) == 0).float()
    inner[:, :, :2], inner[:, :, -2:], inner[..., :2], inner[..., -2:] = 0, 0, 0, 0
    small = F.avg_pool2d(eg3d, 4)
    difference = ((warp_to_crop(ffhq, crop, 32) - small) * inner).abs().mean()
    assert difference < 0.1 * ((F.avg_pool2d(ffhq, 4) - small) * inner).abs().mean()
    assert inner.mean() > 0.6


def test_in_eg3ds_frame_the_crop_changes_nothing(make, tmp_path):
    assert make(tmp_path / 'set', '--frame', 'eg3d') == 0
    labels = read_labels(tmp_path / 'set/images/dataset.json')
    for number in range(NUM):
        assert labels.crops[f'img{number:08d}.png'].tolist() == [1, 0, 0]


# --- However a set comes about


def test_shares_make_the_very_set(whole, make, tmp_path, capsys):
    for shard in ('2/3', '0/3', '1/3'):
        assert make(tmp_path / 'set', '--ws', '--shard', shard) == 0
    assert capsys.readouterr().out.splitlines()[:2] == [
        'shard 2 of 3 is complete; 5 of 7 samples are still missing from other shards',
        'shard 0 of 3 is complete; 2 of 7 samples are still missing from other shards',
    ]
    assert content(tmp_path / 'set') == content(whole)


def test_torchrun_makes_the_very_set(whole, eg3d_file, tmp_path):
    command = ['synthesize', '-o', tmp_path / 'set', '-n', NUM, '--eg3d', eg3d_file, '--ws', '--device', 'cpu']
    done = torchrun(Path(module_entry.__file__), *command, folder=tmp_path)
    assert done.wait() == 0, done.stderr[-2000:]
    assert content(tmp_path / 'set') == content(whole)


def test_batches_make_the_set_but_for_rounding(whole, make, tmp_path):
    assert make(tmp_path / 'set', '--ws', '--batch_size', 3) == 0
    made, expected = content(tmp_path / 'set'), content(whole)
    assert made.keys() == expected.keys()
    assert made['images/dataset.json'] == expected['images/dataset.json']
    for number in range(NUM):
        difference = read_image(image_path(tmp_path / 'set', number)).astype(int) - read_image(image_path(whole, number))
        assert np.abs(difference).max() <= 1
        assert (difference != 0).mean() < 1e-3


def test_a_set_grows_to_the_very_set_of_that_size(whole, make, tmp_path):
    for num in (1, 4, NUM):
        assert make(tmp_path / 'set', '--ws', num=num) == 0
    assert content(tmp_path / 'set') == content(whole)


def test_what_is_missing_is_made_again_and_nothing_else(whole, make, tmp_path):
    assert make(tmp_path / 'set') == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / 'set/images/00000').iterdir()}
    for number in (1, 5):
        image_path(tmp_path / 'set', number).unlink()
    (tmp_path / 'set/contact_sheet.jpg').unlink()
    (tmp_path / 'set/images/dataset.json').unlink()
    assert make(tmp_path / 'set') == 0
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / 'set/images/00000').iterdir()}
    assert {path for path in before if after[path] != before[path]} == {image_path(tmp_path / 'set', number) for number in (1, 5)}
    assert content(tmp_path / 'set') == {name: data for name, data in content(whole).items() if not name.startswith('ws/')}


@pytest.mark.slow
def test_a_killed_run_leaves_whole_images_and_is_resumed(make, eg3d_file, tmp_path):
    num = 120
    command = ['synthesize', '--eg3d', eg3d_file, '-o', tmp_path / 'set', '-n', num, '--device', 'cpu']
    process = Command(main, *command, folder=tmp_path)
    while not image_path(tmp_path / 'set', 9).exists():
        assert process.running
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    left = sorted((tmp_path / 'set/images').rglob('*.png'))
    assert 9 <= len(left) < num
    assert all(read_image(path).shape == (64, 64, 3) for path in left)
    assert not (tmp_path / 'set/images/dataset.json').exists()
    assert make(tmp_path / 'set', num=num) == 0
    assert len(read_labels(tmp_path / 'set/images/dataset.json').cameras) >= num
    assert len(list((tmp_path / 'set/images').rglob('*.png'))) == num


def test_a_whole_set_needs_no_network_to_be_finished(whole, make, monkeypatch):
    monkeypatch.setattr('frex.synthesis.synthesize.load_network', lambda path: pytest.fail('the network was built'))
    before = content(whole)
    assert make(whole, '--ws') == 0
    assert content(whole) == before


def test_the_share_is_that_of_the_job_and_of_the_rank_in_it():
    everything = [choose_shard(f'{job}/2', {'RANK': str(rank), 'WORLD_SIZE': '3'}).of(20) for job in range(2) for rank in range(3)]
    assert sorted(number for share in everything for number in share) == list(range(20))
    assert list(choose_shard('0/1', {}).of(3)) == [0, 1, 2]


@pytest.mark.parametrize(
    ('name', 'rank', 'gpus', 'device'),
    [
        ('auto', '3', 8, 'cuda:3'),
        ('cuda', '3', 2, 'cuda:1'),
        ('cpu', '1', 2, 'cpu'),
        ('cuda:0', '1', 2, 'cuda:0'),
        ('auto', '1', 0, 'auto'),
    ],
)
def test_processes_of_a_machine_take_a_gpu_each(name, rank, gpus, device):
    assert choose_local_device(name, {'LOCAL_RANK': str(rank)}, gpus) == device
    assert choose_local_device(name, {}, gpus) == name


# --- What is shown


def test_the_contact_sheet_goes_from_one_side_to_the_other(whole, make, tmp_path, monkeypatch):
    shown = []

    def sheet(images, captions):
        shown.extend(zip(images, captions, strict=True))
        return draw_contact_sheet(images, captions)

    monkeypatch.setattr('frex.synthesis.output_folder.draw_contact_sheet', sheet)
    assert make(whole, '--ws') == 0
    angles = [view_angles_in_degrees(camera) for camera in draw_labels(SamplingRecipe(), range(NUM))[0].numpy()]
    order = sorted(range(NUM), key=lambda number: angles[number][0])
    assert [caption for _, caption in shown] == [f'yaw {angles[number][0]:+.0f} pitch {angles[number][1]:+.0f}' for number in order]
    for number, (image, _) in zip(order, shown, strict=True):
        assert np.array_equal(image, read_image(image_path(whole, number)))


def test_a_sheet_has_rows_of_images_with_captions():
    red, blue = (np.full((64, 64, 3), colour, dtype=np.uint8) for colour in [(0, 0, 255), (255, 0, 0)])
    sheet = draw_contact_sheet([red, red, blue], ['a', 'b', 'c'], columns=2, size=32)
    assert (sheet[:32, :32] == (0, 0, 255)).all()
    assert (sheet[len(sheet) // 2 :][:32, :32] == (255, 0, 0)).all()
    assert (sheet[len(sheet) // 2 :, sheet.shape[1] // 2 :] == 255).all()
    assert sheet[32 : len(sheet) // 2].min() < 128


# --- Bad input


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (['--psi', 0.5], 'was begun with psi 0.7, not 0.5; use the same value, or give a new folder'),
        (['--seed', 1], 'was begun with seed 0, not 1'),
        (['--frame', 'eg3d'], 'was begun with frame ffhq, not eg3d'),
        (['--yaw', 0.8, 1.3], 'was begun with yaw [0.8, 1.2], not [0.8, 1.3]'),
        (['--pitch', 0.2], 'was begun with pitch 0.3, not 0.2'),
        (['--ext', 'jpg'], 'was begun with ext png, not jpg'),
        (['-n', 3], 'was begun with 7 samples, not 3; give at least as many'),
    ],
)
def test_a_set_is_not_resumed_with_other_settings(whole, make, capsys, changes, message):
    before = content(whole)
    assert make(whole, '--ws', *changes) == 1
    assert message in one_error(capsys)
    assert content(whole) == before


def one_error(capsys):
    printed = capsys.readouterr().err.strip()
    assert printed.startswith('frex: error: ')
    assert '\n' not in printed
    return printed


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (['-n', 0], '--num 0: at least 1 is needed'),
        (['--batch_size', 0], '--batch_size 0: at least 1 is needed'),
        (['--shard', '2/2'], '--shard 2/2: I/N is needed, with I from 0 to N - 1'),
        (['--shard', '1'], '--shard 1: I/N is needed'),
        (['--seed', -1], '--seed -1: a whole number'),
        (['--psi', 'nan'], '--psi nan: a number from 0 to 1'),
        (['--yaw', 1.2, 0.8], '--yaw 1.2 0.8: two rising angles'),
        (['--pitch', 2], '--pitch 2.0: an angle from 0 to 1'),
        (['--eg3d', 'ffhqrebalanced512'], "no file ffhqrebalanced512; did you mean 'ffhqrebalanced512-128'?"),
        (['--device', 'gpu'], '--device gpu: not usable here'),
    ],
)
def test_bad_flags_are_one_line_and_nothing_is_created(make, tmp_path, capsys, changes, message):
    assert make(tmp_path / 'set', *changes) == 1
    assert message in one_error(capsys)
    assert not list(tmp_path.iterdir())


def test_another_eg3d_does_not_go_on_with_a_set(whole, make, tmp_path, capsys):
    file = tiny_eg3d_file()
    save_safetensors(tmp_path / 'other.safetensors', file._replace(state={name: value + 1 for name, value in file.state.items()}))
    assert make(whole, '--ws', '--eg3d', tmp_path / 'other.safetensors') == 1
    assert 'was begun with eg3d_sha256 ' in one_error(capsys)


def test_another_network_is_refused(make, tmp_path, capsys):
    arguments = {'out_size': 16, 'num_style_feat': 8, 'num_mlp': 1, 'narrow': 1 / 128}
    path = tmp_path / 'network.safetensors'
    save_safetensors(path, NetworkFile('StyleGAN2', arguments, StyleGAN2(**arguments).state_dict()))
    assert make(tmp_path / 'set', '--eg3d', path) == 1
    assert f'--eg3d {path}: holds StyleGAN2, not EG3D' in one_error(capsys)
    assert not (tmp_path / 'set').exists()


def test_a_folder_with_other_things_is_left_alone(make, tmp_path, capsys):
    (tmp_path / 'faces.txt').write_text('mine')
    assert make(tmp_path) == 1
    assert 'holds faces.txt but no synthesis.json, so it is no such set; give a new folder' in one_error(capsys)
    assert [path.name for path in tmp_path.iterdir()] == ['faces.txt']


@pytest.mark.parametrize('text', ['', '[]', '{"settings": 3, "num": 2}', '{"num": 2}'])
def test_a_damaged_record_is_named(make, tmp_path, capsys, text):
    (tmp_path / 'synthesis.json').write_text(text)
    assert make(tmp_path) == 1
    assert f'{tmp_path / "synthesis.json"}: damaged' in one_error(capsys)


def test_a_damaged_image_on_the_sheet_is_named(make, tmp_path, capsys):
    assert make(tmp_path / 'set', num=2) == 0
    image_path(tmp_path / 'set', 1).write_bytes(b'')
    assert make(tmp_path / 'set', num=2) == 1
    assert 'img00000001.png: not an image, or a damaged one' in one_error(capsys)


def test_weights_that_are_not_finite_make_no_set(make, tmp_path, capsys):
    file = tiny_eg3d_file()
    file.state['superresolution.block1.torgb.bias'][0] = torch.nan
    save_safetensors(tmp_path / 'nan.safetensors', file)
    assert make(tmp_path / 'set', '--eg3d', tmp_path / 'nan.safetensors', '--shard', '1/2') == 1
    assert 'NaN or infinite, the first: superresolution.block1.torgb.bias' in one_error(capsys)
    assert not list((tmp_path / 'set').rglob('*.png'))


def test_of_a_batch_the_sample_that_is_not_finite_is_named():
    images = torch.zeros(3, 3, 4, 4)
    images[1, 2, 3, 3] = torch.inf
    with pytest.raises(FRExError, match='sample 9: '):
        check_finite(images, [7, 9, 11])
