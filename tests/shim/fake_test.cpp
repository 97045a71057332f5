// The shim over a fake cuDNN, which fails and lies; and an application that forks, ends, and loses
// its plugin or its daemon.
#include "core/shared_table.h"
#include "daemon/plan_store.h"
#include "tests/daemon/running_daemon.h"
#include "tests/libclient/fake_daemon.h"
#include "tests/sanitized.h"
#include "tests/shim/run_example.h"

#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace {

namespace core = reformer::core;
using reformer::test::Behaviour;
using reformer::test::ExampleRun;
using reformer::test::FakeDaemon;
using reformer::test::run_program;
using reformer::test::TemporaryFolder;
using reformer::testing::RunningDaemon;

// Five engines of the daemon's own, with knobs. A predicted answer is not complete: cuDNN's own
// list follows behind it, because all of its entries are refused by someone.
core::Decision decide(core::Source source) {
  core::Decision decision;
  decision.source = source;
  decision.model = source == core::Source::kPredicted ? "m" : "";
  for (std::int32_t i = 0; i < 5; ++i) {
    core::DecisionEntry entry;
    entry.config = core::EngineConfig(1 + i);
    (void)entry.config.add_knob({2, i});
    (void)entry.config.add_knob({5, i});
    if (i > 0) {  // more than the first has, which stands in for those that are refused
      (void)entry.config.add_knob({13, i});
    }
    entry.time_us = 10.0F + static_cast<float>(i);
    entry.numerical_notes =
        source == core::Source::kPredicted ? core::numerical_note::kNondeterministic : 0;
    decision.entries.push_back(entry);
  }
  return decision;
}
core::Decision measured(const core::Context&, const core::Problem&) {
  return decide(core::Source::kMeasured);
}
core::Decision predicted(const core::Context&, const core::Problem&) {
  return decide(core::Source::kPredicted);
}

core::DecisionEntry entry_of(std::int32_t engine, std::int32_t knob, std::uint32_t notes) {
  core::DecisionEntry entry;
  entry.config = core::EngineConfig(engine);
  (void)entry.config.add_knob({2, knob});
  entry.behavior_notes = notes;
  return entry;
}

// As the scenario "rarely_listed" has it.
core::Decision rarely_listed(const core::Context&, const core::Problem& problem) {
  core::Decision decision = decide(core::Source::kPredicted);
  decision.entries.clear();
  for (const auto& [engine, knob, note] :
       {std::tuple{1, 9, core::behavior_note::kRarelyListed},
        std::tuple{2, 0, 0U},
        std::tuple{103, 3, core::behavior_note::kRarelyListed},
        std::tuple{104, 5, core::behavior_note::kRarelyListed}}) {
    decision.entries.push_back(entry_of(engine, knob, note));
  }
  if (problem.x.type == core::DataType::kF32) {
    std::swap(decision.entries[0], decision.entries[1]);
    decision.entries[0].numerical_notes = core::numerical_note::kTensorCore;
  }
  if (problem.x.type == core::DataType::kBf16) {
    decision.entries[1].behavior_notes |= core::behavior_note::kFarBehind;
  }
  return decision;
}

// As the scenario "searched" has it: the first is compiled at length, the last two are far behind.
core::Decision searched(const core::Context&, const core::Problem&) {
  core::Decision decision = decide(core::Source::kMeasured);
  decision.entries[0].build_us = 500000;
  decision.entries[3].behavior_notes = core::behavior_note::kFarBehind;
  decision.entries[4].behavior_notes = core::behavior_note::kFarBehind;
  return decision;
}

// As the scenario "compiled_plans" has it.
core::StoredPlan plan_of(const core::KeyHash& key, const core::EngineConfig& config) {
  return {
      key,
      config,
      13000,
      R"({"cudnnVersion":91900,"operationGraph":{"tensors":[{"name":"119","dim":[64,32,3,3]},)"
      R"({"name":"120"},{"name":"121"}],"nodes":[{"alpha":1.0,"X":"120","W":"119","Y":"121"}]},)"
      R"("GPUProfile":{"multiProcessorCount":132,"cudaDeviceId":0,"deviceVer":900,)"
      R"("driverVer":13000,"deviceName":"NVIDIA H200"},"engine":{"engineId":1,)"
      R"("payload":{"kernels":[{"cubin":"f0VM"}]}}})"};
}
std::map<std::string, std::string> environment(const std::string& socket,
                                               const std::string& deadline_us = "2000000") {
  return {{"LD_PRELOAD", SHIM_PATH},
          {"LD_LIBRARY_PATH", FAKE_FOLDER},
          {"REFORMER_SOCKET", socket},
          {"REFORMER_DEADLINE_US", deadline_us}};
}

