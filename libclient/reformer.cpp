#include "libclient/reformer.h"

#include "core/problem_text.h"
#include "libclient/cancellation.h"
#include "libclient/client.h"

#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>
#include <exception>
#include <new>
#include <string_view>
#include <utility>
#include <vector>

namespace {

namespace core = reformer::core;
namespace client = reformer::client;
namespace wire = reformer::core::wire;

// A C problem is a core::Problem, byte for byte.
static_assert(sizeof(reformer_problem) == sizeof(core::Problem));
static_assert(sizeof(reformer_tensor) == sizeof(core::TensorSpec));
static_assert(offsetof(reformer_problem, w) == offsetof(core::Problem, w));
static_assert(offsetof(reformer_problem, pad_before) == offsetof(core::Problem, pad_before));
static_assert(offsetof(reformer_problem, fusion) == offsetof(core::Problem, fusion));
static_assert(offsetof(reformer_tensor, strides) == offsetof(core::TensorSpec, strides));
static_assert(REFORMER_MAX_ENTRIES == core::kMaxDecisionEntries);
static_assert(REFORMER_MAX_KNOBS == core::kMaxKnobs);

constexpr std::chrono::milliseconds kFlushInterval{3000};

// Not a std::string: a thread's last words must not need a destructor in an unloaded library.
thread_local char last_error[512] = "";

void remember(std::string_view text) {
  const std::size_t length = std::min(text.size(), sizeof last_error - 1);
  std::memcpy(last_error, text.data(), length);
  last_error[length] = '\0';
}

reformer_status status_of(core::ErrorCode code) {
  switch (code) {
    case core::ErrorCode::kInvalidArgument:
      return REFORMER_INVALID_ARGUMENT;
    case core::ErrorCode::kCorrupt:
      return REFORMER_CORRUPT;
    case core::ErrorCode::kUnsupported:
      return REFORMER_UNSUPPORTED;
    case core::ErrorCode::kUnavailable:
      return REFORMER_UNAVAILABLE;
    case core::ErrorCode::kTimeout:
      return REFORMER_TIMEOUT;
    case core::ErrorCode::kDenied:
      return REFORMER_DENIED;
    case core::ErrorCode::kExhausted:
      return REFORMER_EXHAUSTED;
    case core::ErrorCode::kNotFound:
      return REFORMER_NOT_FOUND;
    case core::ErrorCode::kInternal:
      break;
  }
  return REFORMER_INTERNAL;
}

reformer_status fail(const core::Error& error) {
  remember(error.message);
  return status_of(error.code);
}
reformer_status invalid(std::string_view what) {
  remember(what);
  return REFORMER_INVALID_ARGUMENT;
}

// Runs a function behind the C boundary: nothing is thrown across it.
template <typename Function>
reformer_status guarded(Function function) noexcept {
  const reformer::client::Uncancelled uncancelled;
  try {
    return function();
  } catch (const std::bad_alloc&) {
    remember("out of memory");
    return REFORMER_EXHAUSTED;
  } catch (const std::exception& error) {
    remember(error.what());
  } catch (...) {
    remember("unknown defect");
  }
  return REFORMER_INTERNAL;
}

core::Problem problem_of(const reformer_problem& problem) {
  return std::bit_cast<core::Problem>(problem);
}

core::Constraints constraints_of(const reformer_constraints* constraints) {
  if (constraints == nullptr) {
    return {};
  }
  return {constraints->forbidden_numerical_notes,
          constraints->forbidden_behavior_notes,
          constraints->max_workspace_bytes,
          constraints->max_build_us};
}

void fill(const core::DecisionEntry& from, reformer_entry& to) {
  to.engine = from.config.engine();
  to.knob_count = static_cast<std::uint32_t>(from.config.knobs().size());
  std::uint32_t i = 0;
  for (const core::Knob& knob : from.config.knobs()) {
    to.knobs[i].type = knob.type;
    to.knobs[i++].value = knob.value;
  }
  to.numerical_notes = from.numerical_notes;
  to.behavior_notes = from.behavior_notes;
  to.workspace_bytes = from.workspace_bytes;
  to.time_us = from.time_us;
  to.build_us = from.build_us;
}

void fill(const core::Decision& from, reformer_decision& to) {
  to.source = static_cast<std::uint32_t>(from.source);
  to.confidence = from.confidence;
  const std::size_t length = std::min<std::size_t>(from.model.size(), REFORMER_MAX_MODEL_NAME - 1);
  std::memcpy(to.model, from.model.data(), length);
  to.model[length] = '\0';
  to.entry_count = 0;
  for (const core::DecisionEntry& entry : from.entries) {
    if (to.entry_count < REFORMER_MAX_ENTRIES) {
      fill(entry, to.entries[to.entry_count++]);
    }
  }
}

void abstain(reformer_decision& decision) {
  decision.source = REFORMER_SOURCE_ABSTAIN;
  decision.entry_count = 0;
  decision.confidence = 0;
  decision.model[0] = '\0';
}

reformer_status deliver(const client::Answer& answer, reformer_decision& decision) {
  fill(answer.decision, decision);
  return answer.failure ? fail(*answer.failure) : REFORMER_OK;
}

// One request on a connection of its own, piece by piece.
reformer_status administer(const std::string& socket_path,
                           std::string_view json,
                           std::chrono::milliseconds deadline,
                           reformer_reply_fn on_reply,
                           void* user) {
  client::FrameStream stream;
  if (const core::Status opened = stream.open(socket_path); !opened) {
    return fail(opened.error());
  }
  std::vector<std::byte> frames;
  wire::encode(
      wire::Hello{
          static_cast<std::uint32_t>(::getpid()), "libreformer admin", client::program_name()},
      1,
      frames);
  wire::encode(wire::AdminRequest{std::string(json)}, 2, frames);
  if (const core::Status sent = stream.send(frames, client::Clock::now() + deadline); !sent) {
    return fail(sent.error());
  }
  while (true) {
    core::Result<client::Frame> frame = stream.receive(client::Clock::now() + deadline);
    if (!frame) {
      return fail(frame.error());
    }
    if (const auto* refusal = std::get_if<wire::ErrorMessage>(&frame->message)) {
      return fail({refusal->code, refusal->message});
    }
    const auto* reply = std::get_if<wire::AdminReply>(&frame->message);
    if (reply == nullptr || frame->header.request_id != 2) {
      continue;
    }
    const bool stop =
        on_reply != nullptr &&
        on_reply(user, reply->json.data(), reply->json.size(), reply->more ? 1 : 0) != 0;
    if (stop || !reply->more) {
      return REFORMER_OK;
    }
  }
}

}  // namespace

