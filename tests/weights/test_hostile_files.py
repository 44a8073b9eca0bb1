"""Files made to do harm: each is refused in one line, runs nothing, writes nothing, and costs little time and memory."""

import io
import json
import pickle
import struct
import warnings
import zipfile
from contextlib import suppress

import pytest
import safetensors.torch
import torch
from official_files import (
    SOURCE,
    nvidia_state,
    stylegan2_network,
    write_pickle,
    write_pth,
)
from watch import watched

from frex.errors import FRExError
from frex.weights.network_file import load_network, read_network
from frex.weights.nvidia_pickle import read_nvidia_pickle
from frex_arch import StyleGAN2

# For a file of up to some megabytes: what reading may take. The type check of these tests makes it some five times slower.
SECONDS = 30
MEMORY = 64 << 20
# A pickle may have half a million opcodes; what they make takes some two hundred bytes each.
MEMORY_OF_OPCODES = 150 << 20

DAMAGED = 'not a file of weights, or a damaged one '

# --- Pickles, opcode by opcode


def text(value):
    encoded = value.encode('utf-8', 'surrogatepass')
    return b'X' + struct.pack('<I', len(encoded)) + encoded


def whole(value):
    length = value.bit_length() // 8 + 1
    return b'\x8a' + bytes([length]) + value.to_bytes(length, 'little', signed=True)


def binary(value):
    return b'B' + struct.pack('<I', len(value)) + value


def named(module, name):
    return f'c{module}\n{name}\n'.encode()


def many(*items):
    return b'(' + b''.join(items) + b't'


def listed(*items):
    return b'](' + b''.join(items) + b'e'


def mapped(items):
    return b'}(' + b''.join(text(key) + value for key, value in items.items()) + b'u'


def called(function, *arguments):
    return function + many(*arguments) + b'R'


def put(index):
    return b'r' + struct.pack('<I', index)


def get(index):
    return b'j' + struct.pack('<I', index)


def pickled(value, protocol=4):
    return bytes([0x80, protocol]) + value + b'.'


def multiplied(count, levels):
    """A list of `count` times the same list of `count` times the same...: count**levels items, if it is walked."""
    return b'](' * levels + text('x') + b''.join(put(100 + level) + get(100 + level) * (count - 1) + b'e' for level in range(levels))


LISTS = multiplied(2, 40)
TUPLES = b'(' * 40 + text('x') + b''.join(put(100 + level) + get(100 + level) + b't' for level in range(40))
DEEP = b')' + b'\x85' * 200_000

# --- EG3D's and StyleGAN2-ADA's pickles

GENERATOR, STORAGE = text('Generator'), text('storage')
PERSISTENT = named('torch_utils.persistence', '_reconstruct_persistent_obj')
BLOB = named('torch.storage', '_load_from_bytes')
TENSOR = named('torch._utils', '_rebuild_tensor_v2')
ORDERED = named('collections', 'OrderedDict') + b')R'
SCALAR = named('numpy.core.multiarray', 'scalar')


def attributes(**changes):
    return mapped({'_init_args': b')', '_init_kwargs': b'}', '_parameters': b'}', '_buffers': b'}', '_modules': b'}'} | changes)


def meta(state, class_name):
    return mapped({'type': text('class'), 'version': whole(6), 'module_src': text(SOURCE), 'class_name': class_name, 'state': state})


def persistent(class_name=GENERATOR, **changes):
    return called(PERSISTENT, meta(attributes(**changes), class_name))


def ordinary(**changes):
    return named('training.triplane', 'OSGDecoder') + b')\x81' + attributes(**changes) + b'b'


def snapshot(network, **others):
    return pickled(mapped({'G_ema': network} | others))


def attribute(value):
    return snapshot(persistent(value=value))


def parameters(**values):
    return snapshot(persistent(_parameters=mapped(values)))


SYSTEM = pickle.dumps({'protocol_version': 1001, 'little_endian': True, 'type_sizes': {'short': 2, 'int': 4, 'long': 4}}, 2)


