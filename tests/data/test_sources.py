"""Images of a folder, an lmdb and a zip are the same images; what is damaged is named."""

import json
import multiprocessing
import os
import shutil
import zipfile

import cv2
import lmdb
import numpy as np
import pytest
import torch
from processes import CONTEXT
from torch.utils.data import DataLoader

from frex import compat
from frex.data.face_degradation_dataset import FaceDegradationDataset
from frex.data.face_set import make_short_names
from frex.data.sources import open_source
from frex.errors import FRExError
from frex_arch.camera import frontal_camera

KINDS = ('folder', 'lmdb', 'zip')
NAMES = ['00000/img0.png', '00000/img1.png', '__MACOSX_faces/img2.png', 'last.png']
compat.install()


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Images in folders, with labels that mark each camera by its x position, a hidden file and one that is no image."""
    folder = tmp_path_factory.mktemp('sources') / 'faces'
    rng = np.random.default_rng(0)
    for name in (*NAMES, '.hidden.png', '.cache/img.png'):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    cameras = frontal_camera(len(NAMES))
    cameras[:, 3] = torch.arange(len(NAMES)) * 0.1
    content = {'labels': [[name, camera.tolist()] for name, camera in zip(NAMES, cameras, strict=True)]}
    (folder / 'dataset.json').write_text(json.dumps(content))
    return folder


@pytest.fixture(scope='module')
def archives(folder):
    """The same as an lmdb that BasicSR's own tool has made, and as a zip."""
    from basicsr.utils.lmdb_util import make_lmdb_from_imgs

    database, archive = (folder.with_name(f'faces.{kind}') for kind in ('lmdb', 'zip'))
    make_lmdb_from_imgs(str(folder), str(database), NAMES, [name.removesuffix('.png') for name in NAMES], map_size=1 << 24)
    with zipfile.ZipFile(archive, 'w') as content:
        for path in sorted(folder.rglob('*')):
            content.write(path, path.relative_to(folder))
        content.write(folder / NAMES[0], '__MACOSX/._img0.png')
    return {'folder': folder, 'lmdb': database, 'zip': archive}


@pytest.fixture(scope='module', params=KINDS)
def root(request, archives):
    return archives[request.param]


def dataset(root, **changes):
    own = {'name': 'faces', 'type': 'FaceDegradationDataset', 'dataroot_gt': str(root), 'gt_size': 64, 'use_hflip': True}
    return FaceDegradationDataset(own | changes)


def test_names_are_paths_below_the_root(root):
    source = open_source(root, None, 'here')
    assert source.names == NAMES
    assert source.path(NAMES[0]) == f'{root}/00000/img0.png'


def test_images_are_those_that_were_put_in(root, folder):
    source = open_source(root, None, 'here')
    assert all(np.array_equal(source.read_image(name), cv2.imread(str(folder / name))) for name in NAMES)


def test_samples_of_all_kinds_are_equal_byte_for_byte(root, folder):
    labels = str(folder / 'dataset.json')
    one, other = dataset(root, camera_labels=labels), dataset(folder, camera_labels=labels)
    for key in [(epoch, visit) for epoch in (0, 1) for visit in range(6)]:
        for name in ('lq', 'gt', 'camera', 'crop'):
            assert torch.equal(one[key][name], other[key][name])


# A worker of a fork server gets the data set as a spawned one does, but need not import torch anew, which takes seconds.
@pytest.mark.parametrize('context', [multiprocessing.get_context('fork'), CONTEXT], ids=['fork', 'forkserver'])
@pytest.mark.parametrize('kind', KINDS)
def test_workers_read_what_the_first_process_has_read(archives, kind, context):
    faces = dataset(archives[kind])
    alone = torch.cat([batch['lq'] for batch in DataLoader(faces, batch_size=2)])
    loader = DataLoader(faces, batch_size=2, num_workers=2, multiprocessing_context=context)
    assert torch.equal(torch.cat([batch['lq'] for batch in loader]), alone)


def test_two_sets_of_one_archive_are_read_in_turn(root):
    one, other = dataset(root, use_hflip=False), dataset(root, use_hflip=False, phase='val')
    assert all(torch.equal(one[index]['gt'], other[index]['gt']) for index in range(4))


def test_labels_may_lie_in_the_zip(archives):
    faces = dataset(archives['zip'], camera_labels=f'{archives["zip"]}/dataset.json', use_hflip=False)
    assert [faces[index]['camera'][3].item() for index in range(4)] == pytest.approx([0.0, 0.1, 0.2, 0.3])
    with pytest.raises(FRExError, match=r"faces\.zip/labels\.json: cannot be read from the zip .*no item named 'labels\.json'"):
        dataset(archives['zip'], camera_labels=f'{archives["zip"]}/labels.json')


def test_links_to_folders_are_followed_but_not_in_circles(folder, tmp_path):
    (tmp_path / 'faces').mkdir()
    os.symlink(folder / '00000', tmp_path / 'faces/linked')
    os.symlink(tmp_path / 'faces', tmp_path / 'faces/again')
    assert open_source(tmp_path / 'faces', None, 'here').names == ['linked/img0.png', 'linked/img1.png']


