#include "interchange/measurements.h"
#include "model/model_file.h"
#include "tests/cli/fake_channel.h"
#include "tests/model/sample_model.h"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

// `reformerctl train`, `eval` and `ablate` from files to figures.
namespace reformer::model {
namespace {

using nlohmann::json;
using testing::timed;

cli::test::Outcome reformerctl(std::vector<std::string> arguments) {
  cli::test::Script script;
  return cli::test::run(script, std::move(arguments));
}

void write_records(const std::filesystem::path& path, const std::vector<core::Record>& records) {
  const auto writer = interchange::MeasurementWriter::create(path, interchange::Compression::kNone);
  BOOST_REQUIRE(writer.ok());
  for (const core::Record& record : records) {
    BOOST_REQUIRE((*writer)->write(record).ok());
  }
  BOOST_REQUIRE((*writer)->finish().ok());
}

std::vector<core::Record> made_up_records(std::uint32_t count) {
  std::vector<core::Record> records;
  for (std::uint32_t n = 0; n < count; ++n) {
    records.push_back(testing::made_up_record(n));
  }
  return records;
}

// The model ranks engines 0, 1, 2, ... for f16 and f32 and has nothing for bf16.
std::vector<core::Record> toy_records() {
  const std::string shape = " n1 c8 h8 w8 k8 r3 s3";
  return {
      testing::record("fwd f16 nhwc" + shape, {timed(0, 10, 1), timed(1, 20, 0)}),
      testing::record("fwd f16 nhwc pad1" + shape, {timed(1, 11, 1), timed(2, 10, 0)}),
      testing::record("fwd f32 nchw" + shape, {timed(0, 10.4F, 1), timed(3, 10, 0)}),
      testing::record("fwd bf16 nhwc" + shape, {timed(0, 10, 0)}),
  };
}

void check_near(const json& actual, double expected, const char* name) {
  BOOST_TEST(std::abs(actual.at(name).get<double>() - expected) < 1e-6,
             name << " is " << actual.at(name) << ", not " << expected);
}

std::string text_of(const std::filesystem::path& path) {
  std::ifstream stream(path);
  return {std::istreambuf_iterator<char>(stream), {}};
}

std::size_t count_of(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
    ++count;
  }
  return count;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(evaluation)

// Model: 1, 1.1, 1.04 and nothing. Served: heuristic A's choice for the last. A: 2, 1, 1, 1.
BOOST_AUTO_TEST_CASE(eval_agrees_with_figures_computed_by_hand) {
  const testing::TemporaryFolder folder;
  write_records(folder.file("toy.jsonl"), toy_records());
  BOOST_REQUIRE(write_model(testing::fixed_ranking_model(5), folder.file("m.reformer")).ok());
  const auto outcome = reformerctl(
      {"--json", "eval", "--model", folder.file("m.reformer"), "--data", folder.file("toy.jsonl")});
  BOOST_REQUIRE_MESSAGE(outcome.exit_code == 0, outcome.err);
  const json report = json::parse(outcome.out);
  BOOST_TEST(report.at("problems") == 4);
  BOOST_TEST(report.at("first_missing") == 1);  // the second
  const json& chosen = report.at("model");
  check_near(chosen, 0.25, "top1");
  check_near(chosen, 0.75, "top3");
  check_near(chosen, 0.5, "within_5pct");
  check_near(chosen, std::cbrt(1.1 * 1.04), "geomean_slowdown");
  check_near(chosen, 1.1, "p90_slowdown");
  check_near(chosen, 1.1, "p99_slowdown");
  check_near(chosen, 1.1, "max_slowdown");
  check_near(chosen, 31.4 / 30, "total_time_ratio");
  check_near(chosen, 1, "uncovered");
  const json& served = report.at("served");
  check_near(served, 0.5, "top1");
  check_near(served, 0.75, "within_5pct");
  check_near(served, std::pow(1.1 * 1.04, 0.25), "geomean_slowdown");
  check_near(served, 41.4 / 40, "total_time_ratio");
  check_near(served, 1, "abstained");
  check_near(served, 0, "uncovered");
  const json& baselines = report.at("baselines");
  check_near(baselines.at("heuristic_a"), std::pow(2, 0.25), "geomean_slowdown");
  check_near(baselines.at("heuristic_a"), 0.75, "top1");
  check_near(baselines.at("heuristic_b"), 4, "uncovered");
  check_near(baselines.at("a_first_10"), 1, "geomean_slowdown");
  check_near(baselines.at("oracle"), 1, "top1");
  BOOST_TEST(report.at("inference_us").at("p50").get<double>() > 0);
}

// Class 0 uses tensor cores, so that of f32 the model's class 1 is judged against class 2.
BOOST_AUTO_TEST_CASE(eval_sees_f32_as_an_application_that_refuses_tensor_cores) {
  const testing::TemporaryFolder folder;
  std::vector<core::Record> records = toy_records();
  const std::string shape = " n1 c8 h8 w8 k8 r3 s3";
  std::vector<core::Candidate> candidates = {
      timed(0, 10, 0), timed(1, 22, 1), timed(2, 20, 2), timed(4, 60, 11)};
  candidates[0].numerical_notes = core::numerical_note::kTensorCore;
  candidates[2].numerical_notes = core::numerical_note::kNondeterministic;
  records.push_back(testing::record("fwd f32 nchw pad1" + shape, candidates));
  candidates.resize(1);
  records.push_back(testing::record("fwd f32 nchw pad2" + shape, candidates));
  write_records(folder.file("toy.jsonl"), records);
  BOOST_REQUIRE(write_model(testing::fixed_ranking_model(5), folder.file("m.reformer")).ok());
  const auto outcome = reformerctl({"--json",
                                    "eval",
                                    "--model",
                                    folder.file("m.reformer"),
                                    "--data",
                                    folder.file("toy.jsonl"),
                                    "--without-tensor-cores"});
  BOOST_REQUIRE_MESSAGE(outcome.exit_code == 0, outcome.err);
  const json report = json::parse(outcome.out);
  BOOST_TEST(report.at("problems") == 2);
  BOOST_TEST(report.at("other_type") == 3);
  BOOST_TEST(report.at("nothing_timed") == 1);
  check_near(report.at("model"), 1.1, "max_slowdown");
  check_near(report.at("model"), std::sqrt(1.1 * 1.04), "geomean_slowdown");
  check_near(report.at("baselines").at("heuristic_a"), std::sqrt(1.1), "geomean_slowdown");

  // The second record's class 2 is not deterministic: class 1 is the fastest then.
  const auto narrower = reformerctl({"--json",
                                     "eval",
                                     "--model",
                                     folder.file("m.reformer"),
                                     "--data",
                                     folder.file("toy.jsonl"),
                                     "--without-tensor-cores",
                                     "--deterministic"});
  BOOST_REQUIRE_MESSAGE(narrower.exit_code == 0, narrower.err);
  check_near(json::parse(narrower.out).at("model"), std::sqrt(1.04), "geomean_slowdown");
}

// Class 0 takes 0.2 s to compile and 10 us to run where the others take 20 us or more.
BOOST_AUTO_TEST_CASE(eval_applies_the_build_policy) {
  const testing::TemporaryFolder folder;
  const std::string shape = " n1 c8 h8 w8 k8 r3 s3";
  core::Record record = testing::record("fwd f16 nhwc" + shape, {timed(0, 10, 0), timed(1, 20, 1)});
  for (core::Candidate& candidate : record.candidates) {
    candidate.build_us = candidate.config == testing::config(0) ? 200'000.0F : 3.0F;
  }
  write_records(folder.file("data.jsonl"), {record});
  // Logits 1 apart promise e times the time: 2^3 us against 21.7.
  ModelData model = testing::fixed_ranking_model(2);
  model.info.sharpness = 1;
  model.classes.classes[0].entry.build_us = 200'000;
  BOOST_REQUIRE(write_model(model, folder.file("m.reformer")).ok());
  const auto applied = [&](const char* uses) {
    const auto outcome = reformerctl({"--json",
                                      "eval",
                                      "--model",
                                      folder.file("m.reformer"),
                                      "--data",
                                      folder.file("data.jsonl"),
                                      "--expected-uses",
                                      uses});
    BOOST_REQUIRE_MESSAGE(outcome.exit_code == 0, outcome.err);
    const json report = json::parse(outcome.out);
    check_near(report.at("served"), 1, "geomean_slowdown");
    check_near(report.at("build_ms"), 200, "heuristic_a");
    return std::pair(report.at("applied").at("geomean_slowdown").get<double>(),
                     report.at("build_ms").at("applied").get<double>());
  };
  BOOST_TEST(applied("10000").first == 2);
  BOOST_TEST(applied("10000").second == 0.003, boost::test_tools::tolerance(1e-6));
  BOOST_TEST(applied("20000").first == 1);
  BOOST_TEST(applied("20000").second == 200);
}

BOOST_AUTO_TEST_CASE(train_writes_the_same_file_for_the_same_seed_and_threads) {
  const testing::TemporaryFolder folder;
  write_records(folder.file("data.jsonl"), made_up_records(300));
  const auto train = [&](const char* out, const char* seed) {
    const auto outcome = reformerctl({"train",
                                      "--data",
                                      folder.file("data.jsonl"),
                                      "--out",
                                      folder.file(out),
                                      "--epochs",
                                      "2",
                                      "--threads",
                                      "3",
                                      "--seed",
                                      seed});
    BOOST_REQUIRE_MESSAGE(outcome.exit_code == 0, outcome.err);
    return text_of(folder.file(out));
  };
  const std::string first = train("a", "1");
  BOOST_TEST(!first.empty());
  BOOST_TEST((train("b", "1") == first));
  BOOST_TEST((train("c", "2") != first));
}

BOOST_AUTO_TEST_CASE(ablate_compares_each_variant_with_the_papers) {
  const testing::TemporaryFolder folder;
  write_records(folder.file("data.jsonl"), made_up_records(400));
  const std::vector<std::string> arguments = {
      "--json",      "ablate", "--data",   folder.file("data.jsonl"),
      "--blocks",    "1,3",    "--target", "ratio,one-hot",
      "--sharpness", "4",      "--noise",  "0.2",
      "--seeds",     "2",      "--epochs", "3",
      "--threads",   "2",      "--html",   folder.file("report.html")};
  const auto outcome = reformerctl(arguments);
  BOOST_REQUIRE_MESSAGE(outcome.exit_code == 0, outcome.err);
  const json report = json::parse(outcome.out);
  BOOST_TEST(report.at("reference") == "gamma3-ratio-s1");
  const auto problems = report.at("problems").get<std::size_t>();
  BOOST_TEST(problems > 40U);
  BOOST_TEST(problems + report.at("training_problems").get<std::size_t>() <= 400U);
  // L = 3 and ratio are the same variant: gamma3-ratio-s1, gamma1, one-hot, s4, two noisy ones.
  BOOST_TEST(report.at("variants").size() == 6U);
  BOOST_TEST(report.at("finished_runs") == 12);
  BOOST_TEST(report.at("studies").size() == 4U);
  for (const json& variant : report.at("variants")) {
    BOOST_TEST(variant.at("seeds").size() == 2U);
    for (const char* name : {"top1", "within_5pct", "geomean_slowdown", "p90_slowdown"}) {
      const json& interval = variant.at("interval").at(name);
      BOOST_TEST(interval.at(0).get<double>() <= variant.at(name).get<double>());
      BOOST_TEST(variant.at(name).get<double>() <= interval.at(1).get<double>());
    }
    BOOST_TEST(variant.at("classes_geomean_slowdown").get<double>() <=
               variant.at("geomean_slowdown").get<double>());
    BOOST_TEST(variant.contains("paired") == (variant.at("name") != "gamma3-ratio-s1"));
    if (variant.contains("paired")) {
      const json& paired = variant.at("paired");
      BOOST_TEST(paired.at("pairs").get<std::size_t>() + paired.at("left_out").get<std::size_t>() ==
                 2 * problems);
    }
  }
  check_near(report.at("baselines").at("oracle"), 1, "top1");

  const std::string page = text_of(folder.file("report.html"));
  BOOST_TEST(count_of(page, "<svg") >= 5U);
  BOOST_TEST(count_of(page, "<svg") == count_of(page, "</svg>"));
  for (const char* outside : {"<script", "http:", "https:", "src=", "@import", "<link"}) {
    BOOST_TEST(count_of(page, outside) == 0U, outside);
  }

  // Choices, though not times, are the same every time.
  const json again = json::parse(reformerctl(arguments).out);
  for (std::size_t v = 0; v < 6; ++v) {
    BOOST_TEST(again.at("variants")[v].at("geomean_slowdown") ==
               report.at("variants")[v].at("geomean_slowdown"));
  }
}

// The shapes of the first 60 records are one family's, the next 60 are shared by two.
BOOST_AUTO_TEST_CASE(ablate_leaves_every_problem_of_a_family_out) {
  const testing::TemporaryFolder folder;
  std::vector<core::Record> records = made_up_records(400);
  std::set<std::string> keys;
  std::erase_if(records, [&keys](const core::Record& record) {
    return !keys.insert(core::format_hash(core::hash_key(record.key))).second;
  });
  write_records(folder.file("data.jsonl"), records);
  std::ofstream(folder.file("families.csv")) << "network,family\nnet/a,one\nnet/b,two\n";
  std::set<std::uint64_t> of_one;
  std::set<std::uint64_t> of_two;
  {
    std::ofstream shapes(folder.file("shapes.csv"));
    shapes << "c,h,w,k,r,s,pad_h,pad_w,stride_h,stride_w,dilation_h,dilation_w,groups,networks\n";
    for (std::size_t i = 0; i < 120; ++i) {
      const core::Problem& p = records[i].key.problem;
      shapes << p.x.dims[1] << ',' << p.x.dims[3] << ',' << p.x.dims[4] << ',' << p.w.dims[0] << ','
             << p.w.dims[3] << ',' << p.w.dims[4] << ',' << p.pad_before[1] << ','
             << p.pad_before[2] << ',' << p.stride[1] << ',' << p.stride[2] << ',' << p.dilation[1]
             << ',' << p.dilation[2] << ',' << p.groups() << ','
             << (i < 60 ? "net/a" : "net/a|net/b|net/unknown") << '\n';
      of_one.insert(shape_hash(p));
      if (i >= 60) {
        of_two.insert(shape_hash(p));
      }
    }
  }
  const auto count = [&records](const std::set<std::uint64_t>& shapes) {
    return static_cast<std::size_t>(std::ranges::count_if(records, [&](const core::Record& r) {
      return shapes.contains(shape_hash(r.key.problem));
    }));
  };
  std::vector<std::string> command = {"--json",
                                      "ablate",
                                      "--data",
                                      folder.file("data.jsonl"),
                                      "--hold-out-families",
                                      folder.file("families.csv"),
                                      "--shapes",
                                      folder.file("shapes.csv"),
                                      "--seeds",
                                      "1",
                                      "--epochs",
                                      "2",
                                      "--threads",
                                      "2"};
  const auto outcome = reformerctl(command);
  BOOST_REQUIRE_MESSAGE(outcome.exit_code == 0, outcome.err);
  BOOST_TEST(outcome.err.find("net/unknown") != std::string::npos);
  const json report = json::parse(outcome.out);
  BOOST_REQUIRE(report.at("families").size() == 2U);
  const json& one = report.at("families")[0];
  const json& two = report.at("families")[1];
  BOOST_TEST(one.at("family") == "one");
  BOOST_TEST(one.at("problems") == count(of_one));
  BOOST_TEST(one.at("training_problems") == records.size() - count(of_one));
  BOOST_TEST(two.at("problems") == count(of_two));
  BOOST_TEST(two.at("training_problems") == records.size() - count(of_two));
  BOOST_TEST(report.at("all").at("problems") == count(of_one) + count(of_two));
  BOOST_TEST(one.at("served").at("geomean_slowdown").get<double>() >= 1);

  // The judge's training does not touch the network.
  command.emplace_back("--no-calibration");
  const auto faster = reformerctl(command);
  BOOST_REQUIRE_MESSAGE(faster.exit_code == 0, faster.err);
  const json same = json::parse(faster.out).at("families")[0].at("model");
  BOOST_TEST(same.at("geomean_slowdown") == one.at("model").at("geomean_slowdown"));
}

BOOST_AUTO_TEST_CASE(ablate_says_what_is_wrong) {
  const testing::TemporaryFolder folder;
  write_records(folder.file("few.jsonl"), made_up_records(20));
  const auto few = reformerctl({"ablate", "--data", folder.file("few.jsonl")});
  BOOST_TEST(few.exit_code == cli::kExitUsage);
  BOOST_TEST(few.err.find("at least 50") != std::string::npos, few.err);
  const auto wrong =
      reformerctl({"ablate", "--data", folder.file("few.jsonl"), "--target", "ratio,two-hot"});
  BOOST_TEST(wrong.exit_code == cli::kExitUsage);
  std::ofstream(folder.file("families.csv")) << "network,family\nnet/a\n";
  const auto no_family = reformerctl({"ablate",
                                      "--data",
                                      folder.file("few.jsonl"),
                                      "--hold-out-families",
                                      folder.file("families.csv"),
                                      "--shapes",
                                      folder.file("families.csv")});
  BOOST_TEST(no_family.exit_code == cli::kExitUsage);
  BOOST_TEST(no_family.err.find("families.csv:2:") != std::string::npos, no_family.err);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace reformer::model
