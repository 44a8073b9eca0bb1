"""`frex ablate`: differences fit any base, trainings are resumed, and caveats follow from how the table was made."""

import json
import math
import shutil
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from option_files import ABLATIONS, differing_keys
from tiny import TINY_OPTIONS, tiny_frex, tiny_network_options, trained

from frex.ablation import training
from frex.ablation.caveats import AblationSetup, to_markdown
from frex.ablation.configurations import FULL, equals_full, list_known_configurations, write_configurations
from frex.ablation.plan import LEFT_OUT, make_plan
from frex.ablation.significance import Difference, compare_means
from frex.ablation.training import Training
from frex.cli.main import main
from frex.errors import FRExError
from frex.evaluation.results import Evaluation, Row, Run, Summary
from frex.images import read_image, write_image
from frex.metrics.catalogue import METRICS
from frex.options import SHIPPED_FOLDER, load_options
from frex.restore import FaceRestorer
from frex.weights.network_file import save_checkpoint

PAPERS_BASE = SHIPPED_FOLDER / 'train_frex.yml'
SIX = [FULL, *(path.stem for path in ABLATIONS)]


# --- Configurations


def test_there_are_the_six_of_the_paper():
    assert list(list_known_configurations()) == SIX


@pytest.mark.parametrize('path', ABLATIONS, ids=lambda path: path.stem)
def test_over_its_own_base_a_difference_is_its_option_file(path, tmp_path):
    (configuration,) = write_configurations([path.stem], str(PAPERS_BASE), [], tmp_path)
    assert configuration.options == load_options(path)
    assert load_options(configuration.file) == load_options(path)


def test_over_the_tiny_base_each_takes_the_same_away():
    tiny = load_options(TINY_OPTIONS)
    changed = {path.stem: differing_keys(tiny, over_tiny(path.stem).options) - {'name'} for path in ABLATIONS}
    assert changed == {
        'without_3d_prior': {'network_g.use_3d_prior'},
        'without_awb': {'network_g.use_awb'},
        'without_cross_attention': {'network_g.use_cross_attention'},
        'without_multi_scale_critics': {'network_d_multi_scale', 'train.multi_scale_gan_opt'},
        'without_structure_loss': set(),
    }


@pytest.fixture(autouse=True)
def _place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def over_tiny(name, *force_yml):
    (configuration,) = write_configurations([name], str(TINY_OPTIONS), force_yml, Path('written'))
    return configuration


def test_a_difference_that_takes_nothing_away_is_left_out_with_the_reason():
    plan = make_plan([], [], str(TINY_OPTIONS), [], Path('options'))
    assert [each.name for each in plan.trained] == [name for name in SIX if name != 'without_structure_loss']
    assert list(plan.left_out) == ['without_structure_loss']
    forced = over_tiny('without_awb', 'network_g:use_awb=false')
    assert equals_full(forced, over_tiny('full', 'network_g:use_awb=false').options)
    assert not equals_full(forced, over_tiny('full').options)


def test_a_run_of_other_options_has_another_name():
    name = over_tiny('full').run_name(3)
    assert name == over_tiny('full', 'manual_seed=7').run_name(3)
    others = [over_tiny('full', 'train:total_iter=7').run_name(3), over_tiny('full').run_name(4), over_tiny('without_awb').run_name(3)]
    assert len({name, *others}) == 4


def test_a_difference_of_ones_own_is_a_configuration():
    Path('narrow.yml').write_text('# Narrower.\n_base_: whatever.yml\nnetwork_g: {encoder_narrow: 0.25}\n')
    assert differing_keys(load_options(TINY_OPTIONS), over_tiny('narrow.yml').options) == {'network_g.encoder_narrow'}
    Path('narrow.yml').write_text('network_g: {encoder_narrow: 0.25}\n')
    with pytest.raises(FRExError, match=r'narrow\.yml: a line with _base_ is needed'):
        over_tiny('narrow.yml')


# --- Training


def replace_processes(monkeypatch, run):
    """Intercept trainings only; other processes may still be started."""
    monkeypatch.setattr(training, 'subprocess', SimpleNamespace(run=run, STDOUT=None))


