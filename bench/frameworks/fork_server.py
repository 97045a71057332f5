"""One configuration a process without one import a process: the parent imports the framework, each
line of its input (a JSON object) is run in a forked child, whose result is one line of JSON."""
import json
import os
import signal
import sys
import time


def capture(run, config):
    """The child's side: never returns."""
    code = 1
    try:
        os.environ.update(config.get('env', {}))
        result = {'ok': True, **run(config)}
        code = 0
    except BaseException as error:  # noqa: BLE001 - whatever it was is the result
        result = {'ok': False, 'error': f'{type(error).__name__}: {error}'[:2000]}
    os.write(config['pipe'], json.dumps(result).encode())
    os.close(config['pipe'])
    sys.stdout.flush()
    sys.stderr.flush()
    if config.get('hard_exit'):
        os._exit(code)
    sys.exit(code)  # destructors and exit handlers are part of what is tried


def collect(pid, reader, limit_s):
    text, deadline = b'', time.monotonic() + limit_s
    os.set_blocking(reader, False)
    status = None
    while status is None:
        try:
            piece = os.read(reader, 1 << 20)
            text += piece
        except BlockingIOError:
            pass
        done, raw = os.waitpid(pid, os.WNOHANG)
        if done:
            status = os.waitstatus_to_exitcode(raw)
        elif time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            deadline += 30
        else:
            time.sleep(0.005)
    try:
        while piece := os.read(reader, 1 << 20):
            text += piece
    except BlockingIOError:
        pass
    try:
        result = json.loads(text)
    except ValueError:
        result = {'ok': False, 'error': 'no result'}
    return {**result, 'exit': status}


def serve(run):
    print(json.dumps({'ready': os.getpid()}), flush=True)
    for line in sys.stdin:
        config = json.loads(line)
        reader, writer = os.pipe()
        started = time.monotonic()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            capture(run, {**config, 'pipe': writer})
        os.close(writer)
        result = collect(pid, reader, config.get('limit_s', 120))
        os.close(reader)
        print(json.dumps({**result, 'process_s': time.monotonic() - started}), flush=True)
