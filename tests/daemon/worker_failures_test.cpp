// What a failing GPU, library or worker does to the problems that wait: nothing that is not theirs.
#include "core/plan_file.h"
#include "core/problem_text.h"
#include "daemon/plan_store.h"
#include "daemon/trusted_library.h"
#include "libclient/plan_folder.h"
#include "storage/database.h"
#include "tests/daemon/running_daemon.h"

#include <boost/test/unit_test.hpp>

#include <unistd.h>

#include <algorithm>
#include <fstream>

using namespace reformer;
using namespace reformer::testing;
namespace wire = core::wire;
using nlohmann::json;

namespace {

// A worker that logs its starts and requests, then does as `body` says: $id and $channels are of
// the request, `ok` answers with a record, `error WORD` with a failure.
std::string worker_program(const std::string& body) {
  return R"sh(#!/bin/sh
arguments="$*"
cd "$(dirname "$0")"
echo "start $arguments" >> worker.log
error() { printf '%s\n' '{"id":'"$id"',"error":"'"$1"'","message":"CUDA_ERROR_X"}'; }
ok() { printf '%s\n' '{"id":'"$id,$(sed "s/12345/$channels/g" record)"'}'; }
greet() {
  printf '%s\n' '{"hello":1,"protocol":1,"pid":1,"cudnn":91900,"device":"NVIDIA H200/sm90/132","timer":"gpu"}'
}
requests() {
  while read -r line; do
    id=$(printf '%s' "$line" | sed 's/.*"id":\([0-9]*\).*/\1/')
    channels=$(printf '%s' "$line" | sed 's/.* c\([0-9]*\) .*/\1/')
    echo "ask $channels" >> worker.log
    handle
  done
}
)sh" + body;
}

