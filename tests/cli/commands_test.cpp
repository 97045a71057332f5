#include "cli/reply.h"
#include "core/plan_file.h"
#include "libclient/plan_folder.h"
#include "tests/cli/fake_channel.h"
#include "tests/storage/temporary_directory.h"

#include <boost/test/unit_test.hpp>

#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

// Every command that asks a daemon, against a fake one: what it asks, and what it prints.
namespace reformer::cli {
namespace {

using nlohmann::json;
using test::Outcome;
using test::Script;

const std::vector<std::string> kProblem{
    "fwd", "f16", "nhwc", "n32", "c64", "h56", "w56", "k64", "r3", "s3", "pad1"};
constexpr const char* kCanonical = "fwd f16 nhwc n32 c64 h56 w56 k64 r3 s3 pad1 str1 dil1 grp1";

constexpr const char* kStatus = R"({"version":"0.1.0","pid":42,"uptime_s":7300,
  "socket":"/run/reformerd/socket","state_dir":"/var/lib/reformerd","records":10332,
  "queue":{"length":3,"bound":10000,"quarantined":1,"dropped":0,"unstored":2},"champion":"gamma3",
  "models":["gamma3","gamma1"],"clients":2,
  "workers":[{"library":"/usr/lib/libcudnn.so.9","gpu":0,"state":"busy","timer":"gpu",
    "current":"fwd f16","done":5,"failed":1,"restarts":0}],
  "database":{"disk_bytes":4194304,"set_aside":null,"reason":null},
  "plans":{"folder":"/var/cache/reformerd/plans","stored":120,"bytes":8388608},
  "table":{"path":"/run/reformerd/table","entries":10332,"bytes":1048576},"alarms":["slow"]})";

constexpr const char* kRecord =
    R"({"problem":"fwd f16","key":"00ff","device":"NVIDIA H200/sm90/132",
  "cudnn":91900,"uses":7,"provenance":{"source":"worker","measured_at_s":0,"disturbed":false},
  "candidates":[
   {"config":"57:2=1","time_us":10.5,"slowdown":1.0,"timing":"graph_median7","spread":0.01,
    "samples":7,"rank":{"a":2,"b":null},"numerical_notes":[0],"behavior_notes":[],
    "workspace_bytes":0,"build_us":900,"status":""},
   {"config":"25","time_us":null,"slowdown":null,"timing":"none","spread":null,"samples":0,
    "rank":{"fallback":1},"numerical_notes":5,"behavior_notes":0,"workspace_bytes":1048576,
    "build_us":100,"status":"no_memory"}]})";

constexpr const char* kDecision = R"({"source":"predicted","confidence":0.93,"model":"gamma3",
  "entries":[{"config":"57:2=1","time_us":null,"workspace_bytes":1024,"numerical_notes":1,
  "behavior_notes":0,"build_us":900}]})";

