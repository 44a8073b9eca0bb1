"""Pickles as of EG3D and StyleGAN2-ADA that were made to do harm: each is refused in one line, runs nothing, and costs little."""

import pickle
import struct

import pytest
from hostile_files import DAMAGED, assert_refused
from pickle_opcodes import (
    BLOB,
    BYTES,
    COMMANDS,
    DEEP,
    ENCODE,
    INERT,
    LATIN,
    LISTS,
    PERSISTENT,
    SCALAR,
    STORAGE,
    attribute,
    attributes,
    binary,
    blob,
    called,
    get,
    legacy,
    listed,
    many,
    mapped,
    multiplied,
    named,
    namespace,
    ordinary,
    parameters,
    persistent,
    pickled,
    put,
    snapshot,
    storage,
    tensor,
    text,
    whole,
)
from watch import watched

from frex.weights.nvidia_pickle import read_nvidia_pickle

pytestmark = pytest.mark.usefixtures('formats_met')


def within_modules(shared):
    """A chain in which each module has the next one twice, or each has one of the same contents."""
    value = ordinary()
    for level in range(40):
        again = get(200 + level) if shared else named('training.triplane', 'OSGDecoder') + b')\x81' + get(200 + level) + b'b'
        first = value + put(200 + level)
        value = ordinary(_modules=mapped({'a': first, 'b': again}))
    return snapshot(persistent(_modules=mapped({'a': value})))


def long_names():
    """Parameters whose names begin with all of their modules' names, each a hundred thousand letters long."""
    value = ordinary(_parameters=mapped({'0': tensor() + put(1)} | {str(i): get(1) for i in range(1, 5000)}))
    for _ in range(30):
        value = ordinary(_modules=mapped({'n' * 100_000: value}))
    return snapshot(persistent(_modules=mapped({'a': value})))


def a_chain():
    value = ordinary()
    for _ in range(1000):
        value = ordinary(_modules=mapped({'a': value}))
    return snapshot(persistent(_modules=mapped({'a': value})))


def doubled_keys():
    """Two lists that can only be told to be the same in two to the 40th steps."""
    reference = many(STORAGE, named('torch', 'FloatStorage'), LISTS, text('cpu'), whole(4)) + b'Q'
    return parameters(a=tensor(called(BLOB, binary(legacy(reference, keys=pickled(b'](' + LISTS + b'e', 2))))))


NO_BYTES = {
    'a terabyte': called(BYTES, whole(2**40)),
    'bytes of a list': called(BYTES, listed(whole(1))),
    'another encoding': called(ENCODE, text(LATIN), text('utf-8')),
    'an encoding that runs code': called(ENCODE, text(LATIN), text('zip')),
    'no encoding': called(ENCODE, text(LATIN)),
    'an encoding of two to the 40th lists': called(ENCODE, LISTS, text('latin1')),
    'an encoding by two to the 40th lists': called(ENCODE, text(LATIN), LISTS),
    'letters that are no bytes': called(ENCODE, text(LATIN + '\u20ac'), text('latin1')),
    'an encoding of an encoding': called(ENCODE, called(ENCODE, text(LATIN), text('latin1')), text('latin1')),
    'another function of codecs': called(named('_codecs', 'decode'), binary(b'x'), text('latin1')),
    'a state for an encoding': called(ENCODE, text(LATIN + 'x'), text('latin1')) + mapped({'a': b'N'}) + b'b',
}


def number_of(value):
    return snapshot(persistent(_init_kwargs=mapped({'a': called(SCALAR, called(named('numpy', 'dtype'), text('f8')), value)})))


