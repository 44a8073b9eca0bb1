"""Networks on the Hugging Face Hub, loaded by `owner/name` and pushed, against a server on this machine that answers as the Hub does."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hub_server import TOKEN, HubRepository, hub_serving
from huggingface_hub import constants
from official_files import assert_same, write_pth
from processes import ROOT
from restore_command import command, report, statuses
from tiny import tiny_frex, tiny_network_options

from frex.cli.main import main
from frex.errors import FRExError
from frex.restore import FaceRestorer
from frex.weights.hub import Repository, find_checkpoint, parse_repository, upload
from frex.weights.locate import require_file
from frex.weights.model_card import check_license, write_card
from frex.weights.network_file import NetworkFile, load_network, read_state
from frex_arch import ArcFace

NAME = 'someone/frex-tiny'
FACE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


@pytest.fixture
def hub(downloads, tmp_path, monkeypatch):
    """A Hub without repositories, and a user without a login and with an empty cache."""
    monkeypatch.setenv('FREX_OFFLINE', '0')
    monkeypatch.delenv('HF_TOKEN', raising=False)
    with hub_serving() as server:
        # huggingface_hub reads the environment when it is first imported.
        for constant, value in {
            'ENDPOINT': server.url,
            'HUGGINGFACE_CO_URL_TEMPLATE': server.url + '/{repo_id}/resolve/{revision}/{filename}',
            'HF_HUB_CACHE': str(tmp_path / 'hub_cache'),
            'HF_TOKEN_PATH': str(tmp_path / 'token'),
            'HF_HUB_OFFLINE': False,
        }.items():
            monkeypatch.setattr(constants, constant, value)
        yield server


@pytest.fixture
def login(hub, monkeypatch):
    """A user whom that Hub knows."""
    monkeypatch.setenv('HF_TOKEN', TOKEN)


@pytest.fixture
def published(hub, half_checkpoint):
    """The Hub with a tiny network in `someone/frex-tiny`."""
    hub.put(NAME, weights=half_checkpoint.read_bytes())
    return hub


def error_of(*arguments, capsys):
    """Return the one line with which a command ends that fails."""
    assert main([str(argument) for argument in arguments]) == 1
    lines = capsys.readouterr().err.splitlines()
    return lines[-1]


# --- Names


@pytest.mark.parametrize(
    ('name', 'repository'),
    [
        ('owner/name', Repository('owner/name')),
        (Path('owner/name'), Repository('owner/name')),
        ('Some-One_1/frex-v1.5', Repository('Some-One_1/frex-v1.5')),
        ('owner/name@v1.0', Repository('owner/name', 'v1.0')),
        (Path('owner/name@refs/pr/1'), Repository('owner/name', 'refs/pr/1')),
        ('owner/net_g.pth', None),
        ('owner/net.safetensors', None),
        ('owner/net.PTH@v1', None),
        ('name', None),
        ('a/b/c', None),
        ('/owner/name', None),
        ('~/name', None),
        ('../name', None),
        ('./name', None),
        ('owner/', None),
        ('owner/name@', None),
        ('owner/name@a@b', None),
        ('owner/näme', None),
        ('', None),
    ],
)
def test_what_names_a_repository(name, repository):
    assert parse_repository(name) == repository


def test_a_file_wins_over_a_repository(hub, checkpoint):
    Path('someone').mkdir()
    Path(NAME).write_bytes(checkpoint.read_bytes())
    assert find_checkpoint(NAME) == require_file(NAME) == Path(NAME)
    assert FaceRestorer.from_pretrained(NAME, 'cpu').size == 64
    assert hub.requests == []


def test_a_folder_wins_over_a_repository(published, half_checkpoint):
    folder = Path(NAME)
    folder.mkdir(parents=True)
    message = f'^{NAME}: is here and no file, nor a folder with model.safetensors; {NAME}@main names the one on the Hub$'
    with pytest.raises(FRExError, match=message):
        find_checkpoint(NAME)
    (folder / 'model.safetensors').write_bytes(half_checkpoint.read_bytes())
    assert find_checkpoint(NAME) == folder / 'model.safetensors'
    assert published.requests == []
    assert find_checkpoint(f'{NAME}@main').is_relative_to(constants.HF_HUB_CACHE)


# --- Download


def test_faces_are_restored_from_the_hub_as_from_the_file(published, half_checkpoint):
    expected = FaceRestorer.from_pretrained(half_checkpoint, 'cpu').restore_aligned(FACE)
    assert np.array_equal(FaceRestorer.from_pretrained(NAME, 'cpu').restore_aligned(FACE), expected)
    path = f'/{NAME}/resolve/main/model.safetensors'
    assert (published.asked('HEAD'), published.asked('GET')) == ([path], [path])


def test_an_unchanged_file_is_downloaded_once_and_a_changed_one_again(hub):
    hub.put(NAME, weights=b'one')
    assert find_checkpoint(NAME) == find_checkpoint(NAME)
    assert (len(hub.asked('HEAD')), len(hub.asked('GET'))) == (2, 1)
    hub.put(NAME, weights=b'two')
    assert find_checkpoint(NAME).read_bytes() == b'two'
    assert len(hub.asked('GET')) == 2


def test_a_revision_is_a_branch_or_a_commit(hub):
    hub.put(NAME, weights=b'one')
    repository = hub.put(NAME, 'v1', weights=b'two')
    for revision in ('v1', repository.commit('v1')):
        assert find_checkpoint(f'{NAME}@{revision}').read_bytes() == b'two'
    assert find_checkpoint(NAME).read_bytes() == b'one'


def test_offline_only_the_cache_is_used(published, monkeypatch):
    path = find_checkpoint(NAME)
    published.requests.clear()
    monkeypatch.setenv('FREX_OFFLINE', '1')
    assert find_checkpoint(NAME) == path
    with pytest.raises(FRExError) as error:
        find_checkpoint(f'{NAME}@v1')
    assert str(error.value) == (
        f'no file or folder {NAME}@v1 here, and loading it from the Hugging Face Hub failed: not in {constants.HF_HUB_CACHE}, '
        'and offline nothing is downloaded; leave out --offline, FREX_OFFLINE and HF_HUB_OFFLINE once'
    )
    assert published.requests == []


def test_without_an_answer_the_cache_is_used(published):
    path = find_checkpoint(NAME)
    published.down = 500
    assert find_checkpoint(NAME) == path


@pytest.mark.usefixtures('login')
def test_a_private_repository_needs_a_login(published, monkeypatch):
    published.repositories[NAME].private = True
    assert find_checkpoint(NAME).is_file()
    assert {request.token for request in published.requests} == {TOKEN}
    monkeypatch.delenv('HF_TOKEN')
    with pytest.raises(FRExError, match=f'no repository {NAME} at {published.url}'):
        find_checkpoint(f'{NAME}@other')


def test_a_folder_of_faces_is_restored(published, face_folder, tmp_path, capsys):
    arguments = command(NAME, face_folder.with_name('two'), tmp_path / 'out')
    assert main(['restore', *arguments]) == 0
    assert set(statuses(tmp_path / 'out').values()) == {'restored'}
    # The commit is part of the path, so results of another commit are not taken for those of this one.
    (run,) = report(tmp_path / 'out')['runs'].values()
    assert f'snapshots/{published.repositories[NAME].commit("main")}/model.safetensors' in run['settings']['model_path']
    published.requests.clear()
    assert main(['restore', *arguments, '--offline']) == 0
    assert os.environ['FREX_OFFLINE'] == '1'
    assert published.requests == []


def test_files_are_checked_and_converted(published, tmp_path, capsys):
    assert main(['weights', 'check', NAME]) == 0
    assert re.fullmatch(
        rf'{NAME}: .*/model\.safetensors: FREx with \d+ tensors, .* weights; its sum is not in the manifest\n', capsys.readouterr().out
    )
    assert main(['weights', 'convert', NAME, str(tmp_path / 'net.safetensors')]) == 0
    assert load_network(tmp_path / 'net.safetensors').out_size == 64


class Harmful:
    def __reduce__(self):
        return os.system, ('touch harm',)


def test_a_pickle_under_that_name_runs_no_code(hub, tmp_path):
    hub.put(NAME, weights=write_pth(tmp_path / 'harmful.pth', {'params_ema': Harmful()}).read_bytes())
    with pytest.raises(FRExError, match='system'):
        FaceRestorer.from_pretrained(NAME, 'cpu')
    assert not Path('harm').exists()


def test_the_address_of_the_hub_comes_from_the_environment(published, tmp_path):
    """A process of its own, since huggingface_hub reads the environment at its first import; torch is not imported for a download."""
    script = f'import sys; from frex.weights.hub import find_checkpoint; print(find_checkpoint({NAME!r})); sys.exit("torch" in sys.modules)'
    environment = {'HF_ENDPOINT': published.url, 'HF_HOME': str(tmp_path / 'home'), 'PYTHONPATH': str(ROOT)}
    result = subprocess.run([sys.executable, '-c', script], env=os.environ | environment, capture_output=True, text=True, check=True)
    assert result.stdout.startswith(f'{tmp_path}/home/hub/models--someone--frex-tiny/snapshots/')


# --- Errors of downloads


def load_error(name):
    """Return what is said where a repository cannot be loaded, without its beginning."""
    with pytest.raises(FRExError) as error:
        find_checkpoint(name)
    start = f'no file or folder {name} here, and loading it from the Hugging Face Hub'
    assert str(error.value).startswith(start)
    return str(error.value).removeprefix(f'{start} ')


def test_an_unknown_repository(hub, monkeypatch):
    message = f'failed: no repository someone/lost at {hub.url} that you may read; check the name, or log in if it is private: '
    message += 'hf auth login, or set HF_TOKEN'
    assert load_error('someone/lost') == message
    monkeypatch.setenv('HF_TOKEN', TOKEN)
    assert load_error('someone/lost') == message


def test_a_repository_without_weights(hub):
    hub.put(NAME, card=b'# A card')
    assert load_error(NAME) == (
        f'failed: {hub.url}/{NAME} has no model.safetensors; download another file of it and give its path, or push one: frex weights push'
    )


def test_an_unknown_revision(published):
    assert load_error(f'{NAME}@v9') == f'failed: {published.url}/{NAME} has no revision v9; give a branch, a tag or a commit of it'


def test_a_repository_for_which_one_has_to_ask(published):
    published.repositories[NAME].gated = True
    assert load_error(NAME) == (
        f'failed: its owner decides who may read it; ask at {published.url}/{NAME}, then log in: hf auth login, or set HF_TOKEN'
    )


def test_a_wrong_login(published, monkeypatch):
    monkeypatch.setenv('HF_TOKEN', 'hf_wrong')
    assert load_error(NAME) == f'failed: {published.url} does not take your login; log in again: hf auth login, or set HF_TOKEN'


@pytest.fixture
def at_once(monkeypatch):
    """Attempts follow one another without a pause."""
    monkeypatch.setattr('time.sleep', lambda seconds: None)


@pytest.mark.usefixtures('at_once')
def test_no_network(hub, monkeypatch):
    with socket.create_server(('127.0.0.1', 0)) as taken:
        nobody = f'http://127.0.0.1:{taken.getsockname()[1]}'
    monkeypatch.setattr(constants, 'ENDPOINT', nobody)
    monkeypatch.setattr(constants, 'HUGGINGFACE_CO_URL_TEMPLATE', nobody + '/{repo_id}/resolve/{revision}/{filename}')
    assert load_error(NAME) == (
        f'failed: not in {constants.HF_HUB_CACHE}, and no answer from {nobody}; check the network and HF_ENDPOINT, then try again'
    )
    monkeypatch.setenv('HF_TOKEN', TOKEN)
    with pytest.raises(FRExError, match=f'^pushing to {NAME} failed: no usable answer from {nobody} .*; check the network and HF_ENDPOINT'):
        push_file(NAME)


@pytest.mark.usefixtures('at_once')
def test_a_hub_that_is_down(published):
    published.down = 503
    assert load_error(NAME) == (
        f'failed: not in {constants.HF_HUB_CACHE}, and {published.url} answered with status 503; '
        'check the network and HF_ENDPOINT, then try again'
    )


def test_the_package_is_missing(hub, monkeypatch, capsys, checkpoint, face_folder):
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    message = "needs the package huggingface_hub, which is not installed: pip install 'frex[hub]'"
    assert load_error(NAME) == message
    assert error_of('restore', *command(NAME, face_folder, 'out'), capsys=capsys).endswith(message)
    assert error_of('weights', 'push', checkpoint, NAME, capsys=capsys) == f'frex: error: pushing to {NAME} {message}'
    with pytest.raises(FRExError, match=r'^no file someone/net\.pth; give a file'):
        require_file('someone/net.pth')


# --- Push


def push_file(name, **options):
    """Upload some bytes with a card."""
    Path('net.safetensors').write_bytes(b'weights')
    return upload(parse_repository(name), Path('net.safetensors'), 'a card', **options)


@pytest.mark.usefixtures('login')
def test_a_pushed_checkpoint_is_loaded_back(hub, checkpoint, capsys):
    assert main(['weights', 'push', str(checkpoint), NAME, '--license', 'CC-BY-NC-SA-4.0']) == 0
    files = hub.repositories[NAME].branches['main']
    assert sorted(files) == ['README.md', 'model.safetensors']
    commit, size = hub.repositories[NAME].commit('main'), len(files['model.safetensors'])
    assert capsys.readouterr().out == (
        f'{hub.url}/{NAME}/commit/{commit}: FREx of {checkpoint}, {size:,} bytes and README.md\n'
        f'load it with: frex restore --model_path {NAME} ...\n'
    )
    assert not hub.repositories[NAME].private
    assert {request.token for request in hub.requests} == {TOKEN}

    header, *lines = next(request.body for request in hub.requests if '/commit/' in request.path)
    assert header == {'key': 'header', 'value': {'summary': 'Weights of FREx', 'description': ''}}
    assert [(line['key'], line['value']['path']) for line in lines] == [('file', 'model.safetensors'), ('file', 'README.md')]

    expected = FaceRestorer.from_pretrained(checkpoint, 'cpu').restore_aligned(FACE)
    assert np.array_equal(FaceRestorer.from_pretrained(NAME, 'cpu').restore_aligned(FACE), expected)
    assert yaml.safe_load(files['README.md'].decode().split('---\n')[1])['license'] == 'cc-by-nc-sa-4.0'


@pytest.mark.usefixtures('login')
def test_half_precision_on_a_branch_of_a_private_repository(hub, checkpoint, half_checkpoint):
    assert main(['weights', 'push', str(checkpoint), NAME, '--half', '--private', '--revision', 'half']) == 0
    repository = hub.repositories[NAME]
    assert repository.private
    assert repository.branches['main'] == {}
    path = find_checkpoint(f'{NAME}@half')
    assert_same(read_state(path), read_state(half_checkpoint))
    assert load_network(path).out_size == 64
    assert 'float16' in repository.branches['half']['README.md'].decode()
    assert f"from_pretrained('{NAME}@half')" in repository.branches['half']['README.md'].decode()
    # Again: neither the repository nor the branch is made anew.
    push_file(f'{NAME}@half', private=True)
    assert repository.branches['half']['model.safetensors'] == b'weights'


@pytest.mark.usefixtures('login')
def test_a_card_that_is_there_stays_unless_it_may_be_replaced(hub, checkpoint, capsys):
    repository = hub.put(NAME, card=b'# Mine')
    assert main(['weights', 'push', str(checkpoint), NAME]) == 0
    assert repository.branches['main'].keys() == {'README.md', 'model.safetensors'}
    assert repository.branches['main']['README.md'] == b'# Mine'
    assert 'it has a README.md; --overwrite replaces it' in capsys.readouterr().out
    assert push_file(NAME, overwrite=True)[1]
    assert repository.branches['main']['README.md'] == b'a card'


@pytest.mark.usefixtures('login')
def test_nothing_private_is_pushed_to_a_public_repository(hub):
    hub.put(NAME, card=b'# Mine')
    with pytest.raises(FRExError, match=f'^{NAME} is public, and --private is for new repositories: nothing is uploaded'):
        push_file(NAME, private=True)
    assert sorted(hub.repositories[NAME].branches['main']) == ['README.md']


def test_a_push_needs_a_login(hub, checkpoint, capsys):
    assert error_of('weights', 'push', checkpoint, NAME, capsys=capsys) == (
        f'frex: error: pushing to {NAME} needs a login at {hub.url}: hf auth login, or set HF_TOKEN'
    )
    assert hub.requests == []


@pytest.mark.usefixtures('login')
def test_a_push_needs_the_network(hub, checkpoint, monkeypatch, capsys):
    monkeypatch.setenv('FREX_OFFLINE', '1')
    assert f'pushing to {NAME} needs the network: leave out --offline' in error_of('weights', 'push', checkpoint, NAME, capsys=capsys)


@pytest.mark.usefixtures('login')
@pytest.mark.parametrize('exists', [False, True])
def test_a_repository_of_others_is_not_pushed_to(hub, exists):
    if exists:
        hub.repositories['others/frex'] = HubRepository()
    with pytest.raises(FRExError, match=f'^pushing to others/frex failed: {hub.url} says that you may not do that; use a token that may'):
        push_file('others/frex')


def test_a_wrong_login_is_not_pushed_with(hub, monkeypatch):
    monkeypatch.setenv('HF_TOKEN', 'hf_wrong')
    with pytest.raises(FRExError, match=f'^pushing to {NAME} failed: {hub.url} does not take your login; log in again'):
        push_file(NAME)


@pytest.mark.usefixtures('login')
def test_only_a_frex_is_pushed_and_only_to_a_repository(hub, checkpoint, tmp_path, capsys):
    arcface = write_pth(tmp_path / 'arcface.pth', ArcFace(layers=[1, 1, 1, 1]).state_dict())
    assert error_of('weights', 'push', arcface, NAME, capsys=capsys) == (
        f'frex: error: {arcface}: not a FREx checkpoint but the weights of ArcFace; only a FREx is pushed'
    )
    assert 'no_repository: no name of a repository' in error_of('weights', 'push', checkpoint, 'no_repository', capsys=capsys)
    assert 'give an identifier of the Hub' in error_of('weights', 'push', checkpoint, NAME, '--license', 'a: b', capsys=capsys)
    assert hub.requests == []


# --- Model card


def card(*, license_id=None, half=False, dtype=torch.float32, **changes):
    """Return the metadata and the text of the card of a tiny network with a weight of `dtype`."""
    network = NetworkFile('FREx', tiny_network_options(**changes), {'weight': torch.zeros(1, dtype=dtype)})
    text = write_card(network, Repository(NAME), license_id, half)
    _, metadata, content = text.split('---\n', 2)
    return yaml.safe_load(metadata), content


def test_the_card_describes_the_network():
    metadata, text = card(license_id='apache-2.0')
    assert metadata['library_name'] == 'frex'
    assert metadata['license'] == 'apache-2.0'
    assert {'frex', 'face-restoration'} <= set(metadata['tags'])
    net = tiny_frex()
    assert f'| **all** | | **{sum(value.numel() for value in net.parameters()):,}** |' in text
    for name, part in net.named_children():
        assert re.search(rf'^\| `{name}` \| .+ \| {sum(value.numel() for value in part.parameters()):,} \|$', text, re.MULTILINE)
    assert '# frex-tiny\n' in text
    assert '64 x 64 pixels' in text
    assert 'not for identification' in text
    assert f'--model_path {NAME}\n' in text
    assert 'As the uploader states it: `apache-2.0`.' in text
    assert '{' not in re.sub(r'```json.*?```', '', text, flags=re.DOTALL)


def test_the_card_says_what_is_switched_off_and_that_no_licence_is_stated():
    metadata, text = card(use_3d_prior=False, use_awb=False)
    assert 'license' not in metadata
    assert 'The uploader has not stated a licence.' in text
    assert '- Switched off: the 3D prior, the adaptive weighting block (AWB).' in text
    assert '`eg3d`' not in text


@pytest.mark.parametrize(
    ('dtype', 'half', 'stored'),
    [
        (torch.float32, False, 'float32'),
        (torch.float32, True, 'float16; FREx calculates with float32'),
        (torch.float16, False, 'float16; FREx calculates with float32'),
    ],
)
def test_the_card_says_how_the_numbers_are_stored(dtype, half, stored):
    assert f'- The numbers are stored in {stored}.\n' in card(dtype=dtype, half=half)[1]


@pytest.mark.parametrize('license_id', ['', 'mit\nlibrary_name: x', 'a b', '-'])
def test_what_is_no_identifier_of_a_licence_is_refused(license_id):
    with pytest.raises(FRExError, match='give an identifier of the Hub'):
        check_license(license_id)