Outcome run_problem(const char* command,
                    std::vector<std::string> more,
                    const char* reply,
                    json* request) {
  Script script;
  script.replies.push_back({{reply}});
  std::vector<std::string> arguments{command};
  arguments.insert(arguments.end(), kProblem.begin(), kProblem.end());
  arguments.insert(arguments.end(), more.begin(), more.end());
  Outcome outcome = test::run(script, arguments);
  *request = script.requests.empty() ? json() : json::parse(script.requests.at(0));
  return outcome;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(commands)

BOOST_AUTO_TEST_CASE(status_prints_facts_and_workers) {
  const auto outcome = test::run({"status"}, {kStatus});
  BOOST_TEST(outcome.exit_code == kExitOk);
  BOOST_TEST(outcome.err == "");
  BOOST_TEST(
      outcome.out ==
      "reformerd       0.1.0, pid 42, up 2.0 h\n"
      "socket          /run/reformerd/socket\n"
      "state           /var/lib/reformerd\n"
      "records         10 332 measured problems, 4.00 MiB on disk\n"
      "compiled plans  120, 8.00 MiB on disk\n"
      "queue           3 of 10 000 places taken, 1 quarantined, 2 measured and not stored yet\n"
      "champion        gamma3\n"
      "models          gamma3, gamma1\n"
      "clients         2\n"
      "shared table    /run/reformerd/table, 10 332 answers, 1.00 MiB\n"
      "alarm           slow\n"
      "\n"
      "worker                  gpu  timer  state  done  failed  restarts  measuring\n"
      "/usr/lib/libcudnn.so.9    0  gpu    busy      5       1         0  fwd f16\n");
}

BOOST_AUTO_TEST_CASE(json_is_the_reply) {
  const auto outcome = test::run({"status", "--json"}, {kStatus});
  BOOST_TEST(json::parse(outcome.out) == json::parse(kStatus));
  BOOST_TEST(test::run({"--json", "status"}, {kStatus}).out == outcome.out);
}

BOOST_AUTO_TEST_CASE(stats_prints_counters_and_latencies) {
  const auto outcome = test::run(
      {"stats"}, {R"({"queries":1200,"hits":7,"latency_us":{"hit":{"p50":3.2,"p99":20,"n":7}}})"});
  BOOST_TEST(outcome.out ==
             "queries  1 200\n"
             "hits     7\n"
             "\n"
             "latency      p50      p99  samples\n"
             "hit      3.20 us  20.0 us        7\n");
}

BOOST_AUTO_TEST_CASE(list_passes_its_filters_on_and_prints_all_pieces) {
  Script script;
  script.replies.push_back(
      {{R"({"rows":[{"problem":"fwd f16 a","device":"G/sm90/1","cudnn":91900,"best":"57","time_us":10,
         "heuristic_a_us":12,"gain":1.2,"candidates":50,"uses":3,"measured_at":null}]})",
        R"({"rows":[{"problem":"fwd f16 b","device":"G/sm90/1","cudnn":91900,"best":"1:2=3",
         "time_us":2000,"heuristic_a_us":null,"gain":null,"candidates":5,"uses":0,
         "measured_at":0}],"total":7})"}});
  const auto outcome = test::run(
      script, {"list", "--op", "fwd", "--dtype", "f16", "--sort", "gain", "--limit", "2"});
  BOOST_TEST(json::parse(script.requests.at(0)) ==
             json::parse(R"({"request":"list","op":"fwd","dtype":"f16","sort":"gain","limit":2})"));
  BOOST_TEST(outcome.out ==
             "G/sm90/1, cuDNN 91900\n"
             "problem    best      time    gain  uses  measured\n"
             "fwd f16 a  57     10.0 us  1.200x     3         -\n"
             "fwd f16 b  1:2=3  2.00 ms       -     0         -\n"
             "2 of 7 problems; --limit 0 lists all\n");
}

BOOST_AUTO_TEST_CASE(rows_as_json_are_one_document) {
  const auto outcome =
      test::run({"list", "--json"}, {R"({"rows":[{"a":1}]})", R"({"rows":[{"a":2}],"total":2})"});
  BOOST_TEST(json::parse(outcome.out) == json::parse(R"({"rows":[{"a":1},{"a":2}],"total":2})"));
  const auto empty = test::run({"list", "--json"}, {R"({"rows":[]})"});
  BOOST_TEST(json::parse(empty.out) == json::parse(R"({"rows":[]})"));
}

