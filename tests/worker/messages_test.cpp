#include "daemon/worker/messages.h"

#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

#include <nlohmann/json.hpp>

using namespace reformer;
using namespace reformer::worker;

namespace {

constexpr const char* kProblem = "fwd f16 nhwc n1 c8 h8 w8 k8 r1 s1";

std::string request(const std::string& more) {
  return std::string(R"({"id":7,"problem":")") + kProblem + "\"" + more + "}";
}

}  // namespace

BOOST_AUTO_TEST_SUITE(messages)

BOOST_AUTO_TEST_CASE(a_request_has_its_members) {
  auto parsed = parse_request(request(
      R"(,"device":"NVIDIA H200/sm90/132","cudnn":91900,"extra":["57:2=1","1"],"explore":true,)"
      R"("only_when_idle":true,"max_ms":1500,"max_memory_bytes":4096)"));
  BOOST_REQUIRE(std::holds_alternative<Request>(parsed));
  const Job& job = std::get<Job>(std::get<Request>(parsed));
  BOOST_TEST(job.id == 7U);
  BOOST_REQUIRE(job.context.has_value());
  BOOST_TEST(job.context->cudnn_version == 91900);
  BOOST_TEST(job.extra.size() == 2U);
  BOOST_TEST(job.explore);
  BOOST_TEST(job.only_when_idle);
  BOOST_TEST(job.max_time.count() == 1500);
  BOOST_TEST(job.max_memory_bytes == 4096);
}

BOOST_AUTO_TEST_CASE(a_cancellation_names_its_request) {
  auto parsed = parse_request(R"({"cancel":12})");
  BOOST_REQUIRE(std::holds_alternative<Request>(parsed));
  BOOST_TEST(std::get<Cancel>(std::get<Request>(parsed)).id == 12U);
}

const std::vector<std::string> kWrong{"",
                                      "nonsense",
                                      "[]",
                                      "{}",
                                      R"({"cancel":"x"})",
                                      R"({"id":0,"problem":"x"})",
                                      R"({"id":-1,"problem":"x"})",
                                      R"({"id":7})",
                                      R"({"id":7,"problem":"x"})",
                                      R"({"id":7,"problem":3})",
                                      request(R"(,"device":"NVIDIA H200/sm90/132")"),
                                      request(R"(,"device":5,"cudnn":91900)"),
                                      request(R"(,"extra":"57")"),
                                      request(R"(,"extra":["x:y"])"),
                                      request(R"(,"explore":1)"),
                                      request(R"(,"max_ms":0)"),
                                      request(R"(,"max_ms":1e99)"),
                                      request(R"(,"max_ms":3600001)"),
                                      request(R"(,"max_memory_bytes":-5)")};

BOOST_DATA_TEST_CASE(a_wrong_request_is_refused_with_a_reason,
                     boost::unit_test::data::make(kWrong)) {
  const auto parsed = parse_request(sample);
  BOOST_REQUIRE(std::holds_alternative<BadRequest>(parsed));
  BOOST_TEST(!std::get<BadRequest>(parsed).message.empty());
}

BOOST_AUTO_TEST_CASE(each_kind_of_failure_has_its_word) {
  using core::ErrorCode;
  const auto word = [](ErrorCode code, bool recorded) {
    const auto line =
        nlohmann::json::parse(format_error(7, core::make_error(code, "why"), recorded));
    BOOST_TEST(line["id"] == 7);
    BOOST_TEST(line["message"] == "why");
    return line["error"].get<std::string>();
  };
  BOOST_TEST(word(ErrorCode::kUnsupported, false) == "unsupported");
  BOOST_TEST(word(ErrorCode::kExhausted, false) == "out_of_memory");
  BOOST_TEST(word(ErrorCode::kTimeout, false) == "out_of_time");
  BOOST_TEST(word(ErrorCode::kDenied, false) == "busy");
  BOOST_TEST(word(ErrorCode::kInvalidArgument, false) == "invalid");
  BOOST_TEST(word(ErrorCode::kUnavailable, true) == "not_recorded");
  BOOST_TEST(word(ErrorCode::kUnavailable, false) == "unavailable");
  BOOST_TEST(word(ErrorCode::kInternal, false) == "failed");
}

BOOST_AUTO_TEST_SUITE_END()
