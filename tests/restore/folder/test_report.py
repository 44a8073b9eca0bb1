"""Tests of `report.json`, of the journals that lead to it, and of the summary."""

import json
import os
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from frex.errors import FRExError
from frex.restore.folder.journal import Journal
from frex.restore.folder.recovery import recover_killed_runs
from frex.restore.folder.report import (
    FaceRecord,
    ImageRecord,
    Report,
    absolute_name,
    is_complete,
    make_interrupted_record,
)
from frex.restore.folder.report_index import ReportIndex
from frex.restore.folder.restore_folder import describe_passed_over
from frex.restore.folder.summary import MOST_LISTED, summarize_run
from frex.restore.image_io.headers import NOT_AN_IMAGE
from frex.utils.sharding import Shard


def record(name, status='restored', **more):
    return ImageRecord(input=f'/in/{name}', status=status, **more)


def begin(name):
    return make_interrupted_record(Path(f'/in/{name}.png'), f'restored_imgs/{name}.png', f'restored_faces/{name}_00.png')


def journal(folder, run='one', index=0, count=1):
    return Journal(folder, Shard(index, count), run, {}, 0)


def read_report(folder):
    return msgspec.json.decode((folder / 'report.json').read_bytes(), type=Report)


def add(folder, *records, run='one', index=0, count=1, finished=True):
    """Write a report of a run in one process, and return what is then in the file."""
    with journal(folder, run, index, count) as own:
        for one in records:
            own.add(one)
        own.merge_into_report(finished)
    return read_report(folder)


def summary(report, run='one'):
    return summarize_run(report.runs[run], [one for one in report.images if one.run == run])


def left_by_a_killed_run(folder, *records, run='dead'):
    """Write the journal and the lock of a process that was killed, and return the path of the journal."""
    own = journal(folder, run)
    for one in records:
        own.add(one)
    own.file.close()
    own.lock._lock.release()
    (folder / f'.run-{run}-0.lock').touch()
    return folder / f'.run-{run}-0.jsonl'


def hidden(folder):
    return sorted(path.name for path in folder.iterdir() if path.name not in ('report.json', '.report.json.lock'))


def test_the_file_has_the_documented_keys(tmp_path):
    add(tmp_path, record('b.png', 'failed', reason='no'), record('a.png', faces=[FaceRecord(yaw=3.5)], seconds={'read': 0.5}))
    content = json.loads((tmp_path / 'report.json').read_text())
    assert content['version'] == 1
    assert [image['input'] for image in content['pictures']] == ['/in/a.png', '/in/b.png']
    image_keys = {'input', 'status', 'reason', 'width', 'height', 'output', 'seconds', 'notes', 'faces', 'film', 'run'}
    assert set(content['pictures'][0]) == image_keys
    face_keys = {'box', 'score', 'landmarks', 'size', 'yaw', 'pitch', 'identity_similarity', 'reason', 'files'}
    assert set(content['pictures'][0]['faces'][0]) == face_keys
    assert content['pictures'][0]['faces'][0]['yaw'] == 3.5
    assert content['pictures'][0]['seconds'] == {'read': 0.5}
    assert content['runs']['one']['pictures'] == {'restored': 1, 'no face': 0, 'skipped': 0, 'failed': 1}
    assert content['runs']['one']['faces'] == 1


def test_what_is_skipped_keeps_its_earlier_record(tmp_path):
    add(tmp_path, record('a.png', width=7), record('b.png', 'failed'))
    report = add(tmp_path, record('a.png', 'skipped'), record('b.png', width=8), record('c.png', 'skipped'), run='two')
    assert [(one.input[-5:], one.status, one.run, one.width) for one in report.images] == [
        ('a.png', 'restored', 'one', 7),
        ('b.png', 'restored', 'two', 8),
        ('c.png', 'skipped', 'two', None),
    ]
    assert report.runs['two'].images == {'restored': 1, 'no face': 0, 'skipped': 2, 'failed': 0}


def test_runs_that_only_skip_do_not_pile_up(tmp_path):
    add(tmp_path, record('a.png'))
    for run in ('two', 'three'):
        report = add(tmp_path, record('a.png', 'skipped'), run=run)
    assert list(report.runs) == ['one', 'three']


