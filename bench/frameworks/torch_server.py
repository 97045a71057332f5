"""Runs PyTorch configurations for compare.py; see fork_server.py."""
import statistics
import time

import torch
import torch._dynamo  # an optimiser needs it, and each process would wait for it

from fork_server import serve
from torch_models import MODELS, loss_of

DTYPES = {'f16': torch.float16, 'bf16': torch.bfloat16, 'f32': torch.float32,
          'tf32': torch.float32}


def build(config):
    """A step function that returns the loss, nothing of it run yet."""
    dtype, half = DTYPES[config['dtype']], config['dtype'] in ('f16', 'bf16')
    layout = torch.channels_last if config['layout'] == 'nhwc' else torch.contiguous_format
    torch.manual_seed(1)
    model = MODELS[config['model']]().cuda().to(memory_format=layout)
    image = torch.randn(config['batch'], 3, config['size'], config['size'], device='cuda')
    image = image.to(memory_format=layout)
    if config['train']:
        optimiser = torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9)

        def step():
            with torch.autocast('cuda', dtype, enabled=half):
                output = model(image)
            loss = loss_of(config['model'], output, image)
            loss.backward()
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            return loss.detach()
    else:
        model, image = model.eval().to(dtype), image.to(dtype)

        @torch.inference_mode()
        def step():
            return loss_of(config['model'], model(image), image)
    return step


def gpu_times(step, launch_s, count):
    """Milliseconds of the GPU for one step, its kernels one after another without waiting for Python:
    they are launched while the GPU is kept busy, and begin when all of them (some 1 000 fit) wait."""
    times = []
    for _ in range(count):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda._sleep(int(2e9 * min(1.5 * launch_s + 0.005, 0.2)))  # cycles
        begin.record()
        step()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end))
    return times


def run(config):
    tf32 = config['dtype'] != 'f32'
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = config.get('benchmark', False)
    if config.get('deterministic'):
        torch.backends.cudnn.deterministic = True
    started = time.perf_counter()
    step = build(config)
    a = torch.randn(256, 256, device='cuda')
    (a @ a).sum().item()  # CUDA and cuBLAS are up: what follows is cuDNN's
    ready = time.perf_counter()
    losses = [step()]
    torch.cuda.synchronize()
    first = time.perf_counter()
    for _ in range(5):
        losses.append(step())
    torch.cuda.synchronize()
    # Steady state: the median of blocks of steps, so that a disturbance does not count.
    blocks, begin = [], time.perf_counter()
    per_block = 5
    while len(blocks) < 5 or (time.perf_counter() - begin < config.get('steady_s', 1.5) and
                              len(blocks) < 400):
        at = time.perf_counter()
        for _ in range(per_block):
            step()
        torch.cuda.synchronize()
        blocks.append((time.perf_counter() - at) / per_block)
    on_gpu = gpu_times(step, max(blocks), 9)
    return {'setup_s': ready - started, 'first_step_s': first - ready,
            'gpu_ms': statistics.median(on_gpu), 'gpu_min_ms': min(on_gpu),
            'step_ms': 1e3 * statistics.median(blocks), 'step_min_ms': 1e3 * min(blocks),
            'steps': len(blocks) * per_block, 'losses': [loss.item() for loss in losses],
            'peak_mib': torch.cuda.max_memory_allocated() >> 20,
            'versions': {'torch': torch.__version__, 'cudnn': torch.backends.cudnn.version(),
                         'gpu': torch.cuda.get_device_name()}}


if __name__ == '__main__':
    serve(run)
