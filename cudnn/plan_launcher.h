#pragma once

#include "core/result.h"
#include "cudnn/descriptor.h"
#include "cudnn/driver_functions.h"
#include "cudnn/functions.h"
#include "cudnn/planner.h"
#include "cudnn/race.h"

#include <array>
#include <memory>
#include <span>
#include <vector>

// Launches the plans of one problem. Private to cudnn/.
namespace reformer::cudnn {

// Where the time of measuring goes, seconds of this thread.
struct HostTimes {
  double load = 0;
  double fill = 0;
  double first_look = 0;  // single launches
  double capture = 0;     // graphs
  double graphs = 0;      // launches of graphs
  double check = 0;       // outputs compared
};

// What launches need; the owner keeps it.
struct LaunchContext {
  const Functions& cudnn;
  const DriverFunctions& cuda;
  cudnnHandle_t handle;  // works on `stream`
  CUstream stream;
  std::vector<CUevent>& events;  // grows as needed; the owner destroys them
  HostTimes& times;
};

class PlanLauncher final : public Launcher {
 public:
  explicit PlanLauncher(LaunchContext context) : context_(context) {}
  ~PlanLauncher() override;
  PlanLauncher(const PlanLauncher&) = delete;
  PlanLauncher& operator=(const PlanLauncher&) = delete;

  // The plan, which must outlive this, becomes the next candidate. `tensors`: x, w, y.
  core::Status add(const Plan& plan,
                   const std::array<CUdeviceptr, 3>& tensors,
                   CUdeviceptr workspace);

  // Makes the driver load its kernels, as far as it can without running them.
  void load(std::size_t candidate);
  core::Result<Launch> single(std::size_t candidate) override;
  core::Status prepare(std::size_t candidate, int repeats) override;
  core::Result<std::vector<GraphTime>> run(std::span<const Heat> lineup) override;
  core::Status execute(std::size_t candidate);

 private:
  struct Entry {
    const Plan* plan;
    std::unique_ptr<Descriptor> pack;
    CUgraphExec graph = nullptr;  // null where the engine cannot be captured
    int repeats = 1;
  };
  core::Status execute(const Entry& entry);
  core::Status launch(const Entry& entry);
  // `repeats` executions, not run; the caller destroys it.
  core::Result<CUgraph> record(const Entry& entry, int repeats);
  core::Status capture(Entry& entry, int repeats);
  core::Status need_events(std::size_t count);
  core::Status wait(CUevent event);
  core::Result<float> between_us(CUevent from, CUevent to);

  LaunchContext context_;
  std::vector<Entry> entries_;
};

}  // namespace reformer::cudnn
