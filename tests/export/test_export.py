"""Exported networks, which run without FREx, give the same images as FREx."""

import json
import sys
from zipfile import ZipFile

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from processes import ROOT
from tiny import faces, tiny_frex, tiny_network_options, trained
from torch.export import Dim

from frex.cli.main import main
from frex.export import commands
from frex.export.graph import Interface, load_pt2
from frex.export.onnx_file import load_onnx, write_onnx
from frex.weights.network_file import save_checkpoint

SIZE = 16
FLAGS = ['-w', '0.7', '--structure_weight', '0.8']


@pytest.fixture(scope='module')
def net():
    return trained(tiny_frex(out_size=SIZE)).eval()


@pytest.fixture(scope='module')
def weights(net, tmp_path_factory):
    return save_weights(tmp_path_factory.mktemp('weights') / 'net_g.pth', net)


def save_weights(path, net, **changes):
    """Write a checkpoint of a tiny network with `changes`; return its path."""
    options = {'type': 'FREx', **tiny_network_options(out_size=SIZE, **changes)}
    save_checkpoint(path, {'params_ema': net.state_dict()}, {'network_g': options})
    return path


# Both files are of one graph, since drawing it takes long.
EXPORT = """
import sys
from frex.cli.main import main
from frex.export import commands

weights, folder, *flags = sys.argv[1:]
graphs = []
trace = commands.trace

def drawn_once(wrapper):
    graphs[:] = graphs or [trace(wrapper)]
    return graphs[0]

commands.trace = drawn_once
sys.exit(max(main(['export', '--model_path', weights, '-o', f'{folder}/frex{suffix}', *flags]) for suffix in ('.onnx', '.pt2')))
"""

COMPILE = """
import sys, torch
from frex.weights.network_file import load_network

net = load_network(sys.argv[1])
lq = torch.linspace(-1, 1, 3 * net.out_size**2).reshape(1, 3, net.out_size, net.out_size)
with torch.inference_mode():
    output, expected = torch.compile(net, fullgraph=True, backend='eager')(lq), net(lq)
for value, other in zip(output, expected, strict=True):
    torch.testing.assert_close(value, other)
"""


@pytest.fixture(scope='module')
def run(interpreter):
    """Run Python code in a process without the shape checks of the tests, which cannot be traced; return its output."""
    return interpreter.check_output


@pytest.fixture(scope='module')
def exported(run, weights, tmp_path_factory):
    """Export once and return the folder of the files."""
    folder = tmp_path_factory.mktemp('exported')
    printed = run(EXPORT, weights, folder, *FLAGS)
    assert printed.count('checked in') == 2, printed
    return folder


@pytest.fixture(scope='module')
def exported_networks(exported):
    return {'frex.onnx': load_onnx(exported / 'frex.onnx'), 'frex.pt2': load_pt2(exported / 'frex.pt2')}


@pytest.mark.parametrize('batch', [1, 3])
@pytest.mark.parametrize('name', ['frex.onnx', 'frex.pt2'])
@pytest.mark.slow
def test_an_exported_network_restores_as_the_network_itself(net, exported_networks, name, batch):
    lq = faces(batch, SIZE, seed=batch)
    with torch.inference_mode():
        expected = net(lq, fidelity=0.7, structure=0.8).image
        # The weights are in the file, not those of 1.
        assert (expected - net(lq).image).abs().max() > 1e-2
        torch.testing.assert_close(exported_networks[name](lq), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_an_onnx_file_is_of_standard_operators_and_tells_its_use(exported):
    model = onnx.load(exported / 'frex.onnx')
    onnx.checker.check_model(model, full_check=True)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [('', 18)]
    assert {node.domain for node in model.graph.node} == {''}
    session = onnxruntime.InferenceSession(exported / 'frex.onnx')
    assert [(value.name, value.shape, value.type) for value in (*session.get_inputs(), *session.get_outputs())] == [
        ('lq', ['batch', 3, SIZE, SIZE], 'tensor(float)'),
        ('image', ['batch', 3, SIZE, SIZE], 'tensor(float)'),
    ]
    told = session.get_modelmeta().custom_metadata_map
    assert (told['size'], told['range'], told['fidelity_weight'], told['structure_weight']) == (str(SIZE), '-1 1', '0.7', '0.8')


@pytest.mark.slow
def test_a_pt2_file_tells_its_use(exported):
    with ZipFile(exported / 'frex.pt2') as archive:
        (told,) = (name for name in archive.namelist() if name.endswith('extra/frex.json'))
        assert json.loads(archive.read(told))['colours'] == 'RGB'


@pytest.mark.parametrize('name', ['frex.onnx', 'frex.pt2'])
@pytest.mark.slow
def test_an_exported_file_names_no_file_of_the_machine(exported, name):
    assert str(ROOT).encode() not in (exported / name).read_bytes()


@pytest.mark.slow
def test_the_network_compiles_without_a_graph_break(run, weights):
    run(COMPILE, weights)


@pytest.mark.slow
def test_facefusion_can_feed_its_file(run, tmp_path):
    """The file is fed as facefusion feeds a face enhancer: inputs by their names, the weight in double precision, one face at a time.

    The network has no 3D prior, whose graph is most of the whole, so that drawing it takes less long.
    """
    net = trained(tiny_frex(out_size=SIZE, use_3d_prior=False)).eval()
    weights = save_weights(tmp_path / 'net_g.pth', net, use_3d_prior=False)
    script = 'import sys; from frex.cli.main import main; sys.exit(main(sys.argv[1:]))'
    path = tmp_path / 'frex.onnx'
    printed = run(script, 'export', '--model_path', weights, '-o', path, '--for', 'facefusion', '--structure_weight', '0.8')
    assert 'input (batch, 3, 16, 16), weight (1), float64, -> output' in printed
    session = onnxruntime.InferenceSession(path)
    assert {value.name: value.type for value in session.get_inputs()} == {'input': 'tensor(float)', 'weight': 'tensor(double)'}
    face = faces(1, SIZE)
    for weight in (0.3, 1.0):
        (output,) = session.run(None, {'input': face.numpy(), 'weight': np.array([weight]).astype(np.double)})
        with torch.inference_mode():
            expected = net(face, fidelity=weight, structure=0.8).image
        np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-4)
    assert session.get_modelmeta().custom_metadata_map['fidelity_weight'] == 'input'