def test_processes_add_up_to_one_run(tmp_path):
    report = add(tmp_path, record('a.png'), record('b.png', 'failed'), index=1, count=2)
    assert not is_complete(report.runs['one'])
    report = add(tmp_path, record('c.png'), count=2)
    assert is_complete(report.runs['one'])
    assert report.runs['one'].images == {'restored': 2, 'no face': 0, 'skipped': 0, 'failed': 1}


def test_a_run_lasts_from_its_first_process_to_its_last(tmp_path, monkeypatch):
    for index, started in ((0, 1e10), (1, 9e9)):
        monkeypatch.setattr('frex.restore.folder.journal.time.time', lambda started=started: started)
        report = add(tmp_path, index=index, count=2)
    assert (report.runs['one'].started, report.runs['one'].ended) == (9e9, 1e10)


def test_a_process_is_counted_once(tmp_path):
    add(tmp_path, record('a.png'))
    report = add(tmp_path, record('a.png'))
    assert report.runs['one'].images['restored'] == 1


def test_a_record_costs_the_same_however_many_there_are(tmp_path, monkeypatch):
    with journal(tmp_path) as own:
        monkeypatch.setattr(ReportIndex, 'read', lambda folder: pytest.fail('the report was read'))
        for number in range(3):
            own.add(record(f'{number}.png'))
        lines = own.lock.journal.read_bytes().splitlines()
        assert [json.loads(line)['input'] for line in lines[1:]] == ['/in/0.png', '/in/1.png', '/in/2.png']
        assert not (tmp_path / 'report.json').exists()
        monkeypatch.undo()
        own.merge_into_report(finished=True)
    assert hidden(tmp_path) == []


def test_what_a_killed_run_did_is_in_the_next_runs_report(tmp_path):
    add(tmp_path, record('a.png', 'failed'))
    journal_file = left_by_a_killed_run(tmp_path, record('a.png'), record('b.png'))
    # The process was killed in the middle of a line.
    journal_file.write_bytes(journal_file.read_bytes() + b'{"input": "/in/c')
    recover_killed_runs(tmp_path, [])
    report = read_report(tmp_path)
    assert [(one.input, one.status, one.run) for one in report.images] == [
        ('/in/a.png', 'restored', 'dead'),
        ('/in/b.png', 'restored', 'dead'),
    ]
    assert not is_complete(report.runs['dead'])
    assert hidden(tmp_path) == []


def test_a_run_killed_before_its_first_line_is_cleared_up(tmp_path):
    left_by_a_killed_run(tmp_path).write_bytes(b'{"wo')
    recover_killed_runs(tmp_path, [])
    assert hidden(tmp_path) == []


def test_half_files_of_killed_runs_are_removed_and_nothing_else(tmp_path):
    left_by_a_killed_run(tmp_path)
    folder = tmp_path / 'cmp'
    (folder / 'sub').mkdir(parents=True)
    kept = [folder / 'a_00.png', folder / 'my.part', folder / 'sub/b.png.part']
    for path in (*kept, folder / 'sub/a.png.0123abcd.part', tmp_path / 'report.json.0123abcd.part'):
        path.touch()
    recover_killed_runs(tmp_path, [folder])
    assert sorted(path for path in folder.rglob('*') if path.is_file()) == sorted(kept)
    assert hidden(tmp_path) == ['cmp']


def test_what_a_run_that_goes_on_needs_is_left_to_it(tmp_path):
    with journal(tmp_path, 'alive') as own:
        own.add(record('b.png'))
        left_by_a_killed_run(tmp_path, record('a.png'))
        (tmp_path / 'a.png.0123abcd.part').touch()
        recover_killed_runs(tmp_path, [])
        assert {'.run-alive-0.jsonl', '.run-alive-0.lock', 'a.png.0123abcd.part'} <= set(hidden(tmp_path))
        assert [one.input for one in read_report(tmp_path).images] == ['/in/a.png']
        # The killed process is still remembered, so that its incomplete files are removed when no process can be writing them.
        recover_killed_runs(tmp_path, [], own='alive-0')
        assert hidden(tmp_path) == ['.run-alive-0.jsonl', '.run-alive-0.lock']
        own.merge_into_report(finished=True)
    assert hidden(tmp_path) == []


