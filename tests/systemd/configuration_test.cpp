// daemon/reformerd.toml is what users read: it must say what the program does.
#include "daemon/config.h"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <string>
#include <tuple>
#include <vector>

using namespace reformer::daemon;

namespace {

const std::filesystem::path kSource = REFORMER_SOURCE_DIR;

std::string read(const std::filesystem::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string shipped() {
  return read(kSource / "daemon" / "reformerd.toml");
}

// The settings' names, from the one list that the program has of them.
std::vector<std::string> known_settings() {
  const std::string code = read(kSource / "daemon" / "config.cpp");
  const std::regex setting(R"re(\{"([a-z0-9_]+)",\s*&c\.)re");
  std::vector<std::string> names;
  for (auto at = std::sregex_iterator(code.begin(), code.end(), setting);
       at != std::sregex_iterator();
       ++at) {
    names.push_back((*at)[1]);
  }
  return names;
}

// The file with the "#" before every setting removed.
std::string uncommented() {
  return std::regex_replace(shipped(), std::regex("(^|\n)#([a-z0-9_]+ = )"), "$1$2");
}

auto values(const Config& c) {
  return std::tie(c.socket,
                  c.state_dir,
                  c.plan_dir,
                  c.max_plan_bytes,
                  c.device_prop,
                  c.cudnn_version,
                  c.log_level,
                  c.admin_group,
                  c.max_clients,
                  c.max_user_clients,
                  c.max_client_bytes,
                  c.max_total_bytes,
                  c.max_entries,
                  c.max_engines,
                  c.build_policy.expected_uses,
                  c.build_policy.cheap_build_us,
                  c.awake_after_miss_us,
                  c.timers,
                  c.worker,
                  c.allowed_libraries,
                  c.queue_bound,
                  c.verify_after_ms,
                  c.max_problem_time_ms,
                  c.worker_timeout_ms,
                  c.worker_idle_ms,
                  c.max_memory_bytes,
                  c.max_gpu_share,
                  c.only_when_idle,
                  c.explore,
                  c.quiet_hours,
                  c.random_share,
                  c.accuracy_days,
                  c.accuracy_rows,
                  c.auto_promote,
                  c.promote_min_problems,
                  c.promote_confidence,
                  c.drift_slowdown,
                  c.drift_window,
                  c.retrain_hours,
                  c.retrain_problems,
                  c.retrain_data,
                  c.retrain_epochs,
                  c.retrain_max_memory_bytes,
                  c.retrain_max_minutes,
                  c.retrain_keep,
                  c.trainer);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(configuration)

BOOST_AUTO_TEST_CASE(every_setting_is_in_the_file_once) {
  const std::string text = shipped();  // begins with a comment
  const auto names = known_settings();
  BOOST_TEST(names.size() == std::tuple_size_v<decltype(values(Config{}))> + 1);  // and the models
  for (const std::string& name : names) {
    const std::regex line(std::string("\n#?").append(name).append(" = "));
    const auto count =
        std::distance(std::sregex_iterator(text.begin(), text.end(), line), std::sregex_iterator());
    BOOST_TEST(count == 1, name << " is there " << count << " times");
  }
}

BOOST_AUTO_TEST_CASE(what_is_commented_out_are_the_defaults) {
  Config config;
  BOOST_REQUIRE(apply_toml(uncommented(), "reformerd.toml", config).ok());
  BOOST_TEST(check(config).ok());
  BOOST_TEST((values(config) == values(Config{})));
}

BOOST_AUTO_TEST_CASE(as_shipped_it_sets_the_shipped_model_and_nothing_else) {
  Config config;
  BOOST_REQUIRE(apply_toml(shipped(), "reformerd.toml", config).ok());
  BOOST_TEST((values(config) == values(Config{})));
  BOOST_REQUIRE_EQUAL(config.models.size(), 1U);
  BOOST_TEST(config.models[0].parent_path() == "/usr/share/reformer");
  BOOST_TEST(std::filesystem::exists(kSource / "data" / config.models[0].filename()));
}

BOOST_AUTO_TEST_CASE(systemd_listens_where_clients_and_daemon_look) {
  const std::string unit = read(kSource / "systemd" / "reformerd.socket");
  BOOST_TEST(unit.find("\nListenStream=" + Config{}.socket.string() + "\n") != std::string::npos);
}

BOOST_AUTO_TEST_SUITE_END()
