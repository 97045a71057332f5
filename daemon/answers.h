#pragma once

#include "core/decision.h"
#include "core/key.h"
#include "daemon/admin.h"
#include "daemon/published_table.h"
#include "model/predictor.h"

#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

namespace reformer::daemon {

// The loop's share of a query: measured answers from the published table, predictions from the
// champion. Neither blocks. Threads: the loop.
class Answers {
 public:
  struct Limits {
    core::BuildPolicy build_policy;
    std::size_t max_engines = 8;
  };
  explicit Answers(Limits limits) : limits_(limits) {}

  void use_table(std::shared_ptr<const TableSnapshot> table) { table_ = std::move(table); }
  void use_models(std::shared_ptr<const ModelSet> models);

  struct Measured {
    // Empty: the table cannot say.
    std::optional<core::Decision> decision;
    // The problem is in the table, but what the constraints leave of its answer need not be the
    // best that they allow: the whole record decides.
    bool needs_record = false;
  };
  [[nodiscard]] Measured measured(const core::KeyHash& hash,
                                  const core::Constraints& constraints,
                                  std::size_t max_entries) const;
  // Appends the table's answer, encoded, to `out`. False, and nothing appended, without one.
  [[nodiscard]] bool copy_measured(const core::KeyHash& hash, std::vector<std::byte>& out) const;
  // The champion's answer; abstains without one.
  [[nodiscard]] core::Decision predicted(const core::Key& key,
                                         const core::Constraints& constraints,
                                         std::size_t max_entries);

 private:
  Limits limits_;
  std::shared_ptr<const TableSnapshot> table_;
  std::shared_ptr<const ModelSet> models_;
  const model::Predictor* champion_ = nullptr;  // in *models_
  std::optional<model::Predictor::Scratch> scratch_;
};

}  // namespace reformer::daemon
