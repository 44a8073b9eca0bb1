"""Turn a recovered head into a coloured mesh: the surface of the 3D prior's density, by marching cubes."""

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from frex.errors import FRExError
from frex.heads.codes import Head
from frex.utils.extras import require_package
from frex_arch import EG3D
from frex_arch.camera import Camera, frontal_camera, unpack_camera
from frex_arch.rendering import compositing_weights, pixel_rays, sample_weights

# Points along each side of the cube at which the density is computed.
GRID = 128
# The most points that are decoded at a time, which bounds memory.
CHUNK = 1 << 17
# Pixels with less opacity show background.
LEAST_OPACITY = 0.5
# The ray on which a vertex is coloured begins and ends so far from the surface, in units of the world.
OUTSIDE, INSIDE, RAY_SAMPLES = 0.02, 0.4, 48
# From OpenCV's camera axes, x right, y down, z forward, to those of glTF: y up, z backward.
TO_GLTF = np.diag([1.0, -1.0, -1.0])


class Mesh(NamedTuple):
    """A closed surface as triangles; `vertices` are in units of EG3D's world, `colours` are RGB."""

    vertices: Float[np.ndarray, 'vertices 3']
    triangles: Int[np.ndarray, 'triangles 3']
    colours: UInt8[np.ndarray, 'vertices 3']


@torch.inference_mode()
def extract_mesh(eg3d: EG3D, head: Head, grid: int = GRID) -> Mesh:
    """Return the surface of a head's density, in the axes of glTF as the head's own camera sees it: from the origin along -z.

    The density is computed at `grid` points along each side of the cube that the tri-planes cover, and has the value of `face_surface` on
    the surface. Only the part with the face is kept. Raises FRExError where no such surface is found, and where scikit-image is missing.
    """
    require_package('skimage', 'making a mesh')
    from skimage.measure import marching_cubes

    planes = eg3d.planes(head.ws.to(eg3d.w_avg.device))
    level, face = face_surface(eg3d, planes)
    axis = torch.linspace(-0.5, 0.5, grid) * eg3d.box_warp
    densities = decode(eg3d, planes, torch.cartesian_prod(axis, axis, axis))[1].reshape(grid, grid, grid).numpy()
    # Empty space around the cube closes the surface where the head is cut off by it.
    volume = np.pad(densities, 1, constant_values=min(float(densities.min()), level - 1))
    if not level < densities.max():
        raise FRExError('no mesh: the density of this head has no surface')
    # In right-handed axes 'ascent' gives triangles that look to where the density is lower, outwards.
    vertices, triangles, _, _ = marching_cubes(volume, level, gradient_direction='ascent')
    vertices = (vertices - 1) * (eg3d.box_warp / (grid - 1)) - eg3d.box_warp / 2
    vertices, triangles = keep_part(vertices, triangles, face)
    colours = look_inwards(eg3d, planes, vertices, triangles)
    return Mesh(to_view(vertices, head.camera), triangles, (colours.clamp(0, 1) * 255).round().byte().numpy())


def face_surface(eg3d: EG3D, planes: Float[Tensor, '1 3 channel size size']) -> tuple[float, Float[np.ndarray, '3']]:
    """Return the raw density of the face's surface in the frontal rendering, and the point of the surface in the middle of the image.

    The density is the median at the expected depth of the opaque pixels. A fixed density would fit one network only, since a blurred prior
    spreads it over more of the ray. Raises FRExError where no pixel is opaque.
    """
    camera = frontal_camera().to(planes.device)
    rendered = eg3d.render(planes, camera)
    origins, directions = pixel_rays(*unpack_camera(camera), eg3d.render_size)
    points = (origins + rendered.depth.flatten(1)[:, :, None] * directions)[0]
    opaque = points[rendered.opacity.flatten() > LEAST_OPACITY].cpu()
    if not len(opaque):
        raise FRExError('no mesh: the 3D prior renders nothing that is opaque')
    middle = opaque[:, :2].norm(dim=1).argmin()
    return decode(eg3d, planes, opaque)[1].median().item(), opaque[middle].numpy()


