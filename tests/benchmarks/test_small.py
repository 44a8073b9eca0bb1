"""What the small FREx is measured with: the identity network's layers and files, the arithmetic of the tables, the plain U-Net."""

import json
import signal
from argparse import Namespace

import cv2
import identity
import measure
import numpy as np
import pytest
import restorers
import scores
import torch
import unet
from tiny import TINY_OPTIONS, faces

from frex.data.face_degradation_dataset import FaceDegradationDataset
from frex.errors import FRExError
from frex.tensors import to_tensor
from frex.weights.torch_file import read_torch_file

# --- The identity network


def test_quantized_weights_are_read_as_their_manifest_says():
    manifest = [
        {
            'weights': [
                {'name': 'a', 'shape': [2, 2], 'dtype': 'float32', 'quantization': {'dtype': 'uint8', 'scale': 0.5, 'min': -1.0}},
                {'name': 'b', 'shape': [3], 'dtype': 'float32'},
                {'name': 'c', 'shape': [1], 'dtype': 'float32', 'quantization': {'dtype': 'uint8', 'scale': 2.0, 'min': 0.0}},
            ]
        }
    ]
    content = bytes([0, 1, 2, 255]) + np.array([1.5, -2.0, 8.0], dtype='<f4').tobytes() + bytes([3])
    arrays = identity.read_quantized(manifest, content)
    assert arrays['a'].tolist() == [[-1.0, -0.5], [0.0, 126.5]]
    assert arrays['b'].tolist() == [1.5, -2.0, 8.0]
    assert arrays['c'].tolist() == [6.0]
    with pytest.raises(FRExError, match='of 18 bytes, of which its manifest describes 17'):
        identity.read_quantized(manifest, content + b'x')


def stored_weights():
    """The network's weights as the package names and arranges them."""
    rng = np.random.default_rng(0)
    arrays = {'fc': (256, 128)}
    layers = {'conv32_down': (7, 3, 32)}
    inputs = 32
    for name, outputs, _ in identity.BLOCKS:
        layers |= {f'{name}/conv1': (3, inputs, outputs), f'{name}/conv2': (3, outputs, outputs)}
        inputs = outputs
    for name, (size, before, after) in layers.items():
        arrays |= {f'{name}/conv/filters': (size, size, before, after), f'{name}/conv/bias': (after,)}
        arrays |= {f'{name}/scale/weights': (after,), f'{name}/scale/biases': (after,)}
    return {name: rng.normal(0, 0.05, shape).astype(np.float32) for name, shape in arrays.items()}


def write_network(folder, monkeypatch):
    """Put files of the network as the package has them, not quantized, into `folder`."""
    arrays = stored_weights()
    entries = [{'name': name, 'shape': list(values.shape), 'dtype': 'float32'} for name, values in arrays.items()]
    folder.mkdir()
    (folder / identity.MANIFEST).write_text(json.dumps([{'weights': entries}]))
    (folder / identity.BINARY).write_bytes(b''.join(values.tobytes() for values in arrays.values()))
    sums = {name: identity.hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in identity.SHA256}
    monkeypatch.setattr(identity, 'SHA256', sums)


def test_faces_of_any_size_have_descriptors_of_128_numbers(tmp_path, monkeypatch):
    write_network(tmp_path / 'dlib', monkeypatch)
    measured = identity.Identity(tmp_path / 'dlib')
    found = measured.describe(faces(2, 64))
    assert found.shape == (2, 128)
    assert found.isfinite().all()
    assert measured.describe(faces(1, 200)).shape == (1, 128)
    arrays = stored_weights()
    torch.testing.assert_close(measured.net.fc.weight, torch.from_numpy(arrays['fc']).T)
    kernel = torch.from_numpy(arrays['conv64_down/conv1/conv/filters'])
    torch.testing.assert_close(measured.net.conv64_down.conv1.conv.weight, kernel.permute(3, 2, 0, 1))
    torch.testing.assert_close(measured.net.conv64_down.conv1.weights, torch.from_numpy(arrays['conv64_down/conv1/scale/weights']))


def test_another_file_than_the_published_one_is_refused(tmp_path, monkeypatch):
    write_network(tmp_path / 'dlib', monkeypatch)
    with (tmp_path / 'dlib' / identity.BINARY).open('ab') as stream:
        stream.write(b'more')
    with pytest.raises(FRExError, match=r'face_recognition_model\.bin: damaged, or another version'):
        identity.Identity(tmp_path / 'dlib')


