"""The packages of extras, and what installs them, are those of pyproject.toml."""

import json
import re

import pytest
from processes import ROOT

from frex.errors import FRExError
from frex.utils import extras

SECTION = (ROOT / 'pyproject.toml').read_text().partition('[project.optional-dependencies]')[2].partition('\n[')[0]
PROJECT = {extra: json.loads(entries) for extra, entries in re.findall(r'^(\w+) = (\[.*\])$', SECTION, re.MULTILINE)}
# The names under which packages are imported, where those are others; basicsr needs setuptools, which is not imported.
IMPORTED = {'scikit-image': 'skimage', 'pillow-heif': 'pillow_heif', 'stlpips-pytorch': 'stlpips_pytorch', 'setuptools': None}


def packages_of(extra):
    """The packages that an extra of pyproject.toml brings, with those that it includes."""
    packages = set()
    for entry in PROJECT[extra]:
        included = re.fullmatch(r'frex\[(.*)\]', entry)
        if included:
            packages.update(*map(packages_of, included[1].split(',')))
        else:
            name = re.match(r'[\w-]+', entry)[0]
            packages.add(IMPORTED.get(name, name))
    return packages - {None}


@pytest.mark.parametrize('extra', sorted({*extras.INCLUDED, *(extra for its in extras.EXTRAS.values() for extra in its)}))
def test_all_packages_of_an_extra_are_missing_where_none_is_installed(extra, monkeypatch):
    monkeypatch.setattr(extras, 'find_spec', lambda _: None)
    assert set(extras.find_missing_packages(extra)) == packages_of(extra)


def test_a_package_of_several_extras_comes_with_the_lightest():
    with pytest.raises(FRExError, match=r"^making a mesh needs the package skimage, .*: pip install 'frex\[heads\]'$"):
        raise extras.missing_package('skimage', 'making a mesh')


def test_a_package_that_is_broken_is_not_called_missing(tmp_path, monkeypatch):
    (tmp_path / 'broken_package.py').write_text("raise ImportError('libGL.so.1 is missing')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        FRExError, match=r'^it needs the package broken_package, which is .* cannot be imported \(libGL\.so\.1 is missing\)$'
    ):
        extras.require_package('broken_package', 'it')
    with pytest.raises(FRExError, match=r'^it needs the package no_package, which is not installed: pip install no_package$'):
        extras.require_package('no_package', 'it')
