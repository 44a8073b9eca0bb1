"""The catalogue of metrics: the six of the paper's tables, in their order, and four more."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from frex.losses.stlpips_loss import find_stlpips_weights
from frex.metrics.metric import Metric, MetricFunction
from frex.metrics.networks import (
    load_identity_angle,
    load_landmark_distance,
    load_lpips,
    load_lpips_alex,
    load_stlpips,
    load_stlpips_alex,
)
from frex.metrics.pixelwise import niqe, psnr, ssim


def _without_weights(scorer: MetricFunction) -> Callable[[Path | None, torch.device], MetricFunction]:
    """Return a `Metric.load` for a metric without weights; it ignores folder and device, and returns `scorer`."""
    return lambda weights, device: scorer


def _refuse_single_images(weights: Path | None, device: torch.device) -> MetricFunction:
    """Raise TypeError, because FID compares sets and has no score of a single image."""
    raise TypeError('FID has no score of an image; see frex.metrics.inception and frex.metrics.feature_statistics')


PSNR = Metric(
    'psnr',
    'PSNR',
    'higher',
    2,
    protocol='RGB 0-255, nothing cropped; dB, mean over images',
    load=_without_weights(psnr),
)
SSIM = Metric(
    'ssim',
    'SSIM',
    'higher',
    4,
    protocol='RGB 0-255, nothing cropped, Gaussian window 11 x 11 of sigma 1.5; mean over channels, then over images',
    load=_without_weights(ssim),
)
LPIPS = Metric(
    'lpips',
    'LPIPS',
    'lower',
    4,
    weights=('vgg16',),
    protocol='lpips 0.1, VGG16, RGB in [-1, 1] at full size; mean over images',
    load=load_lpips,
)
FID = Metric(
    'fid',
    'FID',
    'lower',
    2,
    compares_sets=True,
    weights=('inception_fid',),
    protocol="2048 features of pytorch-fid's Inception, RGB in [-1, 1], resized bilinearly to 299 x 299 as in BasicSR; of all images",
    load=_refuse_single_images,
)
NIQE = Metric(
    'niqe',
    'NIQE',
    'lower',
    2,
    needs_gt=False,
    on_cpu=True,
    protocol="BasicSR's, Y channel 0-255, blocks of 96 x 96, nothing cropped; mean over images",
    load=_without_weights(niqe),
)
DEG = Metric(
    'deg',
    'Deg',
    'lower',
    2,
    weights=('arcface_resnet18',),
    protocol='ArcFace-18 in eval(), grey, 128 x 128; angle between embeddings in degrees, mean over all pairs',
    load=load_identity_angle,
)
LPIPS_ALEX = Metric(
    'lpips_alex',
    'LPIPS-Alex',
    'lower',
    4,
    weights=('alexnet',),
    protocol='lpips 0.1, AlexNet, RGB in [-1, 1] at full size; mean over images',
    load=load_lpips_alex,
)
LMD = Metric(
    'lmd',
    'LMD',
    'lower',
    2,
    weights=('awing_fan',),
    protocol="98 landmarks of facexlib's AWing network at 256 x 256; mean distance in pixels of the image, mean over pairs",
    load=load_landmark_distance,
)
STLPIPS = Metric(
    'stlpips',
    'ST-LPIPS',
    'lower',
    4,
    check=partial(find_stlpips_weights, 'vgg'),
    protocol='weights of stlpips-pytorch, VGG16, shift-tolerant, RGB in [-1, 1] at full size; mean over images',
    load=load_stlpips,
)
STLPIPS_ALEX = Metric(
    'stlpips_alex',
    'ST-LPIPS-Alex',
    'lower',
    4,
    check=partial(find_stlpips_weights, 'alex'),
    protocol='weights of stlpips-pytorch, AlexNet, shift-tolerant, RGB in [-1, 1] at full size; mean over images',
    load=load_stlpips_alex,
)

METRICS: dict[str, Metric] = {metric.key: metric for metric in (PSNR, SSIM, LPIPS, FID, NIQE, DEG, LPIPS_ALEX, LMD, STLPIPS, STLPIPS_ALEX)}
