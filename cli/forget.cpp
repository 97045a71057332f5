#include "cli/commands.h"
#include "cli/reply.h"
#include "cli/request_options.h"
#include "cli/units.h"

#include <memory>

// reformerctl forget: removes measurements.
namespace reformer::cli {
namespace {

struct ForgetOptions {
  // --device, --cudnn and the problem are shared with the filters, so only the words are taken
  // here.
  std::vector<std::string> words;
  FilterOptions filters;
  bool all = false;
};

}  // namespace

void add_forget(CLI::App& app, Session& session) {
  CLI::App* command =
      app.add_subcommand("forget", "Remove the measurements of one problem, or of many with --all")
          ->group(group::kProblems);
  auto options = std::make_shared<ForgetOptions>();
  command->add_option("PROBLEM", options->words, "The problem, quoted or not");
  options->filters.add(*command);
  command->add_flag("--all", options->all, "Everything that the filters select");
  command->callback([&session, options] {
    conduct(session, [&](AdminChannel& channel) {
      if (options->words.empty() != options->all) {
        throw Failure(kExitUsage, "forget: give one problem, or --all with or without filters");
      }
      Json request{{"request", "forget"}};
      put_problem(request, options->words);
      options->filters.fill(request);
      if (options->all) {
        request["all"] = true;
      }
      const Json reply = ask(channel, request);
      const std::uint64_t forgotten = count_of(reply, "forgotten");
      if (session.json) {
        print_json(session, reply);
      } else {
        *session.out << human_count(forgotten) << " forgotten\n";
      }
      if (forgotten == 0 && !options->all) {
        session.exit_code = kExitNotFound;
      }
    });
  });
}

}  // namespace reformer::cli
