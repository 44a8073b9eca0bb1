"""A command that needs a weight file downloads it, where that is allowed and possible, and says so."""

import re

import pytest
from http_server import content, status
from served_weights import CONTENT, is_whole, weights

from frex.cli.main import main
from frex.environment import is_offline
from frex.errors import FRExError
from frex.restore.faces.helper_networks import PARSER_KEY, HelperNetworks
from frex.weights.download import obtain_file

pytestmark = pytest.mark.usefixtures('downloads')


@pytest.fixture
def online(monkeypatch):
    monkeypatch.setenv('FREX_OFFLINE', '0')


@pytest.fixture
def served(serve, manifest_of):
    """The server of weights.pth, the manifest's only file."""
    server = serve(content(CONTENT))
    manifest_of(weights(server.url('/weights.pth')))
    return server


@pytest.mark.usefixtures('online')
def test_a_missing_file_is_downloaded_once(served, folder, capsys):
    assert obtain_file('weights', folder) == obtain_file('weights', folder) == folder / 'weights.pth'
    assert is_whole(folder)
    assert len(served.asked) == 1
    assert re.fullmatch(
        rf'Downloading weights, tests: [\d,]+ bytes into {re.escape(str(folder.absolute()))}; licence: MIT\n', capsys.readouterr().err
    )


@pytest.mark.usefixtures('online')
def test_a_damaged_file_is_replaced(served, folder):
    (folder / 'weights.pth').write_bytes(CONTENT[:-1])
    obtain_file('weights', folder)
    assert is_whole(folder)


@pytest.mark.parametrize('value', ['1', 'true'])
def test_offline_nothing_is_asked_for(served, folder, monkeypatch, value):
    monkeypatch.setenv('FREX_OFFLINE', value)
    with pytest.raises(FRExError, match=r'^weights\.pth is missing; get it with: frex weights download weights$'):
        obtain_file('weights', folder)
    assert served.asked == []


@pytest.mark.parametrize(('value', 'offline'), [('0', False), ('', False), ('1', True)])
def test_the_environment_says_what_is_allowed(monkeypatch, value, offline):
    monkeypatch.setenv('FREX_OFFLINE', value)
    assert is_offline() is offline


@pytest.mark.usefixtures('online')
def test_the_flag_forbids_downloads_in_worker_processes_too(tmp_path, face_folder, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(['evaluate', '--restored', f'A={face_folder}', '--gt', str(face_folder), '--metrics', 'psnr', '--offline']) == 0
    assert is_offline()


@pytest.mark.usefixtures('online')
def test_a_server_that_has_it_not_is_one_line_with_what_to_do(serve, manifest_of, folder):
    server = serve(status(404))
    manifest_of(weights(server.url('/weights.pth')))
    with pytest.raises(FRExError, match=r'weights\.pth is missing and cannot be downloaded: .*\(status 404\); put it into '):
        obtain_file('weights', folder)


@pytest.mark.usefixtures('online')
def test_faces_are_pasted_without_a_parser_that_cannot_be_had(serve, manifest_of, folder, capsys):
    manifest_of(weights(serve(status(404)).url('/weights.pth'), key=PARSER_KEY))
    assert HelperNetworks(weights=folder).parser() is None
    assert capsys.readouterr().err.endswith('; faces are pasted without a face parser\n')
