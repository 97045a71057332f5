#include "cli/atomic_file.h"
#include "cli/commands.h"
#include "cli/reply.h"
#include "cli/units.h"
#include "core/codec.h"
#include "core/plan_file.h"
#include "core/shared_table.h"
#include "libclient/plan_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <filesystem>
#include <limits>
#include <memory>
#include <set>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

// reformerctl freeze: every measured answer in a file, so that all ranks of a job choose the same.
// The file has the format of the daemon's shared table (docs/protocol.md). The daemon's compiled
// plans of those answers go with it, into a folder beside it.
namespace reformer::cli {
namespace {

struct Answer {
  core::KeyHash key;
  core::Decision decision;
  // Configurations whose compiled plans the daemon keeps: the answer counts on their being loaded.
  std::vector<core::EngineConfig> plans;
};

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

core::EngineConfig config_of(const std::string& text) {
  auto config = core::parse_engine_config(text);
  if (!config) {
    throw Failure(config.error());
  }
  return *config;
}

core::DecisionEntry entry_of(const Json& json) {
  const double workspace = number_or_nan(json, "workspace_bytes");
  return {.config = config_of(text_of(json, "config")),
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
  Answer answer{*key, std::move(decision), {}};
  if (row.contains("plans")) {
    for (const Json& config : array_of(row, "plans")) {
      answer.plans.push_back(config_of(config.is_string() ? config.get<std::string>() : ""));
    }
  }
  return answer;
}

// A table that is just large enough; the heap's overhead an answer is the table's own affair, so it
// is doubled until all fit.
std::vector<std::byte> build_table(const std::vector<Answer>& answers) {
  std::vector<std::byte> encoded;
  core::ByteWriter writer(encoded);
  for (const Answer& answer : answers) {
    core::encode(writer, answer.decision);
  }
  const auto slots =
      static_cast<std::uint32_t>(std::bit_ceil(std::max<std::size_t>(16, 2 * answers.size())));
  for (std::uint64_t heap = std::bit_ceil(encoded.size() + 4096);; heap *= 2) {
    std::vector<std::byte> memory(core::shared_table::table_bytes(slots, heap));
    core::shared_table::Writer table(memory, slots, heap, 1);
    core::Status status = core::ok_status();
    for (std::size_t i = 0; i < answers.size() && status; ++i) {
      status = table.put(answers[i].key, answers[i].decision);
    }
    if (status) {
      return memory;
    }
    if (status.error().code != core::ErrorCode::kExhausted || heap > (std::uint64_t{1} << 36)) {
      throw Failure(status.error());
    }
  }
}

// The compiled plans of a snapshot, in the folder beside it.
class FrozenPlans {
 public:
  // `kept`: the daemon's folder.
  FrozenPlans(std::string kept, const std::string& snapshot)
      : kept_(std::move(kept)), folder_(core::plans_path(snapshot)) {}

  // Takes along what is kept for the answer. Throws a Failure that names the path where it cannot
  // be written.
  void add(const Answer& answer) {
    for (const core::EngineConfig& config : answer.plans) {
      const auto plan = client::read_plan(kept_, answer.key, config);
      if (!plan) {
        ++missing_;
        continue;
      }
      make_folder();
      const std::string name = core::plan_file_name(plan->key, plan->config);
      write_atomically(folder_ / name, core::encode_plan_file(*plan));
      names_.insert(name);
    }
  }
  // Those of an earlier snapshot with this name.
  void remove_others() const {
    std::error_code error;
    std::vector<std::filesystem::path> others;
    for (std::filesystem::directory_iterator at(folder_, error), end; !error && at != end;
         at.increment(error)) {
      if (at->path().extension() == ".plan" && !names_.contains(at->path().filename())) {
        others.push_back(at->path());
      }
    }
    for (const std::filesystem::path& path : others) {
      std::filesystem::remove(path, error);
    }
    if (names_.empty()) {
      std::filesystem::remove(folder_, error);  // if it is empty
    }
  }
  [[nodiscard]] std::size_t count() const { return names_.size(); }
  // What the daemon keeps and this process may not read, or not trust.
  [[nodiscard]] std::size_t missing() const { return missing_; }
  [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }

 private:
  // For others to read, whatever the umask: nobody else may write what is loaded.
  void make_folder() const {
    std::error_code error;
    std::filesystem::create_directory(folder_, error);
    if (!error) {
      std::filesystem::permissions(folder_, static_cast<std::filesystem::perms>(0755), error);
    }
    if (error) {
      throw Failure(kExitFailed, fmt::format("{}: {}", folder_.string(), error.message()));
    }
  }

  const std::string kept_;
  const std::filesystem::path folder_;
  std::set<std::string> names_;
  std::size_t missing_ = 0;
};

}  // namespace

void add_freeze(CLI::App& app, Session& session) {
  CLI::App* command =
      app.add_subcommand("freeze", "Write every measured answer to a file, for REFORMER_FREEZE")
          ->group(group::kApplications);
  auto path = std::make_shared<std::string>();
  auto device = std::make_shared<std::string>();
  auto cudnn = std::make_shared<std::int64_t>(0);
  auto no_plans = std::make_shared<bool>(false);
  command->add_option("FILE", *path, "File to write")->required();
  command->add_option("--device", *device, "Only this GPU, as `list` shows it");
  command->add_option("--cudnn", *cudnn, "Only this cuDNN version number");
  command->add_flag("--no-plans",
                    *no_plans,
                    "The answers alone, without FILE.plans: the daemon's compiled plans");
  command->callback([&session, path, device, cudnn, no_plans] {
    conduct(session, [&](AdminChannel& channel) {
      Json request{{"request", "freeze"}};
      if (!device->empty()) {
        request["device"] = *device;
      }
      if (*cudnn != 0) {
        request["cudnn"] = *cudnn;
      }
      const bool with_plans = !*no_plans && session.offline_dir.empty();
      if (with_plans) {
        request["plans"] = true;
      }
      std::vector<Answer> answers;
      ask_rows(channel, request, [&](const Json& row) { answers.push_back(answer_of(row)); });
      require_writable(*path);
      FrozenPlans plans(core::plans_path(session.socket), *path);
      if (with_plans) {
        std::ranges::for_each(answers, [&plans](const Answer& answer) { plans.add(answer); });
      }
      write_atomically(*path, build_table(answers));
      plans.remove_others();
      if (plans.missing() > 0) {
        *session.err << fmt::format(
            "reformerctl: {} compiled plans in {} cannot be read: whoever gets these answers "
            "compiles them\n",
            human_count(plans.missing()),
            core::plans_path(session.socket));
      }
      if (session.json) {
        print_json(session,
                   {{"frozen", answers.size()}, {"file", *path}, {"plans", plans.count()}});
        return;
      }
      *session.out << fmt::format("{} answers in {}\n", human_count(answers.size()), *path);
      if (plans.count() > 0) {
        *session.out << fmt::format(
            "{} compiled plans in {}\n", human_count(plans.count()), plans.folder().string());
      }
    });
  });
}

}  // namespace reformer::cli
