#!/usr/bin/env python3
"""Unmodified PyTorch and JAX programs with and without the shim, on this machine's GPU.

  bench/frameworks/compare.py [--bin build/release/bin] [--out results.jsonl] [--set smoke]
      [--limit SECONDS] [--only TEXT...] [--runs RUN...] [--repeats N] [--daemon LINE...]
      [--export FILE]

Starts a private daemon in a temporary folder. Each configuration runs in processes of its own:
  plain      as it is                       benchmark  torch.backends.cudnn.benchmark = True
  cold       the shim, nothing measured     verified   the shim, every problem measured
  frozen     the shim and a snapshot        plain2     as it is, again: how far two runs differ
  frozen2    the same again: the same bits, with deterministic algorithms
  searching  as cold, with torch.backends.cudnn.benchmark = True: it searches the shim's answers
and, where the configuration says so, `uncontrolled`: with a daemon that measures meanwhile, is
killed, stopped and started again. With --repeats each run is made so many times, in turn with the
others of its phase; the table has their medians. Results are written as they come, one JSON object
a line; a table follows at the end (docs/frameworks.md is made of it). Exit code 1 if a run failed
or differs.
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def torch_config(model, dtype, layout, train, batch, size, **more):
    name = f"{model} {'train' if train else 'infer'} {dtype} {layout} n{batch} {size}px"
    name += ' deterministic' if more.get('deterministic') else ''
    return {'name': name, 'server': 'torch', 'model': model, 'dtype': dtype, 'layout': layout,
            'train': train, 'batch': batch, 'size': size, **more}


def jax_config(dtype, train, batch, size, **more):
    name = f"jax {'train' if train else 'infer'} {dtype} nhwc n{batch} {size}px"
    return {'name': name, 'server': 'jax', 'model': 'jax', 'dtype': dtype, 'layout': 'nhwc',
            'train': train, 'batch': batch, 'size': size, **more}


RUNS = ('plain', 'benchmark', 'cold', 'searching', 'verified', 'frozen', 'frozen2', 'uncontrolled', 'plain2')
UNMEASURED = ('plain', 'benchmark', 'cold', 'searching')  # made first
TORCH = ('plain', 'benchmark', 'cold', 'searching', 'verified', 'frozen', 'plain2')
DEPTHWISE = TORCH
JAX = ('plain', 'cold', 'verified', 'frozen', 'plain2')
SETS = {
    'smoke': [
        torch_config('resnet50', 'f16', 'nhwc', True, 64, 224, runs=('plain', 'cold', 'verified')),
        torch_config('resnet50', 'f32', 'nchw', True, 32, 224, runs=('plain', 'cold', 'verified')),
        jax_config('f32', True, 32, 64, runs=('plain', 'cold', 'verified')),
    ],
    # Depthwise convolutions, for which cuDNN compiles kernels at run time (docs/shim.md).
    'depthwise': [
        torch_config('mobilenetv3', 'f16', 'nhwc', False, 256, 224, runs=DEPTHWISE),
        torch_config('convnext', 'f16', 'nhwc', False, 64, 224, runs=DEPTHWISE),
        torch_config('mobilenetv3', 'f16', 'nhwc', False, 16, 224, runs=DEPTHWISE),
        torch_config('mobilenetv3', 'f16', 'nhwc', True, 128, 224, runs=DEPTHWISE),
        torch_config('convnext', 'bf16', 'nhwc', True, 64, 224, runs=DEPTHWISE),
    ],
    # In order of priority: the limit cuts the end off.
    'table': [
        torch_config('resnet50', 'f16', 'nhwc', True, 128, 224, runs=TORCH + ('uncontrolled',)),
        torch_config('unet', 'tf32', 'nchw', False, 2, 1024, runs=TORCH),
        torch_config('diffusion', 'bf16', 'nhwc', True, 64, 64, runs=TORCH),
        torch_config('resnet50', 'f32', 'nchw', True, 32, 224, runs=TORCH),
        torch_config('mobilenetv3', 'f16', 'nhwc', False, 256, 224, runs=TORCH),
        jax_config('bf16', True, 128, 224, runs=JAX),
        torch_config('resnet50', 'f16', 'nhwc', True, 64, 224, deterministic=True,
                     runs=('plain', 'benchmark', 'cold', 'verified', 'frozen', 'frozen2')),
        torch_config('unet', 'f16', 'nhwc', True, 2, 1024, runs=TORCH),
        torch_config('resnet50', 'tf32', 'nhwc', True, 32, 224, runs=TORCH),
        torch_config('mobilenetv3', 'tf32', 'nchw', True, 64, 224, runs=TORCH),
        torch_config('diffusion', 'f32', 'nchw', False, 16, 64, runs=TORCH),
        torch_config('resnet50', 'bf16', 'nchw', False, 64, 224, runs=TORCH),
        torch_config('unet', 'f32', 'nchw', True, 1, 512, deterministic=True, runs=TORCH),
        jax_config('f32', True, 64, 128, runs=JAX),
    ],
}
# The first loss may differ by so much, relatively, and the sixth by ten times that and 2 % more:
# another kernel adds in another order, and training amplifies that from step to step.
TOLERANCE = {'f16': 0.002, 'bf16': 0.01, 'tf32': 0.001, 'f32': 0.00001}


class Server:
    """A fork server: see fork_server.py."""

    def __init__(self, program, environment, errors):
        self.process = subprocess.Popen([sys.executable, str(HERE / f'{program}_server.py')],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=errors, env=environment, text=True)

    def wait_ready(self):
        if 'ready' not in self.process.stdout.readline():
            raise RuntimeError('a server did not start')

    def run(self, config):
        self.process.stdin.write(json.dumps(config) + '\n')
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        return json.loads(line) if line else {'ok': False, 'error': 'the server died'}

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()


class Daemon:
    """A private reformerd that measures only when it is told to."""

    def __init__(self, binaries, folder, lines):
        self.binaries, self.folder, self.process = binaries, folder, None
        self.lines = ''.join(line + '\n' for line in lines)
        self.socket = str(folder / 'socket')
        self.log = open(folder / 'reformerd.log', 'ab')
        self.start(measure=False)

    def write_config(self, measure):
        quiet = '' if measure else 'quiet_hours = "00:00-23:59"\n'
        (self.folder / 'reformerd.toml').write_text(
            f'{quiet}max_gpu_share = 1.0\nverify_after_ms = 300\n' + self.lines)

    def start(self, measure):
        self.write_config(measure)
        self.process = subprocess.Popen(
            [self.binaries / 'reformerd', '--foreground', '--config', self.folder / 'reformerd.toml',
             '--state-dir', self.folder / 'state', '--socket', self.socket,
             '--model', ROOT / 'data/h200.reformer', '--timer', 'gpu'], stderr=self.log)
        for _ in range(200):
            if self.control('status')[0] == 0:
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise RuntimeError('the daemon did not start: ' + self.tail())

    def control(self, *words):
        run = subprocess.run([self.binaries / 'reformerctl', *words], capture_output=True,
                             text=True, timeout=60,
                             env={**os.environ, 'REFORMER_SOCKET': self.socket})
        return run.returncode, run.stdout + run.stderr

    def measure(self, on):
        self.write_config(on)
        self.process.send_signal(signal.SIGHUP)

    def wait_measured(self, limit_s):
        self.measure(True)
        deadline, quiet = time.monotonic() + limit_s, 0
        while quiet < 2 and time.monotonic() < deadline:
            time.sleep(0.25)
            status = json.loads(self.control('status', '--json')[1])
            busy = status['queue']['length'] > 0 or any(w.get('current') for w in status['workers'])
            quiet = 0 if busy else quiet + 1
        self.measure(False)
        return quiet >= 2

    def tail(self):
        text = (self.folder / 'reformerd.log').read_text(errors='replace')
        return text[-3000:]

    def stop(self):
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()


def harass(daemon, stop):
    """Kills, stops and restarts the daemon beside a running application."""
    while not stop.is_set():
        for action in ('stop', 'kill', 'restart'):
            if stop.wait(0.7):
                break
            if action == 'stop':
                daemon.process.send_signal(signal.SIGSTOP)
            elif action == 'kill':
                daemon.process.kill()
                daemon.process.wait()
            else:
                daemon.start(measure=True)
    if daemon.process.poll() is not None:
        daemon.start(measure=False)
    daemon.process.send_signal(signal.SIGCONT)


class Watch:
    """What `reformerctl clients` last said of the applications that ran meanwhile."""

    def __init__(self, daemon, wanted):
        self.daemon, self.wanted, self.rows = daemon, wanted, {}
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.watch)

    def watch(self):
        while not self.done.wait(0.4):
            try:
                rows = json.loads(self.daemon.control('clients', '--json')[1])
                rows = rows['rows'] if isinstance(rows, dict) else rows
            except (ValueError, KeyError, subprocess.TimeoutExpired):
                continue
            for row in rows:
                if row.get('program') != 'reformerctl':
                    self.rows[row['pid']] = row

    def __enter__(self):
        if self.wanted:
            self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        if self.wanted:
            self.thread.join()


class Comparison:
    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.begin, self.results, self.bad = time.monotonic(), {}, []
        self.out = open(options.out, 'w') if options.out else None
        self.configs = [c for c in SETS[options.set] if any(text in c['name'] for text in options.only)]
        for config in self.configs:
            config['runs'] = tuple(run for run in config['runs'] if run in options.runs)
        self.daemon = Daemon(options.bin, folder, options.daemon)
        self.errors = open(folder / 'applications.log', 'ab')
        kinds = sorted({c['server'] for c in self.configs})
        self.servers = {(kind, shim): self.start_server(kind, shim)
                        for kind in kinds for shim in (False, True)}
        for server in self.servers.values():
            server.wait_ready()
        self.note({'event': 'servers ready', 'after_s': self.elapsed()})

    def elapsed(self):
        return time.monotonic() - self.begin

    def start_server(self, kind, shim):
        environment = dict(os.environ)
        if self.options.library_path is not None:
            environment['LD_LIBRARY_PATH'] = self.options.library_path
        if shim:
            environment['LD_PRELOAD'] = str(self.options.shim)
            environment['REFORMER_SOCKET'] = self.daemon.socket
        return Server(kind, environment, self.errors)

    def note(self, what):
        line = json.dumps(what)
        print(line, flush=True)
        if self.out:
            self.out.write(line + '\n')
            self.out.flush()

    def run(self, config, run):
        shim = run not in ('plain', 'plain2', 'benchmark')
        request = {k: v for k, v in config.items() if k not in ('runs', 'server', 'name')}
        request['benchmark'] = run in ('benchmark', 'searching')
        request['hard_exit'] = False
        # Nobody profits from what another run compiled.
        request['env'] = {'CUDA_CACHE_PATH': tempfile.mkdtemp(prefix='compiled-', dir=self.folder)}
        if run.startswith('frozen'):
            request['env'] |= {'REFORMER_FREEZE': str(self.folder / 'frozen'),
                               'REFORMER_MODE': 'replay'}
        with Watch(self.daemon, shim) as watch:
            result = self.servers[config['server'], shim].run(request)
        if watch.rows:
            result['client'] = watch.rows
        self.results.setdefault((config['name'], run), []).append(result)
        self.note({'config': config['name'], 'run': run, 'at_s': round(self.elapsed(), 1),
                   **result})
        self.check(config, run, result)

    def first_of(self, config, run):
        return next(iter(self.results.get((config['name'], run), ())), None)

    def check(self, config, run, result):
        plain = self.first_of(config, 'plain')
        if not result['ok'] or result['exit'] != 0:
            self.bad.append(f"{config['name']} {run}: {result.get('error', result.get('exit'))}")
            return
        if plain is None or not plain['ok']:
            return
        differences = [abs(a - b) / max(abs(b), 1e-6) if a == a and b == b else float('inf')
                       for a, b in zip(result['losses'], plain['losses'])]
        result['loss_difference'] = (differences[0], max(differences))
        allowed = TOLERANCE[config['dtype']]
        if differences[0] > allowed or max(differences) > 10 * allowed + 0.02:
            self.bad.append(f"{config['name']} {run}: losses differ by {differences}")
        frozen = self.first_of(config, 'frozen')
        if run == 'frozen2' and frozen and result['losses'] != frozen['losses']:
            self.bad.append(f"{config['name']}: not the same bits with deterministic algorithms")

    def harassed(self, config):
        stop = threading.Event()
        thread = threading.Thread(target=harass, args=(self.daemon, stop))
        thread.start()
        self.run({**config, 'steady_s': 5}, 'uncontrolled')
        stop.set()
        thread.join()

    def phase(self, wanted):
        for config in self.configs:
            for run in [run for run in config['runs'] if run in wanted] * self.options.repeats:
                if self.elapsed() > self.options.limit:
                    self.note({'event': 'out of time', 'skipped': f"{config['name']} {run}"})
                elif run == 'uncontrolled':
                    self.harassed(config)
                else:
                    self.run(config, run)

    def everything(self):
        # A framework's first process loads its libraries from disk.
        for (kind, shim), server in self.servers.items():
            if not shim:
                config = next(c for c in self.configs if c['server'] == kind)
                server.run({**{k: v for k, v in config.items() if k not in ('runs', 'name')},
                            'batch': 1, 'steady_s': 0, 'model': config['model']})
        for config in self.configs:
            share = self.options.limit * 0.6
            if self.elapsed() > share:
                self.note({'event': 'out of time', 'skipped': config['name']})
                config['runs'] = ()
                continue
            unmeasured = [run for run in config['runs'] if run in UNMEASURED]
            for run in unmeasured * self.options.repeats:
                self.run(config, run)
        self.describe('clients')
        if any(run not in UNMEASURED for config in self.configs for run in config['runs']):
            measured = self.daemon.wait_measured(min(300, max(10, self.options.limit * 0.5)))
            self.note({'event': 'measured', 'all': measured, 'after_s': self.elapsed()})
            self.note({'event': 'freeze',
                       'text': self.daemon.control('freeze', str(self.folder / 'frozen'))})
        if self.options.export:
            self.note({'event': 'export',
                       'text': self.daemon.control('export', str(self.options.export))})
        self.phase(('uncontrolled',))
        self.phase(('verified', 'frozen', 'frozen2', 'plain2'))
        for what in ('status', 'stats', 'clients', 'ablation'):
            self.describe(what)

    def describe(self, what):
        print(f'--- reformerctl {what}\n{self.daemon.control(what)[1]}', flush=True)

    def close(self):
        for server in self.servers.values():
            server.close()
        self.daemon.stop()
        print('--- daemon log\n' + self.daemon.tail())
        errors = (self.folder / 'applications.log').read_text(errors='replace')
        print('--- applications\' standard error\n' + errors[-4000:])

    def medians(self, config, run):
        """Of all times that it was made; None if it failed or was never made."""
        made = [r for r in self.results.get((config['name'], run), ()) if r['ok']]
        if not made:
            return None
        return {'all': made,
                'losses': [max(r.get('loss_difference', (0, 0))[i] for r in made) for i in (0, 1)],
                **{key: statistics.median(r[key] for r in made)
                   for key in ('first_step_s', 'step_ms', 'gpu_ms')}}

    def table(self):
        runs = [run for run in RUNS if any(run in config['runs'] for config in self.configs)]
        print('\nFirst step; median step and (in brackets) GPU time of a step, of plain in ms, of the '
              'others in parts of plain\'s.\n')
        print('| configuration | ' + ' | '.join(runs) + ' | losses differ by |')
        print('|---' * (len(runs) + 2) + '|')
        for config in self.configs:
            plain = self.medians(config, 'plain')
            if plain is None:
                continue
            cells, losses = [], [0, 0]
            for run in runs:
                r = self.medians(config, run)
                cells.append(self.cell(r, plain, run == 'plain'))
                if r is not None:
                    losses = [max(pair) for pair in zip(losses, r['losses'])]
            print(f"| {config['name']} | {' | '.join(cells)} | {losses[0]:.1e}, {losses[1]:.1e} |")
        for text in self.bad:
            print('BAD: ' + text)

    @staticmethod
    def cell(r, plain, is_plain):
        if r is None:
            return ''
        if is_plain:
            return f"{r['first_step_s']:.2f} s, {r['step_ms']:.2f} ({r['gpu_ms']:.2f}) ms"
        spread = [one['gpu_ms'] / plain['gpu_ms'] for one in r['all']]
        spread = f', {min(spread):.3f} to {max(spread):.3f}' if len(spread) > 1 else ''
        return (f"{r['first_step_s']:.2f} s, {r['step_ms'] / plain['step_ms']:.3f} "
                f"({r['gpu_ms'] / plain['gpu_ms']:.3f}{spread})")


def find_binaries(options):
    """Fills in --bin and --shim where they were left out."""
    options.bin = (options.bin or ROOT / 'build/release/bin').resolve()
    if options.shim is None:
        places = [options.bin / p for p in ('', '../lib', '../lib/x86_64-linux-gnu')]
        options.shim = next((p / 'libreformer_cudnn.so' for p in places
                             if (p / 'libreformer_cudnn.so').exists()), None)
    if options.shim is None or not (options.bin / 'reformerd').exists():
        sys.exit(f'no reformerd, or no libreformer_cudnn.so, in or beside {options.bin}: see --bin')
    options.shim = options.shim.resolve()


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--bin', type=pathlib.Path)
    parser.add_argument('--shim', type=pathlib.Path)
    parser.add_argument('--library-path', help='LD_LIBRARY_PATH of the applications')
    parser.add_argument('--out')
    parser.add_argument('--set', choices=SETS, default='table')
    parser.add_argument('--only', nargs='+', default=[''], metavar='TEXT',
                        help='configurations whose name contains one of these')
    parser.add_argument('--runs', nargs='+', default=RUNS, choices=RUNS, metavar='RUN',
                        help='these alone, where a configuration has them: ' + ' '.join(RUNS))
    parser.add_argument('--daemon', nargs='+', default=[], metavar='LINE',
                        help='for its configuration, such as "expected_uses = 100000"')
    parser.add_argument('--repeats', type=int, default=1, help='of every run')
    parser.add_argument('--export', type=pathlib.Path, metavar='FILE',
                        help='what the daemon measured (docs/measurements.md)')
    parser.add_argument('--limit', type=float, default=3600, help='seconds')
    options = parser.parse_args()
    find_binaries(options)
    folder = pathlib.Path(tempfile.mkdtemp(prefix='reformer-frameworks.'))
    comparison = None
    try:
        comparison = Comparison(options, folder)
        comparison.everything()
    finally:
        if comparison is not None:
            comparison.close()
            comparison.table()
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if comparison.bad else 0


if __name__ == '__main__':
    sys.exit(main())
