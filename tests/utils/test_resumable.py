"""Folders that work goes on in, and files of one JSON object a line."""

import math
from pathlib import Path

import pytest
from msgspec import Struct

from frex.errors import FRExError
from frex.utils.jsonl import append_line, read_lines, write_lines
from frex.utils.resumable import ResumableFolder

SECTIONS = {'settings': {'seed': 3, 'range': (0, 1)}, 'versions': {'frex': '1'}}


class Measure(Struct):
    name: str
    small: bytes = b''


def test_a_new_folder_gets_its_record_and_an_old_one_keeps_it(tmp_path):
    folder = ResumableFolder(tmp_path / 'set', 'set.json')
    assert folder.read(SECTIONS) is None
    record = folder.begin(SECTIONS, made_by='me')
    assert record == {'made_by': 'me', 'settings': {'seed': 3, 'range': [0, 1]}, 'versions': {'frex': '1'}}
    folder.write(record | {'images': ['a.png']})
    assert folder.begin(SECTIONS) == record | {'images': ['a.png']}


@pytest.mark.parametrize(
    ('section', 'key', 'value', 'message'),
    [
        ('settings', 'seed', 4, 'was begun with seed 3, not 4'),
        ('settings', 'radius', 1, 'was begun with radius None, not 1'),
        ('versions', 'frex', '2', 'was begun with frex 1, not 2'),
    ],
)
def test_another_setting_is_refused(tmp_path, section, key, value, message):
    folder = ResumableFolder(tmp_path, 'set.json')
    folder.begin(SECTIONS)
    with pytest.raises(FRExError, match=message):
        folder.begin(SECTIONS | {section: {key: value}})


def test_a_folder_with_other_files_is_refused_but_for_those_that_may_be_there(tmp_path):
    (tmp_path / 'scan.jsonl').touch()
    ResumableFolder(tmp_path, 'set.json', kept=('scan.jsonl',)).refuse_other_files()
    with pytest.raises(FRExError, match=r'holds scan\.jsonl but no set\.json'):
        ResumableFolder(tmp_path, 'set.json').begin(SECTIONS)
    assert not (tmp_path / 'set.json').exists()


@pytest.mark.parametrize('text', ['', '[]', '{"settings": 3}', '{}', '\xff'])
def test_a_damaged_record_is_named(tmp_path, text):
    (tmp_path / 'set.json').write_bytes(text.encode('latin-1'))
    with pytest.raises(FRExError, match=r'set\.json: damaged, or of another program'):
        ResumableFolder(tmp_path, 'set.json').read(SECTIONS)


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='no /dev/full')
def test_a_full_disk_is_told_with_the_name_of_the_file():
    with pytest.raises(OSError, match='No space left on device') as error:
        append_line(Path('/dev/full'), {'iter': 1})
    assert error.value.filename == '/dev/full'


def test_lines_outlive_a_cut_one(tmp_path):
    path = tmp_path / 'lines.jsonl'
    append_line(path, Measure('one', b'\x00\xff'))
    with path.open('ab') as file:
        file.write(b'\n{"name": "hal')
    append_line(path, Measure('zwei ü'))
    append_line(path, {'other': 1})
    assert read_lines(path, Measure) == [Measure('one', b'\x00\xff'), Measure('zwei ü')]
    write_lines(path, read_lines(path, Measure))
    assert path.read_bytes().count(b'\n') == 2
    assert read_lines(path, Measure) == [Measure('one', b'\x00\xff'), Measure('zwei ü')]


def test_numbers_that_are_not_finite_are_kept(tmp_path):
    path = tmp_path / 'scalars.jsonl'
    append_line(path, {'iter': 1, 'loss': math.nan})
    assert math.isnan(read_lines(path, dict[str, float])[0]['loss'])
