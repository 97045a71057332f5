#include "daemon/config.h"

#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

using namespace reformer::daemon;

BOOST_AUTO_TEST_SUITE(config)

BOOST_AUTO_TEST_CASE(toml_overlays_the_defaults) {
  Config c;
  BOOST_TEST(apply_toml("socket = \"/a/b\"\nmodel = [\"x\", \"y\"]\nmax_gpu_share = 1\n"
                        "auto_promote = true\n",
                        "f",
                        c)
                 .ok());
  BOOST_TEST(c.socket == "/a/b");
  BOOST_TEST(c.models.size() == 2U);
  BOOST_TEST(c.max_gpu_share == 1.0);
  BOOST_TEST(c.auto_promote);
  BOOST_TEST(c.queue_bound == Config{}.queue_bound);
}

BOOST_DATA_TEST_CASE(hostile_toml_is_an_error_that_names_the_line,
                     boost::unit_test::data::make({"\n= 3",
                                                   "\nsocket = [1]",
                                                   "\nnosuch = 1",
                                                   "\nmax_clients = \"1\"",
                                                   "\n\x01",
                                                   "\nmodel = 3",
                                                   "\nmax_gpu_share = nan",
                                                   "\nlog_level = {a = 1}"})) {
  Config c;
  const auto status = apply_toml(sample, "f.toml", c);
  BOOST_REQUIRE(!status.ok());
  BOOST_TEST(status.error().message.find("f.toml:2") == 0U, status.error().message);
}

BOOST_DATA_TEST_CASE(impossible_settings_are_refused,
                     boost::unit_test::data::make({"max_clients = 0",
                                                   "max_gpu_share = 1.5",
                                                   "log_level = \"loud\"",
                                                   "quiet_hours = \"night\"",
                                                   "timer = \"sundial\"",
                                                   "socket = \"\"",
                                                   "timer = [\"gpu\", \"recorded:x\"]"})) {
  Config c;
  BOOST_REQUIRE(apply_toml(sample, "f", c).ok());
  BOOST_TEST(!check(c).ok());
}

BOOST_AUTO_TEST_CASE(options_win_over_the_file_and_repeat) {
  const auto line = read_command_line({"--foreground",
                                       "--config",
                                       "/dev/null",
                                       "--model",
                                       "a",
                                       "--model",
                                       "b",
                                       "--timer",
                                       "recorded:x",
                                       "--timer",
                                       "recorded:y",
                                       "--max-clients",
                                       "3"});
  BOOST_REQUIRE(line.ok());
  BOOST_TEST((*line)->config.models.size() == 2U);
  BOOST_TEST((*line)->config.timers.size() == 2U);
  BOOST_TEST((*line)->config.max_clients == 3);
  BOOST_TEST(!read_command_line({"--config", "/no/such/file"}).ok());
  BOOST_TEST(!read_command_line({"--no-such-option"}).ok());
}

BOOST_AUTO_TEST_CASE(a_change_of_the_socket_needs_a_restart_one_of_a_budget_does_not) {
  Config a;
  Config b;
  b.max_gpu_share = 0.5;
  BOOST_TEST(restart_needed(a, b).empty());
  b.socket = "/elsewhere";
  BOOST_TEST(restart_needed(a, b) == std::vector<std::string>{"socket"});
}

BOOST_AUTO_TEST_CASE(quiet_hours_may_pass_midnight) {
  BOOST_TEST(*in_quiet_hours("22:00-06:00", 23 * 60));
  BOOST_TEST(*in_quiet_hours("22:00-06:00", 5 * 60 + 59));
  BOOST_TEST(!*in_quiet_hours("22:00-06:00", 6 * 60));
  BOOST_TEST(!*in_quiet_hours("", 0));
}

BOOST_AUTO_TEST_CASE(a_reload_leaves_what_needs_a_restart_as_it_was) {
  Config running;
  Config fresh;
  fresh.socket = "/other";
  fresh.worker = "/other/worker";
  fresh.timers = {"none"};
  fresh.max_entries = 3;
  fresh.build_policy.expected_uses = 7;
  fresh.queue_bound = 9;
  fresh.drift_slowdown = 2;
  const Config used = reloaded(running, fresh);
  BOOST_TEST(restart_needed(running, used).empty());
  BOOST_TEST(restart_needed(running, fresh).size() == 5U);
  const std::vector<std::string> changed{"queue_bound", "drift_slowdown"};
  BOOST_TEST(reloadable_changes(running, used) == changed);
  BOOST_TEST(reloadable_changes(used, fresh).empty());
}

BOOST_AUTO_TEST_SUITE_END()
