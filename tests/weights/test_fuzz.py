"""Damaged files of every format: each is refused in one line or read as a network whose tensors lie in it, and runs nothing."""

import io
import json
import pickletools
import random
import re
import struct
import zipfile
from collections import Counter
from pathlib import Path

import pytest
import torch
from official_files import (
    INIT,
    RENDERING,
    eg3d_network,
    nvidia_state,
    rosinality_checkpoint,
    rosinality_state,
    stylegan2_network,
    with_label_deviation,
    write_pickle,
    write_pth,
)
from watch import watched

from frex.errors import FRExError
from frex.weights.network_file import NetworkFile, build_network, check_network, load_network, read_network, save_safetensors
from frex_arch import EG3D, StyleGAN2

# pickletools looks for escapes in names.
pytestmark = pytest.mark.filterwarnings('ignore:invalid escape sequence')

STYLEGAN2 = {'out_size': 8, 'num_style_feat': 4, 'num_mlp': 1, 'narrow': 1 / 256}
SMALL_EG3D = {
    'out_size': 16,
    'z_dim': 2,
    'w_dim': 2,
    'plane_size': 4,
    'plane_channels': 1,
    'channel_base': 8,
    'channel_max': 2,
    'feature_channels': 3,
    'superresolution_channels': [1, 1],
}
PER_CHUNK = 600
CHUNKS = 20
# While reading some hundred files of up to a hundred kilobytes.
MEMORY = 128 << 20
INTERESTING = [0, 1, -1, 2, 5, 127, 255, 256, 65535, 2**31 - 1, 2**31, 2**32, 2**40, 2**62, 2**63 - 1, 2**64, -(2**31), -(2**63)]


# --- Files without damage


def with_short_keys(content):
    """The storages' keys are addresses, another in each run; numbered, so that a seed makes the same file again."""
    numbers = {}

    def numbered(match):
        length, key = match[1][0], match[2]
        if length != len(key):
            return match[0]
        return b'X' + match[1] + b'\0\0\0' + b'%0*d' % (length, numbers.setdefault(key, len(numbers)))

    return re.sub(rb'X(.)\0\0\0(\d{8,16})', numbered, content, flags=re.DOTALL)


@pytest.fixture(scope='module')
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp('originals')
    torch.manual_seed(0)
    state, eg3d = StyleGAN2(**STYLEGAN2).state_dict(), EG3D(**SMALL_EG3D).state_dict()
    checkpoint = {'network_g': {'type': 'StyleGAN2', **STYLEGAN2}, 'params': state, 'params_ema': state, 'iter': 3}
    for protocol in (2, 3, 4):
        network = eg3d_network(with_label_deviation(eg3d), INIT, RENDERING, 64)
        write_pickle(folder / f'EG3D, protocol {protocol}', network, protocol)
    write_pickle(folder / 'StyleGAN2', stylegan2_network(nvidia_state(state)))
    write_pth(folder / 'zip', state)
    write_pth(folder / 'legacy', state, legacy=True)
    write_pth(folder / 'checkpoint', checkpoint)
    write_pth(folder / 'training, zip', rosinality_checkpoint(rosinality_state(state)))
    write_pth(folder / 'training, legacy', rosinality_checkpoint(rosinality_state(state)), legacy=True)
    save_safetensors(folder / 'safetensors', NetworkFile('StyleGAN2', STYLEGAN2, state))
    contents = {}
    for path in sorted(folder.iterdir()):
        path.write_bytes(with_short_keys(path.read_bytes()))
        # Also the first use of torch and of the type check, which import and compile.
        load_network(path)
        contents[path.name] = path.read_bytes()
    with pytest.raises(FRExError):
        check_network(NetworkFile('StyleGAN2', {'num_style_feat': [8]}, {}), 'here')
    return contents


def test_the_files_without_damage_are_small_and_complete(originals):
    assert len(originals) == 10
    assert max(map(len, originals.values())) < 150_000


# --- Damage


def truncated(rng, content, _):
    return content[: rng.randrange(len(content))]


