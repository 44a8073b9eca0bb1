"""The page: gradio's components, and what happens at each event. The work is that of `WebRestorer`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from frex.errors import FRExError
from frex.restore.image_io.headers import SUFFIXES
from frex.web.previews import describe_face, describe_image
from frex.web.run import WebRun
from frex.web.session import Session, Sessions
from frex.web.work import WebRestorer

TITLE = 'FREx: restore faces'
Updates = dict[Any, Any]
"""New values of components."""

# The events that restore have one queue; one of them runs at a time.
ONE_AT_A_TIME = {'concurrency_id': 'restore', 'concurrency_limit': 1}
# No event is offered to programs.
PRIVATE = {'api_visibility': 'private'}
# The height of what is shown of a face, in pixels, and the colour behind a head.
SIDE, BACKGROUND = 320, (0.85, 0.85, 0.85, 1.0)
# From where a head is first seen: two angles in degrees, as Babylon.js has them, and a distance that fits.
FRONT = (90, 90, None)
# Small faces fill the height that there is.
CSS = '.face img {object-fit: contain !important} footer {display: none !important}'
# Not the one that shares an image with others.
BUTTONS = ['fullscreen', 'download']
# Seconds after which gradio looks for received files that no session has taken, and the age at which they are removed.
CLEAN_EVERY, MOST_AGE = 600, 3600


@contextmanager
def errors_on_page() -> Iterator[None]:
    """Show an FRExError of the block on the page, in the words of the command line."""
    try:
        yield
    except FRExError as error:
        raise to_page_error(str(error)) from None


def to_page_error(text: str) -> gr.Error:
    """Return an error, to be raised, that shows `text` on the page, as plain text and not as HTML, until the user closes it."""
    return gr.Error(escape(text), duration=None, print_exception=False)


class Page:
    """The components of the page; `blocks` is what gradio serves."""

    def __init__(self, work: WebRestorer, sessions: Sessions) -> None:
        self.work, self.sessions = work, sessions
        # Files of sessions are served from where they lie; gradio would copy all others.
        gr.set_static_paths([sessions.folder])
        with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(CLEAN_EVERY, MOST_AGE)) as self.blocks:
            with gr.Row():
                with gr.Column(scale=1, min_width=320):
                    self._add_uploads()
                    self._add_choices()
                with gr.Column(scale=2, min_width=480):
                    self._add_results()
            self._connect()

    # --- Components

    def _add_uploads(self) -> None:
        limits = self.sessions.limits
        what = f'Photographs: up to {limits.files}, of {limits.megabytes} MB and {limits.megapixels} megapixels each'
        self.files = gr.File(label=what, file_count='multiple', file_types=list(SUFFIXES), height=170)
        self.gallery = gr.Gallery(
            show_label=False,
            columns=4,
            fit_columns=False,
            height=150,
            object_fit='contain',
            allow_preview=False,
            interactive=False,
            visible=False,
            buttons=[],
        )
        self.refused = gr.State([])

    def _add_choices(self) -> None:
        with gr.Row():
            self.restore = gr.Button('Restore', variant='primary', scale=2)
            self.clear = gr.Button('Remove all', scale=1)
        self.model = gr.Dropdown(list(self.work.models), value=self.work.models[0], label='Model')
        self.choices: dict[str, Any] = {
            'fidelity_weight': gr.Slider(0, 1, 1, step=0.05, label='Fidelity', info='0 for quality, 1 for fidelity to the input'),
            'structure_weight': gr.Slider(0, 1, 1, step=0.05, label='Structure', info='0 for the 2D prior alone, 1 for the 3D structure'),
            'upscale': gr.Slider(1, 4, 1, step=0.5, label='Upscale', info='size of the result relative to the photograph'),
        }
        with gr.Accordion('Which faces', open=False):
            self.choices |= {
                'det_threshold': gr.Slider(0, 0.99, 0.8, step=0.01, label='Detection threshold', info='least score of a face'),
                'min_face': gr.Slider(0, 500, 0, step=1, label='Smallest face', info="least longer side of a face's box in pixels"),
                'only_center_face': gr.Checkbox(label='Only the face nearest to the middle', info='--only_center_face'),
                'any_turn': gr.Checkbox(label='Also doubtful faces on their side or upside down', info='--any_turn'),
                'force': gr.Checkbox(label='Also faces that hold more detail than the result can', info='--force'),
                'aligned': gr.Checkbox(label='Each image is one face in FFHQ alignment', info='--aligned'),
            }

    def _add_results(self) -> None:
        self.number = gr.State(0)
        self.slider = gr.ImageSlider(label='Before and after', type='filepath', interactive=False, max_height=560, buttons=BUTTONS)
        self.description = gr.HTML()
        self.download = gr.DownloadButton('Download results and report', visible=False)
        with gr.Column(visible=False) as self.faces:
            self.face = gr.Radio(label='Face', interactive=True)
            self.about_face = gr.HTML()
            with gr.Row():
                self.face_slider = gr.ImageSlider(
                    label='Face before and after', type='filepath', interactive=False, height=SIDE, elem_classes='face', buttons=BUTTONS
                )
                self.depth = gr.Image(
                    label='Depth: near is dark', type='filepath', interactive=False, height=SIDE, elem_classes='face', buttons=BUTTONS
                )
                self.head = gr.Model3D(
                    label='Head: turn it by the mouse',
                    interactive=False,
                    height=SIDE,
                    clear_color=BACKGROUND,
                    camera_position=FRONT,
                    visible=False,
                )
            self.views = gr.Image(
                label="The 3D prior's views from nine sides", type='filepath', interactive=False, height=170, buttons=BUTTONS
            )
            self.recover = gr.Button('Recover heads: depth and a mesh of each face of this photograph')

    # --- Events

    def _connect(self) -> None:
        self.face_parts = [self.about_face, self.face_slider, self.depth, self.head, self.views]
        self.shown = [self.number, self.slider, self.description, self.download, self.faces, self.face, *self.face_parts, self.recover]
        added = self.files.upload(self._add, self.files, [self.files, self.gallery, self.refused], **PRIVATE)
        added.then(refuse, self.refused, None, **PRIVATE)
        self.clear.click(self._clear, None, [self.gallery, *self.shown], **PRIVATE)
        self.restore.click(self._restore, [self.model, *self.choices.values()], self.shown, **ONE_AT_A_TIME, **PRIVATE)
        self.gallery.select(self._choose_image, None, self.shown, **PRIVATE)
        self.face.input(self._choose_face, [self.number, self.face], self.face_parts, **PRIVATE)
        recovered = self.recover.click(self._recover, [self.number, self.face], self.shown, **ONE_AT_A_TIME, **PRIVATE)
        # gradio loads its viewer with the first mesh, and shows nothing where the component changes meanwhile: the mesh is given twice.
        emptied = recovered.success(lambda: None, None, self.head, **PRIVATE)
        emptied.success(self._choose_face, [self.number, self.face], self.face_parts, **PRIVATE)
        self.blocks.unload(self._end)

    def _session(self, request: gr.Request) -> Session:
        return self.sessions.get(str(request.session_hash))

    def _add(self, files: list[str] | None, request: gr.Request) -> Updates:
        """Take uploads into the session, and empty the box; the lines for files that are refused are shown afterwards."""
        session, refused = self._session(request), []
        for file in files or ():
            try:
                session.add(Path(file))
            except FRExError as error:
                refused.append(str(error))
        return {self.files: None, self.gallery: list_uploads(session), self.refused: refused}

    def _clear(self, request: gr.Request) -> Updates:
        session = self._session(request)
        session.clear()
        return {self.gallery: list_uploads(session), **self._show(session, 0)}

    def _restore(self, request: gr.Request, model: str, *values: Any) -> Updates:
        session = self._session(request)
        with errors_on_page():
            self.work.restore(session, model, **dict(zip(self.choices, values, strict=True)))
            return self._show(session, 0)

    def _choose_image(self, event: gr.SelectData, request: gr.Request) -> Updates:
        with errors_on_page():
            return self._show(self._session(request), event.index)

    def _choose_face(self, number: int, face: int, request: gr.Request) -> Updates:
        return self._show_face(self._session(request).run, number, face)

    def _recover(self, number: int, face: int, request: gr.Request) -> Updates:
        session = self._session(request)
        with errors_on_page():
            for problem in self.work.recover_heads(session, number):
                gr.Warning(escape(problem))
            return self._show(session, number, face)

    def _end(self, request: gr.Request) -> None:
        self.sessions.end(str(request.session_hash))

    # --- What is shown

    def _show(self, session: Session, number: int, face: int = 0) -> Updates:
        """Show image `number` of the session's run and one of its faces; nothing where it has not been restored yet."""
        run = session.run
        if run is None or number >= len(run.records):
            return {self.slider: None, self.description: '', self.faces: gr.update(visible=False), self.download: gr.update(visible=False)}
        record = run.records[number]
        return {
            self.number: number,
            self.slider: run.before_and_after(number),
            self.description: describe_image(record),
            self.download: gr.update(value=run.archive, visible=True),
            self.faces: gr.update(visible=bool(record.faces)),
            self.face: gr.update(choices=[(f'face {index}', index) for index in range(len(record.faces))], value=face),
            self.recover: gr.update(visible=run.has_heads and any(one.files for one in record.faces)),
            **self._show_face(run, number, face),
        }

    def _show_face(self, run: WebRun | None, number: int, face: int) -> Updates:
        faces = [] if run is None or number >= len(run.records) else run.records[number].faces
        if run is None or face >= len(faces):
            return {}
        record = faces[face]
        pair = run.face_before_and_after(record)
        depth, views, mesh = run.file(record, 'depth'), run.file(record, 'turntable'), run.mesh(record)
        return {
            self.about_face: describe_face(face, record),
            self.face_slider: gr.update(value=pair, visible=pair is not None),
            self.depth: gr.update(value=depth, visible=depth is not None),
            self.head: gr.update(value=mesh, visible=mesh is not None),
            self.views: gr.update(value=views, visible=views is not None),
        }


def refuse(refused: Sequence[str]) -> None:
    """Show the lines of files that were refused as one error."""
    if refused:
        raise to_page_error('\n'.join(refused))


def list_uploads(session: Session) -> Any:
    """Return the new state of the gallery: the small copies of a session's uploads, with their names."""
    images = [(str(upload.thumbnail), upload.path.name) for upload in session.uploads]
    return gr.update(value=images, visible=bool(images))
