"""Imports run one way, and what must do without BasicSR does; tests share helpers, not one another."""

import ast
import re
import subprocess
import sys
from functools import cache

import pytest
from processes import ROOT

# A module may import those of its own rank's package and those of lower ranks.
RANKS = {
    'frex_arch': 0,
    'frex.__version__': 0,
    'frex.environment': 1,
    'frex.errors': 1,
    'frex.device': 2,
    'frex.utils': 2,
    'frex.images': 3,
    'frex.options': 3,
    'frex.tensors': 4,
    'frex.data': 4,
    'frex.weights': 4,
    'frex.heads': 5,
    'frex.losses': 5,
    'frex.restore.image_io': 5.1,
    'frex.restore.detection': 5.2,
    'frex.restore.faces': 5.3,
    'frex.restore.film': 5.4,
    'frex.restore': 5.4,
    'frex.restore.folder': 5.5,
    'frex.compat': 5,
    'frex.camera_labels': 6,
    'frex.metrics': 6,
    'frex.models': 6,
    'frex.predict': 6,
    'frex.spandrel': 6,
    'frex.synthesis': 6,
    'frex.evaluation': 7,
    'frex.export': 7,
    'frex.peers': 7,
    'frex.registry': 7,
    'frex.testsets': 7,
    'frex.web': 7,
    'frex.training': 8,
    'frex.doctor': 8,
    'frex.ablation': 9,
    'frex.demo': 9,
    'frex.cli': 10,
    'frex.__main__': 11,
    'inference_frex': 11,
}
MEETS_BASICSR = {
    'frex.models',
    'frex.metrics',
    'frex.compat',
    'frex.registry',
    'frex.training',
    'frex.demo',
}
FILES = sorted([*ROOT.glob('frex_arch/**/*.py'), *ROOT.glob('frex/**/*.py'), ROOT / 'inference_frex.py'])


def module_name(path):
    return '.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__')


def part(module):
    """The longest ranked name that `module` lies in."""
    return max((name for name in RANKS if f'{module}.'.startswith(f'{name}.')), key=len, default=None)


@cache
def imports(path):
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f'{path}: relative import'
            found += [f'{node.module}.{alias.name}' for alias in node.names]
    return found


def importing(package):
    """The modules that import `package` or something of it."""
    return {module_name(path) for path in FILES if any(name.split('.')[0] == package for name in imports(path))}


def test_each_module_has_a_rank():
    assert [path for path in FILES if path != ROOT / 'frex/__init__.py' and part(module_name(path)) is None] == []


def test_imports_run_one_way():
    def climbs(own, name):
        other = part(name)
        allowed = name.split('.')[0] not in ('frex', 'frex_arch') or other == own or (other and RANKS[other] < RANKS[own])
        return not (allowed or name.startswith('frex.compat'))

    modules = {module_name(path): imports(path) for path in FILES if path != ROOT / 'frex/__init__.py'}
    assert [f'{module} imports {name}' for module, names in modules.items() for name in names if climbs(part(module), name)] == []


def test_basicsr_is_met_in_few_places():
    assert [module for module in importing('basicsr') if part(module) not in MEETS_BASICSR] == []


def test_only_the_command_line_imports_argparse():
    """Functions outside of `frex.cli` take typed options. `frex.compat` serves BasicSR's own command line."""
    assert [module for module in importing('argparse') if module != 'frex.compat' and part(module) != 'frex.cli'] == []


TESTS = sorted(ROOT.glob('tests/**/*.py'))
TEST_MODULES = {path.stem for path in TESTS if path.stem.startswith('test_')}


def test_no_test_module_imports_another():
    """What several of them use lies in `tests/helpers`. Scripts in strings, which tests run in processes, count too."""
    for path in TESTS:
        strings = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
        scripts = '\n'.join(text for text in (path.read_text(), *strings) if isinstance(text, str))
        imported = re.findall(r'^\s*(?:from|import)\s+(\w+)', scripts, re.MULTILINE)
        assert TEST_MODULES & set(imported) == set(), path


MODULES = 'import sys\n{code}\nprint(*sys.modules)'


@pytest.fixture
def modules_after(interpreter):
    """Return a function that answers which modules some code has loaded, torch and torchvision among them in any case."""
    return lambda code: interpreter.check_output(MODULES.format(code=code)).split()


def test_the_networks_need_neither_basicsr_nor_frex(modules_after):
    loaded = modules_after('import frex_arch')
    assert 'frex_arch.frex' in loaded
    assert not {'basicsr', 'frex', 'cv2', 'yaml'} & set(loaded)


def test_finding_and_restoring_a_face_never_import_basicsr(modules_after, checkpoint):
    code = (
        'import numpy, torch\nfrom frex.restore import FaceRestorer\nfrom frex.restore.detection import retinaface\n'
        'retinaface.build_retinaface("mobile0.25", torch.device("cpu"))\n'
        f'FaceRestorer.from_pretrained({str(checkpoint)!r}, "cpu").restore_aligned(numpy.zeros((64, 64, 3), numpy.uint8))'
    )
    loaded = modules_after(code)
    assert {'frex.restore.faces.restorer', 'facexlib'} <= set(loaded)
    assert 'basicsr' not in loaded


def test_exporting_needs_no_camera_labels(modules_after):
    loaded = modules_after('import frex.export.commands')
    assert 'frex.export.graph' in loaded
    assert not [name for name in loaded if name.startswith(('frex.camera_labels', 'frex.data.labels'))]


@pytest.mark.parametrize('code', ['import frex', 'import frex.cli.main', 'import frex.cli.restore', 'import frex.weights.commands'])
def test_the_command_line_starts_without_torch(code):
    done = subprocess.run([sys.executable, '-c', MODULES.format(code=code)], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not {'torch', 'cv2', 'numpy', 'basicsr'} & set(done.stdout.split())