@pytest.mark.parametrize(
    ('names', 'expected'),
    [
        (['a/x.png', 'b/y.png'], ['x', 'y']),
        (['a/x.png', 'b/x.png'], ['a_x', 'b_x']),
        (['a/x.png', 'a/x.jpg'], ['a%2Fx.png', 'a%2Fx.jpg']),
    ],
)
def test_results_have_names_of_their_own(names, expected):
    assert make_short_names(names) == expected


@pytest.mark.parametrize(
    ('suffix', 'backend', 'message'),
    [
        ('lmdb', 'disk', r'here\.io_backend\.type: disk, but dataroot_gt is .*faces\.lmdb; an lmdb is a folder that ends in \.lmdb'),
        ('zip', 'lmdb', r'here\.io_backend\.type: lmdb, but dataroot_gt is .*faces\.zip'),
        ('zip', 'memcached', r"here\.io_backend\.type: 'memcached'; known: disk, lmdb"),
    ],
)
def test_a_backend_that_contradicts_the_name_is_refused(archives, suffix, backend, message):
    with pytest.raises(FRExError, match=message):
        open_source(archives[suffix], backend, 'here')


def test_a_suffix_may_have_capital_letters(archives, tmp_path):
    shutil.copytree(archives['lmdb'], tmp_path / 'faces.LMDB')
    assert open_source(tmp_path / 'faces.LMDB', 'lmdb', 'here').names == NAMES


def test_basicsrs_word_for_it_is_taken(archives):
    assert len(dataset(archives['lmdb'], io_backend={'type': 'lmdb'})) == len(dataset(archives['folder'], io_backend={'type': 'disk'})) == 4
    with pytest.raises(FRExError, match=r'datasets\.train\.io_backend\.db_paths: unknown key'):
        dataset(archives['lmdb'], io_backend={'type': 'lmdb', 'db_paths': 'x'})


def refused(root):
    with pytest.raises(FRExError) as caught:
        open_source(root, None, 'here')
    return str(caught.value)


@pytest.mark.parametrize('suffix', ['lmdb', 'zip', 'folder'])
def test_what_is_missing_is_named(tmp_path, suffix):
    path = tmp_path / f'no.{suffix}'
    assert refused(path).startswith('here.dataroot_gt: no ')
    assert refused(path).endswith(str(path))


def test_an_archive_without_images_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / 'empty.zip', 'w') as content:
        content.writestr('notes.txt', 'no image')
    assert 'here.dataroot_gt: no image in' in refused(tmp_path / 'empty.zip')
    lmdb.open(str(tmp_path / 'empty.lmdb'), map_size=1 << 20).close()
    (tmp_path / 'empty.lmdb/meta_info.txt').write_text('')
    assert 'here.dataroot_gt: no image in' in refused(tmp_path / 'empty.lmdb')


def test_a_damaged_zip_is_named(archives, tmp_path):
    whole = archives['zip'].read_bytes()
    (tmp_path / 'cut.zip').write_bytes(whole[: len(whole) // 2])
    assert 'cut.zip is not a zip, or a damaged one' in refused(tmp_path / 'cut.zip')
    data = cv2.imencode('.png', np.zeros((9, 9, 3), np.uint8))[1].tobytes()
    with zipfile.ZipFile(tmp_path / 'changed.zip', 'w') as content:
        content.writestr('a/face.png', data)
        content.writestr('a/text.png', b'text')
    stored = (tmp_path / 'changed.zip').read_bytes()
    (tmp_path / 'changed.zip').write_bytes(stored.replace(data, data[:-1] + b'x'))
    source = open_source(tmp_path / 'changed.zip', None, 'here')
    with pytest.raises(FRExError, match=r'changed\.zip/a/face\.png: cannot be read from the zip \(Bad CRC-32'):
        source.read_image('a/face.png')
    with pytest.raises(FRExError, match=r'changed\.zip/a/text\.png: not an image'):
        source.read_image('a/text.png')


def test_a_damaged_lmdb_is_named(archives, tmp_path):
    bare, cut, other = (shutil.copytree(archives['lmdb'], tmp_path / f'{name}.lmdb') for name in ('bare', 'cut', 'other'))
    (bare / 'meta_info.txt').unlink()
    assert 'meta_info.txt' in refused(bare)
    # Read as it is, it would end the process by SIGBUS.
    os.truncate(cut / 'data.mdb', os.path.getsize(cut / 'data.mdb') - 8192)
    assert "cut.lmdb is not an lmdb of BasicSR's layout, or a damaged one (data.mdb has " in refused(cut)
    with (other / 'meta_info.txt').open('a') as lines:
        lines.write('zzz.png (64,64,3) 1\n')
    with pytest.raises(FRExError, match=r'other\.lmdb/zzz\.png: meta_info\.txt names it, but the lmdb does not hold it'):
        open_source(other, None, 'here').read_image('zzz.png')


def test_an_lmdb_of_rubbish_is_named(tmp_path):
    (tmp_path / 'bad.lmdb').mkdir()
    (tmp_path / 'bad.lmdb/data.mdb').write_bytes(b'rubbish' * 3000)
    (tmp_path / 'bad.lmdb/meta_info.txt').write_text('a.png (1,1,3) 1\n')
    assert 'bad.lmdb is not an lmdb' in refused(tmp_path / 'bad.lmdb')