def decode(
    eg3d: EG3D, planes: Float[Tensor, '1 3 channel size size'], points: Float[Tensor, 'points 3']
) -> tuple[Float[Tensor, 'points feature'], Float[Tensor, ' points']]:
    """Return features and raw densities at points of the world, on the CPU, a chunk of points at a time."""
    parts = [eg3d.query(planes, part[None].to(planes.device)) for part in points.split(CHUNK)]
    features, densities = zip(*parts, strict=True)
    return torch.cat(features, dim=1)[0].cpu(), torch.cat(densities, dim=1)[0].cpu()


def look_inwards(
    eg3d: EG3D, planes: Float[Tensor, '1 3 channel size size'], vertices: Float[np.ndarray, 'vertices 3'], triangles: np.ndarray
) -> Float[Tensor, 'vertices 3']:
    """Return the colour (RGB, 0 to 1) that each vertex has from outside: rendered along a short ray against the surface's normal.

    The colour at the vertex itself would be that of a thin layer, where the density is spread over more than that.
    """
    corners = vertices[triangles]
    sides = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(normals, triangles[:, corner], sides)
    inwards = -F.normalize(torch.from_numpy(normals).float(), dim=1)
    depths = torch.linspace(-OUTSIDE, INSIDE, RAY_SAMPLES)
    points = torch.from_numpy(vertices).float()[:, None] + depths[:, None] * inwards[:, None]
    features, densities = decode(eg3d, planes, points.flatten(0, 1))
    weights = sample_weights(compositing_weights(densities.reshape(1, -1, RAY_SAMPLES), depths.expand(1, len(vertices), -1)))[0]
    return (weights[:, :, None] * features[:, :3].unflatten(0, (-1, RAY_SAMPLES))).sum(dim=1)


def keep_part(vertices: np.ndarray, triangles: np.ndarray, point: Float[np.ndarray, '3']) -> tuple[np.ndarray, np.ndarray]:
    """Return the connected surface that is nearest to `point`, without what floats around it."""
    from scipy.sparse import coo_matrix  # type: ignore[import-untyped]
    from scipy.sparse.csgraph import connected_components  # type: ignore[import-untyped]

    edges = np.concatenate([triangles[:, :2], triangles[:, 1:]])
    graph = coo_matrix((np.ones(len(edges), bool), edges.T), shape=(len(vertices),) * 2)
    _, part = connected_components(graph, directed=False)
    kept = part == part[np.linalg.norm(vertices - point, axis=1).argmin()]
    number = np.cumsum(kept) - 1
    return vertices[kept], number[triangles[kept[triangles[:, 0]]]]


def to_view(points: Float[np.ndarray, 'points 3'], camera: Camera) -> Float[np.ndarray, 'points 3']:
    """Convert points of the world to the axes of glTF at the camera: x right, y up, and the camera looks along -z."""
    pose = unpack_camera(camera)[0][0].double().cpu().numpy()
    return (points - pose[:3, 3]) @ pose[:3, :3] @ TO_GLTF


def encode_mesh(mesh: Mesh, camera: Camera, format_name: str) -> bytes:
    """Return a mesh as a `ply` or `glb` file; a `glb` also holds the camera, so that viewers show the head as the image does.

    Raises FRExError where the package trimesh is missing.
    """
    require_package('trimesh', 'writing a mesh')
    import trimesh

    surface = trimesh.Trimesh(mesh.vertices, mesh.triangles, vertex_colors=mesh.colours, process=False)
    content: Any = surface if format_name == 'ply' else trimesh.Scene(surface, camera=_view_camera(camera), camera_transform=np.eye(4))
    exported: bytes = content.export(file_type=format_name)
    return exported


def _view_camera(camera: Camera) -> Any:
    """Return trimesh's camera with the fields of view of the FREx camera."""
    import trimesh

    intrinsics = unpack_camera(camera)[1][0].double().cpu().numpy()
    fov = np.degrees(2 * np.arctan(0.5 / intrinsics[[0, 1], [0, 1]]))
    return trimesh.scene.Camera(fov=fov)
