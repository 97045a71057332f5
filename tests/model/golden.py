#!/usr/bin/env python3
"""Forward values of the network, the targets, the loss, the judge and the
time network, computed without any of the
project's code and without any library: what golden_test.cpp compares with.

    python3 tests/model/golden.py > tests/model/golden_values.h

All inputs and parameters come from number(), which golden_test.cpp has, too.
"""
import math


def number(stream, i):
    """A pseudo-random number in [-1, 1), exact in any floating-point type of 17 bits or more."""
    x = (i * 1103515245 + stream * 2654435761 + 12345) % 2**32
    x = (x ^ (x >> 15)) * 2246822519 % 2**32
    return (x >> 16) / 32768 - 1


class Parameters:
    """Consecutive numbers of a stream, scaled: the flat array that layers.h describes."""

    def __init__(self, stream, scale):
        self.stream, self.scale, self.next = stream, scale, 0

    def vector(self, n):
        values = [self.scale * number(self.stream, self.next + i) for i in range(n)]
        self.next += n
        return values

    def matrix(self, rows, columns):
        return [self.vector(columns) for _ in range(rows)]


def times(x, w):
    return [sum(a * row[j] for a, row in zip(x, w)) for j in range(len(w[0]))]


def plus(*vectors):
    return [sum(values) for values in zip(*vectors)]


def relu(x):
    return [max(0.0, value) for value in x]


def gamma_block(x, p, hidden, out):
    w1, b1 = p.matrix(len(x), hidden), p.vector(hidden)
    w2, w3, b = p.matrix(hidden, out), p.matrix(len(x), out), p.vector(out)
    return relu(plus(times(relu(plus(times(x, w1), b1)), w2), times(x, w3), b))


def mlp_block(x, p, hidden, out):
    w1, b1 = p.matrix(len(x), hidden), p.vector(hidden)
    w2, b = p.matrix(hidden, out), p.vector(out)
    return relu(plus(times(relu(plus(times(x, w1), b1)), w2), b))


def affine(x, p, out):
    w, b = p.matrix(len(x), out), p.vector(out)
    return plus(times(x, w), b)


def normalise(x, gain, shift):
    mean = sum(x) / len(x)
    variance = sum((v - mean) ** 2 for v in x) / len(x)
    scale = 1 / math.sqrt(variance + 1e-5)
    return [(v - mean) * scale * g + s for v, g, s in zip(x, gain, shift)]


def softmax(x):
    e = [math.exp(v - max(x)) for v in x]
    return [v / sum(e) for v in e]


def transformer_block(x, p, tokens, width, heads, hidden):
    gain1, shift1 = p.vector(width), p.vector(width)
    wq, wk, wv, wo = (p.matrix(width, width) for _ in range(4))
    gain2, shift2 = p.vector(width), p.vector(width)
    w1, b1 = p.matrix(width, hidden), p.vector(hidden)
    w2, b2 = p.matrix(hidden, width), p.vector(width)
    rows = [x[t * width:(t + 1) * width] for t in range(tokens)]
    normed = [normalise(row, gain1, shift1) for row in rows]
    q, k, v = ([times(row, w) for row in normed] for w in (wq, wk, wv))
    hw = width // heads
    mixed = [[0.0] * width for _ in range(tokens)]
    for h in range(heads):
        part = slice(h * hw, (h + 1) * hw)
        for i in range(tokens):
            weights = softmax([sum(a * b for a, b in zip(q[i][part], k[j][part])) / math.sqrt(hw)
                               for j in range(tokens)])
            for d in range(h * hw, (h + 1) * hw):
                mixed[i][d] = sum(weights[j] * v[j][d] for j in range(tokens))
    z = [plus(row, times(m, wo)) for row, m in zip(rows, mixed)]
    y = []
    for row in z:
        inner = relu(plus(times(normalise(row, gain2, shift2), w1), b1))
        y += plus(row, times(inner, w2), b2)
    return y


# Whole networks: 88 features, 23 indicators, one-hot of two combinations; then logits of one
# combination's classes. As golden_test.cpp builds them.
FEATURES = 88
# fwd f16 nhwc dense; wgrad f32 nchw 3-D depthwise without tensor cores, deterministic
INDICATORS = ([0, 5, 13, 15], [2, 3, 12, 17, 18, 20, 21])
CLASS_ROWS = ([0, 1, 2], [3, 4])


def network_input(combination):
    x = [number(1, i) for i in range(FEATURES)]
    indicators = [1.0 if i in INDICATORS[combination] else 0.0 for i in range(23)]
    return x + indicators + [1.0 if i == combination else 0.0 for i in range(2)]


