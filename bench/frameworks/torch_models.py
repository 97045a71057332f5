"""The networks of docs/frameworks.md, compact and without other packages than PyTorch."""
import torch
from torch import nn
from torch.nn import functional as F


def conv_norm(inputs, outputs, kernel=1, stride=1, groups=1, act=None):
    layers = [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
              nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, *([act] if act else []))


class Bottleneck(nn.Module):
    def __init__(self, inputs, width, stride):
        super().__init__()
        self.body = nn.Sequential(conv_norm(inputs, width, act=nn.ReLU(inplace=True)),
                                  conv_norm(width, width, 3, stride, act=nn.ReLU(inplace=True)),
                                  conv_norm(width, 4 * width))
        self.skip = None
        if stride != 1 or inputs != 4 * width:
            self.skip = conv_norm(inputs, 4 * width, 1, stride)

    def forward(self, x):
        return F.relu(self.body(x) + (self.skip(x) if self.skip else x))


def resnet50(classes=1000):
    layers = [conv_norm(3, 64, 7, 2, act=nn.ReLU(inplace=True)), nn.MaxPool2d(3, 2, 1)]
    inputs = 64
    for width, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for block in range(blocks):
            layers.append(Bottleneck(inputs, width, stride if block == 0 else 1))
            inputs = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, classes))


class UNet(nn.Module):
    """Ronneberger's, padded, with batch norm: image in, mask of as many pixels out."""

    def __init__(self, base=64, levels=4, inputs=3, outputs=2):
        super().__init__()

        def double(i, o):
            return nn.Sequential(conv_norm(i, o, 3, act=nn.ReLU(inplace=True)),
                                 conv_norm(o, o, 3, act=nn.ReLU(inplace=True)))

        widths = [base << level for level in range(levels + 1)]
        self.down = nn.ModuleList(double(i, o) for i, o in zip([inputs] + widths, widths))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, 2) for w in widths[:-1])
        self.merge = nn.ModuleList(double(2 * w, w) for w in widths[:-1])
        self.head = nn.Conv2d(base, outputs, 1)

    def forward(self, x):
        kept = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else F.max_pool2d(x, 2))
            kept.append(x)
        for level in reversed(range(len(self.up))):
            x = self.merge[level](torch.cat([kept[level], self.up[level](x)], 1))
        return self.head(x)


class SqueezeExcite(nn.Module):
    def __init__(self, width, inner):
        super().__init__()
        self.narrow, self.wide = nn.Conv2d(width, inner, 1), nn.Conv2d(inner, width, 1)

    def forward(self, x):
        return x * F.hardsigmoid(self.wide(F.relu(self.narrow(x.mean((2, 3), keepdim=True)))))


