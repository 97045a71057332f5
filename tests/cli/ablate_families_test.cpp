#include "cli/exit_code.h"
#include "cli/program.h"
#include "interchange/measurements.h"

#include <boost/test/unit_test.hpp>

#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

// `reformerctl ablate --hold-out-families` on a few problems of two families.
namespace reformer::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// Standard error that interrupts the process when somebody says `word`.
class Interrupting : public std::stringbuf {
 public:
  explicit Interrupting(std::string word) : word_(std::move(word)) {}

 protected:
  std::streamsize xsputn(const char* text, std::streamsize count) override {
    if (!word_.empty() &&
        std::string_view(text, static_cast<std::size_t>(count)).find(word_) != std::string::npos) {
      (void)std::raise(SIGINT);
    }
    return std::stringbuf::xsputn(text, count);
  }

 private:
  std::string word_;
};

struct Fixture {
  Fixture() {
    fs::create_directories(folder);
    std::ofstream(families) << "network,family\ntimm/ghostnet_100,ghost\ntv/densenet201,dense\n";
    auto reader =
        interchange::MeasurementReader::open(REFORMER_SOURCE_DIR "/data/h200-networks.jsonl.zst");
    BOOST_REQUIRE(reader.ok());
    std::ofstream lines(data);
    for (int i = 0; i < 60; ++i) {
      const auto record = (*reader)->next();
      BOOST_REQUIRE((record && *record));
      lines << interchange::record_to_json(**record) << '\n';
    }
  }
  ~Fixture() { fs::remove_all(folder); }

  int run(const std::string& seeds, const std::string& interrupt_at) {
    Interrupting errors(interrupt_at);
    std::ostream err(&errors);
    std::ostringstream out;
    const Surroundings surroundings{
        .out = out,
        .err = err,
        .out_is_terminal = false,
        .err_is_terminal = false,
        .open_channel = [](const std::string&,
                           const std::string&) -> core::Result<std::unique_ptr<AdminChannel>> {
          return core::make_error(core::ErrorCode::kUnavailable, "no daemon");
        }};
    const int code = run_program(surroundings,
                                 {"--json",
                                  "ablate",
                                  "--data",
                                  data,
                                  "--hold-out-families",
                                  families,
                                  "--shapes",
                                  REFORMER_SOURCE_DIR "/data/conv-shapes.csv",
                                  "--no-calibration",
                                  "--epochs",
                                  "1",
                                  "--threads",
                                  "1",
                                  "--seeds",
                                  seeds});
    reply = json::parse(out.str(), nullptr, false);
    BOOST_TEST_MESSAGE(errors.str());
    return code;
  }

  fs::path folder = fs::temp_directory_path() / ("families_test_" + std::to_string(::getpid()));
  std::string data = folder / "data.jsonl";
  std::string families = folder / "families.csv";
  json reply;
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(ablate_families, Fixture)

BOOST_AUTO_TEST_CASE(an_interrupted_study_counts_the_seeds_that_were_finished) {
  BOOST_REQUIRE(run("2", "") == kExitOk);
  const json whole = reply;
  BOOST_REQUIRE(whole.at("families").size() == 2U);
  BOOST_REQUIRE(run("50", "dense, seed 2:") == kExitOk);
  BOOST_REQUIRE(reply.at("families").size() == 1U);
  const json& family = reply.at("families").at(0);
  BOOST_TEST(family.at("family") == "dense");
  BOOST_TEST(family.at("seeds") == 2);
  for (const char* count : {"problems", "training_problems"}) {
    BOOST_TEST(family.at(count) == whole.at("families").at(0).at(count));
    BOOST_TEST(family.at(count) > 0);
  }
  BOOST_TEST(reply.at("all").at("problems") == family.at("problems"));
  BOOST_TEST(whole.at("all").at("problems") >= whole.at("families").at(1).at("problems"));
}

BOOST_AUTO_TEST_CASE(lines_that_are_rejected_are_exit_code_1) {
  std::ofstream(data, std::ios::app) << "nonsense\n";
  BOOST_TEST(run("1", "") == kExitFailed);
  BOOST_TEST(reply.at("families").size() == 2U);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace reformer::cli
