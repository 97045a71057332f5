// Which models are loaded and which of them answers. Everything here runs on the background thread.
#include "daemon/daemon.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <ctime>
#include <utility>

namespace reformer::daemon {
namespace {

// A model's name becomes a file's.
bool is_file_name(const std::string& name) {
  return !name.empty() && name.size() <= 100 && name.front() != '.' &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '.' || c == '-' || c == '_';
         });
}

}  // namespace

// The history is on disk before the model answers.
core::Status Daemon::use_champion(const std::string& name, const PromotionHistory& history) {
  ModelSet set = *models();
  if (set.find(name) == nullptr) {
    return core::make_error(core::ErrorCode::kNotFound,
                            "no model \"" + name + "\" is loaded; see reformerctl models");
  }
  if (const auto status = history.store(*database_); !status) {
    return status;
  }
  if (const auto status = database_->put_meta("champion", name); !status) {
    return status;
  }
  set.champion = name;
  const auto done = ask_loop([&] {
    use_models(std::move(set));
    return true;
  });
  return done ? core::ok_status()
              : core::Status(
                    core::make_error(core::ErrorCode::kUnavailable, "the daemon is stopping"));
}

core::Status Daemon::promote(const std::string& name,
                             const std::string& by,
                             const nlohmann::ordered_json& why) {
  auto history = PromotionHistory::load(*database_);
  if (!history) {
    return history.error();
  }
  const std::string previous = models()->champion;
  history->add(std::time(nullptr), name, previous, by, why);
  const auto status = use_champion(name, *history);
  if (status) {
    spdlog::warn("champion: \"{}\" instead of \"{}\", by {}{}",
                 name,
                 previous,
                 by,
                 why.is_null() ? std::string() : ": " + why.dump());
  }
  return status;
}

core::Result<std::string> Daemon::roll_back(const std::string& by) {
  auto history = PromotionHistory::load(*database_);
  if (!history) {
    return history.error();
  }
  const auto set = models();
  const std::string& previous = set->champion;
  const auto back_to = history->roll_back(
      std::time(nullptr), by, [&set](const auto& name) { return set->find(name) != nullptr; });
  if (!back_to) {
    return core::make_error(core::ErrorCode::kInvalidArgument,
                            "nothing to roll back: no promotion stands, or no champion from before "
                            "one is loaded");
  }
  if (const auto status = use_champion(*back_to, *history); !status) {
    return status.error();
  }
  spdlog::warn("champion: back to \"{}\" from \"{}\", by {}", *back_to, previous, by);
  return *back_to;
}

core::Result<std::string> Daemon::add_model(const std::filesystem::path& file,
                                            const nlohmann::ordered_json& provenance) {
  const auto predictor = model::Predictor::load(file);
  if (!predictor) {
    return core::in_context("model " + file.string(), predictor.error());
  }
  const std::string name = (*predictor)->info().name;
  ModelSet set = *models();
  const auto keep = ask_loop([this] { return config_.retrain_keep; });
  if (!is_file_name(name) || set.find(name) != nullptr) {
    return core::make_error(core::ErrorCode::kInvalidArgument,
                            "model \"" + name + "\": " +
                                (is_file_name(name) ? "one of this name is loaded already"
                                                    : "this name cannot be a file's"));
  }
  const auto folder = added_models_directory(line_.config.state_dir);
  const auto kept = folder / (name + ".reformer");
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  std::filesystem::copy_file(
      file, folder / "new", std::filesystem::copy_options::overwrite_existing, error);
  if (!error) {
    std::filesystem::rename(folder / "new", kept, error);
  }
  if (error || !keep) {
    return core::make_error(core::ErrorCode::kUnavailable, kept.string() + ": " + error.message());
  }
  if (const auto status = database_->put_meta(provenance_entry(name), provenance.dump()); !status) {
    return status.error();
  }
  set.models.push_back({*predictor, kept});
  drop_oldest_trained(set, *keep);
  (void)ask_loop([&] {
    use_models(std::move(set));
    return true;
  });
  spdlog::info("model \"{}\" is a challenger now: {}", name, provenance.dump());
  return name;
}

// Of the models that trainings added, the newest `keep` stay, the champion, and what a rollback
// would bring back.
void Daemon::drop_oldest_trained(ModelSet& set, std::int64_t keep) {
  const auto folder = added_models_directory(line_.config.state_dir);
  std::vector<std::pair<std::int64_t, std::filesystem::path>> trained;
  for (const LoadedModel& loaded : set.models) {
    const auto known = database_->find_meta(provenance_entry(loaded.predictor->info().name));
    const auto json =
        nlohmann::json::parse(known ? known->value_or("") : std::string(), nullptr, false);
    if (loaded.path.parent_path() == folder && json.is_object() &&
        json.value("background", false)) {
      trained.emplace_back(json.value("added_at_s", std::int64_t{0}), loaded.path);
    }
  }
  std::sort(trained.begin(), trained.end());
  const auto history = PromotionHistory::load(*database_);
  if (!history) {
    spdlog::error("trained models: {}", history.error().message);
    return;
  }
  const auto before =
      history->champion_before([&set](const auto& name) { return set.find(name) != nullptr; });
  for (std::size_t i = 0; i + static_cast<std::size_t>(keep) < trained.size(); ++i) {
    const auto found = std::ranges::find(set.models, trained[i].second, &LoadedModel::path);
    const std::string& name = found->predictor->info().name;
    if (name == set.champion || name == before) {
      continue;
    }
    spdlog::info("model \"{}\" is dropped: {} newer ones were trained", name, keep);
    std::error_code ignored;
    std::filesystem::remove(found->path, ignored);
    set.models.erase(found);
  }
}

}  // namespace reformer::daemon
