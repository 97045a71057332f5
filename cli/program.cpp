#include "cli/program.h"

#include "cli/commands.h"
#include "cli/units.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>

namespace reformer::cli {
namespace {

constexpr const char* kDefaultSocket = "/run/reformerd/socket";

constexpr const char* kFooter = R"(
A problem is written as words in any order, quoted or not:
  reformerctl explain fwd f16 nhwc n32 c64 h56 w56 k64 r3 s3 pad1
To begin:
  reformerctl status                  is the daemon there, and what does it do?
  reformerctl run -- python train.py  an application under the cuDNN shim
  reformerctl list --sort gain        where cuDNN's own choice loses most
`reformerctl COMMAND --help` explains a command.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no such problem or model, 4 no daemon, 5 alarm (check).
Environment: REFORMER_SOCKET (the daemon's socket), NO_COLOR (no colours).)";

std::string default_socket() {
  const char* path = std::getenv("REFORMER_SOCKET");
  return path != nullptr && *path != '\0' ? path : kDefaultSocket;
}

void add_global_options(CLI::App& app, Session& session) {
  app.require_subcommand(1);
  app.fallthrough();
  app.set_version_flag("--version", "reformerctl " REFORMER_VERSION);
  app.add_flag("--json", session.json, "JSON instead of tables, with the keys of docs/admin.md");
  auto* socket = app.add_option("--socket",
                                session.socket,
                                "The daemon's socket [$REFORMER_SOCKET or /run/reformerd/socket]");
  app.add_option("--offline",
                 session.offline_dir,
                 "Read the database of a stopped daemon (its state directory) instead")
      ->type_name("DIR")
      ->check(CLI::ExistingDirectory)
      ->excludes(socket);
}

void add_commands(CLI::App& app, Session& session) {
  for (auto* add : {add_status,  add_stats,  add_clients, add_check,   add_list,     add_show,
                    add_explain, add_query,  add_verify,  add_forget,  add_diff,     add_import,
                    add_export,  add_merge,  add_models,  add_promote, add_ablation, add_accuracy,
#ifdef REFORMER_CLI_TRAIN
                    add_train,
#endif
#ifdef REFORMER_CLI_EVAL
                    add_eval,
#endif
#ifdef REFORMER_CLI_ABLATE
                    add_ablate,
#endif
#ifdef REFORMER_CLI_SWEEP
                    add_sweep,
#endif
                    add_run,     add_freeze, add_reload,  add_compact}) {
    add(app, session);
  }
}

// `help` and `help COMMAND` are --help and COMMAND --help.
void rewrite_help(std::vector<std::string>& arguments) {
  if (!arguments.empty() && arguments[0] == "help") {
    arguments.erase(arguments.begin());
    arguments.emplace_back("--help");
  }
}

// What `run` starts is not for the option parser: everything behind the first "--" of a run.
std::vector<std::string> take_command(std::vector<std::string>& arguments) {
  const auto run = std::find(arguments.begin(), arguments.end(), "run");
  const auto dashes = std::find(run, arguments.end(), "--");
  if (dashes == arguments.end()) {
    return {};
  }
  std::vector<std::string> command(dashes + 1, arguments.end());
  arguments.erase(dashes, arguments.end());
  return command;
}

}  // namespace

int run_program(const Surroundings& surroundings, std::vector<std::string> arguments) {
  Session session;
  session.socket = default_socket();
  session.out = &surroundings.out;
  session.err = &surroundings.err;
  const char* no_colour = std::getenv("NO_COLOR");
  session.colour = surroundings.out_is_terminal && (no_colour == nullptr || *no_colour == '\0');
  session.progress = surroundings.err_is_terminal;
  session.open_channel = [&] {
    return surroundings.open_channel(session.socket, session.offline_dir);
  };

  rewrite_help(arguments);
  session.command = take_command(arguments);
  CLI::App app("Looks into reformerd, the per-host cache of measured cuDNN kernels.",
               "reformerctl");
  add_global_options(app, session);
  add_commands(app, session);
  app.footer(kFooter);                               // after the commands, which would inherit it
  std::reverse(arguments.begin(), arguments.end());  // as CLI11 wants them
  try {
    app.parse(arguments);
  } catch (const CLI::ParseError& error) {
    if (!app.remaining().empty() && app.get_subcommands().empty()) {
      surroundings.err << "reformerctl: there is no command \"" << printable(app.remaining()[0])
                       << "\"; reformerctl --help lists them\n";
      return kExitUsage;
    }
    const int code = app.exit(error, surroundings.out, surroundings.err);
    return code == 0 ? kExitOk : kExitUsage;
  }
  surroundings.out.flush();
  if (!surroundings.out && session.exit_code == kExitOk) {
    surroundings.err << "reformerctl: could not write all of the output\n";
    return kExitFailed;
  }
  return session.exit_code;
}

}  // namespace reformer::cli