PICKLES = {
    **{f'{name} alone': lambda value=value: pickled(value) for name, value in COMMANDS.items()},
    **{f'{name} beside the network': lambda value=value: snapshot(persistent(), D=value) for name, value in COMMANDS.items()},
    **{f'{name} in an attribute': lambda value=value: attribute(value) for name, value in COMMANDS.items()},
    **{f'{name} as a parameter': lambda value=value: parameters(a=value) for name, value in (COMMANDS | INERT).items()},
    'no network': lambda: pickled(b'N'),
    'a list': lambda: pickled(listed(persistent())),
    'a network that is none': lambda: snapshot(ordinary()),
    'a network of another version': lambda: snapshot(called(PERSISTENT, mapped({'type': text('class'), 'version': whole(7)}))),
    'a memo of two billion': lambda: pickled(b'N' + put(2**31) + get(2**31 + 1)),
    'bytes of more than there are': lambda: pickled(b'\x8e' + struct.pack('<Q', 2**62)),
    'a text of more than there is': lambda: pickled(b'\x8d' + struct.pack('<Q', 2**40) + b'x'),
    'a number of a megabyte': lambda: pickled(b'\x8b' + struct.pack('<I', 2**20) + b'\x7f' * 2**20),
    'a number of a million figures': lambda: pickled(b'L' + b'9' * 10**6 + b'L\n'),
    'a deep key': lambda: pickled(b'}' + DEEP + b'Ns'),
    'a deep element': lambda: pickled(b'\x8f(' + DEEP + b'\x90'),
    'a deep frozen set': lambda: pickled(b'(' + DEEP + b'\x91'),
    'a long key again and again': lambda: pickled(b'}(' + b'N' * 300_000 + b't' + put(1) + b'0' + b'(' + (get(1) + b'N') * 300_000 + b'u'),
    'keys of one hash': lambda: pickled(b'}(' + b''.join(whole(k * (2**61 - 1)) + b'N' for k in range(200_000)) + b'u'),
    'ten million opcodes': lambda: pickled(b'N0' * 5_000_000),
    'ten million containers': lambda: pickled(b'(' + b'\x8f' * 10_000_000 + b't'),
    'a million calls': lambda: pickled(named('collections', 'OrderedDict') + put(1) + b'(' + (get(1) + b')R') * 3_000_000 + b't'),
    'bytes after the end': lambda: snapshot(persistent()) + b'\0',
    'another pickle after the end': lambda: snapshot(persistent()) + pickled(COMMANDS['os.system']),
    'no end': lambda: snapshot(persistent())[:-1],
    'a stack that is too short': lambda: b'\x80\x04\x86.',
    'a mark left': lambda: b'\x80\x04(N.',
    'protocol 6': lambda: pickled(mapped({'G_ema': persistent()}), 6),
    'a module within itself': lambda: snapshot(
        persistent(_modules=mapped({'a': named('training.x', 'Y') + b')\x81' + put(9) + attributes(_modules=mapped({'a': get(9)})) + b'b'}))
    ),
    'a network within itself': lambda: snapshot(
        PERSISTENT + put(8) + b'}' + put(9) + b'(' + text('type') + text('class') + text('version') + whole(6) + text('state')
        + attributes(_modules=mapped({'a': get(8) + get(9) + b'\x85R'})) + text('class_name') + text('Generator') + b'u\x85R'
    ),
    'two to the 40th ways to a module': lambda: within_modules(shared=True),
    'modules that share their attributes': lambda: within_modules(shared=False),
    'a chain of a thousand modules': a_chain,
    'long names': long_names,
    'a class of two to the 40th lists': lambda: snapshot(persistent(LISTS)),
    'arguments of two to the 40th lists': lambda: snapshot(persistent(_init_kwargs=mapped({'a': LISTS}))),
    'arguments without end': lambda: snapshot(persistent(_init_kwargs=mapped({'a': multiplied(1000, 7)}))),
    'arguments that are none': lambda: snapshot(persistent(_init_kwargs=b'N')),
    'a number of no type': lambda: snapshot(persistent(_init_kwargs=mapped({'a': called(SCALAR, b'N', binary(b''))}))),
    'a number of a deep type': lambda: snapshot(
        persistent(_init_kwargs=mapped({'a': called(SCALAR, called(named('numpy', 'dtype'), DEEP), binary(bytes(8)))}))
    ),
    'a number of three bytes': lambda: snapshot(
        persistent(_init_kwargs=mapped({'a': called(SCALAR, called(named('numpy', 'dtype'), text('f8')), binary(b'123'))}))
    ),
    'parameters that are none': lambda: snapshot(persistent(_parameters=b'N')),
    'parameters without names': lambda: snapshot(persistent(_parameters=b'}' + whole(1) + b'Ns')),
    'a parameter of bytes': lambda: parameters(a=binary(b'x')),
    'hidden buffers without end': lambda: snapshot(
        persistent(_non_persistent_buffers_set=called(named('builtins', 'set'), listed(*[text('a')] * 100_000)))
    ),
    'deep hidden buffers': lambda: snapshot(persistent(_non_persistent_buffers_set=called(named('builtins', 'set'), listed(DEEP)))),
    'a tensor beyond its storage': lambda: parameters(a=tensor(size=(5,))),
    'a tensor that ends beyond its storage': lambda: parameters(a=tensor(offset=1)),
    'a tensor that begins beyond its storage': lambda: parameters(a=tensor(offset=2**62, size=(0,))),
    'strides beyond the storage': lambda: parameters(a=tensor(size=(2, 2), stride=(3, 1))),
    'strides beyond every number': lambda: parameters(a=tensor(size=(2, 2), stride=(2**70, 1))),
    'a billion times the same value': lambda: parameters(a=tensor(size=(10**9,), stride=(0,))),
    'sizes whose product begins anew': lambda: parameters(a=tensor(size=(2**32, 2**32), stride=(0, 0))),
    'a negative size': lambda: parameters(a=tensor(size=(-1,))),
    'a negative stride': lambda: parameters(a=tensor(offset=3, stride=(-1,))),
    'a negative offset': lambda: parameters(a=tensor(offset=-1)),
    'a size that is no number': lambda: parameters(a=tensor(size=(text('4'),))),
    'more sizes than strides': lambda: parameters(a=tensor(size=(1, 1))),
    'a thousand dimensions': lambda: parameters(a=tensor(size=(1,) * 1000, stride=(1,) * 1000)),
    'a storage of fewer bytes': lambda: parameters(a=tensor(blob(5, stored=5))),
    'a storage of more bytes': lambda: parameters(a=tensor(blob(3, stored=3), size=(3,))),
    'a storage of two lengths': lambda: parameters(a=tensor(blob(4, stored=3))),
    'a storage of less than nothing': lambda: parameters(a=tensor(blob(-4, stored=-4), size=(0,))),
    'a storage of two to the 62nd': lambda: parameters(a=tensor(blob(2**62, stored=2**62))),
    'a storage of lists': lambda: parameters(a=tensor(blob(LISTS))),
    'a storage of no known type': lambda: parameters(a=tensor(called(BLOB, binary(legacy(storage(kind='QInt8Storage')))))),
    'a storage of a view': lambda: parameters(a=tensor(called(BLOB, binary(legacy(storage(view=many(text('0'), whole(0), whole(4)))))))),
    'a storage without a key': lambda: parameters(a=tensor(blob(keys=()))),
    'a storage under two keys': lambda: parameters(a=tensor(blob(keys=('0', '0')))),
    'a storage of doubled keys': doubled_keys,
    'a storage of the other byte order': lambda: parameters(a=tensor(blob(system=pickle.dumps({'little_endian': False}, 2)))),
    'a storage that ends in its length': lambda: parameters(a=tensor(called(BLOB, binary(legacy(storage(), values=b'')[:-3])))),
    'a storage of nothing': lambda: parameters(a=tensor(called(BLOB, binary(b'')))),
    **{f'a storage of {name}': lambda value=value: parameters(a=tensor(called(BLOB, value))) for name, value in NO_BYTES.items()},
    **{f'a number of {name}': lambda value=value: number_of(value) for name, value in NO_BYTES.items()},
    'encoded values in the place of a network': lambda: snapshot(called(ENCODE, text('x'), text('latin1'))),
    'encoded values in the place of a tensor': lambda: parameters(a=called(ENCODE, text('x'), text('latin1'))),
    'a dictionary of arguments': lambda: snapshot(
        persistent(_parameters=called(named('collections', 'OrderedDict'), mapped({'a': tensor()})))
    ),
    'options': lambda: snapshot(persistent(), args=namespace({})),
    'one big storage a thousand times': lambda: parameters(
        a=tensor(called(BLOB, binary(legacy(storage(2**18), values=bytes(2**20), stored=2**18))) + put(1), size=(2**18,)),
        **{f'a{i}': tensor(get(1), size=(2**18,)) for i in range(1000)},
    ),
}  # fmt: skip