@pytest.fixture
def in_this_process(monkeypatch):
    """Run trainings in this process instead of a new one; return their command lines."""
    lines = []

    def run(line, **given):
        lines.append(line)
        return SimpleNamespace(returncode=main(line[line.index('train') :]))

    replace_processes(monkeypatch, run)
    return lines


def test_a_training_is_frex_train_with_a_name_and_a_seed_and_is_not_done_twice(in_this_process, face_folder):
    force_yml = [f'datasets:train:dataroot_gt={face_folder}', 'datasets:val=null', 'train:total_iter=1', 'logger:use_tb_logger=false']
    force_yml += ['datasets:train:num_worker_per_gpu=0', 'datasets:train:persistent_workers=false']
    (configuration,) = write_configurations(['without_cross_attention'], str(TINY_OPTIONS), force_yml, Path('written'))
    how = Training(['frex', 'train'], force_yml, Path('logs'))
    path = how.find_or_train(configuration, 3)
    assert path == how.find_or_train(configuration, 3)
    assert len(in_this_process) == 1
    net = FaceRestorer.from_pretrained(path, 'cpu').net
    assert not any('attention' in name for name in net.state_dict() if name.startswith('fusion'))
    requested = yaml.safe_load(next(path.parents[1].glob('*.yml')).read_text())
    assert (requested['name'], requested['manual_seed'], requested['network_g']['use_cross_attention']) == (path.parts[1], 3, False)


@pytest.mark.parametrize(
    ('command', 'message'),
    [
        (
            ['sh', '-c', 'echo first; echo the disk is full >&2; exit 1'],
            r'ended with status 1: the disk is full; all of it is in logs/.*\.log',
        ),
        (['true'], 'ended without experiments/.*/net_g_latest.pth'),
        (['no_such_program'], 'no_such_program cannot be run'),
    ],
)
def test_a_training_that_fails_is_told(command, message):
    with pytest.raises(FRExError, match=message):
        Training(command, [], Path('logs')).find_or_train(over_tiny('full'), 0)


# --- Chance


def test_the_interval_of_a_difference_is_welchs():
    ours, full = [27.5, 21.0, 19.0, 23.6, 17.0, 17.9], [27.1, 22.0, 20.8, 23.4]
    n, m = len(ours), len(full)
    a, b = np.var(ours, ddof=1) / n, np.var(full, ddof=1) / m
    freedom = (a + b) ** 2 / (a**2 / (n - 1) + b**2 / (m - 1))
    # Quantile 0.975 of Student's t at 7.9 degrees of freedom, between the printed tables' 2.365 at 7 and 2.306 at 8.
    assert freedom == pytest.approx(7.9, abs=0.15)
    found = compare_means(ours, full)
    assert found.mean == pytest.approx(21.0 - 23.325)
    assert (found.high - found.mean) / math.sqrt(a + b) == pytest.approx(2.31, abs=0.01)
    assert found.mean - found.low == pytest.approx(found.high - found.mean)
    assert not found.is_clear


def test_a_difference_without_two_runs_a_side_has_no_interval():
    assert not compare_means([1.0], [2.0, 2.1]).is_clear
    assert math.isnan(compare_means([1.0], [2.0, 2.1]).low)
    # Runs that are alike to the last bit tell nothing of chance.
    assert math.isnan(compare_means([1.0, 1.0], [2.0, 2.0]).low)


@pytest.mark.parametrize(('low', 'high', 'is_clear'), [(0.1, 0.3, True), (-0.3, -0.1, True), (-0.1, 0.3, False)])
def test_a_difference_is_clear_where_its_interval_leaves_out_zero(low, high, is_clear):
    assert Difference((low + high) / 2, low, high).is_clear is is_clear


def run_of(psnr, fid):
    return Run(folder=Path(), files=(), scores={'psnr': np.full(2, psnr)}, set_scores={'fid': (fid,)})


