"""Runs that are killed, stopped, or one of several: whole images, and a report of all of them."""

import io
import json
import re
import signal
import time
from pathlib import Path

import pytest
from processes import ROOT, Command, torchrun
from restore_command import FOLDERS, command, names, report, statuses

from frex.cli.restore import main
from frex.restore.image_io import photo_file

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures('weights_folder')]


def slowly(arguments):
    """Run the command so that it writes half of each file, and the other half a while later."""

    def encode(file, *arguments):
        whole = io.BytesIO()
        original(whole, *arguments)
        content = whole.getvalue()
        file.write(content[: len(content) // 2])
        file.flush()
        time.sleep(0.05)
        file.write(content[len(content) // 2 :])

    original, photo_file.encode = photo_file.encode, encode
    return main(arguments)


def started(checkpoint, many, out):
    """Start a slow run, and return it when it has restored its first face."""
    process = Command(slowly, *command(checkpoint, many, out, '--batch_size', '2'), folder=out.parent)
    deadline = time.monotonic() + 60
    while process.running and not list((out / 'restored_faces').glob('*_00.png')):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return process


def is_whole(path):
    return path.read_bytes().endswith(b'IEND\xaeB`\x82')


def test_a_killed_run_leaves_whole_images_and_goes_on(checkpoint, many, tmp_path):
    out = tmp_path / 'out'
    process = started(checkpoint, many, out)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = list(out.rglob('*.png'))
    (journal,) = out.glob('.run-*.jsonl')
    records = [json.loads(line) for line in journal.read_text().splitlines()[1:]]
    recorded = [out / record['faces'][0]['files']['restored_faces'] for record in records if record['status'] == 'restored']
    there = list((out / 'restored_faces').glob('*.png'))
    # A result that has its name and no record yet has an owner all the same.
    assert {out / record['faces'][0]['files']['restored_faces'] for record in records} >= set(there)
    assert 0 < len(there) < 40
    assert all(map(is_whole, done))
    before = {path: path.stat().st_mtime_ns for path in recorded}
    assert main(command(checkpoint, many, out)) == 0
    assert len(list((out / 'restored_faces').glob('*.png'))) == 40
    assert all(path.stat().st_mtime_ns == moment for path, moment in before.items())
    # The report has what the killed run had done, and none of its files are left.
    assert len(report(out)['pictures']) == 40
    assert set(names(out)) == {*FOLDERS, 'report.json', '.report.json.lock'}
    assert not list(out.rglob('*.part'))


def test_a_stopped_run_ends_in_good_order_and_goes_on(checkpoint, many, tmp_path):
    out = tmp_path / 'out'
    process = started(checkpoint, many, out)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert 'stopping: what is being written is finished' in process.stderr
    assert 'stopped before the end' in process.stderr
    assert 'Traceback' not in process.stderr
    done = names(out / 'restored_faces')
    assert 0 < len(done) < 40
    assert all(map(is_whole, out.rglob('*.png')))
    assert not list(out.rglob('*.part'))
    assert [f'{Path(image["input"]).stem}_00.png' for image in report(out)['pictures']] == done
    assert re.search(rf'^restored +{len(done)} ', process.stdout)
    assert main(command(checkpoint, many, out)) == 0
    assert set(statuses(out).values()) == {'restored'}
    assert len(report(out)['pictures']) == 40


def test_two_runs_into_one_folder_do_no_harm(checkpoint, many, tmp_path):
    out = tmp_path / 'out'
    process = started(checkpoint, many, out)
    assert main(command(checkpoint, many, out)) == 0
    assert process.wait() == 0, process.stderr
    assert len(names(out / 'restored_faces')) == 40
    assert all(map(is_whole, out.rglob('*.png')))
    assert not list(out.rglob('*.part'))
    assert set(statuses(out).values()) == {'restored'}


def test_torchrun_shares_the_images_and_tells_once(checkpoint, many, tmp_path):
    (many / 'broken.png').write_bytes(b'no image')
    out = tmp_path / 'out'
    done = torchrun(ROOT / 'inference_frex.py', *command(checkpoint, many, out), folder=tmp_path)
    assert done.wait() != 0
    assert len(re.findall(r'^restored +40 +40 faces$', done.stdout, re.MULTILINE)) == 1
    assert len(re.findall('^failed: .*broken.png', done.stdout, re.MULTILINE)) == 1
    assert len(names(out / 'restored_faces')) == 40
    content = report(out)
    (one,) = content['runs'].values()
    assert (one['processes'], one['finished']) == (2, [0, 1])
    assert one['pictures'] == {'restored': 40, 'no face': 0, 'skipped': 0, 'failed': 1}
    assert [Path(image['input']).name for image in content['pictures']] == [
        *(f'{number:02d}.png' for number in range(40)),
        'broken.png',
    ]
