// Whole-daemon scenarios: the real reformerd, its socket, and the worker that replays measurements.
#include "tests/daemon/running_daemon.h"

#include <boost/test/unit_test.hpp>

#include <csignal>
#include <fstream>

using namespace reformer;
using namespace reformer::testing;
namespace wire = core::wire;
using nlohmann::json;

BOOST_AUTO_TEST_SUITE(scenario)

BOOST_AUTO_TEST_CASE(a_miss_is_queued_measured_and_then_answered_from_the_measurement) {
  Folder folder;
  const auto recorded = folder.write("recorded.jsonl", sample_line(64, 10) + "\n");
  RunningDaemon daemon(folder, {"--timer", "recorded:" + recorded.string()});
  TestClient client(daemon.socket());
  BOOST_TEST((client.query(sample_problem(64)).source == core::Source::kAbstain));
  core::Decision measured;
  BOOST_TEST(eventually([&] {
    measured = client.query(sample_problem(64));
    return measured.source == core::Source::kMeasured;
  }));
  BOOST_REQUIRE_EQUAL(measured.entries.size(), 2U);
  BOOST_TEST(core::format_engine_config(measured.entries[0].config) == "57:2=1");
  BOOST_TEST(measured.entries[0].time_us == 10);
  BOOST_TEST(eventually([&] { return client.admin({{"request", "stats"}})["verified"] == 1; }));
  BOOST_TEST(eventually([&] {  // a row for each baseline
    return client.admin({{"request", "accuracy"}})["rows"].size() == 4;
  }));
}

// Measuring again is for a GPU that was disturbed; a replay would say the same.
BOOST_AUTO_TEST_CASE(a_recorded_measurement_that_was_disturbed_is_not_repeated) {
  Folder folder;
  json line = json::parse(sample_line(64, 10));
  line["provenance"]["disturbed"] = true;
  const auto recorded = folder.write("recorded.jsonl", line.dump() + "\n");
  RunningDaemon daemon(folder, {"--timer", "recorded:" + recorded.string()});
  TestClient client(daemon.socket());
  (void)client.query(sample_problem(64));
  BOOST_TEST(eventually([&] { return client.admin({{"request", "stats"}})["verified"] == 1; }));
  BOOST_TEST(eventually([&] {
    return client.admin({{"request", "status"}})["queue"]["length"] == 0;
  }));
}

BOOST_AUTO_TEST_CASE(constraints_filter_the_measured_answer) {
  Folder folder;
  RunningDaemon daemon(folder, {"--timer", "none"});
  TestClient client(daemon.socket());
  client.admin({{"request", "import"}, {"lines", {sample_line(64, 10)}}});
  core::Constraints no_tensor_core;
  no_tensor_core.forbidden_numerical_notes = core::numerical_note::kTensorCore;
  const auto allowed = client.query(sample_problem(64), no_tensor_core);
  BOOST_REQUIRE_EQUAL(allowed.entries.size(), 1U);
  BOOST_TEST(core::format_engine_config(allowed.entries[0].config) == "25");
  core::Constraints nothing_passes = no_tensor_core;
  nothing_passes.max_workspace_bytes = 0;
  BOOST_TEST(client.query(sample_problem(64), nothing_passes).entries.empty());
}

BOOST_AUTO_TEST_CASE(an_acknowledged_import_survives_kill_9) {
  Folder folder;
  {
    RunningDaemon daemon(folder, {"--timer", "none"});
    TestClient client(daemon.socket());
    json lines = json::array();
    for (int i = 1; i <= 100; ++i) {
      lines.push_back(sample_line(i * 8, i));
    }
    const json reply = client.admin({{"request", "import"}, {"lines", lines}});
    BOOST_TEST(reply["stored"] == 100);
    daemon.signal(SIGKILL);
    BOOST_TEST(daemon.wait().value_or(0) == -SIGKILL);
  }
  RunningDaemon again(folder, {"--timer", "none"});  // the stale socket file is replaced
  TestClient client(again.socket());
  for (int i = 1; i <= 100; ++i) {
    BOOST_TEST((client.query(sample_problem(i * 8)).source == core::Source::kMeasured));
  }
}

BOOST_AUTO_TEST_CASE(the_work_list_survives_a_restart) {
  Folder folder;
  // A worker that never comes up, so that the work stays.
  const auto worker = folder.write("worker", "#!/bin/sh\nexit 1\n", true);
  const auto recorded = folder.write("recorded.jsonl", sample_line(64, 10) + "\n");
  {
    RunningDaemon daemon(folder,
                         {"--timer", "recorded:" + recorded.string(), "--worker", worker.string()});
    TestClient client(daemon.socket());
    client.query(sample_problem(64));
    BOOST_TEST(client.admin({{"request", "status"}})["queue"]["length"] == 1);
    daemon.signal(SIGTERM);
    BOOST_TEST(daemon.wait().value_or(-1) == 0);
  }
  RunningDaemon daemon(folder, {"--timer", "recorded:" + recorded.string()});
  TestClient client(daemon.socket());
  BOOST_TEST(eventually([&] { return client.admin({{"request", "status"}})["records"] == 1; }));
}

