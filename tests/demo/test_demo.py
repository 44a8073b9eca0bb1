"""Both demos in parts: restoring two portraits, and `--train`, which `frex demo --train` runs as a whole."""

from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

import numpy as np
import PIL.Image
import pytest
import torch
from fake_restorer import FakeNetwork

from frex.cli.main import main
from frex.demo import restore, train
from frex.demo.degradations import DEGRADATIONS, IN_PHOTOGRAPH, FixedDegradation, apply_degradation
from frex.demo.portraits import measure_portrait
from frex.errors import FRExError
from frex.images import read_image
from frex.restore import FaceRestorer
from frex.restore.detection.align import align_face
from frex.tensors import to_tensor

# --- Training


@pytest.fixture(scope='module')
def faces(tmp_path_factory):
    return train.write_faces(tmp_path_factory.mktemp('faces'))


@pytest.fixture(scope='module')
def trials(checkpoint, faces):
    restorer = FaceRestorer.from_pretrained(checkpoint, 'cpu')
    return [train.degrade_and_restore(restorer, face, [0, number]) for number, face in enumerate(faces)]


def test_two_portraits_are_cut_to_the_alignment(faces):
    assert [face.name for face in faces] == ['eileen_collins.png', 'grace_hopper.png']
    for face in faces:
        image = read_image(face)
        assert image.shape == (512, 512, 3)
        # Skin between the eyes: red over green over blue.
        blue, green, red = image[235:255, 246:266].reshape(-1, 3).mean(axis=0)
        assert red > green > blue


def test_a_trial_measures_degraded_and_restored_against_the_original(trials):
    for trial in trials:
        for image, psnr in zip(trial.images[:2], trial.psnr, strict=True):
            error = np.square(image.astype(float) - trial.images[2]).mean()
            assert psnr == pytest.approx(10 * np.log10(255**2 / error))
        assert all(0 < ssim < 1 for ssim in trial.ssim)


def test_the_image_is_written(trials, tmp_path):
    train.write_grid(trials, tmp_path / 'demo/comparison.png', 'two faces')
    assert read_image(tmp_path / 'demo/comparison.png').std() > 20


def test_a_gain_is_reported_and_too_little_of_it_is_an_error(trials, capsys):
    for trial in trials:
        trial.psnr = [10.0, 12.5]
    train.print_report(trials)
    assert 'degraded  PSNR 10.00 dB' in capsys.readouterr().out
    for trial in trials:
        trial.psnr = [10.0, 11.5]
    with pytest.raises(FRExError, match=r'gained only 1\.50 dB, less than 2\.0'):
        train.print_report(trials)


def test_it_is_reached_by_its_flag(monkeypatch):
    called = []
    monkeypatch.setattr(train, 'run', lambda: called.append('train'))
    assert main(['demo', '--train']) == 0
    assert called == ['train']


# --- Restoring


@pytest.fixture(scope='module')
def demonstrated(half_checkpoint, tmp_path_factory):
    """Run `frex demo` with a tiny network of random weights; return folder, status and output."""
    folder = tmp_path_factory.mktemp('demo')
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        patch.setattr('frex.weights.small_model.PATH', half_checkpoint)
        patch.setattr('frex.cli.run.keep_freed_memory', lambda: True)
        patch.setattr('frex.cli.run.shorten_waits', lambda: None)
        patch.chdir(folder)
        status = main(['demo', '--device', 'cpu'])
    return folder / 'results/demo', status, out.getvalue(), err.getvalue()


def test_the_command_uses_the_shipped_model_and_fails_without_a_gain(demonstrated):
    folder, status, out, err = demonstrated
    assert status == 1
    assert out.startswith('No --model_path: using the small FREx that comes with the package (64 x 64 faces')
    assert err.splitlines()[-1].startswith('frex: error: restoring gained -')
    assert sorted(path.name for path in folder.iterdir()) == ['comparison.png', 'turntable.gif', 'turntable_strip.png']


@pytest.mark.parametrize('degradation', DEGRADATIONS, ids=lambda degradation: degradation.name)
def test_a_degradation_is_the_same_each_time_and_scales_with_the_face(degradation, portraits):
    image = portraits['grace_hopper'].image
    degraded = apply_degradation(image, degradation, 128, [0])
    assert degraded.shape == image.shape
    assert np.array_equal(degraded, apply_degradation(image, degradation, 128, [0]))
    error = np.abs(degraded.astype(int) - image).mean()
    assert 1 < error < 40
    if degradation.noise is None:
        assert error < np.abs(apply_degradation(image, degradation, 512, [0]).astype(int) - image).mean()
    else:
        assert not np.array_equal(degraded, apply_degradation(image, degradation, 128, [1]))