BOOST_AUTO_TEST_CASE(show_takes_words_or_one_quoted_problem_and_asks_for_the_canonical_one) {
  json request;
  const auto outcome = run_problem("show", {"--cudnn", "91900"}, kRecord, &request);
  BOOST_TEST(request == json::parse(R"({"request":"show","problem":")" + std::string(kCanonical) +
                                    R"(","cudnn":91900})"));
  BOOST_TEST(outcome.out ==
             "problem   fwd f16\n"
             "key       00ff\n"
             "on        NVIDIA H200/sm90/132, cuDNN 91900\n"
             "measured  worker\n"
             "uses      7\n"
             "\n"
             "engine:knobs     time  slower  timing         rank        workspace   build  notes\n"
             "57:2=1        10.5 us  1.000x  graph_median7  a 2               0 B  900 us  "
             "tensor-core\n"
             "25                  -       -  none           fallback 1   1.00 MiB  100 us  "
             "no_memory\n");
  Script script;
  script.replies.push_back({{kRecord}});
  test::run(script, {"show", "fwd f16 nhwc n32 c64 h56 w56 k64 r3 s3 pad1"});
  BOOST_TEST(json::parse(script.requests.at(0)).at("problem") == kCanonical);
}

BOOST_AUTO_TEST_CASE(query_and_explain_pass_constraints_on) {
  json request;
  const auto outcome =
      run_problem("query", {"--deterministic", "--max-workspace", "1024"}, kDecision, &request);
  BOOST_TEST(request.at("constraints") ==
             json::parse(R"({"deterministic":true,"max_workspace_bytes":1024})"));
  BOOST_TEST(request.at("verify") == false);
  BOOST_TEST(outcome.out ==
             "answer  predicted by gamma3, 93.0 % sure to be within 5 % of the best\n"
             "   engine:knobs  time  workspace   build  notes\n"
             "1  57:2=1           -   1.00 KiB  900 us  tensor-core\n");
  const auto rare = run_problem("query",
                                {},
                                R"({"source":"predicted","confidence":0.5,"model":"m","entries":[
      {"config":"57:17=88","numerical_notes":1,"behavior_notes":2147483649},
      {"config":"5","numerical_notes":0,"behavior_notes":2147483648},
      {"config":"20","numerical_notes":0,"behavior_notes":1073741824}]})",
                                &request);
  BOOST_TEST(rare.out.find("tensor-core, rarely listed\n") != std::string::npos);
  BOOST_TEST(rare.out.find(" rarely listed\n") != std::string::npos);
  BOOST_TEST(rare.out.find(" far behind\n") != std::string::npos);

  const std::string reply = R"({"decision":)" + std::string(kDecision) +
                            R"(,"why":"nothing is measured","filtered":[{"config":"3","time_us":4,
       "verdict":"workspace"}],"speedup_over_heuristic_a":1.25,
       "predictions":[{"model":"gamma3","champion":true,"abstained":false,"confidence":0.93,
       "entries":[{"config":"57:2=1"}]}]})";
  const auto explained = run_problem("explain", {"--no-winograd"}, reply.c_str(), &request);
  BOOST_TEST(request.at("constraints") == json::parse(R"({"no_winograd":true})"));
  BOOST_TEST(explained.out.find("over heuristic A  1.250x as fast") != std::string::npos);
  BOOST_TEST(explained.out.find("3             4.00 us  workspace") != std::string::npos);
  BOOST_TEST(explained.out.find("gamma3  champion  93.0 %  57:2=1") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(verify_says_where_it_is_queued_and_waits_on_request) {
  json request;
  BOOST_TEST(run_problem("verify", {}, R"({"queued":true,"position":4})", &request).out ==
             "queued, place 4\n");
  BOOST_TEST(request.at("wait") == false);
  const auto waited = run_problem("verify", {"--wait"}, kRecord, &request);
  BOOST_TEST(request.at("wait") == true);
  BOOST_TEST(waited.out.find("graph_median7") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(what_could_not_be_verified_is_said_and_is_exit_code_1) {
  constexpr const char* kFailed = R"({"queued":false,"error":"not_recorded: no such problem"})";
  json request;
  const auto waited = run_problem("verify", {"--wait"}, kFailed, &request);
  BOOST_TEST(waited.exit_code == kExitFailed);
  BOOST_TEST(waited.out == "");
  BOOST_TEST(waited.err ==
             "reformerctl: it could not be measured: not_recorded: no such problem\n");
  const auto as_json = run_problem("verify", {"--wait", "--json"}, kFailed, &request);
  BOOST_TEST(as_json.exit_code == kExitFailed);
  BOOST_TEST(json::parse(as_json.out) == json::parse(kFailed));
}

BOOST_AUTO_TEST_CASE(forget_wants_one_problem_or_all) {
  Script none;
  BOOST_TEST(test::run(none, {"forget"}).exit_code == kExitUsage);
  BOOST_TEST(test::run(none, {"forget", "--op", "fwd"}).exit_code == kExitUsage);
  BOOST_TEST(none.requests.empty());
  json request;
  BOOST_TEST(run_problem("forget", {}, R"({"forgotten":0})", &request).exit_code == kExitNotFound);
  BOOST_TEST(run_problem("forget", {}, R"({"forgotten":1})", &request).out == "1 forgotten\n");
  BOOST_TEST(test::run({"forget", "--all"}, {R"({"forgotten":0})"}).exit_code == kExitOk);
}

BOOST_AUTO_TEST_CASE(check_exits_with_5_on_an_alarm) {
  BOOST_TEST(test::run({"check"}, {R"({"ok":true,"alarms":[]})"}).exit_code == kExitOk);
  const auto alarm =
      test::run({"check"}, {R"({"ok":false,"alarms":[{"kind":"drift","text":"worse"}]})"});
  BOOST_TEST(alarm.exit_code == kExitAlarm);
  BOOST_TEST(alarm.out == "drift: worse\n");
}

BOOST_AUTO_TEST_CASE(promote_wants_a_model_or_rollback) {
  Script none;
  BOOST_TEST(test::run(none, {"promote"}).exit_code == kExitUsage);
  BOOST_TEST(test::run(none, {"promote", "m", "--rollback"}).exit_code == kExitUsage);
  BOOST_TEST(test::run({"promote", "m"}, {R"({"champion":"m","previous":"n"})"}).out ==
             "champion is m, was n\n");
}

BOOST_AUTO_TEST_CASE(smaller_commands_print_their_replies) {
  BOOST_TEST(test::run({"compact"}, {R"({"disk_bytes":2048})"}).out == "2.00 KiB on disk\n");
  BOOST_TEST(test::run({"reload"},
                       {R"({"models":["a"],"changed":["log_level"],"restart_needed":["worker"]})"})
                 .out == "changed: log_level\nneeds a restart: worker\nmodels: 1\n");
  BOOST_TEST(test::run({"clients"}, {R"({"rows":[]})"}).out == "no clients are connected\n");
  BOOST_TEST(test::run({"models"}, {R"({"rows":[]})"}).out == "no models are loaded\n");
  BOOST_TEST(test::run({"diff", "91400", "91900"},
                       {R"({"rows":[{"problem":"p","from_us":10,"to_us":11,"ratio":1.1}]})"})
                 .out ==
             "problem     from       to   ratio\np        10.0 us  11.0 us  1.100x\n"
             "1 of 1 problems got slower\n");
  BOOST_TEST(test::run({"accuracy", "--csv"},
                       {R"({"rows":[{"variant":"a,\"b\"","top1":true},{"variant":"c"}]})"})
                 .out == "variant,top1\n\"a,\"\"b\"\"\",true\nc,\n");
}

BOOST_AUTO_TEST_CASE(ablation_prints_three_tables) {
  const auto outcome =
      test::run({"ablation", "--since", "7d", "--weighted-by-use"},
                {R"({"problems":200,"variants":[{"name":"gamma3","n":200,"top1":0.5,"top3":0.7,
       "within_5pct":0.9,"geomean_slowdown":1.042,"p90_slowdown":1.1,"p99_slowdown":1.5,
       "max_slowdown":2,"total_time_ratio":1.03,"abstained_share":0.1,"inference_us":{"p50":5,"p99":9},
       "interval":{"top1":[0.43,0.57],"abstained_share":[0.06,0.15],"inference_p50_us":[4.5,5.5]},
       "served":{"geomean_slowdown":1.05,"interval":{"geomean_slowdown":[1.04,1.06]}},
       "paired":{"difference":0.01,"interval":[0.001,0.02],"p_value":0.03,"p_adjusted":0.2}}]})"});
  BOOST_TEST(outcome.exit_code == kExitOk);
  BOOST_TEST(outcome.out.find("50.0 (43.0-57.0)") != std::string::npos);
  BOOST_TEST(outcome.out.find("10.0 (6.0-15.0)") != std::string::npos);
  BOOST_TEST(outcome.out.find("5.0 (4.5-5.5)") != std::string::npos);
  BOOST_TEST(outcome.out.find("1.050 (1.040-1.060)") != std::string::npos);
  BOOST_TEST(outcome.out.find("+0.0010 to +0.0200") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(ablation_prints_a_table_for_each_study_with_two_variants_or_more) {
  const std::string figures =
      R"("n":9,"top1":0.5,"top3":0.7,"within_5pct":0.9,"geomean_slowdown":1.1)";
  const auto outcome = test::run({"ablation"},
                                 {R"({"problems":9,"waiting":4,"weighted":true,"studies":[
          {"name":"blocks","title":"Number of blocks","rows":[{"label":"L = 1","variant":"a"},
           {"label":"L = 3","variant":"b"},{"label":"L = 4","variant":"gone"}]},
          {"name":"target","title":"Target","rows":[{"label":"ratio","variant":"b"}]}],
          "variants":[{"name":"a",)" +
                                  figures + R"(},{"name":"b","champion":true,)" + figures + "}]}"});
  BOOST_TEST(outcome.exit_code == kExitOk);
  BOOST_TEST(outcome.out.find("4 more wait; weighted") != std::string::npos);
  BOOST_TEST(outcome.out.find("b (champion)") != std::string::npos);
  BOOST_TEST(outcome.out.find("Number of blocks\n\n") != std::string::npos);
  BOOST_TEST(outcome.out.find("L = 3") != std::string::npos);
  BOOST_TEST(outcome.out.find("Target") == std::string::npos);
}

BOOST_AUTO_TEST_CASE(ablation_and_accuracy_ask_for_one_view_of_f32) {
  const std::string reply = R"({"view":"deterministic","problems":9,"variants":[],"rows":[]})";
  const auto asks = [&](std::vector<std::string> words) {
    Script script;
    script.replies.push_back({{reply}});
    const auto outcome = test::run(script, std::move(words));
    BOOST_TEST(outcome.exit_code == kExitOk);
    return json::parse(script.requests.at(0)).value("view", "all");
  };
  BOOST_TEST(asks({"ablation"}) == "all");
  BOOST_TEST(asks({"ablation", "--without-tensor-cores"}) == "without_tensor_cores");
  BOOST_TEST(asks({"accuracy", "--without-tensor-cores", "--deterministic"}) == "deterministic");
  BOOST_TEST(test::run({"ablation", "--deterministic"}, {}).exit_code == kExitUsage);
  const auto outcome = test::run({"ablation"}, {reply});
  BOOST_TEST(outcome.out.find("9 verified f32 problems without tensor cores, deterministic,") !=
             std::string::npos);
}

BOOST_AUTO_TEST_CASE(promote_shows_the_history) {
  Script script;
  script.replies.push_back({{R"({"rows":[{"time_s":1,"model":"b","previous":"a","by":"rule",
          "why":{"problems":240,"ratio":0.91},"undone":true,"rollback":false}]})"}});
  const auto outcome = test::run(script, {"promote", "--history"});
  BOOST_TEST(outcome.exit_code == kExitOk);
  BOOST_TEST(outcome.out.find("undone") != std::string::npos);
  BOOST_TEST(outcome.out.find("240") != std::string::npos);
  BOOST_TEST(test::run({"promote"}, {}).exit_code == kExitUsage);
}

