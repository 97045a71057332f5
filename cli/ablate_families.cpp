#include "cli/ablate_families.h"

#include "cli/ablate_run.h"
#include "cli/eval_scores.h"
#include "cli/reply.h"
#include "cli/table.h"
#include "cli/train_data.h"
#include "cli/units.h"
#include "model/model_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <unordered_map>
#include <utility>

namespace reformer::cli {
namespace {

constexpr std::size_t kShapeFields = 13;

[[noreturn]] void refuse(const std::string& path, std::size_t line, const std::string& what) {
  throw Failure(kExitUsage, printable(fmt::format("{}:{}: {}", path, line, what)));
}

std::ifstream open(const std::string& path) {
  std::ifstream file(path);
  std::string heading;
  if (!file || !std::getline(file, heading)) {
    throw Failure(kExitFailed, printable(path + ": cannot be read"));
  }
  return file;
}

using FamilyOf = std::map<std::string, std::string, std::less<>>;

FamilyOf read_families(const std::string& path) {
  std::ifstream file = open(path);
  FamilyOf families;
  std::size_t number = 1;
  for (std::string line; std::getline(file, line);) {
    ++number;
    const std::size_t comma = line.find(',');
    if (comma == std::string::npos || comma == 0 || comma + 1 == line.size()) {
      refuse(path, number, "expected network,family");
    }
    families[line.substr(0, comma)] = line.substr(comma + 1);
  }
  if (families.empty()) {
    throw Failure(kExitUsage, printable(path + ": no families"));
  }
  return families;
}

// Hash of a layer of the shapes file, as model::shape_hash() has it for its problems.
std::uint64_t hash_of_shape(const std::array<std::int32_t, kShapeFields>& s) {
  core::Problem problem;
  problem.x.dims = {1, s[0], 1, s[1], s[2]};
  problem.w.dims = {s[3], s[0] / std::max(1, s[12]), 1, s[4], s[5]};
  problem.pad_before = {0, s[6], s[7]};
  problem.pad_after = problem.pad_before;
  problem.stride = {1, s[8], s[9]};
  problem.dilation = {1, s[10], s[11]};
  for (std::size_t axis = 0; axis < core::kSpatialAxes; ++axis) {
    if (problem.w.dims[axis + 2] == 1) {
      problem.dilation[axis] = 1;  // as canonical problems have it
    }
  }
  return model::shape_hash(problem);
}

// The families of each shape. Names of networks that no family has are collected in `unknown`.
std::unordered_map<std::uint64_t, std::set<std::string>> read_shape_families(
    const std::string& path, const FamilyOf& families, std::set<std::string>& unknown) {
  std::ifstream file = open(path);
  std::unordered_map<std::uint64_t, std::set<std::string>> result;
  std::size_t number = 1;
  for (std::string line; std::getline(file, line);) {
    ++number;
    std::array<std::int32_t, kShapeFields> shape{};
    const char* at = line.data();
    const char* const end = at + line.size();
    for (std::int32_t& field : shape) {
      const auto [next, error] = std::from_chars(at, end, field);
      if (error != std::errc() || next == end || *next != ',') {
        refuse(path, number, "expected 13 numbers and the names of networks");
      }
      at = next + 1;
    }
    std::set<std::string>& of_shape = result[hash_of_shape(shape)];
    std::istringstream names(std::string(at, end));
    for (std::string name; std::getline(names, name, '|');) {
      const auto family = families.find(name);
      if (family == families.end()) {
        unknown.insert(name);
      } else {
        of_shape.insert(family->second);
      }
    }
  }
  return result;
}

// Scores of one family, or of all.
struct FamilyScores {
  std::string family;
  std::size_t seeds = 0;              // whose training was finished
  std::size_t problems = 0;           // held out, for each seed
  std::size_t training_problems = 0;  // for each seed
  std::array<std::vector<model::Score>, ChooserScores::kChoosers> scores;

  void add(const ChooserScores& more) {
    for (std::size_t c = 0; c < scores.size(); ++c) {
      const auto& from = more.of(static_cast<ChooserScores::Chooser>(c));
      scores[c].insert(scores[c].end(), from.begin(), from.end());
    }
  }
  [[nodiscard]] model::Summary summary(ChooserScores::Chooser chooser) const {
    return model::summarise(scores[chooser]);
  }
};

class FamilyStudy {
 public:
  FamilyStudy(Session& session, const FamilyOptions& options)
      : session_(session), options_(options), workers_(options.threads) {
    std::set<std::string> unknown;
    shape_families_ = read_shape_families(options.shapes, read_families(options.families), unknown);
    for (const std::string& name : unknown) {
      *session_.err << printable(name) << " is of no family: never held out\n";
    }
    const auto add = [this](const core::Record& record) {
      if (corpus_.add(record) == model::Corpus::Added::kYes) {
        records_.push_back(families_of(record).empty() ? std::optional<core::Record>() : record);
      }
    };
    rejected_ = read_measurements(session_, options.data, add).rejected;
    for (const auto& [shape, names] : shape_families_) {
      names_.insert(names.begin(), names.end());
    }
  }

  void run() {
    FamilyScores all;
    all.family = "all";
    const InterruptGuard guard;
    for (const std::string& family : names_) {
      FamilyScores scores;
      scores.family = family;
      for (std::uint64_t seed = 1; seed <= options_.seeds && !interrupted_; ++seed) {
        hold_out(family, seed, scores, all);
      }
      if (scores.seeds > 0) {
        all.problems += scores.problems;
        rows_.push_back(std::move(scores));
      }
    }
    if (rows_.empty()) {
      throw Failure(kExitFailed, "no problem of these families in the data");
    }
    rows_.push_back(std::move(all));
    session_.json ? print_as_json() : print_as_table();
    if (rejected_ > 0) {
      session_.exit_code = kExitFailed;
    }
  }

