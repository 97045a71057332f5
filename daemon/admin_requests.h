#pragma once

#include "daemon/ablation.h"
#include "daemon/admin.h"

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

// Private to admin*.cpp: what the request handlers share.
namespace reformer::daemon {

using nlohmann::json;

// Thrown by the readers below and turned into a Status by handle(); goes no further.
struct BadRequest {
  core::Error error;
};
[[noreturn]] void fail(core::ErrorCode code, std::string message);
// The value, or BadRequest.
template <typename T>
T need(core::Result<T> result) {
  if (!result) {
    throw BadRequest{result.error()};
  }
  return std::move(result).value();
}

// Members of a request; BadRequest where one has the wrong type.
[[nodiscard]] std::string text_member(const json& request, const char* name);
[[nodiscard]] bool flag_member(const json& request, const char* name);
[[nodiscard]] std::int64_t number_member(const json& request,
                                         const char* name,
                                         std::int64_t absent);

// Sends rows in pieces of a bounded size.
class RowWriter {
 public:
  explicit RowWriter(const AdminReply& reply) : reply_(reply) {}
  void add(json row);
  void finish(json totals = json::object());

 private:
  static constexpr std::size_t kPieceBytes = 256 << 10;
  void send(bool more, json totals);
  const AdminReply& reply_;
  json rows_ = json::array();
  std::size_t bytes_ = 0;
};

// A number, or null where it is not one.
[[nodiscard]] json number_or_null(double value);
[[nodiscard]] json decision_json(const core::Decision& decision);
[[nodiscard]] json record_json(const core::Record& record, std::uint64_t uses);
[[nodiscard]] core::Constraints constraints_of(const json& request);
[[nodiscard]] AblationFilter ablation_filter(const json& request);
[[nodiscard]] json ablation_json(const AblationReport& report);
[[nodiscard]] json accuracy_json(const storage::AccuracyRow& row);

// Which records a request means.
struct RecordFilter {
  std::string operation, type, layout, device, contains;
  std::int64_t cudnn = 0;
  [[nodiscard]] bool takes(const core::Record& record) const;
  [[nodiscard]] bool empty() const;
};
[[nodiscard]] RecordFilter record_filter(const json& request);

struct AdminService::Impl {
  storage::Database& database;
  LiveDaemon* live;
  std::shared_ptr<const ModelSet> offline_models;
  Options options;

  [[nodiscard]] std::shared_ptr<const ModelSet> models() const;
  [[nodiscard]] LiveDaemon& daemon() const;  // BadRequest offline
  [[nodiscard]] core::Context context_of(const json& request);
  [[nodiscard]] core::Key key_of(const json& request);
  void each_record(const std::function<bool(const core::Record&)>& visit);

  // admin.cpp
  void status(const AdminReply& reply);
  void list_models(const AdminReply& reply);
  void promote(const json& request, const AdminReply& reply);
  void check(const AdminReply& reply);
  void verify(const json& request, const AdminReply& reply);
  // admin_records.cpp
  void list(const json& request, const AdminReply& reply);
  void show(const json& request, const AdminReply& reply);
  void query(const json& request, const AdminReply& reply);
  void explain(const json& request, const AdminReply& reply);
  void import_lines(const json& request, const AdminReply& reply);
  void export_records(const json& request, const AdminReply& reply);
  void forget(const json& request, const AdminReply& reply);
  void freeze(const json& request, const AdminReply& reply);
  void diff(const json& request, const AdminReply& reply);
  [[nodiscard]] core::Decision decide(const core::Key& key,
                                      const core::Constraints& constraints,
                                      const std::optional<core::Record>& record) const;
  // admin_accuracy.cpp
  void ablation(const json& request, const AdminReply& reply);
  void accuracy(const json& request, const AdminReply& reply);
};

}  // namespace reformer::daemon
