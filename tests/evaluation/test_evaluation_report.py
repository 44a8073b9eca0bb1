"""What the table, its notes, the protocol and the files of an evaluation say."""

import csv
import hashlib
import json
import shutil

import pytest
from scored_folders import NAN, QUICK, clean, decibels, mean, off_by, write

from frex.evaluation import evaluate, to_csv, to_json, to_markdown
from frex.evaluation.costs import read_cost
from frex.evaluation.markdown import format_cell, rank_marks
from frex.evaluation.plots import draw_plots
from frex.evaluation.results import Row, Summary
from frex.metrics.catalogue import METRICS


def test_the_best_is_bold_and_the_second_underlined(folders):
    write_third = {'a/one': 1, 'a/two': 2, 'b/one': 3, 'three': 4}
    for number, (name, step) in enumerate(write_third.items()):
        write(folders / 'C' / f'{name}.png', off_by(clean(number), step))
    found = evaluate({name: [folders / name] for name in 'ABC'}, folders / 'gt', settings=QUICK)
    cells = {line.split('|')[1].strip(): line.split('|')[2].strip() for line in to_markdown(found).splitlines()[2:8]}
    assert cells['C'] == f'**{decibels(1, 2, 3, 4):.2f}**'
    assert cells['A'] == f'{decibels(2, 4, 6, 8):.2f}'
    assert cells['B'] == f'<u>{decibels(3, 4, 5, 6):.2f}</u>'
    assert cells['GT'] == '∞'


def row_of(name, *means, key='lpips'):
    """Return a row with a mean in each bin."""
    return Row(name, False, (), {key: tuple(Summary(each, NAN, NAN, NAN, 0) for each in means)})


def test_marks_know_which_way_is_better_and_what_is_alike_as_written():
    rows = [
        row_of('a', 0.31, NAN),
        row_of('b', 0.20001, 0.5),
        row_of('c', 0.19999, 0.4),
        row_of('d', NAN, NAN),
        row_of('e', 1, 2, key='fid'),
    ]
    first, second = (rank_marks(rows, METRICS['lpips'], number) for number in (0, 1))
    cells = [[format_cell(row, METRICS['lpips'], number, marks) for row in rows] for number, marks in ((0, first), (1, second))]
    assert cells[0] == ['<u>0.3100</u>', '**0.2000**', '**0.2000**', '-', '-']
    assert cells[1] == ['-', '<u>0.5000</u>', '**0.4000**', '-', '-']
    higher = [row_of(name, mean, key='ssim') for name, mean in (('a', 0.9), ('b', 0.95), ('c', 0.1))]
    assert rank_marks(higher, METRICS['ssim'], 0) == {0.95: '**{}**', 0.9: '<u>{}</u>'}


def test_a_method_alone_is_not_the_best(folders):
    assert '**' not in to_markdown(evaluate({'A': [folders / 'A']}, folders / 'gt', settings=QUICK))


def test_the_protocol_knows_the_files(folders):
    files = {'a/one': 'a/one.png', 'a/two': 'a/two.bmp', 'b/one': 'b/one.png', 'three': 'three.png'}
    sums = {name: hashlib.sha256((folders / 'gt' / file).read_bytes()).hexdigest() for name, file in files.items()}
    expected = hashlib.sha256(''.join(f'{name} {sums[name]}\n' for name in sorted(sums)).encode()).hexdigest()
    before = evaluate({'A': [folders / 'A']}, folders / 'gt', settings=QUICK).protocol
    assert before['files of GT'] == f'1 bmp, 3 png; 4 of 24 x 24; sha256 of the sorted lines "NAME SHA256" {expected}'
    assert METRICS['psnr'].protocol in before['PSNR']
    write(folders / 'A/three.png', clean(3))
    after = evaluate({'A': [folders / 'A']}, folders / 'gt', settings=QUICK).protocol
    assert {topic for topic in before if before[topic] != after[topic]} == {'files of A'}


def test_json_and_csv_tell_what_the_table_tells(folders):
    found = evaluate({'A': [folders / 'A']}, folders / 'gt', settings=QUICK)
    told = json.loads(to_json(found))
    assert told['rows'][0]['runs'][0]['scores']['psnr'] == pytest.approx([decibels(step) for step in (2, 4, 6, 8)])
    assert told['rows'][1]['summaries']['psnr'][0]['mean'] == 'inf'
    assert told['rows'][1]['summaries']['psnr'][0]['low'] is None
    line = next(csv.DictReader(to_csv(found).splitlines()))
    assert (line['method'], line['metric'], line['yaw'], line['pictures']) == ('A', 'psnr', 'all', '4')
    assert float(line['mean']) == mean(found, 'A')
    assert line['spread'] == ''


def test_the_cost_of_a_run_is_a_column(folders):
    record = {'seconds_a_face': 0.25, 'timing': 'command', 'peak_memory_bytes': {'host': 300 << 20, 'GPU': 5 << 20}}
    (folders / 'A/run.json').write_text(json.dumps(record))
    (folders / 'B').rename(folders / 'images')
    (folders / 'B').mkdir()
    (folders / 'images').rename(folders / 'B/images')
    (folders / 'B/run.json').write_text(json.dumps({'seconds_a_face': 0.5, 'peak_memory_bytes': {'host': 100 << 20}}))
    found = evaluate({'A': [folders / 'A'], 'B': [folders / 'B/images']}, folders / 'gt', settings=QUICK)
    table = [[cell.strip() for cell in line.strip('|').split('|')] for line in to_markdown(found).splitlines()[2:7]]
    assert table[0][2:] == ['s/face', 'host MiB', 'GPU MiB']
    assert [row[2:] for row in table[2:]] == [['0.250', '300', '5'], ['0.500', '100', '-'], ['-', '-', '-']]
    assert '- s/face: of the whole command, starting and loading included: A' in to_markdown(found)


