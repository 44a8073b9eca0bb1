"""Enc_3D's SwinV2 blocks equal torchvision's, load its weights, and take few kernels."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.models import swin_v2_t
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformerBlockV2

from frex_arch.encoder_3d import Encoder3D, OffsetHead, SwinBackbone
from frex_arch.swin import SwinBlock, SwinPatchMerging, SwinStage

# Of one block with the work that its stage shares, and of one more block with shifted windows; torchvision's take 155 and 174.
MOST_OPERATIONS, MOST_OPERATIONS_MORE = 98, 58


class Counter(TorchDispatchMode):
    """Counts operations that calculate something."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name
        self.count += not func.is_view and name not in ('aten::detach', 'aten::_unsafe_view') and 'empty' not in name
        return func(*args, **(kwargs or {}))


class Fused(torch.autograd.Function):
    """One kernel on a GPU, and one for its gradient: here none, and any numbers."""

    @staticmethod
    def forward(ctx, *inputs):
        ctx.save_for_backward(*inputs)
        return torch.empty_like(inputs[0])

    @staticmethod
    def backward(ctx, grad):
        return tuple(map(torch.empty_like, ctx.saved_tensors))


def randomize(module):
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.add_(torch.randn_like(parameter) * (0.5 if 'logit_scale' in name else 0.1))
    return module


def block_pair(window, shift, heads=2, channels=16):
    """A block of torchvision's and one of ours with the same weights; key biases are not zero, and torchvision ignores them."""
    theirs = randomize(SwinTransformerBlockV2(channels, heads, window, shift))
    ours = SwinBlock(channels, heads, window, shift)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def results(module, x, precision=torch.float32):
    """The output and all gradients of a module."""
    x = x.clone().requires_grad_()
    with torch.autocast('cpu', precision, enabled=precision != torch.float32):
        y = module(x)
    module.zero_grad()
    torch.manual_seed(1)
    (y * torch.randn_like(y)).sum().backward()
    return {'output': y.detach(), 'input': x.grad, **{name: parameter.grad.clone() for name, parameter in module.named_parameters()}}


@pytest.mark.parametrize(
    ('window', 'shift', 'size'),
    [
        ([8, 8], [0, 0], (16, 8)),
        ([8, 8], [4, 4], (16, 24)),
        ([4, 4], [0, 0], (6, 7)),
        ([4, 4], [2, 2], (6, 6)),
        ([4, 4], [2, 2], (4, 4)),
        ([4, 4], [2, 2], (4, 9)),
        ([8, 8], [4, 4], (3, 5)),
        ([4, 2], [2, 1], (8, 4)),
    ],
)
def test_a_block_and_its_gradients_equal_those_of_torchvision(window, shift, size):
    torch.manual_seed(0)
    theirs, ours = block_pair(window, shift)
    x = torch.randn(2, *size, 16)
    expected, found = results(theirs, x), results(ours, x)
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, rtol=1e-5, atol=1e-5 * float(value.abs().max()), msg=lambda text, name=name: f'{name}: {text}'
        )
    with torch.no_grad():
        torch.testing.assert_close(ours(x), expected['output'], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('shift', [0, 4])
def test_under_autocast_a_block_is_as_close_to_float32_as_that_of_torchvision(shift):
    torch.manual_seed(0)
    theirs, ours = block_pair([8, 8], [shift, shift], channels=64)
    x = torch.randn(2, 16, 16, 64)
    exact = results(theirs, x)
    errors = [
        {name: float((value - exact[name]).norm() / exact[name].norm()) for name, value in results(block, x, torch.bfloat16).items()}
        for block in (theirs, ours)
    ]
    assert errors[1]['output'] < 1.1 * errors[0]['output'] < 0.02
    assert errors[1]['input'] < 1.1 * errors[0]['input']
    assert sum(errors[1].values()) < 1.1 * sum(errors[0].values())


def test_a_stage_is_its_blocks_one_after_the_other_at_any_size():
    torch.manual_seed(0)
    pairs = [block_pair([4, 4], [shift, shift]) for shift in (0, 2, 0)]
    stage = SwinStage([ours for _, ours in pairs], size=8)
    for size in (8, 7, 12):
        x = torch.randn(2, size, size, 16)
        torch.testing.assert_close(stage(x), torch.nn.Sequential(*(theirs for theirs, _ in pairs))(x), rtol=1e-5, atol=1e-4)
    assert list(stage.state_dict()) == [f'{index}.{name}' for index, (theirs, _) in enumerate(pairs) for name in theirs.state_dict()]


@pytest.mark.parametrize('size', [(4, 6), (5, 7)])
def test_merging_patches_equals_torchvisions(size):
    torch.manual_seed(0)
    theirs, ours = PatchMergingV2(8), SwinPatchMerging(8)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, *size, 8)
    expected, found = results(theirs, x), results(ours, x)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_the_backbone_loads_torchvisions_weights_and_gives_its_tokens():
    torch.manual_seed(0)
    theirs = swin_v2_t(weights=None).eval()
    backbone = SwinBackbone('swin_v2_t', 64).eval()
    state = {name: value for name, value in theirs.state_dict().items() if not name.startswith(('norm.', 'head.'))}
    backbone.swin.load_state_dict(state)
    image = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        expected = theirs.features(backbone.normalize(image)).flatten(1, 2)
        torch.testing.assert_close(backbone(image)[2], expected, rtol=1e-4, atol=1e-5)


def test_dropout_is_refused():
    with pytest.raises(ValueError, match='dropout'):
        SwinBlock(16, 2, [4, 4], [0, 0], dropout=0.1)


def test_an_offset_head_attends_as_multihead_attention():
    torch.manual_seed(0)
    head = randomize(OffsetHead(3, 24, 32))
    z_3d, tokens = torch.randn(2, 32), torch.randn(2, 5, 24)
    queries, keys = head.norm_query(z_3d[:, None] + head.queries), head.tokens(tokens)
    x = queries + head.attention(queries, keys, keys, need_weights=False)[0]
    torch.testing.assert_close(head(z_3d, tokens), head.to_offset(x + head.mlp(x)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(('blocks', 'most'), [(1, MOST_OPERATIONS), (2, MOST_OPERATIONS + MOST_OPERATIONS_MORE)])
def test_blocks_take_few_operations_under_autocast(blocks, most, monkeypatch):
    # On a CPU, these take many operations.
    monkeypatch.setattr(
        'torch.nn.functional.scaled_dot_product_attention', lambda q, k, v, attn_mask, scale: Fused.apply(q, k, v, attn_mask)
    )
    monkeypatch.setattr('torch.nn.functional.rms_norm', lambda x, shape, eps: Fused.apply(x))
    stage = SwinStage([SwinBlock(16, 2, [4, 4], [shift, shift]) for shift in (0, 2)[:blocks]], size=8)
    x = torch.randn(2, 8, 8, 16, requires_grad=True)
    with Counter() as counter, torch.autocast('cpu', torch.bfloat16):
        stage(x).sum().backward()
    assert counter.count <= most


@pytest.mark.slow
def test_the_encoder_is_exported_for_any_batch():
    torch.manual_seed(0)
    encoder = randomize(Encoder3D(num_ws=8, w_dim=32, in_size=64, backbone='swin_v2_nano').eval())
    face = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        program = torch.export.export(encoder, (face,), dynamic_shapes=({0: torch.export.Dim('batch')},)).module()
        torch.testing.assert_close(tuple(program(face[:1])), tuple(encoder(face[:1])), rtol=1e-4, atol=1e-5)
