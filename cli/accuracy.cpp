#include "cli/commands.h"
#include "cli/reply.h"
#include "cli/request_options.h"
#include "cli/table.h"
#include "cli/units.h"

#include <ctime>
#include <memory>
#include <string>

// reformerctl accuracy: the rows behind `ablation`, one a variant and verified problem.
namespace reformer::cli {
namespace {

// RFC 4180: quotes where they are needed.
std::string csv_field(const Json& value) {
  if (!value.is_string()) {
    return value.is_null() ? "" : value.dump();
  }
  const auto text = value.get<std::string>();
  if (text.find_first_of(",\"\r\n") == std::string::npos) {
    return text;
  }
  std::string quoted = "\"";
  for (const char c : text) {
    quoted += c;
    if (c == '"') {
      quoted += c;
    }
  }
  return quoted + '"';
}

// Columns are those of the first row; a later row that lacks one leaves it empty.
void print_csv(Session& session, AdminChannel& channel, const Json& request) {
  std::vector<std::string> columns;
  const auto put = [&](const auto& field_of) {
    const char* before = "";
    for (const std::string& column : columns) {
      *session.out << before << field_of(column);
      before = ",";
    }
    *session.out << '\n';
  };
  ask_rows(channel, request, [&](const Json& row) {
    if (columns.empty()) {
      for (const auto& [name, value] : row.items()) {
        columns.push_back(name);
      }
      put([](const std::string& column) { return csv_field(column); });
    }
    put([&](const std::string& column) {
      const auto found = row.find(column);
      return found == row.end() ? std::string() : csv_field(*found);
    });
  });
}

void print_rows(Session& session, AdminChannel& channel, const Json& request) {
  Table table({{"variant", Align::kLeft, Fit::kShrink},
               {"predicted", Align::kLeft, Fit::kShrink},
               {"top-1"},
               {"slowdown", Align::kRight},
               {"sure", Align::kRight},
               {"key", Align::kLeft, Fit::kShrink}});
  ask_rows(channel, request, [&](const Json& row) {
    const bool top1 = flag_of(row, "top1");
    table.add({text_of(row, "variant"),
               text_or(row, "predicted", "-"),
               {top1 ? "yes" : "no", top1 ? Tone::kGood : Tone::kPlain},
               human_factor(number_or_nan(row, "slowdown")),
               flag_or(row, "abstained", false)
                   ? Cell("abstains", Tone::kWarning)
                   : Cell(human_share(number_or_nan(row, "confidence"))),
               {text_or(row, "key", ""), Tone::kFaint}});
  });
  table.print(*session.out, session.colour);
}

}  // namespace

void add_accuracy(CLI::App& app, Session& session) {
  CLI::App* command =
      app.add_subcommand("accuracy", "The accuracy log: one row a model and verified problem")
          ->group(group::kModels);
  auto options = std::make_shared<AccuracyOptions>();
  auto csv = std::make_shared<bool>(false);
  auto lines = std::make_shared<bool>(false);
  options->add(*command);
  auto* as_csv = command->add_flag("--csv", *csv, "Comma-separated values with a heading");
  command->add_flag("--jsonl", *lines, "JSON lines")->excludes(as_csv);
  command->callback([&session, options, csv, lines] {
    conduct(session, [&](AdminChannel& channel) {
      Json request{{"request", "accuracy"}};
      options->fill(request);
      if (*csv) {
        print_csv(session, channel, request);
      } else if (*lines) {
        ask_rows(channel, request, [&](const Json& row) { *session.out << row.dump() << '\n'; });
      } else if (session.json) {
        print_json_rows(session, channel, request);
      } else {
        print_rows(session, channel, request);
      }
    });
  });
}

}  // namespace reformer::cli
