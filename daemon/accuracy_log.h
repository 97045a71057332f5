#pragma once

#include "model/features.h"
#include "model/score.h"
#include "storage/database.h"

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

namespace reformer::daemon {

// One view's rows of the accuracy log in compact form (about 30 bytes a row): every report and rule
// reads this. Of a variant's rows for one problem the last counts. Threads: one writer; any readers
// once complete.
class AccuracyLog {
 public:
  // Of View::kAll the log has all problems, of another view f32 ones alone.
  explicit AccuracyLog(model::View view = model::View::kAll) : view_(view) {}

  struct Problem {
    core::KeyHash key;
    std::int64_t time_s = 0;  // of the newest row
    float probability = 1;    // of the pick that led to its first measurement ...
    std::uint32_t pool = 1;   // ... and how many waited then
    core::Operation operation{};
    core::DataType type{};
    core::Layout layout{};
    std::uint16_t device = 0;  // index into devices()
    std::uint64_t uses = 0;    // at the time of the row
  };
  struct Entry {
    float time_us = 0;
    float best_us = 0;
    float confidence = 0;
    float inference_ns = 0;
    std::int32_t rank_of_best = -1;
    bool present = false;  // there is a row
    bool covered = false;
    bool top1 = false;
    bool top3 = false;
    bool within_5pct = false;
    bool abstained = false;
  };

  // Oldest first. Rows of another view are passed over.
  void add(const storage::AccuracyRow& row);
  // Reads the whole log of a database. Errors: the database's; kUnavailable where `stop` (asked at
  // each row) was true.
  using Stop = std::function<bool()>;
  [[nodiscard]] core::Status read(storage::Database& database, const Stop& stop = {});
  // Several views in one pass.
  [[nodiscard]] static core::Status read(storage::Database& database,
                                         std::span<AccuracyLog> logs,
                                         const Stop& stop = {});

  [[nodiscard]] model::View view() const { return view_; }
  // The place in problems(), if it is there.
  [[nodiscard]] std::optional<std::size_t> find(const core::KeyHash& key) const;

  // In the order of their first measurement.
  [[nodiscard]] std::span<const Problem> problems() const { return problems_; }
  [[nodiscard]] const std::vector<std::string>& devices() const { return devices_; }
  [[nodiscard]] std::vector<std::string> variants() const;
  // Empty for an unknown variant.
  [[nodiscard]] std::span<const Entry> of(const std::string& variant) const;
  // What an application would have got: the variant's choice, heuristic A's where it abstained or
  // had none. As model::score_served. The entry is not covered where neither has a choice.
  [[nodiscard]] Entry served(std::span<const Entry> variant, std::size_t problem) const;

 private:
  void complete();

  model::View view_;
  std::vector<Problem> problems_;
  std::unordered_map<core::KeyHash, std::uint32_t, core::KeyHasher> numbers_;
  std::vector<std::string> devices_;
  std::map<std::string, std::vector<Entry>> entries_;  // each as long as problems_ once read
};

// For model/score.h's sums.
[[nodiscard]] model::Score score_of(const AccuracyLog::Entry& entry);

// Problems are not measured in a fair order: popular and doubtful ones go first. These weights make
// means over the measured problems estimates of the mean over all that were asked for, measured or
// `waiting`: the levelled weights for picks without replacement from a finite pool (Farquhar, Gal,
// Rainforth, On Statistical Bias In Active Learning, 2021). They tend to 1 as the pool empties:
// with nothing waiting, every weight is 1.
[[nodiscard]] std::vector<double> selection_weights(std::span<const AccuracyLog::Problem> problems,
                                                    std::uint64_t waiting);
// The problems of the work list that such an estimate is about as well: neither in quarantine (they
// are never picked) nor in the log already (they wait to be measured again). `log`: of
// model::View::kAll, read whole. Errors: the database's.
[[nodiscard]] core::Result<std::uint64_t> unmeasured_problems(storage::Database& database,
                                                              const AccuracyLog& log);
// The weights that `all`'s problems have, for the problems of another view of the same log; 0 where
// `all` lacks one.
[[nodiscard]] std::vector<double> weights_in(const AccuracyLog& view,
                                             const AccuracyLog& all,
                                             std::span<const double> weights);

}  // namespace reformer::daemon
