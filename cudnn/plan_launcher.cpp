#include "cudnn/plan_launcher.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace reformer::cudnn {
namespace {

using Clock = std::chrono::steady_clock;

float microseconds_since(Clock::time_point start) {
  return std::chrono::duration<float, std::micro>(Clock::now() - start).count();
}

// Adds the time of a scope.
class Stopwatch {
 public:
  explicit Stopwatch(double& seconds) : seconds_(seconds) {}
  ~Stopwatch() { seconds_ += std::chrono::duration<double>(Clock::now() - start_).count(); }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  double& seconds_;
  Clock::time_point start_ = Clock::now();
};

}  // namespace

PlanLauncher::~PlanLauncher() {
  for (const Entry& entry : entries_) {
    if (entry.graph != nullptr) {
      context_.cuda.graph_exec_destroy(entry.graph);
    }
  }
}

core::Status PlanLauncher::add(const Plan& plan,
                               const std::array<CUdeviceptr, 3>& tensors,
                               CUdeviceptr workspace) {
  auto pack = Descriptor::create(context_.cudnn, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  if (!pack) {
    return pack.error();
  }
  const std::array<std::int64_t, 3> ids = core::kPlanTensorIds;
  std::array<void*, 3> pointers{};
  std::transform(tensors.begin(), tensors.end(), pointers.begin(), [](CUdeviceptr address) {
    return reinterpret_cast<void*>(address);
  });
  void* const workspace_pointer = reinterpret_cast<void*>(workspace);
  cudnnStatus_t status =
      pack->set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 3, pointers.data());
  if (status == CUDNN_STATUS_SUCCESS) {
    status = pack->set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, 3, ids.data());
  }
  if (status == CUDNN_STATUS_SUCCESS) {
    status =
        pack->set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace_pointer);
  }
  if (status == CUDNN_STATUS_SUCCESS) {
    status = pack->finalize();
  }
  if (status != CUDNN_STATUS_SUCCESS) {
    return status_error(context_.cudnn, "variant pack", status);
  }
  entries_.push_back({&plan, std::make_unique<Descriptor>(std::move(*pack))});
  return core::ok_status();
}

core::Status PlanLauncher::execute(const Entry& entry) {
  const cudnnStatus_t status =
      context_.cudnn.execute(context_.handle,
                             static_cast<cudnnBackendDescriptor_t>(entry.plan->descriptor()),
                             entry.pack->get());
  return status == CUDNN_STATUS_SUCCESS
             ? core::ok_status()
             : core::Status(status_error(context_.cudnn, "cudnnBackendExecute", status));
}

core::Status PlanLauncher::execute(std::size_t candidate) {
  return execute(entries_[candidate]);
}

core::Result<Launch> PlanLauncher::single(std::size_t candidate) {
  const Stopwatch watch(context_.times.first_look);
  if (const core::Status events = need_events(2); !events) {
    return events.error();
  }
  const Clock::time_point start = Clock::now();
  context_.cuda.event_record(context_.events[0], context_.stream);
  const core::Status done = execute(entries_[candidate]);
  if (!done) {
    // What was queued behind the failure must not be timed with the next one.
    const CUresult drained = context_.cuda.stream_synchronize(context_.stream);
    return drained == CUDA_SUCCESS ? done.error() : cuda_error(context_.cuda, "execution", drained);
  }
  context_.cuda.event_record(context_.events[1], context_.stream);
  const float host_us = microseconds_since(start);
  if (const core::Status waited = wait(context_.events[1]); !waited) {
    return waited.error();
  }
  const core::Result<float> time = between_us(context_.events[0], context_.events[1]);
  return time ? core::Result<Launch>(Launch{*time, std::min(host_us, *time)})
              : core::Result<Launch>(time.error());
}

core::Status PlanLauncher::prepare(std::size_t candidate, int repeats) {
  const Stopwatch watch(context_.times.capture);
  Entry& entry = entries_[candidate];
  const core::Status captured = capture(entry, repeats);
  entry.repeats = repeats;
  // What cannot be captured is launched one behind the other.
  return !captured && captured.error().code == core::ErrorCode::kInternal ? captured
                                                                          : core::ok_status();
}

