// The real cuDNN answers for the GPU that data/h200-deviceprop.json describes: no GPU is needed.
#include "cudnn/planner.h"

#include "core/problem_text.h"
#include "cudnn/exploration.h"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <fstream>
#include <set>
#include <sstream>

using namespace reformer;

namespace {

std::unique_ptr<cudnn::Planner> make_planner() {
  const auto library = cudnn::Library::load(CUDNN_LIBRARY);
  BOOST_REQUIRE_MESSAGE(library, CUDNN_LIBRARY);
  std::stringstream text;
  text << std::ifstream(REFORMER_SOURCE_DIR "/data/h200-deviceprop.json").rdbuf();
  auto made = cudnn::Planner::for_properties(*library, text.str());
  BOOST_REQUIRE(made);
  return std::move(*made);
}

core::Problem small() {
  return core::parse_problem("fwd f16 nhwc n32 c64 h56 w56 k64 r3 s3 pad1 str1 dil1 grp1").value();
}

std::set<std::string> texts(const cudnn::Enumeration& all) {
  std::set<std::string> found;
  for (const cudnn::Planned& planned : all.candidates) {
    found.insert(core::format_engine_config(planned.candidate.config));
  }
  return found;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(planner)

BOOST_AUTO_TEST_CASE(every_configuration_is_listed_once_with_its_ranks) {
  const auto all = make_planner()->enumerate(small(), {}, {});
  BOOST_REQUIRE(all);
  BOOST_TEST(all->candidates.size() > 10U);
  BOOST_TEST(texts(*all).size() == all->candidates.size());
  std::set<int> ranks;
  for (const cudnn::Planned& planned : all->candidates) {
    const core::Candidate& candidate = planned.candidate;
    BOOST_TEST((candidate.rank_a >= 0 || candidate.rank_b >= 0 || candidate.rank_fallback >= 0));
    BOOST_TEST((planned.plan != nullptr) == candidate.status.empty());
    if (candidate.rank_a >= 0) {
      BOOST_TEST(ranks.insert(candidate.rank_a).second);
    }
  }
  BOOST_TEST(all->candidates.front().candidate.rank_a == 0);
  BOOST_TEST(*ranks.rbegin() == static_cast<int>(ranks.size()) - 1);
}

BOOST_AUTO_TEST_CASE(extra_configurations_that_are_there_or_that_cudnn_refuses_are_not_added) {
  const auto plans = make_planner();
  const auto all = plans->enumerate(small(), {}, {});
  BOOST_REQUIRE(all);
  const core::EngineConfig known = all->candidates.front().candidate.config;
  const core::EngineConfig wrong(9999);
  const std::vector<core::EngineConfig> extra{known, wrong};
  const auto more = plans->enumerate(small(), extra, {});
  BOOST_REQUIRE(more);
  BOOST_TEST((texts(*more) == texts(*all)));
  BOOST_TEST(more->candidates.size() == all->candidates.size());
}

BOOST_AUTO_TEST_CASE(a_plan_over_the_workspace_limit_is_listed_with_the_reason) {
  const auto all = make_planner()->enumerate(small(), {}, {.max_workspace_bytes = 0});
  BOOST_REQUIRE(all);
  const auto over = std::count_if(
      all->candidates.begin(), all->candidates.end(), [](const cudnn::Planned& planned) {
        return planned.candidate.status == "workspace_over_0GiB";
      });
  BOOST_TEST(over > 0);
  for (const cudnn::Planned& planned : all->candidates) {
    BOOST_TEST((planned.plan == nullptr || planned.plan->workspace_bytes() == 0));
  }
}

BOOST_AUTO_TEST_CASE(the_knob_space_of_an_engine_gives_configurations_that_cudnn_accepts) {
  const auto plans = make_planner();
  const auto all = plans->enumerate(small(), {}, {});
  BOOST_REQUIRE(all);
  const std::int32_t engine = all->candidates.front().candidate.config.engine();
  const auto explored = plans->explore(small(), engine, 40);
  BOOST_REQUIRE(explored);
  BOOST_TEST(explored->size() > 1U);
  BOOST_TEST(explored->size() <= 40U);
  std::set<std::string> different;
  for (const core::EngineConfig& config : *explored) {
    BOOST_TEST(config.engine() == engine);
    different.insert(core::format_engine_config(config));
  }
  BOOST_TEST(different.size() == explored->size());
  const auto more = plans->enumerate(small(), *explored, {});
  BOOST_REQUIRE(more);
  BOOST_TEST(more->candidates.size() > all->candidates.size());
  BOOST_TEST(texts(*more).size() == more->candidates.size());
}

BOOST_AUTO_TEST_CASE(exploring_adds_new_configurations_of_the_best_engines_only) {
  const auto plans = make_planner();
  const auto all = plans->enumerate(small(), {}, {});
  BOOST_REQUIRE(all);
  core::Record measured;
  measured.key.problem = small();
  float time = 10;
  for (const cudnn::Planned& planned : all->candidates) {
    measured.candidates.push_back(planned.candidate);
    measured.candidates.back().timing = core::Timing::kGraphMedian;
    measured.candidates.back().time_us = ++time;
  }
  const auto engines = cudnn::best_engines(measured, 2);
  BOOST_REQUIRE(engines.size() == 2U);
  BOOST_TEST(engines[0] == measured.candidates[0].config.engine());
  BOOST_TEST(engines[0] != engines[1]);
  const auto found = cudnn::explore_best(*plans, measured, {.engines = 2, .configurations = 30});
  BOOST_TEST(found.size() > 0U);
  BOOST_TEST(found.size() <= 60U);
  const std::set<std::string> known = texts(*all);
  for (const core::EngineConfig& config : found) {
    BOOST_TEST((config.engine() == engines[0] || config.engine() == engines[1]));
    BOOST_TEST(known.count(core::format_engine_config(config)) == 0U);
  }
}

BOOST_AUTO_TEST_CASE(an_unknown_engine_has_no_knob_space) {
  BOOST_TEST(!make_planner()->explore(small(), 9999, 40));
}

// Times are invented, and so is what is compiled at run time: that cannot be built without a GPU.
BOOST_AUTO_TEST_CASE(plans_are_kept_of_compiled_engines_that_win_for_somebody) {
  auto all = make_planner()->enumerate(small(), {}, {});
  BOOST_REQUIRE(all);
  core::Record record;
  record.key.problem = small();
  for (const cudnn::Planned& planned : all->candidates) {
    if (planned.plan != nullptr && record.candidates.size() < 8) {
      record.candidates.push_back(planned.candidate);
    }
  }
  BOOST_REQUIRE(record.candidates.size() == 8U);
  const auto set = [&](std::size_t place, float time_us, bool compiled, std::uint32_t numerical) {
    core::Candidate& candidate = record.candidates[place];
    candidate.time_us = time_us;
    candidate.numerical_notes = numerical;
    candidate.behavior_notes = compiled ? core::behavior_note::kRuntimeCompilation : 0;
  };
  const auto kept = [&] {
    std::vector<core::EngineConfig> configs;
    for (const core::StoredPlan& plan : cudnn::plans_to_keep(record, *all)) {
      BOOST_TEST((plan.key == core::hash_key(record.key)));
      const std::string engine = "\"engineId\":" + std::to_string(plan.config.engine()) + ",";
      BOOST_TEST(plan.json.find(engine) != plan.json.npos);
      configs.push_back(plan.config);
    }
    return configs;
  };
  using Configs = std::vector<core::EngineConfig>;
  const auto config = [&](std::size_t place) { return record.candidates[place].config; };
  for (std::size_t place = 0; place < 8; ++place) {
    set(place, 10, false, 0);
  }
  BOOST_TEST((kept() == Configs{}));
  set(1, 11, true, 0);
  BOOST_TEST((kept() == Configs{}), "slower than what needs no compiler");
  set(1, 9, true, 0);
  set(2, 8, true, 0);
  BOOST_TEST((kept() == Configs{config(2), config(1)}), "the fastest first");
  for (std::size_t place : {0, 3, 4, 5, 6, 7}) {
    set(place, 5, false, core::numerical_note::kTensorCore);
  }
  BOOST_TEST((kept() == Configs{config(2), config(1)}), "for those who refuse tensor cores");
  set(1, 9, true, core::numerical_note::kTensorCore);
  BOOST_TEST((kept() == Configs{config(2)}));
  for (std::size_t place = 1; place < 8; ++place) {
    set(place, 3, true, 0);
  }
  BOOST_TEST(kept().size() == 3U);
  record.candidates[1].time_us = core::kNoTime;
  record.candidates.resize(2);
  BOOST_TEST((kept() == Configs{}), "what has no time");
}

BOOST_AUTO_TEST_SUITE_END()
