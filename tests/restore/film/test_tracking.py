"""Faces keep their tracks while they move, meet and are missed for a moment, and lose them at cuts; their codes and cameras are steady."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
import torch
from fake_detector import detected, landmarks_at, smooth

from frex.restore.faces.photo import cut_out
from frex.restore.film.one_euro import FilterState
from frex.restore.film.tracking import MOST_ABSENCE, Followed, Track, Tracker, TrackerState, share_of_overlap, steady_codes
from frex.restore.image_io.photo_file import from_array
from frex_arch.camera import ffhq_intrinsics, frontal_camera, look_at, pack_camera, unpack_camera, view_angles
from frex_arch.encoder_3d import Encoding3D

SCENE, OTHER_SCENE = smooth(120, 320, 1), smooth(120, 320, 2)


def face(x, y=60, side=60, score=0.99):
    return detected(landmarks_at(x, y, side), score)


def follow(positions, image=SCENE, tracker=None, rate=25, **options):
    """Follow the faces at the x coordinates in `positions`, a list for each frame; return the tracks of each frame."""
    tracker = tracker or Tracker(TrackerState(), 0.8, **options)
    return [
        [one.track for one in tracker.follow(number, number / rate, image, [face(x) for x in places])]
        for number, places in enumerate(positions)
    ]


def firsts(frames):
    """Return the first frame of each track, as its name."""
    return [[track.first for track in tracks] for tracks in frames]


def test_a_moving_face_keeps_its_track():
    tracks = follow([[40 + 6 * number] for number in range(20)])
    assert firsts(tracks) == [[0]] * 20
    assert tracks[-1][0].frames == 20


def test_faces_that_pass_each_other_at_different_heights_keep_their_tracks():
    tracker, tracks = Tracker(TrackerState(), 0.8), []
    for number in range(20):
        faces = [face(40 + 10 * number, 40), face(230 - 10 * number, 100)]
        order = [0, 1] if number % 2 else [1, 0]
        found = tracker.follow(number, number / 25, SCENE, [faces[index] for index in order])
        tracks.append([found[index].track for index in order])
    assert all(upper is tracks[0][0] and lower is tracks[0][1] for upper, lower in tracks)


def test_a_face_far_away_is_another_one():
    assert firsts(follow([[60], [200]])) == [[0], [1]]


def test_a_face_that_is_missed_for_a_moment_continues_its_track():
    missed = round(MOST_ABSENCE * 25) - 2
    assert firsts(follow([[60], *[[]] * missed, [60]]))[-1] == [0]


def test_a_face_that_was_absent_begins_another_track():
    missed = round(MOST_ABSENCE * 25) + 1
    tracker = Tracker(TrackerState(), 0.8)
    assert firsts(follow([[60], *[[]] * missed, [60]], tracker=tracker))[-1] == [missed + 1]
    assert [(track.first, track.last, track.frames) for track in tracker.ended] == [(0, 0, 1)]


def test_a_cut_ends_all_tracks():
    tracker = Tracker(TrackerState(), 0.8)
    before = follow([[60, 200]], tracker=tracker)
    (after,) = [tracker.follow(1, 0.04, OTHER_SCENE, [face(60), face(200)])]
    assert firsts(before) == [[0, 0]]
    assert [one.track.first for one in after] == [1, 1]
    assert len(tracker.ended) == 2
    assert tracker.state.scenes == 2


def test_a_doubtful_face_continues_a_track_and_begins_none():
    tracker = Tracker(TrackerState(), 0.8)
    assert tracker.follow(0, 0.0, SCENE, [face(60, score=0.6)]) == []
    tracker.follow(1, 0.04, SCENE, [face(60)])
    assert [one.track.first for one in tracker.follow(2, 0.08, SCENE, [face(60, score=0.6)])] == [1]


def test_the_face_in_the_middle_is_kept_when_another_one_comes_nearer():
    tracks = follow([[150], [146, 190], [142, 174], [138, 160]], only='center')
    assert firsts(tracks) == [[0]] * 4


def test_only_the_largest_face_is_followed_until_it_leaves():
    tracker = Tracker(TrackerState(), 0.8, 'largest')
    sizes = [(60, 40), (50, 60), (40, 70), (0, 40), *[(0, 40)] * 20]
    found = []
    for number, (left, right) in enumerate(sizes):
        faces = [face(x, side=side) for x, side in ((80, left), (220, right)) if side]
        found.append(
            [(one.track.first, round(one.face.landmarks.mean(axis=0)[0])) for one in tracker.follow(number, number / 25, SCENE, faces)]
        )
    assert found[:4] == [[(0, 80)]] * 3 + [[]]
    # It has been absent for more than MOST_ABSENCE.
    assert found[-1] == [(15, 220)]


def test_landmarks_are_steadier_than_those_of_the_detector():
    rng = np.random.default_rng(0)
    tracker, raw, steady = Tracker(TrackerState(), 0.8), [], []
    for number in range(60):
        jittered = face(100)._replace(landmarks=landmarks_at(100, 60, 60) + rng.standard_normal((5, 2)))
        (one,) = tracker.follow(number, number / 25, SCENE, [jittered])
        raw.append(jittered.landmarks)
        steady.append(one.face.landmarks)
    assert np.diff(steady[10:], axis=0).std() < 0.35 * np.diff(raw[10:], axis=0).std()
    # They stay where the face is.
    assert np.abs(np.mean(steady[10:], axis=0) - landmarks_at(100, 60, 60)).max() < 0.5


def test_a_tracker_goes_on_where_another_one_was():
    positions = [[40 + 6 * number] for number in range(20)]
    whole = Tracker(TrackerState(), 0.8)
    follow(positions, tracker=whole)
    first = Tracker(TrackerState(), 0.8)
    follow(positions[:10], tracker=first)
    second = Tracker(msgspec.json.decode(msgspec.json.encode(first.state), type=TrackerState), 0.8)
    for number, places in enumerate(positions[10:], 10):
        second.follow(number, number / 25, SCENE, [face(x) for x in places])
    assert second.state == whole.state


# --- Codes and cameras


def new_track():
    return Track(0, [0, 0, 1, 1], 0.0, FilterState(0.0, [0.0] * 10, [0.0] * 10))


def followed(track, count):
    return [Followed(track, face(100), number / 25) for number in range(count)]


def codes(count, angles, z_3d):
    camera = pack_camera(look_at(angles, torch.zeros(count)), ffhq_intrinsics()[None])
    return Encoding3D(z_3d, torch.randn(count, 4, 8), camera)


def test_the_identity_is_the_running_mean_of_its_codes():
    z_3d = torch.randn(6, 8)
    track = new_track()
    given = codes(6, torch.zeros(6), z_3d)
    # In two parts, as the frames of a film come.
    first = steady_codes(followed(track, 6)[:4], Encoding3D(z_3d[:4], given.offsets[:4], given.camera[:4]))
    second = steady_codes(followed(track, 6)[4:], Encoding3D(z_3d[4:], given.offsets[4:], given.camera[4:]))
    means = torch.cumsum(z_3d, 0) / torch.arange(1, 7)[:, None]
    torch.testing.assert_close(torch.cat([first.z_3d, second.z_3d]), means)
    assert torch.equal(first.offsets, given.offsets[:4])


def test_two_faces_have_two_identities():
    z_3d = torch.randn(4, 8)
    one, other = (new_track() for _ in range(2))
    faces = [Followed(track, face(100), time) for time in (0.0, 0.04) for track in (one, other)]
    found = steady_codes(faces, codes(4, torch.zeros(4), z_3d))
    torch.testing.assert_close(found.z_3d[2:], (z_3d[:2] + z_3d[2:]) / 2)


def test_cameras_are_steady_and_valid():
    angles = 0.3 + 0.1 * torch.randn(40, generator=torch.Generator().manual_seed(0))
    given = codes(40, angles, torch.randn(40, 8))
    found = steady_codes(followed(new_track(), 40), given).camera
    poses, intrinsics = unpack_camera(found)
    rotations = poses[:, :3, :3]
    torch.testing.assert_close(rotations.mT @ rotations, torch.eye(3).expand(40, 3, 3), atol=1e-5, rtol=0)
    assert (torch.linalg.det(rotations) > 0.99).all()
    torch.testing.assert_close(poses[:, :3, 3].norm(dim=1), unpack_camera(given.camera)[0][:, :3, 3].norm(dim=1))
    assert torch.equal(intrinsics, unpack_camera(given.camera)[1])
    assert view_angles(found)[0][10:].diff().std() < 0.4 * view_angles(given.camera)[0][10:].diff().std()


def test_a_code_that_is_not_finite_does_not_spoil_the_track():
    track = new_track()
    z_3d = torch.ones(3, 8)
    z_3d[1] = float('nan')
    camera = frontal_camera(3)
    camera[1] = float('nan')
    found = steady_codes(followed(track, 3), Encoding3D(z_3d, torch.zeros(3, 4, 8), camera))
    assert found.z_3d[1].isnan().all()
    torch.testing.assert_close(found.z_3d[2], torch.ones(8))
    torch.testing.assert_close(found.camera[2], camera[2])


def test_without_a_3d_prior_only_the_camera_is_steadied():
    found = steady_codes(followed(new_track(), 2), Encoding3D(None, None, frontal_camera(2)))
    assert found.z_3d is None
    torch.testing.assert_close(found.camera, frontal_camera(2))


def test_whether_a_face_stays_as_it_is_does_not_change_back_and_forth():
    plain = cut_out(from_array(SCENE), face(100), 64)
    track, kept = new_track(), []
    for number in range(60):
        track.frames += 1
        # Every third frame of the second half is doubtful.
        sharp = number < 30 or number % 3 == 0
        kept.append(track.steady_keep(replace(plain, keep='sharp' if sharp else None)).keep is not None)
    changes = np.flatnonzero(np.diff(np.array(kept, int)))
    assert kept[0]
    assert len(changes) <= 1


@pytest.mark.parametrize(
    ('second', 'share'), [((0, 0, 2, 2), 1.0), ((1, 0, 3, 2), 1 / 3), ((2, 0, 4, 2), 0.0), ((0, 0, 1, 1), 0.25)], ids=str
)
def test_the_share_of_overlap_is_intersection_over_union(second, share):
    assert share_of_overlap(np.array([0.0, 0, 2, 2]), np.array(second, float)) == pytest.approx(share)
