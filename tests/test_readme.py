"""README and docs are true: their commands parse, their paths, links and tests are there."""

import ast
import importlib
import json
import re
import shlex
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
import yaml

import frex
from frex.cli.main import frex_parser
from frex.options import find_option_file
from frex.restore.film.records import FilmRecord, TrackRecord
from frex.restore.folder.report import FaceRecord, ImageRecord, Report, Run
from frex.weights.manifest import manifest

ROOT = Path(__file__).parent.parent
# Python 3.10 has no reader of TOML.
EXTRAS = re.findall(
    r'^(\w+) = ', (ROOT / 'pyproject.toml').read_text().split('[project.optional-dependencies]')[1].split('\n[')[0], re.MULTILINE
)


def read_notebook(path):
    """A notebook as a page: lines of code that start with ! become blocks of commands, the other code blocks of Python."""
    page = ''
    for cell in json.loads(path.read_text())['cells']:
        source = ''.join(cell['source'])
        if cell['cell_type'] == 'markdown':
            page += f'{source}\n\n'
        elif source.startswith('!'):
            page += f'```bash\n{source[1:]}\n```\n\n'
        else:
            page += f'```python\n{source}\n```\n\n'
    return page


PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in (ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', ROOT / 'CHANGELOG.md', *sorted((ROOT / 'docs').glob('*.md')))
} | {f'docs/{path.name}': read_notebook(path) for path in (ROOT / 'docs').glob('*.ipynb')}
README = PAGES['README.md']
MOST_LINES, MOST_WORDS = 150, 900
ROWS = re.findall(r'^\| (.+?) \| `([\w/.]+)::(\w+)` \| `([\w/.]+)::(\w+)` \|$', PAGES['docs/paper_to_code.md'], re.MULTILINE)
# The extras that bring basicsr, which must not be built in isolation.
WITH_BASICSR = {'train', 'evaluate', 'demo', 'peers', 'all', 'bench', 'test', 'dev'}


def blocks(language):
    """Each block of code in a language, with the name of its page."""
    return [(page, block) for page, text in PAGES.items() for block in re.findall(rf'```{language}\n(.*?)```', text, re.DOTALL)]


COMMANDS = [(page, line) for page, block in blocks('bash') for line in block.splitlines() if line]


# --- Commands


def check_make(arguments):
    for target in arguments:
        assert f'\n{target}:' in (ROOT / 'Makefile').read_text()


@cache
def parser():
    return frex_parser()


def check_frex(arguments):
    args = parser().parse_args(arguments)
    for key in ('opt', 'base'):
        find_option_file(str(getattr(args, key, 'options/train_frex_tiny.yml')))


def check_pip(arguments):
    assert arguments[0] in ('install', 'uninstall')
    extras = {extra for argument in arguments for found in re.findall(r'^(?:\.|frex)\[(.*)\]$', argument) for extra in found.split(',')}
    assert extras <= {*EXTRAS}
    assert not extras & WITH_BASICSR or '--no-build-isolation' in arguments


def check_python(arguments):
    if arguments[0] == '-m':
        assert arguments[1] in ('pytest', 'build')
    elif arguments[0] == 'inference_frex.py':
        check_frex(['restore', *arguments[1:]])
    else:
        assert (ROOT / arguments[0]).is_file()


def check_torchrun(arguments):
    assert arguments[0].startswith('--nproc_per_node=')
    if arguments[1] == '-m':
        assert arguments[2] == 'frex'
        check_frex(arguments[3:])
    else:
        check_python(arguments[1:])


def check_pre_commit(arguments):
    assert arguments == ['install']
    assert (ROOT / '.pre-commit-config.yaml').is_file()


def check_docker(arguments):
    """`docker build` has arguments of the Dockerfile, and `docker run IMAGE` a command of frex."""
    if arguments[0] == 'build':
        given = [argument.split('=')[0] for flag, argument in pairwise(arguments) if flag == '--build-arg']
        assert set(given) <= {*re.findall(r'^ARG (\w+)=', (ROOT / 'Dockerfile').read_text(), re.MULTILINE)}
    else:
        check_frex(arguments[arguments.index('frex') + 1 :])


def check_cog(arguments):
    """`cog predict -i NAME=VALUE` names inputs of the predictor."""
    assert arguments[0] == 'predict'
    functions = [node for node in ast.walk(ast.parse((ROOT / 'frex/predict.py').read_text())) if isinstance(node, ast.FunctionDef)]
    known = next([argument.arg for argument in node.args.args] for node in functions if node.name == 'predict')
    assert {value.partition('=')[0] for flag, value in pairwise(arguments[1:]) if flag == '-i'} <= {*known}


CHECKS = {
    'cog': check_cog,
    'docker': check_docker,
    'make': check_make,
    'pip': check_pip,
    'basicsr': check_frex,
    'frex': check_frex,
    'torchrun': check_torchrun,
    'python': check_python,
    '.venv/bin/python': check_python,
    'pre-commit': check_pre_commit,
}


