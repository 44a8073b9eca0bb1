"""FREx in spandrel, and so in chaiNNer and ComfyUI: spandrel's own loader finds it, and it is called as those call GFPGAN."""

import importlib
import sys

import numpy as np
import pytest
import safetensors.torch
import torch
from official_files import mini_eg3d
from spandrel import MAIN_REGISTRY, ImageModelDescriptor, ModelLoader, ModelTiling, UnsupportedDtypeError
from tiny import faces, tiny_frex, tiny_network_options, trained

import frex.spandrel
from frex.errors import FRExError
from frex.images import resize
from frex.restore import FaceRestorer
from frex.restore.detection.align import cut_face, face_matrix
from frex.tensors import to_images, to_tensor
from frex.weights import small_model
from frex.weights.embedded_options import OPTIONS_KEY, encode_options
from frex.weights.network_file import read_network
from frex_arch import FREx3D

ROUNDING = 1e-6


@pytest.fixture(scope='module', autouse=True)
def _installed():
    """Let spandrel know FREx; a second time changes nothing."""
    frex.spandrel.install()
    known = len(MAIN_REGISTRY)
    frex.spandrel.install()
    assert len(MAIN_REGISTRY) == known


@pytest.fixture(scope='module')
def state():
    """The weights of a tiny FREx."""
    return trained(tiny_frex()).state_dict()


@pytest.fixture(scope='module')
def descriptor(half_checkpoint):
    """The network of a file that `frex weights convert` writes, as spandrel loads it."""
    return ModelLoader().load_from_file(half_checkpoint)


@pytest.fixture(scope='module')
def portrait(portraits):
    """A real face in FFHQ alignment, 512 x 512."""
    found = portraits['eileen_collins']
    return np.ascontiguousarray(cut_face(found.image, face_matrix(found.landmarks, 512), 512))


def to_unit(batch):
    """RGB in [-1, 1] as spandrel's images: in [0, 1]."""
    return (batch.clamp(-1, 1) + 1) / 2


# --- spandrel's own loader


def test_the_shipped_file_is_loaded_and_gives_what_the_restorer_gives(portrait):
    if not small_model.PATH.is_file():
        pytest.skip('this checkout has no small FREx')
    found = ModelLoader().load_from_file(small_model.PATH)
    restorer = FaceRestorer.from_pretrained(device='cpu', precision='fp32')
    face = to_tensor(resize(portrait, restorer.size))[None]
    with torch.inference_mode():
        expected = restorer.net(face).image
        # As chaiNNer calls GFPGAN.
        image, _ = found.model(face, return_rgb=False, weight=0.5)
    assert expected.std() > 0.1
    assert (image - expected).abs().max() <= ROUNDING
    assert (found(to_unit(face)) - to_unit(expected)).abs().max() <= ROUNDING
    np.testing.assert_array_equal(to_images(image)[0], restorer.restore_aligned(portrait))


def test_what_programs_ask_of_a_model(descriptor):
    assert isinstance(descriptor, ImageModelDescriptor)
    assert (descriptor.architecture.id, descriptor.purpose, descriptor.tags) == ('FREx', 'FaceSR', ['64px'])
    assert (descriptor.scale, descriptor.input_channels, descriptor.output_channels) == (1, 3, 3)
    assert descriptor.tiling is ModelTiling.INTERNAL
    assert descriptor.size_requirements.check(512, 512)
    assert not descriptor.size_requirements.check(512, 480)
    assert {parameter.dtype for parameter in descriptor.model.parameters()} == {torch.float32}
    assert not descriptor.model.training
    for cast in (descriptor.half, descriptor.bfloat16):
        with pytest.raises(UnsupportedDtypeError):
            cast()


def test_faces_of_the_usual_512_pixels_are_resized_and_come_back_at_that_size(descriptor, portrait):
    face = to_tensor(portrait)[None]
    with torch.inference_mode():
        small = descriptor.model(to_tensor(resize(portrait, 64))[None])[0]
    result = descriptor(to_unit(face))
    assert result.shape == (1, 3, 512, 512)
    # The area averages of the small face are not rounded to 8 bits here.
    enlarged = resize(to_images(small)[0], 512)
    difference = np.abs(to_images(2 * result - 1)[0].astype(int) - enlarged)
    assert difference.mean() < 1
    assert enlarged.std() > 10


