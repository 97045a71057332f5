#include "core/decision.h"
#include "libclient/reformer.h"
#include "tests/libclient/fake_daemon.h"

#include <boost/test/unit_test.hpp>

#include <cmath>
#include <cstring>
#include <string>

namespace {

using reformer::test::Behaviour;
using reformer::test::FakeDaemon;
using reformer::test::TemporaryFolder;
namespace core = reformer::core;

core::Decision decide(const core::Context&, const core::Problem&) {
  core::Decision decision;
  decision.source = core::Source::kPredicted;
  decision.confidence = 0.75F;
  decision.model = "h200";
  core::DecisionEntry entry;
  entry.config = core::EngineConfig(57);
  (void)entry.config.add_knob({2, 1});
  entry.workspace_bytes = 1024;
  decision.entries.push_back(entry);
  return decision;
}

struct Connected {
  explicit Connected(const std::string& socket) {
    reformer_options options{};
    options.socket_path = socket.c_str();
    options.deadline_us = 2'000'000;
    options.freeze_file = "";
    BOOST_TEST_REQUIRE(reformer_connect(&options, &client) == REFORMER_OK);
    reformer_context context{"NVIDIA H200", 90, 132, 91900, nullptr, -1};
    BOOST_TEST_REQUIRE(reformer_add_context(client, &context, &id) == REFORMER_OK);
  }
  ~Connected() { reformer_disconnect(client); }
  Connected(const Connected&) = delete;
  Connected& operator=(const Connected&) = delete;
  reformer_client* client = nullptr;
  uint32_t id = 0;
};

reformer_problem problem() {
  reformer_problem parsed{};
  BOOST_TEST_REQUIRE(reformer_problem_parse("fwd f16 nhwc n32 c64 h56 w56 k64 r3 s3 pad1",
                                            &parsed) == REFORMER_OK);
  return parsed;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(c_api)

BOOST_AUTO_TEST_CASE(a_query_fills_the_decision) {
  const TemporaryFolder folder;
  FakeDaemon daemon(folder.file("socket"), Behaviour::kAnswer, decide);
  const Connected connected(folder.file("socket"));
  const reformer_problem asked = problem();
  reformer_decision decision{};
  BOOST_TEST(reformer_query(connected.client, connected.id, &asked, nullptr, &decision) ==
             REFORMER_OK);
  BOOST_TEST(decision.source == static_cast<uint32_t>(REFORMER_SOURCE_PREDICTED));
  BOOST_TEST(decision.entry_count == 1u);
  BOOST_TEST(decision.confidence == 0.75F);
  BOOST_TEST(std::string(decision.model) == "h200");
  BOOST_TEST(decision.entries[0].engine == 57);
  BOOST_TEST(decision.entries[0].knob_count == 1u);
  BOOST_TEST(decision.entries[0].knobs[0].type == 2);
  BOOST_TEST(decision.entries[0].workspace_bytes == 1024);
  BOOST_TEST(std::isnan(decision.entries[0].time_us));
  BOOST_TEST(
      reformer_report_use(connected.client, connected.id, &asked, &decision.entries[0], 3, NAN) ==
      REFORMER_OK);
  reformer_statistics statistics{};
  BOOST_TEST(reformer_get_statistics(connected.client, &statistics) == REFORMER_OK);
  BOOST_TEST(statistics.socket_hits == 1u);
}

BOOST_AUTO_TEST_CASE(without_a_daemon_a_query_abstains_and_says_why) {
  const Connected connected("/nonexistent/socket");
  const reformer_problem asked = problem();
  reformer_decision decision{};
  decision.entry_count = 5;
  BOOST_TEST(reformer_query(connected.client, connected.id, &asked, nullptr, &decision) ==
             REFORMER_UNAVAILABLE);
  BOOST_TEST(decision.entry_count == 0u);
  BOOST_TEST(std::string(reformer_last_error()).find("no daemon") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(null_arguments_are_refused) {
  const Connected connected("/nonexistent/socket");
  const reformer_problem asked = problem();
  reformer_decision decision{};
  BOOST_TEST(reformer_query(nullptr, 0, &asked, nullptr, &decision) == REFORMER_INVALID_ARGUMENT);
  BOOST_TEST(reformer_query(connected.client, 0, nullptr, nullptr, &decision) ==
             REFORMER_INVALID_ARGUMENT);
  BOOST_TEST(reformer_query(connected.client, 9, &asked, nullptr, &decision) ==
             REFORMER_INVALID_ARGUMENT);
  BOOST_TEST(reformer_connect(nullptr, nullptr) == REFORMER_INVALID_ARGUMENT);
  BOOST_TEST(reformer_problem_parse("nonsense", nullptr) == REFORMER_INVALID_ARGUMENT);
  reformer_problem garbage{};
  std::memset(&garbage, 0xff, sizeof garbage);
  BOOST_TEST(reformer_query(connected.client, connected.id, &garbage, nullptr, &decision) ==
             REFORMER_INVALID_ARGUMENT);
  reformer_disconnect(nullptr);
}

BOOST_AUTO_TEST_CASE(problem_text_goes_both_ways) {
  const reformer_problem asked = problem();
  char text[128];
  const size_t needed = reformer_problem_format(&asked, text, sizeof text);
  BOOST_TEST(needed == std::strlen(text));
  reformer_problem again{};
  BOOST_TEST(reformer_problem_parse(text, &again) == REFORMER_OK);
  BOOST_TEST(std::memcmp(&again, &asked, sizeof asked) == 0);
  char cut[8];
  BOOST_TEST(reformer_problem_format(&asked, cut, sizeof cut) == needed);
  BOOST_TEST(std::strlen(cut) == 7u);
}

BOOST_AUTO_TEST_CASE(an_administrative_reply_comes_in_pieces) {
  const TemporaryFolder folder;
  FakeDaemon daemon(folder.file("socket"), Behaviour::kAnswer, decide);
  const Connected connected(folder.file("socket"));
  std::string pieces;
  const auto collect = [](void* user, const char* json, size_t length, int more) {
    *static_cast<std::string*>(user) += std::string(json, length) + (more != 0 ? "|" : ".");
    return 0;
  };
  const std::string request = "{\"request\":\"status\"}";
  BOOST_TEST(
      reformer_admin(connected.client, request.data(), request.size(), 1000, collect, &pieces) ==
      REFORMER_OK);
  BOOST_TEST(pieces == "{\"rows\":[1]}|" + request + ".");
  BOOST_TEST(reformer_admin(connected.client, "refuse", 6, 1000, collect, &pieces) ==
             REFORMER_DENIED);
  BOOST_TEST(std::string(reformer_last_error()) == "not you");
}

BOOST_AUTO_TEST_SUITE_END()
