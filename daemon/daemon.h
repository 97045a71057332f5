#pragma once

#include "daemon/accuracy_log.h"
#include "daemon/admin.h"
#include "daemon/answers.h"
#include "daemon/config.h"
#include "daemon/drift.h"
#include "daemon/latency.h"
#include "daemon/loop.h"
#include "daemon/plan_store.h"
#include "daemon/promotion.h"
#include "daemon/published_table.h"
#include "daemon/retraining.h"
#include "daemon/server.h"
#include "daemon/supervisor.h"
#include "daemon/turn_budget.h"
#include "daemon/verification_queue.h"
#include "daemon/work_thread.h"
#include "storage/database.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace reformer::daemon {

inline constexpr std::chrono::seconds kStoreAgain{5};  // after a failed write

// The running daemon: puts the parts together. docs/daemon.md draws the way of a request and names
// the threads. Threads: start(), run() and what is marked "loop" on the loop's thread; LiveDaemon's
// functions on any other; the rest as marked.
class Daemon final : public LiveDaemon {
 public:
  explicit Daemon(CommandLine line);
  ~Daemon() override;
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  // Opens the database, loads the models, serves. Errors: what stops it from serving.
  core::Status start();
  void run();  // until SIGTERM or SIGINT

  // LiveDaemon.
  bool is_stopping() override;
  std::shared_ptr<const ModelSet> models() override;
  void add_status(nlohmann::json& status) override;
  nlohmann::json stats() override;
  nlohmann::json clients() override;
  core::Result<Verification> verify(const core::Key& key,
                                    bool force,
                                    std::function<void(std::string)> done) override;
  void verify_later(const core::Key& key) override;
  nlohmann::json alarms() override;
  core::Status clear_upgrade_alarms() override;
  core::Status promote(const std::string& name,
                       const std::string& by,
                       const nlohmann::ordered_json& why) override;
  core::Result<std::string> roll_back(const std::string& by) override;
  core::Result<std::string> add_model(const std::filesystem::path& file,
                                      const nlohmann::ordered_json& provenance) override;
  core::Result<nlohmann::json> reload() override;
  void record_changed(const core::KeyHash& hash) override;
  void record_removed(const core::KeyHash& hash) override;

 private:
  struct PendingAnswer;
  struct ReplyTo;
  struct AdminJob;
  struct Measured;
  struct Counters {
    std::uint64_t queries = 0, hits = 0, predicted = 0, abstained = 0, reports = 0, uses = 0;
    std::uint64_t verified = 0, verify_failed = 0;
  };

  // daemon.cpp
  core::Status open_database();
  core::Status open_table();
  core::Status open_socket();
  void open_plans();
  void restore_queue();
  void fill_table();  // background thread
  void tick();        // loop
  void stop();        // loop
  core::Result<ModelSet> load_models(const Config& config) const;
  void load_added_models(ModelSet& set) const;
  void use_models(ModelSet models);                                             // loop
  core::Status use_champion(const std::string& name, const PromotionHistory&);  // background thread
  void drop_oldest_trained(ModelSet& set, std::int64_t keep);                   // background thread
  core::Result<nlohmann::json> reload_on_loop(const Config& config, ModelSet models);
  void use_limits();
  void reload_if_asked();  // loop

  // serving.cpp, loop
  void on_context(const ClientContext& context);
  Server::Taken on_query(Client& client, std::uint32_t request_id, const core::wire::Query& query);
  bool on_plain_query(Client& client,
                      std::uint32_t request_id,
                      const core::wire::PlainQuery& query,
                      std::vector<std::byte>& out);
  void on_report(Client& client, const ClientContext& context, const core::wire::Report& report);
  void on_admin(Client& client, std::uint32_t request_id, const std::string& json);
  // Background or reading thread, as what follows.
  void answer_admin(AdminService& service, const AdminJob& job);
  // Hands over a piece once the client has read most of the
  // earlier ones. False where it is gone, or has let the daemon wait too long and is dropped.
  bool send_piece(ReplyTo& to, std::string json, bool more);
  enum class Reader { kGone, kBehind, kReady };
  Reader reader_of(std::uint64_t client);
  // Goes on with an answer and, once it is sent, with queueing what it missed: as far as this turn
  // of the loop allows. The rest waits in batches_.
  void go_on(const std::shared_ptr<PendingAnswer>& pending);
  bool answer_some(const std::shared_ptr<PendingAnswer>& pending);
  bool enqueue_some(PendingAnswer& pending);
  void run_batches();
  void look_up_record(const std::shared_ptr<PendingAnswer>& pending, std::size_t index);
  void answer_miss(PendingAnswer& pending, std::size_t index);
  void finish_answer(PendingAnswer& pending);
  // What to time beside cuDNN's own lists: the champion's choices, an older version's winners.
  [[nodiscard]] std::vector<core::EngineConfig> choices_for(const core::Key& key);
  [[nodiscard]] std::optional<core::Decision> winner_of_older_version(
      const core::Context& context,
      const core::Problem& problem,
      const core::Constraints& constraints,
      std::size_t max_entries) const;
  // Which library measures what a client of that user asked for, who has loaded `named`.
  void choose_library(std::uint32_t uid, const std::string& named, storage::QueuedJob& job) const;
  void enqueue(const PendingAnswer& pending, std::size_t index, const core::Decision& answer);
  void flush_uses();
  // An application may have compiled what is measured (`known`): it was imported, or its plan had
  // to go. Then it is measured again, once in the daemon's life, so that the next one can load the
  // plan.
  void look_for_plan(const Client& client,
                     const ClientContext& context,
                     const core::wire::Use& use,
                     const core::Decision& known);

