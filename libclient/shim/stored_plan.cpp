#include "libclient/shim/stored_plan.h"

#include "libclient/shim/owned.h"

#include <nlohmann/json.hpp>
#include <string>
#include <utility>

namespace reformer::shim {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kProfile = "GPUProfile";
constexpr std::int64_t kMostProfileBytes = 65536;

const Json* member(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found == object.end() ? nullptr : &*found;
}

// Gives a tensor the application's name of it. False if it has another one.
bool rename(Json& name, const TensorIds& ids) {
  if (name.is_string()) {
    const auto& text = name.get_ref<const std::string&>();
    for (std::size_t role = 0; role < ids.size(); ++role) {
      if (text == std::to_string(core::kPlanTensorIds[role])) {
        name = std::to_string(ids[role]);
        return true;
      }
    }
  }
  return false;
}

bool rename_all(Json& graph, const TensorIds& ids) {
  const auto tensors = graph.find("tensors");
  const auto nodes = graph.find("nodes");
  if (tensors == graph.end() || nodes == graph.end() || tensors->size() != ids.size() ||
      nodes->size() != 1 || !tensors->is_array() || !nodes->is_array()) {
    return false;
  }
  for (Json& tensor : *tensors) {
    const auto name = tensor.find("name");
    if (name == tensor.end() || !rename(*name, ids)) {
      return false;
    }
  }
  std::size_t renamed = 0;
  Json& node = nodes->front();
  for (const char* role : {"X", "W", "Y", "dX", "dW", "dY"}) {
    if (const auto name = node.find(role); name != node.end()) {
      renamed += rename(*name, ids) ? 1 : 0;
    }
  }
  return renamed == ids.size();
}

// A kernel runs on GPUs that are equal in these.
bool same_kind(const Json& one, const Json& other) {
  for (const char* name : {"deviceVer", "deviceName", "multiProcessorCount", "driverVer"}) {
    const Json* a = member(one, name);
    const Json* b = member(other, name);
    if (a == nullptr || b == nullptr || *a != *b) {
      return false;
    }
  }
  return true;
}

}  // namespace

std::optional<std::string> adapt_plan(const core::StoredPlan& plan,
                                      const TensorIds& ids,
                                      const std::string& gpu_profile,
                                      const CudnnBuild& build) {
  Json json = Json::parse(plan.json, nullptr, false);
  Json profile = Json::parse(gpu_profile, nullptr, false);
  if (!json.is_object() || !profile.is_object()) {
    return std::nullopt;
  }
  const Json* version = member(json, "cudnnVersion");
  const Json* engine = member(json, "engine");
  const Json* index = engine == nullptr ? nullptr : member(*engine, "engineId");
  const auto graph = json.find("operationGraph");
  const auto known_profile = json.find(kProfile);
  if (plan.cuda_version != build.cuda_version || version == nullptr || *version != build.version ||
      index == nullptr || *index != plan.config.engine() || graph == json.end() ||
      known_profile == json.end() || !same_kind(*known_profile, profile) ||
      !rename_all(*graph, ids)) {
    return std::nullopt;
  }
  *known_profile = std::move(profile);
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

CudnnBuild build_of(const RealCudnn& real) {
  return {real.get_version(), real.get_cudart_version != nullptr ? real.get_cudart_version() : 0};
}

std::string gpu_profile_of(const RealCudnn& real, cudnnHandle_t handle) {
  Owned properties(real, CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  std::int64_t bytes = 0;
  if (!properties.set(CUDNN_ATTR_DEVICEPROP_HANDLE, CUDNN_TYPE_HANDLE, &handle) ||
      !properties.finalize() ||
      real.get(properties.get(),
               CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION,
               CUDNN_TYPE_CHAR,
               0,
               &bytes,
               nullptr) != CUDNN_STATUS_SUCCESS ||
      bytes <= 0 || bytes > kMostProfileBytes) {
    return {};
  }
  std::string text(static_cast<std::size_t>(bytes), '\0');
  std::int64_t got = 0;
  if (real.get(properties.get(),
               CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION,
               CUDNN_TYPE_CHAR,
               bytes,
               &got,
               text.data()) != CUDNN_STATUS_SUCCESS) {
    return {};
  }
  text.resize(std::min(text.size(), text.find('\0')));
  return text;
}

namespace {

bool set_handle(const RealCudnn& real, cudnnBackendDescriptor_t plan, cudnnHandle_t handle) {
  return real.set(plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle) ==
         CUDNN_STATUS_SUCCESS;
}

bool set_json(const RealCudnn& real, cudnnBackendDescriptor_t plan, const std::string& json) {
  return real.set(plan,
                  CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION,
                  CUDNN_TYPE_CHAR,
                  static_cast<std::int64_t>(json.size()),
                  json.data()) == CUDNN_STATUS_SUCCESS;
}

}  // namespace

bool load_plan(const RealCudnn& real,
               cudnnHandle_t handle,
               bool has_handle,
               cudnnBackendDescriptor_t plan,
               const std::string& json) {
  Owned trial(real, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
  return trial.get() != nullptr && set_handle(real, trial.get(), handle) &&
         set_json(real, trial.get(), json) && trial.finalize() &&
         (has_handle || set_handle(real, plan, handle)) && set_json(real, plan, json) &&
         real.finalize(plan) == CUDNN_STATUS_SUCCESS;
}

}  // namespace reformer::shim
