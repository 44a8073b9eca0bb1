"""The option files that come with FREx: each is sound as it stands, and states what it is for."""

import pytest
import torch
from option_files import ABLATIONS, OPTION_FILES, differing_keys

from frex.data.labels import write_labels
from frex.options import SHIPPED_FOLDER, RunOptions, complete, convert, load_options, read_frex_run
from frex.options.train import TrainOptions
from frex.training import pipeline
from frex.training.check_data import check_data, missing_data
from frex.training.check_options import check_options
from frex.training.check_weights import frozen_networks, starting_files
from frex.weights.manifest import files_for_task
from frex_arch.camera import frontal_camera


def completed(path, face_folder, tmp_path):
    """The options as a run has them, on a folder of faces that is large enough, with labels where the options name some."""
    pipeline.register()
    opt = load_options(path)
    labels = tmp_path / 'dataset.json'
    write_labels(labels, {image.name: frontal_camera()[0].tolist() for image in face_folder.iterdir()}, {})
    for dataset in opt['datasets'].values():
        for section in (dataset, dataset.get('mix') if dataset else None):
            if section:
                section['dataroot_gt'] = str(face_folder)
                section |= {'camera_labels': str(labels)} if section.get('camera_labels') else {}
    if opt['datasets'].get('train'):
        opt['datasets']['train']['dataset_enlarge_ratio'] = 100
    return read_frex_run(complete(opt, RunOptions(str(path)), tmp_path, not path.name.startswith('test'), 0), path.name)


@pytest.mark.parametrize('path', OPTION_FILES, ids=lambda path: path.stem)
def test_a_run_could_start(path, face_folder, tmp_path):
    config = completed(path, face_folder, tmp_path)
    check_options(config, path.name)
    assert missing_data(config.face_sets) == []
    check_data(config.face_sets, path.name)


@pytest.mark.parametrize('path', OPTION_FILES, ids=lambda path: path.stem)
def test_a_file_says_what_it_is(path):
    assert path.read_text().startswith('# ')
    assert load_options(path)['name'].removeprefix('ablation_').removeprefix('small_') == path.stem


def test_both_stages_name_all_files_that_a_training_needs(face_folder, tmp_path):
    configs = [completed(SHIPPED_FOLDER / name, face_folder, tmp_path) for name in STAGES]
    stage_a, stage_b = ({file.name for file in (*starting_files(config), *frozen_networks(config))} for config in configs)
    keys = {file.key for file in files_for_task('train')}
    assert stage_a == {'ffhqrebalanced512-128', 'swin_v2_b', 'vgg16', 'arcface_resnet18'}
    assert stage_b == keys | {'experiments/train_frex_3d/models/net_g_latest.pth'}


STAGES = ('train_frex_3d.yml', 'train_frex.yml')


def weights(path):
    """Weights of the losses, by their keys."""
    return {key: loss['loss_weight'] for key, loss in load_options(path)['train'].items() if key.endswith('_opt') and loss}


def test_the_losses_are_the_designs():
    stage_a = {
        'pixel_3d_opt': 1,
        'perceptual_3d_opt': 0.8,
        'identity_3d_opt': 0.1,
        'latent_gan_opt': 0.1,
        'camera_opt': 1,
        'offset_norm_opt': 2e-4,
    }
    stage_b = {
        'pixel_opt': 0.05,
        'perceptual_opt': 0.5,
        'identity_opt': 10,
        'dual_gan_opt': 0.1,
        'structure_opt': 10,
        'multi_scale_gan_opt': 0.1,
    }
    assert weights(SHIPPED_FOLDER / 'train_frex_3d.yml') == stage_a
    # Eq. 18 is the whole: L_3D goes on in stage B.
    assert weights(SHIPPED_FOLDER / 'train_frex.yml') == stage_a | stage_b


@pytest.mark.parametrize('name', [*STAGES, 'train_frex_release.yml', *(f'ablations/{path.name}' for path in ABLATIONS)])
def test_the_data_are_the_papers(name):
    """FFHQ with labels, and 100,000 faces of EG3D among 170,000."""
    train = load_options(SHIPPED_FOLDER / name)['datasets']['train']
    assert train['camera_labels'] == 'datasets/ffhq/dataset.json'
    assert train['mix']['ratio'] == pytest.approx(100 / 170, abs=0.005)
    assert train['mix']['camera_labels'] == 'datasets/eg3d/images/dataset.json'


def test_the_schedule_is_the_papers():
    for path in (SHIPPED_FOLDER / name for name in STAGES):
        options = convert(TrainOptions, load_options(path)['train'], path.name)
        assert (options.total_iter, options.scheduler.arguments['milestones'], options.scheduler.arguments['gamma']) == (
            250_000,
            [200_000],
            0.5,
        )
        assert (options.optim_g.lr, options.optim_g.betas, options.r1_reg_weight, options.net_d_reg_every) == (2e-3, (0, 0.99), 10, 16)


@pytest.mark.parametrize('path', ABLATIONS, ids=lambda path: path.stem)
def test_an_ablation_differs_in_what_it_takes_away(path):
    changed = differing_keys(load_options(SHIPPED_FOLDER / 'train_frex.yml'), load_options(path)) - {'name'}
    assert (
        changed
        == {
            'without_3d_prior': {
                'network_g.use_3d_prior',
                'network_d_latent',
                *(f'train.{key}' for key in ('pixel_3d_opt', 'perceptual_3d_opt', 'identity_3d_opt', 'offset_norm_opt', 'latent_gan_opt')),
            },
            'without_awb': {'network_g.use_awb'},
            'without_cross_attention': {'network_g.use_cross_attention'},
            'without_structure_loss': {'train.structure_opt'},
            'without_multi_scale_critics': {'network_d_multi_scale', 'train.multi_scale_gan_opt'},
        }[path.stem]
    )


def test_there_are_the_five_ablations():
    assert len(ABLATIONS) == 5


def test_checking_a_full_network_costs_no_memory(face_folder, tmp_path):
    """Its half a gigabyte of weights is never there."""
    import resource

    config = completed(SHIPPED_FOLDER / 'train_frex.yml', face_folder, tmp_path)
    check_options(config, 'warm up')
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    check_options(config, 'again')
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000
    assert torch.get_default_device().type == 'cpu'
