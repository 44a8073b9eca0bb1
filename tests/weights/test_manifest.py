"""The manifest of files of weights, where they are looked for, and how damaged ones are told from whole ones."""

import hashlib
import os
import re
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import torchvision
import yaml

from frex.cli.main import main
from frex.errors import FRExError
from frex.utils.files import sha256
from frex.weights import small_model
from frex.weights.locate import FileStatus, download_dir, find_file, require_file, search_paths, verify_file
from frex.weights.manifest import TASKS, WeightFile, files_for_task, find_entry, manifest, parse_manifest

# The sums were made with sha256sum.
CONTENT, SUM = b'weights of a network', 'fad5a62c483c9f6d16e61df97ab77879bcf3bea2062eecf55476aa5142e24711'
OTHER, OTHER_SUM = b'weights of an other.', '0302e320cc7d044dfb1b5a2731ba5f5247feafe70938d5ecc04d7f9d74f69d75'
GOOD = {
    'file': 'good.pth',
    'purpose': 'tests',
    'tasks': ['train'],
    'size': 20,
    'sha256': [SUM],
    'licence': 'MIT',
    'urls': ['https://example.org/good.pth'],
}
# In the order in which they are searched.
PLACES = [
    'given',
    'frex_home',
    'weights',
    'cache/frex/weights',
    'experiments/pretrained_models',
    'gfpgan/weights',
    'weights/facelib',
    'facexlib/weights',
    'site/facexlib/weights',
    'torch_home/hub/checkpoints',
]


def weights(**changes):
    return WeightFile(**({'key': 'good'} | GOOD | changes))


