// Serving a heuristics query: answering it, handing its entries out, building them.
#include "libclient/shim/engine.h"
#include "libclient/shim/offer.h"
#include "libclient/shim/session.h"

#include <algorithm>
#include <mutex>
#include <utility>

namespace reformer::shim {
namespace {

constexpr std::int64_t kMostFollowing = 4096;

// Whether every framework finds something in the list that it may run.
bool covers_filters(const Served& served, const core::Problem& problem) {
  const auto& entries = served.answer->decision.entries;
  return std::ranges::all_of(core::framework_filters(problem.x.type),
                             [&](const core::Constraints& filter) {
                               return std::ranges::any_of(served.entries, [&](std::size_t entry) {
                                 return core::passes(entries[entry], filter);
                               });
                             });
}

// Finalises the real query after all, so that its entries can follow; how many there are at most.
std::int64_t finalize_own_list(const RealCudnn& real, cudnnBackendDescriptor_t heuristics) {
  std::int64_t count = 0;
  const bool ok = real.finalize(heuristics) == CUDNN_STATUS_SUCCESS &&
                  real.get(heuristics,
                           CUDNN_ATTR_ENGINEHEUR_RESULTS,
                           CUDNN_TYPE_BACKEND_DESCRIPTOR,
                           0,
                           &count,
                           nullptr) == CUDNN_STATUS_SUCCESS;
  // cuDNN's lists have some dozen entries: more is not believed, and not added to.
  return ok ? std::clamp<std::int64_t>(count, 0, kMostFollowing) : 0;
}

}  // namespace

// Tries the first entry's engine, which checks whether it can run the problem, while stepping aside
// is still possible. One that cuDNN refuses here (it needs a GPU and there is none, or was measured
// with another driver) leaves its place to the next; a refusal takes 1 to 5 us. Not to one that is
// far behind: cuDNN's own first choice may be faster by any factor.
bool Session::offer_entries(const RealCudnn& real, Served& served) {
  set_offered(real, served);
  const auto usable =
      std::find_if(served.entries.begin(), served.entries.end(), [&](std::size_t entry) {
        const bool accepted = try_entry(real, served, entry);
        if (!accepted) {
          note_refusal(served, entry);
        }
        return accepted;
      });
  const bool refused = usable != served.entries.begin();
  served.entries.erase(served.entries.begin(), usable);
  return !served.entries.empty() &&
         !(refused && is_far_behind(served.answer->decision.entries[served.entries.front()]));
}

void Session::note_refusal(const Served& served, std::size_t entry) {
  if (is_rarely_listed(served.answer->decision.entries[entry])) {
    return;  // as its note says
  }
  client_->note_failure("cuDNN refuses " +
                        core::format_engine_config(served.answer->decision.entries[entry].config));
}

// The answer to a problem, null where cuDNN's own is to stand.
const client::Answer* Session::answer_for(const core::Problem& problem, std::size_t context) {
  const auto answer = client_->query(context, problem);
  // A model knows convolutions alone: what it says of one with others fused to it means nothing.
  if (!answer || !may_serve((*answer)->decision) ||
      (problem.fusion != 0 && (*answer)->decision.source == core::Source::kPredicted)) {
    return nullptr;
  }
  return *answer;
}

// What an answer needs to be built with, its first entry tried; null if none can be built.
std::shared_ptr<Served> Session::offer(const RealCudnn& real,
                                       const HeuristicsRecord& heuristics,
                                       const core::Problem& problem,
                                       const client::Answer* answer,
                                       std::size_t context) {
  auto served = std::make_shared<Served>();
  served->answer = answer;
  served->context = context;
  served->of_f32 = problem.x.type == core::DataType::kF32;
  served->trials = &trials_;
  served->graph = keep<GraphRecord>(descriptors_, heuristics.graph);
  if (served->graph == nullptr) {
    return nullptr;
  }
  if (heuristics.device_properties != nullptr) {
    served->device_properties =
        keep<DevicePropertiesRecord>(descriptors_, heuristics.device_properties);
  }
  return offer_entries(real, *served) ? served : nullptr;
}

bool Session::answer(const RealCudnn& real, cudnnBackendDescriptor_t descriptor) {
  const auto heuristics = descriptors_.copy<HeuristicsRecord>(descriptor);
  if (!heuristics || heuristics->strange || heuristics->mode == CUDNN_HEUR_MODE_FALLBACK ||
      heuristics->mode < 0) {
    return false;
  }
  std::optional<core::Problem> problem;
  cudnnHandle_t handle = nullptr;
  TensorIds ids{};
  descriptors_.with<GraphRecord>(heuristics->graph, [&](const GraphRecord& graph) {
    problem = graph.strange ? std::nullopt : graph.problem;
    handle = graph.handle;
    ids = graph.ids;
  });
  const auto context = !problem ? std::nullopt
                       : heuristics->device_properties != nullptr
                           ? contexts_.of(real, heuristics->device_properties)
                           : contexts_.of(real, handle);
  const client::Answer* answer = context ? answer_for(*problem, *context) : nullptr;
  const std::shared_ptr<Served> served =
      answer != nullptr ? offer(real, *heuristics, *problem, answer, *context) : nullptr;
  if (served == nullptr) {
    client_->note_passed_through();
    client_->flush_if_due(kReportInterval);
    return false;
  }
  served->ids = problem->fusion == 0 ? std::optional(ids) : std::nullopt;
  served->handle = heuristics->device_properties == nullptr ? handle : nullptr;
  // A measured answer holds something for each filter that any candidate passes; a predicted one
  // knows only the configurations that the model has seen.
  const bool complete = answer->decision.source == core::Source::kMeasured;
  if (!complete && !covers_filters(*served, *problem)) {
    served->following = finalize_own_list(real, descriptor);
  }
  if (heuristics->mode == CUDNN_HEUR_MODE_INSTANT && served->following == 0) {
    offer_enough_for_a_search(problem->x.type, *served);
  }
  descriptors_.with<HeuristicsRecord>(
      descriptor, [&served](HeuristicsRecord& record) { record.served = served; });
  client_->flush_if_due(kReportInterval);
  return true;
}

std::int64_t Session::on_offer(const Served& served) {
  const std::lock_guard lock(building(served));
  return static_cast<std::int64_t>(served.entries.size()) + served.following;
}

std::optional<std::int64_t> Session::fetch(const RealCudnn& real,
                                           cudnnBackendDescriptor_t heuristics,
                                           const std::shared_ptr<Served>& served,
                                           std::int64_t requested,
                                           cudnnBackendDescriptor_t* configurations) {
  const std::lock_guard lock(building(*served));
  std::vector<std::size_t>& offered = served->entries;
  while (!offered.empty() && !try_configuration(real, *served, offered.front())) {
    note_refusal(*served, offered.front());
    offered.erase(offered.begin());
  }
  if (offered.empty() || !fill_configuration(real, *served, offered.front(), configurations[0])) {
    return std::nullopt;
  }
  const std::size_t count = std::min(static_cast<std::size_t>(requested), offered.size());
  for (std::size_t place = 0; place < count; ++place) {
    ConfigurationRecord fresh;
    fresh.filled = true;
    fresh.entry = offered[place];
    fresh.counter = counter_of(*served, fresh.entry);
    fresh.compiled = compiled_entry(*served, fresh.entry);
    if (place > 0) {
      fresh.pending = served;
    }
    descriptors_.put(configurations[place], std::move(fresh));
  }
  std::int64_t more = 0;
  const std::int64_t room = requested - static_cast<std::int64_t>(count);
  if (served->following > 0 && room > 0 &&
      real.get(heuristics,
               CUDNN_ATTR_ENGINEHEUR_RESULTS,
               CUDNN_TYPE_BACKEND_DESCRIPTOR,
               std::min(room, served->following),
               &more,
               configurations + count) != CUDNN_STATUS_SUCCESS) {
    more = 0;
  }
  return static_cast<std::int64_t>(count) + std::clamp<std::int64_t>(more, 0, room);
}

client::UseCounter* Session::counter_of(const Served& served, std::size_t entry) {
  return client_->use_counter(
      served.context, served.answer->key, served.answer->decision.entries[entry].config);
}

std::shared_ptr<const CompiledEntry> Session::compiled_entry(const Served& served,
                                                             std::size_t entry) {
  const core::Decision& decision = served.answer->decision;
  const core::DecisionEntry& wanted = decision.entries[entry];
  const bool compiled = (wanted.behavior_notes & core::behavior_note::kRuntimeCompilation) != 0;
  return compiled && served.ids ? std::make_shared<const CompiledEntry>(CompiledEntry{
                                      .key = served.answer->key,
                                      .config = wanted.config,
                                      .ids = *served.ids,
                                      .handle = served.handle,
                                      .frozen = decision.source == core::Source::kFrozen})
                                : nullptr;
}

void Session::build_pending(const RealCudnn& real, cudnnBackendDescriptor_t configuration) {
  const auto pending = [&] {
    std::pair<std::shared_ptr<Served>, std::size_t> list_and_entry;
    descriptors_.with<ConfigurationRecord>(configuration, [&](const ConfigurationRecord& record) {
      list_and_entry = {record.pending, record.entry};
    });
    return list_and_entry;
  };
  const auto [served, wanted] = pending();
  if (served == nullptr) {
    return;
  }
  // It stays pending until it is built: whoever else uses it meanwhile waits here. cuDNN's own
  // configurations, too, are ready for any number of threads.
  const std::lock_guard lock(building(*served));
  if (pending().first != served) {
    return;
  }
  std::size_t entry = wanted;
  if (!try_configuration(real, *served, entry)) {
    note_refusal(*served, entry);
    entry = served->entries.empty() ? entry : served->entries.front();
  }
  (void)fill_configuration(real, *served, entry, configuration);
  client::UseCounter* counter = counter_of(*served, entry);
  auto compiled = compiled_entry(*served, entry);
  std::shared_ptr<Served> built;  // what it kept is let go of outside the record's lock
  descriptors_.with<ConfigurationRecord>(configuration, [&](ConfigurationRecord& record) {
    built.swap(record.pending);
    record.counter = counter;
    record.compiled.swap(compiled);
  });
}

void Session::note_filled(std::span<const cudnnBackendDescriptor_t> configurations) {
  for (const cudnnBackendDescriptor_t configuration : configurations) {
    descriptors_.with<ConfigurationRecord>(
        configuration, [](ConfigurationRecord& record) { record.filled = true; });
  }
}

bool Session::is_filled(cudnnBackendDescriptor_t configuration) {
  bool filled = false;
  descriptors_.with<ConfigurationRecord>(
      configuration, [&filled](const ConfigurationRecord& record) { filled = record.filled; });
  return filled;
}

}  // namespace reformer::shim
