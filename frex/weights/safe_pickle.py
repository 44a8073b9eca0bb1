"""Read pickles as data: classes and functions that a pickle would call are recorded by name, never imported and never called.

The standard library's `pickletools` decodes the opcodes. `pickle.Unpickler` is not used, because even with all globals refused it calls
methods of the objects that it builds.
"""

import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

# One opcode makes an object of about two hundred bytes at most, so this limits the memory that a small file can ask for. Official files
# have less than a fifth of it.
MOST_OPCODES = 500_000

# The errors that reading a malformed pickle raises.
MALFORMED = (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, EOFError, RecursionError, struct.error)

CONSTANTS = {'NONE': None, 'NEWTRUE': True, 'NEWFALSE': False}
LITERALS = {
    *('INT', 'BININT', 'BININT1', 'BININT2', 'LONG', 'LONG1', 'FLOAT', 'BINFLOAT'),
    *('STRING', 'BINSTRING', 'SHORT_BINSTRING', 'UNICODE', 'BINUNICODE', 'SHORT_BINUNICODE', 'BINUNICODE8'),
    *('BINBYTES', 'SHORT_BINBYTES', 'BINBYTES8', 'BYTEARRAY8'),
}


class Global(NamedTuple):
    """The name of a class or function that a pickle refers to."""

    module: str
    name: str


@dataclass(eq=False, slots=True)
class Call:
    """The record of an object that a pickle would make by `function(*arguments)`, with the state, items and elements that it would get."""

    function: Global
    arguments: tuple[Any, ...]
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)
    elements: list[Any] = field(default_factory=list)