struct Fixture {
  Fixture() { folder.write("record", "\"record\":" + sample_line(12345, 10)); }
  [[nodiscard]] std::vector<std::string> arguments(const std::string& body,
                                                   std::vector<std::string> more = {}) const {
    const auto worker = folder.write("worker", worker_program(body), true);
    std::vector<std::string> all{"--timer",
                                 "gpu",
                                 "--worker",
                                 worker.string(),
                                 "--verify-after-ms",
                                 "0",
                                 "--max-gpu-share",
                                 "1"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  // Lines of the worker's log that begin so.
  [[nodiscard]] std::size_t logged(const std::string& begin) const {
    std::ifstream file(folder.path() / "worker.log");
    std::size_t count = 0;
    for (std::string line; std::getline(file, line);) {
      count += line.starts_with(begin) ? 1 : 0;
    }
    return count;
  }
  static json status(TestClient& client) { return client.admin({{"request", "status"}}); }
  // Asks for a problem in a context.
  static void ask(TestClient& client, int channels, std::uint32_t context) {
    wire::Query query;
    query.context_id = context;
    query.problems = {core::parse_problem(sample_problem(channels)).value()};
    BOOST_REQUIRE(client.ask<wire::Answer>(query).has_value());
  }
  // The same as a client whose library and GPU are these; the context.
  static std::uint32_t ask(TestClient& client, int channels, const std::string& library, int gpu) {
    const auto context =
        client.ask<wire::ContextId>(wire::ContextMessage{recorded_context(), library, gpu});
    BOOST_REQUIRE(context.has_value());
    ask(client, channels, context->id);
    return context->id;
  }
  Folder folder;
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(worker_failures, Fixture)

BOOST_AUTO_TEST_CASE(
    a_gpu_that_is_gone_blames_no_problem_and_starts_its_worker_less_and_less_often) {
  const RunningDaemon daemon(folder,
                             arguments("handle() { error unavailable; }\ngreet; requests\n"));
  TestClient client(daemon.socket());
  for (const int channels : {64, 72, 80, 88}) {
    client.query(sample_problem(channels));
  }
  BOOST_REQUIRE(eventually([&] { return logged("ask") == 4; }));
  BOOST_TEST(eventually([&] { return status(client)["workers"][0]["state"] == "stopped"; }));
  const json now = status(client);
  BOOST_TEST(now["queue"]["length"] == 4);
  BOOST_TEST(now["queue"]["quarantined"] == 0);
  BOOST_TEST(now["workers"][0]["failed"] == 0);
  BOOST_TEST(now["workers"][0]["restarts"] == 3);  // a new process for each
}

BOOST_AUTO_TEST_CASE(no_innocent_problem_is_given_to_a_worker_that_is_about_to_end) {
  const RunningDaemon daemon(folder, arguments(R"sh(
handle() {
  if [ "$channels" = 64 ]; then error failed; sleep 0.5; exit 3; fi
  ok
}
greet; requests
)sh"));
  TestClient client(daemon.socket());
  (void)client.greet();
  client.query(sample_problem(64));
  client.query(sample_problem(72));
  client.query(sample_problem(80));
  BOOST_TEST(eventually([&] {
    const json now = status(client);
    return now["records"] == 2 && now["queue"]["quarantined"] == 1;
  }));
  BOOST_TEST(status(client)["workers"][0]["failed"] == 2);
  BOOST_TEST(logged("ask 64") == 2U);
  BOOST_TEST(logged("ask") == 4U);
}

// The fastest is one that takes a second to build: it goes first once its plan can be loaded.
BOOST_AUTO_TEST_CASE(plans_that_a_worker_compiled_are_kept_and_count_in_the_answers) {
  const auto all = arguments(R"sh(
handle() {
  slow='s/"build_us":2.0,"time_us":10,/"build_us":1000000,"time_us":10,/'
  plans='{"config":"57:2=1","cuda":13000,"json":"{\"engine\":57}"}'
  [ "$channels" = 64 ] && plans='{"config":"nonsense","cuda":1,"json":"{}"},{"config":"57:2=1","cuda":1},{"config":"57:2=1","json":"{}"},7'
  printf '%s\n' '{"id":'"$id,$(sed "s/12345/$channels/g; $slow" record)"',"plans":['"$plans"']}'
}
greet; requests
)sh");
  const RunningDaemon daemon(folder, all);
  TestClient client(daemon.socket());
  const auto best = [&](int channels) {
    client.query(sample_problem(channels));
    BOOST_TEST(eventually(
        [&] { return client.query(sample_problem(channels)).source == core::Source::kMeasured; }));
    return client.query(sample_problem(channels)).entries.front();
  };
  BOOST_TEST(core::format_engine_config(best(64).config) == "25");
  BOOST_TEST(status(client)["plans"]["stored"] == 0);
  const core::DecisionEntry loaded = best(72);
  BOOST_TEST(core::format_engine_config(loaded.config) == "57:2=1");
  BOOST_TEST(loaded.build_us == daemon::kLoadingUs);
  BOOST_TEST(status(client)["plans"]["stored"] == 1);
  const core::KeyHash key =
      core::hash_key({recorded_context(), core::parse_problem(sample_problem(72)).value()});
  const auto plan = client::read_plan(core::plans_path(daemon.socket()), key, loaded.config);
  BOOST_REQUIRE(plan.has_value());
  BOOST_TEST(plan->json == R"({"engine":57})");
  // Who freezes without the plans has all of building to do.
  const auto frozen = [&](bool with_plans) {
    const auto reply = client.admin({{"request", "freeze"}, {"plans", with_plans}});
    for (const auto& row : reply["rows"]) {
      if (row["key"] == core::format_hash(key)) {
        return row["decision"]["entries"][0]["config"].get<std::string>() +
               row.value("plans", nlohmann::json()).dump();
      }
    }
    return std::string();
  };
  BOOST_TEST(frozen(true) == R"(57:2=1["57:2=1"])");
  BOOST_TEST(frozen(false) == "25null");
}

// Imported, or its plan had to go: applications that use it compile it, until it is measured again.
BOOST_AUTO_TEST_CASE(what_applications_compile_is_measured_once_more_for_its_plan) {
  const auto all = arguments(R"sh(
handle() {
  slow='s/"build_us":2.0,"time_us":10,/"build_us":1000000,"time_us":10,/; s/"behavior_notes":\[\]/"behavior_notes":[0]/'
  plans='{"config":"57:2=1","cuda":13000,"json":"{}"}'
  [ "$channels" = 64 ] && plans=
  printf '%s\n' '{"id":'"$id,$(sed "s/12345/$channels/g; $slow" record)"',"plans":['"$plans"']}'
}
greet; requests
)sh",
                             {"--expected-uses", "1000000000"});
  const RunningDaemon daemon(folder, all);
  TestClient client(daemon.socket());
  for (const int channels : {64, 72}) {
    std::string line = sample_line(channels, 10);
    for (const auto& [from, to] :
         {std::pair<std::string, std::string>{"2.0,\"time_us\":10,", "1000000,\"time_us\":10,"},
          {"\"behavior_notes\":[]", "\"behavior_notes\":[0]"}}) {
      line.replace(line.find(from), from.size(), to);
    }
    BOOST_REQUIRE(client.admin({{"request", "import"}, {"lines", {line}}})["stored"] == 1);
    BOOST_TEST(eventually(
        [&] { return client.query(sample_problem(channels)).source == core::Source::kMeasured; }));
  }
  const auto context =
      client.ask<wire::ContextId>(wire::ContextMessage{recorded_context(), "", 0})->id;
  const auto use = [&](int channels, const char* config) {
    wire::Report report;
    report.context_id = context;
    const auto problem = core::parse_problem(sample_problem(channels)).value();
    report.uses.push_back({core::hash_key({recorded_context(), problem}),
                           1,
                           core::kNoTime,
                           core::parse_engine_config(config).value()});
    client.send(report);
    BOOST_REQUIRE(client.ask<wire::Pong>(wire::Ping{}).has_value());
  };
  use(72, "25");
  use(64, "57:2=1");
  BOOST_TEST(eventually([&] { return logged("ask 64") == 1; }));
  use(72, "57:2=1");
  BOOST_TEST(eventually([&] { return status(client)["plans"]["stored"] == 1; }));
  BOOST_TEST(eventually([&] { return status(client)["queue"]["length"] == 0; }));
  use(64, "57:2=1");  // that gave no plan
  use(72, "57:2=1");  // that has one
  BOOST_TEST(status(client)["queue"]["length"] == 0);
  BOOST_TEST(logged("ask 72") == 1U);
  BOOST_TEST(logged("ask") == 2U);
}

// As the unit file has it: the daemon is nobody, the library is root's, and its users are others.
BOOST_AUTO_TEST_CASE(a_library_of_root_is_loaded_for_everyone_and_by_its_own_name) {
  if (::geteuid() != 0) {
    BOOST_TEST_MESSAGE("SKIPPED: only root can be another user");
    return;
  }
  std::filesystem::permissions(folder.path(), std::filesystem::perms::all);
  const auto link = folder.path() / "library.so";
  std::filesystem::create_symlink("/bin/sh", link);
  const auto all = arguments("handle() { ok; }\ngreet; requests\n");
  std::filesystem::permissions(folder.path() / "worker", std::filesystem::perms::all);
  const RunningDaemon daemon(folder, all, 65534);
  TestClient client(daemon.socket());
  if (!client.connected()) {
    BOOST_TEST_MESSAGE("SKIPPED: others cannot run the daemon from where it was built");
    return;
  }
  int channels = 64;
  const auto context = ask(client, channels, link.string(), 0);
  const auto resolved = std::filesystem::canonical("/bin/sh").string();
  BOOST_TEST(eventually([&] {  // until the file has been looked at
    ask(client, channels += 8, context);
    return logged("start --gpu 0 --library " + resolved) == 1;
  }));
  ask(client, 8, folder.write("own.so", "").string(), 0);
  BOOST_TEST(eventually([&] { return status(client)["queue"]["length"] == 0; }));
  BOOST_TEST(logged("start") == logged("start --gpu 0 --library " + resolved) + 1);
}

BOOST_AUTO_TEST_CASE(a_library_that_is_not_roots_any_more_is_not_loaded) {
  storage::QueuedJob job;
  job.key = {recorded_context(), core::parse_problem(sample_problem(64)).value()};
  job.library = folder.write("library.so", "").string();  // in /tmp
  job.uid = daemon::kTrustedLibrary;
  std::filesystem::create_directories(folder.path() / "state");
  {
    auto database = storage::Database::open(
        folder.path() / "state" / "database", storage::OpenMode::kReadWrite, nullptr);
    BOOST_REQUIRE(database.ok());
    BOOST_REQUIRE((*database)->put_job(job).ok());
  }
  const RunningDaemon daemon(folder, arguments("handle() { ok; }\ngreet; requests\n"));
  TestClient client(daemon.socket());
  BOOST_TEST(eventually([&] { return status(client)["records"] == 1; }));
  BOOST_TEST(logged("start --gpu 0") == 1U);
  BOOST_TEST(logged("start --gpu 0 --library") == 0U);
}

BOOST_AUTO_TEST_CASE(workers_that_do_not_start_are_started_five_times_a_second_at_most) {
  const RunningDaemon daemon(folder, arguments("exit 1\n"));
  TestClient client(daemon.socket());
  const auto before = std::chrono::steady_clock::now();
  for (int i = 0; i < 40; ++i) {
    ask(client, 64 + 8 * i, "/library/" + std::to_string(i), 0);
  }
  BOOST_REQUIRE(eventually([&] { return logged("start") >= 6; }));
  BOOST_TEST((std::chrono::steady_clock::now() - before >= std::chrono::milliseconds(900)));
  BOOST_TEST(status(client)["queue"]["length"] == 40);
}

BOOST_AUTO_TEST_CASE(a_library_whose_worker_does_not_start_five_times_loses_its_problem) {
  const RunningDaemon daemon(folder,
                             arguments("[ \"$*\" = \"--gpu 0\" ] || exit 1\nhandle() { ok; }\n"
                                       "greet; requests\n"));
  TestClient client(daemon.socket());
  ask(client, 64, "/library/broken", 0);
  BOOST_TEST(eventually([&] { return status(client)["queue"]["length"] == 0; }));
  BOOST_TEST(logged("start") == 5U);
  BOOST_TEST(status(client)["queue"]["quarantined"] == 0);
  BOOST_TEST(status(client)["records"] == 0);
  ask(client, 72, "", 0);  // others are none the worse
  BOOST_TEST(eventually([&] { return status(client)["records"] == 1; }));
}

BOOST_AUTO_TEST_CASE(a_gpu_that_cannot_be_there_gets_no_work) {
  const RunningDaemon daemon(folder, arguments("handle() { ok; }\ngreet; requests\n"));
  TestClient client(daemon.socket());
  ask(client, 64, "", 4711);
  BOOST_TEST(status(client)["queue"]["length"] == 0);
  ask(client, 64, "", -1);  // whichever
  BOOST_TEST(eventually([&] { return status(client)["records"] == 1; }));
  BOOST_TEST(logged("start --gpu 0") == 1U);
}

// It would be told so by a worker, for each problem, and keep it in quarantine.
BOOST_AUTO_TEST_CASE(a_problem_of_another_cudnn_than_the_workers_is_dropped_without_asking) {
  const RunningDaemon daemon(folder,
                             arguments("handle() { error unsupported; }\ngreet; requests\n"));
  TestClient client(daemon.socket());
  core::Context other = recorded_context();
  other.cudnn_version = 90100;
  const auto context = client.ask<wire::ContextId>(wire::ContextMessage{other, "", 0});
  BOOST_REQUIRE(context.has_value());
  wire::Query query;
  query.context_id = context->id;
  for (int i = 0; i < 20; ++i) {
    query.problems.push_back(core::parse_problem(sample_problem(64 + i)).value());
  }
  BOOST_REQUIRE(client.ask<wire::Answer>(query).has_value());
  BOOST_TEST(eventually([&] {
    return client.admin({{"request", "stats"}})["verify_failed"] == 20;
  }));
  BOOST_TEST(status(client)["queue"]["length"] == 0);
  BOOST_TEST(status(client)["queue"]["quarantined"] == 0);
  BOOST_TEST(logged("ask") == 0U);
  BOOST_TEST(logged("start") == 1U);
  client.query(sample_problem(64));  // of its own: quarantined
  BOOST_TEST(eventually([&] { return status(client)["queue"]["quarantined"] == 1; }));
}

// The GPU is there for others: it is the problem.
BOOST_AUTO_TEST_CASE(a_problem_during_which_alone_the_gpu_is_gone_is_not_tried_for_ever) {
  const RunningDaemon daemon(
      folder,
      arguments("handle() { if [ $channels = 64 ]; then error unavailable; else ok; fi; }\n"
                "greet; requests\n"));
  TestClient client(daemon.socket());
  const auto force = [&] {
    // An administrator does not wait for its minute.
    return client.admin({{"request", "verify"},
                         {"problem", sample_problem(64)},
                         {"device", "NVIDIA H200/sm90/132"},
                         {"cudnn", 91900}});
  };
  int asked = 0;
  for (const int channels : {72, 80, 88}) {
    force();
    ++asked;
    BOOST_REQUIRE(eventually([&] { return logged("ask 64") >= static_cast<std::size_t>(asked); }));
    client.query(sample_problem(channels));
    BOOST_REQUIRE(eventually([&] { return status(client)["records"] == asked; }));
  }
  BOOST_TEST(status(client)["workers"][0]["failed"] >= 1);
}

BOOST_AUTO_TEST_SUITE_END()