def storage(count=4, key='0', kind='FloatStorage', first=STORAGE, view=b'N'):
    return many(first, named('torch', kind), text(key), text('cpu'), count if isinstance(count, bytes) else whole(count), view) + b'Q'


def legacy(value, keys=('0',), values=bytes(16), stored=4, system=SYSTEM):
    """A file of torch from before 1.6; a storage in NVIDIA's pickles is such a file, too."""
    start = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + system
    listed_keys = keys if isinstance(keys, bytes) else pickle.dumps(list(keys), 2)
    return start + pickled(value, 2) + listed_keys + struct.pack('<q', stored) + values


def blob(*arguments, **changes):
    return called(BLOB, binary(legacy(storage(*arguments), **changes)))


def tensor(data=None, offset=0, size=(4,), stride=(1,)):
    data = blob() if data is None else data
    shape = [many(*(value if isinstance(value, bytes) else whole(value) for value in values)) for values in (size, stride)]
    return called(TENSOR, data, whole(offset), *shape, b'\x89', ORDERED)


COMMANDS = {
    'os.system': called(named('os', 'system'), text('touch pwned')),
    'posix.system': called(named('posix', 'system'), text('touch pwned')),
    'eval': called(named('builtins', 'eval'), text('open("pwned", "w")')),
    'exec of Python 2': called(named('__builtin__', 'exec'), text('open("pwned", "w")')),
    'open': called(named('builtins', 'open'), text('pwned'), text('w')),
    'Popen': called(named('subprocess', 'Popen'), listed(text('touch'), text('pwned'))),
    'torch.load': called(named('torch', 'load'), text('pwned')),
    'torch.hub': called(named('torch.hub', 'load'), text('pwned'), text('pwned')),
    'import': called(named('importlib', 'import_module'), text('this')),
    'numpy.load': called(named('numpy', 'load'), text('pwned')),
    'partial': called(named('functools', 'partial'), named('os', 'system'), text('touch pwned')),
    'a name of memory': text('os') + text('system') + b'\x93' + many(text('touch pwned')) + b'R',
    'a name of no text': b']' + text('system') + b'\x93' + many(text('touch pwned')) + b'R',
    'a name of two to the 40th lists': LISTS + text('system') + b'\x93',
    'a name in two parts': text('torch.nn.modules') + text('container.Sequential.os.system') + b'\x93' + many(text('touch pwned')) + b'R',
    'INST': b'(' + text('touch pwned') + b'ios\nsystem\n',
    'OBJ': b'(' + named('os', 'system') + text('touch pwned') + b'o',
    'EXT': b'\x82\x01',
    'PERSID': b'Pos.system\n',
    'BINPERSID': text('os.system') + b'Q',
    'NEWOBJ_EX': named('os', 'system') + many(text('touch pwned')) + b'}\x92',
    'a state for a name': named('torch_utils.persistence', '_reconstruct_persistent_obj') + mapped({'__code__': b'N'}) + b'b',
    'a call of a text': called(text('os.system'), text('touch pwned')),
    'a call of a call': called(called(named('dnnlib.util', 'EasyDict')), text('touch pwned')),
}
# Names of the format, or that begin like some: nothing is looked up.
INERT = {
    'a storage of a command': called(BLOB, binary(pickled(COMMANDS['os.system'], 2))),
    'a storage in a storage': called(BLOB, binary(legacy(called(BLOB, binary(pickled(COMMANDS['os.system'], 2)))))),
    'a class of training': called(named('training.x', 'os.system'), text('touch pwned')),
    'a class of torch': called(named('torch.nn.modules.os', 'system'), text('touch pwned')),
}


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


# Bytes have no opcode in protocol 2.
ENCODE, BYTES = named('_codecs', 'encode'), named('__builtin__', 'bytes')
LATIN = legacy(storage()).decode('latin1')
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


def namespace(state=None, arguments=b')'):
    made = named('argparse', 'Namespace') + arguments + b'\x81'
    return made if state is None else made + (state if isinstance(state, bytes) else mapped(state)) + b'b'


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

