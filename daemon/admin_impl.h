#pragma once

#include "daemon/admin.h"
#include "daemon/admin_views.h"

#include <chrono>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>

// What the files that answer administrative requests share: admin.cpp has those about the daemon,
// admin_problems.cpp those about problems, admin_transfer.cpp those that bring records in and take
// them out, admin_models.cpp those about models and the accuracy log.
namespace reformer::daemon {

using core::Status;

inline constexpr std::size_t kRowsPerPiece = 64;
inline constexpr std::size_t kPieceBytes = 256 << 10;  // then it is sent; a message has 1 MiB

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
  // False: nobody wants the rest.
  bool add(const Json& row) { return add_text(dump(row)); }
  // A row that is JSON already.
  bool add_text(std::string_view row) {
    text_.append(text_.empty() ? "" : ",").append(row);
    if (++rows_ == kRowsPerPiece || text_.size() >= kPieceBytes) {
      wanted_ = reply_("{\"rows\":[" + std::exchange(text_, {}) + "]}", true);
      rows_ = 0;
    }
    return wanted_;
  }
  void finish(const Json& totals = Json::object()) {
    if (wanted_) {
      const std::string rest = totals.empty() ? "}" : "," + dump(totals).substr(1);
      reply_("{\"rows\":[" + text_ + "]" + rest, false);
    }
  }

 private:
  const AdminReply& reply_;
  std::string text_;  // the piece's rows so far
  std::size_t rows_ = 0;
  bool wanted_ = true;
};

inline Status stopped() {
  return core::make_error(core::ErrorCode::kUnavailable, "the daemon is stopping");
}

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
    bool takes_long = false;
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
  // What a request asks about, and the answer to it.
  struct Decided {
    core::Key key;
    core::Constraints constraints;
    std::optional<core::Record> record;
    core::Decision decision;
  };
  core::Result<Decided> decide(const Json& request);
  [[nodiscard]] bool stopping() const { return live != nullptr && live->is_stopping(); }
  // The records that a request's filters let through, in key order until `visit` returns false.
  // Errors: kInvalidArgument (a filter), kUnavailable (the daemon stops meanwhile).
  Status for_each_match(const Json& request, const std::function<bool(const core::Record&)>& visit);

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
