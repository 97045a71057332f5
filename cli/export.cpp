#include "cli/commands.h"
#include "cli/progress.h"
#include "cli/reply.h"
#include "cli/request_options.h"
#include "cli/units.h"
#include "interchange/measurements.h"

#include <fmt/format.h>

#include <memory>
#include <string>

// reformerctl export: the daemon's records as a measurement file.
namespace reformer::cli {
namespace {

void write_file(Session& session,
                AdminChannel& channel,
                const Json& request,
                const std::string& path) {
  auto writer = interchange::MeasurementWriter::create(path, interchange::compression_for(path));
  if (!writer) {
    throw Failure(kExitFailed, path + ": " + writer.error().message);
  }
  const auto must = [&](const core::Status& status) {
    if (!status) {
      throw Failure(kExitFailed, path + ": " + status.error().message);
    }
  };
  std::uint64_t rows = 0;
  {
    Progress progress(*session.err, session.progress, "export");
    ask_rows(channel, request, [&](const Json& row) {
      must((*writer)->write_line(row.dump()));
      ++rows;
      progress.update(rows, 0, human_count(rows) + " records");
    });
  }
  must((*writer)->finish());
  if (session.json) {
    print_json(session, {{"exported", rows}, {"file", path}});
  } else {
    *session.err << fmt::format("{} records in {}\n", human_count(rows), path);
  }
}

}  // namespace

void add_export(CLI::App& app, Session& session) {
  CLI::App* command =
      app.add_subcommand("export", "Write measurements to a file, or standard output")
          ->group(group::kFiles);
  auto filters = std::make_shared<FilterOptions>();
  auto path = std::make_shared<std::string>("-");
  command->add_option("FILE", *path, "Where to; .zst compresses; - is standard output")
      ->capture_default_str();
  filters->add(*command);
  command->callback([&session, filters, path] {
    conduct(session, [&](AdminChannel& channel) {
      Json request{{"request", "export"}};
      filters->fill(request);
      if (*path == "-") {
        ask_rows(channel, request, [&](const Json& row) { *session.out << row.dump() << '\n'; });
      } else {
        write_file(session, channel, request, *path);
      }
    });
  });
}

}  // namespace reformer::cli
