"""The benchmark of large folders does what it measures, on a small folder."""

import json

import pytest
from large_folders import WORK, measure_folders


@pytest.mark.slow
def test_a_folder_is_restored_skipped_evaluated_and_trained_on(tmp_path, forked):
    results = measure_folders([12], tmp_path)
    assert list(results) == list(WORK)
    assert all(result['12']['peak bytes'] > 0 for result in results.values())
    report = json.loads((tmp_path / '12.out/report.json').read_text())
    assert [image['status'] for image in report['pictures']] == 12 * ['restored']
    assert len(list((tmp_path / '12.out/restored_imgs').rglob('*.png'))) == 12
