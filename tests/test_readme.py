"""The README is true: its commands parse, its files and tests are there."""

import ast
import re
import shlex

import pytest
from processes import ROOT

from frex.cli.main import frex_parser
from frex.options import find_option_file
from frex.weights.manifest import manifest

README = (ROOT / 'README.md').read_text()
COMMANDS = [line for block in re.findall(r'```bash\n(.*?)```', README, re.DOTALL) for line in block.splitlines() if line]
ROWS = re.findall(r'^\| (.+?) \| `([\w/.]+)::(\w+)` \| `([\w/.]+)::(\w+)` \|$', README, re.MULTILINE)


def made(arguments):
    assert f'\n{arguments[0]}:' in (ROOT / 'Makefile').read_text()


def parsed(arguments):
    args = frex_parser().parse_args(arguments)
    for key in ('opt', 'base'):
        find_option_file(str(getattr(args, key, 'options/train_frex_tiny.yml')))


def piped(arguments):
    assert arguments[0] == 'install'
    assert {'--no-build-isolation', 'torch'} & set(arguments)


def run_by_python(arguments):
    assert arguments[0] == 'inference_frex.py'
    parsed(['restore', *arguments[1:]])


def run_by_torchrun(arguments):
    assert arguments[0].startswith('--nproc_per_node=')
    if arguments[1] == '-m':
        assert arguments[2] == 'frex'
        parsed(arguments[3:])
    else:
        run_by_python(arguments[1:])


KNOWN = {
    'make': made,
    'pip': piped,
    'basicsr': parsed,
    'frex': parsed,
    'torchrun': run_by_torchrun,
    'python': run_by_python,
}


def test_the_readme_has_commands_and_equations():
    assert len(COMMANDS) >= 9
    assert {equation for row in ROWS for equation in re.findall(r'\d+', row[0])} >= {str(number) for number in (*range(1, 10), 15, 18, 19)}


@pytest.mark.parametrize('command', COMMANDS)
def test_command_is_understood(command):
    program, *arguments = shlex.split(command)
    KNOWN[program](arguments)


def definitions(file):
    return {node.name for node in ast.walk(ast.parse((ROOT / file).read_text())) if isinstance(node, ast.FunctionDef | ast.ClassDef)}


@pytest.mark.parametrize(('equation', 'file', 'name', 'test_file', 'test'), ROWS, ids=[row[0] for row in ROWS])
def test_equation_is_where_the_readme_says(equation, file, name, test_file, test):
    assert name in definitions(file)
    assert test in definitions(test_file)


def test_the_list_of_files_is_the_manifests():
    listed = (ROOT / 'experiments/pretrained_models/README.md').read_text()
    rows = re.findall(r'^\| `(.+)` \| (.+) \| (.+) \|$', listed, re.MULTILINE)
    assert rows == [(file.file, ', '.join(file.tasks) or '-', file.purpose) for file in manifest().values()]


@pytest.mark.parametrize('path', sorted(set(re.findall(r'`((?:frex|frex_arch|tests|options)/[\w/.]*)`', README))))
def test_path_is_there(path):
    assert (ROOT / path).exists()
