#include "daemon/promotion.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

namespace reformer::daemon {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kRegression = 0.005;  // ln; of an operation, a data type or a view
constexpr std::size_t kMostPromotions = 100;
constexpr const char* kEntry = "promotions";

struct Difference {
  std::size_t problem = 0;
  double log_ratio = 0;
  double weight = 1;
};

struct WeightedMean {
  double mean = 0;
  double variance = 0;  // of one observation
  double n = 0;         // effective
};

WeightedMean mean_of(std::span<const Difference> sample) {
  double sum = 0;
  double total = 0;
  double squares = 0;
  for (const auto& [problem, value, weight] : sample) {
    sum += weight * value;
    total += weight;
    squares += weight * weight;
  }
  WeightedMean result;
  if (!(total > 0)) {
    return result;
  }
  result.mean = sum / total;
  result.n = total * total / squares;
  for (const auto& [problem, value, weight] : sample) {
    result.variance += weight * (value - result.mean) * (value - result.mean) / total;
  }
  return result;
}

// Half the width of a confidence sequence that is tightest around `tightest` observations.
double sequence_half_width(const WeightedMean& of, double alpha, double tightest) {
  const double spread = -2 * std::log(alpha);
  const double rho2 = (spread + std::log(spread + 1)) / tightest;
  const double n = of.n;
  return std::sqrt(of.variance * 2 * (n * rho2 + 1) / (n * n * rho2) *
                   std::log(std::sqrt(n * rho2 + 1) / alpha));
}

// Of what applications would get from `name` and get from `champion`, where both were measured.
std::vector<Difference> differences(const AccuracyLog& log,
                                    const std::string& name,
                                    const std::string& champion,
                                    std::span<const double> weights) {
  const auto entries = log.of(name);
  const auto reference = log.of(champion);
  std::vector<Difference> all;
  for (std::size_t i = 0; i < std::min(entries.size(), reference.size()); ++i) {
    if (!entries[i].present || !reference[i].present || !(weights[i] > 0)) {
      continue;
    }
    const auto ours = log.served(entries, i);
    const auto theirs = log.served(reference, i);
    if (ours.covered && theirs.covered) {
      all.push_back({i, std::log(double(ours.time_us) / double(theirs.time_us)), weights[i]});
    }
  }
  return all;
}

bool is_slower(std::span<const Difference> sample) {
  return mean_of(sample).mean > kRegression;
}

// In an operation or a data type.
bool is_slower_in_a_part(const AccuracyLog& log, std::span<const Difference> all) {
  std::map<core::Operation, std::vector<Difference>> operations;
  std::map<core::DataType, std::vector<Difference>> types;
  for (const Difference& difference : all) {
    const AccuracyLog::Problem& problem = log.problems()[difference.problem];
    operations[problem.operation].push_back(difference);
    types[problem.type].push_back(difference);
  }
  const auto slower = [](const auto& part) { return is_slower(part.second); };
  return std::ranges::any_of(operations, slower) || std::ranges::any_of(types, slower);
}

}  // namespace

std::optional<Challenger> challenger_to_promote(const AccuracyLog& log,
                                                std::span<const AccuracyLog> other_views,
                                                std::span<const double> weights,
                                                const std::string& champion,
                                                std::span<const std::string> candidates,
                                                const PromotionRule& rule) {
  std::vector<std::vector<double>> weights_of_others;
  for (const AccuracyLog& other : other_views) {
    weights_of_others.push_back(weights_in(other, log, weights));
  }
  const double alpha = (1 - rule.confidence) / std::max<double>(1, double(candidates.size()));
  std::optional<Challenger> best;
  for (const std::string& name : candidates) {
    const std::vector<Difference> all = differences(log, name, champion, weights);
    if (name == champion || all.size() < rule.min_problems || !(alpha > 0)) {
      continue;
    }
    bool regresses = is_slower_in_a_part(log, all);
    for (std::size_t i = 0; i < other_views.size() && !regresses; ++i) {
      regresses = is_slower(differences(other_views[i], name, champion, weights_of_others[i]));
    }
    const WeightedMean mean = mean_of(all);
    const double bound =
        mean.mean + sequence_half_width(mean, alpha, static_cast<double>(rule.min_problems));
    if (bound < 0 && !regresses && (!best || std::exp(mean.mean) < best->ratio)) {
      best = Challenger{name, all.size(), std::exp(mean.mean), std::exp(bound)};
    }
  }
  return best;
}

core::Result<PromotionHistory> PromotionHistory::load(storage::Database& database) {
  const auto bytes = database.find_meta(kEntry);
  if (!bytes) {
    return bytes.error();
  }
  PromotionHistory history;
  const Json list = Json::parse(bytes->value_or("[]"), nullptr, false);
  if (!list.is_array()) {
    return history;
  }
  try {
    for (const Json& row : list) {
      history.promotions_.push_back({row.at("time_s").get<std::int64_t>(),
                                     row.at("model").get<std::string>(),
                                     row.at("previous").get<std::string>(),
                                     row.at("by").get<std::string>(),
                                     row.at("why").dump(),
                                     row.at("undone").get<bool>(),
                                     row.at("rollback").get<bool>()});
    }
  } catch (const Json::exception&) {
    return PromotionHistory();
  }
  return history;
}

void PromotionHistory::add(std::int64_t time_s,
                           const std::string& model,
                           const std::string& previous,
                           const std::string& by,
                           const Json& why) {
  promotions_.push_back({time_s, model, previous, by, why.dump(), false, false});
}

std::optional<std::string> PromotionHistory::champion_before(const IsLoaded& is_loaded) const {
  const auto last =
      std::find_if(promotions_.rbegin(), promotions_.rend(), [&is_loaded](const auto& one) {
        return one.stands() && is_loaded(one.previous);
      });
  return last != promotions_.rend() ? std::optional(last->previous) : std::nullopt;
}

std::optional<std::string> PromotionHistory::roll_back(std::int64_t time_s,
                                                       const std::string& by,
                                                       const IsLoaded& is_loaded) {
  const auto back_to = champion_before(is_loaded);
  if (!back_to) {
    return std::nullopt;
  }
  std::string from;
  for (auto one = promotions_.rbegin(); one != promotions_.rend(); ++one) {
    if (!one->stands()) {
      continue;
    }
    one->undone = true;
    from = from.empty() ? one->model : from;
    if (is_loaded(one->previous)) {
      break;
    }
  }
  promotions_.push_back({time_s, *back_to, from, by, "null", false, true});
  return back_to;
}

bool PromotionHistory::barred(const std::string& model) const {
  const auto last = std::find_if(promotions_.rbegin(), promotions_.rend(), [&](const auto& one) {
    return !one.is_rollback && one.model == model;
  });
  return last != promotions_.rend() && last->undone;
}

core::Status PromotionHistory::store(storage::Database& database) const {
  return database.put_meta(kEntry, to_json().dump(-1, ' ', false, Json::error_handler_t::replace));
}

Json PromotionHistory::to_json() const {
  Json list = Json::array();
  const std::size_t first =
      promotions_.size() > kMostPromotions ? promotions_.size() - kMostPromotions : 0;
  for (std::size_t i = first; i < promotions_.size(); ++i) {
    const Promotion& one = promotions_[i];
    list.push_back({{"time_s", one.time_s},
                    {"model", one.model},
                    {"previous", one.previous},
                    {"by", one.by},
                    {"why", Json::parse(one.why, nullptr, false)},
                    {"undone", one.undone},
                    {"rollback", one.is_rollback}});
  }
  return list;
}

}  // namespace reformer::daemon
