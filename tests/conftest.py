"""Checks every annotated shape and type of the project while the tests run."""

from jaxtyping import install_import_hook

install_import_hook(['frex_arch', 'frex'], 'typechecker.check')