def test_no_step_is_no_change(portraits):
    image = portraits['grace_hopper'].image
    assert np.array_equal(apply_degradation(image, FixedDegradation('nothing'), 64, [0]), image)
    # A face that is smaller than that already is not made smaller.
    assert np.array_equal(apply_degradation(image, FixedDegradation('low resolution', pixels_across=32), 30, [0]), image)


def test_the_comparison_has_all_rows(demonstrated):
    image = read_image(demonstrated[0] / 'comparison.png')
    height, width = image.shape[:2]
    assert height > 150 * (len(DEGRADATIONS) + len(IN_PHOTOGRAPH))
    assert width > 6 * 180
    assert image.std() > 20


def test_the_heads_turn_to_the_other_side_and_back(demonstrated):
    strip = read_image(demonstrated[0] / 'turntable_strip.png')
    assert strip.shape == (2 * 64, 9 * 64, 3)
    with PIL.Image.open(demonstrated[0] / 'turntable.gif') as animation:
        assert animation.n_frames == 16
        assert animation.size == (2 * 256, 256)
        assert animation.info['loop'] == 0


def test_a_sample_is_measured_against_the_truth():
    truth = np.random.default_rng(0).integers(50, 200, (64, 64, 3), dtype=np.uint8)
    sample = measure_portrait('row', (truth + 20, truth + 2, truth))
    assert sample.psnr == pytest.approx([10 * np.log10(255**2 / 400), 10 * np.log10(255**2 / 4)])
    assert 0.5 < sample.ssim[0] < sample.ssim[1] < 1


class Blind(FaceRestorer):
    """Returns every face as it is, or moved by the fraction `share` towards the clean faces that it was given first."""

    def __init__(self, share=0.0):
        super().__init__(FakeNetwork(64, change=self._change), 'cpu')
        self.net.eg3d, self.share, self.truths = None, share, []

    def _change(self, lq):
        return torch.stack([self._nearer(face) for face in lq])

    def _nearer(self, face):
        truth = min(self.truths, key=lambda truth: (face - truth).square().mean().item())
        return face + self.share * (truth - face)


@pytest.fixture
def without_files(weights_folder, monkeypatch):
    """Hide all weight files, and skip the figures."""
    monkeypatch.setattr(restore, 'write_comparison', lambda samples, path, title: None)


def blind(share, portraits):
    """Return a restorer that knows the clean faces."""
    restorer = Blind(share)
    restorer.truths = [to_tensor(align_face(portrait.image, portrait.landmarks, 64)) for portrait in portraits.values()]
    return restorer


@pytest.mark.usefixtures('without_files')
def test_the_table_has_gains_by_row_and_their_mean(portraits, tmp_path, capsys):
    # Half of the error is 6.02 dB.
    restore.demonstrate(blind(0.5, portraits), tmp_path)
    printed = capsys.readouterr().out
    rows = {line.strip().partition('  ')[0]: line.split() for line in printed.splitlines() if line.startswith('  ')}
    photographs = [f'{name}, in the photograph' for name in IN_PHOTOGRAPH]
    assert list(rows) == ['degradation', *(degradation.name for degradation in DEGRADATIONS), 'mean of the aligned faces', *photographs]
    for degradation in DEGRADATIONS:
        assert float(rows[degradation.name][-4]) == pytest.approx(6, abs=0.3)
        assert float(rows[degradation.name][-1]) > 0
    means = np.mean([[float(value) for value in rows[degradation.name][-6:]] for degradation in DEGRADATIONS], axis=0)
    np.testing.assert_allclose([float(value) for value in rows['mean of the aligned faces'][-6:]], means, atol=0.011)
    for name in photographs:
        assert float(rows[name][-4]) > 1
    # Without a 3D prior no head turns.
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures('without_files')
def test_too_little_gain_is_an_error(portraits, tmp_path):
    with pytest.raises(FRExError, match=r'restoring gained 0\.00 dB on average, less than 1'):
        restore.demonstrate(blind(0.0, portraits), tmp_path)
    restore.demonstrate(blind(0.0, portraits), tmp_path, min_gain=0.0)


@pytest.mark.usefixtures('no_small_model')
def test_without_a_model_one_line_says_what_to_do(capsys):
    assert main(['demo']) == 1
    assert capsys.readouterr().err == (
        'frex: error: the small FREx that comes with the package is not in this installation; '
        'give a checkpoint by --model_path, or train a tiny FREx: frex demo --train\n'
    )