ExampleRun run_application(const std::string& scenario, const std::string& socket) {
  return run_program("timeout 60 " FAKE_APPLICATION " " + scenario, environment(socket));
}

ExampleRun run_scenario(const std::string& scenario, FakeDaemon::Decide decision) {
  const TemporaryFolder folder;
  FakeDaemon daemon(folder.file("socket"), Behaviour::kAnswer, std::move(decision));
  return run_application(scenario, folder.file("socket"));
}

// Beside a daemon that has kept a plan of each first entry, but for a batch of 2.
ExampleRun run_with_plans(const std::string& scenario) {
  const TemporaryFolder folder;
  const std::string socket = folder.file("socket");
  auto store = reformer::daemon::PlanStore::open(folder.file("plans"), 1 << 20);
  BOOST_REQUIRE(store);
  BOOST_REQUIRE((*store)->link(socket));
  FakeDaemon daemon(
      socket, Behaviour::kAnswer, [&](const core::Context& context, const core::Problem& problem) {
        core::Decision decision = decide(core::Source::kMeasured);
        decision.entries[0].behavior_notes = core::behavior_note::kRuntimeCompilation;
        if (problem.x.dims[0] != 2) {
          const core::KeyHash key = core::hash_key({context, problem});
          BOOST_TEST((*store)->put(plan_of(key, decision.entries[0].config)).ok());
        }
        return decision;
      });
  return run_application(scenario, socket);
}

void keep_plans(const std::filesystem::path& path,
                const std::map<core::KeyHash, core::Decision>& answers) {
  const auto store = reformer::daemon::PlanStore::open(core::plans_path(path.string()), 1 << 20);
  BOOST_REQUIRE(store);
  for (const auto& [key, decision] : answers) {
    BOOST_TEST((*store)->put(plan_of(key, decision.entries[0].config)).ok());
  }
}

// With a snapshot of all answers and, if wanted, the plans of their first entries beside it. The
// daemon has kept those in any case.
ExampleRun run_frozen(const std::string& scenario, bool with_plans) {
  const TemporaryFolder folder;
  const std::string socket = folder.file("socket");
  std::map<core::KeyHash, core::Decision> answers;
  FakeDaemon daemon(
      socket, Behaviour::kAnswer, [&](const core::Context& context, const core::Problem& problem) {
        core::Decision decision = decide(core::Source::kMeasured);
        decision.entries[0].behavior_notes = core::behavior_note::kRuntimeCompilation;
        answers.emplace(core::hash_key({context, problem}), decision);
        return decision;
      });
  BOOST_TEST(run_application("compiles_itself", socket).exit_code == 0);
  BOOST_TEST(!answers.empty());
  keep_plans(socket, answers);
  if (with_plans) {
    keep_plans(folder.file("frozen"), answers);
  }
  std::vector<std::byte> table(core::shared_table::table_bytes(64, 65536));
  core::shared_table::Writer writer(table, 64, 65536, 1);
  for (const auto& [key, decision] : answers) {
    BOOST_TEST(writer.put(key, decision).ok());
  }
  std::ofstream(folder.file("frozen"), std::ios::binary)
      .write(reinterpret_cast<const char*>(table.data()),
             static_cast<std::streamsize>(table.size()));
  auto variables = environment(socket);
  variables["REFORMER_FREEZE"] = folder.file("frozen");
  variables["REFORMER_MODE"] = "replay";
  return run_program("timeout 60 " FAKE_APPLICATION " " + scenario, variables);
}

// A program that is talked to line by line.
class Conversation {
 public:
  Conversation(const std::string& command, const std::string& socket) {
    int in[2];
    int out[2];
    BOOST_TEST_REQUIRE((::pipe(in) == 0 && ::pipe(out) == 0));
    std::string line;
    for (const auto& [name, value] : environment(socket)) {
      line += name + "='" + value + "' ";
    }
    line += "exec timeout 60 " + command;
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(in[0], 0);
      ::dup2(out[1], 1);
      for (const int fd : {in[0], in[1], out[0], out[1]}) {
        ::close(fd);
      }
      ::execl("/bin/sh", "sh", "-c", line.c_str(), nullptr);
      ::_exit(127);
    }
    ::close(in[0]);
    ::close(out[1]);
    to_ = ::fdopen(in[1], "w");
    from_ = ::fdopen(out[0], "r");
  }
  ~Conversation() {
    (void)end();
    std::fclose(from_);
  }
  Conversation(const Conversation&) = delete;
  Conversation& operator=(const Conversation&) = delete;
  bool hear() {
    char line[64];
    return std::fgets(line, sizeof line, from_) != nullptr;
  }
  void say() {
    std::fputs("go\n", to_);
    std::fflush(to_);
  }
  int end() {
    if (to_ != nullptr) {
      std::fclose(to_);
      to_ = nullptr;
      ::waitpid(pid_, &status_, 0);
    }
    return status_;
  }

 private:
  pid_t pid_ = -1;
  FILE* to_ = nullptr;
  FILE* from_ = nullptr;
  int status_ = -1;
};

}  // namespace