core::Result<CUgraph> PlanLauncher::record(const Entry& entry, int repeats) {
  const DriverFunctions& cuda = context_.cuda;
  CUresult result = cuda.begin_capture(context_.stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
  if (result != CUDA_SUCCESS) {
    return cuda_error(cuda, "capture", result);
  }
  core::Status executed = core::ok_status();
  for (int i = 0; i < repeats && executed; ++i) {
    executed = execute(entry);
  }
  CUgraph graph = nullptr;
  result = cuda.end_capture(context_.stream, &graph);
  if (executed && result == CUDA_SUCCESS && graph != nullptr) {
    return graph;
  }
  if (graph != nullptr) {
    cuda.graph_destroy(graph);
  }
  return executed ? cuda_error(cuda, "capture", result) : executed.error();
}

core::Status PlanLauncher::capture(Entry& entry, int repeats) {
  const DriverFunctions& cuda = context_.cuda;
  if (entry.graph != nullptr) {
    cuda.graph_exec_destroy(entry.graph);
    entry.graph = nullptr;
  }
  const core::Result<CUgraph> graph = record(entry, repeats);
  if (!graph) {
    return graph.error();
  }
  const CUresult result = cuda.graph_instantiate(&entry.graph, *graph, 0);
  cuda.graph_destroy(*graph);
  if (result != CUDA_SUCCESS || entry.graph == nullptr) {
    entry.graph = nullptr;
    return cuda_error(cuda, "capture", result);
  }
  return core::ok_status();
}

void PlanLauncher::load(std::size_t candidate) {
  if (const core::Result<CUgraph> graph = record(entries_[candidate], 1); graph) {
    context_.cuda.graph_destroy(*graph);
  }
}

core::Status PlanLauncher::launch(const Entry& entry) {
  if (entry.graph != nullptr) {
    const CUresult result = context_.cuda.graph_launch(entry.graph, context_.stream);
    return result == CUDA_SUCCESS ? core::ok_status()
                                  : core::Status(cuda_error(context_.cuda, "graph launch", result));
  }
  for (int i = 0; i < entry.repeats; ++i) {
    if (const core::Status done = execute(entry); !done) {
      return done;
    }
  }
  return core::ok_status();
}

core::Result<std::vector<GraphTime>> PlanLauncher::run(std::span<const Heat> lineup) {
  const Stopwatch watch(context_.times.graphs);
  core::Status status = need_events(2 * lineup.size());
  std::vector<GraphTime> times(lineup.size());
  for (std::size_t k = 0; k < lineup.size() && status; ++k) {
    const Entry& entry = entries_[lineup[k].candidate];
    if (lineup[k].warm) {
      status = launch(entry);
    }
    if (status) {
      const Clock::time_point start = Clock::now();
      context_.cuda.event_record(context_.events[2 * k], context_.stream);
      status = launch(entry);
      context_.cuda.event_record(context_.events[2 * k + 1], context_.stream);
      times[k].host_us = microseconds_since(start);
    }
  }
  if (!status) {
    const CUresult drained = context_.cuda.stream_synchronize(context_.stream);
    return drained == CUDA_SUCCESS ? status.error()
                                   : cuda_error(context_.cuda, "execution", drained);
  }
  if (const core::Status waited = wait(context_.events[2 * lineup.size() - 1]); !waited) {
    return waited.error();
  }
  for (std::size_t k = 0; k < lineup.size(); ++k) {
    const core::Result<float> time = between_us(context_.events[2 * k], context_.events[2 * k + 1]);
    if (!time) {
      return time.error();
    }
    times[k].time_us = *time / static_cast<float>(entries_[lineup[k].candidate].repeats);
    times[k].host_us = std::min(times[k].host_us, *time);
  }
  return times;
}

core::Status PlanLauncher::need_events(std::size_t count) {
  while (context_.events.size() < count) {
    CUevent event = nullptr;
    const CUresult result = context_.cuda.event_create(&event, CU_EVENT_DEFAULT);
    if (result != CUDA_SUCCESS) {
      return cuda_error(context_.cuda, "event", result);
    }
    context_.events.push_back(event);
  }
  return core::ok_status();
}

core::Status PlanLauncher::wait(CUevent event) {
  const CUresult result = context_.cuda.event_synchronize(event);
  return result == CUDA_SUCCESS ? core::ok_status()
                                : core::Status(cuda_error(context_.cuda, "execution", result));
}

core::Result<float> PlanLauncher::between_us(CUevent from, CUevent to) {
  float milliseconds = 0;
  const CUresult result = context_.cuda.event_elapsed(&milliseconds, from, to);
  if (result != CUDA_SUCCESS) {
    return cuda_error(context_.cuda, "execution", result);
  }
  return milliseconds * 1000;
}

}  // namespace reformer::cudnn
