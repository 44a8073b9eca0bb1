"""Option files: inheritance, overrides, and the messages for bad ones."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from frex.errors import FRExError
from frex.options import (
    SHIPPED_FOLDER,
    RunOptions,
    check_arguments,
    complete,
    convert,
    find_option_file,
    load_options,
    merge,
    override,
    with_option,
)


def arguments(**changes):
    return RunOptions(**{'opt': 'x.yml'} | changes)


def write(path, text):
    path.write_text(text, encoding='utf-8')
    return path


def test_numbers_without_a_dot_are_numbers(tmp_path):
    opt = load_options(write(tmp_path / 'a.yml', 'a: 1e-4\nb: !!float 2e-3\nc: -1E5\nd: 1.5e+3\ne: 12\nf: 1e4x\n'))
    assert opt == {'a': 1e-4, 'b': 2e-3, 'c': -1e5, 'd': 1500.0, 'e': 12, 'f': '1e4x'}


def test_a_file_states_only_its_difference_to_its_base(tmp_path):
    write(tmp_path / 'base.yml', 'name: base\ntrain: {total_iter: 10, optim_g: {type: Adam, lr: 1}}\nval: {val_freq: 1}\n')
    write(tmp_path / 'middle.yml', '_base_: base.yml\nname: middle\n')
    opt = load_options(write(tmp_path / 'top.yml', '_base_: middle.yml\ntrain: {optim_g: {lr: 2}}\nval: ~\n'))
    assert opt == {'name': 'middle', 'train': {'total_iter': 10, 'optim_g': {'type': 'Adam', 'lr': 2}}, 'val': None}


def test_another_type_does_not_inherit_the_old_ones_arguments():
    merged = merge({'loss': {'type': 'L1Loss', 'reduction': 'mean'}}, {'loss': {'type': 'CameraLoss'}})
    assert merged == {'loss': {'type': 'CameraLoss'}}


def test_merging_changes_neither_side():
    base, changes = {'a': {'b': 1}}, {'a': {'c': 2}}
    assert merge(base, changes) == {'a': {'b': 1, 'c': 2}}
    assert (base, changes) == ({'a': {'b': 1}}, {'a': {'c': 2}})


@pytest.mark.parametrize(
    ('entry', 'value'),
    [
        ('train:lr=1e-4', 1e-4),
        ('train:warmup=-1', -1),
        ('train:lr=[1, 2]', [1, 2]),
        ('train:lr=~', None),
        ('train:lr=a=b', 'a=b'),
        ('train:new=true', True),
        ('train:lr=__import__("os").getcwd()', '__import__("os").getcwd()'),
    ],
)
def test_force_yml_reads_values_as_yaml_and_runs_nothing(entry, value):
    key = entry.split('=')[0].split(':')[1]
    assert override({'train': {'lr': 1}}, entry)['train'][key] == value


@pytest.mark.parametrize(
    ('entry', 'message'),
    [
        ('lr', "'lr' is not of the form section:key=value"),
        ('trian:lr=1', "no section 'trian' to change a key of; did you mean 'train'"),
        ('train:lr:x=1', "no section 'train:lr' to change a key of; known: optim_g"),
        ('train:optim_x:lr=1', "no section 'train:optim_x' to change a key of; did you mean 'optim_g'"),
        ('train:optim_g:betas:x=1', "no section 'train:optim_g:betas' to change a key of; known: none"),
        ('train:lr=[1', 'not YAML'),
    ],
)
def test_a_bad_override_is_told_how_to_mend_it(entry, message):
    with pytest.raises(FRExError, match=message):
        override({'train': {'lr': 1, 'optim_g': {'lr': 1}}, 'optim_y': {}}, entry)


def test_force_yml_changes_its_key_alone():
    opt = {'datasets': {'val': {'type': 'A', 'dataroot_gt': 'x'}}, 'name': 'n'}
    changed = override(override(opt, 'datasets:val:type=B'), 'datasets:val:gt_size=64')
    assert changed == {'datasets': {'val': {'type': 'B', 'dataroot_gt': 'x', 'gt_size': 64}}, 'name': 'n'}
    assert opt['datasets']['val'] == {'type': 'A', 'dataroot_gt': 'x'}


def test_yaml_that_would_run_code_is_refused(tmp_path):
    with pytest.raises(FRExError, match='could not determine a constructor'):
        load_options(write(tmp_path / 'a.yml', 'a: !!python/object/apply:os.getcwd []\n'))


@pytest.mark.parametrize(
    ('text', 'message'), [('a: [1', 'not a readable YAML file'), ('- 1', 'holds a list'), ('_base_: no.yml', 'no file')]
)
def test_a_bad_file_is_named(tmp_path, text, message):
    with pytest.raises(FRExError, match=rf'bad\.yml.*{message}'):
        load_options(write(tmp_path / 'bad.yml', text))


def test_files_that_are_bases_of_each_other_are_refused(tmp_path):
    write(tmp_path / 'b.yml', '_base_: a.yml\n')
    path = write(tmp_path / 'a.yml', '_base_: b.yml\n')
    with pytest.raises(FRExError, match=r'b\.yml: _base_: .*a\.yml has this file as a base in turn'):
        load_options(path)


def test_a_missing_option_file_lists_those_that_are_there():
    with pytest.raises(FRExError, match=r'no file options/nothing\.yml.*train_frex_tiny\.yml'):
        find_option_file('options/nothing.yml')


def test_option_files_of_the_checkout_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_option_file('options/train_frex_tiny.yml') == SHIPPED_FOLDER / 'train_frex_tiny.yml'


@dataclass
class Inner:
    """A typed section within."""

    lr: float = 1.0


@dataclass
class Example:
    """A typed section."""

    size: int
    ratio: float = 1.0
    inner: Inner | None = None


def test_a_section_is_converted():
    assert convert(Example, {'size': 3, 'ratio': 2}, 'here') == Example(3, 2.0)


@pytest.mark.parametrize(
    ('section', 'message'),
    [
        ({'size': 1, 'raito': 2}, r"here\.raito: unknown key; did you mean 'ratio'"),
        ({'size': 1, 'inner': {'rl': 2}}, r'here\.inner\.rl: unknown key; known: lr'),
        ({'size': 1, 'inner': 3}, r'here\.inner: a mapping of keys to values is needed, not 3'),
        ({'size': 'big'}, r'here: Expected `int`, got `str` - at `\$\.size`'),
        ({}, 'here: Object missing required field `size`'),
    ],
)
def test_a_bad_section_is_told_key_and_remedy(section, message):
    with pytest.raises(FRExError, match=message):
        convert(Example, section, 'here')


def test_unknown_arguments_are_told_the_nearest():
    with pytest.raises(FRExError, match=r"network_g\.otu_size: unknown key; did you mean 'out_size'"):
        check_arguments(lambda out_size: None, {'otu_size': 1}, 'network_g')


def minimal(**changes):
    return {'name': 'run', 'model_type': 'FRExModel', 'network_g': {}, 'datasets': {'val_1': {'type': 'T', 'dataroot_gt': '~/x'}}} | changes


def test_a_run_writes_below_its_root():
    opt = complete(minimal(), arguments(), Path('/root/of/run'), True, 0)
    assert opt['path']['models'] == '/root/of/run/experiments/run/models'
    assert opt['path']['log'] == '/root/of/run/experiments/run'
    home = str(Path('~/x').expanduser())
    assert opt['datasets']['val_1'] == {'name': 'val_1', 'type': 'T', 'dataroot_gt': home, 'phase': 'val', 'persistent_workers': False}
    results = complete(minimal(), arguments(), Path('/root/of/run'), False, 0)
    assert results['path']['visualization'] == '/root/of/run/results/run/visualization'


@pytest.mark.parametrize(('requested', 'devices', 'used'), [('auto', 4, 4), ('auto', 0, 0), (1, 0, 0), (2, 8, 2), (0, 8, 0)])
def test_no_more_devices_are_used_than_there_are(requested, devices, used):
    assert complete(minimal(num_gpu=requested), arguments(), Path(), True, devices)['num_gpu'] == used


def test_debug_is_the_flag_not_a_part_of_the_name():
    flagged = complete(minimal(val={'val_freq': 5000}), arguments(debug=True), Path(), True, 0)
    assert (flagged['name'], flagged['logger']['print_freq'], flagged['val']['val_freq']) == ('debug_run', 1, 8)
    named = complete(minimal(name='undebugged'), arguments(), Path(), True, 0)
    assert (named['name'], named['logger']['print_freq']) == ('undebugged', 100)


@pytest.mark.parametrize(
    ('opt', 'message'),
    [
        ({'name': 'x', 'modle_type': 'y'}, "did you mean 'modle_type'"),
        (minimal(name='a/b'), 'a/b'),
        (minimal(name=1), 'name: a text is needed, not 1'),
        (minimal(num_gpu='x'), "num_gpu: a number or 'auto' is needed, not 'x'"),
        (minimal(network_g='FREx'), "network_g: a mapping of keys to values is needed, not 'FREx'"),
        (minimal(datasets=None), 'datasets: a mapping of keys to values is needed, not None'),
    ],
)
def test_what_a_run_cannot_do_without_is_asked_for(opt, message):
    with pytest.raises(FRExError, match=message):
        complete(opt, arguments(), Path(), True, 0)


def test_every_shipped_option_file_can_be_read():
    files = sorted(SHIPPED_FOLDER.rglob('*.yml'))
    assert [load_options(file)['model_type'] for file in files] == ['FRExModel'] * len(files)


def test_an_option_is_set_in_a_copy():
    opt = {'train': {'identity_opt': {'type': 'IdentityLoss'}}, 'name': 'n'}
    changed = with_option(opt, ('train', 'identity_opt', 'weights'), 'w.pth')
    assert changed == {'train': {'identity_opt': {'type': 'IdentityLoss', 'weights': 'w.pth'}}, 'name': 'n'}
    assert opt == {'train': {'identity_opt': {'type': 'IdentityLoss'}}, 'name': 'n'}
