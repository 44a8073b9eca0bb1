"""Files as of `torch.save` that were made to do harm: each is refused in one line, runs nothing, and costs little time and memory."""

import io
import pickle
import struct
import zipfile

import pytest
import torch
from hostile_files import DAMAGED, assert_refused
from official_files import SOURCE
from pickle_opcodes import (
    COMMANDS,
    DEEP,
    INERT,
    LISTS,
    ORDERED,
    TENSOR,
    WEIGHT,
    archive,
    called,
    changed,
    get,
    legacy,
    listed,
    many,
    mapped,
    named,
    namespace,
    ordinary,
    pickled,
    put,
    storage,
    tensor,
    text,
    whole,
    zipped,
    zipped_storage,
    zipped_tensor,
)

from frex.errors import FRExError
from frex.weights.network_file import read_network

pytestmark = pytest.mark.usefixtures('formats_met')


def flagged():
    """The bit that says that a part is encrypted, in both of a part's headers."""
    content = zipped()
    content = content.replace(b'PK\3\4\x14\0\0\0', b'PK\3\4\x14\0\1\0')
    return changed(content, b'PK\1\2\x14\3\x14\0\0\0', b'PK\1\2\x14\3\x14\0\1\0')


def overlapping():
    """Two parts at one place."""
    content = archive({'archive/data.pkl': pickled(b'}', 2), 'archive/data/0': bytes(16), 'archive/data/1': bytes(16)})
    place = content.index(b'PK\3\4', content.index(b'archive/data/0'))
    return changed(
        content, struct.pack('<I', place) + b'archive/data/1', struct.pack('<I', content.index(b'PK\3\4', 10)) + b'archive/data/1'
    )


def two_directories():
    """torch's reader would see the first directory, Python's the second."""
    hidden, shown = zipped(mapped({'a': zipped_tensor(zipped_storage(100), size=(100,))})), zipped()
    end = struct.unpack('<II', hidden[-10:-2])
    return hidden[:-22] + shown[:-22] + shown[-22:-10] + struct.pack('<II', *end) + b'\0\0'


def moved_end():
    """An end of 64 bits that points elsewhere than just before itself."""
    stream = io.BytesIO()
    torch.save({'a': torch.zeros(4)}, stream)
    content = stream.getvalue()
    (place,) = struct.unpack('<Q', content[-34:-26])
    return content[:-34] + struct.pack('<Q', place - 56) + content[-26:]


ZIPS = {
    **{f'{name} in a zip': lambda value=value: zipped(mapped({'a': value})) for name, value in (COMMANDS | INERT).items()},
    'a class of training in a zip': lambda: zipped(mapped({'a': ordinary()})),
    'a bomb': lambda: zipped(members={'data/0': bytes(2**28)}, compression=zipfile.ZIP_DEFLATED),
    'a compressed pickle': lambda: zipped(compression=zipfile.ZIP_DEFLATED),
    'overlapping parts': overlapping,
    'a wrong checksum': lambda: changed(zipped(members={'data/0': b'Z' * 16}), b'Z' * 16, b'Z' * 15 + b'Y'),
    'one name twice': lambda: archive([('archive/data.pkl', pickled(b'}', 2))] * 2),
    'one name in capitals': lambda: zipped(members={'DATA/0': b''}),
    'one pickle in capitals': lambda: zipped(members={'Data.pkl': pickled(COMMANDS['os.system'], 2)}),
    'a part outside': lambda: zipped(members={'../../pwned': b'x'}),
    'a part above': lambda: zipped(members={'data/0': bytes(4)}, beside={'0': bytes(16)}),
    'a part of another name in capitals': lambda: zipped(
        mapped({'a': zipped_tensor(zipped_storage(key='a'))}), {'data/A': bytes(4), 'data/a': bytes(16)}
    ),
    'an encrypted part': flagged,
    'half a directory': lambda: zipped()[:-60] + zipped()[-22:],
    'no directory': lambda: zipped()[:-22],
    'two directories': two_directories,
    'an end in two places': moved_end,
    'a comment behind the end': lambda: zipped()[:-2] + b'\1\0x',
    'a directory of four gigabytes': lambda: zipped()[:-10] + b'\xff' * 8 + b'\0\0',
    'no pickle': lambda: archive({'archive/data/0': bytes(16)}),
    'an empty zip': lambda: archive({}),
    'a part that is missing': lambda: archive({'archive/data.pkl': pickled(mapped({'a': zipped_tensor()}), 2)}),
    'a storage larger than its part': lambda: zipped(members={'data/0': bytes(12)}),
    'a storage smaller than its part': lambda: zipped(members={'data/0': bytes(20)}),
    'a storage in two lengths': lambda: zipped(
        mapped({'a': zipped_tensor(), 'b': zipped_tensor(zipped_storage(1), size=(1,))})
    ),
    'numbers of the other byte order': lambda: zipped(members={'byteorder': b'big'}),
    'a storage in another folder': lambda: zipped(mapped({'a': zipped_tensor(zipped_storage(key='../data/0'))})),
    'TorchScript': lambda: zipped(members={'constants.pkl': pickled(b')', 2)}),
}  # fmt: skip

