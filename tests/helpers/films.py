"""Films made by PyAV, and what can be read from films."""

import json
from fractions import Fraction

import av
import numpy as np
import torch
from fake_detector import FakeDetector, detected, landmarks_at, smooth
from fake_restorer import FakeNetwork
from restore_command import run

from frex.restore.faces.helper_networks import HelperNetworks
from frex.restore.faces.restorer import FaceRestorer

HEIGHT, WIDTH = 120, 160
FACE = (80, 60, 70)


def moving(count, height=HEIGHT, width=WIDTH, seed=0):
    """Return frames of a window that moves over a smooth image, two pixels a frame."""
    whole = smooth(height, width + 2 * count, seed)
    return [np.ascontiguousarray(whole[:, 2 * number : 2 * number + width]) for number in range(count)]


def make_film(
    path, frames, rate=25, pts=None, time_base=None, codec='libx264', pixels='yuv420p', sound=None, rotation=0, colours=None, **muxing
):
    """Write BGR frames as a film; `pts` are their times in units of `time_base`. `sound` is the codec of a tone beside them."""
    with av.open(str(path), 'w', options=muxing) as container:
        stream = container.add_stream(codec, rate=rate, options={'crf': '10', 'bf': '0'} if codec.startswith('libx26') else {})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        for name, value in (colours or {}).items():
            setattr(stream.codec_context, name, value)
        if rotation:
            stream.set_display_rotation(rotation)
        if time_base is not None:
            stream.codec_context.time_base = stream.time_base = time_base
        noise = add_sound(container, sound, Fraction(len(frames)) / rate) if sound else []
        for number, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format='bgr24')
            if pts is not None:
                frame.pts, frame.time_base = pts[number], time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        container.mux(noise)
    return path


def add_sound(container, codec, seconds):
    """Add a stream with a tone to an open container, and return its packets."""
    stream = container.add_stream(codec, rate=48000)
    context, packets = stream.codec_context, []
    kind, layout = context.format.name, context.layout
    scales = {'flt': (0.3, np.float32), 's16': (10000, np.int16), 'u8': (50, np.uint8)}
    scale, dtype = next(value for name, value in scales.items() if kind.startswith(name))
    for number in range(int(seconds * 48000) // 1024):
        tone = np.sin((1024 * number + np.arange(1024)) * 0.05) + 1
        samples = np.repeat((scale * tone).astype(dtype)[None], layout.nb_channels, axis=0)
        arranged = samples if kind.endswith('p') else np.ascontiguousarray(samples.T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(arranged, format=kind, layout=layout.name)
        frame.sample_rate, frame.pts, frame.time_base = 48000, 1024 * number, Fraction(1, 48000)
        packets += stream.encode(frame)
    return packets + stream.encode()


def read_frames(path):
    """Return the frames of a film, BGR."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format='bgr24') for frame in container.decode(video=0)]


def read_times(path):
    """Return the times of the frames of a film in seconds, as fractions."""
    with av.open(str(path)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=0)]


def read_sound(path):
    """Return the codec of the sound of a film, and the bytes and times of its packets."""
    with av.open(str(path)) as container:
        (stream,) = container.streams.audio
        packets = [packet for packet in container.demux(stream) if packet.size]
        return stream.codec_context.name, [(bytes(packet), packet.pts * packet.time_base) for packet in packets]


class FilmDetector(FakeDetector):
    """A detector that finds one face in every frame, `jitter` pixels from where it is."""

    def __init__(self, jitter=0.0, face=FACE):
        super().__init__()
        self.rng, self.jitter, self.face = np.random.default_rng(0), jitter, face

    def detect(self, image, threshold=0.8):
        landmarks = landmarks_at(*self.face) + self.jitter * self.rng.standard_normal((5, 2))
        return [detected(landmarks, 0.99)]


def restore(checkpoint, film, out, *more):
    """Restore a film by the command, and return the exit status."""
    return run('-i', film, '-o', out, '--model_path', checkpoint, '--device', 'cpu', *more)


def film_record(out):
    """Return the record of the one film in a folder of results."""
    (record,) = json.loads((out / 'report.json').read_text())['pictures']
    return record


def make_segments_small(patch):
    """Let segments have four frames, of which two are restored at a time."""
    patch.setattr('frex.restore.film.restore_film.SEGMENT_FRAMES', 4)
    patch.setattr('frex.restore.film.segments.SEGMENT_FRAMES', 4)
    patch.setattr('frex.restore.film.restore_film.MOST_FRAMES', 2)


def pattern_network():
    """Return a network that inverts faces and adds a pattern that stands still in them."""
    places = torch.arange(64) * 0.6
    return FakeNetwork(change=lambda faces: 0.5 * places.sin() * places.cos()[:, None] - 0.7 * faces)


def restorer_of(net, detector):
    """Return a restorer with a network and a detector."""
    return FaceRestorer(net, 'cpu', 'fp32', 2, HelperNetworks(detector=detector))
