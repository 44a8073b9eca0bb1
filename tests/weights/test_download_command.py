"""`frex weights download`: where each file is, its licence, and how to get by hand what cannot be fetched."""

import pytest
from http_server import content, status
from served_weights import BEGINNING, CONTENT, NO_SIZE, NOTHING, SUM, is_whole, weights

from frex.cli.main import main

pytestmark = pytest.mark.usefixtures('downloads')


def download(*arguments):
    return main(['weights', 'download', *map(str, arguments)])


@pytest.mark.parametrize('names', [['weights'], ['--for', 'train'], ['weights', 'weights', '--for', 'train']])
def test_the_command_says_where_each_file_is_and_its_licence(folder, serve, manifest_of, capsys, names):
    server = serve(content(CONTENT))
    manifest_of(weights(server.url('/weights.pth')), weights(key='other', file='other.pth', tasks=['restore']))
    assert download('--weights', folder, *names) == 0
    path = folder / 'weights.pth'
    assert capsys.readouterr() == (
        f'into {folder}\nweights: {path} (from {server.url("/weights.pth")}; licence: MIT)\n',
        '',
    )
    assert is_whole(folder)
    assert download('--weights', folder, *names) == 0
    assert capsys.readouterr().out == f'into {folder}\nweights: {path} (there already; licence: MIT)\n'
    assert len(server.asked) == 1


@pytest.mark.parametrize('arguments', [[], ['--offline']])
def test_each_file_that_cannot_be_had_is_a_line_with_all_that_is_needed_to_get_it_by_hand(folder, serve, manifest_of, capsys, arguments):
    server = serve(content(CONTENT))
    told = {
        '1st.pth': ({}, f'262,144 bytes, sha256 {SUM}'),
        '2nd.pth': (NO_SIZE, f'size not known, sha256 {SUM}'),
        '3rd.pth': (BEGINNING, f'size not known, sha256 {SUM[:8]}... (the rest is not known)'),
        '4th.pth': (NOTHING, 'size not known, sha256 not known'),
    }
    urls = [server.url('/lost'), server.url('/lost_too')]
    manifest_of(*(weights(*urls, key=name, file=name, **known) for name, (known, _) in told.items()))
    assert download('--weights', folder, '--for', 'train', *arguments) == 1
    *lines, last = capsys.readouterr().err.splitlines()
    answer = 'not tried' if arguments else 'status 404'
    addresses = ', '.join(f'{url} ({answer})' for url in urls)
    assert lines == [f'{name}: {described}, from {addresses}; put it into {folder}' for name, (_, described) in told.items()]
    assert last.startswith('frex: error: 4 of 4 files are not there: ')
    assert str(folder) in last
    assert len(server.asked) == (0 if arguments else 8)


def test_the_other_files_are_fetched_where_one_cannot_be_had(folder, serve, manifest_of, capsys):
    server = serve(content(CONTENT))
    manifest_of(weights(server.url('/lost'), key='lost', file='lost.pth'), weights(server.url('/weights.pth')))
    assert download('--weights', folder, '--for', 'train') == 1
    assert is_whole(folder)
    output, errors = capsys.readouterr()
    assert f'weights: {folder / "weights.pth"} (from ' in output
    assert [line.split(':')[0] for line in errors.splitlines()] == ['lost.pth', 'frex']


def test_offline_what_is_there_is_enough(folder, serve, manifest_of):
    (folder / 'weights.pth').write_bytes(CONTENT)
    manifest_of(weights())
    assert download('--weights', folder, '--offline', 'weights') == 0


def test_the_commands_mirrors_are_asked_in_their_order(folder, serve, manifest_of):
    first, second, server = serve(status(404)), serve(content(CONTENT)), serve(content(CONTENT))
    manifest_of(weights(server.url('/weights.pth')))
    assert download('--weights', folder, 'weights', '--mirror', first.url('/'), '--mirror', second.url('')) == 0
    assert [len(one.asked) for one in (first, second, server)] == [1, 1, 0]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ([], 'say which: --for train, restore or evaluate, or some of: weights'),
        (['weight'], "no weights are called 'weight'; did you mean 'weights'?"),
        (['--weights', '/dev/null', 'weights'], '/dev/null/weights.pth: cannot be written (File exists)'),
    ],
)
def test_what_the_command_cannot_do_is_one_line(manifest_of, capsys, arguments, message):
    manifest_of(weights())
    assert download(*arguments) == 1
    assert capsys.readouterr().err == f'frex: error: {message}\n'
