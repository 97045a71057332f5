#include "cli/commands.h"
#include "cli/reply.h"

#include <fmt/format.h>

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

// reformerctl run: a command under the cuDNN shim.
namespace reformer::cli {
namespace {

constexpr const char* kShim = "libreformer_cudnn.so";
// As env(1) and the shell say it.
constexpr int kExitNotExecutable = 126;
constexpr int kExitNoCommand = 127;

constexpr const char* kEnvironment = R"(
The shim obeys these variables, which `run` sets from its options and passes on otherwise:
  REFORMER_MODE     assist (default): answers what it knows
                    observe: changes nothing, reports what it would have answered
                    replay: answers only what is measured or frozen
                    off: does nothing
  REFORMER_FREEZE   a file made by `reformerctl freeze`: the same answers for every process
  REFORMER_SOCKET   the daemon's socket [/run/reformerd/socket]
  REFORMER_DEADLINE_US  the longest that a question to the daemon may take [3000]
  REFORMER_SHIM     the shim library, if it is not where it was installed
LD_PRELOAD is extended: what is in it already stays, behind the shim.
The exit code is the command's, 127 if it does not exist, 126 if it cannot be run.)";

struct RunOptions {
  std::string mode;
  std::string freeze;
};

std::filesystem::path find_shim() {
  if (const char* named = std::getenv("REFORMER_SHIM"); named != nullptr && *named != '\0') {
    if (::access(named, R_OK) != 0) {
      throw Failure(kExitFailed, fmt::format("REFORMER_SHIM={}: {}", named, std::strerror(errno)));
    }
    return std::filesystem::absolute(named);
  }
  const auto beside = std::filesystem::read_symlink("/proc/self/exe").parent_path();
  // Installed: bin/ and the library folder; built: bin/ and lib/.
  for (const auto& folder : {beside / REFORMER_LIBRARY_FROM_BIN, beside / "../lib", beside}) {
    std::error_code ignored;
    const auto path = std::filesystem::canonical(folder / kShim, ignored);
    if (!path.empty()) {
      return path;
    }
  }
  throw Failure(kExitFailed,
                fmt::format("{} is neither in {} nor beside reformerctl: was it built with cuDNN's "
                            "headers? REFORMER_SHIM names another place",
                            kShim,
                            (beside / REFORMER_LIBRARY_FROM_BIN).lexically_normal().string()));
}

void set(const char* name, const std::string& value) {
  if (::setenv(name, value.c_str(), 1) != 0) {
    throw Failure(kExitFailed, fmt::format("{}: {}", name, std::strerror(errno)));
  }
}

void set_environment(const RunOptions& options, const std::string& socket) {
  const std::string shim = find_shim().string();
  const char* preload = std::getenv("LD_PRELOAD");
  set("LD_PRELOAD", preload != nullptr && *preload != '\0' ? shim + ":" + preload : shim);
  set("REFORMER_SOCKET", std::filesystem::absolute(socket).string());
  if (!options.mode.empty()) {
    set("REFORMER_MODE", options.mode);
  }
  if (!options.freeze.empty()) {
    set("REFORMER_FREEZE", std::filesystem::absolute(options.freeze).string());
  }
}

// Becomes the command; returns only when it cannot, with the exit code.
int become(const std::vector<std::string>& command, std::ostream& err) {
  std::vector<char*> arguments;
  arguments.reserve(command.size() + 1);
  for (const std::string& argument : command) {
    arguments.push_back(const_cast<char*>(argument.c_str()));  // execvp does not write to them
  }
  arguments.push_back(nullptr);
  ::execvp(arguments[0], arguments.data());
  const int error = errno;
  err << "reformerctl: " << command[0] << ": " << std::strerror(error) << '\n';
  return error == ENOENT ? kExitNoCommand : kExitNotExecutable;
}

}  // namespace

void add_run(CLI::App& app, Session& session) {
  CLI::App* command =
      app.add_subcommand("run", "Run a command under the cuDNN shim: run -- COMMAND")
          ->group(group::kApplications)
          ->footer(kEnvironment)
          ->fallthrough(false)
          ->prefix_command();
  auto options = std::make_shared<RunOptions>();
  command->add_option("--mode", options->mode, "assist, observe, replay or off")
      ->check(CLI::IsMember({"assist", "observe", "replay", "off"}));
  command->add_option("--freeze", options->freeze, "Answer from this snapshot file")
      ->type_name("FILE")
      ->check(CLI::ExistingFile);
  command->callback([&session, command, options] {
    conduct_alone(session, [&] {
      std::vector<std::string> words = command->remaining();
      words.insert(words.end(), session.command.begin(), session.command.end());
      if (words.empty()) {
        throw Failure(kExitUsage, "run: no command given: reformerctl run -- COMMAND");
      }
      set_environment(*options, session.socket);
      session.out->flush();
      session.exit_code = become(words, *session.err);
    });
  });
}

}  // namespace reformer::cli