def test_a_strided_block_adds_the_mean_of_two_by_two_and_zeros_where_sizes_differ():
    block = identity.Residual(1, 2, 2).requires_grad_(False)
    for convolution in (block.conv1, block.conv2):
        convolution.conv.weight.zero_()
        convolution.conv.bias.zero_()
    # Nothing comes from the convolutions but a constant, of 3 x 3 values; the mean of 2 x 2 has 4 x 4.
    block.conv2.biases.copy_(torch.tensor([1.0, 2.0]))
    image = torch.arange(64.0).view(1, 1, 8, 8)
    expected = torch.zeros(1, 2, 4, 4)
    expected[0, :, :3, :3] = torch.tensor([1.0, 2.0])[:, None, None]
    expected[:, :1] += torch.nn.functional.avg_pool2d(image, 2)
    torch.testing.assert_close(block(image), expected)


def test_the_chip_has_the_face_where_dlib_expects_it():
    """Landmarks of FFHQ's mean face at 512, and those of dlib's: eyes, nose, corners of the mouth."""
    ffhq = [(193, 240), (319, 240), (257, 314), (201, 371), (313, 371)]
    dlib = [(0.2273, 0.2214), (0.7528, 0.2212), (0.4901, 0.5156), (0.2541, 0.7802), (0.7261, 0.7802)]
    for (x, y), expected in zip(ffhq, dlib, strict=True):
        face = torch.full((1, 3, 512, 512), -1.0)
        face[..., y - 3 : y + 4, x - 3 : x + 4] = 1
        chip = identity.cut_chips(face)[0, 0]
        weights = chip / chip.sum()
        found = (weights.sum(dim=0) @ torch.arange(150.0), weights.sum(dim=1) @ torch.arange(150.0))
        for value, place in zip(found, expected, strict=True):
            assert value.item() == pytest.approx((place + 0.25) / 1.5 * 150, abs=2)
        assert -0.01 < chip.min() < chip.max() < 255.01


def test_area_under_curve():
    assert identity.area_under_curve(np.array([3.0, 4.0]), np.array([1.0, 2.0])) == 1
    assert identity.area_under_curve(np.array([1.0, 3.0]), np.array([2.0, 2.0])) == 0.5
    assert identity.area_under_curve(np.array([2.0]), np.array([2.0, 1.0])) == 0.75


# --- The arithmetic of the tables


def test_severities_are_fifths_by_the_inputs_psnr():
    values = np.array([30.0, 10, 28, 12, 26, 14, 24, 16, 22, 20])
    assert scores.rank_severity(values).tolist() == [1, 5, 1, 5, 2, 4, 2, 4, 3, 3]
    assert scores.rank_severity(np.zeros(10)).tolist() == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_means_are_over_the_images_of_each_group():
    yaw = np.array([0.0, -14.9, 15.0, -40.0, 5.0])
    psnr = {'input': np.array([20.0, 21, 22, 23, 24]), 'net': np.array([21.0, 20, 25, 22, 27])}
    groups = {group.title: group for group in scores.group_images(yaw, psnr['input'])}
    assert list(groups) == [
        'all',
        *(f'|yaw| {edges}' for edges in ('0 to 15', '15 to 30', '30 to 90')),
        *(f'severity {n}' for n in range(1, 6)),
    ]
    assert groups['|yaw| 0 to 15'].members.tolist() == [True, True, False, False, True]
    assert groups['severity 1'].members.tolist() == [False, False, False, False, True]
    means = {
        title: scores.compute_means({name: {'psnr': values} for name, values in psnr.items()}, group) for title, group in groups.items()
    }
    assert means['all'] == {'input': {'psnr': 22.0}, 'net': {'psnr': 23.0, 'better': 0.6}}
    assert means['|yaw| 30 to 90']['net'] == {'psnr': 22.0, 'better': 0.0}


def test_images_that_their_degradation_left_unchanged_take_no_part_in_mean_psnr():
    psnr = {'input': np.array([np.inf, 20, 22]), 'net': np.array([40.0, 24, 26])}
    (group,) = [group for group in scores.group_images(np.zeros(3), psnr['input']) if group.title == 'all']
    means = scores.compute_means({name: {'psnr': values} for name, values in psnr.items()}, group)
    assert means == {'input': {'psnr': 21.0}, 'net': {'psnr': 25.0, 'better': pytest.approx(2 / 3)}}


def row(psnr, ssim, perceptual):
    return {'psnr': psnr, 'ssim': ssim, 'stlpips_vgg': perceptual, 'better': 0.5}


