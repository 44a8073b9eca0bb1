"""Tables of all keys of option files, made from the dataclasses that read them."""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from itertools import pairwise
from typing import Any

from frex.options.data import FaceDegradationOptions, MixOptions
from frex.options.run import RunValues
from frex.options.sections import DistOptions, LoggerOptions, PathOptions, ValOptions
from frex.options.train import OptimizerOptions, TrainOptions

# The sections of option files, as users write them, with the dataclasses that read them.
SECTIONS = {
    'top level': RunValues,
    'datasets: NAME': FaceDegradationOptions,
    'datasets: NAME: mix': MixOptions,
    'path': PathOptions,
    'train': TrainOptions,
    'train: optim_g, optim_d, optim_d_latent': OptimizerOptions,
    'val': ValOptions,
    'logger': LoggerOptions,
    'dist_params': DistOptions,
}
# Fields that FREx fills in itself.
FILLED_IN = {'is_train', 'auto_resume', 'log', 'visualization', 'experiments_root', 'results_root', 'models', 'training_states', 'phase'}


def to_markdown() -> str:
    """Return one table for each section: key, type, default and meaning, in the order of the dataclasses."""
    return '\n'.join(f'### `{section}`\n\n{_table(kind)}\n' for section, kind in SECTIONS.items())


def _table(kind: type) -> str:
    meanings = dict(_read_meanings(kind))
    rows = [
        f'| `{field.name}` | {_type_text(field)} | {_default_text(field)} | {_escape(meanings[field.name])} |'
        for field in fields(kind)
        if field.name not in FILLED_IN
    ]
    return '\n'.join(['| key | type | default | meaning |', '|---|---|---|---|', *rows])


def _escape(meaning: str) -> str:
    """Return a docstring for a cell of a table, with YAML's word for None."""
    return meaning.replace('|', '&#124;').replace('None', '`~`')


def _type_text(field: Field[Any]) -> str:
    """Return the type of a key in words of YAML."""
    text = inspect.formatannotation(field.type).removesuffix(' | None')
    kinds = {'ComponentOptions': '`type` and arguments', 'Options': 'section', 'dict': 'section', 'IoBackend': 'section'}
    found = next((words for part, words in kinds.items() if part in text), None)
    return found or f'`{text.removeprefix("typing.")}`'


def _default_text(field: Field[Any]) -> str:
    """Return the default as YAML has it, `required` for a key without one."""
    if field.name == 'num_gpu':
        return '`auto`'
    default = field.default_factory() if field.default_factory is not MISSING else field.default
    if default in (MISSING, ''):
        return 'required'
    if isinstance(default, bool):
        return f'`{str(default).lower()}`'
    return '`~`' if default is None else f'`{default!r}`' if isinstance(default, dict | list | tuple) else f'`{default}`'


def _read_meanings(kind: type) -> Iterator[tuple[str, str]]:
    """Yield the fields of a dataclass and of those that it is derived from, with the docstring that stands below each."""
    for base in reversed(kind.__mro__[:-1]):
        (class_definition,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        body = class_definition.body if isinstance(class_definition, ast.ClassDef) else []
        for statement, following in pairwise(body):
            is_documented = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and is_documented:
                yield statement.target.id, ' '.join(str(following.value.value).split())  # type: ignore[attr-defined]
