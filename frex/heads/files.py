"""A recovered head as files that other programs show: a film in which it turns, and meshes."""

from collections.abc import Collection

from frex.errors import FRExError
from frex.heads.codes import Head
from frex.heads.mesh import GRID, encode_mesh, extract_mesh
from frex.heads.views import FILM_VIEWS, MOST_YAW, encode_film, render_views, turn_cameras
from frex.utils.extras import require_package
from frex_arch import EG3D

FILM = 'mp4'
MESHES = ('ply', 'glb')
# The packages that writing each format needs.
PACKAGES = {FILM: ('av',), **dict.fromkeys(MESHES, ('trimesh', 'skimage'))}


def check_formats(formats: Collection[str], flag: str) -> None:
    """Raise FRExError, which starts with `flag`, for a format other than FILM and MESHES, and where a package that it needs is missing."""
    for name in formats:
        if name not in PACKAGES:
            raise FRExError(f'{flag} {name}: must be one of {", ".join(PACKAGES)}')
        for package in PACKAGES[name]:
            require_package(package, f'{flag} {name}')


def encode_files(eg3d: EG3D, head: Head, formats: Collection[str], most_yaw: float = MOST_YAW, grid: int = GRID) -> dict[str, bytes]:
    """Return the contents of files of a head by their formats, FILM or one of MESHES.

    The film goes from -`most_yaw` to `most_yaw` degrees and back. Meshes are made of the density at `grid` points along each side. They are
    in the camera's frame (see `to_view`).
    """
    files = {}
    if FILM in formats:
        files[FILM] = encode_film(render_views(eg3d, head.ws, turn_cameras(FILM_VIEWS, most_yaw)))
    meshes = [name for name in MESHES if name in formats]
    if meshes:
        mesh = extract_mesh(eg3d, head, grid)
        files |= {name: encode_mesh(mesh, head.camera, name) for name in meshes}
    return files