def test_goals_are_told_apart():
    before, after = row(20.0, 0.5, 0.4), row(22.1, 0.6, 0.2)
    means = {'all': {'input': before, 'net': after}, '|yaw| 0 to 15': {'input': before, 'net': after}}
    means['severity 1'] = {'input': before, 'net': row(19.6, 0.5, 0.4)}
    reached = scores.check_goals('paper', means, 'net', 'stlpips_vgg')
    assert [goal for goal, is_reached in reached.items() if not is_reached] == ['severity 1 at most 0.3 dB below the input']
    assert len(reached) == 6
    means['|yaw| 0 to 15']['net'] = row(19.9, 0.6, 0.5)
    reached = scores.check_goals('release', means, 'net', 'stlpips_vgg')
    assert len([goal for goal, is_reached in reached.items() if not is_reached]) == 3
    assert 'PSNR + 2.0 dB' not in reached


# --- The command


@pytest.fixture
def measured_faces(face_folder, tmp_path):
    """The manifest of the shared test images, each with a yaw of its own."""
    names = sorted(path.name for path in face_folder.iterdir())
    manifest = tmp_path / 'manifest.csv'
    manifest.write_text('file,yaw\n' + ''.join(f'val/{name},{10.0 * number}\n' for number, name in enumerate(names)))
    return face_folder, manifest


def options(faces_and_manifest, output, *arguments):
    folder, manifest = faces_and_manifest
    return measure._parser().parse_args([*arguments, '--faces', str(folder), '--manifest', str(manifest), '-o', str(output)])


def test_a_measurement_of_two_networks(measured_faces, checkpoint, tmp_path):
    network = unet.Training(unet.UNetOptions(32, 4), 1e-3, 10)
    network.save(tmp_path / 'unet.pth')
    arguments = [f'FREx={checkpoint}', f'U-Net={tmp_path / "unet.pth"}', '--seeds', '1', '--trunk', 'alex', '--shown', '3']
    results = measure.measure(options(measured_faces, tmp_path / 'out', *arguments))
    assert (results['faces'], results['size'], results['rows']['U-Net']) == (5, 64, {'file': 'unet.pth', 'size': 32})
    assert list(results['scores']) == ['paper', 'release']
    for rows in results['scores'].values():
        assert list(rows) == ['input', 'FREx', 'U-Net']
        assert all(len(values) == 5 for row in rows.values() for values in row.values())
    means = results['means']['paper']['all']['input']
    assert means['psnr'] == pytest.approx(np.mean(results['scores']['paper']['input']['psnr']), abs=1e-3)
    assert list(means) == ['psnr', 'ssim', 'stlpips_alex']
    assert results['counts']['paper']['|yaw| 15 to 30'] == 1
    stored = json.loads((tmp_path / 'out/results.json').read_text())
    assert stored['images'][0] == ['face0.png', 0]
    table = (tmp_path / 'out/table.md').read_text()
    assert '| all (5) | input |' in table
    assert '## Goals' in table
    sheet = cv2.imread(str(tmp_path / 'out/contact_sheet_paper.png'))
    assert sheet.shape[0] > sheet.shape[1] > 3 * 64


def test_a_degraded_face_depends_on_name_preset_and_seed_alone(measured_faces):
    found = measure.read_faces(*measured_faces, 64)
    face = found[1]
    assert face.yaw == 10
    assert np.array_equal(measure.degrade_face(face, 'paper', 3), measure.degrade_face(face, 'paper', 3))
    others = [measure.degrade_face(face, 'paper', 4), measure.degrade_face(face, 'release', 3), measure.degrade_face(found[2], 'paper', 3)]
    assert not any(np.array_equal(measure.degrade_face(face, 'paper', 3), other) for other in others)


def test_scores_do_not_depend_on_the_batch(measured_faces):
    found = measure.read_faces(*measured_faces, 48)
    scorer = measure.Scorer((), None)
    joined = [
        measure.score_rows(measure.DegradedFaces(found, ['paper'], 2, batch_size), {'same': lambda images: list(images)}, scorer)[0][
            'paper'
        ]['same']
        for batch_size in (2, 5)
    ]
    names = [measure.DegradedFaces(found, ['paper'], 2, batch_size).names() for batch_size in (2, 5)]
    by_name = [dict(zip(*each, strict=True)) for each in zip(names, (one['psnr'] for one in joined), strict=True)]
    assert by_name[0] == by_name[1]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['FREx'], 'NAME=FILE is needed'),
        (['input=x.pth'], 'with another name than input'),
        (['FREx=none.pth'], r'none\.pth: no such file'),
    ],
)
def test_wrong_checkpoints_are_told(measured_faces, tmp_path, arguments, message):
    with pytest.raises(FRExError, match=message):
        measure.measure(options(measured_faces, tmp_path, *arguments))


