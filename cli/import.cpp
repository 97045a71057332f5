#include "cli/commands.h"
#include "cli/progress.h"
#include "cli/reply.h"
#include "cli/units.h"
#include "interchange/measurements.h"

#include <fmt/format.h>

#include <memory>
#include <string>
#include <vector>

// reformerctl import: measurement files into the daemon, in batches that are on disk when they are
// acknowledged.
namespace reformer::cli {
namespace {

// A request must fit a protocol message (1 MiB) after its quotes were escaped.
constexpr std::size_t kBatchBytes = 256 << 10;
constexpr std::size_t kShownRejections = 10;

class Importer {
 public:
  Importer(Session& session, AdminChannel& channel) : session_(session), channel_(channel) {}

  void import_file(const std::string& path) {
    auto opened = interchange::MeasurementReader::open(path);
    if (!opened) {
      throw Failure(kExitFailed, path + ": " + opened.error().message);
    }
    interchange::MeasurementReader& reader = **opened;
    Progress progress(*session_.err, session_.progress, "import");
    while (true) {
      auto record = reader.next();
      if (!record) {
        reject(path, record.error().message);
        if (reader.broken()) {
          break;
        }
      } else if (!record->has_value()) {
        break;
      } else {
        add(path, reader.line(), interchange::record_to_json(**record));
      }
      progress.update(
          reader.bytes_consumed(), reader.bytes_total(), human_count(stored_ + kept_) + " records");
    }
    flush(path);
  }

  void report() {
    if (session_.json) {
      print_json(session_, {{"stored", stored_}, {"kept", kept_}, {"rejected", rejections_}});
    } else {
      *session_.out << fmt::format("{} stored, {} kept as they were better founded, {} rejected\n",
                                   human_count(stored_),
                                   human_count(kept_),
                                   human_count(rejected_));
    }
    if (rejected_ > 0) {
      session_.exit_code = kExitFailed;
    }
  }

 private:
  void add(const std::string& path, std::uint64_t line, std::string text) {
    if (bytes_ + text.size() > kBatchBytes && !lines_.empty()) {
      flush(path);
    }
    bytes_ += text.size();
    lines_.push_back(std::move(text));
    numbers_.push_back(line);
  }

  void flush(const std::string& path) {
    if (lines_.empty()) {
      return;
    }
    const Json reply = ask(channel_, {{"request", "import"}, {"lines", lines_}});
    stored_ += count_of(reply, "stored");
    kept_ += count_of(reply, "kept");
    for (const Json& rejection : array_of(reply, "rejected")) {
      const std::uint64_t index = count_of(rejection, "index");
      reject(path,
             (index < numbers_.size() ? fmt::format("line {}: ", numbers_[index]) : "") +
                 text_of(rejection, "error"));
    }
    lines_.clear();
    numbers_.clear();
    bytes_ = 0;
  }

  void reject(const std::string& path, const std::string& why) {
    const std::string message = printable(path + ": " + why);
    if (++rejected_ <= kShownRejections) {
      *session_.err << "reformerctl: " << message << '\n';
      rejections_.push_back(message);
    } else if (rejected_ == kShownRejections + 1) {
      *session_.err << "reformerctl: more lines are rejected\n";
    }
  }

  Session& session_;
  AdminChannel& channel_;
  std::vector<std::string> lines_;
  std::vector<std::uint64_t> numbers_;  // line numbers of lines_
  std::size_t bytes_ = 0;
  std::uint64_t stored_ = 0;
  std::uint64_t kept_ = 0;
  std::uint64_t rejected_ = 0;
  Json rejections_ = Json::array();  // the first ones
};

}  // namespace

void add_import(CLI::App& app, Session& session) {
  CLI::App* command =
      app.add_subcommand("import",
                         "Store measurement files (reformer-measurements/1, plain or zstd)")
          ->group(group::kFiles);
  auto files = std::make_shared<std::vector<std::string>>();
  command->add_option("FILE", *files, "Files to read")->required()->check(CLI::ExistingFile);
  command->callback([&session, files] {
    conduct(session, [&](AdminChannel& channel) {
      Importer importer(session, channel);
      for (const std::string& file : *files) {
        importer.import_file(file);
      }
      importer.report();
    });
  });
}

}  // namespace reformer::cli