 private:
  const std::set<std::string>& families_of(const core::Record& record) const {
    static const std::set<std::string> none;
    const auto found = shape_families_.find(model::shape_hash(record.key.problem));
    return found == shape_families_.end() ? none : found->second;
  }

  void hold_out(const std::string& family,
                std::uint64_t seed,
                FamilyScores& scores,
                FamilyScores& all) {
    std::vector<std::size_t> training;
    std::vector<std::size_t> held_out;
    for (std::size_t i = 0; i < records_.size(); ++i) {
      const bool out = records_[i] && families_of(*records_[i]).contains(family);
      (out ? held_out : training).push_back(i);
    }
    if (held_out.empty()) {
      return;
    }
    model::TrainOptions training_options = options_.training;
    training_options.seed = seed;
    training_options.shards = options_.threads;
    const auto trained = model::train_model(
        corpus_,
        training,
        training_options,
        [this](std::size_t count, const auto& body) { workers_.run(count, body); },
        [this](const model::TrainProgress&) {
          interrupted_ = interrupted_ || InterruptGuard::interrupted();
          return !interrupted_;
        });
    if (interrupted_) {
      *session_.err << "interrupted: " << family << " is not finished and left out\n";
      return;
    }
    if (!trained) {
      throw Failure(trained.error());
    }
    const std::filesystem::path file = scratch_.file("family.reformer");
    if (const auto written = model::write_model(*trained, file); !written) {
      throw Failure(written.error());
    }
    const auto predictor = model::Predictor::load(file);
    if (!predictor) {
      throw Failure(predictor.error());
    }
    ChooserScores judged(**predictor);
    for (const std::size_t i : held_out) {
      judged.add(*records_[i]);
    }
    ++scores.seeds;
    scores.problems = held_out.size();
    scores.training_problems = training.size();
    scores.add(judged);
    all.add(judged);
    *session_.err << fmt::format(
        "{}, seed {}: model {:.4f}, served {:.4f}, heuristic A {:.4f}\n",
        family,
        seed,
        model::summarise(judged.of(ChooserScores::kModel)).geomean_slowdown,
        model::summarise(judged.of(ChooserScores::kServed)).geomean_slowdown,
        model::summarise(judged.of(ChooserScores::kHeuristicA)).geomean_slowdown);
  }

  void print_as_json() const {
    Json families = Json::array();
    Json all;
    for (const FamilyScores& row : rows_) {
      const auto of = [&row](ChooserScores::Chooser chooser) {
        return summary_to_json(row.summary(chooser));
      };
      Json json = {{"family", row.family},
                   {"seeds", row.seeds},
                   {"training_problems", row.training_problems},
                   {"problems", row.problems},
                   {"model", of(ChooserScores::kModel)},
                   {"served", of(ChooserScores::kServed)},
                   {"baselines",
                    {{"heuristic_a", of(ChooserScores::kHeuristicA)},
                     {"heuristic_b", of(ChooserScores::kHeuristicB)},
                     {"a_first_10", of(ChooserScores::kFirstTen)},
                     {"oracle", of(ChooserScores::kOracle)}}}};
      if (&row == &rows_.back()) {
        json.erase("seeds");
        json.erase("training_problems");
        all = std::move(json);
      } else {
        families.push_back(std::move(json));
      }
    }
    print_json(session_, {{"families", families}, {"all", all}, {"seeds", options_.seeds}});
  }

  void print_as_table() const {
    Table table({{"family left out"},
                 {"problems", Align::kRight},
                 {"model", Align::kRight},
                 {"served", Align::kRight},
                 {"heur. A", Align::kRight},
                 {"heur. B", Align::kRight},
                 {"served p90", Align::kRight},
                 {"p99", Align::kRight},
                 {"time", Align::kRight},
                 {"A's time", Align::kRight},
                 {"abstained", Align::kRight}});
    for (const FamilyScores& row : rows_) {
      const model::Summary served = row.summary(ChooserScores::kServed);
      const model::Summary a = row.summary(ChooserScores::kHeuristicA);
      table.add({row.family,
                 human_count(row.problems),
                 human_factor(row.summary(ChooserScores::kModel).geomean_slowdown),
                 {human_factor(served.geomean_slowdown),
                  served.geomean_slowdown <= a.geomean_slowdown ? Tone::kGood : Tone::kBad},
                 human_factor(a.geomean_slowdown),
                 human_factor(row.summary(ChooserScores::kHeuristicB).geomean_slowdown),
                 human_factor(served.p90_slowdown),
                 fmt::format("{:.2f}x", served.p99_slowdown),
                 human_factor(served.total_time_ratio),
                 human_factor(a.total_time_ratio),
                 human_share(static_cast<double>(served.abstained) /
                             static_cast<double>(row.scores[0].size()))});
    }
    table.print(*session_.out, session_.colour, 120);
  }

  Session& session_;
  const FamilyOptions& options_;
  Workers workers_;
  ScratchFolder scratch_;
  std::unordered_map<std::uint64_t, std::set<std::string>> shape_families_;
  std::set<std::string> names_;
  model::Corpus corpus_;
  std::vector<std::optional<core::Record>> records_;  // of each corpus problem; of families only
  std::vector<FamilyScores> rows_;
  std::uint64_t rejected_ = 0;  // lines of the files
  bool interrupted_ = false;
};

}  // namespace

void study_families(Session& session, const FamilyOptions& options) {
  FamilyStudy(session, options).run();
}

}  // namespace reformer::cli
