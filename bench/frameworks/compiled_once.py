#!/usr/bin/env python3
"""Kernels that cuDNN compiles are compiled once for the host: what a new process gains.

  bench/frameworks/compiled_once.py [--bin build/release/bin] [--frameworks torch jax]

Two depthwise convolutions (7x7, f16) of a process of PyTorch and of JAX, each process by itself and
with an empty compile cache of the driver: as it is, under the shim with nothing measured, and three
times after a private daemon has measured them. Prints the seconds to each convolution's first
result, how many plans were loaded, and what went wrong (docs/shim.md, "Compiled once"). Exit code 1
if a process failed, results differ, or nothing was measured.
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

WIDTHS = (96, 192)
BATCH, FILTER = 64, 7
SIZES = {'torch': 56, 'jax': 48}  # different problems: nothing is measured when the second begins


def torch_program(note):
    import torch
    torch.ones(8, 8, device='cuda') @ torch.ones(8, 8, device='cuda')
    for width in WIDTHS:
        torch.manual_seed(1)
        x = torch.randn(BATCH, width, SIZES['torch'], SIZES['torch'], device='cuda', dtype=torch.float16)
        w = torch.randn(width, 1, FILTER, FILTER, device='cuda', dtype=torch.float16)
        x, w = (t.contiguous(memory_format=torch.channels_last) for t in (x, w))
        torch.cuda.synchronize()
        started = time.perf_counter()
        y = torch.nn.functional.conv2d(x, w, padding=FILTER // 2, groups=width)
        torch.cuda.synchronize()
        note(width, time.perf_counter() - started, y.float().abs().mean().item())
        for _ in range(20):  # what is used is worth keeping
            torch.nn.functional.conv2d(x, w, padding=FILTER // 2, groups=width)
    torch.cuda.synchronize()


def jax_program(note):
    import jax
    import jax.numpy as jnp
    jax.block_until_ready(jnp.ones((8, 8)) @ jnp.ones((8, 8)))
    for width in WIDTHS:
        key = jax.random.PRNGKey(1)
        x = jax.random.normal(key, (BATCH, SIZES['jax'], SIZES['jax'], width)).astype(jnp.float16)
        w = jax.random.normal(key, (FILTER, FILTER, 1, width)).astype(jnp.float16)
        convolve = jax.jit(lambda x, w, width=width: jax.lax.conv_general_dilated(
            x, w, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
            feature_group_count=width))
        jax.block_until_ready((x, w))
        started = time.perf_counter()
        y = jax.block_until_ready(convolve(x, w))
        seconds = time.perf_counter() - started
        note(width, seconds, float(jnp.abs(y.astype(jnp.float32)).mean()))
        for _ in range(20):
            y = convolve(x, w)
        jax.block_until_ready(y)


PROGRAMS = {'torch': torch_program, 'jax': jax_program}


def run(framework, shim, socket, folder, library_path):
    """Of a process of its own: its notes, and what the daemon's list of clients says of it."""
    environment = {**os.environ, 'XLA_PYTHON_CLIENT_PREALLOCATE': 'false', 'TF_CPP_MIN_LOG_LEVEL': '3',
                   'CUDA_CACHE_PATH': tempfile.mkdtemp(prefix='compiled-', dir=folder)}
    if library_path is not None:
        environment['LD_LIBRARY_PATH'] = library_path
    if shim is not None:
        environment |= {'LD_PRELOAD': str(shim), 'REFORMER_SOCKET': socket}
    done = subprocess.run([sys.executable, __file__, '--program', framework], env=environment,
                          capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        sys.exit(f'{framework} failed ({done.returncode}): {done.stderr[-2000:]}')
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{')]


def compare(options, framework, shim, daemon, folder):
    def once(name, with_shim):
        notes = run(framework, shim if with_shim else None, daemon.socket, folder,
                    options.library_path)
        times = ', '.join(f"{n['width']} channels {n['first_s']:.3f} s" for n in notes)
        print(f'{framework:5} {name:9} {times}', flush=True)
        return notes

    once('warm', False)  # its libraries come from disk
    runs = [once('plain', False), once('cold', True)]
    measured = daemon.wait_measured(120)
    time.sleep(1)  # a plan that was missing is looked for
    measured = daemon.wait_measured(60) and measured
    runs += [once('measured', True) for _ in range(3)]
    good = measured
    if not measured:
        print('BAD: not everything was measured in time')
    for made in runs[1:]:
        for a, b in zip(made, runs[0]):
            if abs(a['mean'] - b['mean']) > 0.002 * abs(b['mean']):
                print(f"BAD: {framework}'s results differ: {a} {b}")
                good = False
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--bin', type=pathlib.Path)
    parser.add_argument('--shim', type=pathlib.Path)
    parser.add_argument('--library-path', help='LD_LIBRARY_PATH of the applications')
    parser.add_argument('--frameworks', nargs='+', choices=PROGRAMS, default=tuple(PROGRAMS))
    parser.add_argument('--program', choices=PROGRAMS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.program:
        PROGRAMS[options.program](lambda width, first_s, mean: print(
            json.dumps({'width': width, 'first_s': first_s, 'mean': mean}), flush=True))
        return 0
    from compare import Daemon, find_binaries
    find_binaries(options)
    folder = pathlib.Path(tempfile.mkdtemp(prefix='reformer-compiled.'))
    daemon = Daemon(options.bin, folder, ())
    try:
        good = [compare(options, framework, options.shim, daemon, folder)
                for framework in options.frameworks]
        for what in ('status', 'clients'):
            print(f'--- reformerctl {what}\n{daemon.control(what)[1]}')
    finally:
        daemon.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if all(good) else 1


if __name__ == '__main__':
    sys.exit(main())