def test_a_face_without_a_line_in_the_manifest_is_told(measured_faces, tmp_path):
    measured_faces[1].write_text('file,yaw\nval/face0.png,1\n')
    with pytest.raises(FRExError, match=r'does not list 4 of the faces, as face1\.png'):
        measure.measure(options(measured_faces, tmp_path))


# --- The U-Net


@pytest.mark.parametrize('size', [64, 128])
def test_the_unet_starts_as_the_identity_and_reaches_all_of_its_weights(size):
    net = unet.UNet(unet.UNetOptions(size, 4))
    image = faces(2, size)
    assert torch.equal(net(image), image)
    assert min(skip.shape[-1] for skip in _sizes(net, image)) == 8
    torch.nn.init.normal_(net.to_image.weight)
    net(image).abs().mean().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in net.parameters())
    assert unet.describe_cost(unet.UNetOptions(size, 8))['parameters in millions'] > 0.1


def _sizes(net, image):
    found = []
    hooks = [level.register_forward_hook(lambda _, __, output: found.append(output)) for level in net.down]
    net(image)
    for hook in hooks:
        hook.remove()
    return found


def unet_arguments(face_folder, output, samples):
    changes = [f'datasets:train:dataroot_gt={face_folder}', 'datasets:train:gt_size=32', 'datasets:train:dataset_enlarge_ratio=1']
    return Namespace(opt=str(TINY_OPTIONS), force_yml=changes, width=4, samples=samples, lr=1e-3, print_freq=2, output=output)


def test_a_training_that_was_stopped_goes_on_as_if_it_was_not(face_folder, tmp_path, monkeypatch, capsys):
    assert unet.run(unet_arguments(face_folder, tmp_path / 'whole', 24)) == 0
    printed = capsys.readouterr().out
    assert 'step 6/6  l1' in printed
    train = unet.Training.train

    def stop_at_the_third(self, *arguments):
        if self.step == 2:
            signal.raise_signal(signal.SIGTERM)
        return train(self, *arguments)

    monkeypatch.setattr(unet.Training, 'train', stop_at_the_third)
    assert unet.run(unet_arguments(face_folder, tmp_path / 'parts', 24)) == 143
    assert read_torch_file(tmp_path / 'parts/unet.pth')['step'] == 3
    monkeypatch.setattr(unet.Training, 'train', train)
    assert unet.run(unet_arguments(face_folder, tmp_path / 'parts', 24)) == 0
    whole, parts = (read_torch_file(tmp_path / name / 'unet.pth') for name in ('whole', 'parts'))
    assert whole['step'] == parts['step'] == 6
    assert all(torch.equal(parts['params_ema'][name], value) for name, value in whole['params_ema'].items())


def test_a_checkpoint_of_another_width_is_refused(face_folder, tmp_path):
    unet.Training(unet.UNetOptions(32, 8), 1e-3, 1).save(tmp_path / 'unet.pth')
    with pytest.raises(FRExError, match=r'unet\.pth: of another network than UNetOptions\(size=32, width=4\)'):
        unet.run(unet_arguments(face_folder, tmp_path, 24))


def test_the_unet_sees_the_samples_of_frexs_own_training(face_folder):
    opt = {'name': 'faces', 'type': 'FaceDegradationDataset', 'dataroot_gt': str(face_folder), 'gt_size': 32, 'seed': 3}
    dataset = FaceDegradationDataset(opt)
    batches = unet.iterate_batches(dataset, 2, 3, 0)
    first = [next(batches) for _ in range(4)]
    later = unet.iterate_batches(dataset, 2, 3, 3)
    # Two batches an epoch of five faces; the fourth is the second of the second epoch.
    torch.testing.assert_close(next(later), first[3])


def test_a_loaded_row_restores_images(tmp_path):
    training = unet.Training(unet.UNetOptions(32, 4), 1e-3, 1)
    training.save(tmp_path / 'unet.pth')
    loaded = restorers.load_restorer('U-Net', tmp_path / 'unet.pth')
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    # Untrained it gives back what it gets.
    assert np.array_equal(loaded.restore([image])[0], image)
    assert restorers.resize_around(loaded, 64)([cv2.resize(image, (64, 64))])[0].shape == (64, 64, 3)
    assert to_tensor(image).shape == (3, 32, 32)
