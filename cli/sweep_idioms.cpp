#include "cli/sweep_idioms.h"

#include <algorithm>
#include <cmath>

namespace reformer::cli {
namespace {

std::int64_t ceil_div(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

std::int64_t round_to(double value, std::int64_t unit) {
  const auto u = static_cast<double>(unit);
  return std::max(unit, static_cast<std::int64_t>(std::round(value / u)) * unit);
}

// Channels between two limits, mostly as people choose them.
std::int64_t width(Dice& dice, std::int64_t low, std::int64_t high) {
  const auto c = static_cast<double>(dice.log_uniform(low, high));
  if (dice.chance(0.4)) {  // a power of two, or half as much again
    const double power = std::exp2(std::floor(std::log2(c)));
    return static_cast<std::int64_t>(c >= 1.5 * power ? 1.5 * power : power);
  }
  return dice.chance(0.93) ? round_to(c,
                                      dice.chance(0.5) ? 8
                                      : c >= 64        ? 16
                                                       : 8)
                           : static_cast<std::int64_t>(c);
}

// Channels at a depth of 2^stage.
std::int64_t stage_width(Dice& dice, std::size_t stage) {
  constexpr std::array<std::int64_t, 6> kLow{8, 12, 16, 32, 64, 96};
  constexpr std::array<std::int64_t, 6> kHigh{96, 256, 512, 1024, 2304, 4096};
  return width(dice, kLow[stage], kHigh[stage]);
}

std::int64_t input_size(Dice& dice) {
  return dice.chance(0.9)
             ? dice.pick({224, 224, 224, 224, 256, 256, 192,  160, 128, 96,  240, 260, 288,
                          299, 300, 320, 331, 336, 352, 380,  384, 416, 448, 456, 512, 528,
                          600, 640, 640, 768, 800, 896, 1024, 64,  112, 176, 208, 272, 400})
             : dice.log_uniform(64, 1024);
}

// Height and width of an input at a stage; every fifth is not square.
void set_image(Dice& dice, LayerShape& layer, std::size_t stage) {
  const std::int64_t stride = std::int64_t{1} << stage;
  const std::int64_t height = input_size(dice);
  double aspect = 1;
  if (dice.chance(0.2)) {
    constexpr std::array<double, 8> kAspects{4.0 / 3, 16.0 / 9, 2, 1.66, 0.75, 0.5, 3.3, 1.5};
    aspect = kAspects[dice.below(kAspects.size())];
  }
  layer.image[1] = ceil_div(height, stride);
  layer.image[2] = ceil_div(
      std::max<std::int64_t>(32, round_to(static_cast<double>(height) * aspect, 16)), stride);
  if (aspect == 1) {
    layer.image[2] = layer.image[1];
  }
  if (dice.chance(0.04)) {  // padded by hand
    layer.image[1] += 1;
    layer.image[2] += 1;
  }
}

// A square filter with padding that keeps the size, as far as the stride allows.
void set_filter(LayerShape& layer, std::int64_t size, std::int64_t stride, std::int64_t rate = 1) {
  for (std::size_t axis = 1; axis < 3; ++axis) {
    layer.filter[axis] = size;
    layer.stride[axis] = static_cast<std::int32_t>(stride);
    layer.dilation[axis] = static_cast<std::int32_t>(rate);
    layer.pad[axis] = static_cast<std::int32_t>(rate * (size - 1) / 2);
  }
}

void pad_with(LayerShape& layer, std::int32_t pad) {
  layer.pad[1] = layer.pad[2] = pad;
}

// A one-dimensional layer: height 1.
void set_line(LayerShape& layer,
              std::int64_t length,
              std::int64_t size,
              std::int64_t stride,
              std::int64_t rate) {
  layer.image = {1, 1, length};
  layer.filter = {1, 1, size};
  layer.stride = {1, 1, static_cast<std::int32_t>(stride)};
  layer.dilation = {1, 1, static_cast<std::int32_t>(rate)};
  layer.pad = {0, 0, static_cast<std::int32_t>(rate * (size - 1) / 2)};
}

LayerShape dense(Dice& dice) {
  LayerShape layer;
  const std::size_t stage = dice.below(6);
  set_image(dice, layer, stage);
  layer.c = stage_width(dice, stage);
  layer.k = dice.chance(0.5) ? layer.c : dice.chance(0.5) ? 2 * layer.c : stage_width(dice, stage);
  set_filter(layer, dice.chance(0.9) ? 3 : dice.pick({5, 5, 7, 2, 4}), dice.chance(0.2) ? 2 : 1);
  if (dice.chance(0.08)) {
    pad_with(layer, 0);
  }
  return layer;
}

LayerShape pointwise(Dice& dice) {
  LayerShape layer;
  const std::size_t stage = dice.below(6);
  set_image(dice, layer, stage);
  const std::int64_t narrow = stage_width(dice, stage == 0 ? 0 : stage - 1);
  const std::int64_t ratio = dice.pick({1, 1, 2, 2, 3, 4, 4, 6});
  const std::int64_t wide =
      dice.chance(0.75) ? std::min<std::int64_t>(8192, narrow * ratio) : stage_width(dice, stage);
  layer.c = narrow;
  layer.k = wide;
  if (dice.chance(0.5)) {
    std::swap(layer.c, layer.k);
  }
  if (dice.chance(0.07)) {
    layer.stride = {1, 2, 2};
  }
  return layer;
}

LayerShape depthwise(Dice& dice) {
  LayerShape layer;
  const std::size_t stage = dice.below(6);
  set_image(dice, layer, stage);
  layer.c = layer.k = layer.groups = stage_width(dice, stage);
  const std::int64_t filter =
      dice.chance(0.85) ? dice.pick({3, 3, 3, 3, 5, 5, 5, 7, 7}) : dice.between(2, 31);
  set_filter(layer, filter, dice.chance(0.2) ? 2 : 1);
  if (dice.chance(0.08)) {  // unequal padding of other frameworks, done before the convolution
    pad_with(layer, 0);
  } else if (dice.chance(0.06)) {  // decomposed large filters
    layer.filter[1] = dice.pick({1, 3, 5});
    layer.filter[2] = dice.pick({7, 11, 21, 31});
    layer.stride = {1, 1, 1};
    for (std::size_t axis = 1; axis < 3; ++axis) {
      layer.pad[axis] = static_cast<std::int32_t>((layer.filter[axis] - 1) / 2);
    }
    if (dice.chance(0.5)) {
      std::swap(layer.filter[1], layer.filter[2]);
      std::swap(layer.pad[1], layer.pad[2]);
    }
  } else if (dice.chance(0.05)) {
    layer.k *= 2;
  }
  return layer;
}

LayerShape grouped(Dice& dice) {
  LayerShape layer;
  const std::size_t stage = 1 + dice.below(5);
  set_image(dice, layer, stage);
  if (dice.chance(0.6)) {  // groups of a width
    const std::int64_t each = dice.pick({4, 8, 8, 16, 16, 24, 32, 40, 48, 64, 112, 128, 264});
    layer.groups = std::max<std::int64_t>(2, stage_width(dice, stage) / each);
    layer.c = layer.k = layer.groups * each;
  } else {
    layer.groups = dice.pick({2, 2, 2, 3, 4, 4, 8, 16, 32, 32, 64});
    layer.c = ceil_div(stage_width(dice, stage), layer.groups) * layer.groups;
    layer.k = dice.chance(0.8) ? layer.c : 2 * layer.c;
  }
  set_filter(layer, dice.chance(0.75) ? 3 : dice.pick({1, 1, 5, 7}), dice.chance(0.2) ? 2 : 1);
  return layer;
}

// Squeeze and excitation, heads, and whatever else works on one or a few pixels.
LayerShape global(Dice& dice) {
  LayerShape layer;
  layer.c = width(dice, 32, 4096);
  layer.k = dice.chance(0.6) ? std::max<std::int64_t>(4, layer.c / dice.pick({4, 8, 16, 24, 32}))
                             : width(dice, 16, 4096);
  if (dice.chance(0.5)) {
    std::swap(layer.c, layer.k);
  }
  if (dice.chance(0.2)) {
    layer.image[1] = layer.image[2] = dice.pick({2, 3, 4, 5, 6, 7, 7, 8});
    if (dice.chance(0.4)) {  // a filter of the whole image
      layer.filter = layer.image;
    }
  } else if (dice.chance(0.2)) {
    layer.k = dice.pick({10, 21, 91, 100, 1000, 1000, 1001, 21841});
  }
  return layer;
}

LayerShape stem(Dice& dice) {
  LayerShape layer;
  set_image(dice, layer, 0);
  layer.c = dice.chance(0.75) ? 3 : dice.pick({1, 1, 2, 4, 5, 6, 9, 12, 13});
  layer.k = width(dice, 16, 192);
  const std::int64_t filter = dice.pick({3, 3, 3, 3, 7, 7, 7, 5, 9, 11, 4, 6});
  set_filter(layer, filter, dice.chance(0.65) ? 2 : dice.pick({1, 1, 1, 4}));
  if (dice.chance(0.2)) {
    pad_with(layer, static_cast<std::int32_t>(dice.between(0, filter / 2)));
  }
  return layer;
}

// Filters that do not overlap: patches, downsampling, reduction of keys and values.
LayerShape patches(Dice& dice) {
  LayerShape layer;
  const bool first = dice.chance(0.5);
  const std::size_t stage = first ? 0 : 1 + dice.below(5);
  set_image(dice, layer, stage);
  layer.c = first ? dice.pick({3, 3, 3, 3, 1, 4, 16}) : stage_width(dice, stage);
  const std::int64_t size =
      first ? dice.pick({2, 4, 4, 7, 8, 14, 16, 16, 16, 32}) : dice.pick({2, 2, 2, 4, 8});
  layer.k = first ? width(dice, 48, 1664) : layer.c * dice.pick({1, 2, 2});
  set_filter(layer, size, size);
  pad_with(layer, 0);
  for (std::size_t axis = 1; axis < 3; ++axis) {
    layer.image[axis] = ceil_div(layer.image[axis], size) * size;
  }
  return layer;
}

// Context at several rates, as segmentation has it.
LayerShape dilated(Dice& dice) {
  LayerShape layer;
  const std::size_t stage = 2 + dice.below(3);
  set_image(dice, layer, stage);
  layer.c = dice.chance(0.3) ? 2048 : stage_width(dice, stage);
  layer.k = dice.chance(0.5) ? dice.pick({128, 256, 256, 512}) : layer.c;
  if (dice.chance(0.15)) {
    layer.k = layer.groups = layer.c;
  }
  set_filter(
      layer, dice.chance(0.9) ? 3 : 5, 1, dice.pick({2, 2, 2, 3, 4, 4, 6, 8, 12, 18, 24, 36}));
  return layer;
}

// Input that grows by concatenation, output that does not.
LayerShape concatenated(Dice& dice) {
  LayerShape layer;
  const std::size_t stage = 1 + dice.below(5);
  set_image(dice, layer, stage);
  const std::int64_t growth = dice.pick({12, 16, 24, 32, 32, 40, 48, 64, 96, 128, 192});
  layer.c = std::min<std::int64_t>(4096, width(dice, 16, 512) + growth * dice.between(1, 30));
  layer.k = dice.chance(0.5) ? growth : dice.chance(0.5) ? 4 * growth : width(dice, 32, 1024);
  if (dice.chance(0.4)) {
    layer.c = std::min(layer.c, 8 * growth);
    set_filter(layer, 3, 1);
  }
  return layer;
}

// 1x7, 7x1 and their like.
LayerShape narrow(Dice& dice) {
  LayerShape layer;
  const std::size_t stage = 1 + dice.below(5);
  set_image(dice, layer, stage);
  layer.c = stage_width(dice, stage);
  layer.k = dice.chance(0.5) ? layer.c : stage_width(dice, stage);
  const std::size_t axis = 1 + dice.below(2);
  const std::int64_t size = dice.pick({3, 3, 5, 7, 7, 7, 9, 11});
  layer.filter[axis] = size;
  layer.pad[axis] = static_cast<std::int32_t>((size - 1) / 2);
  if (dice.chance(0.1)) {
    layer.stride[axis] = 2;
  }
  return layer;
}

// Pyramids and heads of detectors.
LayerShape detection(Dice& dice) {
  LayerShape layer;
  const std::int64_t stride = std::int64_t{4} << dice.below(6);
  const std::int64_t height =
      dice.pick({800, 800, 640, 640, 512, 416, 608, 320, 300, 768, 1024, 1280});
  const std::int64_t across = height == 800      ? dice.pick({1088, 1216, 1344, 1344, 800})
                              : dice.chance(0.8) ? height
                                                 : 2 * height;
  layer.image = {1, ceil_div(height, stride), ceil_div(across, stride)};
  if (dice.chance(0.15)) {  // regions
    layer.image = {1, dice.pick({7, 14, 28}), 0};
    layer.image[2] = layer.image[1];
    layer.largest_batch = 512;
  }
  layer.c = dice.chance(0.5) ? 256 : width(dice, 32, 2048);
  layer.k = dice.chance(0.4) ? 256
            : dice.chance(0.4)
                ? dice.pick({1,  3,  4,  5,  12,  15,  16,  18,  24,  36,  64,  75,  80,
                             81, 84, 85, 91, 126, 144, 150, 255, 273, 324, 486, 720, 819})
                : width(dice, 32, 1024);
  if (dice.chance(0.65)) {
    set_filter(layer, 3, dice.chance(0.1) ? 2 : 1);
  }
  return layer;
}

// U-Nets of diffusion models and the autoencoders beside them.
LayerShape diffusion(Dice& dice) {
  LayerShape layer;
  layer.largest_batch = 64;
  if (dice.chance(0.35)) {  // autoencoder
    const std::int64_t size = dice.pick({64, 96, 128, 128, 256, 256, 512, 512, 768, 1024});
    layer.image = {1, size, size};
    layer.c = dice.pick({128, 128, 256, 512, 512, 64, 192, 384});
    layer.k = dice.chance(0.6) ? layer.c : dice.pick({128, 256, 512, 3, 4, 8, 16, 32});
    if (dice.chance(0.1)) {
      layer.c = dice.pick({3, 4, 4, 8, 16, 32});
    }
  } else {
    const std::int64_t unit =
        dice.chance(0.6) ? 320 : dice.pick({64, 96, 128, 128, 160, 192, 224, 256, 384});
    const std::size_t level = dice.below(4);
    const std::int64_t size = dice.pick({64, 64, 96, 128, 32, 48, 72, 104, 152}) >> level;
    layer.image = {1, size, dice.chance(0.8) ? size : std::max<std::int64_t>(1, size * 3 / 2)};
    const std::int64_t here = unit * dice.pick({1, 2, 2, 4, 4});
    layer.k = here;
    layer.c = dice.chance(0.5) ? here : unit * dice.pick({1, 2, 3, 4, 6, 8});
    if (dice.chance(0.06)) {
      (dice.chance(0.5) ? layer.c : layer.k) = dice.pick({3, 4, 4, 8, 9, 16});
    }
  }
  if (dice.chance(0.8)) {
    set_filter(layer, 3, dice.chance(0.1) ? 2 : 1);
  }
  return layer;
}

// Super-resolution, restoration, matting, flow: few channels at high resolution, and U-Nets.
LayerShape restoration(Dice& dice) {
  LayerShape layer;
  layer.largest_batch = 64;
  if (dice.chance(0.5)) {
    const std::int64_t size =
        dice.chance(0.7) ? dice.pick({48, 64, 96, 128, 160, 192, 256, 320, 384, 480, 512, 720})
                         : dice.log_uniform(32, 1024);
    layer.image = {
        1, size, dice.chance(0.5) ? size : round_to(static_cast<double>(size) * 1.78, 8)};
    layer.c = width(dice, 16, 256);
    layer.k = dice.chance(0.55)  ? layer.c
              : dice.chance(0.3) ? dice.pick({1, 2, 3, 12, 27, 48})
                                 : width(dice, 16, 256);
    if (dice.chance(0.12)) {
      layer.c = dice.pick({1, 3, 3, 6, 12});
    }
    set_filter(layer, dice.chance(0.75) ? 3 : dice.pick({1, 1, 5, 7, 9}), 1);
  } else {
    const std::int64_t base = dice.pick({16, 24, 32, 32, 48, 64, 64, 64});
    const std::size_t level = dice.below(5);
    const std::int64_t size =
        dice.pick({256, 256, 320, 384, 512, 572, 512, 1024, 128, 160}) >> level;
    layer.image = {1, size, size};
    layer.k = base << level;
    layer.c = dice.chance(0.4)   ? layer.k
              : dice.chance(0.5) ? 2 * layer.k
              : dice.chance(0.5) ? 3 * layer.k
                                 : std::max<std::int64_t>(1, layer.k / 2);
    set_filter(layer, 3, 1);
    if (dice.chance(0.15)) {
      pad_with(layer, 0);
    }
  }
  return layer;
}

// What a transposed convolution runs: the data gradient of these, and the other way round.
LayerShape upsampling(Dice& dice) {
  LayerShape layer;
  const std::int64_t size = std::int64_t{8} << dice.below(7);
  layer.image = {1, size, size};
  layer.c = dice.chance(0.1) ? dice.pick({1, 3, 21}) : width(dice, 16, 1024);
  layer.k = dice.chance(0.6) ? std::min<std::int64_t>(2048, 2 * layer.c) : width(dice, 16, 1024);
  const std::int64_t filter = dice.pick({2, 2, 3, 4, 4, 4, 5, 8});
  set_filter(layer, filter, filter == 8 ? 4 : 2);
  pad_with(layer, filter == 2 ? 0 : static_cast<std::int32_t>((filter - 1) / 2));
  return layer;
}

// Speech, music, time series, text.
LayerShape audio(Dice& dice) {
  LayerShape layer;
  const double kind = static_cast<double>(dice.below(100)) / 100;
  if (kind < 0.3) {  // vocoders and codecs: from samples to frames
    const std::size_t level = dice.below(6);
    layer.c = std::max<std::int64_t>(16, dice.pick({512, 768, 1024, 1536}) >> level);
    layer.k = layer.c;
    set_line(layer,
             dice.log_uniform(16, 128) << (2 * level),
             dice.pick({3, 3, 7, 7, 11}),
             1,
             dice.pick({1, 1, 3, 5, 9}));
    if (dice.chance(0.25)) {
      const std::int64_t stride = dice.pick({2, 4, 5, 8});
      set_line(layer, layer.image[2], 2 * stride, stride, 1);
      layer.k = 2 * layer.c;
    }
  } else if (kind < 0.5) {  // features from the wave
    layer.c = dice.chance(0.25) ? dice.pick({1, 2, 80, 128})
                                : dice.pick({256, 384, 512, 512, 768, 1024, 1280});
    layer.k = dice.chance(0.7) ? std::max<std::int64_t>(layer.c, 256) : width(dice, 128, 2048);
    const std::int64_t filter = dice.pick({2, 3, 3, 3, 10});
    set_line(
        layer, dice.log_uniform(64, 32000), filter, filter == 10 ? 5 : dice.pick({1, 2, 2}), 1);
  } else if (kind < 0.75) {  // along frames: conformers, text to speech, separation
    layer.c = layer.k = width(dice, 80, 2048);
    const double which = static_cast<double>(dice.below(100)) / 100;
    if (which < 0.3) {
      layer.groups = layer.c;
      set_line(layer, dice.log_uniform(32, 4000), dice.pick({3, 5, 7, 15, 31, 31, 33, 51}), 1, 1);
    } else if (which < 0.6) {
      layer.k = layer.c * dice.pick({1, 2, 3, 4});
      set_line(layer, dice.log_uniform(32, 4000), dice.pick({1, 1, 1, 3, 5, 9}), 1, 1);
      if (dice.chance(0.5)) {
        std::swap(layer.c, layer.k);
      }
    } else if (which < 0.68) {
      layer.groups = 16;
      layer.c = layer.k = dice.pick({512, 768, 1024, 1280});
      set_line(layer, dice.log_uniform(50, 1500), 128, 1, 1);
    } else {
      set_line(layer,
               dice.log_uniform(32, 4000),
               dice.pick({2, 3, 3, 5, 9}),
               1,
               std::int64_t{1} << dice.below(8));
    }
  } else {  // spectrograms and other images of sound
    layer.c = dice.chance(0.25) ? dice.pick({1, 1, 2, 4}) : width(dice, 16, 768);
    layer.k = dice.chance(0.5) && layer.c > 4 ? layer.c : width(dice, 32, 768);
    layer.image = {1,
                   dice.pick({4, 5, 10, 20, 32, 40, 64, 80, 128, 161, 257, 513}),
                   dice.log_uniform(50, 2000)};
    if (dice.chance(0.2)) {
      layer.filter = {1, dice.pick({3, 5, 21, 41}), dice.pick({1, 3, 5, 9, 11})};
      layer.pad = {0,
                   static_cast<std::int32_t>(layer.filter[1] / 2),
                   static_cast<std::int32_t>(layer.filter[2] / 2)};
      layer.stride = {1,
                      static_cast<std::int32_t>(dice.pick({1, 2})),
                      static_cast<std::int32_t>(dice.pick({1, 1, 2}))};
    } else {
      set_filter(layer, dice.pick({1, 3, 3, 3, 5}), dice.chance(0.2) ? 2 : 1);
    }
  }
  return layer;
}

// Video and volumes.
LayerShape volume(Dice& dice) {
  LayerShape layer;
  layer.rank = 3;
  layer.largest_batch = 32;
  const std::size_t level = dice.below(5);
  if (dice.chance(0.5)) {  // video
    const std::int64_t size = dice.pick({112, 112, 128, 160, 182, 224, 256}) >> level;
    layer.image = {std::max<std::int64_t>(1, dice.pick({4, 8, 8, 16, 16, 32, 64}) >> dice.below(3)),
                   size,
                   size};
    layer.c = width(dice, 8 << level, 96 << level);
    layer.k = dice.chance(0.5) ? layer.c : width(dice, 8 << level, 128 << level);
    const double kind = static_cast<double>(dice.below(100)) / 100;
    layer.filter = kind < 0.35   ? std::array<std::int64_t, 3>{3, 3, 3}
                   : kind < 0.5  ? std::array<std::int64_t, 3>{1, 3, 3}
                   : kind < 0.65 ? std::array<std::int64_t, 3>{3, 1, 1}
                   : kind < 0.92 ? std::array<std::int64_t, 3>{1, 1, 1}
                                 : std::array<std::int64_t, 3>{dice.pick({1, 3, 5, 7}), 7, 7};
    if (kind >= 0.92 && dice.chance(0.7)) {
      layer.c = 3;
      layer.image[1] = layer.image[2] = size << level;
      layer.stride = {1, 2, 2};
    }
    if (kind < 0.35 && dice.chance(0.2)) {
      layer.k = layer.groups = layer.c;
    }
  } else {  // medical volumes
    const std::int64_t size = dice.pick({64, 80, 96, 96, 112, 128, 128, 160, 192}) >> level;
    layer.image = {dice.chance(0.7) ? size : std::max<std::int64_t>(1, size / 2), size, size};
    const std::int64_t base = dice.pick({8, 16, 16, 24, 32, 32, 48});
    layer.k = std::min<std::int64_t>(dice.chance(0.5) ? 320 : 1024, base << level);
    layer.c = dice.chance(0.5)   ? layer.k
              : dice.chance(0.5) ? 2 * layer.k
                                 : std::max<std::int64_t>(1, layer.k / 2);
    if (dice.chance(0.08)) {
      layer.c = dice.pick({1, 1, 2, 4});
    } else if (dice.chance(0.06)) {
      layer.k = dice.pick({1, 2, 3, 4, 14});
    }
    const std::int64_t size_of_filter = dice.pick({3, 3, 3, 3, 1, 1, 2, 5});
    layer.filter = {size_of_filter, size_of_filter, size_of_filter};
  }
  const bool halves = layer.filter[0] == 2 || dice.chance(0.15);
  for (std::size_t axis = 0; axis < 3; ++axis) {
    layer.pad[axis] = static_cast<std::int32_t>((layer.filter[axis] - 1) / 2);
    if (halves && (layer.filter[axis] > 1 || layer.filter[1] == 1)) {
      layer.stride[axis] = 2;
    }
  }
  return layer;
}

// Small pictures, boards, game screens, maps of features: whatever is trained at home.
LayerShape small(Dice& dice) {
  LayerShape layer;
  layer.largest_batch = 512;
  const std::int64_t size = dice.pick({32, 32, 32, 16, 8, 28, 14, 19, 9, 64, 84, 20, 48, 4});
  layer.image = {1, size, size};
  layer.c = dice.chance(0.15) ? dice.pick({1, 3, 3, 4, 17, 119}) : width(dice, 16, 640);
  layer.k = dice.chance(0.5) && layer.c >= 16 ? layer.c : width(dice, 6, 640);
  if (size == 84) {
    set_filter(layer, 8, 4);
    pad_with(layer, 0);
  } else {
    set_filter(layer, dice.pick({1, 3, 3, 3, 3, 3, 5, 4}), dice.chance(0.15) ? 2 : 1);
    if (dice.chance(0.15)) {
      pad_with(layer, 0);
    }
  }
  return layer;
}

struct Idiom {
  int weight;
  LayerShape (*draw)(Dice&);
};
constexpr std::array<Idiom, 17> kIdioms{{{15, dense},
                                         {16, pointwise},
                                         {10, depthwise},
                                         {6, grouped},
                                         {4, global},
                                         {5, stem},
                                         {4, patches},
                                         {4, dilated},
                                         {5, concatenated},
                                         {3, narrow},
                                         {6, detection},
                                         {7, diffusion},
                                         {6, restoration},
                                         {3, upsampling},
                                         {6, audio},
                                         {5, volume},
                                         {3, small}}};

}  // namespace

LayerShape draw_idiom(Dice& dice) {
  int all = 0;
  for (const Idiom& idiom : kIdioms) {
    all += idiom.weight;
  }
  auto left = static_cast<int>(dice.below(static_cast<std::size_t>(all)));
  for (const Idiom& idiom : kIdioms) {
    left -= idiom.weight;
    if (left < 0) {
      return idiom.draw(dice);
    }
  }
  return kIdioms.front().draw(dice);
}

}  // namespace reformer::cli
