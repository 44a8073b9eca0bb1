"""Train both stages in the tiny form on a few real faces: plot every loss, and restore degradations that training has not seen.

    python benchmarks/tiny_training.py --ffhq FOLDER --ffhq_labels LABELS.json --eg3d FOLDER -o benchmarks/results/tiny_training

`--ffhq` holds faces in FFHQ alignment, whose labels come from `frex cameras estimate`; `--eg3d` holds faces in EG3D's crop and their
dataset.json. It shows that training works and makes no model for use: priors are random, and the restored faces are training faces.
"""

import json
import os
from argparse import ArgumentParser, Namespace
from pathlib import Path

import numpy as np
from curves import draw_curves

from frex.cli.main import main
from frex.demo.train import degrade_and_restore, write_grid
from frex.images import list_images
from frex.restore import FaceRestorer

STAGES = {'train_frex_3d_tiny': 'stage A', 'train_frex_tiny': 'stage B'}
TITLE = 'tiny FREx, both stages, on {} faces'
DRAWS = 16
SHOWN = 2


def run(args: Namespace) -> None:
    """Train in `--work`, restore, draw the plots and write the summary into `--output`; change the working directory to `--work`."""
    output = args.output.absolute()
    output.mkdir(parents=True, exist_ok=True)
    faces = list_images(args.ffhq.absolute(), '--ffhq')
    data = make_data_options(args)
    os.makedirs(args.work, exist_ok=True)
    os.chdir(args.work)
    train_stage('train_frex_3d_tiny', args.iterations[0], data)
    stage_a = 'experiments/train_frex_3d_tiny/models/net_g_latest.pth'
    priors = [f'path:pretrain_network_{part}={stage_a}' for part in ('encoder_3d', 'eg3d')]
    train_stage('train_frex_tiny', args.iterations[1], [*data, *priors])

    restorer = FaceRestorer.from_pretrained('experiments/train_frex_tiny/models/net_g_latest.pth', device='auto')
    trials = [degrade_and_restore(restorer, face, [seed, number]) for seed in range(DRAWS) for number, face in enumerate(faces)]
    write_grid(trials[: SHOWN * len(faces)], output / 'contact_sheet.jpg', TITLE.format(len(faces)))
    losses = {name: draw_curves(Path('experiments', name), f'{stage}, tiny form', output / f'{name}.png') for name, stage in STAGES.items()}
    summary = {
        'iterations': dict(zip(STAGES.values(), args.iterations, strict=True)),
        'faces': len(faces),
        'unseen degradations': len(trials),
        'PSNR degraded, restored': np.mean([trial.psnr for trial in trials], axis=0).round(2).tolist(),
        'SSIM degraded, restored': np.mean([trial.ssim for trial in trials], axis=0).round(3).tolist(),
        'restored is better in PSNR': int(sum(trial.psnr[1] > trial.psnr[0] for trial in trials)),
        'losses, first and last tenth': losses,
    }
    (output / 'summary.json').write_text(json.dumps(summary, indent=2) + '\n')
    print(json.dumps(summary, indent=2))


def make_data_options(args: Namespace) -> list[str]:
    """Return the options of the data sets: the labelled faces in FFHQ alignment, mixed half and half with those in EG3D's crop."""
    ffhq, eg3d = args.ffhq.absolute(), args.eg3d.absolute()
    mix = json.dumps({'dataroot_gt': str(eg3d), 'camera_labels': str(eg3d / 'dataset.json'), 'crop': [1, 0, 0], 'ratio': 0.5})
    return [
        f'datasets:train:dataroot_gt={ffhq}',
        f'datasets:train:camera_labels={args.ffhq_labels.absolute()}',
        f'datasets:train:mix={mix}',
        f'datasets:val:dataroot_gt={ffhq}',
        'logger:print_freq=10',
    ]


def train_stage(name: str, iterations: int, changes: list[str]) -> None:
    """Train one stage as a user starts it, or continue one that was interrupted; `changes` are options, KEY=VALUE."""
    options = [
        *changes,
        f'train:total_iter={iterations}',
        f'train:scheduler:milestones=[{4 * iterations // 5}]',
        f'val:val_freq={iterations // 4}',
    ]
    if main(['train', '-opt', f'options/{name}.yml', '--auto_resume', '--force_yml', *options]):
        raise SystemExit(1)


if __name__ == '__main__':
    parser = ArgumentParser(description=__doc__.partition('\n')[0], allow_abbrev=False)
    parser.add_argument('--ffhq', required=True, type=Path, metavar='FOLDER')
    parser.add_argument('--ffhq_labels', required=True, type=Path, metavar='FILE')
    parser.add_argument('--eg3d', required=True, type=Path, metavar='FOLDER')
    parser.add_argument('--iterations', nargs=2, type=int, default=(3000, 1200), metavar=('A', 'B'))
    parser.add_argument('--work', default='results/tiny_training', metavar='DIR', help='where the runs are written')
    parser.add_argument('-o', '--output', required=True, type=Path, metavar='DIR')
    run(parser.parse_args())