def evaluation_of(psnr, fid):
    """Return an evaluation of two images with the given scores of each run by configuration; both images have the same score."""
    nothing = (Summary(math.nan, math.nan, math.nan, math.nan, 0),)
    rows = tuple(
        Row(
            name,
            False,
            tuple(run_of(score, other) for score, other in zip(scores, fid[name], strict=True)),
            {'psnr': nothing, 'fid': nothing},
        )
        for name, scores in psnr.items()
    )
    return Evaluation(('a', 'b'), (METRICS['psnr'], METRICS['fid']), {}, rows, (), None, (), {})


TAKEN = AblationSetup(config=None, size=512, seeds=[], taken=[], left_out={}, gt=Path('gt'))


def test_differences_that_chance_does_not_explain_are_named_and_bold():
    psnr = {'full': [30.0, 30.1, 29.9], 'worse': [20.0, 20.1, 20.2], 'alike': [30.0, 30.2, 29.8]}
    fid = {'full': [50.0, 52.0, 48.0], 'worse': [9.0, 8.0, 10.0], 'alike': [51.0, 47.0, 52.0]}
    text = to_markdown(evaluation_of(psnr, fid), TAKEN)
    assert 'leaves out 0: worse in PSNR (worse than full), worse in FID (better than full).' in text
    assert 'There are 4 such intervals, of which about 0.2 leave out 0 by chance alone.' in text
    assert 'With 3 runs the intervals are wide' in text
    assert 'FID is of 2 images, fewer than its 2,048 features' in text
    rows = {line.split('|')[1].strip(): line for line in text.splitlines() if line.startswith('|')}
    assert '**-9.90** [' in rows['worse']
    assert '**-41.00** [' in rows['worse']
    assert '**' not in rows['alike']


def test_without_the_full_configuration_no_difference_is_told():
    text = to_markdown(evaluation_of({'other': [30.0, 31.0]}, {'other': [1.0, 2.0]}), TAKEN)
    assert 'The full configuration is not among the rows' in text
    assert '|' not in text


# --- The command


@pytest.fixture
def trainer(monkeypatch, tmp_path):
    """Replace training by writing random weights that depend on the run's name, and restore in this process.

    The answer are the names that were trained.
    """
    names = []

    def train(line, **given):
        forced = dict(entry.split('=', 1) for entry in line[line.index('--force_yml') + 1 :])
        options = load_options(Path(line[line.index('-opt') + 1]))
        networks = options['network_g'] | {'out_size': 64}
        arguments = tiny_network_options(**{key: value for key, value in networks.items() if key.startswith('use_')})
        path = tmp_path / 'experiments' / forced['name'] / 'models/net_g_latest.pth'
        path.parent.mkdir(parents=True)
        state = trained(tiny_frex(zlib.crc32(forced['name'].encode()), **arguments)).state_dict()
        save_checkpoint(path, {'params_ema': state}, {'network_g': {'type': 'FREx', **arguments}})
        names.append(forced['name'])
        return SimpleNamespace(returncode=0)

    replace_processes(monkeypatch, train)
    monkeypatch.setattr('frex.peers.compare._run_in_new_process', lambda function, *arguments: function(*arguments))
    return names


