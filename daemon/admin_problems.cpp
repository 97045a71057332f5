// Administrative requests about problems: what is known of them, what is answered, what is
// measured.
#include "core/problem_text.h"
#include "daemon/admin_impl.h"
#include "daemon/admin_list.h"
#include "daemon/plan_store.h"

#include <algorithm>
#include <utility>

namespace reformer::daemon {
namespace {

Json what_is_filtered_out(const core::Record& record, const core::Constraints& constraints) {
  Json rows = Json::array();
  for (const core::Candidate& candidate : record.candidates) {
    const core::Verdict verdict = core::judge(candidate, constraints);
    if (verdict != core::Verdict::kAllowed) {
      rows.push_back({{"config", core::format_engine_config(candidate.config)},
                      {"time_us", number_or_null(static_cast<double>(candidate.time_us))},
                      {"verdict", core::to_string(verdict)}});
    }
  }
  return rows;
}

// Each model's first choices.
Json predictions_of(const ModelSet& set, const core::Problem& problem) {
  constexpr std::size_t kChoices = 8;
  Json rows = Json::array();
  for (const LoadedModel& loaded : set.models) {
    const model::Predictor& predictor = *loaded.predictor;
    model::Predictor::Scratch scratch(predictor);
    model::Ranking ranking;
    predictor.rank(problem, kChoices, scratch, ranking);
    Json entries = Json::array();
    for (std::uint32_t i = 0; i < ranking.count; ++i) {
      const std::int32_t index = ranking.classes[i].class_index;
      entries.push_back(
          {{"config", core::format_engine_config(predictor.class_entry(index).config)}});
    }
    rows.push_back({{"model", predictor.info().name},
                    {"champion", predictor.info().name == set.champion},
                    {"abstained", ranking.abstained},
                    {"confidence", static_cast<double>(ranking.confidence)},
                    {"entries", std::move(entries)}});
  }
  return rows;
}

}  // namespace

core::Result<core::Context> AdminService::Impl::context_of(const Json& request) {
  const auto device = request.find("device");
  const auto version = request.find("cudnn");
  const bool has_device = device != request.end() && device->is_string();
  const bool has_version = version != request.end() && version->is_number_unsigned();
  std::optional<core::Context> context = options.default_context;
  std::vector<core::Context> seen;
  if (!context && !(has_device && has_version)) {  // the only one there is: all records are read
    const Status done = for_each_match({}, [&seen](const core::Record& record) {
      if (std::find(seen.begin(), seen.end(), record.key.context) == seen.end()) {
        seen.push_back(record.key.context);
      }
      return seen.size() < 8;
    });
    if (!done) {
      return done.error();
    }
    if (seen.size() == 1) {
      context = seen.front();
    }
  }
  if (has_device) {
    auto parsed = core::parse_device(device->get_ref<const std::string&>());
    if (!parsed) {
      return parsed.error();
    }
    context = context.value_or(core::Context{});
    context->device = *parsed;
  }
  if (has_version) {
    context = context.value_or(core::Context{});
    context->cudnn_version = version->get<std::int64_t>();
  }
  if (!context || context->device.name.empty() || context->cudnn_version == 0) {
    std::string message = "which GPU and cuDNN? give device and cudnn";
    for (const core::Context& known : seen) {
      message += "; there is " + core::format_device(known.device) + " with " +
                 std::to_string(known.cudnn_version);
    }
    return wrong(message);
  }
  return *context;
}

core::Result<core::Key> AdminService::Impl::key_of(const Json& request) {
  const auto text = request.find("problem");
  if (text == request.end() || !text->is_string()) {
    return wrong("problem: expected problem text");
  }
  auto problem = core::parse_problem(text->get_ref<const std::string&>());
  if (!problem) {
    return problem.error();
  }
  auto context = context_of(request);
  if (!context) {
    return context.error();
  }
  return core::Key{*context, *problem};
}

core::Result<AdminService::Impl::Decided> AdminService::Impl::decide(const Json& request) {
  const auto key = key_of(request);
  const auto constraints = constraints_from(request);
  if (!key || !constraints) {
    return !key ? key.error() : constraints.error();
  }
  auto record = database.find_record(*key);
  if (!record) {
    return record.error();
  }
  Decided decided{*key, *constraints, std::move(*record), {}};
  const auto set = models();
  if (decided.record) {
    decided.decision = decide_with_plans(options.plans,
                                         *decided.record,
                                         *constraints,
                                         options.build_policy,
                                         core::kMaxDecisionEntries,
                                         options.max_engines);
  } else if (const model::Predictor* const champion = set->champion_predictor()) {
    model::Predictor::Scratch scratch(*champion);
    decided.decision = champion->decide(key->context,
                                        key->problem,
                                        *constraints,
                                        options.build_policy,
                                        core::kMaxDecisionEntries,
                                        options.max_engines,
                                        scratch);
  }
  return decided;
}

Status AdminService::Impl::for_each_match(const Json& request,
                                          const std::function<bool(const core::Record&)>& visit) {
  const auto filter = filter_from(request);
  if (!filter) {
    return filter.error();
  }
  bool cut_short = false;
  const Status done = database.for_each_record(
      [&](const core::Record& record) {
        cut_short = stopping();
        return !cut_short && (!filter->matches(record) || visit(record));
      },
      [](const core::KeyHash&, const core::Error&) {});
  return cut_short ? stopped() : done;
}

// Which, first; then each is read again, so that none but their places are held.
Status AdminService::Impl::list(const Json& request, const AdminReply& reply) {
  auto places = ListedPlaces::from(request);
  if (!places) {
    return places.error();
  }
  const Status done = for_each_match(request, [&](const core::Record& record) {
    places->add(record, [this](const core::KeyHash& hash) { return uses_of(hash).executions; });
    return true;
  });
  if (!done) {
    return done;
  }
  Rows out(reply);
  for (const core::KeyHash& hash : places->in_order()) {
    const auto record = database.find_record(hash);
    if (!record) {
      return record.error();
    }
    if (*record && !out.add(list_row(**record, uses_of(hash)))) {
      break;
    }
  }
  out.finish({{"total", places->total()}});
  return core::ok_status();
}

Status AdminService::Impl::show(const Json& request, const AdminReply& reply) {
  const auto key = key_of(request);
  if (!key) {
    return key.error();
  }
  const auto record = database.find_record(*key);
  if (!record) {
    return record.error();
  }
  if (!*record) {
    return core::make_error(core::ErrorCode::kNotFound,
                            "not measured: " + core::format_problem(key->problem) + " on " +
                                core::format_device(key->context.device) + " with cuDNN " +
                                std::to_string(key->context.cudnn_version));
  }
  reply(dump(record_json(**record, uses_of(core::hash_key(*key)))), false);
  return core::ok_status();
}

Status AdminService::Impl::query(const Json& request, const AdminReply& reply) {
  const auto decided = decide(request);
  if (!decided) {
    return decided.error();
  }
  if (!decided->record && live != nullptr && flag(request, "verify")) {
    live->verify_later(decided->key);
  }
  Json answer{{"problem", core::format_problem(decided->key.problem)}};
  answer.update(decision_json(decided->decision));
  reply(dump(answer), false);
  return core::ok_status();
}

Status AdminService::Impl::explain(const Json& request, const AdminReply& reply) {
  const auto decided = decide(request);
  if (!decided) {
    return decided.error();
  }
  const core::Decision& decision = decided->decision;
  Json filtered_out = Json::array();
  Json speedup = nullptr;
  std::string why = "not measured; ";
  const auto set = models();
  if (decided->record) {
    const core::Record& record = *decided->record;
    why = std::to_string(record.candidates.size()) + " candidates measured";
    filtered_out = what_is_filtered_out(record, decided->constraints);
    const core::Candidate* const first = core::first_of_heuristic_a(record);
    if (first != nullptr && !decision.entries.empty()) {
      speedup = static_cast<double>(first->time_us) /
                static_cast<double>(decision.entries.front().time_us);
    }
  } else if (decision.source == core::Source::kPredicted) {
    why += "predicted by " + decision.model;
  } else {
    why += set->champion.empty() ? "no model is loaded"
                                 : set->champion + " is not sure enough, or has no class for it";
  }
  reply(dump({{"problem", core::format_problem(decided->key.problem)},
              {"decision", decision_json(decision)},
              {"why", why},
              {"filtered", std::move(filtered_out)},
              {"speedup_over_heuristic_a", std::move(speedup)},
              {"predictions", predictions_of(*set, decided->key.problem)}}),
        false);
  return core::ok_status();
}

Status AdminService::Impl::forget(const Json& request, const AdminReply& reply) {
  std::vector<core::KeyHash> hashes;
  if (request.contains("problem")) {
    const auto key = key_of(request);
    if (!key) {
      return key.error();
    }
    hashes.push_back(core::hash_key(*key));
  } else {
    if (!flag(request, "all")) {
      return wrong("forgetting more than one problem needs all: true");
    }
    const Status done = for_each_match(request, [&hashes](const core::Record& record) {
      hashes.push_back(core::hash_key(record.key));
      return true;
    });
    if (!done) {
      return done;
    }
  }
  std::size_t forgotten = 0;
  for (const core::KeyHash& hash : hashes) {
    live->record_removed(hash);
    const auto removed = database.forget_record(hash);
    if (!removed) {
      return removed.error();
    }
    forgotten += *removed ? 1 : 0;
  }
  reply(dump({{"forgotten", forgotten}}), false);
  return core::ok_status();
}

Status AdminService::Impl::verify(const Json& request, const AdminReply& reply) {
  const auto key = key_of(request);
  if (!key) {
    return key.error();
  }
  std::function<void(std::string)> done = [](const std::string&) {};
  if (flag(request, "wait")) {
    done = [this, key = *key, reply](const std::string& error) {
      const auto record = database.find_record(key);
      if (!error.empty() || !record || !*record) {
        reply(dump({{"queued", false}, {"error", error.empty() ? "not measured" : error}}), false);
        return;
      }
      reply(dump(record_json(**record, uses_of(core::hash_key(key)))), false);
    };
  }
  const auto queued = live->verify(*key, flag(request, "force"), std::move(done));
  if (!queued) {
    return queued.error();
  }
  if (!flag(request, "wait")) {
    reply(dump({{"queued", queued->queued}, {"position", queued->position}}), false);
  }
  return core::ok_status();
}

}  // namespace reformer::daemon