@pytest.mark.parametrize('name', PICKLES)
def test_a_hostile_pickle_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / 'hostile'
    path.write_bytes(PICKLES[name]())
    assert_refused(path, f'{DAMAGED}|has no network', is_long=path.stat().st_size > 100_000)


@pytest.mark.parametrize(
    'make',
    [
        lambda: parameters(a=tensor()),
        lambda: parameters(a=tensor(offset=1, size=(1, 2), stride=(0, 2))),
        lambda: parameters(a=tensor(called(BLOB, called(ENCODE, text(LATIN), text('latin1'))))),
        lambda: parameters(a=tensor(called(BLOB, b'T' + struct.pack('<i', len(LATIN)) + legacy(storage())))),
        lambda: snapshot(persistent(_modules=mapped({'b': ordinary(_parameters=mapped({'a': tensor()}))})), D=persistent()),
    ],
)
def test_the_same_pickle_without_malice_is_read(tmp_path, make):
    (tmp_path / 'file').write_bytes(make())
    network = read_nvidia_pickle(tmp_path / 'file')
    assert network.class_name == 'Generator'
    assert [value.sum().item() for value in network.state.values()] == [0]


@pytest.mark.parametrize('name', ['a class of training', 'a class of torch'])
def test_classes_of_the_formats_modules_are_never_looked_up(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'file').write_bytes(attribute(INERT[name]))
    with watched() as found:
        network = read_nvidia_pickle(tmp_path / 'file')
    assert network.attributes == {}
    assert found.events == []
    assert [path.name for path in tmp_path.iterdir()] == ['file']
