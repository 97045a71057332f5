// How much of a GPU verification takes, and when. The GPU is a script that answers after a while.
#include "core/problem_text.h"
#include "tests/daemon/running_daemon.h"

#include <boost/test/unit_test.hpp>

#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <ctime>
#include <fstream>
#include <sstream>

using namespace reformer;
using namespace reformer::testing;
namespace wire = core::wire;
using nlohmann::json;

namespace {

// Logs each line with its milliseconds, waits as long as the file "delay" said before that, and
// answers with the record in the file "record"; gives way when told.
constexpr const char* kWorker = R"sh(#!/bin/sh
cd "$(dirname "$0")"
printf '%s\n' '{"hello":1,"protocol":1,"pid":1,"cudnn":91900,"timer":"gpu"}'
while read -r line; do
  delay=$(cat delay)
  printf '%s %s\n' "$(date +%s%3N)" "$line" >> log
  case "$line" in
    *'"cancel"'*)
      kill "$job"
      printf '%s\n' '{"id":'"$id"',"error":"busy","message":"gave way"}' ;;
    *)
      id=$(printf '%s' "$line" | sed 's/.*"id":\([0-9]*\).*/\1/')
      channels=$(printf '%s' "$line" | sed 's/.* c\([0-9]*\) .*/\1/')
      (sleep "$delay"
       printf '%s\n' '{"id":'"$id,$(sed "s/12345/$channels/g" record)"'}') &
      job=$! ;;
  esac
done
)sh";

struct Line {
  std::int64_t at_ms = 0;
  json request;
};

