#include "cli/atomic_file.h"
#include "cli/commands.h"
#include "cli/reply.h"
#include "cli/units.h"
#include "core/codec.h"
#include "core/shared_table.h"

#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

// reformerctl freeze: every measured answer in a file, so that all ranks of a job choose the same.
// The file has the format of the daemon's shared table (docs/protocol.md).
namespace reformer::cli {
namespace {

using Answer = std::pair<core::KeyHash, core::Decision>;

// A bit mask, or cuDNN's note numbers.
std::uint32_t notes_of(const Json& entry, const char* name) {
  const Json& notes = member(entry, name);
  if (!notes.is_array()) {
    const std::uint64_t bits = count_of(entry, name);
    if (bits > std::numeric_limits<std::uint32_t>::max()) {
      throw Failure(kExitFailed,
                    fmt::format("the reply makes no sense: \"{}\" is too large", name));
    }
    return static_cast<std::uint32_t>(bits);
  }
  std::uint32_t bits = 0;
  for (const Json& note : notes) {
    if (!note.is_number_unsigned()) {
      throw Failure(kExitFailed, fmt::format("the reply makes no sense: \"{}\"", name));
    }
    const auto number = note.get<std::uint64_t>();
    bits |= number < 32 ? 1u << number : 0;
  }
  return bits;
}

core::DecisionEntry entry_of(const Json& json) {
  const auto config = core::parse_engine_config(text_of(json, "config"));
  if (!config) {
    throw Failure(config.error());
  }
  const double workspace = number_or_nan(json, "workspace_bytes");
  return {.config = *config,
          .numerical_notes = notes_of(json, "numerical_notes"),
          .behavior_notes = notes_of(json, "behavior_notes"),
          .workspace_bytes = std::isfinite(workspace) ? integer_of(json, "workspace_bytes") : -1,
          .time_us = static_cast<float>(number_or_nan(json, "time_us")),
          .build_us = static_cast<float>(number_or_nan(json, "build_us"))};
}

Answer answer_of(const Json& row) {
  const auto key = core::parse_hash(text_of(row, "key"));
  if (!key) {
    throw Failure(key.error());
  }
  const Json& json = object_of(row, "decision");
  core::Decision decision{.source = core::Source::kFrozen,
                          .confidence = static_cast<float>(number_of(json, "confidence")),
                          .model = text_or(json, "model", ""),
                          .entries = {}};
  for (const Json& entry : array_of(json, "entries")) {
    decision.entries.push_back(entry_of(entry));
  }
  if (decision.entries.size() > core::kMaxDecisionEntries) {
    throw Failure(kExitFailed, "the reply makes no sense: too many entries in a decision");
  }
  return {*key, std::move(decision)};
}

// A table that is just large enough; the heap's overhead an answer is the table's own affair, so it
// is doubled until all fit.
std::vector<std::byte> build_table(const std::vector<Answer>& answers) {
  std::vector<std::byte> encoded;
  core::ByteWriter writer(encoded);
  for (const Answer& answer : answers) {
    core::encode(writer, answer.second);
  }
  const auto slots =
      static_cast<std::uint32_t>(std::bit_ceil(std::max<std::size_t>(16, 2 * answers.size())));
  for (std::uint64_t heap = std::bit_ceil(encoded.size() + 4096);; heap *= 2) {
    std::vector<std::byte> memory(core::shared_table::table_bytes(slots, heap));
    core::shared_table::Writer table(memory, slots, heap, 1);
    core::Status status = core::ok_status();
    for (std::size_t i = 0; i < answers.size() && status; ++i) {
      status = table.put(answers[i].first, answers[i].second);
    }
    if (status) {
      return memory;
    }
    if (status.error().code != core::ErrorCode::kExhausted || heap > (std::uint64_t{1} << 36)) {
      throw Failure(status.error());
    }
  }
}

}  // namespace

void add_freeze(CLI::App& app, Session& session) {
  CLI::App* command =
      app.add_subcommand("freeze", "Write every measured answer to a file, for REFORMER_FREEZE")
          ->group(group::kApplications);
  auto path = std::make_shared<std::string>();
  auto device = std::make_shared<std::string>();
  auto cudnn = std::make_shared<std::int64_t>(0);
  command->add_option("FILE", *path, "File to write")->required();
  command->add_option("--device", *device, "Only this GPU, as `list` shows it");
  command->add_option("--cudnn", *cudnn, "Only this cuDNN version number");
  command->callback([&session, path, device, cudnn] {
    conduct(session, [&](AdminChannel& channel) {
      Json request{{"request", "freeze"}};
      if (!device->empty()) {
        request["device"] = *device;
      }
      if (*cudnn != 0) {
        request["cudnn"] = *cudnn;
      }
      std::vector<Answer> answers;
      ask_rows(channel, request, [&](const Json& row) { answers.push_back(answer_of(row)); });
      write_atomically(*path, build_table(answers));
      if (session.json) {
        print_json(session, {{"frozen", answers.size()}, {"file", *path}});
      } else {
        *session.out << fmt::format("{} answers in {}\n", human_count(answers.size()), *path);
      }
    });
  });
}

}  // namespace reformer::cli