# --- What torch.save writes

WEIGHT = called(TENSOR, storage(), whole(0), many(whole(4)), many(whole(1)), b'\x89', ORDERED)


def zipped_storage(count=4, key='0', kind='FloatStorage'):
    return many(text('storage'), named('torch', kind), text(key), text('cpu'), whole(count)) + b'Q'


def zipped_tensor(data=None, offset=0, size=(4,), stride=(1,)):
    return tensor(zipped_storage() if data is None else data, offset, size, stride)


def zipped(value=None, members=(), compression=zipfile.ZIP_STORED, beside=()):
    """A zip as of torch.save: the pickle, and each storage."""
    value = mapped({'a': zipped_tensor()}) if value is None else value
    content = {'data.pkl': pickled(value, 2), 'version': b'3\n', 'data/0': bytes(16)} | dict(members)
    return archive({f'archive/{name}': part for name, part in content.items()} | dict(beside), compression)


def archive(members, compression=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, 'w', compression) as file, warnings.catch_warnings():
        warnings.simplefilter('ignore')
        for name, part in members.items() if isinstance(members, dict) else members:
            file.writestr(name, part)
    return stream.getvalue()


def changed(content, old, new, count=1):
    assert content.count(old) >= count
    return content.replace(old, new, count)


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

# --- Networks that a file describes


def described(kind, **arguments):
    return safetensors.torch.save({'a': torch.zeros(1)}, {'network': json.dumps({'type': kind, **arguments})})


def with_header(header, length=None, values=b''):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack('<Q', len(header) if length is None else length) + header + values


def noted(network):
    return safetensors.torch.save({'a': torch.zeros(1)}, {'network': network})


def checkpoint(network):
    return zipped(mapped({'network_g': network, 'params_ema': mapped({'a': zipped_tensor()})}))