# What `weights_only` allows, and should not for this.
UNBOUNDED = {
    'an array of a terabyte': called(named('__builtin__', 'bytearray'), whole(2**40)),
    'an array of ten gigabytes': called(named('builtins', 'bytearray'), whole(10**10)),
    'a deep set': called(named('builtins', 'set'), listed(DEEP)),
    'a dictionary of deep pairs': called(named('collections', 'OrderedDict'), listed(many(DEEP, b'N'))),
    'a count of deep things': called(named('collections', 'Counter'), listed(DEEP)),
    'a deep key': b'}' + DEEP + b'Ns',
    'dictionaries of one long one': b'}('
    + b''.join(whole(i) + b'N' for i in range(2000))
    + b'u'
    + put(1)
    + b'('
    + (named('collections', 'Counter') + get(1) + b'\x85R') * 2000
    + b't',
    'a tensor of no place': called(
        named('torch._utils', '_rebuild_meta_tensor_no_storage'), named('torch', 'float32'), many(whole(4)), many(whole(1)), b'\x89'
    ),
    'a quantized tensor': called(named('torch._utils', '_rebuild_qtensor'), b'N'),
    'a sparse tensor': called(named('torch._utils', '_rebuild_sparse_tensor'), b'N'),
    'a wide text': called(named('_codecs', 'encode'), text('x' * 10**6), text('utf-32')),
    'a method in the place of items': named('collections', 'OrderedDict') + b')R' + mapped({'items': TENSOR}) + b'b',
    'a state for a tensor': WEIGHT + many(b'N', whole(0), many(), many()) + b'b',
    'options made by a call': called(named('argparse', 'Namespace')),
    'options made by a call with arguments': called(named('argparse', 'Namespace'), text('x')),
    'options with arguments': namespace({}, arguments=many(text('x'))),
    'options made with keywords': named('argparse', 'Namespace') + b')' + mapped({'a': b'N'}) + b'\x92',
    'options of a list': namespace(listed(text('x'))),
    'options of two states': namespace(many(b'N', mapped({'a': b'N'}))),
    'options without names': namespace(b'}' + whole(1) + b'Ns'),
    'options of deep names': namespace(b'}' + DEEP + b'Ns'),
    'items of options': namespace({}) + b'(' + text('a') + b'Nu',
    'elements of options': namespace({}) + b'N' + b'a',
    'options as a key': b'}' + namespace({}) + b'Ns',
    'options of a parameter': called(named('torch._utils', '_rebuild_parameter'), namespace({}), b'\x89', ORDERED),
    'options of a tensor': called(TENSOR, namespace({}), whole(0), many(whole(4)), many(whole(1)), b'\x89', ORDERED),
    'options of another class': named('argparse', 'ArgumentParser') + b')\x81' + mapped({}) + b'b',
    'options of an attribute of their class': named('argparse', 'Namespace.__init__') + b')\x81',
    'a dictionary of options': called(named('collections', 'OrderedDict'), namespace({'a': b'N'})),
    **{f'options of {name}': namespace({'a': value}) for name, value in COMMANDS.items()},
    'a class of tensors': named('torch', 'FloatTensor') + b')\x81',
    'a tensor of no metadata': WEIGHT[:-2] + whole(1) + b'tR',
    'a parameter of nothing': called(named('torch._utils', '_rebuild_parameter'), b'N', b'\x89', ORDERED),
}
TENSORS = {
    'a tensor beyond its storage': {'size': (5,)},
    'a tensor that ends beyond its storage': {'offset': 1},
    'strides beyond the storage': {'size': (2, 2), 'stride': (3, 1)},
    'a billion times the same value': {'size': (10**9,), 'stride': (0,)},
    'sizes whose product begins anew': {'size': (2**32, 2**32), 'stride': (0, 0)},
    'a negative size': {'size': (-1,)},
    'a negative offset': {'offset': -1},
    'a thousand dimensions': {'size': (1,) * 1000, 'stride': (1,) * 1000},
}
LEGACY = {
    **{f'{name}, legacy': lambda value=value: legacy(value) for name, value in (COMMANDS | INERT).items()},
    **{f'{name}, legacy': lambda value=value: legacy(listed(WEIGHT, value)) for name, value in UNBOUNDED.items()},
    **{
        f'{name} in a zip': lambda value=value: zipped(listed(zipped_tensor(), value.replace(storage(), zipped_storage())))
        for name, value in UNBOUNDED.items()
    },
    **{f'{name}, legacy': lambda shape=shape: legacy(mapped({'a': tensor(storage(), **shape)})) for name, shape in TENSORS.items()},
    **{f'{name} in a zip': lambda shape=shape: zipped(mapped({'a': zipped_tensor(**shape)})) for name, shape in TENSORS.items()},
    'a huge count': lambda: legacy(mapped({'a': tensor(storage(2**40), size=(2**40,))}), stored=2**40),
    'a negative count': lambda: legacy(mapped({'a': tensor(storage(-4))}), stored=-4),
    'another count than is stored': lambda: legacy(mapped({'a': WEIGHT}), stored=3),
    'a huge count that is stored': lambda: legacy(mapped({'a': WEIGHT}), stored=2**62),
    'a storage that is not listed': lambda: legacy(mapped({'a': WEIGHT}), keys=()),
    'a storage that is listed twice': lambda: legacy(mapped({'a': WEIGHT}), keys=('0', '0')),
    'a storage that is not there': lambda: legacy(mapped({'a': WEIGHT}), keys=('0', '1')),
    'a deep list of storages': lambda: legacy(mapped({'a': WEIGHT}), keys=pickled(b'}' + DEEP + b'Ns', 2)),
    'a command in the list of storages': lambda: legacy(mapped({'a': WEIGHT}), keys=pickled(COMMANDS['os.system'], 2)),
    'a command in the head': lambda: legacy(mapped({'a': WEIGHT}), system=pickled(COMMANDS['os.system'], 2)),
    'a view of a storage': lambda: legacy(mapped({'a': tensor(storage(view=many(DEEP, whole(0), whole(4))))})),
    'a storage of doubled lists': lambda: legacy(mapped({'a': tensor(storage(first=LISTS))})),
    'a module and its source': lambda: legacy(mapped({'a': many(text('module'), named('os', 'system'), text('x'), text(SOURCE)) + b'Q'})),
    'half of the values': lambda: legacy(mapped({'a': WEIGHT}), values=bytes(8)),
    'numbers of the other byte order': lambda: legacy(
        mapped({'a': WEIGHT}), system=pickle.dumps({'little_endian': False}, 2)
    ),
    'another protocol': lambda: changed(legacy(mapped({'a': WEIGHT})), pickle.dumps(1001, 2), pickle.dumps(1002, 2)),
    'no system': lambda: legacy(mapped({'a': WEIGHT}), system=pickle.dumps(None, 2)),
    'only the head': lambda: legacy(b'}')[:30],
}  # fmt: skip


