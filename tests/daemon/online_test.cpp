// The online ablation of a running daemon: recorded problems replayed as a stream of misses.
#include "core/problem_text.h"
#include "interchange/measurements.h"
#include "model/model_file.h"
#include "model/training_run.h"
#include "tests/daemon/running_daemon.h"
#include "tests/sanitized.h"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <memory>
#include <numeric>
#include <utility>

using namespace reformer;
using namespace reformer::testing;
namespace wire = core::wire;
using nlohmann::json;

namespace {

constexpr std::size_t kProblems = 160;

// How `eval` is asked for a view.
const std::vector<std::pair<model::View, std::string>> kViewOptions{
    {model::View::kAll, ""},
    {model::View::kWithoutTensorCores, " --without-tensor-cores"},
    {model::View::kDeterministic, " --without-tensor-cores --deterministic"}};

// The first recorded problems, read once; and models that learnt a little from them.
class Recorded {
 public:
  static const Recorded& get() {
    static const Recorded recorded;
    return recorded;
  }
  [[nodiscard]] const std::vector<core::Record>& records() const { return records_; }
  // Problems with a row of each variant in this view.
  [[nodiscard]] std::size_t count(model::View view) const {
    return static_cast<std::size_t>(std::ranges::count_if(records_, [view](const auto& record) {
      return view == model::View::kAll ||
             (record.key.problem.x.type == core::DataType::kF32 &&
              core::fastest(core::without_notes(record, model::refused_notes(view))) != nullptr);
    }));
  }
  // Rows of one variant.
  [[nodiscard]] std::size_t rows() const {
    std::size_t rows = 0;
    for (const model::View view : model::kApplicationViews) {
      rows += count(view);
    }
    return rows;
  }
  // A measurement file with all of them.
  [[nodiscard]] std::string file(const Folder& folder) const {
    std::string lines;
    for (const auto& record : records_) {
      lines += interchange::record_to_json(record) + "\n";
    }
    return folder.write("recorded.jsonl", lines).string();
  }
  [[nodiscard]] std::string train(const Folder& folder,
                                  const std::string& name,
                                  std::size_t blocks,
                                  model::TargetKind target) const {
    model::TrainOptions options = *model::preset("default");
    options.name = name;
    options.blocks = blocks;
    options.loss.target = target;
    options.epochs = 1;
    options.folds = 0;
    std::vector<std::size_t> all(corpus_.problems().size());
    std::iota(all.begin(), all.end(), std::size_t{0});
    const auto trained = model::train_model(
        corpus_,
        all,
        options,
        [](std::size_t count, const auto& body) {
          for (std::size_t i = 0; i < count; ++i) {
            body(i);
          }
        },
        [](const auto&) { return true; });
    const auto path = folder.path() / (name + ".reformer");
    BOOST_REQUIRE(trained.ok());
    BOOST_REQUIRE(model::write_model(*trained, path).ok());
    return path.string();
  }