BOOST_AUTO_TEST_CASE(eval_lists_where_the_served_choice_loses_most_time) {
  const auto evaluated = test::run({"--json",
                                    "eval",
                                    "--model",
                                    REFORMER_SOURCE_DIR "/data/h200.reformer",
                                    "--data",
                                    REFORMER_SOURCE_DIR "/data/h200-random.jsonl.zst",
                                    "--worst",
                                    "5"},
                                   {});
  BOOST_REQUIRE(evaluated.exit_code == kExitOk);
  const json worst = json::parse(evaluated.out).at("worst");
  BOOST_REQUIRE(worst.size() == 5U);
  double before = std::numeric_limits<double>::infinity();
  for (const json& loss : worst) {
    const double served = loss.at("served_us");
    const double fastest = loss.at("fastest_us");
    BOOST_TEST(served > fastest);
    BOOST_TEST(served - fastest <= before);
    BOOST_TEST(loss.at("served") != loss.at("fastest"));
    before = served - fastest;
  }
}

BOOST_AUTO_TEST_CASE(train_needs_something_to_learn_from) {
  BOOST_TEST(test::run({"train", "--out", "/tmp/none"}, {}).exit_code == kExitUsage);
}

BOOST_AUTO_TEST_CASE(a_model_file_that_cannot_be_written_is_told_before_the_training) {
  Script script;
  for (const char* path : {"/nonexistent/model", "/tmp"}) {
    const auto outcome = test::run(script, {"train", "--from-daemon", "--out", path});
    BOOST_TEST(outcome.exit_code == kExitFailed);
    BOOST_TEST(outcome.err.find(path) != std::string::npos);
  }
  BOOST_TEST(script.requests.empty());  // nothing was read yet
}