def with_flipped_bits(rng, content, _):
    damaged = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 8, 64])):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def with_other_bytes(rng, content, _):
    damaged = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 8, 64])):
        damaged[rng.randrange(len(damaged))] = rng.choice([0, 255, rng.randrange(256)])
    return bytes(damaged)


def a_slice(rng, content, most=200):
    start = rng.randrange(len(content))
    return start, min(len(content), start + rng.randrange(1, most))


def with_insertion(rng, content, _):
    start, _ = a_slice(rng, content)
    return content[:start] + rng.randbytes(rng.randrange(1, 50)) + content[start:]


def with_deletion(rng, content, _):
    start, end = a_slice(rng, content)
    return content[:start] + content[end:]


def with_duplication(rng, content, _):
    start, end = a_slice(rng, content)
    return content[:end] + content[start:end] * rng.choice([1, 1, 2, 50]) + content[end:]


def spliced(rng, content, others):
    other = rng.choice(others)
    return content[: rng.randrange(len(content))] + other[rng.randrange(len(other)) :]


WIDTHS = {'BININT1': ('<B', 1), 'BININT2': ('<H', 2), 'BININT': ('<i', 4), 'BINGET': ('<B', 1), 'LONG_BINGET': ('<I', 4)}
OPCODES = b'().0N2QRabcdeghjlopqrstuBCGHIJKLMSTUVXiP]}\x80\x81\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f\x90\x91\x92\x93\x94'


def opcodes(content, start=0):
    """Name and place of each opcode of one pickle, and the place where it ends."""
    found = list(pickletools.genops(content[start:]))
    return [(opcode.name, start + place) for opcode, _, place in found], start + found[-1][2] + 1


def with_other_numbers(rng, pickled, places):
    """A pickle in which some opcodes have another number, or are another opcode."""
    damaged = bytearray(pickled)
    for name, place in rng.sample(places, min(len(places), rng.choice([1, 1, 2, 5]))):
        if name not in WIDTHS:
            damaged[place] = rng.choice(OPCODES)
            continue
        form, width = WIDTHS[name]
        (old,) = struct.unpack_from(form, damaged, place + 1)
        new = rng.choice([*INTERESTING, old + 1, old - 1, 2 * old, rng.randrange(2**16)])
        low, high = (-(2**31), 2**31) if name == 'BININT' else (0, 256**width)
        struct.pack_into(form, damaged, place + 1, low + (new - low) % (high - low))
    return bytes(damaged)


def damaged_pickle(rng, content):
    places, _ = opcodes(content)
    return with_other_numbers(rng, content, of_interest(rng, places))


def of_interest(rng, places):
    """Numbers, in two of three cases."""
    numbers = [place for place in places if place[0] in WIDTHS]
    return numbers if rng.random() < 0.67 and numbers else places