 private:
  Recorded() {
    const auto reader = interchange::MeasurementReader::open(REFORMER_RECORDED).value();
    while (records_.size() < kProblems) {
      records_.push_back(**reader->next());
      corpus_.add(records_.back());
    }
  }
  std::vector<core::Record> records_;
  model::Corpus corpus_;
};

std::string copy_as(const Folder& folder, const std::string& from, const std::string& name) {
  auto model = model::read_model(from).value();
  model.info.name = name;
  const auto path = folder.path() / (name + ".reformer");
  BOOST_REQUIRE(model::write_model(model, path).ok());
  return path.string();
}

// Every problem is asked for, missed and verified.
void replay(TestClient& client, std::size_t rows) {
  wire::Query query;
  query.context_id = client.greet();
  for (const auto& record : Recorded::get().records()) {
    query.problems = {record.key.problem};
    BOOST_REQUIRE(client.ask<wire::Answer>(query).has_value());
  }
  BOOST_REQUIRE(eventually([&] {
    return client.admin({{"request", "status"}})["accuracy_rows"] == rows;
  }));
}

json run(const std::string& command) {
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> pipe(::popen(command.c_str(), "r"), ::pclose);
  std::string text;
  char buffer[4096];
  for (std::size_t n = 0; (n = std::fread(buffer, 1, sizeof buffer, pipe.get())) > 0;) {
    text.append(buffer, n);
  }
  return json::parse(text);
}

const json& variant_of(const json& report, const std::string& name) {
  for (const json& variant : report["variants"]) {
    if (variant["name"] == name) {
      return variant;
    }
  }
  throw std::runtime_error("no variant " + name);
}

void check_same(const json& found, const json& expected, const std::string& what) {
  for (const auto& [key, value] : expected.items()) {
    BOOST_TEST_CONTEXT(what << ": " << key) {
      BOOST_TEST((found.value(key, json()) == value), found.value(key, json()) << " " << value);
    }
  }
}

std::vector<std::string> recorded_timer(const std::string& file) {
  return {"--timer", "recorded:" + file, "--verify-after-ms", "0"};
}

std::vector<std::string> operator+(std::vector<std::string> a, const std::vector<std::string>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(online)

BOOST_AUTO_TEST_CASE(the_online_report_equals_eval_to_the_last_digit_for_every_variant) {
  using model::TargetKind;
  Folder folder;
  const auto& recorded = Recorded::get();
  const std::string file = recorded.file(folder);
  std::vector<std::string> models;
  for (std::size_t blocks = 1; blocks <= 5; ++blocks) {
    models.push_back(
        recorded.train(folder, "ratio-" + std::to_string(blocks), blocks, TargetKind::kRatio));
  }
  models.push_back(recorded.train(folder, "one-hot", 3, TargetKind::kOneHot));
  models.push_back(recorded.train(folder, "softmax", 3, TargetKind::kSoftmax));
  auto arguments = recorded_timer(file);
  for (const auto& model : models) {
    arguments = arguments + std::vector<std::string>{"--model", model};
  }
  RunningDaemon daemon(folder, arguments);
  TestClient client(daemon.socket());
  replay(client, recorded.rows() * (models.size() + 4));

  json report;
  for (const auto& [view, options] : kViewOptions) {
    report = client.admin(
        {{"request", "ablation"}, {"view", model::to_string(view)}, {"resamples", 50}});
    BOOST_TEST(report["view"] == model::to_string(view));
    BOOST_TEST(report["problems"] == recorded.count(view));
    BOOST_TEST(report["weighted"] == false);
    for (const auto& model : models) {
      const json eval = run(std::string(REFORMERCTL) + " --json eval --model " + model +
                            " --data " + file + options);
      const std::string name = eval["name"];
      check_same(variant_of(report, name), eval["model"], name);
      check_same(variant_of(report, name)["served"], eval["served"], name + " served");
      for (const auto& [baseline, figures] : eval["baselines"].items()) {
        check_same(variant_of(report, baseline), figures, baseline);
      }
      BOOST_TEST(variant_of(report, name)["inference_us"]["p50"].get<double>() > 0);
    }
  }
  BOOST_REQUIRE_EQUAL(report["studies"].size(), 2U);
  BOOST_TEST(report["studies"][0]["rows"].size() == 5U);
  BOOST_TEST(report["studies"][1]["rows"].size() == 3U);

  // The filters: what is left is those problems, whatever the variant.
  std::size_t gradients = 0;
  for (const auto& record : recorded.records()) {
    gradients += record.key.problem.operation == core::Operation::kDataGradient ? 1 : 0;
  }
  const json filtered = client.admin({{"request", "ablation"}, {"op", "dgrad"}, {"resamples", 0}});
  BOOST_TEST(filtered["problems"] == gradients);
  const json rows = client.admin({{"request", "accuracy"}, {"op", "dgrad"}})["rows"];
  BOOST_TEST(rows.size() == gradients * (models.size() + 4));
}

BOOST_AUTO_TEST_CASE(a_worse_champion_is_replaced_by_rule_and_can_be_rolled_back_to) {
  Folder folder;
  const auto& recorded = Recorded::get();
  const std::string bad = recorded.train(folder, "bad", 1, model::TargetKind::kSoftmax);
  const std::string twin = copy_as(folder, bad, "twin");
  const std::string good = copy_as(folder, REFORMER_MODEL, "good");
  RunningDaemon daemon(
      folder,
      recorded_timer(recorded.file(folder)) + std::vector<std::string>{"--model",
                                                                       bad,
                                                                       "--model",
                                                                       twin,
                                                                       "--model",
                                                                       good,
                                                                       "--auto-promote",
                                                                       "true",
                                                                       "--promote-min-problems",
                                                                       "60"});
  TestClient client(daemon.socket());
  BOOST_TEST(client.admin({{"request", "status"}})["champion"] == "bad");
  replay(client, recorded.rows() * 7);
  BOOST_REQUIRE(eventually([&] {
    return client.admin({{"request", "status"}})["champion"] == "good";
  }));
  json history = client.admin({{"request", "promotions"}})["rows"];
  BOOST_REQUIRE_EQUAL(history.size(), 1U);
  BOOST_TEST(history[0]["by"] == "rule");
  BOOST_TEST(history[0]["previous"] == "bad");
  BOOST_TEST(history[0]["why"]["ratio_bound"].get<double>() < 1);
  BOOST_TEST(daemon.log().find("champion: \"good\" instead of \"bad\", by rule") !=
             std::string::npos);
  BOOST_TEST(client.admin({{"request", "promote"}, {"rollback", true}})["champion"] == "bad");
  // Not promoted again, however good it is, and the choice outlives the daemon.
  daemon.signal(SIGTERM);
  const auto status = daemon.wait();
  BOOST_TEST(status.value_or(-1) == 0, daemon.log());
  RunningDaemon again(
      folder, {"--timer", "none", "--model", good, "--model", bad, "--auto-promote", "true"});
  TestClient other(again.socket());
  BOOST_TEST(other.admin({{"request", "status"}})["champion"] == "bad");
  BOOST_TEST(other.admin({{"request", "promotions"}})["rows"].size() == 2U);
}

BOOST_AUTO_TEST_CASE(an_upgrade_that_makes_a_winner_slower_raises_an_alarm_until_acknowledged) {
  Folder folder;
  const auto recorded = folder.write("recorded.jsonl", sample_line(64, 20) + "\n");
  RunningDaemon daemon(folder, recorded_timer(recorded.string()));
  TestClient client(daemon.socket());
  std::string older = sample_line(64, 10);
  older.replace(older.find("91900"), 5, "91400");
  BOOST_TEST(client.admin({{"request", "import"}, {"lines", {older}}})["stored"] == 1);
  BOOST_TEST(client.admin({{"request", "check"}})["ok"] == true);
  client.query(sample_problem(64));
  json check;
  BOOST_REQUIRE(eventually([&] {
    check = client.admin({{"request", "check"}});
    return check["ok"] == false;
  }));
  BOOST_TEST(check["alarms"][0]["kind"] == "upgrade");
  const std::string command = std::string(REFORMERCTL) + " --socket " + daemon.socket() + " check";
  BOOST_TEST(WEXITSTATUS(std::system((command + " > /dev/null").c_str())) == 5);
  BOOST_TEST(client.admin({{"request", "status"}})["alarms"].size() == 1U);
  BOOST_TEST(std::system((command + " --acknowledge").c_str()) == 0);
  BOOST_TEST(client.admin({{"request", "check"}})["ok"] == true);
}

BOOST_AUTO_TEST_CASE(an_upgrade_is_judged_by_the_settings_of_the_last_reload) {
  Folder folder;
  const auto recorded = folder.write("recorded.jsonl", sample_line(64, 20) + "\n");
  const std::string settings =
      "timer = \"recorded:" + recorded.string() + "\"\nverify_after_ms = 0\n";
  const auto file = folder.write("reformerd.toml", settings);
  RunningDaemon daemon(folder, {"--config", file.string()});
  TestClient client(daemon.socket());
  std::string older = sample_line(64, 10);
  older.replace(older.find("91900"), 5, "91400");
  BOOST_TEST(client.admin({{"request", "import"}, {"lines", {older}}})["stored"] == 1);
  BOOST_REQUIRE(eventually([&] {
    return client.admin({{"request", "status"}})["table"]["entries"] == 1;
  }));
  folder.write("reformerd.toml", settings + "drift_slowdown = 3.0\n");
  BOOST_TEST((client.admin({{"request", "reload"}})["changed"] == json{"drift_slowdown"}));
  client.query(sample_problem(64));
  BOOST_REQUIRE(eventually([&] { return client.admin({{"request", "stats"}})["verified"] == 1; }));
  BOOST_TEST(client.admin({{"request", "check"}})["ok"] == true);  // 20 us after 10
}

// A sanitizer maps more than the training may.
BOOST_AUTO_TEST_CASE(a_background_training_adds_a_challenger_with_its_provenance,
                     *boost::unit_test::enable_if<!reformer::testing::kSanitized>()) {
  Folder folder;
  const std::vector<std::string> settings{"--timer", "none", "--model", REFORMER_MODEL};
  std::string champion;
  std::string trained;
  {
    RunningDaemon daemon(
        folder,
        settings +
            std::vector<std::string>{
                "--retrain-hours", "0.0001", "--retrain-problems", "100", "--retrain-epochs", "1"});
    TestClient client(daemon.socket());
    champion = client.admin({{"request", "status"}})["champion"];
    json lines = json::array();
    for (const auto& record : Recorded::get().records()) {
      lines.push_back(interchange::record_to_json(record));
      if (lines.size() == 20) {
        client.admin({{"request", "import"}, {"lines", lines}});
        lines.clear();
      }
    }
    json models;
    BOOST_REQUIRE(eventually([&] {
      models = client.admin({{"request", "models"}})["rows"];
      return models.size() == 2;
    }));
    trained = models[1]["name"];
    BOOST_TEST(trained.starts_with("host-"));
    BOOST_TEST(models[1]["champion"] == false);
    BOOST_TEST(models[1]["provenance"]["background"] == true);
    BOOST_TEST(models[1]["provenance"]["problems_of_this_host"].get<int>() >= 100);
    BOOST_TEST(client.admin({{"request", "status"}})["champion"] == champion);
    BOOST_TEST(eventually([&] {
      return client.admin({{"request", "status"}})["training"]["last_result"] == trained;
    }));
    daemon.signal(SIGTERM);
    const auto status = daemon.wait();
    BOOST_TEST(status.value_or(-1) == 0, daemon.log());
  }
  RunningDaemon again(folder, settings);
  TestClient client(again.socket());
  const json status = client.admin({{"request", "status"}});
  BOOST_TEST(status["champion"] == champion);
  BOOST_TEST((status["models"] == json{champion, trained}));
  // Without any configured model an added one does not answer of itself.
  again.signal(SIGTERM);
  BOOST_TEST(again.wait().value_or(-1) == 0);
  RunningDaemon alone(folder, {"--timer", "none"});
  BOOST_TEST(TestClient(alone.socket()).admin({{"request", "status"}})["champion"] == "");
}

BOOST_AUTO_TEST_CASE(a_training_that_fails_leaves_everything_as_it_was) {
  Folder folder;
  const auto trainer = folder.write("trainer", "#!/bin/sh\nexit 1\n", true);
  RunningDaemon daemon(folder,
                       {"--timer",
                        "none",
                        "--trainer",
                        trainer.string(),
                        "--retrain-hours",
                        "0.0001",
                        "--retrain-problems",
                        "1"});
  TestClient client(daemon.socket());
  client.admin({{"request", "import"}, {"lines", {sample_line(64, 10)}}});
  BOOST_TEST(eventually([&] {
    return client.admin({{"request", "status"}})["training"]["last_result"] ==
           "ended with status 1";
  }));
  BOOST_TEST(client.admin({{"request", "models"}})["rows"].empty());
}

BOOST_AUTO_TEST_CASE(newer_trainings_do_not_drop_what_a_rollback_would_bring_back) {
  Folder folder;
  RunningDaemon daemon(folder, {"--timer", "none", "--retrain-keep", "1"});
  TestClient client(daemon.socket());
  const auto train = [&](const std::string& name) {
    const std::string path = copy_as(folder, REFORMER_MODEL, name);
    return client.admin(
        {{"request", "add_model"}, {"path", path}, {"provenance", {{"background", true}}}});
  };
  const auto promote = [&](const std::string& name) {
    return client.admin({{"request", "promote"}, {"model", name}})["champion"];
  };
  BOOST_TEST(train("host-1")["model"] == "host-1");
  BOOST_TEST(promote("host-1") == "host-1");
  BOOST_TEST(train("host-2")["model"] == "host-2");
  BOOST_TEST(promote("host-2") == "host-2");
  for (const char* name : {"host-3", "host-4", "host-5"}) {
    BOOST_TEST(train(name)["model"] == name);
  }
  BOOST_TEST(
      (client.admin({{"request", "status"}})["models"] == json{"host-1", "host-2", "host-5"}));
  BOOST_TEST(client.admin({{"request", "promote"}, {"rollback", true}})["champion"] == "host-1");
}

BOOST_AUTO_TEST_CASE(an_added_model_that_cannot_be_read_any_more_is_an_alarm) {
  Folder folder;
  RunningDaemon daemon(folder, {"--timer", "none", "--model", REFORMER_MODEL});
  TestClient client(daemon.socket());
  BOOST_TEST(client.admin({{"request", "check"}})["ok"] == true);
  folder.write("host.reformer", "RFMODEL");
  const auto models = folder.path() / "state/models";
  std::filesystem::create_directories(models);
  std::filesystem::rename(folder.path() / "host.reformer", models / "host.reformer");
  BOOST_TEST(!client.admin({{"request", "reload"}}).contains("error"));
  const json check = client.admin({{"request", "check"}});
  BOOST_TEST(check["ok"] == false);
  BOOST_REQUIRE(check["alarms"].size() == 1U);
  BOOST_TEST(check["alarms"][0]["kind"] == "model");
  const auto text = check["alarms"][0]["text"].get<std::string>();
  BOOST_TEST(text.find((models / "host.reformer").string()) != std::string::npos, text);
  std::filesystem::remove(models / "host.reformer");
  BOOST_TEST(!client.admin({{"request", "reload"}}).contains("error"));
  BOOST_TEST(client.admin({{"request", "check"}})["ok"] == true);
}

BOOST_AUTO_TEST_CASE(only_a_whole_model_file_becomes_a_challenger) {
  Folder folder;
  RunningDaemon daemon(folder, {"--timer", "none"});
  TestClient client(daemon.socket());
  const auto broken = folder.write("broken.reformer", "RFMODEL");
  BOOST_TEST(client.admin({{"request", "add_model"}, {"path", broken.string()}}).contains("error"));
  BOOST_TEST(client.admin({{"request", "add_model"}, {"path", "relative"}}).contains("error"));
  const std::string escaping = copy_as(folder, REFORMER_MODEL, "other");
  auto model = model::read_model(escaping).value();
  model.info.name = "../escape";
  BOOST_REQUIRE(model::write_model(model, escaping).ok());
  BOOST_TEST(client.admin({{"request", "add_model"}, {"path", escaping}}).contains("error"));
  const json added = client.admin({{"request", "add_model"}, {"path", REFORMER_MODEL}});
  BOOST_TEST(added["champion"] == "");
  const json twice = client.admin({{"request", "add_model"}, {"path", REFORMER_MODEL}});
  BOOST_TEST(twice.contains("error"));
}

BOOST_AUTO_TEST_SUITE_END()
