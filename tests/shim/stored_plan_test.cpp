// A plan that another process compiled, brought into the form that this process needs.
#include "libclient/shim/stored_plan.h"

#include <boost/test/unit_test.hpp>

#include <nlohmann/json.hpp>
#include <string>

using namespace reformer;
using Json = nlohmann::ordered_json;

namespace {

constexpr shim::CudnnBuild kBuild{91900, 13000};
constexpr shim::TensorIds kIds{1, 2, 30};

Json profile() {
  return {{"multiProcessorCount", 132},
          {"pciDeviceId", 6},
          {"cudaDeviceId", 0},
          {"deviceVer", 900},
          {"driverVer", 13000},
          {"deviceName", "NVIDIA H200"}};
}

// As cuDNN 9.19 writes them, of a data gradient.
Json stored() {
  return {{"cudnnVersion", kBuild.version},
          {"schemaVersion", 4},
          {"operationGraph",
           {{"finalizeMode", "CONV_BWD_DATA"},
            {"tensors",
             {{{"name", "119"}, {"dim", {96, 1, 7, 7}}}, {{"name", "120"}}, {{"name", "121"}}}},
            {"nodes",
             {{{"alpha", 1.0}, {"dX", "120"}, {"W", "119"}, {"dY", "121"}, {"groupCount", 96}}}}}},
          {"GPUProfile", profile()},
          {"engine",
           {{"engineId", 6},
            {"knobChoices", Json::object()},
            {"payload", {{"kernels", {{{"cubin", "f0VM"}}}}}}}}};
}

std::optional<std::string> adapt(const Json& plan, const Json& gpu = profile()) {
  return shim::adapt_plan(
      {{}, core::EngineConfig(6), 13000, plan.dump()}, kIds, gpu.dump(), kBuild);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(stored_plan)

BOOST_AUTO_TEST_CASE(it_gets_the_applications_names_and_gpu_and_nothing_else_changes) {
  Json gpu = profile();
  gpu["cudaDeviceId"] = 3;
  gpu["pciDeviceId"] = 9;
  const auto adapted = adapt(stored(), gpu);
  BOOST_REQUIRE(adapted.has_value());
  Json expected = stored();
  expected["GPUProfile"] = gpu;
  auto& graph = expected["operationGraph"];
  graph["tensors"][0]["name"] = "2";
  graph["tensors"][1]["name"] = "1";
  graph["tensors"][2]["name"] = "30";
  graph["nodes"][0]["dX"] = "1";
  graph["nodes"][0]["W"] = "2";
  graph["nodes"][0]["dY"] = "30";
  BOOST_TEST(*adapted == expected.dump());
}

BOOST_AUTO_TEST_CASE(names_that_are_those_of_other_roles_are_not_mixed_up) {
  const auto adapted = shim::adapt_plan({{}, core::EngineConfig(6), 13000, stored().dump()},
                                        {119, 121, 120},
                                        profile().dump(),
                                        kBuild);
  BOOST_REQUIRE(adapted.has_value());
  const Json node = Json::parse(*adapted)["operationGraph"]["nodes"][0];
  BOOST_TEST(node["dX"] == "119");
  BOOST_TEST(node["W"] == "121");
  BOOST_TEST(node["dY"] == "120");
}

BOOST_AUTO_TEST_CASE(a_plan_for_something_else_is_not_taken) {
  for (const char* name : {"deviceVer", "deviceName", "multiProcessorCount", "driverVer"}) {
    Json gpu = profile();
    gpu[name] = "other";
    BOOST_TEST(!adapt(stored(), gpu).has_value(), name);
    gpu.erase(name);
    BOOST_TEST(!adapt(stored(), gpu).has_value(), name);
  }
  BOOST_TEST(
      !shim::adapt_plan(
           {{}, core::EngineConfig(6), 12090, stored().dump()}, kIds, profile().dump(), kBuild)
           .has_value());
  Json plan = stored();
  plan["cudnnVersion"] = 91400;
  BOOST_TEST(!adapt(plan).has_value());
  plan = stored();
  plan["engine"]["engineId"] = 5;
  BOOST_TEST(!adapt(plan).has_value());
}

// Whatever stands in the place of a part of it.
BOOST_AUTO_TEST_CASE(what_is_not_understood_is_not_taken) {
  const Json odd[] = {nullptr, 7, "text", Json::array(), Json::object(), {{"name", 1}}, {1, 2, 3}};
  const Json::json_pointer parts[] = {Json::json_pointer("/cudnnVersion"),
                                      Json::json_pointer("/operationGraph"),
                                      Json::json_pointer("/operationGraph/tensors"),
                                      Json::json_pointer("/operationGraph/tensors/0"),
                                      Json::json_pointer("/operationGraph/tensors/2/name"),
                                      Json::json_pointer("/operationGraph/nodes"),
                                      Json::json_pointer("/operationGraph/nodes/0"),
                                      Json::json_pointer("/operationGraph/nodes/0/W"),
                                      Json::json_pointer("/GPUProfile"),
                                      Json::json_pointer("/engine"),
                                      Json::json_pointer("/engine/engineId")};
  for (const auto& part : parts) {
    for (const Json& value : odd) {
      Json plan = stored();
      plan[part] = value;
      BOOST_TEST(!adapt(plan).has_value(), part.to_string() << " = " << value.dump());
    }
  }
  for (const char* text : {"", "{", "[]", "null", "{}", "\xff"}) {
    BOOST_TEST(
        !shim::adapt_plan({{}, core::EngineConfig(6), 13000, text}, kIds, profile().dump(), kBuild)
             .has_value());
    BOOST_TEST(
        !shim::adapt_plan({{}, core::EngineConfig(6), 13000, stored().dump()}, kIds, text, kBuild)
             .has_value());
  }
}

BOOST_AUTO_TEST_SUITE_END()
