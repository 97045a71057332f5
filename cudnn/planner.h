#pragma once

#include "core/engine_config.h"
#include "core/plan_file.h"
#include "core/problem.h"
#include "core/record.h"
#include "core/result.h"
#include "cudnn/driver.h"
#include "cudnn/library.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace reformer::cudnn {

// A finalised execution plan. Movable. Outlives the planner; executes on any handle of its library.
class Plan {
 public:
  ~Plan();
  Plan(Plan&&) noexcept;
  Plan& operator=(Plan&&) noexcept;
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  [[nodiscard]] std::int64_t workspace_bytes() const;
  [[nodiscard]] void* descriptor() const;  // cudnnBackendDescriptor_t
  // As cuDNN serialises it, with the kernels that it compiled: cuda_version and json of `stored`.
  // Errors: kUnsupported.
  core::Status serialise(core::StoredPlan& stored) const;

 private:
  friend class Planner;
  struct Impl;
  explicit Plan(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// A candidate with what cuDNN says of it, and its plan where one could be built.
struct Planned {
  core::Candidate candidate;  // no time yet; `status` says why there is no plan
  std::unique_ptr<Plan> plan;
};

struct Enumeration {
  std::vector<Planned>
      candidates;  // in the order of heuristic A, then B, then FALLBACK, then extra
  float heuristic_a_us = core::kNoTime;
  float heuristic_b_us = core::kNoTime;
  float heuristic_fallback_us = core::kNoTime;
};

// The plans that are worth keeping, so that nobody else has to compile them: those of engines that
// are compiled at run time which took less time than all others that whoever may run them may run,
// the fastest first, three at most. `measured`: of the problem, with times.
[[nodiscard]] std::vector<core::StoredPlan> plans_to_keep(const core::Record& measured,
                                                          const Enumeration& enumeration);

struct EnumerationLimits {
  // Candidates that need more get the status "workspace_over_4GiB" (or whatever the limit is) and
  // no plan.
  std::int64_t max_workspace_bytes = std::int64_t{4} << 30;
  // Asked before each of the extra configurations; once it says so, the rest of them is left out.
  std::function<bool()> enough = {};
};

// Asks cuDNN for the candidates of problems and builds their plans. Threads: one planner, one
// thread; any number of planners at once.
class Planner {
 public:
  // For the GPU whose context is current.
  static core::Result<std::unique_ptr<Planner>> for_gpu(std::shared_ptr<const Library> library,
                                                        std::shared_ptr<const Gpu> gpu);
  // For a GPU that is not here: cuDNN answers from its device properties (the JSON that
  // CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION gives). Such plans cannot be executed.
  static core::Result<std::unique_ptr<Planner>> for_properties(
      std::shared_ptr<const Library> library, const std::string& properties_json);
  ~Planner();
  Planner(const Planner&) = delete;
  Planner& operator=(const Planner&) = delete;

  // Every configuration that heuristics A, B and FALLBACK list, without duplicates, then those of
  // `extra` that are not among them, each with its plan. Errors: kUnsupported where cuDNN has
  // nothing for the problem.
  core::Result<Enumeration> enumerate(const core::Problem& problem,
                                      std::span<const core::EngineConfig> extra,
                                      const EnumerationLimits& limits);
  // Configurations of one engine that cuDNN accepts for the problem, at most `limit` of them:
  // all of its knob space, or settings spread evenly over it (cudnn/knob_space.h).
  core::Result<std::vector<core::EngineConfig>> explore(const core::Problem& problem,
                                                        std::int32_t engine,
                                                        std::size_t limit);

 private:
  struct Impl;
  explicit Planner(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace reformer::cudnn
