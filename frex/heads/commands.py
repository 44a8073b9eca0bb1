"""`frex render`: render views, films and meshes of heads whose codes were saved."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from frex.device import choose_device
from frex.errors import FRExError
from frex.heads.codes import Head, load_head, trained_prior
from frex.heads.files import FILM, check_formats, encode_files
from frex.heads.mesh import GRID
from frex.heads.views import MOST_YAW, VIEWS, render_views, turn_cameras
from frex.images import write_image
from frex.utils.files import write_bytes
from frex.weights.network_file import build_frex, read_network
from frex.weights.small_model import find_model
from frex_arch import EG3D


@dataclass(frozen=True)
class RenderOptions:
    """The files `codes` of heads, and the folder `output` that gets `NAME.png`, a row of `views` from -`most_yaw` to `most_yaw` degrees.

    NAME is that of the file of codes. `film` adds `NAME.mp4`, and `mesh` adds meshes in the formats `ply` and `glb`, from the density at
    `grid` points along each side. Existing files are replaced. `model_path` is the checkpoint that made the codes, a path or `owner/name`
    on the Hub, None the small FREx of the package; `param_key` is the entry of a `.pth` to use.
    """

    codes: tuple[Path, ...]
    output: Path
    model_path: Path | None = None
    param_key: str = 'params_ema'
    views: int = VIEWS
    most_yaw: float = MOST_YAW
    film: bool = False
    mesh: tuple[str, ...] = ()
    grid: int = GRID
    device: str = 'auto'


def render(options: RenderOptions) -> None:
    """Render each head and print the files that were written.

    Raises FRExError where a file or the device cannot be used, a package is missing, the network has no trained 3D prior, or two of the
    files have the same name without folder.
    """
    check_formats([FILM] if options.film else [], '--film')
    check_formats(options.mesh, '--mesh')
    path = find_model(options.model_path)
    eg3d = trained_prior(build_frex(read_network(path, options.param_key), str(path)).to(choose_device(options.device)))
    heads = {path: load_head(path, eg3d) for path in options.codes}
    if len({path.stem for path in heads}) < len(options.codes):
        raise FRExError('two of these files have the same name; render them into different folders')
    for path, head in heads.items():
        for written in render_head(options, eg3d, head, options.output / path.stem):
            print(written)


def render_head(options: RenderOptions, eg3d: EG3D, head: Head, base: Path) -> list[Path]:
    """Write the files of one head that the options ask for, and return their paths: `base` with a suffix added, `.png` first."""
    written = [base.with_name(f'{base.name}.png')]
    written[0].parent.mkdir(parents=True, exist_ok=True)
    write_image(written[0], np.hstack(render_views(eg3d, head.ws, turn_cameras(options.views, options.most_yaw))))
    formats = (*([FILM] if options.film else []), *options.mesh)
    for name, content in encode_files(eg3d, head, formats, options.most_yaw, options.grid).items():
        written.append(base.with_name(f'{base.name}.{name}'))
        write_bytes(written[-1], content)
    return written
