#pragma once

#include "core/result.h"
#include "daemon/accuracy_log.h"

#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

// Which model answers: the rule, and the history of promotions. Threads: the rule is a pure
// function; the history belongs to one thread.
namespace reformer::daemon {

struct PromotionRule {
  std::size_t min_problems = 200;
  double confidence = 0.95;
};
struct Challenger {
  std::string name;
  std::size_t problems = 0;  // that both were measured on
  double ratio = 1;          // time of what applications would get over what they get; below 1
  double ratio_bound = 1;    // with the rule's confidence it is not above this
};
// The best of `candidates` that should answer instead of the champion, if any: on at least
// min_problems problems on which both were measured, what applications would get is faster with
// that confidence, and in no operation, no data type and none of the `other_views` slower by more
// than 0.5 %. The bound is a confidence sequence (Robbins' normal mixture with the variance
// estimated; Waudby-Smith et al., Time-uniform central limit theory, 2021) at the level shared
// among the candidates: it holds however often, and whenever, the rule looks. `weights`: of the
// problems of `log`.
[[nodiscard]] std::optional<Challenger> challenger_to_promote(
    const AccuracyLog& log,
    std::span<const AccuracyLog> other_views,
    std::span<const double> weights,
    const std::string& champion,
    std::span<const std::string> candidates,
    const PromotionRule& rule);

// Every promotion, newest last; the last hundred, in the database.
class PromotionHistory {
 public:
  // Errors: the database's. An unreadable history is an empty one.
  static core::Result<PromotionHistory> load(storage::Database& database);

  // `by`: "rule", "uid 1000". `why` is any JSON.
  void add(std::int64_t time_s,
           const std::string& model,
           const std::string& previous,
           const std::string& by,
           const nlohmann::ordered_json& why);
  // The champion before the last promotion that stands; where that is not loaded any more, the one
  // before the promotion before, and so on. Empty: there is none.
  using IsLoaded = std::function<bool(const std::string& model)>;
  [[nodiscard]] std::optional<std::string> champion_before(const IsLoaded& is_loaded) const;
  // The same, and marks that promotion and those after it as undone.
  std::optional<std::string> roll_back(std::int64_t time_s,
                                       const std::string& by,
                                       const IsLoaded& is_loaded);
  // A model that was rolled back is not promoted by rule again, until somebody promotes it.
  [[nodiscard]] bool barred(const std::string& model) const;
  core::Status store(storage::Database& database) const;
  [[nodiscard]] nlohmann::ordered_json to_json() const;  // an array

 private:
  struct Promotion {
    std::int64_t time_s = 0;
    std::string model;
    std::string previous;
    std::string by;
    std::string why;  // JSON text
    bool undone = false;
    bool is_rollback = false;
    [[nodiscard]] bool stands() const { return !undone && !is_rollback; }
  };
  std::vector<Promotion> promotions_;
};

}  // namespace reformer::daemon