BOOST_AUTO_TEST_CASE(freeze_takes_the_compiled_plans_along) {
  namespace fs = std::filesystem;
  const storage::testing::TemporaryDirectory folder;
  const std::string socket = (folder.path() / "socket").string();
  const fs::path snapshot = folder.path() / "frozen";
  const fs::path frozen = core::plans_path(snapshot.string());
  const auto write = [](const fs::path& into, const core::StoredPlan& plan) {
    const auto bytes = core::encode_plan_file(plan);
    std::ofstream(into / core::plan_file_name(plan.key, plan.config), std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
  };
  core::StoredPlan plan;
  plan.key.bytes.fill(7);
  plan.config = core::parse_engine_config("5").value();
  plan.json = R"({"engine":5})";
  core::StoredPlan stale = plan;
  stale.key.bytes.fill(8);
  for (const fs::path& made : {fs::path(core::plans_path(socket)), frozen}) {
    fs::create_directory(made);
    fs::permissions(made, static_cast<fs::perms>(0755));
  }
  write(core::plans_path(socket), plan);
  write(core::plans_path(socket), stale);
  write(frozen, stale);  // of an earlier snapshot
  const auto row = json{{"key", core::format_hash(plan.key)},
                        {"decision",
                         {{"source", "measured"},
                          {"confidence", 1},
                          {"model", ""},
                          {"entries",
                           {{{"config", "5"},
                             {"time_us", 10},
                             {"workspace_bytes", 0},
                             {"numerical_notes", 0},
                             {"behavior_notes", {0}},
                             {"build_us", 20000}}}}}},
                        {"plans", {"5"}}};
  const auto freeze = [&](std::vector<std::string> more) {
    Script script;
    script.replies.push_back({{json{{"rows", {row}}}.dump()}});
    more.insert(more.begin(), {"--json", "--socket", socket, "freeze", snapshot.string()});
    const Outcome outcome = test::run(script, more);
    BOOST_TEST(outcome.exit_code == kExitOk, outcome.err);
    BOOST_TEST(fs::file_size(snapshot) > 0U);
    const json reply = json::parse(outcome.out);
    return std::pair(json::parse(script.requests.at(0)).value("plans", false),
                     reply.at("plans").get<int>());
  };
  const auto in_frozen = [&](const core::StoredPlan& wanted) {
    return client::read_plan(frozen.string(), wanted.key, wanted.config).has_value();
  };
  BOOST_TEST((freeze({}) == std::pair(true, 1)));
  BOOST_TEST(in_frozen(plan));
  BOOST_TEST(!in_frozen(stale));
  BOOST_TEST((freeze({"--no-plans"}) == std::pair(false, 0)));
  BOOST_TEST(!fs::exists(frozen));
  fs::permissions(core::plans_path(socket), static_cast<fs::perms>(0777));  // anybody's code
  Script unread;
  unread.replies.push_back({{json{{"rows", {row}}}.dump()}});
  const Outcome untrusted = test::run(unread, {"--socket", socket, "freeze", snapshot.string()});
  BOOST_TEST(untrusted.exit_code == kExitOk);
  BOOST_TEST(untrusted.err.find("1 compiled plans in " + core::plans_path(socket)) !=
             std::string::npos);
  BOOST_TEST(!fs::exists(frozen));
  fs::permissions(core::plans_path(socket), static_cast<fs::perms>(0755));
  std::ofstream(frozen) << "in the way";
  Script script;
  script.replies.push_back({{json{{"rows", {row}}}.dump()}});
  const Outcome blocked = test::run(script, {"--socket", socket, "freeze", snapshot.string()});
  BOOST_TEST(blocked.exit_code == kExitFailed);
  BOOST_TEST(blocked.err.find(frozen.string()) != std::string::npos);
}

BOOST_AUTO_TEST_CASE(ablate_refuses_options_that_would_have_no_effect) {
  const std::string file = REFORMER_SOURCE_DIR "/data/conv-shapes.csv";
  const auto code = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"ablate", "--data", file});
    return test::run(std::move(more), {}).exit_code;
  };
  for (const std::vector<std::string>& study : {std::vector<std::string>{"--html", "x"},
                                                {"--held-out", "0.3"},
                                                {"--blocks", "2"},
                                                {"--block", "mlp"},
                                                {"--target", "ratio"},
                                                {"--sharpness", "3"},
                                                {"--noise", "0.1"},
                                                {"--steps"},
                                                {"--calibrate"}}) {
    std::vector<std::string> words{"--hold-out-families", file, "--shapes", file};
    words.insert(words.end(), study.begin(), study.end());
    BOOST_TEST(code(words) == kExitUsage, study[0]);
  }
  BOOST_TEST(code({"--no-calibration"}) == kExitUsage);
  BOOST_TEST(code({"--shapes", file}) == kExitUsage);
  BOOST_TEST(code({"--hold-out-families", file}) == kExitUsage);
}

