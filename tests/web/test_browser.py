"""The page in a real browser: upload, sliders, faces, heads, files that are refused. The detector is a stand-in, the network tiny."""

import shutil
import zipfile
from urllib.parse import urlsplit

import cv2
import numpy as np
import PIL.Image
import pytest
from fake_detector import FakeDetector, detected, landmarks_at, smooth
from processes import free_port
from trained_priors import save_opaque_network

from frex.errors import FRExError
from frex.images import write_image
from frex.web.options import WebOptions
from frex.web.serve import serving
from frex.web.work import WebRestorer

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')
# Milliseconds to wait for anything.
PATIENCE = 120_000


@pytest.fixture(scope='module')
def browser():
    """A headless Chromium of this machine."""
    pytest.importorskip('gradio', reason='gradio is not installed')
    playwright = pytest.importorskip('playwright.sync_api', reason='playwright is not installed')
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f'no browser is installed: {", ".join(BROWSERS)}')
    with playwright.sync_playwright() as started:
        # Root has no sandbox, and a machine without a GPU draws the mesh by SwiftShader.
        opened = started.chromium.launch(executable_path=program, args=['--no-sandbox', '--enable-unsafe-swiftshader'])
        yield opened
        opened.close()


class DetectorOfShapes:
    """A detector that finds two faces in images of 200 x 300, and that of a portrait in images of its shape."""

    def __init__(self, portrait):
        smooth_faces = detected(landmarks_at(80, 90, 90), 0.99), detected(landmarks_at(220, 110, 110, 20), 0.95)
        sharp_face = detected(portrait.landmarks)
        self.known = FakeDetector(*smooth_faces, shape=(200, 300)), FakeDetector(sharp_face, shape=portrait.image.shape[:2])

    def detect(self, image, threshold=0.8):
        return [face for known in self.known for face in known.detect(image, threshold)]


@pytest.fixture(scope='module')
def work(tmp_path_factory, portraits):
    """The work of a page whose only model is tiny, with a detector that knows two kinds of images."""
    folder, patch = tmp_path_factory.mktemp('browser'), pytest.MonkeyPatch()
    patch.setattr('frex.weights.small_model.PATH', folder / 'missing')
    patch.setattr('frex.weights.locate.search_paths', lambda given=None: [folder])
    known = DetectorOfShapes(portraits['eileen_collins'])
    patch.setattr('frex.restore.faces.helper_networks.FaceDetector.from_weights', lambda *arguments: known)
    patch.setattr('frex.web.run.GRID', 16)
    model = str(save_opaque_network(folder / 'net_g.pth'))
    yield WebRestorer(WebOptions(port=free_port(), model_path=(model,), device='cpu', most_files=3, most_megapixels=50))
    patch.undo()


@pytest.fixture(scope='module')
def address(browser, work):
    with serving(work.options, work) as served:
        yield served


@pytest.fixture
def page(browser, address):
    """The page in a new tab; `page.hosts` are the servers from which it has loaded anything, `page.faults` what its scripts complain of."""
    tab = browser.new_page(viewport={'width': 1400, 'height': 1000})
    tab.set_default_timeout(PATIENCE)
    tab.hosts, tab.faults = set(), []
    tab.on('request', lambda request: tab.hosts.add(urlsplit(request.url).hostname))
    tab.on('pageerror', lambda error: tab.faults.append(str(error)))
    tab.goto(address)
    yield tab
    tab.close()


@pytest.fixture
def photo(tmp_path):
    """A photograph with two faces."""
    write_image(tmp_path / 'two.png', smooth(200, 300, seed=1))
    return tmp_path / 'two.png'


def drop(page, *files):
    page.locator('input[type=file]').first.set_input_files([str(file) for file in files])


def restore(page, *files, line='2 of 2 faces restored'):
    """Drop files, wait for them, press the button, and wait for what is said of the first one."""
    if files:
        drop(page, *files)
        page.locator('.thumbnail-item').nth(len(files) - 1).wait_for()
    page.get_by_role('button', name='Restore', exact=True).click()
    page.get_by_text(line).wait_for()


def shown(page, index):
    """Return one of the images on sliders: before and after of the photograph, then of the face; BGR."""
    image = page.get_by_test_id('imageslider-image').nth(index)
    data = page.request.get(image.get_attribute('src')).body()
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def refusal(page):
    """Return the text of the error that is shown."""
    return page.locator('.toast-body.error').inner_text().splitlines()[-1]


def test_a_photograph_is_restored_and_shown_before_and_after(page, photo):
    restore(page, photo)
    before, after = shown(page, 0), shown(page, 1)
    assert np.array_equal(before, cv2.imread(str(photo)))
    assert after.shape == before.shape
    assert not np.array_equal(after, before)
    assert page.hosts == {'127.0.0.1'}
    assert page.faults == []


def test_the_line_between_before_and_after_is_dragged(page, photo):
    restore(page, photo)
    after, handle = page.get_by_test_id('imageslider-image').nth(1), page.locator('[data-testid=slider] .icon-wrap').first
    assert '50%' in after.get_attribute('style')
    box = handle.bounding_box()
    page.mouse.move(box['x'] + box['width'] / 2, box['y'] + box['height'] / 2)
    page.mouse.down()
    page.mouse.move(box['x'] - 100, box['y'] + box['height'] / 2, steps=5)
    page.mouse.up()
    page.wait_for_function('image => !image.style.clipPath.includes("50%")', arg=after.element_handle())