CASES = {
    **{f'zip: {name}': make for name, make in ZIPS.items()},
    **{f'torch: {name}': make for name, make in LEGACY.items()},
}


@pytest.mark.filterwarnings('ignore:.*TorchScript')
@pytest.mark.parametrize('name', CASES)
def test_a_hostile_file_of_torch_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / 'hostile'
    path.write_bytes(CASES[name]())
    assert_refused(path, DAMAGED, is_long=path.stat().st_size > 100_000)


@pytest.mark.parametrize('make', [zipped, lambda: legacy(mapped({'a': WEIGHT}))])
def test_the_same_weights_without_malice_are_read(tmp_path, make):
    """So that what is refused above is refused for what was changed."""
    (tmp_path / 'file').write_bytes(make())
    with pytest.raises(FRExError, match=r'not a network that FREx knows \(it holds a, \.\.\.\)'):
        read_network(tmp_path / 'file')


def test_parameters_as_torch_of_2017_wrote_them_are_read(tmp_path):
    old = named('torch._utils', '_rebuild_tensor') + many(storage(), whole(0), many(whole(4)), many(whole(1))) + b'R'
    parameter = named('torch.nn.parameter', 'Parameter') + b')\x81' + many(old, b'N', ORDERED, b'\x88', b'\x89') + b'b'
    pairs = called(named('collections', 'OrderedDict'), listed(listed(text('layer1.0.prelu.weight'), parameter)))
    (tmp_path / 'file').write_bytes(legacy(pairs, values=struct.pack('<4f', 1, 2, 3, 4)))
    assert read_network(tmp_path / 'file').state['layer1.0.prelu.weight'].tolist() == [1, 2, 3, 4]
