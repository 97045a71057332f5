#include "cudnn/gpu_watch.h"

#include <boost/test/unit_test.hpp>

#include <utility>

using namespace reformer;
using namespace std::chrono_literals;
using cudnn::GpuJudge;
using cudnn::GpuReading;

namespace {

constexpr std::uint32_t kOwn = 100;
constexpr std::uint32_t kOther = 200;
const GpuJudge::Time kStart = GpuJudge::Time{} + 1h;

GpuReading reading(std::vector<std::uint32_t> processes, std::vector<GpuReading::Use> uses) {
  GpuReading made;
  made.sm_clock_mhz = 1900;
  made.temperature_c = 50;
  made.processes = std::move(processes);
  made.uses = std::move(uses);
  return made;
}

// Says what the test says, from any thread.
class ScriptedSensor final : public cudnn::GpuSensor {
 public:
  struct Script {
    std::mutex mutex;
    GpuReading now;
    int reads = 0;
  };
  explicit ScriptedSensor(std::shared_ptr<Script> script) : script_(std::move(script)) {}
  GpuReading read() override {
    const std::lock_guard lock(script_->mutex);
    ++script_->reads;
    return script_->now;
  }

 private:
  std::shared_ptr<Script> script_;
};

}  // namespace

BOOST_AUTO_TEST_SUITE(gpu_watch)

BOOST_AUTO_TEST_CASE(a_gpu_with_nobody_else_is_idle_whatever_this_process_does) {
  GpuJudge judge({kOwn});
  judge.see(reading({}, {}), kStart);
  BOOST_TEST(!judge.others_at_work());
  judge.see(reading({kOwn}, {{kOwn, 98}}), kStart + 1s);
  BOOST_TEST(!judge.others_at_work());
}

BOOST_AUTO_TEST_CASE(another_that_only_waits_does_not_count_and_one_that_works_does) {
  GpuJudge judge({kOwn});
  judge.see(reading({kOwn, kOther}, {{kOther, 0}}), kStart);
  BOOST_TEST(!judge.others_at_work());
  judge.see(reading({kOwn, kOther}, {{kOther, 35}}), kStart + 1s);
  BOOST_TEST(judge.others_at_work());
  // No sample since: it lasts for a while, then not.
  judge.see(reading({kOwn, kOther}, {}), kStart + 1s + 100ms);
  BOOST_TEST(judge.others_at_work());
  judge.see(reading({kOwn, kOther}, {}), kStart + 3s);
  BOOST_TEST(!judge.others_at_work());
  // Gone altogether.
  judge.see(reading({kOwn, kOther}, {{kOther, 35}}), kStart + 4s);
  judge.see(reading({kOwn}, {}), kStart + 4s + 10ms);
  BOOST_TEST(!judge.others_at_work());
}

BOOST_AUTO_TEST_CASE(one_that_comes_during_a_measurement_wants_the_gpu) {
  GpuJudge judge({kOwn});
  judge.see(reading({kOwn, kOther}, {}), kStart);
  judge.begin(kStart);
  judge.see(reading({kOwn, kOther}, {}), kStart + 20ms);
  BOOST_TEST(!judge.others_at_work());
  judge.see(reading({kOwn, kOther, 300}, {}), kStart + 40ms);
  BOOST_TEST(judge.others_at_work());
  const core::Provenance conditions = judge.end(kStart + 50ms);
  BOOST_TEST(conditions.disturbed);
  BOOST_TEST(conditions.other_processes == 2);
  BOOST_TEST(conditions.sm_clock_mhz == 1900);
  BOOST_TEST(conditions.temperature_c == 50);
}

BOOST_AUTO_TEST_CASE(where_only_the_sum_is_known_own_work_is_not_taken_for_others) {
  GpuJudge judge({kOwn});
  GpuReading sum = reading({kOwn, kOther}, {});
  sum.uses.reset();
  sum.utilisation_percent = 0;
  judge.see(sum, kStart);
  BOOST_TEST(!judge.others_at_work());
  judge.begin(kStart);
  sum.utilisation_percent = 90;
  judge.see(sum, kStart + 100ms);
  BOOST_TEST(!judge.others_at_work());
  (void)judge.end(kStart + 200ms);
  judge.see(sum, kStart + 700ms);
  BOOST_TEST(!judge.others_at_work());
  judge.see(sum, kStart + 3s);
  BOOST_TEST(judge.others_at_work());
}

BOOST_AUTO_TEST_CASE(throttling_disturbs_a_measurement_and_the_next_is_judged_anew) {
  GpuJudge judge({kOwn});
  GpuReading hot = reading({kOwn}, {});
  hot.throttled = true;
  hot.temperature_c = 90;
  judge.begin(kStart);
  judge.see(hot, kStart + 20ms);
  judge.see(reading({kOwn}, {}), kStart + 40ms);
  const core::Provenance first = judge.end(kStart + 50ms);
  BOOST_TEST(first.disturbed);
  BOOST_TEST(first.temperature_c == 90);
  BOOST_TEST(first.other_processes == 0);
  judge.begin(kStart + 60ms);
  judge.see(reading({kOwn}, {}), kStart + 70ms);
  BOOST_TEST(!judge.end(kStart + 80ms).disturbed);
}

BOOST_AUTO_TEST_CASE(an_unknown_number_of_processes_stays_unknown) {
  GpuJudge judge({kOwn});
  judge.begin(kStart);
  judge.see({}, kStart);
  BOOST_TEST(judge.end(kStart).other_processes == -1);
}

BOOST_AUTO_TEST_CASE(a_running_measurement_learns_within_50_ms_that_somebody_has_come) {
  const auto script = std::make_shared<ScriptedSensor::Script>();
  script->now = reading({kOwn}, {});
  cudnn::GpuWatch watch(std::make_unique<ScriptedSensor>(script), std::vector{kOwn}, 20ms);
  BOOST_TEST(watch.idle());
  watch.begin();
  BOOST_TEST(!watch.others_at_work());
  auto fastest = 1h + 0ms;
  for (int attempt = 0; attempt < 20 && fastest > 50ms; ++attempt) {  // a busy machine is forgiven
    const auto came = std::chrono::steady_clock::now();
    {
      const std::lock_guard lock(script->mutex);
      script->now = reading({kOwn, kOther}, {});
    }
    while (!watch.others_at_work()) {
      BOOST_REQUIRE(std::chrono::steady_clock::now() - came < 20s);
      std::this_thread::yield();
    }
    fastest = std::min(fastest,
                       std::chrono::duration_cast<std::chrono::milliseconds>(
                           std::chrono::steady_clock::now() - came));
    {
      const std::lock_guard lock(script->mutex);
      script->now = reading({kOwn}, {});
    }
    (void)watch.end();
    BOOST_TEST(watch.idle());
    watch.begin();
  }
  BOOST_TEST(fastest.count() <= 50);
}

BOOST_AUTO_TEST_CASE(short_measurements_share_readings) {
  const auto script = std::make_shared<ScriptedSensor::Script>();
  script->now = reading({kOwn}, {});
  cudnn::GpuWatch watch(std::make_unique<ScriptedSensor>(script), std::vector{kOwn}, 1h);
  BOOST_TEST(watch.idle());
  for (int i = 0; i < 100; ++i) {
    watch.begin();
    BOOST_TEST(watch.end().sm_clock_mhz == 1900);
  }
  const std::lock_guard lock(script->mutex);
  BOOST_TEST(script->reads == 1);
}

BOOST_AUTO_TEST_SUITE_END()
