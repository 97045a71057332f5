#pragma once

#include "daemon/admin.h"
#include "daemon/admin_views.h"

#include <chrono>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

// What the files that answer administrative requests share: admin.cpp has those about problems and
// the daemon, admin_models.cpp those about models and the accuracy log.
namespace reformer::daemon {

using core::Status;

inline constexpr std::size_t kRowsPerPiece = 64;

inline core::Error wrong(const std::string& message) {
  return core::make_error(core::ErrorCode::kInvalidArgument, message);
}

inline std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

inline std::int64_t now_s() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// Sends rows in pieces; the last piece carries what else there is to say.
class Rows {
 public:
  explicit Rows(const AdminReply& reply) : reply_(reply) {}
  void add(Json row) {
    rows_.push_back(std::move(row));
    if (rows_.size() == kRowsPerPiece) {
      reply_(dump({{"rows", std::exchange(rows_, Json::array())}}), true);
    }
  }
  void finish(const Json& totals = Json::object()) {
    Json last{{"rows", std::move(rows_)}};
    last.update(totals);
    reply_(dump(last), false);
  }

 private:
  const AdminReply& reply_;
  Json rows_ = Json::array();
};

inline bool flag(const Json& request, const char* name) {
  const auto found = request.find(name);
  return found != request.end() && found->is_boolean() && found->get<bool>();
}

struct AdminService::Impl {
  storage::Database& database;
  LiveDaemon* live;
  ModelSet offline_models;
  Options options;
  std::string asker;  // of the request that is being handled

  using Handler = Status (Impl::*)(const Json&, const AdminReply&);
  struct Request {
    Handler handler = nullptr;
    Rights rights = Rights::kRead;
    bool needs_daemon = false;
  };
  static const std::map<std::string_view, Request>& requests();

  [[nodiscard]] std::shared_ptr<const ModelSet> models() const {
    return live != nullptr ? live->models() : std::make_shared<const ModelSet>(offline_models);
  }
  core::Result<core::Key> key_of(const Json& request);
  core::Result<core::Context> context_of(const Json& request);
  storage::UseStatistics uses_of(const core::KeyHash& hash) const {
    auto uses = database.find_uses(hash);
    return uses && *uses ? **uses : storage::UseStatistics{};
  }
  core::Result<core::Decision> decide(const core::Key& key,
                                      const core::Constraints& constraints,
                                      std::optional<core::Record>& record);
  core::Result<std::vector<core::Record>> filtered(const Json& request);

  Status status(const Json& request, const AdminReply& reply);
  Status stats(const Json& request, const AdminReply& reply);
  Status clients(const Json& request, const AdminReply& reply);
  Status list(const Json& request, const AdminReply& reply);
  Status show(const Json& request, const AdminReply& reply);
  Status query(const Json& request, const AdminReply& reply);
  Status explain(const Json& request, const AdminReply& reply);
  Status import_lines(const Json& request, const AdminReply& reply);
  Status export_records(const Json& request, const AdminReply& reply);
  Status forget(const Json& request, const AdminReply& reply);
  Status verify(const Json& request, const AdminReply& reply);
  Status list_models(const Json& request, const AdminReply& reply);
  Status promote(const Json& request, const AdminReply& reply);
  Status promotions(const Json& request, const AdminReply& reply);
  Status add_model(const Json& request, const AdminReply& reply);
  Status acknowledge(const Json& request, const AdminReply& reply);
  Status ablation(const Json& request, const AdminReply& reply);
  Status accuracy(const Json& request, const AdminReply& reply);
  Status freeze(const Json& request, const AdminReply& reply);
  Status check(const Json& request, const AdminReply& reply);
  Status diff(const Json& request, const AdminReply& reply);
  Status reload(const Json& request, const AdminReply& reply);
  Status compact(const Json& request, const AdminReply& reply);
};

}  // namespace reformer::daemon
