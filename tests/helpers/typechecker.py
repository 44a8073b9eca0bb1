"""The run-time check of every annotated argument and result while the tests run; an int passes where the annotation is float.

jaxtyping's own decorator binds and checks the arguments of each call twice, at many times the cost of a small function. Here each function
is checked once, and only those whose annotations name arrays remember the sizes of a call, since only there sizes must agree.
"""

import inspect
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any, get_args

import jaxtyping

# Before the hook, since jaxtyping takes none of Python's compiled files for what is imported within a module that is checked.
import scipy.stats  # noqa: F401
import torchvision  # noqa: F401
from beartype import BeartypeConf, beartype
from jaxtyping import AbstractArray, install_import_hook, jaxtyped

# A TypeError, which also Python raises for wrong arguments.
check = beartype(conf=BeartypeConf(is_pep484_tower=True, violation_type=TypeError))


def install(*packages: str) -> None:
    """Check the functions of `packages` in all modules that are imported from now on."""
    jaxtyping.jaxtyped = _checked
    install_import_hook(packages, 'typechecker.check')


def _checked(*, typechecker: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return the decorator that the import hook of jaxtyping asks for, and puts on each class and function."""

    def decorate(made: Any) -> Any:
        if inspect.isclass(made):
            if is_dataclass(made):
                made.__init__ = decorate(made.__init__)
            return made
        annotations = list(made.__annotations__.values())
        if any(isinstance(annotation, str) for annotation in annotations):
            # jaxtyping's own way checks what such an annotation names only where it can be found.
            return jaxtyped(made, typechecker=typechecker)
        checked = typechecker(made)
        return jaxtyped(checked, typechecker=None) if any(map(_names_array, annotations)) else checked

    return decorate


def _names_array(annotation: Any) -> bool:
    return (inspect.isclass(annotation) and issubclass(annotation, AbstractArray)) or any(map(_names_array, get_args(annotation)))
