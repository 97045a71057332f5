#pragma once

#include "examples/backend.h"

#include "core/problem.h"
#include "tests/shim/gpu/report.h"

#include <span>
#include <string>

namespace gpu_check {

// How the program was started.
struct Options {
  const example::Descriptor* properties = nullptr;  // of a GPU that is not there: nothing is run
  bool under_shim = false;
  bool quick = false;  // without what builds every plan of a list
};

// The backend API: the first plan run directly and in CUDA graphs of both kinds; a list used as
// cudnn-frontend uses it; the first deterministic engine, several times.
void check_backend(std::span<const reformer::core::Problem> problems,
                   const Options& options,
                   Report& report);
// Eight threads, each with a handle and stream of its own.
void check_threads(std::span<const reformer::core::Problem> problems,
                   const Options& options,
                   Report& report);
// The API before it: choosing (Get_v7, Find, FindEx) and running what was chosen.
void check_legacy(std::span<const reformer::core::Problem> problems,
                  const Options& options,
                  Report& report);

}  // namespace gpu_check
