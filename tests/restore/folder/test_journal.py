"""Journals on a disk that is full for a while, and journals with damaged lines."""

from pathlib import Path

import pytest
from watch import largest_file

from frex.errors import FRExError
from frex.restore.folder.journal import Journal
from frex.restore.folder.recovery import recover_killed_runs
from frex.restore.folder.report import ImageRecord
from frex.restore.folder.report_index import read_report
from frex.utils.sharding import Shard


def restored(name):
    return ImageRecord(input=f'/in/{name}', status='restored', output=f'restored_imgs/{name}')


def statuses(folder):
    """Return the status of each image in the report of a folder, by its name."""
    _, records = read_report(folder)
    return {Path(record.input).name: record.status for record, _ in records}


@pytest.fixture
def killed(tmp_path):
    """The journal, with three images, of a process that was killed."""
    journal = Journal(tmp_path, Shard(1, 2), 'dead', {}, 0)
    for name in ('a.png', 'b.png', 'c.png'):
        journal.add(restored(name))
    journal.file.close()
    journal.lock._lock.release()
    (tmp_path / '.run-dead-1.lock').touch()
    return tmp_path / '.run-dead-1.jsonl'


def fill_up(journal, record):
    """Add a record to a journal of which the disk takes the first 40 bytes."""
    with largest_file(journal.lock.journal.stat().st_size + 40):
        journal.add(record)


def test_a_line_that_a_full_disk_cuts_off_is_an_error_and_is_completed_later(tmp_path):
    with Journal(tmp_path, Shard(), 'one', {}, 0) as journal:
        with pytest.raises(FRExError, match=r'\.run-one-0\.jsonl: cannot be written \(File too large\)'):
            fill_up(journal, restored('a.png'))
        assert not journal.lock.journal.read_bytes().endswith(b'\n')
        journal.add(restored('b.png'))
        journal.merge_into_report(finished=True)
    assert statuses(tmp_path) == {'a.png': 'restored', 'b.png': 'restored'}


def test_a_run_that_a_full_disk_ends_leaves_its_journal_to_the_next_one(tmp_path):
    journal = Journal(tmp_path, Shard(), 'one', {}, 0)
    journal.add(restored('a.png'))
    with pytest.raises(FRExError, match='cannot be written'):
        fill_up(journal, restored('b.png'))
    # The disk is still full when the journal is closed.
    with largest_file(0), journal:
        pass
    recover_killed_runs(tmp_path, [])
    assert statuses(tmp_path) == {'a.png': 'restored'}
    assert not list(tmp_path.glob('.run-*'))


def test_a_folder_without_space_for_a_journal_is_one_line(tmp_path):
    with largest_file(20), pytest.raises(FRExError, match=r'\.run-one-0\.jsonl: cannot be written'):
        Journal(tmp_path, Shard(), 'one', {}, 0)


DAMAGE = {
    'cut': lambda line: line[:40] + b'\n',
    'zeros': lambda line: bytes(len(line) - 1) + b'\n',
    'not UTF-8': lambda line: b'{"\xff' + line[3:],
    'of another kind': lambda line: b'{"input": 3}\n',
    'empty': lambda line: b'\n',
}


@pytest.mark.parametrize('damage', DAMAGE.values(), ids=list(DAMAGE))
@pytest.mark.parametrize('number', [0, 2])
def test_only_a_damaged_line_of_a_journal_is_lost(killed, damage, number):
    lines = killed.read_bytes().splitlines(keepends=True)
    lines[number] = damage(lines[number])
    killed.write_bytes(b''.join(lines))
    recover_killed_runs(killed.parent, [])
    lost = {2: 'b.png'}.get(number)
    assert list(statuses(killed.parent)) == [name for name in ('a.png', 'b.png', 'c.png') if name != lost]
    assert list(read_report(killed.parent)[0]) == ['dead']
    assert not list(killed.parent.glob('.run-*'))