@pytest.mark.parametrize(('page', 'command'), COMMANDS)
def test_command_is_understood(page, command):
    program, *arguments = shlex.split(command)
    CHECKS[program](arguments)


def test_every_command_of_frex_stands_on_a_page():
    known = next(action.choices for action in parser()._actions if isinstance(action.choices, dict))
    text = '\n'.join(PAGES.values())
    assert [name for name in known if f'frex {name}' not in text] == []


@pytest.mark.parametrize(('page', 'block'), blocks('python'))
def test_python_is_importable(page, block):
    for node in ast.parse(block).body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names)


# --- Links and paths


def slugs(text):
    """The anchors of a page's headings, as GitHub and mkdocs make them."""
    headings = re.findall(r'^#+ (.+)$', re.sub(r'```.*?```', '', text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r'[^\w -]', '', heading.lower()).replace(' ', '-') for heading in headings}


LINKS = [(page, link) for page, text in PAGES.items() for link in re.findall(r'\]\(([^)\s]+)\)', text) if not link.startswith('http')]


@pytest.mark.parametrize(('page', 'link'), LINKS)
def test_link_leads_somewhere(page, link):
    path, _, anchor = link.partition('#')
    target = (ROOT / page).parent / path if path else ROOT / page
    assert target.exists()
    assert not anchor or anchor in slugs(target.read_text())


PATHS = {
    (page, path)
    for page, text in PAGES.items()
    for path in re.findall(r'`((?:frex|frex_arch|tests|options|benchmarks|docs)/[\w/.]*)(?:::\w+)?`', text)
}


@pytest.mark.parametrize(('page', 'path'), sorted(PATHS))
def test_path_is_there(page, path):
    assert (ROOT / path).exists()


# --- Sizes and contents


def test_the_readme_is_short():
    assert len(README.splitlines()) <= MOST_LINES
    assert len(README.split()) <= MOST_WORDS


def test_restoring_stands_before_training():
    headings = re.findall(r'^## (.+)$', README, re.MULTILINE)
    assert headings.index('Restore') < headings.index('Train and evaluate')


def test_the_equations_are_all_there():
    assert {equation for row in ROWS for equation in re.findall(r'\d+', row[0])} >= {str(number) for number in (*range(1, 10), 15, 18, 19)}


def definitions(file):
    return {node.name for node in ast.walk(ast.parse((ROOT / file).read_text())) if isinstance(node, ast.FunctionDef | ast.ClassDef)}


@pytest.mark.parametrize(('equation', 'file', 'name', 'test_file', 'test'), ROWS, ids=[row[0] for row in ROWS])
def test_equation_is_where_the_page_says(equation, file, name, test_file, test):
    assert name in definitions(file)
    assert test in definitions(test_file)


def section(page, heading):
    return re.search(rf'^## {heading}$(.*?)(?=^## |\Z)', PAGES[page], re.MULTILINE | re.DOTALL)[1]


@pytest.mark.parametrize(
    ('heading', 'record'),
    [
        ('The file', Report),
        ('A run', Run),
        ('An image', ImageRecord),
        ('A face', FaceRecord),
        ('A film', FilmRecord),
        ('A track', TrackRecord),
    ],
)
def test_the_report_is_documented(heading, record):
    rows = re.findall(r'^\| (`.+?) \|', section('docs/report.md', heading), re.MULTILINE)
    assert Counter(key for row in rows for key in re.findall(r'`(\w+)`', row)) == Counter(
        field.encode_name for field in msgspec.structs.fields(record)
    )


def test_every_extra_is_documented():
    text = section('docs/install.md', 'To train, evaluate or export')
    assert [extra for extra in EXTRAS if f'`{extra}`' not in text] == []


def test_the_list_of_files_is_the_manifests():
    listed = (ROOT / 'experiments/pretrained_models/README.md').read_text()
    rows = re.findall(r'^\| `(.+)` \| (.+) \| (.+) \|$', listed, re.MULTILINE)
    assert rows == [(file.file, ', '.join(file.tasks) or '-', file.purpose) for file in manifest().values()]


def test_commits_are_checked_as_lint_checks():
    recipe = re.search(r'^lint:.*\n((?:\t.+\n)+)', (ROOT / 'Makefile').read_text(), re.MULTILINE)[1]
    hooks = yaml.safe_load((ROOT / '.pre-commit-config.yaml').read_text())['repos'][0]['hooks']
    assert [hook['entry'] for hook in hooks] == [line.strip().replace('$(BIN)', '.venv/bin') for line in recipe.splitlines()]


def test_the_version_is_one():
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
    assert citation['version'] == frex.__version__
    assert f'## {frex.__version__}' in PAGES['CHANGELOG.md']
    for author in citation['references'][0]['authors']:
        assert f'{author["family-names"]}, {author["given-names"]}' in README