class Operators(torch.nn.Module):
    def forward(self, x):
        edges = x.cumsum(dim=1) / x.sum(dim=1, keepdim=True)
        return torch.searchsorted(edges, torch.cat([edges[:, ::2], x], dim=1), right=True).float(), x.cumprod(dim=1)


def test_bisection_and_product_in_onnx_are_those_of_pytorch(tmp_path):
    x = torch.rand(4, 7, generator=torch.Generator().manual_seed(0))
    x[0] = 0.25
    write_onnx(tmp_path / 'x.onnx', torch.export.export(Operators(), (x,)), {}, 18, Interface(('x',), 'y'))
    session = onnxruntime.InferenceSession(tmp_path / 'x.onnx')
    for answer, expected in zip(session.run(None, {'x': x.numpy()}), Operators()(x), strict=True):
        np.testing.assert_allclose(answer, expected, rtol=1e-5)


class Other(torch.nn.Module):
    def forward(self, lq):
        return lq * 0.5


def test_a_file_that_answers_otherwise_is_not_kept(weights, tmp_path, monkeypatch, capsys):
    other = torch.export.export(Other(), (faces(2, SIZE),), dynamic_shapes={'lq': {0: Dim('batch', min=1)}})
    monkeypatch.setattr(commands, 'trace', lambda _: other)
    assert main(['export', '--model_path', str(weights), '-o', str(tmp_path / 'frex.pt2')]) == 1
    assert 'differs by' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def refusal(capsys, *flags):
    """Return the one line of the error of `frex export`."""
    assert main(['export', '--model_path', 'net_g.pth', *map(str, flags)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_another_kind_of_file_is_refused(capsys, tmp_path):
    assert '.onnx or .pt2' in refusal(capsys, '-o', tmp_path / 'frex.engine')


def test_what_is_there_is_not_overwritten_unasked(capsys, tmp_path):
    (tmp_path / 'frex.pt2').write_bytes(b'mine')
    assert '--overwrite' in refusal(capsys, '-o', tmp_path / 'frex.pt2')
    assert (tmp_path / 'frex.pt2').read_bytes() == b'mine'


@pytest.mark.parametrize('package', ['onnx', 'onnxruntime', 'onnxscript'])
def test_a_missing_package_is_named_with_what_installs_it(capsys, tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    line = refusal(capsys, '-o', tmp_path / 'frex.onnx')
    assert package in line
    assert "pip install 'frex[export]'" in line


@pytest.mark.parametrize(('name', 'opset'), [('frex.onnx', 16), ('frex.onnx', 99), ('frex.pt2', 18)])
def test_an_opset_that_cannot_be_written_is_refused(capsys, tmp_path, name, opset):
    assert f'--opset {opset}' in refusal(capsys, '-o', tmp_path / name, '--opset', opset)


@pytest.mark.parametrize(
    ('name', 'flags', 'reason'),
    [
        ('frex.pt2', [], 'frex.pt2: facefusion loads .onnx only; give a name that ends in .onnx'),
        ('frex.onnx', ['-w', '0.5'], '-w 0.5: facefusion gives the weight with each face; leave it out'),
    ],
)
def test_what_facefusion_has_no_use_for_is_refused(capsys, tmp_path, name, flags, reason):
    assert reason in refusal(capsys, '-o', tmp_path / name, '--for', 'facefusion', *flags)


def test_weights_that_do_not_fit_into_one_onnx_file_are_refused(weights, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr('frex.export.onnx_file.MAX_BYTES', 10)
    monkeypatch.setattr(commands, 'trace', lambda _: torch.export.export(torch.nn.Linear(3, 3), (torch.zeros(1, 3),)))
    assert main(['export', '--model_path', str(weights), '-o', str(tmp_path / 'frex.onnx')]) == 1
    assert 'export to .pt2' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
