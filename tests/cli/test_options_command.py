"""`frex options`: option files that come with FREx are listed, and copied so that they work where they are copied to."""

from dataclasses import fields

import pytest
from processes import ROOT

from frex.cli.main import main
from frex.options import SHIPPED_FOLDER, load_options
from frex.options.describe import SECTIONS


def test_the_list_has_every_file_and_what_it_is_for(capsys):
    assert main(['options', 'list']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[::2] == sorted(f'options/{path.relative_to(SHIPPED_FOLDER).as_posix()}' for path in SHIPPED_FOLDER.rglob('*.yml'))
    assert all(line.startswith('    ') and line.endswith(('.', ':')) for line in lines[1::2])


@pytest.mark.parametrize('name', ['train_frex', 'train_frex.yml', 'options/train_frex.yml', 'ablations/without_awb'])
def test_a_copy_says_the_same(name, tmp_path, capsys):
    assert main(['options', 'copy', name, str(tmp_path)]) == 0
    printed = capsys.readouterr().out.splitlines()
    stem = name.removeprefix('options/').removesuffix('.yml')
    assert printed[0] == str(tmp_path / f'{stem}.yml')
    assert load_options(tmp_path / f'{stem}.yml') == load_options(SHIPPED_FOLDER / f'{stem}.yml')
    assert sorted(map(str, tmp_path.rglob('*.yml'))) == sorted(printed)


def test_nothing_is_overwritten(tmp_path, capsys):
    (tmp_path / 'train_frex_3d.yml').write_text('name: mine\n')
    assert main(['options', 'copy', 'train_frex', str(tmp_path)]) == 1
    assert 'train_frex_3d.yml: exists and is another file' in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ['train_frex_3d.yml']


def test_an_unknown_name_is_answered_with_the_nearest(tmp_path, capsys):
    assert main(['options', 'copy', 'train_frx', str(tmp_path)]) == 1
    assert "did you mean 'train_frex.yml'?" in capsys.readouterr().err


def test_the_page_on_options_has_all_keys_as_the_command_prints_them(capsys):
    assert main(['options', 'keys']) == 0
    tables = capsys.readouterr().out
    assert (ROOT / 'docs/options.md').read_text().endswith(tables)
    assert '| `total_iter` | `int` | required | Number of iterations. |' in tables
    assert "| `optim_d` | section | `~` | The critics' optimiser; the generator's if `~`. |" in tables
    assert "| `degradation` | section | `{'preset': 'paper'}` |" in tables


def test_every_key_of_the_shipped_files_is_described():
    described = {section: {field.name for field in fields(kind)} for section, kind in SECTIONS.items()}
    for path in SHIPPED_FOLDER.rglob('*.yml'):
        opt = load_options(path)
        for section in ('path', 'train', 'val', 'logger'):
            assert (opt.get(section) or {}).keys() <= described[section]
        for dataset in opt['datasets'].values():
            assert (dataset or {}).keys() <= described['datasets: NAME']
