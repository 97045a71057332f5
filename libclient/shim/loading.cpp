// Plans that somebody has compiled before: loaded in place of being compiled again.
#include "libclient/plan_folder.h"
#include "libclient/shim/session.h"
#include "libclient/shim/stored_plan.h"

#include <utility>

namespace reformer::shim {
namespace {

std::unique_ptr<LoadablePlan> take_loadable(Descriptors& descriptors,
                                            cudnnBackendDescriptor_t plan,
                                            cudnnHandle_t& handle) {
  std::unique_ptr<LoadablePlan> loadable;
  descriptors.with<PlanRecord>(plan, [&](PlanRecord& record) {
    loadable.swap(record.loadable);
    handle = record.handle;
  });
  return loadable;
}

void give(const RealCudnn& real, cudnnBackendDescriptor_t plan, const LoadablePlan& loadable) {
  (void)real.set(plan,
                 CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG,
                 CUDNN_TYPE_BACKEND_DESCRIPTOR,
                 1,
                 &loadable.configuration->get());
}

}  // namespace

bool Session::put_off_configuration(const RealCudnn& real,
                                    cudnnBackendDescriptor_t plan,
                                    cudnnBackendDescriptor_t configuration) {
  give_configuration(real, plan);
  std::shared_ptr<const CompiledEntry> compiled;
  descriptors_.with<ConfigurationRecord>(
      configuration, [&](const ConfigurationRecord& record) { compiled = record.compiled; });
  bool plain = false;
  descriptors_.with<PlanRecord>(plan,
                                [&plain](const PlanRecord& record) { plain = !record.strange; });
  if (compiled == nullptr || !plain) {
    return false;
  }
  auto stored =
      client::read_plan(compiled->frozen ? frozen_plans_ : plans_, compiled->key, compiled->config);
  if (!stored) {
    return false;
  }
  auto loadable = std::make_unique<LoadablePlan>(LoadablePlan{
      keep<ConfigurationRecord>(descriptors_, configuration), compiled, std::move(*stored)});
  if (loadable->configuration == nullptr) {
    return false;
  }
  return descriptors_.with<PlanRecord>(plan,
                                       [&](PlanRecord& record) { record.loadable.swap(loadable); });
}

void Session::give_configuration(const RealCudnn& real, cudnnBackendDescriptor_t plan) {
  cudnnHandle_t unused = nullptr;
  if (const auto loadable = take_loadable(descriptors_, plan, unused)) {
    give(real, plan, *loadable);
  }
}

bool Session::load(const RealCudnn& real, cudnnBackendDescriptor_t plan) {
  cudnnHandle_t own = nullptr;
  const auto loadable = take_loadable(descriptors_, plan, own);
  if (loadable == nullptr) {
    return false;
  }
  // Without a handle it is for a GPU that is not here.
  cudnnHandle_t handle = own != nullptr ? own : loadable->entry->handle;
  const auto json = handle == nullptr ? std::nullopt
                                      : adapt_plan(loadable->stored,
                                                   loadable->entry->ids,
                                                   gpu_profile_of(real, handle),
                                                   build_of(real));
  if (json && load_plan(real, handle, own != nullptr, plan, *json)) {
    return true;
  }
  if (handle != nullptr) {
    client_->note_failure("cuDNN does not load a compiled plan of " +
                          core::format_engine_config(loadable->entry->config));
  }
  give(real, plan, *loadable);
  return false;
}

}  // namespace reformer::shim