BOOST_AUTO_TEST_SUITE(fake, *boost::unit_test::enable_if<!reformer::testing::kSanitized>())

BOOST_AUTO_TEST_CASE(any_call_may_fail_at_any_time) {
  BOOST_TEST(run_scenario("failures", measured).exit_code == 0);
  BOOST_TEST(run_scenario("failures", predicted).exit_code == 0);
  BOOST_TEST(run_scenario("failures", rarely_listed).exit_code == 0);
}
BOOST_AUTO_TEST_CASE(counts_that_cannot_be_harm_nobody) {
  BOOST_TEST(run_scenario("lies", measured).exit_code == 0);
  BOOST_TEST(run_scenario("lies", predicted).exit_code == 0);
  BOOST_TEST(run_scenario("lies", rarely_listed).exit_code == 0);
}
BOOST_AUTO_TEST_CASE(the_older_api_end_to_end) {
  BOOST_TEST(run_scenario("legacy", measured).exit_code == 0);
}
BOOST_AUTO_TEST_CASE(calls_that_are_passed_on_allocate_nothing) {
  BOOST_TEST(run_scenario("allocations", measured).exit_code == 0);
}
BOOST_AUTO_TEST_CASE(executions_are_put_between_events_rarely) {
  BOOST_TEST(run_scenario("executions", measured).exit_code == 0);
}
BOOST_AUTO_TEST_CASE(an_answer_that_begins_with_what_is_rarely_listed_is_tried) {
  BOOST_TEST(run_scenario("rarely_listed", rarely_listed).exit_code == 0);
}
BOOST_AUTO_TEST_CASE(who_times_ten_entries_gets_ten_that_are_worth_it) {
  BOOST_TEST(run_scenario("searched", searched).exit_code == 0);
}
BOOST_AUTO_TEST_CASE(a_plan_that_was_compiled_before_is_loaded) {
  BOOST_TEST(run_with_plans("compiled_plans").exit_code == 0);
}
BOOST_AUTO_TEST_CASE(what_is_frozen_is_loaded_from_the_plans_that_were_frozen_with_it_alone) {
  BOOST_TEST(run_frozen("loads_its_plan", true).exit_code == 0);
  BOOST_TEST(run_frozen("compiles_itself", false).exit_code == 0);
}
BOOST_AUTO_TEST_CASE(parent_and_child_of_a_fork_both_go_on) {
  BOOST_TEST(run_scenario("fork", measured).exit_code == 0);
}

BOOST_AUTO_TEST_CASE(a_plugin_and_cudnn_with_it_may_be_unloaded) {
  const TemporaryFolder folder;
  FakeDaemon daemon(folder.file("socket"), Behaviour::kAnswer, measured);
  const ExampleRun run =
      run_program("timeout 60 " FAKE_HOST " " FAKE_PLUGIN, environment(folder.file("socket")));
  BOOST_TEST(run.exit_code == 0);
  BOOST_TEST(daemon.problems_asked() == 5u);
}

// A stand-in is bound to whatever was linked with any cuDNN: the call must reach that one.
BOOST_AUTO_TEST_CASE(calls_reach_the_copy_that_they_were_linked_with) {
  const TemporaryFolder folder;
  FakeDaemon daemon(folder.file("socket"), Behaviour::kAnswer, measured);
  for (const char* mode : {"assist", "off"}) {
    auto variables = environment(folder.file("socket"));
    variables["REFORMER_MODE"] = mode;
    const std::string served = mode == std::string("assist") ? "1" : "0";
    const auto run = [&](const std::string& arguments) {
      return run_program("timeout 60 " FAKE_COPIES " " + arguments, variables).exit_code;
    };
    BOOST_TEST_CONTEXT(mode) {
      BOOST_TEST(run(FAKE_RENAMED_PLUGIN " " + served) == 0);
      BOOST_TEST(run(FAKE_STATIC_PLUGIN " 0") == 0);
      BOOST_TEST(run(FAKE_PLUGIN " 0 " FAKE_OTHER) == 0);
    }
  }
}

BOOST_AUTO_TEST_CASE(an_interposer_of_dlsym_behind_the_shim_is_heard) {
  const TemporaryFolder folder;
  FakeDaemon daemon(folder.file("socket"), Behaviour::kAnswer, measured);
  auto variables = environment(folder.file("socket"));
  variables["LD_PRELOAD"] = SHIM_PATH ":" FAKE_HOOK;
  BOOST_TEST(run_program("timeout 60 " FAKE_APPLICATION " hooked", variables).exit_code == 0);
}

