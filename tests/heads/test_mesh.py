"""Meshes of a density that is known: balls, each of one colour."""

import numpy as np
import pytest
import torch
import trimesh
from tiny import tiny_eg3d_file, tiny_frex

from frex.errors import FRExError
from frex.heads.codes import Head
from frex.heads.files import check_formats
from frex.heads.mesh import encode_mesh, extract_mesh, face_surface
from frex_arch import EG3D
from frex_arch.camera import ffhq_intrinsics, look_at, pack_camera, unpack_camera
from frex_arch.eg3d import Rendering
from frex_arch.rendering import pixel_rays

RADIUS = 0.3
# The centres and radii of the large ball and of a small one that floats beside it.
BALLS = (((0.0, 0.05, 0.0), RADIUS), ((0.42, 0.42, 0.42), 0.05))
COLOUR = (0.2, 0.4, 0.8)
CAMERA = pack_camera(look_at(torch.tensor([0.5]), torch.tensor([0.2])), ffhq_intrinsics()[None])


class Balls(EG3D):
    """An EG3D whose density is 12 on the surface of each ball and falls outwards; `render` sees the large one."""

    def __init__(self):
        super().__init__(**tiny_eg3d_file().arguments)

    def query(self, planes, points):
        inside = torch.stack([radius - (points - torch.tensor(centre)).norm(dim=2) for centre, radius in BALLS]).amax(dim=0)
        features = torch.tensor(COLOUR).expand(*points.shape[:2], 3)
        return features, 12 + 100 * inside

    def render(self, planes, camera):
        origins, directions = pixel_rays(*unpack_camera(camera), self.render_size)
        centre = torch.tensor(BALLS[0][0]) - origins
        along = (centre * directions).sum(dim=2)
        squared = RADIUS**2 - (centre.square().sum(dim=2) - along.square())
        depth = along - squared.clamp(min=0).sqrt()
        size = (1, 1, self.render_size, self.render_size)
        return Rendering(torch.zeros(1, 3, *size[2:]), depth.reshape(size), (squared > 0).float().reshape(size))


def head():
    balls = Balls()
    return Head(torch.zeros(1, balls.num_ws, balls.w_dim), CAMERA)


@pytest.fixture(scope='module')
def mesh():
    return extract_mesh(Balls(), head(), grid=48)


def in_world(vertices):
    """Undo the axes of glTF and the camera's pose."""
    pose = unpack_camera(CAMERA)[0][0].double().numpy()
    return vertices * (1, -1, -1) @ pose[:3, :3].T + pose[:3, 3]


def test_the_surface_is_where_the_rendered_depth_is_and_what_floats_is_left_out(mesh):
    distance = np.linalg.norm(in_world(mesh.vertices) - BALLS[0][0], axis=1)
    np.testing.assert_allclose(distance, RADIUS, atol=0.004)


def test_the_surface_is_closed_and_looks_outwards(mesh):
    ball = trimesh.Trimesh(mesh.vertices, mesh.triangles, process=False)
    assert ball.is_watertight
    assert ball.volume == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.02)


def test_vertices_have_the_colour_of_the_prior(mesh):
    assert (mesh.colours == np.round(np.array(COLOUR) * 255)).all()


def test_a_viewer_at_the_origin_sees_the_head_where_the_camera_saw_it(mesh):
    """The middle of the ball appears at the same place by the camera's own matrices and by those of a viewer of glTF."""
    cam2world, intrinsics = (part[0].double().numpy() for part in unpack_camera(CAMERA))
    x, y, z = np.linalg.inv(cam2world) @ (*BALLS[0][0], 1) @ np.eye(4)[:, :3]
    seen = intrinsics @ (x / z, y / z, 1)
    middle = (mesh.vertices.min(axis=0) + mesh.vertices.max(axis=0)) / 2
    focal = intrinsics[0, 0]
    assert middle[2] < 0
    np.testing.assert_allclose((0.5 + focal * middle[0] / -middle[2], 0.5 - focal * middle[1] / -middle[2]), seen[:2], atol=0.01)


def test_a_head_that_reaches_the_side_of_the_cube_is_closed_there():
    class Everywhere(Balls):
        def query(self, planes, points):
            features, _ = super().query(planes, points)
            return features, 12 - 100 * (points[..., 1] - 0.35)

    mesh = extract_mesh(Everywhere(), head(), grid=24)
    assert trimesh.Trimesh(mesh.vertices, mesh.triangles, process=False).is_watertight


def test_a_prior_that_renders_nothing_has_no_mesh():
    class Nothing(Balls):
        def render(self, planes, camera):
            rendered = super().render(planes, camera)
            return rendered._replace(opacity=torch.zeros_like(rendered.opacity))

    with pytest.raises(FRExError, match='nothing that is opaque'):
        extract_mesh(Nothing(), head(), grid=16)


def test_the_surface_of_a_network_has_the_density_of_its_level():
    net = tiny_frex().eval()
    codes = torch.randn(1, net.eg3d.num_ws, net.eg3d.w_dim, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        net.eg3d.decoder.net[2].bias[0] = 30.0
        planes = net.eg3d.planes(codes)
        level, _ = face_surface(net.eg3d, planes)
        vertices = in_world(extract_mesh(net.eg3d, Head(codes, CAMERA), grid=32).vertices)
        # Without those on the sides of the cube, where the surface is cut off.
        inner = vertices[(abs(vertices) < 0.45).all(axis=1)]
        _, densities = net.eg3d.query(planes, torch.from_numpy(inner).float()[None])
        _, elsewhere = net.eg3d.query(planes, torch.rand(1, 1000, 3) - 0.5)
    assert len(inner) > 100
    assert (densities - level).abs().mean() < 0.05 * (elsewhere - level).abs().mean()


@pytest.mark.parametrize('suffix', ['.ply', '.glb'])
def test_files_hold_the_mesh(mesh, tmp_path, suffix):
    (tmp_path / f'head{suffix}').write_bytes(encode_mesh(mesh, CAMERA, suffix[1:]))
    loaded = trimesh.load(tmp_path / f'head{suffix}', process=False)
    surface = loaded if suffix == '.ply' else next(iter(loaded.geometry.values()))
    np.testing.assert_allclose(surface.vertices, mesh.vertices, atol=1e-5)
    assert np.array_equal(surface.faces, mesh.triangles)
    assert (surface.visual.vertex_colors[:, :3] == mesh.colours).all()
    if suffix == '.glb':
        assert b'"perspective"' in (tmp_path / 'head.glb').read_bytes()


def test_another_format_is_refused():
    with pytest.raises(FRExError, match='--mesh stl: must be one of mp4, ply, glb'):
        check_formats(['glb', 'stl'], '--mesh')