F32 = {'dtype': 'F32', 'shape': [4], 'data_offsets': [0, 16]}
HUGE = 10**9
SAFETENSORS = {
    'a header of two to the 62nd': (lambda: with_header(b'{}', 2**62), DAMAGED),
    'a header of a terabyte': (lambda: with_header(b'{}', 2**40), DAMAGED),
    'a header longer than the file': (lambda: with_header(b'{}', 1000), DAMAGED),
    'a header of nested lists': (lambda: with_header(b'{"a":' + b'[' * 10**5 + b']' * 10**5 + b'}'), DAMAGED),
    'a header that is no JSON': (lambda: with_header(b'{"a"'), DAMAGED),
    'overlapping tensors': (lambda: with_header({'a': F32, 'b': F32}, values=bytes(16)), DAMAGED),
    'a tensor beyond the file': (lambda: with_header({'a': F32 | {'data_offsets': [0, 2**40]}}, values=bytes(16)), DAMAGED),
    'a tensor of another size': (lambda: with_header({'a': F32 | {'shape': [5]}}, values=bytes(16)), DAMAGED),
    'a tensor of a huge size': (lambda: with_header({'a': F32 | {'shape': [2**62, 4]}}, values=bytes(16)), DAMAGED),
    'a tensor of negative size': (lambda: with_header({'a': F32 | {'shape': [-4]}}, values=bytes(16)), DAMAGED),
    'offsets that run back': (lambda: with_header({'a': F32 | {'data_offsets': [16, 0]}}, values=bytes(16)), DAMAGED),
    'bytes of no tensor': (lambda: with_header({'a': F32}, values=bytes(20)), DAMAGED),
    'a type that is none': (lambda: with_header({'a': F32 | {'dtype': 'os.system'}}, values=bytes(16)), DAMAGED),
    'no tensors': (lambda: with_header({'__metadata__': {}}), 'a dictionary of weights is needed'),
    'a description that is no JSON': (lambda: noted('os.system'), 'not a network that FREx knows'),
    'a description nested deeply': (lambda: noted('[' * 10**5 + ']' * 10**5), 'not a network that FREx knows'),
    'a description nested a little': (lambda: noted('[' * 50 + ']' * 50), r'not a network that FREx knows \(too many values\)'),
    'a description of many values': (lambda: noted(json.dumps([0] * 10**5)), r'not a network that FREx knows \(too many values\)'),
    'a description of a number': (lambda: noted('1' * 4000), 'holds the network 1{3000}'),
    'a description of too long a number': (lambda: noted('1' * 10**5), 'not a network that FREx knows'),
    'another network': (lambda: described('os.system'), "holds the network 'os.system'"),
    'a name that breaks lines': (lambda: described('a\n\x1b[2Jb\u202e'), r"holds the network 'a\\n\\x1b\[2Jb\\u202e'"),
    'a name without end': (lambda: described('a' * 10**6), "holds the network 'aaaaaaa"),
    'a network of a list': (lambda: noted('{"type": ["FREx"]}'), 'not a network that FREx knows'),
    'an unknown argument': (lambda: described('StyleGAN2', __class__=1), 'StyleGAN2.__class__: unknown key'),
}
# Each would take days or the machine's memory to build, or to use.
ARGUMENTS = {
    'out_size': ('StyleGAN2', {'out_size': 2**40}, 'whole numbers up to 1024'),
    'num_mlp': ('StyleGAN2', {'num_mlp': HUGE}, f'num_mlp {HUGE} must be'),
    'num_mlp, fractional': ('StyleGAN2', {'num_mlp': 2.5}, 'num_mlp'),
    'narrow': ('StyleGAN2', {'narrow': 'x' * 10**6}, 'narrow'),
    'narrow, of nothing': ('StyleGAN2', {'narrow': 0}, 'narrow 0 must be'),
    'narrow, endless': ('StyleGAN2', {'narrow': float('inf')}, 'narrow inf must be'),
    'channel_multiplier': ('StyleGAN2', {'channel_multiplier': HUGE}, 'StyleGAN2: '),
    'num_style_feat': ('StyleGAN2', {'num_style_feat': HUGE}, 'the weights do not fit'),
    'num_style_feat, negative': ('StyleGAN2', {'num_style_feat': -1}, 'StyleGAN2: '),
    'layers': ('ArcFace', {'layers': [HUGE]}, 'layers are four numbers'),
    'four layers': ('ArcFace', {'layers': [1, 1, 1, HUGE]}, f'layers {HUGE} must be'),
    'a list of layers': ('ArcFace', {'layers': [1] * 9000}, 'layers are four numbers'),
    'no layers': ('ArcFace', {'layers': [2, 2, 2, 0]}, 'layers 0 must be'),
    'EG3D out_size': ('EG3D', {'out_size': 2**40}, 'whole numbers up to 1024'),
    'plane_size': ('EG3D', {'plane_size': 2**40}, 'whole numbers up to 1024'),
    'render_size': ('EG3D', {'render_size': HUGE}, f'render_size {HUGE} must be'),
    'depth_samples': ('EG3D', {'depth_samples': HUGE}, f'depth_samples {HUGE} must be'),
    'importance_samples': ('EG3D', {'importance_samples': HUGE}, f'importance_samples {HUGE} must be'),
    'box_warp': ('EG3D', {'box_warp': 0}, 'box_warp 0 must be'),
    'depth_range': ('EG3D', {'depth_range': [0.0] * 9000}, 'depth_range is two rising numbers'),
    'depth_range, falling': ('EG3D', {'depth_range': [3.3, 2.25]}, 'depth_range is two rising numbers'),
    'channel_base': ('EG3D', {'channel_base': HUGE, 'channel_max': HUGE}, 'the weights do not fit'),
    'superresolution_channels': ('EG3D', {'superresolution_channels': [1] * 9000}, 'superresolution_channels are two numbers'),
    'fusion_sizes': ('FREx', {'out_size': 16, 'fusion_sizes': [8] * 9000}, 'fusion_sizes'),
    'fusion_sizes of tuples': ('FREx', {'out_size': 16, 'fusion_sizes': [[8]]}, 'network_g: '),
    'encoder_narrow': ('FREx', {'out_size': 16, 'encoder_narrow': 'x' * 10**6}, 'encoder_narrow'),
    'global_attention_size': ('FREx', {'out_size': 16, 'global_attention_size': HUGE}, f'global_attention_size {HUGE} must be'),
    'in_size': ('FREx', {'encoder_3d': {'in_size': HUGE}}, f'in_size {HUGE} must be'),
    'num_mlp of a part': ('FREx', {'stylegan2': {'num_mlp': HUGE}}, f'num_mlp {HUGE} must be'),
    'w_dim of a part': ('FREx', {'eg3d': {'w_dim': HUGE}}, 'FREx|network_g'),
    'a part that is a text': ('FREx', {'eg3d': 'x' * 10**6}, 'network_g.eg3d: a mapping'),
}
CHECKPOINTS = {
    'a network of two to the 40th lists': (lambda: checkpoint(LISTS), 'not a network that FREx knows'),
    'a type of two to the 40th tuples': (lambda: checkpoint(mapped({'type': TUPLES})), 'not a network that FREx knows'),
    'a deep type': (lambda: checkpoint(mapped({'type': DEEP})), 'not a network that FREx knows'),
    'an argument of two to the 40th lists': (
        lambda: checkpoint(mapped({'type': text('FREx'), 'fusion_sizes': LISTS})), 'not a network that FREx knows'
    ),
    'an argument without end': (
        lambda: checkpoint(mapped({'type': text('FREx'), 'fusion_sizes': multiplied(1000, 7)})), 'not a network that FREx knows'
    ),
    'a network of a tensor': (lambda: checkpoint(zipped_tensor()), 'not a network that FREx knows'),
    'weights that share their memory': (
        lambda: zipped(mapped({f'a{i}': zipped_tensor() for i in range(100)})), 'weights that share their memory are not supported'
    ),
    'weights that are none': (lambda: zipped(mapped({'a': text('x')})), "'a' is no weight"),
    'names that break lines': (lambda: zipped(mapped({'a\n\x1b[2J': zipped_tensor()})), r'it holds a\\n\\x1b\[2J'),
}  # fmt: skip
OTHERS = {
    'a text': (lambda: b'Repository not found\n', DAMAGED),
    'a page': (lambda: b'\n<!DOCTYPE html><html>', 'not a file of weights but a web page'),
    'nothing': (lambda: b'', DAMAGED),
    'one byte': (lambda: b'\x80', DAMAGED),
    'zeros': (lambda: bytes(10**6), DAMAGED),
    'a script': (lambda: b'import os; os.system("touch pwned")\n', DAMAGED),
}
CASES = {
    **{f'pickle: {name}': (make, f'{DAMAGED}|has no network') for name, make in PICKLES.items()},
    **{f'zip: {name}': (make, DAMAGED) for name, make in ZIPS.items()},
    **{f'torch: {name}': (make, DAMAGED) for name, make in LEGACY.items()},
    **{f'safetensors: {name}': case for name, case in SAFETENSORS.items()},
    **{
        f'argument: {name}': (lambda kind=kind, arguments=arguments: described(kind, **arguments), message)
        for name, (kind, arguments, message) in ARGUMENTS.items()
    },
    **{f'checkpoint: {name}': case for name, case in CHECKPOINTS.items()},
    **{f'other: {name}': case for name, case in OTHERS.items()},
}


