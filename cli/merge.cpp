#include "cli/commands.h"
#include "cli/progress.h"
#include "cli/reply.h"
#include "cli/units.h"
#include "interchange/measurements.h"

#include <fmt/format.h>

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

// reformerctl merge: several measurement files into one, the better founded record of each problem.
// Reads every file twice, so that only a few bytes a problem are kept in memory.
namespace reformer::cli {
namespace {

struct Place {
  std::size_t file = 0;
  std::uint64_t line = 0;
  core::Foundation foundation;
};
using Best = std::unordered_map<core::KeyHash, Place, core::KeyHasher>;

class Merger {
 public:
  explicit Merger(Session& session) : session_(session) {}

  void merge(const std::vector<std::string>& files, const std::string& out) {
    for (std::size_t i = 0; i < files.size(); ++i) {
      read(files[i], "compare", [&](const core::Record& record, std::uint64_t line) {
        consider(record, {i, line, core::foundation_of(record)});
      });
    }
    reporting_ = false;  // the second reading meets the same bad lines
    auto writer =
        must(interchange::MeasurementWriter::create(out, interchange::compression_for(out)), out);
    for (std::size_t i = 0; i < files.size(); ++i) {
      read(files[i], "write", [&](const core::Record& record, std::uint64_t line) {
        const auto found = best_.find(core::hash_key(record.key));
        if (found != best_.end() && found->second.file == i && found->second.line == line) {
          must(writer->write(record), out);
          ++written_;
        }
      });
    }
    must(writer->finish(), out);
    report(out);
  }

 private:
  template <typename T>
  static T must(core::Result<T> result, const std::string& path) {
    if (!result) {
      throw Failure(kExitFailed, path + ": " + result.error().message);
    }
    return std::move(result).value();
  }

  void read(const std::string& path,
            const char* what,
            const std::function<void(const core::Record&, std::uint64_t line)>& visit) {
    const auto reader = must(interchange::MeasurementReader::open(path), path);
    Progress progress(*session_.err, session_.progress, what);
    while (true) {
      const auto record = reader->next();
      if (record && !record->has_value()) {
        return;
      }
      if (record) {
        visit(**record, reader->line());
      } else if (reader->broken()) {
        throw Failure(kExitFailed, printable(path + ": " + record.error().message));
      } else if (reporting_) {
        ++rejected_;
        *session_.err << "reformerctl: " << printable(path + ": " + record.error().message) << '\n';
      }
      progress.update(reader->bytes_consumed(), reader->bytes_total(), path);
    }
  }

  void consider(const core::Record& record, const Place& place) {
    ++records_;
    const auto [found, is_new] = best_.try_emplace(core::hash_key(record.key), place);
    if (!is_new && core::better_founded(place.foundation, found->second.foundation)) {
      found->second = place;
    }
  }

  void report(const std::string& out) {
    if (rejected_ > 0) {
      session_.exit_code = kExitFailed;
    }
    if (session_.json) {
      print_json(
          session_,
          {{"read", records_}, {"written", written_}, {"rejected", rejected_}, {"file", out}});
    } else {
      *session_.out << fmt::format("{} records read, {} problems in {}, {} lines rejected\n",
                                   human_count(records_),
                                   human_count(written_),
                                   out,
                                   human_count(rejected_));
    }
  }

  Session& session_;
  Best best_;
  bool reporting_ = true;
  std::uint64_t records_ = 0;
  std::uint64_t written_ = 0;
  std::uint64_t rejected_ = 0;
};

}  // namespace

void add_merge(CLI::App& app, Session& session) {
  CLI::App* command =
      app.add_subcommand("merge", "Join measurement files, keeping the better founded measurements")
          ->group(group::kFiles);
  auto files = std::make_shared<std::vector<std::string>>();
  auto out = std::make_shared<std::string>();
  command->add_option("FILE", *files, "Files to read")->required()->check(CLI::ExistingFile);
  command->add_option("--out", *out, "File to write; .zst compresses")
      ->required()
      ->type_name("FILE");
  command->callback([&session, files, out] {
    conduct_alone(session, [&] { Merger(session).merge(*files, *out); });
  });
}

}  // namespace reformer::cli