def logits(embedding, combination):
    rows = Parameters(3, 0.25).matrix(5, len(embedding) + 1)
    return [sum(a * b for a, b in zip(embedding + [1.0], rows[r])) for r in CLASS_ROWS[combination]]


def gamma_network(combination):
    p, x = Parameters(2, 0.125), network_input(combination)
    for hidden, out in ((64, 128), (256, 64), (64, 32)):
        x = gamma_block(x, p, hidden, out)
    return logits(x, combination)


def mlp_network(combination):
    p, x = Parameters(2, 0.125), network_input(combination)
    for hidden, out in ((48, 40), (33, 17)):  # not multiples of a register
        x = mlp_block(x, p, hidden, out)
    return logits(x, combination)


def transformer_network(combination):
    p, x = Parameters(2, 0.125), network_input(combination)
    x = affine(x, p, 8 * 32)
    for _ in range(2):
        x = transformer_block(x, p, 8, 32, 4, 128)
    return logits(relu(affine(x, p, 32)), combination)


LOG_SLOWDOWN = [0.25, 0.0, 1.0, 0.0625]
BEST_US = 400.0
LOGITS = [0.5, -1.0, 2.0, 0.25, 1.5, -0.75]
EXISTING_ROWS = [1, 2, 4, 5]  # of the logits; in the order of LOG_SLOWDOWN


def target(kind, sharpness):
    times_us = [BEST_US * math.exp(s) for s in LOG_SLOWDOWN]
    if kind == "one-hot":
        return [1.0 if t == min(times_us) else 0.0 for t in times_us]
    if kind == "ratio":
        p = [t ** -sharpness for t in times_us]
    else:
        p = [math.exp(-sharpness * t / 1000) for t in times_us]
    return [v / sum(p) for v in p]


def loss(kind, sharpness, all_share, regret):
    p = target(kind, sharpness)
    existing = softmax([LOGITS[r] for r in EXISTING_ROWS])
    everything = softmax(LOGITS)
    value = -(1 - all_share) * sum(a * math.log(b) for a, b in zip(p, existing))
    value -= all_share * sum(a * math.log(everything[r]) for a, r in zip(p, EXISTING_ROWS))
    return value + regret * sum(a * s for a, s in zip(existing, LOG_SLOWDOWN))


def judge():
    inputs = [number(4, i) for i in range(119)]
    p = Parameters(5, 0.25)
    w1, b1 = p.matrix(119, 32), p.vector(32)
    w2, b2 = p.matrix(32, 3), p.vector(3)
    out = plus(times(relu(plus(times(inputs, w1), b1)), w2), b2)
    return [1 / (1 + math.exp(-out[0]))] + out[1:]


def expected_log2_us():
    x = [number(6, i) for i in range(111)]
    p = Parameters(7, 0.25)
    for out in (128, 64):
        x = relu(affine(x, p, out))
    return affine(x, p, 1)


def block_values(block, inputs, *shape):
    """Two samples, one after the other; scale 0.5."""
    values = []
    for sample in range(2):
        x = [number(1, sample * inputs + i) for i in range(inputs)]
        values += block(x, Parameters(2, 0.5), *shape)
    return values


def show(name, values):
    print(f"inline constexpr std::array<double, {len(values)}> {name} = {{")
    for i in range(0, len(values), 4):
        print("    " + ", ".join(f"{v:.12g}" for v in values[i:i + 4]) + ",")
    print("};")


def main():
    print("#pragma once\n\n// Written by golden.py: do not edit.\n\n#include <array>\n")
    print("// clang-format off\nnamespace reformer::model::golden {\n")
    show("kGammaBlock", block_values(gamma_block, 5, 16, 8))
    show("kMlpBlock", block_values(mlp_block, 5, 16, 8))
    show("kTransformerBlock", block_values(transformer_block, 24, 3, 8, 2, 12))
    for combination in range(2):
        show(f"kGammaNetwork{combination}", gamma_network(combination))
        show(f"kMlpNetwork{combination}", mlp_network(combination))
        show(f"kTransformerNetwork{combination}", transformer_network(combination))
    show("kRatioTarget", target("ratio", 1))
    show("kSharpRatioTarget", target("ratio", 4))
    show("kOneHotTarget", target("one-hot", 1))
    show("kSoftmaxTarget", target("softmax", 1))
    show("kLosses", [loss("ratio", 1, 0, 0), loss("ratio", 4, 0.25, 2), loss("one-hot", 1, 0, 0),
                     loss("softmax", 3, 1, 0)])
    show("kJudgement", judge())
    show("kExpectedLog2Us", expected_log2_us())
    print("\n}  // namespace reformer::model::golden")


main()