BOOST_AUTO_TEST_CASE(a_question_is_about_the_gpu_of_its_handle) {
  const auto by_gpu = [](const core::Context& context, const core::Problem&) {
    core::Decision decision = decide(core::Source::kMeasured);
    if (context.device.name == "NVIDIA L4") {
      decision.entries.erase(decision.entries.begin());
    }
    return decision;
  };
  BOOST_TEST(run_scenario("handles", by_gpu).exit_code == 0);
}

BOOST_AUTO_TEST_CASE(a_thread_may_be_cancelled_while_it_asks) {
  BOOST_TEST(run_scenario("cancelled", measured).exit_code == 0);
}

BOOST_DATA_TEST_CASE(a_process_ends_while_a_thread_waits_for_the_daemon,
                     boost::unit_test::data::make({"exit", "_exit"}),
                     how) {
  const TemporaryFolder folder;
  FakeDaemon daemon(folder.file("socket"), Behaviour::kHang, measured);
  const ExampleRun run = run_application(how, folder.file("socket"));
  BOOST_TEST(run.exit_code == 0);
  BOOST_TEST(run.seconds < 1.5);  // the thread would wait for 2 s
}

// A real daemon, which predicts.
std::vector<std::string> predicting() {
  return {"--timer", "none", "--model", REFORMER_SOURCE_DIR "/data/h200.reformer"};
}

BOOST_AUTO_TEST_CASE(the_daemon_is_killed_and_comes_back) {
  const reformer::testing::Folder folder;
  auto daemon = std::make_unique<RunningDaemon>(folder, predicting());
  Conversation application(FAKE_APPLICATION " daemon", daemon->socket());
  BOOST_TEST(application.hear());
  daemon->signal(SIGKILL);
  BOOST_TEST(daemon->wait().has_value());
  application.say();
  BOOST_TEST(application.hear());
  daemon = std::make_unique<RunningDaemon>(folder, predicting());
  application.say();
  BOOST_TEST(application.end() == 0);
}

BOOST_AUTO_TEST_CASE(an_entry_that_cudnn_refuses_late_becomes_the_first) {
  BOOST_TEST(run_scenario("refused_configuration", predicted).exit_code == 0);
  BOOST_TEST(run_scenario("refused_configuration", measured).exit_code == 0);
}
BOOST_AUTO_TEST_CASE(threads_that_share_a_configuration_all_find_it_built) {
  BOOST_TEST(run_scenario("shared_configuration", measured).exit_code == 0);
}
BOOST_AUTO_TEST_CASE(a_descriptor_that_is_full_does_not_cost_the_answer) {
  BOOST_TEST(run_scenario("unusable_descriptor", measured).exit_code == 0);
}

BOOST_AUTO_TEST_CASE(what_was_refused_is_counted_and_said) {
  const reformer::testing::Folder folder;
  const RunningDaemon daemon(folder, predicting());
  Conversation application(FAKE_APPLICATION " refused", daemon.socket());
  BOOST_TEST(application.hear());
  FILE* pipe =
      ::popen((REFORMERCTL " --socket " + daemon.socket() + " clients --json").c_str(), "r");
  BOOST_TEST_REQUIRE(pipe != nullptr);
  std::string text(65536, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), pipe));
  ::pclose(pipe);
  BOOST_TEST(application.end() == 0);
  const auto found = nlohmann::json::parse(text, nullptr, false);
  BOOST_TEST_REQUIRE(!found.is_discarded(), text);
  bool said = false;
  for (const auto& row : found.is_array() ? found : found.value("rows", nlohmann::json::array())) {
    said = said || (row.value("failures", 0) > 0 &&
                    row.value("last_failure", "").starts_with("cuDNN refuses "));
  }
  BOOST_TEST(said, text);
}

// All that the shim takes from elsewhere is the C library's and the loader's.
BOOST_AUTO_TEST_CASE(no_library_of_an_application_can_stand_in_for_the_shims_own) {
  FILE* pipe = ::popen("nm -D --undefined-only " SHIM_PATH " | awk '$1 == \"U\" {print $2}'", "r");
  BOOST_TEST_REQUIRE(pipe != nullptr);
  char name[512];
  int count = 0;
  while (std::fscanf(pipe, "%511s", name) == 1) {
    BOOST_TEST(std::string(name).find("@GLIBC_") != std::string::npos, name);
    ++count;
  }
  ::pclose(pipe);
  BOOST_TEST(count > 10);
}

BOOST_AUTO_TEST_SUITE_END()