@pytest.fixture
def gt(tmp_path, face_folder):
    """Write two clean faces, larger than the network's, and the same faces degraded."""
    for name in ('face0.png', 'face2.jpg'):
        image = read_image(face_folder / name)
        write_image(tmp_path / 'gt' / name, image)
        write_image(tmp_path / 'lq' / f'{Path(name).stem}.png', image // 2 + 20)
    return tmp_path / 'gt'


def ablate(gt, *more, seeds=('0', '1'), output='out'):
    base = ['--base', str(TINY_OPTIONS), '--force_yml', f'datasets:train:dataroot_gt={gt}']
    folders = [
        '--gt',
        str(gt),
        '--lq',
        str(gt.parent / 'lq'),
        '-o',
        output,
        '--device',
        'cpu',
        '--num_workers',
        '0',
        '--metrics',
        'psnr',
        'ssim',
    ]
    return main(['ablate', *base, *folders, '--metrics', 'psnr', 'ssim', '--seeds', *seeds, *more])


def rows(path='out/table.json'):
    return {row['name']: row for row in json.loads(Path(path).read_text())['rows']}


@pytest.mark.slow
def test_an_ablation_trains_restores_and_evaluates_and_goes_on(gt, trainer, capsys):
    few = ['--configurations', 'without_awb', 'full', 'without_structure_loss']
    assert ablate(gt, *few) == 0
    output = capsys.readouterr()
    # A whole set of rows is there after the first seed.
    assert [name.split('_')[1:-2] for name in trainer] == [['full'], ['without', 'awb']] * 2
    assert '2 of 4: without_awb, seed 0' in output.err
    assert [row for row in rows() if row not in ('bilinear', 'GT')] == ['full', 'without_awb']
    assert [len(rows()[name]['runs']) for name in ('full', 'without_awb')] == [2, 2]

    # The score is that of what the checkpoint restores, against the clean face at the network's size.
    clean, degraded = read_image(Path('out/gt/images/face0.png')), read_image(gt.parent / 'lq/face0.png')
    checkpoint = next(Path('experiments').glob('ablation_full_*_seed1/models/net_g_latest.pth'))
    restored = FaceRestorer.from_pretrained(checkpoint, 'cpu', precision='fp32').restore_aligned(degraded)
    error = np.square(restored.astype(float) - clean).mean()
    assert rows()['full']['runs'][1]['scores']['psnr'][0] == pytest.approx(10 * math.log10(255**2 / error), rel=1e-6)

    table = Path('out/table.md').read_text()
    assert table == output.out
    for sentence in (
        'trained for 2,500 iterations of 4 faces a GPU at 64 x 64, with the seeds 0, 1;',
        'without_structure_loss has no row: the base already lacks what it removes',
        'The paper trains 250,000 iterations at 512 x 512.',
        'The priors have random weights',
        'The test images are training images',
        'There are 2 such intervals, of which about 0.1 leave out 0 by chance alone.',
    ):
        assert sentence in table

    # Again, with one more seed: only that is trained, and what was measured stays as it was.
    before = rows()['full']['runs']
    assert ablate(gt, '--configurations', FULL, seeds=('0', '1', '2')) == 0
    assert [name[-5:] for name in trainer[4:]] == ['seed2']
    assert rows()['full']['runs'][:2] == before


@pytest.mark.slow
def test_checkpoints_are_taken_instead_of_trained(gt, trainer, checkpoint):
    shutil.copy(checkpoint, 'other.pth')
    assert ablate(gt, '--configurations', FULL, '--take', f'full={checkpoint}', 'mine=other.pth') == 0
    assert trainer == []
    assert rows()['full']['runs'][0]['scores'] == rows()['mine']['runs'][0]['scores']
    table = Path('out/table.md').read_text()
    assert 'Taken from checkpoints as they are, however they were trained: full, mine.' in table
    assert 'no difference here can be told from chance' in table
    assert 'The paper trains' not in table


@pytest.mark.slow
def test_other_options_or_another_checkpoint_of_a_row_are_other_results(gt, trainer, checkpoint):
    few = ['--configurations', FULL]
    assert ablate(gt, *few, seeds=['0']) == 0
    before = rows()['full']['runs']
    shorter = ['train:total_iter=7', 'train:ema_decay=0.5']
    assert ablate(gt, *few, '--force_yml', shorter[0], '--force_yml', shorter[1], seeds=['0']) == 0
    # Each flag counts, the first one also.
    assert trainer[1] == over_tiny(FULL, f'datasets:train:dataroot_gt={gt}', *shorter).run_name(0)
    assert rows()['full']['runs'][0]['scores'] != before[0]['scores']
    assert ablate(gt, *few, seeds=['0']) == 0
    assert (rows()['full']['runs'], len(trainer)) == (before, 2)

    # Of the same name in another folder.
    other = Path('other') / checkpoint.name
    other.parent.mkdir()
    save_checkpoint(other, {'params_ema': trained(tiny_frex(9)).state_dict()}, {'network_g': {'type': 'FREx', **tiny_network_options()}})
    assert ablate(gt, '--configurations', FULL, '--take', f'full={checkpoint}') == 0
    taken = rows()['full']['runs'][0]['scores']
    assert ablate(gt, '--configurations', FULL, '--take', f'full={other}') == 0
    assert rows()['full']['runs'][0]['scores'] != taken


def test_networks_of_several_sizes_are_refused(gt, trainer, checkpoint, capsys):
    forced = ['--force_yml', 'network_g:out_size=128']
    assert ablate(gt, '--configurations', FULL, '--take', f'mine={checkpoint}', *forced) == 1
    assert 'the networks make images of several sizes' in capsys.readouterr().err
    assert trainer == []


def test_where_no_configuration_is_left_the_reason_is_given(gt, trainer, capsys):
    assert ablate(gt, '--configurations', 'without_structure_loss') == 1
    expected = f'--configurations: none is left to compare (without_structure_loss: {LEFT_OUT})'
    assert expected in capsys.readouterr().err
    assert trainer == []


@pytest.fixture
def wrong(gt, tmp_path, monkeypatch):
    """Write invalid inputs in the current folder."""
    for name, content in [
        ('full_folder/notes.txt', 'mine'),
        ('begun/ablate.json', '{"settings": {"gt_sha256": "other"}}'),
        ('damaged.npz', 'no arrays'),
    ]:
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(content)
    face = read_image(gt / 'face0.png')
    for name in ('few/face0.png', 'more/face0.png', 'more/face2.png', 'more/face3.png', 'others/x.png'):
        write_image(Path(name), face)
    for name in ('wide_gt', 'wide_lq'):
        write_image(Path(name) / 'face0.png', face)
        write_image(Path(name) / 'face2.png', face[:-1])
    camera = [*np.eye(4).flatten().tolist(), 4.26, 0, 0.5, 0, 4.26, 0.5, 0, 0, 1]
    Path('cameras.json').write_text(json.dumps({'labels': [['face0.png', camera]]}))
    for name in ('own/GT.yml', 'own/full.yml', 'own/no name.yml'):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text('_base_: any.yml\n')


@pytest.mark.parametrize(
    ('more', 'message'),
    [
        (['--seeds', '1'], '--seeds 0 1 1: one is given twice'),
        (['--configurations', 'without_abw'], "did you mean 'without_awb'"),
        (['--configurations', 'own/GT.yml'], 'GT: the table has a row of that name'),
        (['--configurations', 'own/full.yml'], '--configurations: two are called full'),
        (['--configurations', 'own/no name.yml'], 'no name: the name of a row has letters'),
        (['--take', 'full'], "--take: 'full' is not of the form NAME=CHECKPOINT"),
        (['--take', 'full=nowhere/net.pth'], '--take: full: no file nowhere/net.pth'),
        (['--metrics', 'psnrr'], '--metrics psnrr: unknown'),
        (['--metrics', 'fid', '--fid_statistics', 'nowhere.npz'], 'nowhere.npz'),
        (['--metrics', 'fid', '--fid_statistics', 'damaged.npz'], 'damaged.npz'),
        (['--device', 'abacus'], '--device abacus'),
        (['--gt', 'nowhere'], '--gt: no folder nowhere'),
        (['--gt', 'wide_gt'], 'wide_gt/face2.png: 64 x 63 is not square'),
        (['--lq', 'wide_lq'], 'wide_lq/face2.png: 64 x 63 is not square'),
        (['--lq', 'few'], '--lq (few) lacks 1 of GT (face2); both folders must hold the same faces'),
        (['--lq', 'more'], '--lq (more) has 1 that GT lacks (face3); both folders'),
        (['--lq', 'others'], 'is in all folders by its name without suffix: --lq (others) lacks 2'),
        (['--cameras', 'nowhere.json'], 'nowhere.json'),
        (['--cameras', 'cameras.json'], '--cameras: cameras.json has no label'),
        (['-o', 'full_folder'], 'full_folder: holds notes.txt but no ablate.json'),
        (['-o', 'begun'], 'begun: was begun with gt_sha256'),
    ],
)
def test_what_is_asked_wrongly_is_told_before_anything_is_trained(more, message, gt, wrong, trainer, capsys):
    assert ablate(gt, *more) == 1
    output = capsys.readouterr().err
    assert message in output
    assert '--partial' not in output
    assert trainer == []
    # So that the same folder serves once it is requested rightly.
    assert not Path('out/ablate.json').exists()