@pytest.mark.parametrize('size', [48, 64, 100, 128])
def test_faces_are_resized_as_the_restorer_resizes_them(portrait, size):
    face = resize(portrait, size)
    resized = frex.spandrel.resize_faces(to_tensor(face)[None], 64)
    difference = np.abs(to_images(resized)[0].astype(int) - resize(face, 64))
    # Torch's and OpenCV's area averages agree where the sizes divide.
    assert difference.max() <= (1 if size != 100 else 40)
    assert difference.mean() <= (0.5 if size != 100 else 2)


def test_a_batch_is_restored_as_its_faces_are(descriptor):
    batch = to_unit(faces(2))
    alone = torch.cat([descriptor(face[None]) for face in batch])
    assert (descriptor(batch) - alone).abs().max() <= 1e-5


# --- State dicts


def test_a_saved_network_loads_again_in_spandrel_and_in_frex(descriptor, tmp_path):
    saved = descriptor.model.state_dict()
    torch.save(saved, tmp_path / 'saved.pth')
    safetensors.torch.save_file({name: value.contiguous() for name, value in saved.items()}, tmp_path / 'saved.safetensors')
    face = to_unit(faces(1))
    for path in (tmp_path / 'saved.pth', tmp_path / 'saved.safetensors'):
        again = ModelLoader().load_from_file(path)
        assert torch.equal(again(face), descriptor(face))
        assert read_network(path).arguments == tiny_network_options()


def test_a_checkpoint_of_training_is_known_by_its_shapes(checkpoint, state):
    found = ModelLoader().load_from_state_dict({'params_ema': state})
    assert found.model.out_size == 64
    again = ModelLoader().load_from_file(checkpoint)
    face = faces(1)
    assert torch.equal(found.model(face)[0], again.model(face)[0])


def test_no_other_architecture_takes_it_for_its_own(state):
    found = [support.architecture.id for support in MAIN_REGISTRY if support.detect(state | {OPTIONS_KEY: torch.zeros(1)})]
    assert found == ['FREx']


def test_its_parts_alone_are_not_taken_for_it():
    options = tiny_network_options()
    stage_a = FREx3D(out_size=64, eg3d=options['eg3d'], encoder_3d=options['encoder_3d'])
    for other in (stage_a.state_dict(), mini_eg3d().state_dict()):
        assert not MAIN_REGISTRY['FREx'].detect(other)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda state: {name: value for name, value in state.items() if name != 'encoder_2d.final.1.bias'}, 'do not fit FREx: 1 missing'),
        (lambda state: state | {'encoder_2d.final.1.bias': state['encoder_2d.final.1.bias'] * torch.nan}, 'NaN or infinite'),
        (lambda state: state | {OPTIONS_KEY: encode_options({'type': 'EG3D'})}, 'those of EG3D'),
        (lambda state: state | {OPTIONS_KEY: encode_options({'type': 'FREx', 'out_sise': 64})}, 'unknown key'),
    ],
    ids=['a missing weight', 'NaN', 'options of another network', 'an unknown option'],
)
def test_what_does_not_fit_is_one_line(state, change, message):
    changed = change({OPTIONS_KEY: encode_options({'type': 'FREx', **tiny_network_options()})} | state)
    with pytest.raises(FRExError, match=rf'^FREx: .*{message}'):
        ModelLoader().load_from_state_dict(changed)


def test_without_spandrel_the_extra_is_named(monkeypatch):
    monkeypatch.delitem(sys.modules, 'frex.spandrel')
    monkeypatch.setitem(sys.modules, 'spandrel', None)
    with pytest.raises(FRExError, match=r"^frex\.spandrel needs the package spandrel, .*: pip install 'frex\[upsample\]'$"):
        importlib.import_module('frex.spandrel')
