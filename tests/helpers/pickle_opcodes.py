"""Pickles and files of torch, put together opcode by opcode: files that no pickler would write, and files that would do harm.

Each function returns bytes. Its arguments are values or the bytes of opcodes that make them.
"""

import io
import pickle
import struct
import warnings
import zipfile

from official_files import SOURCE


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
    """Return a list that holds one list `count` times, and so on for `levels` levels: to walk it takes count**levels items."""
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
    """Return a file of torch from before 1.6; a storage in NVIDIA's pickles is such a file, too.

    `keys` are the keys of its storages, and `stored` is the number of values that it states before the bytes `values`.
    """
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


# Bytes have no opcode in protocol 2: they are text that is encoded.
ENCODE, BYTES = named('_codecs', 'encode'), named('__builtin__', 'bytes')
LATIN = legacy(storage()).decode('latin1')


def namespace(state=None, arguments=b')'):
    made = named('argparse', 'Namespace') + arguments + b'\x81'
    return made if state is None else made + (state if isinstance(state, bytes) else mapped(state)) + b'b'


# --- What torch.save writes

WEIGHT = called(TENSOR, storage(), whole(0), many(whole(4)), many(whole(1)), b'\x89', ORDERED)


def zipped_storage(count=4, key='0', kind='FloatStorage'):
    return many(text('storage'), named('torch', kind), text(key), text('cpu'), whole(count)) + b'Q'


def zipped_tensor(data=None, offset=0, size=(4,), stride=(1,)):
    return tensor(zipped_storage() if data is None else data, offset, size, stride)


def zipped(value=None, members=(), compression=zipfile.ZIP_STORED, beside=()):
    """Return a zip as torch.save writes it: the pickle of `value`, and each storage.

    `members` replace or add parts in its folder, `beside` parts outside of it.
    """
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
