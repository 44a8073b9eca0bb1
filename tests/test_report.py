"""`report.json` and the table at the end."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from frex.errors import FRExError
from frex.restore.runs.report import FaceRecord, PictureRecord, Run, add_to_report, is_complete, read_report
from frex.restore.runs.shards import Shard
from frex.restore.runs.summary import summary


def record(name, status='restored', **more):
    return PictureRecord(input=f'/in/{name}', status=status, **more)


def add(folder, *records, run='one', rank=0, count=1, finished=True):
    return add_to_report(folder, Shard(run, rank, count), Run(started=10.0 - rank, ended=20.0 + rank, processes=count), records, finished)


def test_the_file_has_the_documented_keys(tmp_path):
    add(tmp_path, record('b.png', 'failed', reason='no'), record('a.png', faces=[FaceRecord(yaw=3.5)], seconds={'read': 0.5}))
    content = json.loads((tmp_path / 'report.json').read_text())
    assert content['version'] == 1
    assert [picture['input'] for picture in content['pictures']] == ['/in/a.png', '/in/b.png']
    picture_keys = {'input', 'status', 'reason', 'width', 'height', 'output', 'seconds', 'notes', 'faces', 'run'}
    assert set(content['pictures'][0]) == picture_keys
    face_keys = {'box', 'score', 'landmarks', 'size', 'yaw', 'pitch', 'identity_similarity', 'reason', 'files'}
    assert set(content['pictures'][0]['faces'][0]) == face_keys
    assert content['pictures'][0]['faces'][0]['yaw'] == 3.5
    assert content['pictures'][0]['seconds'] == {'read': 0.5}
    assert content['runs']['one']['pictures'] == {'restored': 1, 'no face': 0, 'skipped': 0, 'failed': 1}
    assert content['runs']['one']['faces'] == 1


def test_what_is_skipped_keeps_its_earlier_record(tmp_path):
    add(tmp_path, record('a.png', width=7), record('b.png', 'failed'))
    report = add(tmp_path, record('a.png', 'skipped'), record('b.png', width=8), record('c.png', 'skipped'), run='two')
    assert [(one.input[-5:], one.status, one.run, one.width) for one in report.pictures] == [
        ('a.png', 'restored', 'one', 7),
        ('b.png', 'restored', 'two', 8),
        ('c.png', 'skipped', 'two', None),
    ]
    assert report.runs['two'].pictures == {'restored': 1, 'no face': 0, 'skipped': 2, 'failed': 0}


def test_runs_that_only_skip_do_not_pile_up(tmp_path):
    add(tmp_path, record('a.png'))
    for run in ('two', 'three'):
        report = add(tmp_path, record('a.png', 'skipped'), run=run)
    assert list(report.runs) == ['one', 'three']


def test_processes_add_up_to_one_run(tmp_path):
    add(tmp_path, record('a.png'), count=2, finished=False)
    report = add(tmp_path, record('b.png', 'failed'), rank=1, count=2)
    assert not is_complete(report.runs['one'])
    report = add(tmp_path, record('c.png'), count=2)
    assert is_complete(report.runs['one'])
    assert report.runs['one'].pictures == {'restored': 2, 'no face': 0, 'skipped': 0, 'failed': 1}
    assert (report.runs['one'].started, report.runs['one'].ended) == (9, 21)


def test_a_run_of_the_same_words_begins_anew(tmp_path):
    for rank in (0, 1):
        add(tmp_path, record('a.png', 'failed'), rank=rank, count=2)
    report = add(tmp_path, record('a.png'), count=2)
    assert not is_complete(report.runs['one'])
    assert report.runs['one'].pictures['failed'] == 0


def test_two_runs_at_once_lose_nothing(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: add(tmp_path, record(f'{number:02d}.png'), run=f'run{number % 2}', finished=False), range(24)))
    report = read_report(tmp_path)
    assert [picture.input for picture in report.pictures] == [f'/in/{number:02d}.png' for number in range(24)]
    assert [run.pictures['restored'] for run in report.runs.values()] == [12, 12]
    assert not list(tmp_path.glob('*.part'))


@pytest.mark.parametrize('content', [b'', b'{', b'[]', b'{"version": 2}', b'{"version": 1, "pictures": [{}]}', b'\xff'])
def test_a_file_that_is_no_report_is_told_and_kept(tmp_path, content):
    (tmp_path / 'report.json').write_bytes(content)
    with pytest.raises(FRExError, match=r'report.json: not a report of this program .*move it away'):
        add(tmp_path, record('a.png'))
    assert (tmp_path / 'report.json').read_bytes() == content


def test_a_report_that_cannot_be_written_is_told_and_the_old_one_kept(tmp_path, monkeypatch):
    add(tmp_path, record('a.png'))
    monkeypatch.setattr('pathlib.Path.write_bytes', lambda path, data: (_ for _ in ()).throw(OSError(28, 'No space left on device')))
    with pytest.raises(FRExError, match=r'report.json: cannot be written .*No space left'):
        add(tmp_path, record('b.png'))
    assert [picture.input for picture in read_report(tmp_path).pictures] == ['/in/a.png']


def test_a_name_that_is_no_text_is_written(tmp_path):
    from pathlib import Path

    from frex.restore.runs.report import absolute

    add(tmp_path, PictureRecord(input=absolute(Path('/in/\udcff.png')), status='restored'))
    assert read_report(tmp_path).pictures[0].input == '/in/\\udcff.png'


# --- The table


def test_the_table_counts_and_names_what_went_wrong(tmp_path):
    failed = record('d.png', 'failed', reason='/in/d.png: not a picture')
    faces = [FaceRecord(), FaceRecord(reason='the five landmarks are mirrored'), FaceRecord()]
    report = add(tmp_path, record('a.png', faces=faces), record('b.png', 'no face'), record('c.png', 'skipped'), failed)
    assert summary(report, 'one') == [
        'restored  1  2 faces',
        'no face   1',
        'skipped   1  results are there; --exist overwrite or rename restores again',
        'failed    1',
        'no face: /in/b.png',
        'left: /in/a.png: 1 of 3 faces as they were: the five landmarks are mirrored',
        'failed: /in/d.png: not a picture',
    ]


def test_a_long_list_is_cut(tmp_path):
    report = add(tmp_path, *(record(f'{number:02d}.png', 'failed', reason='no') for number in range(30)))
    lines = summary(report, 'one')
    assert len(lines) == 4 + 20 + 1
    assert lines[-1] == 'failed: 10 more, see the report'


def test_other_runs_are_not_in_the_table(tmp_path):
    add(tmp_path, record('a.png', 'failed', reason='no'))
    assert not any('a.png' in line for line in summary(add(tmp_path, record('b.png'), run='two'), 'two'))
