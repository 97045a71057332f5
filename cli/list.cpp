#include "cli/commands.h"
#include "cli/reply.h"
#include "cli/request_options.h"
#include "cli/table.h"
#include "cli/units.h"

#include <fmt/format.h>

#include <ctime>
#include <memory>
#include <set>
#include <string>

// reformerctl list: the measured problems, filtered and sorted.
namespace reformer::cli {
namespace {

struct ListOptions {
  FilterOptions filters;
  std::string sort;
  std::uint64_t limit = 100;
};

void print_list(Session& session, AdminChannel& channel, const Json& request) {
  Table table({{"problem", Align::kLeft, Fit::kShrink},
               {"best", Align::kLeft, Fit::kShrink},
               {"time", Align::kRight},
               {"gain", Align::kRight},
               {"uses", Align::kRight},
               {"measured", Align::kRight}});
  std::set<std::string> contexts;
  std::size_t rows = 0;
  const std::int64_t now_s = std::time(nullptr);
  const Json totals = ask_rows(channel, request, [&](const Json& row) {
    const double gain = number_or_nan(row, "gain");
    table.add({text_of(row, "problem"),
               text_of(row, "best"),
               human_us(number_of(row, "time_us")),
               {human_factor(gain), gain >= 1.05 ? Tone::kGood : Tone::kPlain},
               human_count(count_of(row, "uses")),
               {human_age(static_cast<std::int64_t>(count_or(row, "measured_at", 0)), now_s),
                Tone::kFaint}});
    contexts.insert(fmt::format("{}, cuDNN {}", text_of(row, "device"), integer_of(row, "cudnn")));
    ++rows;
  });
  for (const std::string& context : contexts) {
    *session.out << in_tone(printable(context), Tone::kFaint, session.colour) << '\n';
  }
  table.print(*session.out, session.colour);
  const std::uint64_t matching = count_or(totals, "total", rows);
  if (matching > rows) {
    *session.out << fmt::format(
        "{} of {} problems; --limit 0 lists all\n", human_count(rows), human_count(matching));
  }
}

}  // namespace

void add_list(CLI::App& app, Session& session) {
  CLI::App* command = app.add_subcommand("list", "The measured problems")->group(group::kProblems);
  auto options = std::make_shared<ListOptions>();
  options->filters.add(*command);
  command
      ->add_option("--sort", options->sort, "problem, uses, gain (over heuristic A), time or age")
      ->check(CLI::IsMember({"problem", "uses", "gain", "time", "age"}));
  command->add_option("--limit", options->limit, "At most so many rows; 0 for all")
      ->capture_default_str();
  command->callback([&session, options] {
    conduct(session, [&](AdminChannel& channel) {
      Json request{{"request", "list"}};
      options->filters.fill(request);
      if (!options->sort.empty()) {
        request["sort"] = options->sort;
      }
      if (options->limit > 0) {
        request["limit"] = options->limit;
      }
      if (session.json) {
        print_json_rows(session, channel, request);
      } else {
        print_list(session, channel, request);
      }
    });
  });
}

}  // namespace reformer::cli
