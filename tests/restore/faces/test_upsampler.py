"""Super-resolution networks over images, in tiles."""

import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import frex.registry  # noqa: F401 (makes basicsr importable)
from frex.errors import FRExError
from frex.restore.faces.photo import scale_background
from frex.restore.faces.upsampler import NetworkUpsampler, load_upsampler
from frex.restore.image_io.photo_file import from_array

from basicsr.archs.srvgg_arch import SRVGGNetCompact  # isort: skip

CPU = torch.device('cpu')


class Doubling:
    """Stands in for a network of spandrel's: blurs over 3 x 3 pixels, doubles each, and keeps count of the sizes that it is given."""

    scale, supports_bfloat16 = 2, False

    def __init__(self, most=10**9):
        self.most, self.sizes = most, []

    def to(self, *_):
        return self

    eval = to

    def __call__(self, image):
        self.sizes.append(tuple(image.shape[2:]))
        if image.shape[2] * image.shape[3] > self.most:
            raise RuntimeError('CUDA out of memory')
        blurred = F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode='replicate'), 3, stride=1)
        return F.interpolate(blurred, scale_factor=2)


def noise(height=70, width=50, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (height, width, 3)).astype(dtype)


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_tiles_give_what_the_whole_image_gives(dtype):
    image = noise(dtype=dtype)
    whole = NetworkUpsampler(Doubling(), CPU, tile=0)(image, (100, 140))
    expected = torch.from_numpy(image.astype(np.float64)).movedim(2, 0)[None]
    expected = F.avg_pool2d(F.pad(expected, (1, 1, 1, 1), mode='replicate'), 3, stride=1)[0].movedim(0, 2).numpy()
    assert whole.dtype == dtype
    np.testing.assert_allclose(whole, expected.repeat(2, 0).repeat(2, 1), atol=0.51)
    for tile in (16, 33, 64, 400):
        network = Doubling()
        assert np.array_equal(NetworkUpsampler(network, CPU, tile=tile)(image, (100, 140)), whole)
        assert max(max(size) for size in network.sizes) <= tile + 32


def test_other_sizes_are_resized_from_the_networks_own():
    image = np.full((20, 30, 3), (10, 20, 30), np.uint8)
    for size in ((30, 20), (45, 30), (90, 60)):
        result = NetworkUpsampler(Doubling(), CPU)(image, size)
        assert result.shape == (size[1], size[0], 3)
        assert (result == (10, 20, 30)).all()


def test_tiles_are_halved_where_memory_does_not_suffice_and_stay_so():
    network = Doubling(most=5000)
    upsampler = NetworkUpsampler(network, CPU, tile=128)
    image = noise(100, 90)
    assert np.array_equal(upsampler(image, (180, 200)), NetworkUpsampler(Doubling(), CPU)(image, (180, 200)))
    # A tile of 64 pixels has a padding of 16 on up to two sides.
    assert upsampler.tile == 32
    network.sizes.clear()
    upsampler(image, (180, 200))
    assert max(height * width for height, width in network.sizes) <= 5000


def test_a_negative_tile_is_refused():
    with pytest.raises(FRExError, match='--bg_tile -5: must be at least 0'):
        NetworkUpsampler(Doubling(), CPU, tile=-5)


def test_too_little_memory_for_the_smallest_tile_is_one_line():
    with pytest.raises(FRExError, match='out of memory, even in tiles of 50 x 50'):
        NetworkUpsampler(Doubling(most=10), CPU, tile=100)(noise(), (100, 140))


def test_other_errors_are_not_taken_for_too_little_memory():
    class Broken(Doubling):
        def __call__(self, image):
            raise RuntimeError('a bug')

    with pytest.raises(RuntimeError, match='a bug'):
        NetworkUpsampler(Broken(), CPU)(noise(), (100, 140))


@pytest.fixture(scope='module')
def compact():
    torch.manual_seed(0)
    return SRVGGNetCompact(num_feat=8, num_conv=2, upscale=2).eval()


@pytest.mark.parametrize('key', ['params', 'params_ema', None])
def test_a_file_gives_its_network(compact, tmp_path, key):
    torch.save({key: compact.state_dict()} if key else compact.state_dict(), tmp_path / 'net.pth')
    image = noise(24, 20)
    result = load_upsampler(str(tmp_path / 'net.pth'))(image, (40, 48))
    with torch.no_grad():
        lq = torch.from_numpy(image[:, :, ::-1].astype(np.float32) / 255).movedim(2, 0)[None]
        expected = (compact(lq)[0].clamp(0, 1).movedim(0, 2).numpy()[:, :, ::-1] * 255).round()
    np.testing.assert_allclose(result, expected, atol=1)


def test_none_loads_nothing():
    assert load_upsampler('none') is load_upsampler('None') is None


def test_a_missing_file_is_downloaded_or_named(monkeypatch, tmp_path):
    monkeypatch.setenv('FREX_OFFLINE', '1')
    monkeypatch.setenv('FREX_HOME', str(tmp_path))
    for name in ('realesrgan', 'RealESRGAN_x2plus'):
        with pytest.raises(FRExError, match=r'RealESRGAN_x2plus\.pth'):
            load_upsampler(name)
    with pytest.raises(FRExError, match=r'nowhere\.pth'):
        load_upsampler('nowhere.pth')


def test_other_weights_are_refused(tmp_path):
    torch.save({'w': torch.zeros(3)}, tmp_path / 'net.pth')
    with pytest.raises(FRExError, match='not a network that spandrel knows'):
        load_upsampler(str(tmp_path / 'net.pth'))


def test_a_network_for_grey_images_is_refused(tmp_path):
    torch.save(SRVGGNetCompact(num_in_ch=1, num_out_ch=1, num_feat=8, num_conv=2, upscale=2).state_dict(), tmp_path / 'net.pth')
    with pytest.raises(FRExError, match='does not map colour images'):
        load_upsampler(str(tmp_path / 'net.pth'))


def test_the_package_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, 'spandrel', None)
    with pytest.raises(FRExError, match=r"pip install 'frex\[upsample\]'"):
        load_upsampler('realesrgan')


def test_hidden_colours_do_not_show_and_grey_stays_grey():
    upsampler = NetworkUpsampler(Doubling(), CPU)
    image = np.concatenate([noise(16, 16), np.full((16, 16, 1), 255, np.uint8)], axis=2)
    image[:, :8, 3] = 0
    photo = from_array(image)
    plain, scaled = scale_background(photo, 2), scale_background(photo, 2, upsampler)
    hidden = scaled.alpha == 0
    assert hidden.any()
    assert np.array_equal(scaled.image[hidden], plain.image[hidden])
    opaque = scaled.alpha == 255
    assert np.array_equal(scaled.image[opaque], upsampler(photo.image, (32, 32))[opaque])
    grey = scale_background(from_array(noise(16, 16)[:, :, 0]), 2, upsampler)
    assert (grey.image == grey.image[:, :, :1]).all()