def test_another_weight_makes_another_result(page, photo):
    restore(page, photo)
    source = page.get_by_test_id('imageslider-image').nth(1).get_attribute('src')
    first = shown(page, 1)
    page.get_by_label('number input for Fidelity').fill('0')
    page.get_by_label('number input for Fidelity').press('Tab')
    restore(page)
    page.wait_for_function('old => document.querySelectorAll("[data-testid=imageslider-image]")[1]?.src !== old', arg=source)
    assert not np.array_equal(shown(page, 1), first)


def test_each_face_is_in_the_table_and_can_be_chosen(page, photo):
    restore(page, photo)
    assert page.locator('table tr').count() == 3
    page.get_by_text('Face 0. Its camera: yaw').wait_for()
    first = shown(page, 3)
    page.get_by_label('face 1').click()
    page.get_by_text('Face 1. Its camera: yaw').wait_for()
    assert not np.array_equal(shown(page, 3), first)


def test_another_photograph_is_chosen_in_the_gallery(page, photo, tmp_path):
    write_image(tmp_path / 'empty.png', smooth(100, 80, seed=3))
    restore(page, photo, tmp_path / 'empty.png')
    page.locator('.thumbnail-item').nth(1).click()
    page.get_by_text('empty.png: no face').wait_for()
    assert np.array_equal(shown(page, 1), cv2.imread(str(tmp_path / 'empty.png')))
    assert not page.get_by_text('Its camera').is_visible()


def test_heads_are_recovered_and_shown(page, photo):
    restore(page, photo)
    page.get_by_role('button', name='Recover heads').click()
    page.locator('canvas').wait_for()
    assert page.get_by_text('Depth: near is dark').is_visible()
    assert page.faults == []


def test_the_download_holds_results_and_report(page, photo, tmp_path):
    restore(page, photo)
    with page.expect_download() as download:
        page.get_by_text('Download results and report').click()
    download.value.save_as(tmp_path / 'results.zip')
    names = zipfile.ZipFile(tmp_path / 'results.zip').namelist()
    assert {'report.json', 'restored_imgs/two.png', 'restored_faces/two_01.png'} <= set(names)


def test_a_broken_file_is_refused_in_one_line_and_the_others_are_taken(page, photo, tmp_path):
    broken = tmp_path / 'broken.png'
    broken.write_bytes(photo.read_bytes()[:-3000])
    drop(page, photo, broken)
    assert refusal(page).startswith('broken.png: cannot be read, or is damaged (')
    page.locator('.thumbnail-item').first.wait_for()
    assert page.locator('.thumbnail-item').count() == 1


def test_a_file_of_sixty_megapixels_is_refused_in_one_line(page, tmp_path):
    PIL.Image.new('1', (10000, 6000)).save(tmp_path / 'large.png')
    drop(page, tmp_path / 'large.png')
    assert refusal(page) == 'large.png: 10000 x 6000 is more than the 50 million pixels that this page takes'


def test_too_many_files_are_refused(page, photo, tmp_path):
    drop(page, *(shutil.copy(photo, tmp_path / f'{number}.png') for number in range(4)))
    assert refusal(page) == '3.png: there are 3 photographs already, the most that this page takes'
    page.locator('.thumbnail-item').nth(2).wait_for()
    assert page.locator('.thumbnail-item').count() == 3


def test_nothing_to_restore_is_an_error_in_the_words_of_the_work(page):
    page.get_by_role('button', name='Restore', exact=True).click()
    assert refusal(page) == 'nothing to restore: add photographs first'


def test_a_face_that_stays_as_it_was_is_said_to(page, portraits, tmp_path):
    write_image(tmp_path / 'sharp.png', portraits['eileen_collins'].image)
    restore(page, tmp_path / 'sharp.png', line='0 of 1 face restored')
    page.get_by_text('Face 0 is as it was: it holds more detail').wait_for()
    assert not page.get_by_role('button', name='Recover heads').is_visible()
    page.get_by_text('Which faces').click()
    page.get_by_label('Also faces that hold more detail than the result can').check()
    restore(page, line='1 of 1 face restored')
    page.get_by_text('Face 0. Its camera: yaw').wait_for()


def test_the_server_answers_to_its_own_name_only_and_names_no_other(page, address):
    assert page.request.get(address, headers={'Host': 'elsewhere.example'}).status == 400
    answer = page.request.get(address)
    assert answer.status == 200
    assert answer.headers['content-security-policy'].startswith("default-src 'self'")
    assert page.evaluate('fetch("https://example.com").then(() => "loaded", () => "refused")') == 'refused'


def test_an_address_that_is_taken_is_one_line(work, address):
    with pytest.raises(FRExError, match=f'--port {work.options.port}'), serving(work.options, work):
        pass


def test_the_files_of_a_tab_are_removed_when_it_is_closed(browser, address, photo, page):
    restore(page, photo)
    source = page.get_by_test_id('imageslider-image').nth(1).get_attribute('src')
    assert page.request.get(source).status == 200
    other = browser.new_page()
    page.close()
    for _ in range(100):
        if other.request.get(source).status != 200:
            break
        other.wait_for_timeout(300)
    assert other.request.get(source).status in (403, 404)
    other.close()