def cost_of(folder, **runs):
    """Write one folder per run with its `run.json`, and read their cost."""
    for name, record in runs.items():
        (folder / name).mkdir()
        (folder / name / 'run.json').write_text(json.dumps(record))
    return read_cost([folder / name for name in runs])


def test_the_cost_of_two_runs_is_their_mean_time_and_greatest_memory(tmp_path):
    first = {'seconds_a_face': 0.2, 'timing': 'network', 'device': 'cpu: x86_64, 2 threads', 'peak_memory_bytes': {'host': 300}}
    second = first | {'seconds_a_face': 0.4, 'peak_memory_bytes': {'host': 200, 'GPU': 7}}
    cost = cost_of(tmp_path, first=first, second=second)
    assert cost.seconds_a_face == pytest.approx(0.3)
    assert cost.peak_memory == {'host': 300, 'GPU': 7}
    assert cost.measured == ('the network alone; cpu: x86_64, 2 threads',)


def test_times_of_different_things_have_no_mean(folders):
    cost = cost_of(folders, x={'seconds_a_face': 0.2, 'timing': 'network'}, y={'seconds_a_face': 9, 'timing': 'command'})
    assert (cost.seconds_a_face, cost.timings) == (None, ('network', 'command'))
    for name, record in (('A', 'x'), ('B', 'y')):
        shutil.move(folders / record / 'run.json', folders / name / 'run.json')
    told = to_markdown(evaluate({'both': [folders / 'A', folders / 'B']}, folders / 'gt', settings=QUICK))
    assert '- s/face: -, of some runs the network alone was timed, of others the whole command: both' in told
    assert '- s/face: of the whole command' not in told


def test_where_costs_were_measured_is_told(folders):
    network = {
        'seconds_a_face': 0.2,
        'timing': 'network',
        'device': 'cuda:0: NVIDIA H200',
        'versions': {'torch': '2.9.0', 'gfpgan': '1.3.8'},
    }
    (folders / 'A/run.json').write_text(json.dumps(network))
    (folders / 'B/run.json').write_text(json.dumps(network))
    found = evaluate({'A': [folders / 'A'], 'B': [folders / 'B']}, folders / 'gt', settings=QUICK)
    assert found.protocol['cost of A'] == 'the network alone; cuda:0: NVIDIA H200; torch 2.9.0, gfpgan 1.3.8'
    assert 'not measured alike' not in to_markdown(found)
    (folders / 'B/run.json').write_text(json.dumps(network | {'device': 'cpu: x86_64, 2 threads'}))
    found = evaluate({'A': [folders / 'A'], 'B': [folders / 'B']}, folders / 'gt', settings=QUICK)
    assert '- s/face, memory: not measured alike, see "cost of" in the protocol: A, B' in to_markdown(found)


def test_what_is_infinite_is_told(folders, monkeypatch):
    write(folders / 'A/three.png', clean(3))
    found = evaluate({'A': [folders / 'A'], 'B': [folders / 'B']}, folders / 'gt', settings=QUICK)
    note = '- PSNR: ∞ of images that are the same as the clean ones, so its mean is ∞, without interval and plot: 1 of A'
    assert note in to_markdown(found).splitlines()
    titles = []
    monkeypatch.setattr('matplotlib.axes.Axes.set_title', lambda axes, title, **_: titles.append(title))
    draw_plots(found, folders / 'plots')
    assert titles == ['PSNR ↑\n∞, not drawn: A']


def test_the_same_images_under_two_names_are_told(folders):
    shutil.copytree(folders / 'A', folders / 'C')
    found = evaluate({'A': [folders / 'A'], 'B': [folders / 'B', folders / 'C']}, folders / 'gt', settings=QUICK)
    assert '- the same images, byte for byte: A / B, run 2' in to_markdown(found).splitlines()
    different = evaluate({'A': [folders / 'A'], 'B': [folders / 'B']}, folders / 'gt', settings=QUICK)
    assert 'byte for byte' not in to_markdown(different)


def test_names_are_shown_as_they_are(folders):
    name = 'a*b*_c_ d_e <i> `x` [y](z)'
    told = to_markdown(evaluate({name: [folders / 'A'], 'B': [folders / 'B']}, folders / 'gt', settings=QUICK))
    assert r'| a\*b\*\_c\_ d_e \<i> \`x\` \[y](z) |' in told
    assert r'- files of a\*b\*\_c\_ d_e' in told


# --- Formats


def formats_told(folders):
    """The footnote on formats, None without one."""
    report = to_markdown(evaluate({name: [folders / name] for name in 'AB'}, folders / 'gt', settings=QUICK))
    return next((line for line in report.splitlines() if line.startswith('- formats differ')), None)


def test_lossy_and_lossless_images_side_by_side_are_told(folders):
    assert formats_told(folders) is None
    (folders / 'B/three.png').unlink()
    write(folders / 'B/three.jpeg', clean(3))
    told = formats_told(folders)
    assert told.startswith(
        '- formats differ (PNG of A, B, GT; JPEG of B; BMP of GT): lossy ones change all metrics, and NIQE is better for JPEG'
    )


def test_images_of_one_lossy_format_are_not(folders):
    for number, path in enumerate(path for path in sorted(folders.rglob('*.*')) if path.suffix in ('.png', '.bmp')):
        path.unlink()
        write(path.with_suffix(('.jpg', '.jpe')[number % 2]), clean(0))
    assert formats_told(folders) is None