class InvertedResidual(nn.Module):
    def __init__(self, inputs, kernel, expanded, outputs, squeeze, hard, stride):
        super().__init__()
        act = nn.Hardswish if hard else nn.ReLU
        layers = [conv_norm(inputs, expanded, act=act())] if expanded != inputs else []
        layers.append(conv_norm(expanded, expanded, kernel, stride, expanded, act=act()))
        if squeeze:
            layers.append(SqueezeExcite(expanded, max(8, (expanded // 4 + 4) // 8 * 8)))
        self.body = nn.Sequential(*layers, conv_norm(expanded, outputs))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.body(x) if self.residual else self.body(x)


# kernel, expanded, outputs, squeeze-excite, hard-swish, stride
MOBILENET_V3_LARGE = ((3, 16, 16, 0, 0, 1), (3, 64, 24, 0, 0, 2), (3, 72, 24, 0, 0, 1),
                      (5, 72, 40, 1, 0, 2), (5, 120, 40, 1, 0, 1), (5, 120, 40, 1, 0, 1),
                      (3, 240, 80, 0, 1, 2), (3, 200, 80, 0, 1, 1), (3, 184, 80, 0, 1, 1),
                      (3, 184, 80, 0, 1, 1), (3, 480, 112, 1, 1, 1), (3, 672, 112, 1, 1, 1),
                      (5, 672, 160, 1, 1, 2), (5, 960, 160, 1, 1, 1), (5, 960, 160, 1, 1, 1))


def mobilenetv3(classes=1000):
    layers, inputs = [conv_norm(3, 16, 3, 2, act=nn.Hardswish())], 16
    for kernel, expanded, outputs, squeeze, hard, stride in MOBILENET_V3_LARGE:
        layers.append(InvertedResidual(inputs, kernel, expanded, outputs, squeeze, hard, stride))
        inputs = outputs
    return nn.Sequential(*layers, conv_norm(160, 960, act=nn.Hardswish()), nn.AdaptiveAvgPool2d(1),
                         nn.Flatten(), nn.Linear(960, 1280), nn.Hardswish(),
                         nn.Linear(1280, classes))


class ConvNeXtBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        return x + self.narrow(F.gelu(self.wide(y))).permute(0, 3, 1, 2)


def convnext(classes=1000):
    """ConvNeXt-Tiny, without layer scale and stochastic depth."""
    layers, inputs = [], 3
    for width, blocks in ((96, 3), (192, 3), (384, 9), (768, 3)):
        size = 4 if inputs == 3 else 2
        layers += [nn.Conv2d(inputs, width, size, size), nn.GroupNorm(1, width)]
        layers += [ConvNeXtBlock(width) for _ in range(blocks)]
        inputs = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(768, classes))


class ResidualBlock(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(32, inputs), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(32, outputs), nn.Conv2d(outputs, outputs, 3, padding=1)
        self.time = nn.Linear(512, outputs)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x, time):
        y = self.conv1(F.silu(self.norm1(x))) + self.time(time)[:, :, None, None]
        return self.skip(x) + self.conv2(F.silu(self.norm2(y)))


class Attention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.GroupNorm(32, width)
        self.qkv, self.out = nn.Conv2d(width, 3 * width, 1), nn.Conv2d(width, width, 1)

    def forward(self, x):
        n, c, h, w = x.shape
        q, k, v = (t.reshape(n, 4, c // 4, h * w).transpose(2, 3)
                   for t in self.qkv(self.norm(x)).chunk(3, 1))
        y = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(y.transpose(2, 3).reshape(n, c, h, w))


class DiffusionUNet(nn.Module):
    """A small DDPM denoiser: widths 128, 256, 256; attention at the two coarse levels."""

    def __init__(self, base=128, factors=(1, 2, 2)):
        super().__init__()
        widths = [base * factor for factor in factors]
        self.embed = nn.Sequential(nn.Linear(128, 512), nn.SiLU(), nn.Linear(512, 512), nn.SiLU())
        self.stem = nn.Conv2d(3, base, 3, padding=1)
        self.down, self.shrink = nn.ModuleList(), nn.ModuleList()
        self.up, self.grow = nn.ModuleList(), nn.ModuleList()
        inputs = base
        for level, width in enumerate(widths):
            self.down.append(nn.ModuleList([ResidualBlock(inputs, width), ResidualBlock(width, width)]
                                           + ([Attention(width)] if level else [])))
            self.shrink.append(nn.Conv2d(width, width, 3, 2, 1))
            inputs = width
        self.middle = ResidualBlock(inputs, inputs)
        for level, width in reversed(list(enumerate(widths))):
            self.grow.append(nn.Conv2d(inputs, width, 3, padding=1))
            self.up.append(nn.ModuleList([ResidualBlock(2 * width, width)]
                                         + ([Attention(width)] if level else [])))
            inputs = width
        self.norm, self.head = nn.GroupNorm(32, base), nn.Conv2d(base, 3, 3, padding=1)

    def forward(self, x):
        steps = torch.arange(x.shape[0], device=x.device, dtype=torch.float32)[:, None]
        scale = torch.exp(-torch.arange(64, device=x.device, dtype=torch.float32) / 8)
        wave = torch.cat([torch.sin(steps * scale), torch.cos(steps * scale)], 1)
        time = self.embed(wave.to(self.embed[0].weight.dtype))
        x, kept = self.stem(x), []
        for blocks, shrink in zip(self.down, self.shrink):
            for block in blocks:
                x = block(x) if isinstance(block, Attention) else block(x, time)
            kept.append(x)
            x = shrink(x)
        x = self.middle(x, time)
        for blocks, grow in zip(self.up, self.grow):
            x = grow(F.interpolate(x, scale_factor=2.0, mode='nearest'))
            x = torch.cat([x, kept.pop()], 1)
            for block in blocks:
                x = block(x) if isinstance(block, Attention) else block(x, time)
        return self.head(F.silu(self.norm(x)))


MODELS = {'resnet50': resnet50, 'unet': UNet, 'mobilenetv3': mobilenetv3, 'convnext': convnext,
          'diffusion': DiffusionUNet}


def loss_of(model, output, image):
    """A loss against a fixed target: classes, mask or noise."""
    output = output.float()
    if model == 'unet':
        return F.cross_entropy(output, (image.float().mean(1) > 0).long())
    if model == 'diffusion':
        return F.mse_loss(output, image.float().roll(1, 0))
    return F.cross_entropy(output, torch.arange(len(output), device=output.device) % 1000)
