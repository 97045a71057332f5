#pragma once

#include "libclient/client.h"
#include "libclient/shim/descriptors.h"
#include "libclient/shim/legacy.h"
#include "libclient/shim/libcudnn.h"
#include "libclient/shim/sampler.h"

#include <cudnn.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string_view>
#include <unordered_set>

namespace reformer::shim {

enum class Mode {
  kAssist,   // answers what the daemon answers
  kObserve,  // asks and counts, never changes anything
  kReplay,   // answers only what is frozen or measured, and leaves no work behind
  kOff,
};
// Of $REFORMER_MODE; what is not known counts as off, because it was meant to be something else.
[[nodiscard]] Mode mode_from_environment();

// One execution of a plan that an answer has led to; no counter: of another plan.
struct Execution {
  client::UseCounter* counter = nullptr;
  Sampler::Sample sample;
};

// The shim's state: what the application has described, and the client. Made at the first call of
// cuDNN, never destroyed: applications call cuDNN from their own destructors.
//
// Threads: any. No lock is held across a call of cuDNN. Errors: every failure ends in the real
// call.
class Session {
 public:
  // Null when the mode is off or there is no client.
  static Session* get() noexcept;
  // The one that get() made, or null.
  static Session* existing() noexcept;

  Descriptors& descriptors() { return descriptors_; }
  client::Client& client() { return *client_; }

  // Whether the heuristics query is answered here, so that the real Finalize is to be skipped.
  bool answer(const RealCudnn& real, cudnnBackendDescriptor_t heuristics);
  // Hands out the first `requested` entries in the application's configurations: the first one
  // built, the others to be built when they are used (an engine costs as much as the whole answer).
  // How many.
  std::int64_t fetch(const RealCudnn& real,
                     cudnnBackendDescriptor_t heuristics,
                     const std::shared_ptr<Served>& served,
                     std::int64_t requested,
                     cudnnBackendDescriptor_t* configurations);
  // To be called before anything is done with a configuration: builds it if that was put off. One
  // that cuDNN refuses becomes the list's first, which it has accepted.
  void build_pending(const RealCudnn& real, cudnnBackendDescriptor_t configuration);
  // Whether an answer has been put into it: cuDNN does not fill a configuration twice.
  bool is_filled(cudnnBackendDescriptor_t configuration);
  // Around an execution. Without a handle it is not timed.
  Execution begin_execution(const RealCudnn& real,
                            cudnnHandle_t handle,
                            cudnnBackendDescriptor_t plan);
  void end_execution(const Execution& execution, bool succeeded);

  // What plans an application makes says which mathematics it takes: called with the configurations
  // that cuDNN has listed for a query, and with the one of every new plan.
  void note_own_list(cudnnBackendDescriptor_t heuristics,
                     std::span<const cudnnBackendDescriptor_t> configurations);
  void note_plan(const RealCudnn& real, cudnnBackendDescriptor_t configuration);

  // A handle belongs to the GPU that was current when it was made.
  void note_handle(cudnnHandle_t handle);
  void forget_handle(cudnnHandle_t handle);
  // The answer for a problem of the legacy interface, null if there is none that may be used.
  const core::Decision* legacy_decision(cudnnHandle_t handle,
                                        const std::optional<core::Problem>& problem);
  // What a search is remembered by; empty where it is not to be remembered.
  std::optional<core::KeyHash> legacy_key(cudnnHandle_t handle,
                                          const std::optional<core::Problem>& problem,
                                          std::uint64_t math,
                                          std::uint64_t requested,
                                          std::uint64_t workspace);
  FoundAlgorithms& found_algorithms() { return found_; }

 private:
  Session(Mode mode, std::unique_ptr<client::Client> client)
      : mode_(mode), client_(std::move(client)) {}
  static Session* make();
  bool offer_entries(const RealCudnn& real, Served& served);
  void note_refusal(const Served& served, std::size_t entry);
  client::UseCounter* counter_of(const Served& served, std::size_t entry);
  std::optional<std::size_t> context_of(const RealCudnn& real,
                                        cudnnBackendDescriptor_t device_properties);
  std::optional<std::size_t> context_of(const RealCudnn& real, CuDevice ordinal);
  std::optional<std::size_t> context_of(const RealCudnn& real, cudnnHandle_t handle);
  [[nodiscard]] bool may_serve(const core::Decision& decision) const;
  bool mathematics_unknown(const core::Problem& problem, const client::Answer& answer);

  const Mode mode_;
  const std::unique_ptr<client::Client> client_;
  Descriptors descriptors_;
  Sampler sampler_;
  FoundAlgorithms found_;
  // Whether the application has made a plan with tensor cores for a problem in f32.
  std::atomic<bool> takes_tf32_{false};
  std::mutex held_back_mutex_;
  std::unordered_set<core::KeyHash, core::KeyHasher> held_back_;  // answered by cuDNN before that
  static constexpr std::size_t kOrdinals = 64;
  std::array<std::atomic<std::size_t>, kOrdinals> contexts_{};  // by GPU; the context + 1
  static constexpr std::size_t kHandles = 64;
  struct Handle {
    cudnnHandle_t handle;
    CuDevice ordinal;
  };
  std::mutex handles_mutex_;
  std::array<Handle, kHandles> handles_{};  // those past it belong to the current GPU
};

}  // namespace reformer::shim
