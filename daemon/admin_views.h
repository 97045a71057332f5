#pragma once

#include "core/decision.h"
#include "core/record.h"
#include "core/result.h"
#include "storage/database.h"

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

// JSON of what administrative replies are made of (docs/admin.md). Pure functions; private to
// daemon/.
namespace reformer::daemon {

using Json = nlohmann::ordered_json;

[[nodiscard]] const char* layout_name(core::Layout layout);
[[nodiscard]] Json number_or_null(double value);
[[nodiscard]] Json decision_json(const core::Decision& decision);
[[nodiscard]] Json record_json(const core::Record& record, const storage::UseStatistics& uses);
// A row of `list`.
[[nodiscard]] Json list_row(const core::Record& record, const storage::UseStatistics& uses);
// `constraints` of explain and query. Errors: kInvalidArgument.
[[nodiscard]] core::Result<core::Constraints> constraints_from(const Json& request);

// op, dtype, layout, device, cudnn, contains: which records a request is about.
struct RecordFilter {
  std::string operation, type, layout, device, contains;
  std::int64_t cudnn = 0;
  [[nodiscard]] bool matches(const core::Record& record) const;
  [[nodiscard]] bool empty() const;
};
[[nodiscard]] core::Result<RecordFilter> filter_from(const Json& request);

}  // namespace reformer::daemon