def damaged_storage(rng, content):
    """A pickle of NVIDIA's with damage within one of its storages, which are pickles, too."""
    starts = [match.start() for match in re.finditer(re.escape(b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'), content)]
    return damaged_legacy(rng, content, rng.choice(starts))


def damaged_legacy(rng, content, start=0):
    places = []
    for _ in range(5):
        found, start = opcodes(content, start)
        places += found
    if rng.random() < 0.2:
        return content[:start] + struct.pack('<Q', rng.choice(INTERESTING) % 2**64) + content[start + 8 :]
    return with_other_numbers(rng, content, of_interest(rng, places))


def damaged_zip(rng, content):
    """A zip whose checksums are right, its pickle or the lengths of its parts are not."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    pickle_name = next(name for name in members if name.endswith('data.pkl'))
    kind = rng.randrange(4)
    if kind < 2:
        members[pickle_name] = damaged_pickle(rng, members[pickle_name])
    elif kind == 2:
        name = rng.choice(list(members))
        members[name] = rng.choice([b'', members[name][:-1], members[name] * 2, rng.randbytes(40)])
    else:
        members.pop(rng.choice(list(members)))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, 'w') as archive:
        for name, part in members.items():
            archive.writestr(name, part)
    return stream.getvalue()


def damaged_header(rng, content):
    """A `.safetensors` with other numbers in its header."""
    (length,) = struct.unpack('<Q', content[:8])
    header = json.loads(content[8 : 8 + length])
    for name in rng.sample(sorted(header), rng.choice([1, 1, 2])):
        entry = header[name]
        if name == '__metadata__':
            network = json.loads(entry['network'])
            network[rng.choice(sorted(network))] = rng.choice([*INTERESTING, 0.5, 1e308, 'x', None, [], [8], {}, True])
            entry['network'] = json.dumps(network)
        else:
            entry[rng.choice(['shape', 'data_offsets'])] = [rng.choice(INTERESTING) for _ in range(rng.randrange(4))]
    changed = json.dumps(header).encode()
    return struct.pack('<Q', rng.choice([len(changed)] * 4 + [2**62])) + changed + content[8 + length :]


BLIND = [truncated, with_flipped_bits, with_other_bytes, with_insertion, with_deletion, with_duplication, spliced]
KNOWING = {
    # Its storages are text, which encodes them.
    'EG3D, protocol 2': [damaged_pickle],
    'EG3D, protocol 3': [damaged_pickle, damaged_storage],
    'EG3D, protocol 4': [damaged_pickle, damaged_storage],
    'StyleGAN2': [damaged_pickle, damaged_storage],
    'zip': [damaged_zip],
    'legacy': [damaged_legacy],
    'checkpoint': [damaged_zip],
    'training, zip': [damaged_zip],
    'training, legacy': [damaged_legacy],
    'safetensors': [damaged_header],
}


def damaged(originals, seed):
    """One file, and what was done to it."""
    rng = random.Random(seed)
    name = rng.choice(sorted(originals))
    if rng.random() < 0.5:
        damage = rng.choice(KNOWING[name])
        return f'seed {seed}: {name}, {damage.__name__}', damage(rng, originals[name])
    damage = rng.choice(BLIND)
    return f'seed {seed}: {name}, {damage.__name__}', damage(rng, originals[name], list(originals.values()))


# --- What becomes of it


def outcome(path: Path) -> str:
    """What reading came to; AssertionError, or whatever was raised, where that is neither a refusal nor a whole network."""
    try:
        file = read_network(path)
    except FRExError as error:
        return refusal(path, error)
    size = path.stat().st_size
    assert sum(value.nbytes for value in file.state.values()) <= size
    for value in file.state.values():
        assert value.device.type == 'cpu'
        assert value.nbytes <= value.untyped_storage().nbytes()
        value.contiguous().clone()
    try:
        check_network(file, str(path))
    except FRExError as error:
        refusal(path, error)
        return 'read, and does not fit'
    build_network(file, str(path))
    return 'built'


def refusal(path: Path, error: FRExError) -> str:
    assert str(error).startswith(str(path))
    assert str(error).isprintable()
    return 'refused'


def run(originals, folder, seeds):
    """Number of files by what became of them; the first that went wrong is left in `folder`, and told with its seed."""
    cases = []
    for seed in seeds:
        told, content = damaged(originals, seed)
        path = folder / f'seed_{seed}'
        path.write_bytes(content)
        cases.append((path, told))
    found_outcomes = Counter()
    with watched() as found:
        for path, told in cases:
            try:
                found_outcomes[outcome(path)] += 1
            except Exception as error:
                raise AssertionError(f'{told} ({path}): {type(error).__name__}: {error}') from error
            assert found.events == [], told
    assert found.growth < MEMORY
    assert sorted(folder.iterdir()) == sorted(path for path, _ in cases)
    for path, _ in cases:
        path.unlink()
    print(dict(found_outcomes))
    return found_outcomes


def test_a_few_hundred_mutated_files(originals, tmp_path):
    outcomes = run(originals, tmp_path, range(300))
    # Most damage shows; that of a weight's value does not.
    assert outcomes['refused'] > 150
    assert outcomes['built'] > 15


@pytest.mark.fuzz
@pytest.mark.parametrize('chunk', range(CHUNKS))
def test_many_mutated_files(originals, tmp_path, chunk):
    outcomes = run(originals, tmp_path, range(1000 + PER_CHUNK * chunk, 1000 + PER_CHUNK * (chunk + 1)))
    assert outcomes['refused'] > PER_CHUNK / 2
