"""What `FaceRestorer` does where memory runs out, and how little it takes for a photograph of many faces."""

import pytest
import torch
from fake_detector import FakeDetector, detected, landmarks_at, smooth
from fake_restorer import FakeNetwork

from frex.restore import FaceRestorer
from frex.restore.faces.batches import retry_out_of_memory
from frex.restore.faces.helper_networks import HelperNetworks

FACES = (detected(landmarks_at(90, 100, 100), 0.99), detected(landmarks_at(230, 110, 120, 20), 0.95))

pytestmark = pytest.mark.usefixtures('weights_folder')


def short_of_memory(times, error):
    """Return a function that raises `error` for the first `times` calls, and then returns."""
    left = [error] * times

    def call():
        if left:
            raise left.pop()
        return 'done'

    return call


@pytest.mark.parametrize(
    'error',
    [
        torch.cuda.OutOfMemoryError('CUDA out of memory'),
        RuntimeError('CUDA error: CUBLAS_STATUS_ALLOC_FAILED'),
        RuntimeError('MPS backend out of memory'),
    ],
)
def test_what_ran_out_of_memory_is_tried_once_more(error):
    assert retry_out_of_memory(short_of_memory(1, error)) == 'done'
    with pytest.raises(RuntimeError):
        retry_out_of_memory(short_of_memory(2, error))


def test_other_errors_are_not_tried_again():
    with pytest.raises(RuntimeError, match='shapes'):
        retry_out_of_memory(short_of_memory(1, RuntimeError('shapes differ')))


def test_a_detector_that_runs_out_of_memory_once_is_asked_again():
    known = FakeDetector(*FACES)
    refuse = [torch.cuda.OutOfMemoryError('CUDA out of memory')]

    class Short:
        def detect(self, image, threshold=0.8):
            if refuse:
                raise refuse.pop()
            return known.detect(image, threshold)

    restorer = FaceRestorer(FakeNetwork(), 'cpu', 'fp32', 8, HelperNetworks(detector=Short()))
    assert len(restorer.restore(smooth(200, 320)).faces) == 2


MEASURE = """
import resource
import numpy as np
from fake_detector import detected, landmarks_at
from fake_restorer import fake_restorer
image = np.full((2887, 4330, 3), 90, np.uint8)
faces = [detected(landmarks_at(400 + 390 * (i % 10), 350 + 500 * (i // 10), 450, i), 0.99) for i in range(50)]
restorer = fake_restorer(*faces, size=512, change=lambda lq: -lq)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
result = restorer.restore(image)
assert (result.image[350, 400] == 165).all() and len(result.faces) == 50
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.slow
def test_fifty_faces_on_twelve_megapixels_need_little_memory(interpreter):
    # Peak memory in mebibytes. The image has 36, its copy as many; the network's inputs have 150, and freed memory is not reused at once.
    assert float(interpreter.check_output(MEASURE)) < 700
