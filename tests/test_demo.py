"""The demo's parts; `make demo` runs the whole."""

import numpy as np
import pytest

from frex import demo
from frex.errors import FRExError
from frex.images import read_image
from frex.restore import FaceRestorer


@pytest.fixture(scope='module')
def faces(tmp_path_factory):
    return demo.write_faces(tmp_path_factory.mktemp('faces'))


@pytest.fixture(scope='module')
def trials(checkpoint, faces):
    restorer = FaceRestorer.from_pretrained(checkpoint, 'cpu')
    return [demo.attempt(restorer, face, [0, number]) for number, face in enumerate(faces)]


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


def test_the_picture_is_written(trials, tmp_path):
    demo.show(trials, tmp_path / 'demo/comparison.png', 'two faces')
    assert read_image(tmp_path / 'demo/comparison.png').std() > 20


def test_a_gain_is_reported_and_too_little_of_it_is_an_error(trials, capsys):
    for trial in trials:
        trial.psnr = [10.0, 12.5]
    demo.report(trials)
    assert 'degraded  PSNR 10.00 dB' in capsys.readouterr().out
    for trial in trials:
        trial.psnr = [10.0, 11.5]
    with pytest.raises(FRExError, match=r'gained only 1\.50 dB, less than 2\.0'):
        demo.report(trials)
