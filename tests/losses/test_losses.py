"""Losses against numbers worked out by hand."""

import pytest
import torch

from frex.losses.encoder_3d_losses import CameraLoss
from frex.losses.pyramid_loss import PyramidLoss, image_pyramid
from frex.models.critic import r1_penalty


def test_camera_loss_is_the_mean_of_25_differences():
    camera, target = torch.zeros(2, 25), torch.zeros(2, 25)
    target[0, 3] = 5.0
    # 5 / (2 cameras x 25 numbers) x weight 2.
    assert CameraLoss(loss_weight=2.0)(camera, target).item() == pytest.approx(0.2)
    assert CameraLoss()(camera, camera) == 0


def test_camera_loss_counts_labelled_samples_alone():
    camera, target = torch.zeros(3, 25, requires_grad=True), torch.zeros(3, 25)
    target[0, 3], target[1] = 5.0, 100.0
    loss = CameraLoss(loss_weight=2.0)
    # 5 / (2 cameras with a label x 25 numbers) x weight 2.
    assert loss(camera, target, torch.tensor([True, False, True])).item() == pytest.approx(0.2)
    none = loss(camera, target, torch.zeros(3, dtype=torch.bool))
    none.backward()
    assert none == 0
    assert not camera.grad.any()


def test_pyramid_averages_blocks():
    image = torch.arange(16.0).reshape(1, 1, 4, 4).expand(1, 3, 4, 4)
    half, whole = image_pyramid(image, [2, 4])
    assert half[0, 0].tolist() == [[2.5, 4.5], [10.5, 12.5]]
    assert torch.equal(whole, image)


def test_pyramid_loss_sums_over_sizes():
    gt = torch.zeros(2, 3, 4, 4)
    images = (torch.full((2, 3, 2, 2), 0.5), torch.full((2, 3, 4, 4), -0.25))
    assert PyramidLoss(loss_weight=2.0)(images, gt).item() == pytest.approx(2 * (0.5 + 0.25))
    assert PyramidLoss()(image_pyramid(gt, [1, 2, 4]), gt) == 0


def test_pyramid_loss_has_the_gradient_of_l1():
    image = torch.full((1, 3, 2, 2), 0.5, requires_grad=True)
    PyramidLoss()([image], torch.zeros(1, 3, 4, 4)).backward()
    torch.testing.assert_close(image.grad, torch.full_like(image, 1 / 12))


def test_r1_of_linear_logits_is_their_squared_weights():
    weight = torch.tensor([1.0, -2.0, 3.0], requires_grad=True)
    images = torch.randn(4, 3, requires_grad=True)
    penalty = r1_penalty((images @ weight)[:, None], [images])
    # |gradient|^2 = 1 + 4 + 9 for each sample.
    assert penalty.item() == pytest.approx(14)
    penalty.backward()
    torch.testing.assert_close(weight.grad, 2 * weight.detach())


def test_r1_of_quadratic_logits_is_a_mean_over_the_batch_and_a_sum_over_inputs():
    a, b = (torch.tensor([[1.0], [2.0]], requires_grad=True), torch.tensor([[3.0], [0.0]], requires_grad=True))
    logits = torch.cat([a.square(), b.square()], dim=1)
    # Gradients 2a and 2b: ((2^2 + 6^2) + (4^2 + 0^2)) / 2.
    assert r1_penalty(logits, [a, b]).item() == pytest.approx(28)