BOOST_AUTO_TEST_CASE(sigterm_ends_it_in_order_and_removes_socket_and_table) {
  Folder folder;
  RunningDaemon daemon(folder, {"--timer", "none"});
  BOOST_TEST(std::filesystem::exists(daemon.socket()));
  daemon.signal(SIGTERM);
  BOOST_TEST(daemon.wait().value_or(-1) == 0);
  BOOST_TEST(!std::filesystem::exists(daemon.socket()));
  BOOST_TEST(!std::filesystem::exists(daemon.socket() + ".table"));
}

BOOST_AUTO_TEST_CASE(sighup_reloads_the_configuration_and_names_what_needs_a_restart) {
  Folder folder;
  const auto file = folder.write("reformerd.toml", "timer = \"none\"\nqueue_bound = 7\n");
  RunningDaemon daemon(folder, {"--config", file.string()});
  TestClient client(daemon.socket());
  BOOST_TEST(client.admin({{"request", "status"}})["queue"]["bound"] == 7);
  folder.write("reformerd.toml", "timer = \"none\"\nqueue_bound = 9\nmax_entries = 3\n");
  daemon.signal(SIGHUP);
  BOOST_TEST(eventually([&] {
    return client.admin({{"request", "status"}})["queue"]["bound"] == 9;
  }));
  BOOST_TEST(daemon.log().find("max_entries") != std::string::npos);
  folder.write("reformerd.toml", "queue_bound = \"many\"\n");  // refused as a whole
  daemon.signal(SIGHUP);
  BOOST_TEST(eventually([&] { return daemon.log().find("wrong kind") != std::string::npos; }));
  BOOST_TEST(client.admin({{"request", "status"}})["queue"]["bound"] == 9);
}

BOOST_AUTO_TEST_CASE(a_reload_says_what_it_changed_and_does_not_change_the_worker) {
  Folder folder;
  const auto script = [&](const std::string& name) {
    return folder
        .write(name, "#!/bin/sh\ntouch '" + (folder.path() / name).string() + ".ran'\n", true)
        .string();
  };
  const std::string first = script("first");
  const std::string second = script("second");
  const auto settings = [](const std::string& worker, int bound) {
    return "timer = \"gpu\"\nverify_after_ms = 0\nworker = \"" + worker +
           "\"\nqueue_bound = " + std::to_string(bound) + "\n";
  };
  const auto file = folder.write("reformerd.toml", settings(first, 7));
  RunningDaemon daemon(folder, {"--config", file.string()});
  TestClient client(daemon.socket());
  folder.write("reformerd.toml", settings(second, 9));
  const json reply = client.admin({{"request", "reload"}});
  BOOST_TEST((reply["changed"] == json{"queue_bound"}));
  BOOST_TEST((reply["restart_needed"] == json{"worker"}));
  client.query(sample_problem(64));
  BOOST_TEST(eventually([&] {
    return std::filesystem::exists(first + ".ran") || std::filesystem::exists(second + ".ran");
  }));
  BOOST_TEST(!std::filesystem::exists(second + ".ran"));
}

BOOST_AUTO_TEST_CASE(a_second_daemon_on_the_same_state_or_socket_is_told_why_it_cannot_start) {
  Folder folder;
  RunningDaemon first(folder, {"--timer", "none"});
  const auto other_socket = (folder.path() / "other").string();
  RunningDaemon same_state(folder, {"--timer", "none", "--socket", other_socket});
  BOOST_TEST(same_state.wait().value_or(0) != 0);
  Folder other;
  RunningDaemon same_socket(other, {"--timer", "none", "--socket", first.socket()});
  BOOST_TEST(same_socket.wait().value_or(0) == 1);
  TestClient client(first.socket());
  BOOST_TEST(client.ask<wire::Pong>(wire::Ping{}).has_value());
  BOOST_TEST(std::filesystem::exists(first.socket() + ".table"));
}

BOOST_AUTO_TEST_CASE(a_wrong_configuration_is_refused_with_file_and_line) {
  Folder folder;
  const auto file = folder.write("bad.toml", "max_clients = 10\nmax_cleints = 3\n");
  RunningDaemon daemon(folder, {"--config", file.string()});
  BOOST_TEST(daemon.wait().value_or(0) == 2);
  BOOST_TEST(daemon.log().find("bad.toml:2: unknown setting") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(reports_count_uses_of_what_is_known_only) {
  Folder folder;
  RunningDaemon daemon(folder, {"--timer", "none"});
  TestClient client(daemon.socket());
  client.admin({{"request", "import"}, {"lines", {sample_line(64, 10)}}});
  // What is imported is stored at once, and published soon after.
  BOOST_REQUIRE(eventually([&] {
    return client.admin({{"request", "status"}})["table"]["entries"] == 1;
  }));
  client.query(sample_problem(64));
  wire::Report report;
  report.context_id = client.greet();
  const auto rows = client.admin({{"request", "freeze"}})["rows"];
  BOOST_REQUIRE_EQUAL(rows.size(), 1U);
  const auto key = core::parse_hash(rows[0]["key"].get<std::string>());
  report.uses = {{key.value(), 500, 9.5F, {}}, {core::KeyHash{{1, 2, 3}}, 7, 1.0F, {}}};
  client.send(report);
  BOOST_TEST(eventually([&] {
    return client.admin({{"request", "show"}, {"problem", sample_problem(64)}})["uses"] == 500;
  }));
  BOOST_TEST(client.admin({{"request", "stats"}})["uses"] == 507);
}

BOOST_AUTO_TEST_SUITE_END()
