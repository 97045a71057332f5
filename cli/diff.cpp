#include "cli/commands.h"
#include "cli/reply.h"
#include "cli/table.h"
#include "cli/units.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdint>
#include <memory>
#include <string>

// reformerctl diff: what a cuDNN upgrade did to the best measured times.
namespace reformer::cli {
namespace {

struct DiffOptions {
  std::int64_t from = 0;
  std::int64_t to = 0;
  std::string device;
};

void print_diff(Session& session, AdminChannel& channel, const Json& request) {
  Table table({{"problem", Align::kLeft, Fit::kShrink},
               {"from", Align::kRight},
               {"to", Align::kRight},
               {"ratio", Align::kRight}});
  std::size_t slower = 0;
  std::size_t rows = 0;
  ask_rows(channel, request, [&](const Json& row) {
    const double ratio = number_of(row, "ratio");
    table.add({text_of(row, "problem"),
               human_us(number_of(row, "from_us")),
               human_us(number_of(row, "to_us")),
               {human_factor(ratio),
                ratio > 1.02   ? Tone::kBad
                : ratio < 0.98 ? Tone::kGood
                               : Tone::kPlain}});
    slower += ratio > 1 ? 1 : 0;
    ++rows;
  });
  if (!table.empty()) {
    table.print(*session.out, session.colour);
  }
  *session.out << fmt::format("{} of {} problems got slower\n", slower, rows);
}

}  // namespace

void add_diff(CLI::App& app, Session& session) {
  CLI::App* command =
      app.add_subcommand("diff", "Problems whose best time differs between two cuDNN versions")
          ->group(group::kProblems);
  auto options = std::make_shared<DiffOptions>();
  command->add_option("FROM", options->from, "cuDNN version number: 91400")->required();
  command->add_option("TO", options->to, "cuDNN version number: 91900")->required();
  command->add_option("--device", options->device, "GPU, as `list` shows it");
  command->callback([&session, options] {
    conduct(session, [&](AdminChannel& channel) {
      Json request{{"request", "diff"}, {"from", options->from}, {"to", options->to}};
      if (!options->device.empty()) {
        request["device"] = options->device;
      }
      if (session.json) {
        print_json_rows(session, channel, request);
      } else {
        print_diff(session, channel, request);
      }
    });
  });
}

}  // namespace reformer::cli