BOOST_AUTO_TEST_CASE(every_type_that_help_names_is_one) {
  for (const char* type : {"f32", "f16", "bf16", "i8", "e4m3", "e5m2"}) {
    BOOST_TEST(test::run({"list", "--dtype", type}, {R"({"rows":[]})"}).exit_code == kExitOk, type);
  }
  Script none;
  const std::string help = test::run(none, {"list", "--help"}).out;
  BOOST_TEST(help.find("e4m3") != std::string::npos);
  BOOST_TEST(help.find("fp8_e4m3") == std::string::npos);
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(failures)

BOOST_AUTO_TEST_CASE(a_missing_daemon_is_exit_code_4) {
  Script script;
  script.opening = core::make_error(core::ErrorCode::kUnavailable, "no daemon at /x");
  const auto outcome = test::run(script, {"status"});
  BOOST_TEST(outcome.exit_code == kExitUnavailable);
  BOOST_TEST(outcome.err == "reformerctl: no daemon at /x\n");
}

BOOST_AUTO_TEST_CASE(what_does_not_exist_is_exit_code_3) {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"show", kCanonical}, {"promote", "nobody"}}) {
    Script script;
    script.replies.push_back({{}, core::make_error(core::ErrorCode::kNotFound, "there is none")});
    BOOST_TEST(test::run(script, words).exit_code == kExitNotFound, words[0]);
  }
}

