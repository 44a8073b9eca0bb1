"""The work behind the page: `frex restore` on the uploads of a session, and the heads of one of its images. No browser is needed."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from frex.errors import FRExError, one_line
from frex.heads.codes import trained_prior
from frex.restore.faces.restorer import FaceRestorer
from frex.restore.folder.options import RestoreOptions
from frex.restore.folder.restore_folder import load_restorer, restore_folder
from frex.web.options import WebOptions
from frex.web.run import WebRun, pack_results, read_records, write_meshes
from frex.web.session import Session
from frex.web.uploads import check_pixels
from frex.weights import small_model

SMALL = 'small FREx'


class WebRestorer:
    """Restores the uploads of sessions, one run at a time, by the networks that the options of `frex web` name.

    `models` are the names that the page offers; the first one is the default. A network is loaded when it is first used, and kept.
    """

    def __init__(self, options: WebOptions) -> None:
        own = [SMALL] if small_model.PATH.is_file() or not options.model_path else []
        self.options, self.models = options, (*own, *dict.fromkeys(options.model_path))
        self._restorers: dict[str, FaceRestorer] = {}
        self._one_at_a_time = threading.Lock()

    def load(self, model: str) -> FaceRestorer:
        """Return the restorer with the network of this name, which is loaded at the first call.

        Raises FRExError where the name is not one of `models`, and as `load_restorer` does.
        """
        if model not in self.models:
            raise FRExError(f'{one_line(model)}: not a model of this page')
        if model not in self._restorers:
            # With `aligned`, the detector is not loaded yet: aligned faces need none.
            self._restorers[model] = load_restorer(self._restore_options(input=(), aligned=True), find_page_model(model))
        return self._restorers[model]

    def _restore_options(self, **choices: Any) -> RestoreOptions:
        own = self.options
        fixed = ('param_key', 'weights', 'device', 'precision', 'batch_size', 'detection_model', 'detection_size')
        return RestoreOptions(**{name: getattr(own, name) for name in fixed}, **choices)

    def restore(self, session: Session, model: str, **choices: Any) -> WebRun:
        """Restore all uploads of a session; `choices` are fields of RestoreOptions. The results replace those of earlier runs.

        Raises FRExError for bad choices, where nothing was uploaded, where a result would be too large, and as `restore_folder` does. An
        image that fails stops nothing; its record says why.
        """
        with session.lock, self._one_at_a_time:
            uploads = tuple(session.uploads)
            check_uploads(session, choices.get('upscale', 1.0))
            folder, restorer = session.new_run(), self.load(model)
            paths = tuple(str(upload.path) for upload in uploads)
            options = self._restore_options(input=paths, output=folder / 'results', model_path=find_page_model(model), **choices)
            run = WebRun(folder, options, restorer, uploads)
            if not options.aligned:
                # A file that is missing is one error, and not one for each image.
                restorer.parts.detector()
            restore_folder(options, restorer)
            run.records = read_records(run)
            pack_results(run)
            session.replace_run(run)
            return run

    def recover_heads(self, session: Session, number: int) -> list[str]:
        """Restore image `number` of a session's run once more, with depth, views, codes and meshes of its heads.

        Returns a line for each head without a mesh, which says why. Raises FRExError where nothing is restored yet, where the 3D prior of
        the network is missing or random, and where the package trimesh is missing.
        """
        with session.lock, self._one_at_a_time:
            run = session.run
            if run is None:
                raise FRExError('nothing is restored yet, so there is no head to recover')
            eg3d = trained_prior(run.restorer.net)
            image = str(run.uploads[number].path)
            restore_folder(replace(run.options, input=(image,), save_3d=True, exist='overwrite'), run.restorer)
            run.records = read_records(run)
            problems = list(write_meshes(run, run.records[number], eg3d))
            pack_results(run)
            return problems


def find_page_model(name: str) -> Path:
    """Return the path of the checkpoint of a model of the page; that of a repository on the Hub is downloaded.

    Raises FRExError where the small FREx is not in this installation, and as `find_checkpoint` does. Whether a file that is given by its
    path exists is not checked.
    """
    return small_model.find_model(None if name == SMALL else name)


def check_uploads(session: Session, upscale: float) -> None:
    """Raise FRExError where a session has no uploads, or one whose result would be too large."""
    if not session.uploads:
        raise FRExError('nothing to restore: add photographs first')
    for upload in session.uploads:
        check_pixels(Path(upload.path.name), upload.width, upload.height, session.limits, upscale)
