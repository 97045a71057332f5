#include "cudnn/nvml.h"

#include <boost/test/unit_test.hpp>

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

using namespace reformer;

namespace {

struct Fixture {
  Fixture() { setenv("FAKE_NVML_STATE", file.c_str(), 1); }
  ~Fixture() { std::filesystem::remove(file); }
  void say(const std::string& text) const { std::ofstream(file) << text; }
  [[nodiscard]] std::unique_ptr<cudnn::GpuSensor> sensor() const {
    const auto nvml = cudnn::Nvml::load(FAKE_NVML);
    BOOST_REQUIRE(nvml);
    auto made = (*nvml)->sensor("00000000:17:00.0");
    BOOST_REQUIRE(made);
    return std::move(*made);
  }
  std::string file =
      (std::filesystem::temp_directory_path() / ("fake_nvml_" + std::to_string(::getpid())))
          .string();
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(nvml, Fixture)

BOOST_AUTO_TEST_CASE(a_reading_has_clock_temperature_and_processes) {
  say("clock 1980 temperature 61 utilisation 30 process 12 process 13 use 13 40");
  const cudnn::GpuReading reading = sensor()->read();
  BOOST_TEST(reading.sm_clock_mhz == 1980);
  BOOST_TEST(reading.temperature_c == 61);
  BOOST_TEST(reading.utilisation_percent == 30);
  BOOST_TEST(!reading.throttled);
  BOOST_REQUIRE(reading.processes.has_value());
  BOOST_TEST((*reading.processes == std::vector<std::uint32_t>{12, 13}));
}

BOOST_AUTO_TEST_CASE(only_uses_of_the_last_second_count) {
  say("use 13 40");
  const cudnn::GpuReading reading = sensor()->read();
  BOOST_REQUIRE(reading.uses.has_value());
  BOOST_REQUIRE(reading.uses->size() == 1U);
  BOOST_TEST(reading.uses->front().pid == 13U);
  BOOST_TEST(reading.uses->front().sm_percent == 40U);
}

BOOST_AUTO_TEST_CASE(heat_and_power_are_throttling_and_idleness_is_not) {
  for (const auto& [reasons, throttled] :
       std::vector<std::pair<std::string, bool>>{{"0", false},
                                                 {"1", false},
                                                 {"2", false},
                                                 {"4", true},
                                                 {"8", true},
                                                 {"32", true},
                                                 {"64", true},
                                                 {"128", true},
                                                 {"256", false}}) {
    say("reasons " + reasons);
    BOOST_TEST_CONTEXT(reasons) {
      BOOST_TEST(sensor()->read().throttled == throttled);
    }
  }
}

BOOST_AUTO_TEST_CASE(what_the_driver_does_not_tell_is_unknown) {
  say("no_use");
  BOOST_TEST(!sensor()->read().uses.has_value());
}

BOOST_AUTO_TEST_CASE(without_library_driver_or_gpu_there_is_an_error) {
  BOOST_TEST(!cudnn::Nvml::load("libnvidia-ml-that-is-not-there.so.1"));
  BOOST_TEST((cudnn::Nvml::load("libc.so.6").error().code == core::ErrorCode::kUnsupported));
  say("no_driver");
  BOOST_TEST((cudnn::Nvml::load(FAKE_NVML).error().code == core::ErrorCode::kUnavailable));
  say("");
  const auto nvml = cudnn::Nvml::load(FAKE_NVML);
  BOOST_REQUIRE(nvml);
  BOOST_TEST(!(*nvml)->sensor("00000000:99:00.0"));
}

BOOST_AUTO_TEST_CASE(this_process_is_found_also_where_it_has_another_number) {
  using Pids = std::vector<std::uint32_t>;
  BOOST_TEST(cudnn::own_processes({5}, {5, 9}, 9, 1) == Pids{9});
  BOOST_TEST(cudnn::own_processes({5}, {5, 9, 10}, 9, 1) == Pids{9});
  BOOST_TEST(cudnn::own_processes({5}, {5, 4711}, 9, 1) == Pids{4711});
  BOOST_TEST(cudnn::own_processes({5}, {5, 6, 7}, 9, 1).empty());
  BOOST_TEST(cudnn::own_processes({5}, {5}, 9, 1).empty());
  BOOST_TEST(cudnn::own_processes({5}, {5, 9, 10}, 9, 2) == (Pids{9, 10}));
  BOOST_TEST(cudnn::own_processes({5}, {5, 9}, 9, 2).empty());
}

BOOST_AUTO_TEST_SUITE_END()