class InertUnpickler:
    """Reads the consecutive pickles of a stream, which is an object with `read` and `readline`.

    `allowed` says which globals a pickle may name. `persistent` turns a persistent id into a value; with None such ids are refused. A
    method `do_OPCODE` handles one opcode of the pickle format.
    """

    def __init__(
        self,
        stream: Any,
        allowed: Callable[[Global], bool],
        persistent: Callable[[Any], Any] | None = None,
    ) -> None:
        self.stream = stream
        self.allowed = allowed
        self.persistent = persistent
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def load(self) -> Any:
        """Return the value of the stream's next pickle; raise one of `MALFORMED` where it is malformed or names what is not allowed."""
        for count, (opcode, argument, _) in enumerate(pickletools.genops(self.stream)):
            if count > MOST_OPCODES:
                raise ValueError(f'more than {MOST_OPCODES:,} opcodes')
            if opcode.name == 'STOP':
                break
            if opcode.name in LITERALS:
                self.stack.append(argument)
            elif opcode.name in CONSTANTS:
                self.stack.append(CONSTANTS[opcode.name])
            else:
                action = getattr(self, f'do_{opcode.name.lower()}', None)
                if action is None:
                    raise ValueError(f'opcode {opcode.name}')
                action(argument)
        if len(self.stack) != 1 or self.marked:
            raise ValueError('the stack is not empty at the end')
        return self.stack.pop()

    def _to_mark(self) -> list[Any]:
        """Pop and return all values above the last mark."""
        items, self.stack = self.stack, self.marked.pop()
        return items

    # --- Stack and memo

    def do_proto(self, version: int) -> None:
        if version > 5:
            raise ValueError(f'protocol {version}')

    def do_frame(self, length: int) -> None:
        """Ignore the opcode, because frames only help buffering."""

    def do_mark(self, _: None) -> None:
        self.marked.append(self.stack)
        self.stack = []

    def do_pop(self, _: None) -> None:
        self.stack.pop()

    def do_pop_mark(self, _: None) -> None:
        self._to_mark()

    def do_memoize(self, _: None) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def do_put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    do_binput = do_long_binput = do_put

    def do_get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    do_binget = do_long_binget = do_get

    # --- Containers

    def do_empty_tuple(self, _: None) -> None:
        self.stack.append(())

    def do_tuple(self, _: None) -> None:
        items = tuple(self._to_mark())
        self.stack.append(items)

    def do_tuple1(self, _: None) -> None:
        self._tuple(1)

    def do_tuple2(self, _: None) -> None:
        self._tuple(2)

    def do_tuple3(self, _: None) -> None:
        self._tuple(3)

    def _tuple(self, length: int) -> None:
        if len(self.stack) < length:
            raise IndexError('the stack is too short')
        self.stack[-length:] = [tuple(self.stack[-length:])]

    def do_empty_list(self, _: None) -> None:
        self.stack.append([])

    def do_list(self, _: None) -> None:
        items = self._to_mark()
        self.stack.append(items)

    def do_append(self, _: None) -> None:
        item = self.stack.pop()
        self._elements().append(item)

    def do_appends(self, _: None) -> None:
        items = self._to_mark()
        self._elements().extend(items)

    def _elements(self) -> list[Any]:
        """Return the list that elements are to be appended to: the value on top of the stack, or the elements of a call there."""
        target = self.stack[-1]
        elements = target.elements if isinstance(target, Call) else target
        if not isinstance(elements, list):
            raise TypeError(f'elements for a {type(target).__name__}')
        return elements

    def do_empty_set(self, _: None) -> None:
        self.stack.append(set())

    def do_additems(self, _: None) -> None:
        items = self._to_mark()
        if not isinstance(self.stack[-1], set):
            raise TypeError(f'items of a set for a {type(self.stack[-1]).__name__}')
        self.stack[-1].update(as_key(item) for item in items)

    def do_frozenset(self, _: None) -> None:
        items = self._to_mark()
        self.stack.append(frozenset(as_key(item) for item in items))

    def do_empty_dict(self, _: None) -> None:
        self.stack.append({})

    def do_dict(self, _: None) -> None:
        items = self._to_mark()
        self.stack.append({})
        self._set_items(items)

    def do_setitem(self, _: None) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items([key, value])

    def do_setitems(self, _: None) -> None:
        self._set_items(self._to_mark())

    def _set_items(self, flat: list[Any]) -> None:
        target = self.stack[-1]
        items = target.items if isinstance(target, Call) else target
        if not isinstance(items, dict):
            raise TypeError(f'items for a {type(target).__name__}')
        for key, value in zip(flat[::2], flat[1::2], strict=True):
            items[as_key(key)] = value

    # --- Calls that a pickle would make

    def do_global(self, names: str) -> None:
        module, _, name = names.partition(' ')
        self._global(module, name)

    def do_stack_global(self, _: None) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self._global(module, name)

    def _global(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise TypeError('a class or function whose name is not a string')
        if not self.allowed(Global(module, name)):
            raise ValueError(f'it names {module}.{name}, which is not part of the format')
        self.stack.append(Global(module, name))

    def do_reduce(self, _: None) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Global) or not isinstance(arguments, tuple):
            raise TypeError(f'a call of a {type(function).__name__}')
        self.stack.append(Call(function, arguments))

    do_newobj = do_reduce

    def do_build(self, _: None) -> None:
        state = self.stack.pop()
        if not isinstance(self.stack[-1], Call):
            raise TypeError(f'a state for a {type(self.stack[-1]).__name__}')
        self.stack[-1].state = state

    def do_binpersid(self, _: None) -> None:
        if self.persistent is None:
            raise ValueError('a persistent id')
        self.stack.append(self.persistent(self.stack.pop()))


def as_key(key: Any) -> Any:
    """Return `key` if it may be a key of a dictionary or set: None, a string, bytes, a float or an int below 2^60; else raise TypeError."""
    # With other keys a hostile file could overflow the interpreter's stack by a deeply nested tuple, or take forever by hashing a long
    # tuple again and again or by many large integers of the same hash.
    if isinstance(key, str | bytes | float | None) or (isinstance(key, int) and abs(key) < 1 << 60):
        return key
    raise TypeError(f'a {type(key).__name__} as a key')