def test_an_image_at_which_a_run_was_killed_owns_its_results_but_is_not_restored(tmp_path):
    add(tmp_path, record('c.png', output='restored_imgs/c.png'))
    begun = [
        make_interrupted_record(Path(f'/in/{name}.png'), f'restored_imgs/{name}.png', f'restored_faces/{name}_00.png') for name in 'abc'
    ]
    done = record('a.png', output='restored_imgs/a.png')
    left_by_a_killed_run(tmp_path, *begun, done)
    recover_killed_runs(tmp_path, [])
    report = read_report(tmp_path)
    assert [(one.input, one.status, one.output) for one in report.images] == [
        ('/in/a.png', 'restored', 'restored_imgs/a.png'),
        ('/in/b.png', 'failed', 'restored_imgs/b.png'),
        # Its results may have been half overwritten.
        ('/in/c.png', 'failed', 'restored_imgs/c.png'),
    ]
    assert 'the same command restores it' in report.images[1].reason
    assert report.runs['dead'].images == {'restored': 1, 'no face': 0, 'skipped': 0, 'failed': 2}


def test_an_image_that_a_stopped_run_did_not_finish_is_not_in_its_report(tmp_path):
    add(tmp_path, record('a.png', output='restored_imgs/a.png'))
    begun = [
        make_interrupted_record(Path(f'/in/{name}.png'), f'restored_imgs/{name}.png', f'restored_faces/{name}_00.png') for name in 'ab'
    ]
    report = add(tmp_path, *begun, run='two', finished=False)
    assert [(one.input, one.status) for one in report.images] == [('/in/a.png', 'restored')]


def test_a_folder_without_traces_is_not_touched(tmp_path):
    recover_killed_runs(tmp_path, [])
    recover_killed_runs(tmp_path / 'none', [])
    assert list(tmp_path.iterdir()) == []


def test_a_result_that_is_written_over_is_its_earlier_inputs_no_more(tmp_path):
    add(tmp_path, record('1/a.png', output='restored_imgs/a.png'), record('b.png', output='restored_imgs/b.png'))
    report = add(tmp_path, record('2/a.png', output='restored_imgs/a.png'), run='two')
    assert [one.input for one in report.images] == ['/in/2/a.png', '/in/b.png']


def test_two_runs_at_once_lose_nothing(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: add(tmp_path, record(f'{number:02d}.png'), run=f'run{number % 2}', index=number, count=24), range(24)))
    report = read_report(tmp_path)
    assert [image.input for image in report.images] == [f'/in/{number:02d}.png' for number in range(24)]
    assert [run.images['restored'] for run in report.runs.values()] == [12, 12]
    assert not list(tmp_path.glob('*.part'))


FOREIGN = [b'', b'{', b'[]', b'{"version": 2}', b'{"version": 1, "pictures": [{}]}', b'\xff']
CUT = [b'{"version":1,"runs":{},"pictures":[\n', b'{"version":1,"runs":{},"pictures":[\n{}\n]}\n', b'{"version":2,"pictures":[\n]}\n']


@pytest.mark.parametrize('content', [*FOREIGN, *CUT])
def test_a_file_that_is_no_report_is_told_and_kept(tmp_path, content):
    (tmp_path / 'report.json').write_bytes(content)
    with pytest.raises(FRExError, match=r'report.json: not a report of this program .*move it away'):
        add(tmp_path, record('a.png'))
    assert (tmp_path / 'report.json').read_bytes() == content


def test_a_report_that_cannot_be_written_is_told_and_the_old_one_kept(tmp_path, monkeypatch):
    add(tmp_path, record('a.png'))
    monkeypatch.setattr(os, 'fsync', lambda file: (_ for _ in ()).throw(OSError(28, 'No space left on device')))
    with pytest.raises(FRExError, match=r'report.json: cannot be written .*No space left'):
        add(tmp_path, record('b.png'))
    assert [image.input for image in read_report(tmp_path).images] == ['/in/a.png']


