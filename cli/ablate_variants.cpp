#include "cli/ablate_variants.h"

#include <fmt/format.h>

#include <algorithm>

namespace reformer::cli {
namespace {

constexpr std::size_t kPaperBlocks = 3;

std::string name_of(const model::TrainOptions& options, double noise) {
  std::string name = fmt::format(
      "{}{}-{}", to_string(options.block), options.blocks, to_string(options.loss.target));
  if (options.loss.target != model::TargetKind::kOneHot) {
    name += fmt::format("-s{:g}", options.loss.sharpness);
  }
  return noise > 0 ? name + fmt::format(" noise {:g} %", 100 * noise) : name;
}

class Planner {
 public:
  explicit Planner(const PlanOptions& options) : options_(options) {}

  Plan make() {
    plan_.reference = add(base());
    add_blocks();
    add_targets();
    add_block_kinds();
    add_sharpness();
    add_noise();
    if (options_.steps) {
      add_steps();
    }
    return std::move(plan_);
  }

 private:
  model::TrainOptions base(const std::string& preset) const {
    model::TrainOptions options = *model::preset(preset);
    options.blocks = kPaperBlocks;
    options.epochs = options_.epochs > 0 ? options_.epochs : options.epochs;
    options.folds = options_.calibrate ? options.folds : 0;
    options.shards = options_.shards;
    return options;
  }
  model::TrainOptions base() const { return base(options_.preset); }

  model::TrainOptions with_target(const std::string& target) const {
    model::TrainOptions options = base();
    options.loss.target = *model::parse_target_kind(target);
    return options;
  }

  // The index of the variant, which is new or there already. `name` where options alone do not
  // tell it from others.
  std::size_t add(const model::TrainOptions& options, double noise = 0, std::string name = "") {
    Variant variant{name.empty() ? name_of(options, noise) : std::move(name), options, noise};
    const auto found = std::ranges::find(plan_.variants, variant.name, &Variant::name);
    const auto index = static_cast<std::size_t>(found - plan_.variants.begin());
    if (found == plan_.variants.end()) {
      plan_.variants.push_back(std::move(variant));
    }
    return index;
  }

  Study& add_study(std::string name, std::string title) {
    plan_.studies.push_back({std::move(name), std::move(title), {}});
    return plan_.studies.back();
  }

  void add_blocks() {
    if (options_.blocks.empty()) {
      return;
    }
    Study& study = add_study("blocks", "Number of Γ-blocks (ratio target)");
    for (const std::size_t blocks : options_.blocks) {
      model::TrainOptions options = base();
      options.blocks = blocks;
      study.rows.push_back({fmt::format("L = {}", blocks), add(options), plan_.reference});
    }
  }

  void add_targets() {
    if (options_.targets.empty()) {
      return;
    }
    Study& study = add_study("target", "Target (L = 3)");
    for (const std::string& target : options_.targets) {
      study.rows.push_back({target, add(with_target(target)), plan_.reference});
    }
  }

  void add_block_kinds() {
    if (options_.block_kinds.empty()) {
      return;
    }
    Study& study = add_study("block", "Kind of block (L = 3, ratio target)");
    for (const std::string& kind : options_.block_kinds) {
      model::TrainOptions options = base();
      options.block = *model::parse_block_kind(kind);
      study.rows.push_back({kind, add(options), plan_.reference});
    }
  }

  // One-hot has none.
  void add_sharpness() {
    if (options_.sharpness.empty()) {
      return;
    }
    Study& study = add_study("sharpness", "Sharpness of the targets (L = 3)");
    for (const std::string& target : options_.targets) {
      for (const double sharpness : options_.sharpness) {
        model::TrainOptions options = with_target(target);
        if (options.loss.target == model::TargetKind::kOneHot) {
          continue;
        }
        options.loss.sharpness = static_cast<float>(sharpness);
        study.rows.push_back(
            {fmt::format("{}, s = {:g}", target, sharpness), add(options), plan_.reference});
      }
    }
  }

  void add_noise() {
    if (options_.noise.empty()) {
      return;
    }
    Study& study = add_study(
        "noise", "Noise on the training times (L = 3); each against its own target without noise");
    for (const std::string& target : options_.targets) {
      const std::size_t clean = add(with_target(target));
      study.rows.push_back({target + ", none", clean, clean});
      for (const double noise : options_.noise) {
        if (noise > 0) {
          study.rows.push_back({fmt::format("{}, {:g} %", target, 100 * noise),
                                add(with_target(target), noise),
                                clean});
        }
      }
    }
  }

  void add_steps() {
    Study& study =
        add_study("steps", "From the paper's configuration to the default, one change at a time");
    model::TrainOptions options = base("paper");
    const model::TrainOptions end = base("default");
    const bool from_paper = options_.preset == "paper";
    const std::size_t first = from_paper ? plan_.reference : add(options, 0, "paper");
    const auto row = [&](const std::string& label) {
      study.rows.push_back({label, add(options, 0, "paper " + label), first});
    };
    study.rows.push_back({"paper", first, first});
    options.head = end.head;
    options.classes = {.choice = model::ClassChoice::kSeen};
    options.decay = end.decay;
    row("+ all classes, generated");
    options.classes = end.classes;
    row("+ contenders alone");
    options.paper_widths = end.paper_widths;
    row("+ own widths");
    options.loss.sharpness = end.loss.sharpness;
    row(fmt::format("+ sharpness {:g}", options.loss.sharpness));
    options.loss.all_share = end.loss.all_share;
    row("+ classes that fail");
    options.loss.regret = end.loss.regret;
    row("+ regret");
    const std::size_t last = from_paper ? add(end, 0, "default") : plan_.reference;
    study.rows.push_back({fmt::format("+ {} epochs (the default)", end.epochs), last, first});
  }

  const PlanOptions& options_;
  Plan plan_;
};

}  // namespace

Plan make_plan(const PlanOptions& options) {
  return Planner(options).make();
}

}  // namespace reformer::cli
