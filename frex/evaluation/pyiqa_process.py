"""Score images with pyiqa, as a program of its own.

FREx never imports pyiqa, whose licence forbids commercial use and which needs many packages. The Python that has pyiqa runs this file,
which imports nothing of FREx. Standard input brings a line of JSON with the names of the `metrics`, the `device` and `offline`. Then, for
each restored image, come a line with `height` and `width`, and the pixels of that image and of its clean one, RGB and uint8. Each line is
answered by a line of JSON on standard output. What pyiqa prints goes to standard error.
"""

import importlib
import json
import os
import socket
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

Answer = Callable[[dict[str, Any]], None]


def main() -> int:
    """Answer the requests on standard input; return 1 after one that failed, whose answer has the `error`."""
    # The modules in the folder of this file would be taken for packages of the same names.
    folder = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if os.path.abspath(path) != folder]
    with os.fdopen(os.dup(1), 'wb', buffering=0) as output:
        os.dup2(2, 1)

        def answer(content: dict[str, Any]) -> None:
            output.write(json.dumps(content).encode() + b'\n')

        try:
            serve(sys.stdin.buffer, answer)
        # SystemExit and the like are failures too: the other side waits for an answer.
        except BaseException as error:
            answer({'error': f'{type(error).__name__}: {error}'})
            return 1
    return 0


def serve(requests: BinaryIO, answer: Answer) -> None:
    """Load the metrics and answer what they are; then answer each pair of images with its scores, until the requests end."""
    order = json.loads(requests.readline())
    if order['offline']:
        forbid_connections()
    try:
        pyiqa = importlib.import_module('pyiqa')
    except ImportError as error:
        answer({'missing': str(error)})
        return
    known = [str(name) for name in pyiqa.list_models()]
    unknown = [name for name in order['metrics'] if name not in known]
    if unknown:
        answer({'unknown': unknown[0], 'known': known})
        return
    metrics = {name: pyiqa.create_metric(name, device=order['device']) for name in order['metrics']}
    answer({'version': find_version(pyiqa), 'metrics': {name: describe(metric) for name, metric in metrics.items()}})
    while line := requests.readline():
        size = json.loads(line)
        restored, gt = (read_image(requests, size['height'], size['width'], order['device']) for _ in range(2))
        answer({'scores': {name: score(metric, restored, gt) for name, metric in metrics.items()}})


def forbid_connections() -> None:
    """Let every attempt to reach another machine fail, which pyiqa would do to get the weights of its metrics."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError('--offline forbids downloads')

    # Names are looked up first, and that fails with a message of its own.
    socket.getaddrinfo = refuse  # type: ignore[assignment]
    socket.socket.connect = refuse  # type: ignore[method-assign]


def find_version(pyiqa: Any) -> str:
    """Return the version of pyiqa."""
    return str(getattr(pyiqa, '__version__', 'of unknown version'))


def describe(metric: Any) -> dict[str, bool]:
    """Return whether lower scores of a metric are better, and whether it compares with clean images."""
    return {'lower_better': bool(metric.lower_better), 'needs_gt': needs_gt(metric)}


def needs_gt(metric: Any) -> bool:
    """Return whether a metric compares with clean images: pyiqa calls such a metric full-reference, `FR`."""
    return bool(metric.metric_mode == 'FR')


def read_image(requests: BinaryIO, height: int, width: int, device: str) -> Any:
    """Read the pixels of an image; return a tensor (1, 3, height, width), RGB in [0, 1], as pyiqa takes it."""
    import torch

    pixels = torch.frombuffer(bytearray(requests.read(height * width * 3)), dtype=torch.uint8)
    return pixels.view(height, width, 3).permute(2, 0, 1)[None].float().to(device) / 255


def score(metric: Any, restored: Any, gt: Any) -> float:
    """Return the score of a restored image. Metrics that draw random crops draw the same for each image."""
    import torch

    torch.manual_seed(0)
    with torch.no_grad():
        value = metric(restored, gt) if needs_gt(metric) else metric(restored)
    return float(torch.as_tensor(value).mean())


if __name__ == '__main__':
    sys.exit(main())
