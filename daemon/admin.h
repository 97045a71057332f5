#pragma once

#include "core/decision.h"
#include "core/key.h"
#include "core/result.h"
#include "model/predictor.h"
#include "storage/database.h"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

// The administrative requests of docs/admin.md: the same code answers in the daemon and, for
// `reformerctl --offline DIR`, in the tool's own process.
namespace reformer::daemon {

// Where things are below a state directory.
[[nodiscard]] std::filesystem::path database_directory(const std::filesystem::path& state_dir);
[[nodiscard]] std::filesystem::path default_state_dir();

class PlanStore;  // daemon/plan_store.h

struct LoadedModel {
  std::shared_ptr<const model::Predictor> predictor;
  std::filesystem::path path;
};
// Models that were added at run time are kept there; the file is called as the model.
[[nodiscard]] std::filesystem::path added_models_directory(const std::filesystem::path& state_dir);
// Where the database keeps what is known of an added model's origin, as JSON.
[[nodiscard]] std::string provenance_entry(const std::string& model);

// The loaded variants, published as one immutable value.
struct ModelSet {
  std::vector<LoadedModel> models;
  std::string champion;  // name; empty: none, every miss abstains
  // What was to be loaded and is not, in words for the administrator: an added model that cannot be
  // read (an upgrade may have changed the format), a champion that is gone.
  std::vector<std::string> missing;
  [[nodiscard]] const model::Predictor* find(std::string_view name) const;
  [[nodiscard]] const model::Predictor* champion_predictor() const { return find(champion); }
};

enum class Rights { kRead, kWrite };

struct Asker {
  Rights rights = Rights::kRead;
  std::string name;  // "uid 1000": for logs and histories
};

// Takes a piece of the reply; more == false in the last. False: nobody wants what would follow, so
// the request ends without an error. May be called on another thread than handle()'s, and, for
// `verify` with `wait` only, after handle() returned.
using AdminReply = std::function<bool(std::string json, bool more)>;

// What only a running daemon knows. Threads: every function from any thread but the loop's.
class LiveDaemon {
 public:
  virtual ~LiveDaemon() = default;
  [[nodiscard]] virtual bool is_stopping() = 0;  // what takes long is to end then
  [[nodiscard]] virtual std::shared_ptr<const ModelSet> models() = 0;
  virtual void add_status(nlohmann::json& status) = 0;  // adds its members
  virtual nlohmann::json stats() = 0;
  virtual nlohmann::json clients() = 0;  // an array
  struct Verification {
    bool queued = false;
    std::uint64_t position = 0;  // in the order of work, from 0
  };
  // Before all others. `done` gets an empty text once a measurement is stored, else why there will
  // be none.
  virtual core::Result<Verification> verify(const core::Key& key,
                                            bool force,
                                            std::function<void(std::string error)> done) = 0;
  // Has it measured in its turn, as if an application had missed it; nothing happens without a
  // timer.
  virtual void verify_later(const core::Key& key) = 0;
  // The alarms of the last review, and models that are missing: [{kind, text}].
  virtual nlohmann::json alarms() = 0;
  virtual core::Status clear_upgrade_alarms() = 0;
  // Makes a loaded model the champion, and keeps that in the history. `why`: JSON.
  virtual core::Status promote(const std::string& name,
                               const std::string& by,
                               const nlohmann::ordered_json& why) = 0;
  // Back to the champion before the last promotion. Returns its name.
  virtual core::Result<std::string> roll_back(const std::string& by) = 0;
  // Copies a model file into the state directory and loads it as a challenger. Returns its name.
  virtual core::Result<std::string> add_model(const std::filesystem::path& file,
                                              const nlohmann::ordered_json& provenance) = 0;
  virtual core::Result<nlohmann::json> reload() = 0;
  // The record of this key changed (or is to go: call before it is removed).
  virtual void record_changed(const core::KeyHash& hash) = 0;
  virtual void record_removed(const core::KeyHash& hash) = 0;
};

// Threads: handle() from one thread at a time; two services may share a database and a daemon.
// Blocks on disk: never on the loop.
class AdminService {
 public:
  struct Options {
    std::filesystem::path state_dir;
    std::optional<core::Context> default_context;  // for requests that name none
    core::BuildPolicy build_policy;
    std::size_t max_engines = core::kMaxDecisionEntries;
    const PlanStore* plans = nullptr;  // null: none are kept. Must outlive this
  };
  // `live` null: offline; requests that need a daemon are kUnavailable. Both must outlive this.
  AdminService(storage::Database& database,
               LiveDaemon* live,
               ModelSet offline_models,
               Options options);
  ~AdminService();
  AdminService(const AdminService&) = delete;
  AdminService& operator=(const AdminService&) = delete;

  // Answers one request. An error after pieces were sent ends the reply too. Never throws. Holds no
  // more of a long reply than a piece.
  // Errors: kInvalidArgument (not JSON, bad member), kUnsupported (unknown request), kDenied,
  // kUnavailable (needs a daemon, or it stops meanwhile).
  core::Status handle(std::string_view json_request, const Asker& asker, const AdminReply& reply);
  // Whether it reads much, or its reply is made at its reader's pace: not where others would wait.
  // Such requests change nothing. Threads: any.
  [[nodiscard]] static bool takes_long(std::string_view json_request);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// A stopped daemon's state directory, read-only, with the models that it had loaded (those that can
// still be read; the others are named in `notes`). Owns everything it needs.
class OfflineAdmin {
 public:
  // Errors: as storage::Database::open (a running daemon's is kUnavailable).
  static core::Result<std::unique_ptr<OfflineAdmin>> open(const std::filesystem::path& state_dir);
  core::Status handle(std::string_view json_request, const AdminReply& reply);
  [[nodiscard]] const std::vector<std::string>& notes() const { return notes_; }

 private:
  OfflineAdmin() = default;
  std::unique_ptr<storage::Database> database_;
  std::unique_ptr<AdminService> service_;
  std::vector<std::string> notes_;
};

}  // namespace reformer::daemon
