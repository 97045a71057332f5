"""Runs JAX configurations for compare.py; see fork_server.py. A small residual network."""
import os
import statistics
import time

os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import jax
import jax.numpy as jnp

from fork_server import serve

DTYPES = {'f16': jnp.float16, 'bf16': jnp.bfloat16, 'f32': jnp.float32, 'tf32': jnp.float32}
WIDTHS = (64, 128, 256)


def make_parameters(key, dtype):
    shapes, inputs = [(7, 7, 3, 64)], 64
    for width in WIDTHS:
        shapes += [(3, 3, inputs, width), (3, 3, width, width), (1, 1, inputs, width)]
        inputs = width
    keys = jax.random.split(key, len(shapes) + 1)
    filters = [(jax.random.normal(k, s) * (2 / (s[0] * s[1] * s[2])) ** 0.5).astype(dtype)
               for k, s in zip(keys, shapes)]
    return filters + [(jax.random.normal(keys[-1], (inputs, 10)) * 0.05).astype(dtype)]


def conv(x, w, stride=1):
    return jax.lax.conv_general_dilated(x, w, (stride, stride), 'SAME',
                                        dimension_numbers=('NHWC', 'HWIO', 'NHWC'))


def network(parameters, x):
    x = jax.nn.relu(conv(x, parameters[0], 2))
    for level in range(len(WIDTHS)):
        a, b, skip = parameters[1 + 3 * level:4 + 3 * level]
        y = conv(jax.nn.relu(conv(x, a, 2)), b)
        x = jax.nn.relu(y + conv(x, skip, 2))
    return x.mean((1, 2)) @ parameters[-1]


def loss_of(parameters, x):
    logits = network(parameters, x).astype(jnp.float32)
    wanted = jax.nn.one_hot(jnp.arange(len(x)) % 10, 10)
    return -(jax.nn.log_softmax(logits) * wanted).sum(1).mean()


def run(config):
    dtype = DTYPES[config['dtype']]
    if config['dtype'] == 'f32':
        jax.config.update('jax_default_matmul_precision', 'highest')
    started = time.perf_counter()
    key = jax.random.PRNGKey(1)
    parameters = make_parameters(key, dtype)
    x = jax.random.normal(key, (config['batch'], config['size'], config['size'], 3)).astype(dtype)

    def train(parameters, x):
        loss, gradients = jax.value_and_grad(loss_of)(parameters, x)
        return [p - 0.001 * g.astype(p.dtype) for p, g in zip(parameters, gradients)], loss

    step = jax.jit(train) if config['train'] else jax.jit(lambda p, x: (p, loss_of(p, x)))
    jax.block_until_ready(x)
    ready = time.perf_counter()
    parameters, loss = step(parameters, x)
    losses = [float(loss)]
    first = time.perf_counter()
    for _ in range(5):
        parameters, loss = step(parameters, x)
        losses.append(float(loss))
    blocks, begin = [], time.perf_counter()
    while len(blocks) < 5 or (time.perf_counter() - begin < config.get('steady_s', 1.5) and
                              len(blocks) < 400):
        at = time.perf_counter()
        for _ in range(5):
            parameters, loss = step(parameters, x)
        jax.block_until_ready(loss)
        blocks.append((time.perf_counter() - at) / 5)
    return {'setup_s': ready - started, 'first_step_s': first - ready,
            'gpu_ms': 1e3 * min(blocks),  # nearly: a step is launched at once
            'step_ms': 1e3 * statistics.median(blocks), 'step_min_ms': 1e3 * min(blocks),
            'steps': 5 * len(blocks), 'losses': losses,
            'versions': {'jax': jax.__version__, 'gpu': jax.devices()[0].device_kind}}


if __name__ == '__main__':
    serve(run)