struct Fixture {
  Fixture() {
    folder.write("record", "\"record\":" + sample_line(12345, 10));
    set_delay("0.2");
  }
  void set_delay(const std::string& seconds) const { folder.write("delay", seconds); }
  [[nodiscard]] std::vector<std::string> arguments(std::vector<std::string> more) const {
    std::vector<std::string> all{
        "--timer", "gpu", "--worker", worker.string(), "--verify-after-ms", "0"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  // What the worker was told so far.
  [[nodiscard]] std::vector<Line> log() const {
    std::vector<Line> lines;
    std::ifstream file(folder.path() / "log");
    for (std::string text; std::getline(file, text);) {
      const std::size_t space = text.find(' ');
      const json request = json::parse(text.substr(space + 1), nullptr, false);
      if (request.is_object()) {
        lines.push_back({std::stoll(text.substr(0, space)), request});
      }
    }
    return lines;
  }
  [[nodiscard]] bool told_to_give_way() const {
    const auto lines = log();
    return std::any_of(lines.begin(), lines.end(), [](const Line& line) {
      return line.request.contains("cancel");
    });
  }
  static bool has_records(TestClient& client, int count) {
    return eventually([&] { return client.admin({{"request", "status"}})["records"] == count; });
  }

  Folder folder;
  std::filesystem::path worker = folder.write("worker", kWorker, true);
};

// "HH:MM-HH:MM" around now.
std::string hours_around_now() {
  const auto clock = [](std::time_t at) {
    std::tm local{};
    localtime_r(&at, &local);
    char text[8];
    std::strftime(text, sizeof text, "%H:%M", &local);
    return std::string(text);
  };
  const std::time_t now = std::time(nullptr);
  return clock(now - 3600) + "-" + clock(now + 3600);
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(budget, Fixture)

BOOST_AUTO_TEST_CASE(a_problem_that_was_not_done_in_time_gets_twice_as_long_once_more) {
  folder.write("record", "\"error\":\"out_of_time\",\"message\":\"late\"");
  set_delay("0");
  RunningDaemon daemon(folder,
                       arguments({"--max-problem-time-ms", "300", "--only-when-idle", "false"}));
  TestClient client(daemon.socket());
  client.query(sample_problem(64));
  BOOST_TEST(eventually([&] {
    return client.admin({{"request", "status"}})["queue"]["quarantined"] == 1;
  }));
  const std::vector<Line> lines = log();
  BOOST_REQUIRE(lines.size() == 2U);
  BOOST_TEST(lines[0].request["max_ms"] == 300);
  BOOST_TEST(lines[1].request["max_ms"] == 600);
}

BOOST_AUTO_TEST_CASE(measuring_rests_so_that_it_takes_its_share_of_the_time) {
  RunningDaemon daemon(folder, arguments({"--max-gpu-share", "0.25", "--only-when-idle", "false"}));
  TestClient client(daemon.socket());
  for (const int channels : {64, 72, 80}) {
    client.query(sample_problem(channels));
  }
  BOOST_TEST(has_records(client, 3));
  const auto lines = log();
  BOOST_REQUIRE(lines.size() == 3U);
  for (std::size_t i = 1; i < lines.size(); ++i) {
    BOOST_TEST(lines[i].at_ms - lines[i - 1].at_ms >= 780);  // 200 ms of work, 600 of rest
  }
}

BOOST_AUTO_TEST_CASE(two_libraries_on_one_gpu_are_not_measured_at_the_same_time) {
  RunningDaemon daemon(folder, arguments({"--max-gpu-share", "1", "--only-when-idle", "false"}));
  TestClient client(daemon.socket());
  (void)client.greet();
  int channels = 64;
  for (const char* library : {"/a/libcudnn.so.9", "/b/libcudnn.so.9"}) {
    const auto context =
        client.ask<wire::ContextId>(wire::ContextMessage{recorded_context(), library, 0});
    BOOST_REQUIRE(context.has_value());
    wire::Query query;
    query.context_id = context->id;
    query.problems = {core::parse_problem(sample_problem(channels)).value()};
    BOOST_TEST(client.ask<wire::Answer>(query).has_value());
    channels += 8;
  }
  BOOST_TEST(has_records(client, 2));
  BOOST_TEST(client.admin({{"request", "status"}})["workers"].size() == 2U);
  const auto lines = log();
  BOOST_REQUIRE(lines.size() == 2U);
  BOOST_TEST(lines[1].at_ms - lines[0].at_ms >= 190);
}

BOOST_AUTO_TEST_CASE(a_running_measurement_gives_way_to_a_client_that_misses) {
  set_delay("30");
  RunningDaemon daemon(folder, arguments({}));
  TestClient client(daemon.socket());
  client.query(sample_problem(64));
  BOOST_REQUIRE(eventually([&] { return log().size() == 1; }));
  set_delay("0.01");
  client.query(sample_problem(72));
  BOOST_TEST(eventually([&] { return told_to_give_way(); }));
  BOOST_TEST(has_records(client, 2));  // both, afterwards
  BOOST_TEST(client.admin({{"request", "status"}})["workers"][0]["failed"] == 0);
}

BOOST_AUTO_TEST_CASE(it_does_not_give_way_where_the_policy_does_not_say_so) {
  RunningDaemon daemon(folder, arguments({"--only-when-idle", "false", "--max-gpu-share", "1"}));
  TestClient client(daemon.socket());
  client.query(sample_problem(64));
  BOOST_REQUIRE(eventually([&] { return log().size() == 1; }));
  client.query(sample_problem(72));
  BOOST_TEST(has_records(client, 2));
  BOOST_TEST(!told_to_give_way());
}

BOOST_AUTO_TEST_CASE(no_measurement_begins_in_quiet_hours_and_a_running_one_is_stopped) {
  set_delay("30");
  const std::string settings =
      "timer = \"gpu\"\nworker = \"" + worker.string() + "\"\n" + "verify_after_ms = 0\n";
  const auto file = folder.write("reformerd.toml", settings);
  RunningDaemon daemon(folder, {"--config", file.string()});
  TestClient client(daemon.socket());
  client.query(sample_problem(64));
  BOOST_REQUIRE(eventually([&] { return log().size() == 1; }));
  folder.write("reformerd.toml", settings + "quiet_hours = \"" + hours_around_now() + "\"\n");
  daemon.signal(SIGHUP);
  BOOST_TEST(eventually([&] { return told_to_give_way(); }));
  const std::size_t told = log().size();
  set_delay("0.01");
  client.query(sample_problem(72));
  for (int i = 0; i < 50; ++i) {
    BOOST_TEST(client.admin({{"request", "status"}})["queue"]["length"] == 2);
  }
  BOOST_TEST(log().size() == told);
  folder.write("reformerd.toml", settings);
  daemon.signal(SIGHUP);
  BOOST_TEST(has_records(client, 2));
}

BOOST_AUTO_TEST_CASE(the_worker_is_told_its_limits) {
  RunningDaemon daemon(folder,
                       arguments({"--max-problem-time-ms", "1234", "--max-memory-bytes", "5678"}));
  TestClient client(daemon.socket());
  client.query(sample_problem(64));
  BOOST_REQUIRE(eventually([&] { return log().size() == 1; }));
  const json request = log()[0].request;
  BOOST_TEST(request["max_ms"] == 1234);
  BOOST_TEST(request["max_memory_bytes"] == 5678);
  BOOST_TEST(request["only_when_idle"] == true);
  BOOST_TEST(request["explore"] == false);
}

BOOST_AUTO_TEST_CASE(the_worker_is_told_to_explore) {
  RunningDaemon daemon(folder, arguments({"--explore", "true"}));
  TestClient client(daemon.socket());
  client.query(sample_problem(64));
  BOOST_REQUIRE(eventually([&] { return log().size() == 1; }));
  BOOST_TEST(log()[0].request["explore"] == true);
}

BOOST_AUTO_TEST_CASE(after_an_upgrade_the_older_winners_are_tried_first_and_timed_too) {
  std::string older = sample_line(64, 10);
  older.replace(older.find("91900"), 5, "91400");
  RunningDaemon daemon(folder, arguments({}));
  TestClient client(daemon.socket());
  BOOST_REQUIRE(client.admin({{"request", "import"}, {"lines", {older}}})["stored"] == 1);
  // What is imported is stored at once, and published soon after.
  BOOST_REQUIRE(eventually([&] {
    return client.admin({{"request", "status"}})["table"]["entries"] == 1;
  }));
  const core::Decision answer = client.query(sample_problem(64));
  BOOST_TEST((answer.source == core::Source::kPredicted));
  BOOST_TEST(answer.model == "winner-of-91400");
  BOOST_REQUIRE(!answer.entries.empty());
  BOOST_TEST(core::format_engine_config(answer.entries[0].config) == "57:2=1");
  BOOST_TEST(has_records(client, 2));
  BOOST_REQUIRE(log().size() == 1U);
  const json extra = log()[0].request["extra"];
  BOOST_TEST(std::count(extra.begin(), extra.end(), "57:2=1") == 1);
  // What the upgrade did.
  const json rows = client.admin({{"request", "diff"}, {"from", 91400}, {"to", 91900}})["rows"];
  BOOST_REQUIRE(rows.size() == 1U);
  BOOST_TEST(rows[0]["ratio"] == 1.0);
  BOOST_TEST(rows[0]["from_us"] == 10.0);
}

BOOST_AUTO_TEST_CASE(a_disturbed_measurement_is_kept_for_now_and_waits_to_be_repeated) {
  std::string line = sample_line(12345, 10);
  line.insert(line.size() - 1, R"(,"provenance":{"disturbed":true})");
  folder.write("record", "\"record\":" + line);
  RunningDaemon daemon(folder, arguments({}));
  TestClient client(daemon.socket());
  client.query(sample_problem(64));
  // A record is counted before it is published and before the queue hears of it.
  BOOST_REQUIRE(eventually([&] { return client.admin({{"request", "stats"}})["verified"] == 1; }));
  BOOST_TEST(client.admin({{"request", "status"}})["queue"]["length"] == 1);
  BOOST_TEST(log().size() == 1U);
  TestClient later(daemon.socket());
  BOOST_TEST((later.query(sample_problem(64)).source == core::Source::kMeasured));
}

BOOST_AUTO_TEST_CASE(a_busy_gpu_is_asked_less_and_less_often_and_nothing_is_blamed) {
  const auto busy = folder.write("busy",
                                 R"sh(#!/bin/sh
cd "$(dirname "$0")"
printf '%s\n' '{"hello":1,"protocol":1,"pid":1,"cudnn":91900,"timer":"gpu"}'
while read -r line; do
  printf '%s %s\n' "$(date +%s%3N)" "$line" >> log
  printf '%s\n' "$(printf '%s' "$line" | sed 's/.*"id":\([0-9]*\).*/{"id":\1,"error":"busy"}/')"
done
)sh",
                                 true);
  RunningDaemon daemon(folder,
                       {"--timer", "gpu", "--worker", busy.string(), "--verify-after-ms", "0"});
  TestClient client(daemon.socket());
  client.query(sample_problem(64));
  BOOST_REQUIRE(eventually([&] { return log().size() == 3; }));
  const auto lines = log();
  BOOST_TEST(lines[1].at_ms - lines[0].at_ms >= 480);
  BOOST_TEST(lines[2].at_ms - lines[1].at_ms >= 980);
  const json status = client.admin({{"request", "status"}});
  BOOST_TEST(status["queue"]["length"] == 1);
  BOOST_TEST(status["queue"]["quarantined"] == 0);
  BOOST_TEST(status["workers"][0]["failed"] == 0);
}

// A file size limit is to the daemon what a full disk is.
BOOST_AUTO_TEST_CASE(what_a_full_disk_refuses_is_stored_later_and_not_measured_again) {
  set_delay("0.01");
  const RunningDaemon daemon(folder, arguments({"--max-gpu-share", "1"}));
  TestClient client(daemon.socket());
  client.query(sample_problem(64));
  BOOST_REQUIRE(has_records(client, 1));
  const rlimit full{100, RLIM_INFINITY};
  BOOST_REQUIRE(::prlimit(daemon.pid(), RLIMIT_FSIZE, &full, nullptr) == 0);
  wire::Query query;  // one question: what is asked while something is measured stops that
  query.context_id = client.greet();
  for (const int channels : {72, 80, 88}) {
    query.problems.push_back(core::parse_problem(sample_problem(channels)).value());
  }
  BOOST_REQUIRE(client.ask<wire::Answer>(query));
  const auto queue = [&] { return client.admin({{"request", "status"}})["queue"]; };
  BOOST_REQUIRE(eventually([&] { return queue()["unstored"] > 0; }));
  BOOST_TEST(queue()["quarantined"] == 0);
  BOOST_TEST(queue()["length"] == 3);
  const rlimit enough{RLIM_INFINITY, RLIM_INFINITY};
  BOOST_REQUIRE(::prlimit(daemon.pid(), RLIMIT_FSIZE, &enough, nullptr) == 0);
  BOOST_TEST(has_records(client, 4));
  BOOST_TEST(eventually([&] { return queue()["length"] == 0; }));
  BOOST_TEST(queue()["unstored"] == 0);
  BOOST_TEST(log().size() == 4U);  // each once
}

BOOST_AUTO_TEST_CASE(quarantine_survives_a_restart) {
  const auto deadly = folder.write("deadly",
                                   "#!/bin/sh\necho '{\"hello\":1,\"protocol\":1,\"pid\":1,"
                                   "\"timer\":\"gpu\"}'\nread -r line\nexit 3\n",
                                   true);
  const std::vector<std::string> deadly_arguments{"--timer", "gpu", "--worker", deadly.string()};
  {
    RunningDaemon daemon(folder, deadly_arguments);
    TestClient client(daemon.socket());
    client.query(sample_problem(64));
    BOOST_TEST(eventually([&] {
      return client.admin({{"request", "status"}})["queue"]["quarantined"] == 1;
    }));
    daemon.signal(SIGTERM);
    BOOST_TEST(daemon.wait().value_or(-1) == 0);
  }
  RunningDaemon daemon(folder, arguments({}));
  TestClient client(daemon.socket());
  BOOST_TEST(client.admin({{"request", "status"}})["queue"]["quarantined"] == 1);
  client.query(sample_problem(72));
  BOOST_TEST(has_records(client, 1));
  BOOST_TEST(log().size() == 1U);  // the healthy problem only
}

BOOST_AUTO_TEST_SUITE_END()