BOOST_AUTO_TEST_CASE(a_file_that_is_not_there_is_not_a_daemon_that_is_not_there) {
  BOOST_TEST(Failure(core::make_error(core::ErrorCode::kUnavailable, "x")).code() == kExitFailed);
  BOOST_TEST(Failure(core::make_error(core::ErrorCode::kTimeout, "x")).code() == kExitFailed);
  Script script;
  script.replies.push_back({{}, core::make_error(core::ErrorCode::kTimeout, "no answer")});
  BOOST_TEST(test::run(script, {"status"}).exit_code == kExitUnavailable);
}

BOOST_AUTO_TEST_CASE(wrong_usage_is_told_without_a_daemon) {
  Script script;
  script.opening = core::make_error(core::ErrorCode::kUnavailable, "no daemon");
  const auto outcome = test::run(script, {"show", "fwd", "f16", "nonsense"});
  BOOST_TEST(outcome.exit_code == kExitUsage);
  BOOST_TEST(outcome.err.find("nonsense") != std::string::npos);
  BOOST_TEST(test::run(script, {"frob"}).err.find("no command \"frob\"") != std::string::npos);
  BOOST_TEST(test::run(script, {}).exit_code == kExitUsage);
  BOOST_TEST(test::run(script, {"list", "--op", "sideways"}).exit_code == kExitUsage);
  BOOST_TEST(test::run(script, {"help"}).exit_code == kExitOk);
  BOOST_TEST(test::run(script, {"help", "list"}).out.find("--sort") != std::string::npos);
}

