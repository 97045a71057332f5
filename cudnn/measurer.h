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

namespace reformer::cudnn {

// Times the plans of one problem on the GPU. Tensors hold random values in [-1, 1); the L2 cache is
// warm (repeated launches on the same buffers), as it is between the layers of a network. The
// winner's output is compared with another candidate's and refused if it is wrong. Threads: one.
class Measurer {
 public:
  // Makes `gpu` current on the calling thread.
  static core::Result<std::unique_ptr<Measurer>> create(std::shared_ptr<const Library> library,
                                                        std::shared_ptr<const Gpu> gpu,
                                                        std::int64_t max_memory_bytes);
  ~Measurer();
  Measurer(const Measurer&) = delete;
  Measurer& operator=(const Measurer&) = delete;

  struct Measured {
    core::Record record;
    double gpu_us = 0;
  };
  // Takes the plans. Errors: kExhausted (tensors and workspace over the limit, or no memory),
  // kTimeout
  // (`stop` said so), kInternal (the GPU faulted; nothing can be measured any more).
  core::Result<Measured> measure(const core::Problem& problem,
                                 Enumeration enumeration,
                                 const RaceOptions& options,
                                 const std::function<bool()>& stop);

 private:
  struct Impl;
  explicit Measurer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace reformer::cudnn