@pytest.fixture(autouse=True)
def _only_this_folder(tmp_path, monkeypatch):
    """All places are below the working directory, a package `facexlib` among them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(small_model, 'PATH', tmp_path / 'frex-small.safetensors')
    for variable, place in (('FREX_HOME', 'frex_home'), ('XDG_CACHE_HOME', 'cache'), ('TORCH_HOME', 'torch_home'), ('HOME', 'user')):
        monkeypatch.setenv(variable, str(tmp_path / place))
    put('site/facexlib', name='__init__.py')
    monkeypatch.syspath_prepend(tmp_path / 'site')
    monkeypatch.delitem(sys.modules, 'facexlib', raising=False)


def put(place, content=CONTENT, name='good.pth'):
    path = Path(place).absolute() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


# --- The manifest


@pytest.mark.parametrize(
    ('key', 'file', 'tasks'),
    [
        ('ffhqrebalanced512-128', 'ffhqrebalanced512-128.pkl', ['train']),
        ('ffhq512-128', 'ffhq512-128.pkl', []),
        ('stylegan2-ffhq512', 'StyleGAN2_512_Cmul1_FFHQ_B12G4_scratch_800k.pth', ['train']),
        ('arcface_resnet18', 'arcface_resnet18.pth', ['train', 'evaluate']),
        ('swin_v2_b', 'swin_v2_b-781e5279.pth', ['train']),
        ('vgg19', 'vgg19-dcbb9e9d.pth', ['train']),
        ('vgg16', 'vgg16-397923af.pth', ['train', 'evaluate']),
        ('retinaface_resnet50', 'detection_Resnet50_Final.pth', ['restore', 'evaluate']),
        ('retinaface_mobile0.25', 'detection_mobilenet0.25_Final.pth', []),
        ('parsenet', 'parsing_parsenet.pth', ['restore']),
        ('awing_fan', 'alignment_WFLW_4HG.pth', ['evaluate']),
        ('hopenet', 'headpose_hopenet.pth', ['evaluate']),
        ('inception_fid', 'pt_inception-2015-12-05-6726825d.pth', ['evaluate']),
    ],
)
def test_the_manifest_has_the_files_that_frex_needs_under_their_projects_names(key, file, tasks):
    assert find_entry(key).key == key
    assert find_entry(key).file == file
    assert find_entry(key).tasks == tasks
    assert [file.key for file in files_for_task(None)].count(key) == 1
    assert [task for task in TASKS if find_entry(key) in files_for_task(task)] == tasks


def test_no_two_files_have_one_name():
    names = [file.file.lower() for file in manifest().values()]
    assert len(set(names)) == len(names) >= 13
    assert [name for name in names if re.fullmatch(r'[a-z0-9_.-]+\.(pth|pkl)', name)] == names


@pytest.mark.parametrize('file', manifest().values(), ids=manifest())
def test_every_entry_has_what_one_needs_to_get_the_file(file):
    assert all(re.fullmatch('[0-9a-f]{64}|[0-9a-f]{8}', digits) for digits in file.sha256)
    assert file.size is None or file.size > 1_000_000
    assert file.urls
    assert all(url.startswith('https://') and url.endswith(file.file) for url in file.urls)
    assert file.purpose
    assert file.licence


@pytest.mark.parametrize('key', ['swin_v2_b', 'swin_v2_s', 'swin_v2_t', 'vgg19', 'vgg16', 'alexnet', 'inception_fid'])
def test_the_digits_in_a_files_name_begin_its_sum(key):
    (digits,) = re.findall(r'-([0-9a-f]{8})\.pth$', find_entry(key).file)
    assert [known[:8] for known in find_entry(key).sha256] == [digits]


@pytest.mark.parametrize('key', ['swin_v2_b', 'swin_v2_s', 'swin_v2_t', 'vgg19', 'vgg16', 'alexnet'])
def test_torchvisions_files_are_those_that_torchvision_loads(key):
    assert find_entry(key).urls == [torchvision.models.get_model_weights(key).IMAGENET1K_V1.url]


@pytest.mark.parametrize(
    ('module', 'key'),
    [
        ('detection', 'retinaface_resnet50'),
        ('detection', 'retinaface_mobile0.25'),
        ('parsing', 'parsenet'),
        ('parsing', 'bisenet'),
        ('alignment', 'awing_fan'),
        ('headpose', 'hopenet'),
    ],
)
def test_facexlibs_files_are_those_that_facexlib_loads_under_the_same_name(monkeypatch, tmp_path, module, key):
    monkeypatch.setattr(sys, 'path', [place for place in sys.path if place != str(tmp_path / 'site')])
    source = (Path(find_spec('facexlib').origin).parent / module / '__init__.py').read_text(encoding='utf-8')
    assert f"'{key}'" in source
    assert f"'{find_entry(key).urls[0]}'" in source


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'file': '../x.pth'}, "bad: file '../x.pth' must be a name without a folder"),
        ({'file': 'a/b.pth'}, "bad: file 'a/b.pth' must be a name without a folder"),
        ({'file': '/etc/passwd'}, "bad: file '/etc/passwd' must be a name without a folder"),
        ({'file': 'C:\\x'}, r"bad: file 'C:\\x' must be a name without a folder"),
        ({'file': '..'}, "bad: file '..' must be a name without a folder"),
        ({'file': '.'}, "bad: file '.' must be a name without a folder"),
        ({'file': ''}, "bad: file '' must be a name without a folder"),
        ({'sha256': ['not known']}, "bad: sha256 'not known' must be 8 to 64 lower-case hexadecimal digits"),
        ({'sha256': [SUM, SUM.upper()]}, f'bad: sha256 {SUM.upper()!r} must be 8 to 64 lower-case hexadecimal digits'),
        ({'sha256': [SUM[:7]]}, "bad: sha256 'fad5a62' must be 8 to 64 lower-case hexadecimal digits"),
        ({'sha256': [f'{SUM}0']}, f"bad: sha256 '{SUM}0' must be 8 to 64 lower-case hexadecimal digits"),
        ({'sha256': [12345678]}, 'bad: Expected `str`, got `int` - at `$.sha256[0]`'),
        ({'sha256': SUM}, 'bad: Expected `array`, got `str` - at `$.sha256`'),
        ({'urls': ['file:///etc/passwd']}, "bad: url 'file:///etc/passwd' must begin with https://"),
        ({'urls': ['https://example.org/x', 'ftp://x']}, "bad: url 'ftp://x' must begin with https://"),
        ({'size': 'large'}, 'bad: Expected `int | null`, got `str` - at `$.size`'),
        ({'tasks': ['fly']}, "bad: Invalid enum value 'fly' - at `$.tasks[0]`"),
        ({'license': 'MIT'}, "bad.license: unknown key; did you mean 'licence'?"),
    ],
)
def test_a_bad_entry_is_one_line_that_names_it(changes, message):
    with pytest.raises(FRExError) as error:
        parse_manifest(yaml.safe_dump({'good': GOOD, 'bad': GOOD | changes}), 'some.yml')
    assert str(error.value) == f'some.yml: {message}'


@pytest.mark.parametrize('key', GOOD)
def test_an_entry_without_a_key_is_one_line_that_names_both(key):
    with pytest.raises(FRExError) as error:
        parse_manifest(yaml.safe_dump({'bad': {name: value for name, value in GOOD.items() if name != key}}), 'some.yml')
    assert str(error.value) == f'some.yml: bad: Object missing required field `{key}`'


def test_a_good_entry_is_read_as_it_is():
    assert parse_manifest(yaml.safe_dump({'good': GOOD}), 'some.yml') == {'good': weights()}


@pytest.mark.parametrize(
    ('changes', 'described'),
    [
        ({}, ('20 bytes', SUM)),
        ({'size': 1234567}, ('1,234,567 bytes', SUM)),
        ({'size': None, 'sha256': [OTHER_SUM, SUM]}, ('size not known', OTHER_SUM)),
        ({'sha256': [SUM[:8]]}, ('20 bytes', 'fad5a62c... (the rest is not known)')),
        ({'sha256': []}, ('20 bytes', 'not known')),
    ],
)
def test_what_is_known_of_a_file_is_described(changes, described):
    assert (weights(**changes).described_size, weights(**changes).described_sum) == described


# --- Places


def test_places_are_searched_in_this_order(tmp_path):
    assert [tmp_path / place for place in search_paths(Path('given'))] == [tmp_path / place for place in PLACES]


@pytest.mark.parametrize('place', PLACES)
def test_a_file_is_found_in_each_place(place):
    path = put(place)
    state, found = find_file(weights(), Path('given'))[1:3]
    assert state is FileStatus.THERE
    assert found.absolute() == path


def test_a_file_in_an_earlier_place_hides_those_in_later_ones():
    paths = [put(place) for place in PLACES]
    found = []
    while (finding := find_file(weights(), Path('given'))).state is FileStatus.THERE:
        found.append(finding.path.absolute())
        finding.path.unlink()
    assert found == paths


def test_a_folder_that_is_not_given_is_not_searched():
    put('given')
    assert find_file(weights()).state is FileStatus.MISSING


@pytest.mark.parametrize(
    ('given', 'variable', 'folders', 'expected'),
    [
        ('given', 'frex_home', ['weights'], 'given'),
        ('~/given', 'frex_home', ['weights'], 'user/given'),
        (None, 'frex_home', ['weights'], 'frex_home'),
        (None, '~/frex_home', [], 'user/frex_home'),
        (None, '', ['weights'], 'weights'),
        (None, '', [], 'cache/frex/weights'),
    ],
)
def test_downloads_go_to_the_first_own_place(tmp_path, monkeypatch, given, variable, folders, expected):
    monkeypatch.setenv('FREX_HOME', variable)
    for folder in folders:
        Path(folder).mkdir()
    folder = download_dir(given and Path(given))
    assert folder.absolute() == tmp_path / expected
    assert search_paths(given and Path(given))[0] == folder


@pytest.mark.parametrize('known', [{'TORCH_HOME': '~/x', 'XDG_CACHE_HOME': 'y'}, {'XDG_CACHE_HOME': '~/x'}, {'XDG_CACHE_HOME': 'x'}, {}])
def test_the_last_place_is_the_one_of_torch(monkeypatch, known):
    for variable in ('TORCH_HOME', 'XDG_CACHE_HOME'):
        monkeypatch.delenv(variable)
    for variable, value in known.items():
        monkeypatch.setenv(variable, value)
    assert search_paths()[-1] == Path(torch.hub.get_dir()) / 'checkpoints'


# --- Whole and damaged files


@pytest.mark.parametrize(
    ('content', 'known', 'detail'),
    [
        (CONTENT, {}, ''),
        (CONTENT, {'size': None}, ''),
        (CONTENT, {'sha256': [SUM[:8]]}, ''),
        (CONTENT, {'sha256': [OTHER_SUM, SUM]}, ''),
        (OTHER, {'sha256': []}, ''),
        (b'', {'sha256': [], 'size': None}, ''),
        (b'', {}, '0 bytes instead of 20'),
        (CONTENT[:-1], {'sha256': []}, '19 bytes instead of 20'),
        (CONTENT, {'size': 1234567}, '20 bytes instead of 1,234,567'),
        (OTHER, {}, 'its sha256 begins with 0302e320 instead of fad5a62c'),
        (OTHER, {'size': None, 'sha256': [SUM[:8]]}, 'its sha256 begins with 0302e320 instead of fad5a62c'),
    ],
)
def test_damage_by_size_and_by_sum_is_described(content, known, detail):
    path = put('weights', content)
    state = FileStatus.DAMAGED if detail else FileStatus.THERE
    assert verify_file(weights(**known), path)[1:] == (state, path, detail)
    assert find_file(weights(**known))[1:] == (state, Path('weights/good.pth'), detail)


def test_the_sum_of_a_file_of_several_blocks_is_right(tmp_path):
    content = os.urandom((2 << 20) + 1)
    assert sha256(put(tmp_path, content)) == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize('damaged', [b'', OTHER])
def test_a_whole_copy_in_a_later_place_is_taken_before_a_damaged_one(damaged):
    put('frex_home', damaged)
    path = put('torch_home/hub/checkpoints')
    assert find_file(weights())[1:3] == (FileStatus.THERE, path)


def test_of_damaged_copies_the_first_is_told():
    path = put('frex_home', OTHER)
    put('torch_home/hub/checkpoints', b'')
    assert find_file(weights())[1:] == (FileStatus.DAMAGED, path, 'its sha256 begins with 0302e320 instead of fad5a62c')


def test_a_file_that_cannot_be_read_is_damaged():
    # Opening it is allowed; reading its first byte is not, for anybody.
    Path('weights').mkdir()
    Path('weights/good.pth').symlink_to('/proc/self/mem')
    assert find_file(weights(size=None))[1:] == (FileStatus.DAMAGED, Path('weights/good.pth'), 'it cannot be read (Input/output error)')
    path = put('torch_home/hub/checkpoints')
    assert find_file(weights(size=None))[1:3] == (FileStatus.THERE, path)


@pytest.mark.parametrize('folder', ['x' * 300, 'no folder', '/dev/null'])
def test_a_folder_that_cannot_be_looked_into_is_passed_over(monkeypatch, folder):
    Path('no folder').write_text('a file')
    monkeypatch.setenv('FREX_HOME', folder)
    path = put('torch_home/hub/checkpoints')
    assert find_file(weights())[1:3] == (FileStatus.THERE, path)


def test_neither_a_folder_nor_a_link_to_nothing_is_a_file():
    Path('frex_home/good.pth').mkdir(parents=True)
    Path('weights').mkdir()
    Path('weights/good.pth').symlink_to('lost.pth')
    assert find_file(weights())[1:] == (FileStatus.MISSING, None, '')


# --- What an option names


def test_a_file_is_named_by_its_key(manifest_of):
    manifest_of(weights())
    path = put('frex_home')
    assert require_file('good') == require_file('good', Path('given')) == path
    put('given')
    assert require_file('good', Path('given')) == Path('given/good.pth')


@pytest.mark.parametrize('name', ['mine.pth', './mine.pth', '~/mine.pth', Path('mine.pth')])
def test_a_file_is_named_by_its_path(manifest_of, name):
    manifest_of(weights())
    path = put('.', name='mine.pth')
    put('user', name='mine.pth')
    expected = {'~/mine.pth': path.parent / 'user' / 'mine.pth'}.get(name, path)
    assert require_file(name).absolute() == expected


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('good', 'good.pth is missing; get it with: frex weights download good'),
        ('bad', 'bad.pth is damaged (weights/bad.pth: 3 bytes instead of 20); get it with: frex weights download bad'),
        ('goood', "no file goood; did you mean 'good'?"),
        ('GOOD', "no file GOOD; did you mean 'good'?"),
        ('something', 'no file something; known: bad, good'),
        ('lost/mine.pth', 'no file lost/mine.pth; give a file, or a key of: good, bad'),
        ('weights', 'no file weights; known: bad, good'),
    ],
)
def test_what_cannot_be_found_is_one_line_that_says_what_to_do(manifest_of, name, message):
    manifest_of(weights(), weights(key='bad', file='bad.pth'))
    put('weights', b'bad', name='bad.pth')
    with pytest.raises(FRExError) as error:
        require_file(name)
    assert str(error.value) == message


def test_a_misspelt_key_is_told_with_the_nearest():
    with pytest.raises(FRExError, match=r"^no weights are called 'vgg91'; did you mean 'vgg19'\?$"):
        find_entry('vgg91')


# --- The commands


@pytest.fixture
def three(manifest_of):
    """A file that is there, one that is damaged, one that is missing."""
    manifest_of(
        weights(),
        weights(key='bad', file='bad.pth', tasks=['train', 'restore'], size=None),
        weights(key='lost', file='lost.pth', tasks=[], size=1234567, licence='none stated'),
    )
    return put('frex_home'), put('weights', OTHER, name='bad.pth')


@pytest.mark.parametrize(
    ('task', 'shown'), [([], [0, 1, 2, 3, 4, 5, 6]), (['--for', 'train'], [2, 3, 4, 5]), (['--for', 'restore'], [0, 1, 4, 5])]
)
def test_files_are_listed_with_their_states_and_places(three, capsys, task, shown):
    small = ['frex-small', 'missing', '?', 'restore', small_model.PURPOSE, 'see docs/model_card.md']
    rows = [
        small,
        ['it comes with the package and cannot be downloaded; this installation lacks it'],
        ['good', 'there', '20', 'train', 'tests', 'MIT'],
        [str(three[0])],
        ['bad', 'damaged', '?', 'train, restore', 'tests', 'MIT'],
        ['weights/bad.pth: its sha256 begins with 0302e320 instead of fad5a62c'],
        ['lost', 'missing', '1,234,567', '-', 'tests', 'none stated'],
    ]
    assert main(['weights', 'list', *task]) == 0
    head, *lines, order, command = capsys.readouterr().out.splitlines()
    assert re.split('  +', head) == ['KEY', 'STATE', 'BYTES', 'FOR', 'WHAT FOR', 'LICENCE']
    assert [re.split('  +', line.strip()) for line in lines] == [rows[number] for number in shown]
    assert order == f'searched in this order: {", ".join(map(str, search_paths()))}'
    assert 'frex weights download' in command


def test_the_shipped_manifest_is_listed_where_nothing_is_there(capsys):
    assert main(['weights', 'list', '--weights', 'given']) == 0
    lines = [line for line in capsys.readouterr().out.splitlines()[1:-2] if not line.startswith(' ')]
    assert [re.split('  +', line)[:2] for line in lines] == [[key, 'missing'] for key in ('frex-small', *manifest())]


MISSING = 'lost.pth is missing; get it with: frex weights download lost'
DAMAGED = (
    'bad.pth is damaged (weights/bad.pth: its sha256 begins with 0302e320 instead of fad5a62c); get it with: frex weights download bad'
)


@pytest.mark.parametrize(
    ('arguments', 'whole', 'errors'),
    [
        (['good'], True, []),
        (['--weights', 'given', 'good'], True, []),
        (['good', 'bad', 'lost'], True, [DAMAGED, MISSING, 'frex: error: 2 of 3 files cannot be used']),
        (['--for', 'restore'], False, [DAMAGED, 'frex: error: 1 of 1 files cannot be used']),
        (['--for', 'train'], True, [DAMAGED, 'frex: error: 1 of 2 files cannot be used']),
        ([], True, [DAMAGED, 'frex: error: 1 of 2 files cannot be used']),
        (['lots'], False, ["no file lots; did you mean 'lost'?", 'frex: error: 1 of 1 files cannot be used']),
    ],
)
def test_files_are_checked_and_each_bad_one_is_a_line(three, capsys, arguments, whole, errors):
    assert main(['weights', 'check', *arguments]) == bool(errors)
    output = capsys.readouterr()
    assert output.out == f'good: {three[0]}: whole\n' * whole
    assert output.err.splitlines() == errors


@pytest.mark.parametrize('task', ['train', 'restore', 'evaluate'])
def test_every_missing_file_of_a_task_is_told_with_its_command(capsys, task):
    assert main(['weights', 'check', '--for', task]) == 1
    *lines, last = capsys.readouterr().err.splitlines()
    files = [file for file in manifest().values() if task in file.tasks]
    assert lines == [f'{file.file} is missing; get it with: frex weights download {file.key}' for file in files]
    assert last == f'frex: error: {len(files)} of {len(files)} files cannot be used'


def test_where_nothing_is_there_to_be_checked_it_is_said_in_one_line(manifest_of, capsys):
    manifest_of(weights())
    assert main(['weights', 'check']) == 1
    searched = ', '.join(map(str, search_paths()))
    assert capsys.readouterr() == ('', f'frex: error: no file of weights in {searched}; get them with: frex weights download --for train\n')