def test_a_report_that_another_program_laid_out_anew_is_read(tmp_path):
    add(tmp_path, record('a.png', width=7))
    path = tmp_path / 'report.json'
    path.write_text(json.dumps(json.loads(path.read_text()), indent=4))
    report = add(tmp_path, record('b.png'), run='two')
    assert [(one.input, one.run, one.width) for one in report.images] == [('/in/a.png', 'one', 7), ('/in/b.png', 'two', None)]
    assert set(report.runs) == {'one', 'two'}


def test_a_report_is_written_with_one_record_in_memory(tmp_path):
    """A report of records as large as these would take more memory at once than the limit."""
    notes = ['x' * 100_000]
    with journal(tmp_path) as own:
        for number in range(100):
            own.add(record(f'{number:03d}.png', notes=notes))
        tracemalloc.start()
        own.merge_into_report(finished=True)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert len(read_report(tmp_path).images) == 100
    assert peak < 2e6


def test_a_name_that_is_no_text_is_written(tmp_path):
    add(tmp_path, ImageRecord(input=absolute_name(Path('/in/\udcff.png')), status='restored'))
    assert read_report(tmp_path).images[0].input == '/in/\\udcff.png'


# --- The table


def test_the_table_counts_and_names_what_went_wrong(tmp_path):
    failed = record('d.png', 'failed', reason='/in/d.png: not an image')
    faces = [FaceRecord(), FaceRecord(reason='the five landmarks are mirrored'), FaceRecord()]
    report = add(tmp_path, record('a.png', faces=faces), record('b.png', 'no face'), record('c.png', 'skipped'), failed)
    assert summary(report) == [
        'restored  1  2 faces',
        'no face   1',
        'skipped   1  results are there; --exist overwrite or rename restores again',
        'failed    1',
        'no face: /in/b.png',
        'left: /in/a.png: 1 of 3 faces as they were: the five landmarks are mirrored',
        'failed: /in/d.png: not an image',
    ]


def test_the_table_tells_of_skipped_results_made_otherwise(tmp_path):
    reasons = ['were made with other settings (fidelity_weight 0.5)'] * 2 + [None, 'are not in the report']
    report = add(tmp_path, *(record(f'{number}.png', 'skipped', reason=reason) for number, reason in enumerate(reasons)))
    assert report.runs['one'].skipped == {reasons[0]: 2, reasons[3]: 1}
    assert summary(report)[4:] == [f'skipped: 2 {reasons[0]}', 'skipped: 1 are not in the report']


def test_a_long_list_is_cut(tmp_path):
    report = add(tmp_path, *(record(f'{number:02d}.png', 'failed', reason='no') for number in range(30)))
    lines = summary(report)
    assert len(lines) == 4 + 20 + 1
    assert lines[-1] == 'failed: 10 more, see the report'


def test_other_runs_are_not_in_the_table(tmp_path):
    add(tmp_path, record('a.png', 'failed', reason='no'))
    assert not any('a.png' in line for line in summary(add(tmp_path, record('b.png'), run='two'), 'two'))


def test_files_that_are_passed_over_are_in_the_run_and_on_the_screen(tmp_path):
    passed_over = {'/in/a.heic': 'HEIC', '/in/b.md': NOT_AN_IMAGE}
    # The second process has merged its journal before the first, which alone knows them.
    for index, known in ((1, {}), (0, passed_over)):
        with Journal(tmp_path, Shard(index, 2), 'one', {}, 0, known) as journal:
            journal.merge_into_report(finished=True)
    assert read_report(tmp_path).runs['one'].passed_over == passed_over
    others = [(Path(f'/in/{number}.md'), NOT_AN_IMAGE) for number in range(5)]
    known = [(Path(f'/in/{number}.mp4'), 'a video') for number in range(MOST_LISTED + 2)]
    lines = list(describe_passed_over([*known, *others]))
    assert lines[0] == 'passed over: /in/0.mp4: a video'
    assert len(lines) == MOST_LISTED + 2
    assert lines[-2] == 'passed over: 2 more, see the report'
    assert lines[-1] == '5 files passed over: no images by their suffix: 0.md, 1.md, 2.md, ...'
