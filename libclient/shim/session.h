#pragma once

#include "libclient/client.h"
#include "libclient/shim/contexts.h"
#include "libclient/shim/descriptors.h"
#include "libclient/shim/legacy.h"
#include "libclient/shim/libcudnn.h"
#include "libclient/shim/sampler.h"

#include <cudnn.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string_view>

namespace reformer::shim {

inline constexpr std::chrono::milliseconds kReportInterval{5000};

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
// Threads: any. No lock is held across a call of cuDNN but that of one answered query, while an
// entry of it is built (building()). Errors: every failure ends in the real call.
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
  // How many entries an answered query has.
  std::int64_t on_offer(const Served& served);
  // Hands out the first `requested` entries in the application's configurations: the first one
  // built, the others to be built when they are used (an engine costs as much as the whole answer).
  // How many; nothing where it cannot be done, and the query is cuDNN's again.
  std::optional<std::int64_t> fetch(const RealCudnn& real,
                                    cudnnBackendDescriptor_t heuristics,
                                    const std::shared_ptr<Served>& served,
                                    std::int64_t requested,
                                    cudnnBackendDescriptor_t* configurations);
  // To be called before anything is done with a configuration: builds it if that was put off. One
  // that cuDNN refuses becomes the list's first, which it has accepted.
  void build_pending(const RealCudnn& real, cudnnBackendDescriptor_t configuration);
  // The application gives a plan its configuration. True: somebody has compiled that plan before,
  // so cuDNN is not told yet.
  bool put_off_configuration(const RealCudnn& real,
                             cudnnBackendDescriptor_t plan,
                             cudnnBackendDescriptor_t configuration);
  // Before anything else is done with a plan whose configuration was put off: cuDNN is told.
  void give_configuration(const RealCudnn& real, cudnnBackendDescriptor_t plan);
  // Finalises such a plan by loading it. False: it is cuDNN's to finalise.
  bool load(const RealCudnn& real, cudnnBackendDescriptor_t plan);
  // cuDNN has filled these itself.
  void note_filled(std::span<const cudnnBackendDescriptor_t> configurations);
  // Whether anything has been put into it: cuDNN does not fill a configuration twice.
  bool is_filled(cudnnBackendDescriptor_t configuration);
  // Around an execution. Without a handle it is not timed.
  Execution begin_execution(const RealCudnn& real,
                            cudnnHandle_t handle,
                            cudnnBackendDescriptor_t plan);
  void end_execution(const Execution& execution, bool succeeded);

  Contexts& contexts() { return contexts_; }
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
      : mode_(mode),
        client_(std::move(client)),
        plans_(core::plans_path(client_->socket_path())),
        frozen_plans_(frozen_plans_of(*client_)),
        contexts_(*client_, descriptors_) {}
  static Session* make();
  static std::string frozen_plans_of(const client::Client& client);  // empty: no snapshot
  // Around a fork: a child must not inherit a lock that a thread of its parent was holding.
  void lock();
  void unlock();
  const client::Answer* answer_for(const core::Problem& problem, std::size_t context);
  std::shared_ptr<Served> offer(const RealCudnn& real,
                                const HeuristicsRecord& heuristics,
                                const core::Problem& problem,
                                const client::Answer* answer,
                                std::size_t context);
  bool offer_entries(const RealCudnn& real, Served& served);
  void note_refusal(const Served& served, std::size_t entry);
  client::UseCounter* counter_of(const Served& served, std::size_t entry);
  static std::shared_ptr<const CompiledEntry> compiled_entry(const Served& served,
                                                             std::size_t entry);
  [[nodiscard]] bool may_serve(const core::Decision& decision) const;
  // The lock of an answered query. Taken before any other; some queries share one.
  std::mutex& building(const Served& served) {
    return building_[reinterpret_cast<std::uintptr_t>(&served) / sizeof(Served) % building_.size()];
  }

  const Mode mode_;
  const std::unique_ptr<client::Client> client_;
  // Folders of plans that were compiled before, by the daemon's workers: what they hold now, and
  // what was frozen with the snapshot.
  const std::string plans_;
  const std::string frozen_plans_;
  std::array<std::mutex, 32> building_;
  Descriptors descriptors_;
  Contexts contexts_;
  Trials trials_;
  Sampler sampler_;
  FoundAlgorithms found_;
};

}  // namespace reformer::shim