  // verification.cpp
  void on_record(core::Record record, const VerificationQueue::Pick& pick);  // loop
  void on_plans(std::vector<core::StoredPlan> plans);                        // loop
  // Has it written; kept in memory and tried again where the store does not work. Loop.
  void store(const std::shared_ptr<const Measured>& measured);
  void on_stored(const std::shared_ptr<const Measured>& measured, const core::Status& stored);
  void keep_for_later(const std::shared_ptr<const Measured>& measured);           // loop
  void retry_store();                                                             // loop
  core::Status put_measured(const std::shared_ptr<const Measured>& measured);     // storage thread
  void on_failure(const core::KeyHash& hash, const std::string& why);             // loop
  void tell_waiting(const core::KeyHash& hash, const std::string& error);         // loop
  void score(const core::Record& record, float probability, std::uint32_t pool);  // scorer thread
  void look_for_slower_winner(const core::Record& record,
                              const std::optional<core::Record>& before,
                              const std::vector<core::Context>& older,
                              double factor);  // storage thread
  void review();                               // background thread
  // `logs`: of each view, in the order of model::kApplicationViews.
  void promote_by_rule(std::span<const AccuracyLog> logs,
                       const ModelSet& set,
                       const Config& config);
  void tick_retraining();                           // loop
  void note_context(const core::Context& context);  // loop

  // Publishes a record's answer, or takes it away. Storage thread.
  void publish(const core::KeyHash& hash);
  [[nodiscard]] core::Decision table_decision(const core::Record& record) const;

  // Runs `job` on the loop and waits for what it returns; empty once the daemon stops.
  template <typename Job>
  auto ask_loop(Job job) -> std::optional<decltype(job())>;

  CommandLine line_;
  Config config_;  // loop; what needs a restart (config.cpp) never changes
  std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
  std::atomic<bool> stopping_ = false;
  Loop loop_;
  storage::OpenReport open_report_;  // constant after start()
  std::unique_ptr<storage::Database> database_;
  std::unique_ptr<PlanStore> plans_;              // null: none are kept; constant after start()
  std::optional<core::Context> default_context_;  // constant after start()

  // Of the loop.
  Answers answers_;
  std::unique_ptr<VerificationQueue> queue_;
  std::unique_ptr<Supervisor> supervisor_;
  std::unique_ptr<Retraining> retraining_;
  std::unique_ptr<Server> server_;
  Counters counters_;
  const bool several_processors_ = std::thread::hardware_concurrency() > 1;
  // Unfinished queries, at most one of each connection; a slice of them is worked off each turn.
  std::deque<std::shared_ptr<PendingAnswer>> batches_;
  std::size_t pending_bytes_ = 0;  // about; of all unfinished queries with their answers
  static constexpr std::size_t kMissesInATurn = 32;
  TurnBudget turn_{kMissesInATurn};  // of predictions and jobs for the queue
  LatencyHistogram hit_latency_;
  LatencyHistogram miss_latency_;
  bool table_complete_ = false;
  bool reload_asked_ = false;  // by a signal, and not yet begun
  std::vector<std::pair<core::Context, std::uint64_t>> known_contexts_;  // with their hashes
  // What clients named, with the file that it leads to and that only root can change.
  std::unordered_map<std::string, std::string> trusted_libraries_;
  std::unordered_map<core::KeyHash, storage::UseStatistics, core::KeyHasher> pending_uses_;
  std::unordered_set<core::KeyHash, core::KeyHasher> looked_for_plan_;
  std::unordered_multimap<core::KeyHash, std::function<void(std::string)>, core::KeyHasher>
      waiting_;
  std::unordered_set<core::KeyHash, core::KeyHasher> forced_;
  // Measured, but not stored yet because the store does not work; nothing is measured meanwhile.
  std::deque<std::shared_ptr<const Measured>> unstored_;
  std::chrono::steady_clock::time_point next_store_;  // when the first of them is tried again

  // Shared.
  std::mutex models_mutex_;
  std::shared_ptr<const ModelSet> models_;  // guarded by models_mutex_
  SlowerWinners slower_winners_;
  std::atomic<std::uint64_t> records_ = 0;  // measured problems, about
  std::mutex alarms_mutex_;
  nlohmann::json alarms_ = nlohmann::json::array();  // guarded by alarms_mutex_
  std::atomic<std::uint64_t> table_entries_ = 0;
  std::atomic<std::uint64_t> table_bytes_ = 0;
  std::atomic<std::uint64_t> verified_since_review_ = 0;

  bool table_lacks_ = false;               // answers that found no room; storage thread
  std::unique_ptr<PublishedTable> table_;  // storage thread, once start() is through
  std::unique_ptr<AdminService> admin_;    // background thread
  std::unique_ptr<AdminService> reading_;  // reading thread: what takes long

  // Last: their jobs use all of the above.
  std::unique_ptr<WorkThread> storage_;
  std::unique_ptr<WorkThread> scorer_;
  std::unique_ptr<WorkThread> reader_;
  std::unique_ptr<WorkThread> background_;
};

template <typename Job>
auto Daemon::ask_loop(Job job) -> std::optional<decltype(job())> {
  using Value = decltype(job());
  struct Slot {
    std::mutex mutex;
    std::condition_variable ready;
    std::optional<Value> value;
  };
  auto slot = std::make_shared<Slot>();
  loop_.post([slot, job = std::move(job)]() mutable {
    Value value = job();
    const std::lock_guard lock(slot->mutex);
    slot->value.emplace(std::move(value));
    slot->ready.notify_one();
  });
  std::unique_lock lock(slot->mutex);
  while (!slot->value && !stopping_) {
    slot->ready.wait_for(lock, std::chrono::milliseconds(50));
  }
  return std::move(slot->value);
}

}  // namespace reformer::daemon
