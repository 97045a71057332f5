#pragma once

#include "core/record.h"
#include "core/result.h"
#include "cudnn/driver.h"
#include "cudnn/library.h"
#include "cudnn/planner.h"
#include "cudnn/race.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

namespace reformer::cudnn {

class Pace;        // cudnn/pace.h
struct HostTimes;  // cudnn/plan_launcher.h

// Times the plans of one problem on the GPU. Tensors hold random values in [-1, 1); the L2 cache is
// warm (repeated launches on the same buffers), as it is between the layers of a network. The
// winner's output is compared with another candidate's and refused if it is wrong. Threads: one.
class Measurer {
 public:
  // Makes `gpu` current on the calling thread. `pace`, where given, is what those know together who
  // measure on this GPU in turn, this one in measure() only.
  static core::Result<std::unique_ptr<Measurer>> create(std::shared_ptr<const Library> library,
                                                        std::shared_ptr<const Gpu> gpu,
                                                        std::shared_ptr<Pace> pace = nullptr);
  ~Measurer();
  Measurer(const Measurer&) = delete;
  Measurer& operator=(const Measurer&) = delete;

  struct Limits {
    RaceOptions race;
    std::int64_t max_memory_bytes = std::int64_t{24} << 30;  // tensors and workspace
    // Also find the best for those who refuse down-conversion, non-deterministic engines, and
    // tensor cores for f32, in every way that PyTorch combines them. Otherwise what is far from
    // the best of all is measured roughly or not at all.
    bool for_applications = false;
    // Models' choices, which are timed with care even where they are slow, as the first of cuDNN's
    // heuristics are.
    std::span<const core::EngineConfig> chosen;
  };
  struct Measured {
    core::Record record;
    double gpu_us = 0;
  };
  // Makes the driver load the kernels of `enumeration`, for which the GPU would otherwise wait when
  // measure() launches them first. Runs nothing on the GPU: who measures in turn with others calls
  // it before that. What cannot be loaded so, or not before `stop`, is left for measure().
  void load(const core::Problem& problem,
            const Enumeration& enumeration,
            const Limits& limits,
            const std::function<bool()>& stop);
  // Times the plans of `enumeration`, which stays as it is. Errors: kExhausted (tensors and
  // workspace over the limit), kDenied (others have the GPU's memory), kTimeout (`stop` said so),
  // kInternal (the GPU faulted; nothing can be measured any more).
  core::Result<Measured> measure(const core::Problem& problem,
                                 const Enumeration& enumeration,
                                 const Limits& limits,
                                 const std::function<bool()>& stop);
  // Gives the memory of tensors and workspace back to the GPU.
  void release_memory();
  // One line for people: where the time of all measurements so far went.
  [[nodiscard]] std::string profile() const;

 private:
  struct Impl;
  explicit Measurer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace reformer::cudnn
