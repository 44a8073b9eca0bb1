"""Films are restored by the command, from end to end: times, sound, turned films, stops, bad inputs, folders of frames."""

import json
import os
import signal
import time
import weakref
from contextlib import contextmanager
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from fake_detector import smooth
from films import (
    FACE,
    FilmDetector,
    film_record,
    make_film,
    make_segments_small,
    moving,
    pattern_network,
    read_frames,
    read_sound,
    read_times,
    restore,
    restorer_of,
)
from processes import Command
from restore_command import files, names, run

from frex.cli.restore import CODECS, main
from frex.images import write_image
from frex.restore.faces.restorer import FaceRestorer
from frex.restore.film import reader, writer
from frex.restore.film.formats import ALIASES, ENCODERS
from frex.restore.film.frame_folder import FrameFolder, FrameFolderOutput
from frex.restore.film.restore_film import FilmOptions, FilmRestorer
from frex.restore.film.segments import WorkFolder
from frex.weights.network_file import build_frex, read_network

pytestmark = pytest.mark.usefixtures('film_restorer', 'small_segments')


def test_a_film_is_restored_with_its_times_and_its_sound(checkpoint, use, detector, tmp_path, capsys):
    use(build_frex(read_network(checkpoint), 'the tiny network'), detector)
    frames = moving(10)
    film = make_film(tmp_path / 'film.mp4', frames, sound='aac')
    assert restore(checkpoint, film, tmp_path / 'out') == 0
    result = tmp_path / 'out/restored_videos/film.mp4'
    assert files(tmp_path / 'out') == ['report.json', 'restored_videos/film.mp4']
    assert read_times(result) == read_times(film)
    assert read_sound(result) == read_sound(film)
    x, y, side = FACE
    for before, after in zip(frames, read_frames(result), strict=True):
        difference = np.abs(after.astype(int) - before).mean(axis=2)
        assert difference[y - side // 5 : y + side // 5, x - side // 5 : x + side // 5].mean() > 15
        assert difference[:, -20:].mean() < 6
    assert 'film: ' in capsys.readouterr().out
    record = film_record(tmp_path / 'out')
    assert (record['status'], record['output'], record['faces']) == ('restored', 'restored_videos/film.mp4', [])
    assert set(record['seconds']) == {'read', 'detect', 'restore', 'write'}
    described = record['film']
    (track,) = described.pop('tracks')
    assert described == {
        'frames': 10, 'cuts': 0, 'duration': 0.4, 'rate': 25.0, 'codec': 'libx264', 'sound': ['aac'], 'continued': 0,
    }  # fmt: skip
    assert (track['first'], track['last'], track['frames'], track['restored'], track['reason']) == (0, 9, 10, 10, None)
    assert track['size'] == pytest.approx(side, rel=0.01)
    assert -90 < track['yaw'][0] <= track['yaw'][1] < 90


def test_a_variable_rate_and_a_late_start_are_kept(checkpoint, tmp_path):
    pts = [0, 40, 55, 200, 1000, 1001, 1030]
    film = make_film(tmp_path / 'film.mkv', moving(7), pts=pts, time_base=Fraction(1, 1000))
    assert restore(checkpoint, film, tmp_path / 'out') == 0
    assert [round(1000 * seconds) for seconds in read_times(tmp_path / 'out/restored_videos/film.mp4')] == pts


@pytest.mark.parametrize('codec', ['hevc', 'vp9', 'av1'])
def test_codecs(checkpoint, tmp_path, codec):
    film = make_film(tmp_path / 'film.mp4', moving(6))
    assert restore(checkpoint, film, tmp_path / 'out', '--video_codec', codec, '--crf', '40') == 0
    with av.open(str(tmp_path / 'out/restored_videos/film.mp4')) as container:
        assert container.streams.video[0].codec_context.codec.canonical_name == codec
    assert read_times(tmp_path / 'out/restored_videos/film.mp4') == read_times(film)


def test_crf_is_the_quality(checkpoint, tmp_path):
    film = make_film(tmp_path / 'film.mp4', [smooth(120, 160, seed, cell=8) for seed in range(6)])
    sizes = []
    for crf in ('10', '40'):
        assert restore(checkpoint, film, tmp_path / crf, '--crf', crf) == 0
        sizes.append((tmp_path / crf / 'restored_videos/film.mp4').stat().st_size)
    assert sizes[0] > 3 * sizes[1]


def test_a_turned_film_comes_back_upright(checkpoint, tmp_path, capsys):
    upright = moving(5)
    film = make_film(tmp_path / 'film.mov', [np.ascontiguousarray(np.rot90(frame, -1)) for frame in upright], rotation=90)
    assert restore(checkpoint, film, tmp_path / 'out') == 0
    with av.open(str(tmp_path / 'out/restored_videos/film.mp4')) as container:
        found = list(container.decode(video=0))
    assert [(frame.rotation, frame.width, frame.height) for frame in found] == [(0, 160, 120)] * 5
    assert np.abs(found[0].to_ndarray(format='bgr24')[:, -20:].astype(int) - upright[0][:, -20:]).mean() < 8
    assert 'turned upright by 90 degrees' in capsys.readouterr().err


def test_the_size_the_depth_and_the_tags_of_the_colours(checkpoint, tmp_path):
    hdr = {'color_range': 1, 'color_primaries': 9, 'color_trc': 18, 'colorspace': 9}
    film = make_film(tmp_path / 'film.mkv', moving(3), codec='libx265', pixels='yuv420p10le', colours=hdr)
    assert restore(checkpoint, film, tmp_path / 'out', '-s', '2', '--video_codec', 'hevc') == 0
    with av.open(str(tmp_path / 'out/restored_videos/film.mp4')) as container:
        frame = next(container.decode(video=0))
    assert (frame.width, frame.height, frame.format.name) == (320, 240, 'yuv420p10le')
    assert {name: int(getattr(frame, name)) for name in hdr} == hdr
    with av.open(str(film)) as container:
        original = next(container.decode(video=0)).to_ndarray(format='bgr48le')
    shrunk = cv2.resize(frame.to_ndarray(format='bgr48le'), (160, 120), interpolation=cv2.INTER_AREA)
    assert np.abs(shrunk[:, -20:] // 257 - (original[:, -20:] // 257).astype(int)).mean() < 3


def test_odd_sizes_are_widened_and_told(checkpoint, tmp_path):
    film = make_film(tmp_path / 'film.mkv', moving(3, 121, 161), pixels='yuv444p')
    assert restore(checkpoint, film, tmp_path / 'out') == 0
    assert read_frames(tmp_path / 'out/restored_videos/film.mp4')[0].shape == (122, 162, 3)
    assert any(note.startswith('161 x 121 became 162 x 122') for note in film_record(tmp_path / 'out')['notes'])


def test_a_size_that_changes_is_told(checkpoint, tmp_path, capsys):
    film = tmp_path / 'film.m4v'
    film.write_bytes(b''.join(make_film(tmp_path / f'{width}.h264', moving(5, 120, width)).read_bytes() for width in (160, 200)))
    assert restore(checkpoint, film, tmp_path / 'out', '-s', '2') == 0
    note = 'the size of the frames changes: 400 x 240 is stretched to 320 x 240'
    assert note in film_record(tmp_path / 'out')['notes']
    assert f'note: {film}: {note}\n' in capsys.readouterr().out
    assert {frame.shape for frame in read_frames(tmp_path / 'out/restored_videos/film.mp4')} == {(240, 320, 3)}


def test_a_folder_in_the_place_of_the_result_is_told_before_the_film_is_restored(checkpoint, tmp_path, capsys):
    film = make_film(tmp_path / 'film.mp4', moving(3))
    (tmp_path / 'out/restored_videos/film.mp4').mkdir(parents=True)
    with watched_frames() as encoded:
        assert restore(checkpoint, film, tmp_path / 'out', '--exist', 'overwrite') == 1
    assert 'restored_videos/film.mp4: a folder is in the way: move it, or give another --output' in capsys.readouterr().out
    assert encoded == []


def test_sound_that_mp4_cannot_hold_is_told_and_kept_in_mkv(checkpoint, tmp_path, capsys):
    film = make_film(tmp_path / 'film.mkv', moving(5), sound='pcm_u8')
    assert restore(checkpoint, film, tmp_path / 'out') == 0
    assert 'sound (pcm_u8) is left out: .mp4 cannot hold it; --ext mkv keeps it' in capsys.readouterr().err
    with av.open(str(tmp_path / 'out/restored_videos/film.mp4')) as container:
        assert not container.streams.audio
    assert restore(checkpoint, film, tmp_path / 'out', '--ext', 'mkv') == 0
    assert read_sound(tmp_path / 'out/restored_videos/film.mkv') == read_sound(film)


def test_one_frame_is_a_film(checkpoint, tmp_path):
    assert restore(checkpoint, make_film(tmp_path / 'film.mp4', moving(1)), tmp_path / 'out') == 0
    assert len(read_frames(tmp_path / 'out/restored_videos/film.mp4')) == 1


def test_a_film_without_a_face(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(FilmDetector, 'detect', lambda self, image, threshold=0.8: [])
    film = make_film(tmp_path / 'film.mp4', moving(5))
    assert restore(checkpoint, film, tmp_path / 'out', '--no_face', 'skip') == 0
    assert files(tmp_path / 'out') == ['report.json']
    assert film_record(tmp_path / 'out')['status'] == 'no face'
    assert restore(checkpoint, film, tmp_path / 'out') == 0
    assert files(tmp_path / 'out') == ['report.json', 'restored_videos/film.mp4']


def test_films_and_images_go_together(checkpoint, tmp_path):
    film = make_film(tmp_path / 'film.mp4', moving(3))
    write_image(tmp_path / 'photo.png', smooth(120, 160))
    assert run('-i', film, tmp_path / 'photo.png', '-o', tmp_path / 'out', '--model_path', checkpoint, '--device', 'cpu') == 0
    assert {'restored_videos/film.mp4', 'restored_imgs/photo.png'} < set(files(tmp_path / 'out'))


def test_a_result_that_exists_is_skipped(checkpoint, tmp_path, capsys):
    film = make_film(tmp_path / 'film.mp4', moving(3))
    assert restore(checkpoint, film, tmp_path / 'out') == 0
    assert restore(checkpoint, film, tmp_path / 'out', '--crf', '30') == 0
    assert 'were made with other settings (crf None)' in capsys.readouterr().out
    assert restore(checkpoint, film, tmp_path / 'out', '--exist', 'rename') == 0
    assert names(tmp_path / 'out/restored_videos') == ['film(1).mp4', 'film.mp4']


# --- Flags


@pytest.mark.parametrize('flag', ['--aligned', '--save_3d', '--save_head mp4', '--save_weights_map'])
def test_flags_without_a_meaning_for_films_are_refused(checkpoint, tmp_path, capsys, flag):
    film = make_film(tmp_path / 'film.mp4', moving(2))
    assert restore(checkpoint, film, tmp_path / 'out', *flag.split()) == 1
    assert f'{flag.split()[0]} does not go with films' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_a_crf_that_the_codec_does_not_have_is_refused(checkpoint, tmp_path, capsys):
    assert restore(checkpoint, make_film(tmp_path / 'film.mp4', moving(2)), tmp_path / 'out', '--crf', '60') == 1
    assert '--crf 60: must be 0 to 51 for h264' in capsys.readouterr().err


def test_without_pyav_the_extra_is_named(checkpoint, tmp_path, capsys, monkeypatch):
    film = make_film(tmp_path / 'film.mp4', moving(2))
    monkeypatch.setitem(__import__('sys').modules, 'av', None)
    assert restore(checkpoint, film, tmp_path / 'out') == 1
    assert "needs the package av, which is not installed: pip install 'frex[video]'" in capsys.readouterr().err


def test_a_bad_film_fails_alone_and_leaves_nothing(checkpoint, tmp_path, capsys):
    film = make_film(tmp_path / 'film.mp4', moving(3))
    (tmp_path / 'bad.mp4').write_bytes(b'no film' * 100)
    assert run('-i', tmp_path / 'bad.mp4', film, '-o', tmp_path / 'out', '--model_path', checkpoint, '--device', 'cpu') == 1
    assert f'failed: {tmp_path / "bad.mp4"}: cannot be read as a film' in capsys.readouterr().out
    assert files(tmp_path / 'out') == ['report.json', 'restored_videos/film.mp4']


# --- Runs that are killed


def slowly(arguments):
    """Run the command so that each frame takes a while."""

    def write(self, photo, pts):
        time.sleep(0.05)
        return original(self, photo, pts)

    original, writer.FrameEncoder.write = writer.FrameEncoder.write, write
    restorer = restorer_of(pattern_network(), FilmDetector())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('frex.restore.folder.restore_folder.load_restorer', lambda options, model: restorer)
        make_segments_small(patch)
        return main(arguments)


@pytest.mark.slow
def test_a_killed_run_goes_on_at_the_last_finished_segment(checkpoint, tmp_path):
    film, out = make_film(tmp_path / 'film.mp4', moving(18), sound='aac'), tmp_path / 'out'
    arguments = ['-i', film, '-o', out, '--model_path', checkpoint, '--device', 'cpu']
    process = Command(slowly, *arguments, folder=tmp_path)
    work = out / 'restored_videos/.film.mp4.segments'
    deadline = time.monotonic() + 150
    while process.running and not (work / '000001.json').exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, process.stderr
    assert not (out / 'restored_videos/film.mp4').exists()
    check_that_it_goes_on(checkpoint, film, out, tmp_path / 'whole')


def test_a_stopped_run_goes_on(checkpoint, tmp_path, capsys):
    film, out = make_film(tmp_path / 'film.mp4', moving(18), sound='aac'), tmp_path / 'out'
    with watched_frames(lambda count: count == 11 and os.kill(os.getpid(), signal.SIGINT)):
        assert restore(checkpoint, film, out) == 130
    assert 'stopped before the end' in capsys.readouterr().err
    assert not (out / 'restored_videos/film.mp4').exists()
    check_that_it_goes_on(checkpoint, film, out, tmp_path / 'whole')


@contextmanager
def watched_frames(watch=lambda count: None):
    """Yield the times of the frames that are encoded in the block, and call `watch` with their number before each of them."""

    def write(self, photo, pts):
        encoded.append(pts)
        watch(len(encoded))
        return original(self, photo, pts)

    original, encoded = writer.FrameEncoder.write, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer.FrameEncoder, 'write', write)
        yield encoded


def check_that_it_goes_on(checkpoint, film, out, other):
    """Restore the rest of a film; its frames are restored once, and the result is that of a run without a stop."""
    work = out / 'restored_videos/.film.mp4.segments'
    finished = len(list(work.glob('*.json'))) - 1
    assert 2 <= finished < 5
    with watched_frames() as encoded:
        assert restore(checkpoint, film, out) == 0
    assert film_record(out)['film']['continued'] == 4 * finished
    assert len(encoded) == 18 - 4 * finished
    assert files(out) == ['report.json', 'restored_videos/film.mp4']
    assert restore(checkpoint, film, other) == 0
    assert (out / 'restored_videos/film.mp4').read_bytes() == (other / 'restored_videos/film.mp4').read_bytes()
    assert film_record(out)['film']['tracks'] == film_record(other)['film']['tracks']


def leave_segments(checkpoint, film, out, *more):
    """Restore a film up to the end, and fail before its segments are joined."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, 'join_segments', lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        assert restore(checkpoint, film, out, *more) == 130


@pytest.mark.parametrize('change', ['input', 'option', 'network'])
def test_segments_of_something_else_are_not_used(checkpoint, half_checkpoint, tmp_path, change):
    film, out = make_film(tmp_path / 'film.mp4', moving(9)), tmp_path / 'out'
    leave_segments(checkpoint, film, out)
    assert len(list((out / 'restored_videos/.film.mp4.segments').glob('*.nut'))) == 3
    if change == 'input':
        make_film(film, moving(9, seed=5))
    more = ['-w', '0.5'] if change == 'option' else []
    assert restore(half_checkpoint if change == 'network' else checkpoint, film, out, *more) == 0
    assert film_record(out)['film']['continued'] == 0


def test_segments_of_the_same_are_used_after_the_film_was_moved(checkpoint, tmp_path):
    film, out = make_film(tmp_path / 'film.mp4', moving(9)), tmp_path / 'out'
    leave_segments(checkpoint, film, out)
    (tmp_path / 'other').mkdir()
    film = film.rename(tmp_path / 'other/film.mp4')
    assert restore(checkpoint, film, out, '--exist', 'overwrite') == 0
    assert film_record(out)['film']['continued'] == 9


def test_a_full_disk_stops_the_run(checkpoint, tmp_path, monkeypatch, capsys):
    def refuse(*arguments):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(writer.FrameEncoder, 'write', refuse)
    films = [make_film(tmp_path / f'{name}.mp4', moving(3)) for name in 'ab']
    assert run('-i', *films, '-o', tmp_path / 'out', '--model_path', checkpoint, '--device', 'cpu') == 1
    assert 'nothing more can be written (ENOSPC)' in capsys.readouterr().err
    assert len(json.loads((tmp_path / 'out/report.json').read_text())['pictures']) == 1


# --- Memory and tracking


def test_few_frames_are_in_memory_at_a_time(checkpoint, tmp_path, monkeypatch):
    alive, most = weakref.WeakSet(), [0]

    def count(self, frame):
        photo = original(self, frame)
        alive.add(photo)
        most[0] = max(most[0], len(alive))
        return photo

    original = reader.FilmReader._to_photo
    monkeypatch.setattr(reader.FilmReader, '_to_photo', count)
    assert restore(checkpoint, make_film(tmp_path / 'film.mp4', moving(40)), tmp_path / 'out') == 0
    # Two that are restored, and one that says whether another segment follows.
    assert most[0] <= 4


def flicker(frames):
    """Return the mean difference of consecutive frames within the face."""
    x, y, side = FACE
    part = np.array(frames, float)[2:, y - side // 4 : y + side // 4, x - side // 4 : x + side // 4]
    return np.abs(np.diff(part, axis=0)).mean()


def test_followed_faces_flicker_less(checkpoint, tmp_path, detector):
    """The film stands still, and the detector trembles."""
    film = make_film(tmp_path / 'film.mp4', [smooth(120, 160, cell=12)] * 24)
    found = []
    for more in ((), ('--no_tracking',)):
        detector.rng, detector.jitter = np.random.default_rng(0), 1.0
        out = tmp_path / f'out{len(more)}'
        assert restore(checkpoint, film, out, '--crf', '8', *more) == 0
        found.append(flicker(read_frames(out / 'restored_videos/film.mp4')))
        assert len(film_record(out)['film']['tracks']) == (0 if more else 1)
    assert found[0] < 0.5 * found[1]


def test_a_cut_begins_new_tracks(checkpoint, tmp_path):
    film = make_film(tmp_path / 'film.mp4', [*moving(6, seed=1), *moving(5, seed=2)])
    assert restore(checkpoint, film, tmp_path / 'out') == 0
    described = film_record(tmp_path / 'out')['film']
    assert described['cuts'] == 1
    assert [(track['first'], track['last']) for track in described['tracks']] == [(0, 5), (6, 10)]


# --- Folders of frames


@pytest.fixture
def frames(tmp_path):
    folder = tmp_path / 'frames'
    for number, image in enumerate(moving(12)):
        write_image(folder / f'frame{number}.png', image)
    return folder


def test_a_folder_of_frames_is_restored_in_natural_order(checkpoint, frames, tmp_path, monkeypatch):
    order = []
    original = FaceRestorer.detect_faces
    monkeypatch.setattr(
        FaceRestorer, 'detect_faces', lambda self, photo, *more: order.append(photo.image.copy()) or original(self, photo, *more)
    )
    assert restore(checkpoint, frames, tmp_path / 'out', '--frames') == 0
    assert all(np.array_equal(found, image) for found, image in zip(order, moving(12), strict=True))
    assert names(tmp_path / 'out/restored_videos/frames') == names(frames)
    assert files(tmp_path / 'out')[1:] == sorted(f'restored_videos/frames/{name}' for name in names(frames))
    described = film_record(tmp_path / 'out')['film']
    assert [(track['first'], track['last']) for track in described['tracks']] == [(0, 11)]
    assert described['codec'] is None


def test_a_folder_of_frames_goes_on(checkpoint, frames, tmp_path):
    out = tmp_path / 'out'
    finish = WorkFolder.finish

    def finish_first(self, number, segment):
        if number:
            raise KeyboardInterrupt
        finish(self, number, segment)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WorkFolder, 'finish', finish_first)
        assert restore(checkpoint, frames, out, '--frames') == 130
    assert not (out / 'restored_videos/frames').exists()
    assert restore(checkpoint, frames, out, '--frames') == 0
    assert film_record(out)['film']['continued'] == 4
    assert restore(checkpoint, frames, tmp_path / 'whole', '--frames') == 0
    for name in names(frames):
        assert (out / 'restored_videos/frames' / name).read_bytes() == (tmp_path / 'whole/restored_videos/frames' / name).read_bytes()


def test_frames_of_one_name_in_another_format_are_refused(checkpoint, frames, tmp_path, capsys):
    write_image(frames / 'frame3.jpg', smooth(120, 160))
    assert restore(checkpoint, frames, tmp_path / 'out', '--frames', '--ext', 'png') == 1
    assert 'two frames would be written as frame3.png' in capsys.readouterr().out


@pytest.mark.parametrize('kind', ['file', 'nothing'])
def test_frames_are_folders(checkpoint, frames, tmp_path, capsys, kind):
    given = frames / 'frame0.png' if kind == 'file' else tmp_path / 'nothing'
    assert restore(checkpoint, given, tmp_path / 'out', '--frames') == 1
    assert 'each input must be a folder of the frames of one film' in capsys.readouterr().err


def test_the_python_interface_restores_films_too(film_restorer, tmp_path):
    """What the command does, without a report."""
    for number, image in enumerate(moving(3)):
        write_image(tmp_path / f'in/{number}.png', image)
    source, work = FrameFolder(tmp_path / 'in'), WorkFolder(tmp_path / 'out', {})
    output = FrameFolderOutput(tmp_path / 'out', source.result_names('auto'), work)
    segments = FilmRestorer(film_restorer, FilmOptions()).restore(source, output, work)
    output.join(len(segments))
    assert names(tmp_path / 'out') == ['0.png', '1.png', '2.png']
    assert [segment.faces for segment in segments] == [3]


def test_the_flags_say_what_the_code_does():
    assert (*ENCODERS, *ALIASES) == CODECS