struct reformer_client {
  std::unique_ptr<client::Client> client;
};

extern "C" {

const char* reformer_status_text(reformer_status status) {
  switch (status) {
    case REFORMER_OK:
      return "ok";
    case REFORMER_INVALID_ARGUMENT:
      return "invalid argument";
    case REFORMER_CORRUPT:
      return "corrupt";
    case REFORMER_UNSUPPORTED:
      return "unsupported";
    case REFORMER_UNAVAILABLE:
      return "unavailable";
    case REFORMER_TIMEOUT:
      return "timeout";
    case REFORMER_DENIED:
      return "denied";
    case REFORMER_EXHAUSTED:
      return "exhausted";
    case REFORMER_INTERNAL:
      return "internal error";
    case REFORMER_NOT_FOUND:
      return "not found";
  }
  return "unknown status";
}

const char* reformer_version(void) {
  return "0.1.0";
}

const char* reformer_last_error(void) {
  return last_error;
}

reformer_constraints reformer_no_constraints(void) {
  const core::Constraints none;
  return {none.forbidden_numerical_notes,
          none.forbidden_behavior_notes,
          none.max_workspace_bytes,
          none.max_build_us};
}

reformer_status reformer_connect(const reformer_options* options, reformer_client** out) {
  return guarded([&] {
    if (out == nullptr) {
      return invalid("client is NULL");
    }
    *out = nullptr;
    client::Options chosen;
    if (options != nullptr) {
      chosen.socket_path = options->socket_path != nullptr ? options->socket_path : "";
      chosen.deadline = std::chrono::microseconds(options->deadline_us);
      if (options->client_name != nullptr) {
        chosen.name = options->client_name;
      }
      if (options->freeze_file != nullptr) {
        chosen.freeze_file = options->freeze_file;
      }
    }
    auto created = client::Client::create(std::move(chosen));
    if (!created) {
      return fail(created.error());
    }
    *out = new reformer_client{std::move(*created)};
    return REFORMER_OK;
  });
}

void reformer_disconnect(reformer_client* client) {
  (void)guarded([&] {
    if (client != nullptr) {
      client->client->flush_if_due(std::chrono::milliseconds(0));
    }
    return REFORMER_OK;
  });
  delete client;
}

reformer_status reformer_add_context(reformer_client* client,
                                     const reformer_context* context,
                                     uint32_t* context_id) {
  return guarded([&] {
    if (client == nullptr || context == nullptr || context_id == nullptr ||
        context->device_name == nullptr || *context->device_name == '\0') {
      return invalid("client, context, device name and context_id are needed");
    }
    client::ContextInfo info;
    info.context.device = {context->device_name, context->compute_capability, context->sm_count};
    info.context.cudnn_version = context->cudnn_version;
    info.library = context->library != nullptr ? context->library : "";
    info.gpu = context->gpu;
    if (info.context.device.name.size() > core::kMaxDeviceNameBytes || info.gpu < -1) {
      return invalid("device name too long, or gpu below -1");
    }
    const core::Result<std::size_t> added = client->client->add_context(std::move(info));
    if (!added) {
      return fail(added.error());
    }
    *context_id = static_cast<uint32_t>(*added);
    return REFORMER_OK;
  });
}

reformer_status reformer_query(reformer_client* client,
                               uint32_t context_id,
                               const reformer_problem* problem,
                               const reformer_constraints* constraints,
                               reformer_decision* decision) {
  return guarded([&] {
    if (client == nullptr || problem == nullptr || decision == nullptr) {
      return invalid("client, problem and decision are needed");
    }
    abstain(*decision);
    const auto answer =
        client->client->query(context_id, problem_of(*problem), constraints_of(constraints));
    return answer ? deliver(**answer, *decision) : fail(answer.error());
  });
}

reformer_status reformer_query_batch(reformer_client* client,
                                     uint32_t context_id,
                                     const reformer_problem* problems,
                                     size_t count,
                                     const reformer_constraints* constraints,
                                     reformer_decision* decisions) {
  return guarded([&] {
    if (client == nullptr || ((problems == nullptr || decisions == nullptr) && count > 0)) {
      return invalid("client, problems and decisions are needed");
    }
    std::vector<core::Problem> asked;
    for (size_t i = 0; i < count; ++i) {
      abstain(decisions[i]);
      asked.push_back(problem_of(problems[i]));
    }
    std::vector<const client::Answer*> answers(count);
    const core::Status status =
        client->client->query_batch(context_id, asked, constraints_of(constraints), answers);
    if (!status) {
      return fail(status.error());
    }
    reformer_status worst = REFORMER_OK;
    for (size_t i = 0; i < count; ++i) {
      const reformer_status one = deliver(*answers[i], decisions[i]);
      worst = one == REFORMER_OK ? worst : one;
    }
    return worst;
  });
}

reformer_status reformer_report_use(reformer_client* client,
                                    uint32_t context_id,
                                    const reformer_problem* problem,
                                    const reformer_entry* entry,
                                    uint32_t count,
                                    float gpu_us) {
  return guarded([&] {
    if (client == nullptr || problem == nullptr || entry == nullptr ||
        entry->knob_count > REFORMER_MAX_KNOBS) {
      return invalid("client, problem and entry are needed");
    }
    core::EngineConfig config(entry->engine);
    for (std::uint32_t i = 0; i < entry->knob_count; ++i) {
      if (const auto added = config.add_knob({entry->knobs[i].type, entry->knobs[i].value});
          !added) {
        return fail(added.error());
      }
    }
    const auto answer = client->client->query(context_id, problem_of(*problem));
    if (!answer) {
      return fail(answer.error());
    }
    client::UseCounter* counter = client->client->use_counter(context_id, (*answer)->key, config);
    if (counter == nullptr) {
      remember("too many different configurations in this process");
      return REFORMER_EXHAUSTED;
    }
    counter->add_time(gpu_us);
    counter->add(count);
    client->client->flush_if_due(kFlushInterval);
    return REFORMER_OK;
  });
}

reformer_status reformer_flush(reformer_client* client) {
  return guarded([&] {
    if (client == nullptr) {
      return invalid("client is needed");
    }
    client->client->flush_if_due(std::chrono::milliseconds(0));
    return REFORMER_OK;
  });
}

reformer_status reformer_get_statistics(reformer_client* client, reformer_statistics* statistics) {
  return guarded([&] {
    if (client == nullptr || statistics == nullptr) {
      return invalid("client and statistics are needed");
    }
    const client::Statistics& counted = client->client->statistics();
    *statistics = {counted.process_hits.load(),
                   counted.shared_hits.load(),
                   counted.socket_hits.load(),
                   counted.frozen_hits.load(),
                   counted.abstentions.load(),
                   counted.failures.load()};
    return REFORMER_OK;
  });
}

reformer_status reformer_problem_parse(const char* text, reformer_problem* problem) {
  return guarded([&] {
    if (text == nullptr || problem == nullptr) {
      return invalid("text and problem are needed");
    }
    const core::Result<core::Problem> parsed = core::parse_problem(text);
    if (!parsed) {
      return fail(parsed.error());
    }
    *problem = std::bit_cast<reformer_problem>(*parsed);
    return REFORMER_OK;
  });
}

size_t reformer_problem_format(const reformer_problem* problem, char* text, size_t size) {
  size_t needed = 0;
  (void)guarded([&] {
    if (problem == nullptr || (text == nullptr && size > 0)) {
      return invalid("problem and text are needed");
    }
    const core::Result<core::Problem> canonical = core::canonicalise(problem_of(*problem));
    if (!canonical) {
      return fail(canonical.error());
    }
    const std::string formatted = core::format_problem(*canonical);
    needed = formatted.size();
    if (size > 0) {
      const size_t length = std::min(size - 1, formatted.size());
      std::memcpy(text, formatted.data(), length);
      text[length] = '\0';
    }
    return REFORMER_OK;
  });
  return needed;
}

reformer_status reformer_admin(reformer_client* client,
                               const char* json,
                               size_t length,
                               uint32_t deadline_ms,
                               reformer_reply_fn on_reply,
                               void* user) {
  return guarded([&] {
    if (client == nullptr || json == nullptr) {
      return invalid("client and json are needed");
    }
    return administer(client->client->socket_path(),
                      {json, length},
                      std::chrono::milliseconds(deadline_ms),
                      on_reply,
                      user);
  });
}

}  // extern "C"