@pytest.fixture(scope='module', autouse=True)
def started(tmp_path_factory):
    """torch, msgspec and the type check of these tests import and compile at their first use."""
    folder = tmp_path_factory.mktemp('harmless')
    state = StyleGAN2(out_size=8, num_style_feat=8, num_mlp=1, narrow=1 / 128).state_dict()
    load_network(write_pickle(folder / 'pkl', stylegan2_network(nvidia_state(state))))
    for legacy_format in (False, True):
        load_network(write_pth(folder / 'pth', state, legacy=legacy_format))
    safetensors.torch.save_file(state, folder / 'safetensors')
    load_network(folder / 'safetensors')
    for name in ('safetensors: a header that is no JSON', 'zip: no pickle', *(f'argument: {name}' for name in ARGUMENTS), 'other: a text'):
        (folder / 'case').write_bytes(CASES[name][0]())
        with pytest.raises(FRExError):
            load_network(folder / 'case')


@pytest.mark.filterwarnings('ignore:.*TorchScript')
@pytest.mark.parametrize('name', CASES)
def test_a_hostile_file_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    make, message = CASES[name]
    path = tmp_path / 'hostile'
    path.write_bytes(make())
    with watched() as found, pytest.raises(FRExError, match=rf'^{path}[:.].*({message})') as caught:
        load_network(path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 5000
    assert found.events == []
    assert list(tmp_path.iterdir()) == [path]
    assert found.seconds < SECONDS
    is_long = path.stat().st_size > 100_000 and not name.startswith('safetensors')
    assert found.growth < (MEMORY_OF_OPCODES if is_long else MEMORY) + 4 * path.stat().st_size


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


@pytest.mark.parametrize('make', [zipped, lambda: legacy(mapped({'a': WEIGHT})), lambda: with_header({'a': F32}, values=bytes(16))])
def test_the_same_weights_without_malice_are_read(tmp_path, make):
    """So that what is refused above is refused for what was changed."""
    (tmp_path / 'file').write_bytes(make())
    with pytest.raises(FRExError, match=r'not a network that FREx knows \(it holds a, \.\.\.\)'):
        read_network(tmp_path / 'file')


@pytest.mark.parametrize('name', ['a class of training', 'a class of torch'])
def test_classes_of_the_formats_modules_are_never_looked_up(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'file').write_bytes(attribute(INERT[name]))
    with watched() as found:
        network = read_nvidia_pickle(tmp_path / 'file')
    assert network.attributes == {}
    assert found.events == []
    assert [path.name for path in tmp_path.iterdir()] == ['file']


def test_parameters_as_torch_of_2017_wrote_them_are_read(tmp_path):
    old = named('torch._utils', '_rebuild_tensor') + many(storage(), whole(0), many(whole(4)), many(whole(1))) + b'R'
    parameter = named('torch.nn.parameter', 'Parameter') + b')\x81' + many(old, b'N', ORDERED, b'\x88', b'\x89') + b'b'
    pairs = called(named('collections', 'OrderedDict'), listed(listed(text('layer1.0.prelu.weight'), parameter)))
    (tmp_path / 'file').write_bytes(legacy(pairs, values=struct.pack('<4f', 1, 2, 3, 4)))
    assert read_network(tmp_path / 'file').state['layer1.0.prelu.weight'].tolist() == [1, 2, 3, 4]


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / 'folder').mkdir()
    with pytest.raises(FRExError, match=r'folder: no such file'):
        load_network(tmp_path / 'folder')


HARM = {
    'exec': lambda: exec('1'),  # noqa: S102 (what the watch must see)
    'compile': lambda: compile('1', 'x', 'eval'),
    'pickle.find_class': lambda: pickle.loads(pickle.dumps(struct.Struct)),  # noqa: S301
    'import': lambda: __import__('this_module_is_not_there'),
    'os.mkdir': lambda: __import__('os').mkdir('pwned'),
    'open': lambda: open('pwned', 'w'),  # noqa: SIM115
    'subprocess.Popen': lambda: __import__('subprocess').run(['true'], check=True),
    'os.system': lambda: __import__('os').system('true'),
    'socket.connect': lambda: __import__('socket').socket().connect(('127.0.0.1', 9)),
}


@pytest.mark.parametrize('event', HARM)
def test_the_watch_sees_harm(tmp_path, monkeypatch, event):
    monkeypatch.chdir(tmp_path)
    with watched() as found, suppress(ImportError, OSError):
        HARM[event]()
    assert any(seen.startswith(event) for seen in found.events)


def test_the_watch_measures_memory():
    with watched() as found:
        bytearray(100 << 20)
    assert found.growth >= 90 << 20
