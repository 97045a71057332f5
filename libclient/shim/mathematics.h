#pragma once

#include "core/key.h"
#include "core/problem.h"
#include "libclient/client.h"
#include "libclient/shim/descriptors.h"
#include "libclient/shim/libcudnn.h"

#include <cudnn.h>

#include <atomic>
#include <mutex>
#include <span>
#include <unordered_set>

namespace reformer::shim {

// Whether the application takes TF32, learnt from the plans that it makes.
//
// A predicted order is right only as a whole: of an application that refuses TF32 it leaves the
// slower end, and models know f32 as it is with TF32. So a prediction for f32 waits until the
// application has made a plan with tensor cores for an f32 problem; until then cuDNN's own list
// goes to it, for good for that problem.
//
// Threads: any. Once TF32 has been seen, no call takes a lock.
class Mathematics {
 public:
  explicit Mathematics(Descriptors& descriptors) : descriptors_(descriptors) {}

  // Whether the answer is to be held back.
  bool unknown_for(const core::Problem& problem, const client::Answer& answer);

  // Called with the configurations that cuDNN has listed for a query, and with the one of every new
  // plan.
  void note_own_list(cudnnBackendDescriptor_t heuristics,
                     std::span<const cudnnBackendDescriptor_t> configurations);
  void note_plan(const RealCudnn& real, cudnnBackendDescriptor_t configuration);

  // Around a fork.
  void lock() { mutex_.lock(); }
  void unlock() { mutex_.unlock(); }

 private:
  Descriptors& descriptors_;
  std::mutex mutex_;
  std::atomic<bool> takes_tf32_{false};  // set under mutex_
  // Problems that cuDNN has answered. Under mutex_ until takes_tf32_ is set, constant from then on.
  std::unordered_set<core::KeyHash, core::KeyHasher> held_back_;
};

}  // namespace reformer::shim