const std::vector<std::string> kHostile{
    "",
    "[]",
    "{",
    "{}",
    R"({"version":7})",
    R"({"version":"0.1.0","pid":"x"})",
    R"({"version":"0.1.0","pid":1,"uptime_s":1,"socket":"s","state_dir":"d","database":[]})"};
BOOST_AUTO_TEST_CASE(a_senseless_reply_is_an_error_not_a_crash) {
  for (const std::string& reply : kHostile) {
    BOOST_TEST_CONTEXT(reply) {
      const auto outcome = test::run({"status"}, {reply});
      BOOST_TEST(outcome.exit_code == kExitFailed);
      BOOST_TEST(outcome.err.find("makes no sense") != std::string::npos);
      for (const char* command : {"stats", "check", "compact", "ablation"}) {
        BOOST_TEST(test::run({command}, {reply}).exit_code == kExitFailed);
      }
    }
  }
}

// Printing such a value calls itself once for each bracket.
BOOST_AUTO_TEST_CASE(a_reply_that_is_nested_deeply_does_not_take_the_stack) {
  const auto reply = [](std::size_t depth) {
    return R"({"rows":[{"x":)" + std::string(depth, '[') + std::string(depth, ']') + "}]}";
  };
  for (const char* command : {"status", "list"}) {
    const auto outcome = test::run({"--json", command}, {reply(500'000)});
    BOOST_TEST(outcome.exit_code == kExitFailed);
    BOOST_TEST(outcome.err.find("nested too deeply") != std::string::npos);
  }
  BOOST_TEST(test::run({"--json", "list"}, {reply(13)}).exit_code == kExitOk);
}

BOOST_AUTO_TEST_CASE(rows_that_are_no_list_are_an_error) {
  BOOST_TEST(test::run({"list"}, {R"({"rows":{"a":1}})"}).exit_code == kExitFailed);
  BOOST_TEST(test::run({"list"}, {R"({"rows":[7]})"}).exit_code == kExitFailed);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace reformer::cli
