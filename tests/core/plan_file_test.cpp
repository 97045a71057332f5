#include "core/plan_file.h"

#include <boost/test/unit_test.hpp>

#include <cstring>
#include <string>

namespace {

using namespace reformer::core;

StoredPlan example() {
  StoredPlan plan;
  std::memset(plan.key.bytes.data(), 7, plan.key.bytes.size());
  plan.config = EngineConfig(19);
  BOOST_REQUIRE(plan.config.add_knob({2, 1}));
  plan.cuda_version = 13000;
  plan.json = R"({"engine":{"engineId":19}})";
  return plan;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(plan_file)

BOOST_AUTO_TEST_CASE(comes_back_as_it_was) {
  const StoredPlan plan = example();
  const auto back = decode_plan_file(encode_plan_file(plan));
  BOOST_REQUIRE(back);
  BOOST_TEST((back->key == plan.key));
  BOOST_TEST((back->config == plan.config));
  BOOST_TEST(back->cuda_version == plan.cuda_version);
  BOOST_TEST(back->json == plan.json);
}

BOOST_AUTO_TEST_CASE(any_other_byte_is_refused) {
  const auto good = encode_plan_file(example());
  for (std::size_t at = 0; at < good.size(); ++at) {
    auto bad = good;
    bad[at] ^= std::byte{0x40};
    BOOST_TEST(!decode_plan_file(bad), "byte " << at);
  }
  for (std::size_t length = 0; length < good.size(); ++length) {
    BOOST_TEST(!decode_plan_file(std::span(good).first(length)), "length " << length);
  }
}

BOOST_AUTO_TEST_CASE(neither_empty_nor_long_plans) {
  StoredPlan plan = example();
  plan.json.assign(kMaxPlanBytes, 'x');
  BOOST_TEST(decode_plan_file(encode_plan_file(plan)).ok());
  plan.json += 'x';
  BOOST_TEST(!decode_plan_file(encode_plan_file(plan)));
  plan.json.clear();
  BOOST_TEST(!decode_plan_file(encode_plan_file(plan)));
}

BOOST_AUTO_TEST_CASE(names_tell_problems_and_configurations_apart) {
  const StoredPlan plan = example();
  const std::string name = plan_file_name(plan.key, plan.config);
  BOOST_TEST(name.starts_with(format_hash(plan.key) + "-"));
  BOOST_TEST(name.ends_with(".plan"));
  BOOST_TEST(name != plan_file_name(plan.key, EngineConfig(19)));
  BOOST_TEST(name != plan_file_name(KeyHash{}, plan.config));
}

BOOST_AUTO_TEST_SUITE_END()
