#include "daemon/worker_process.h"

#include <uv.h>

#include <csignal>
#include <cstring>
#include <utility>

namespace reformer::daemon {

// Lifecycle: 1. start() makes it. 2. The process ends and both pipes close: `open_handles` falls to
// 0. 3. It deletes itself. A WorkerProcess that goes first sets `told`, and does 2. at once.
struct WorkerProcess::State {
  uv_process_t process{};
  uv_pipe_t input{};
  uv_pipe_t output{};
  int open_handles = 0;
  bool exited = false;
  bool output_ended = false;
  bool told = false;  // no event comes any more
  bool ends_by_itself = false;
  std::string why;
  std::string line;  // read so far
  Events events;

  template <typename Handle>
  void close(Handle* handle) {
    auto* base = reinterpret_cast<uv_handle_t*>(handle);
    if (uv_is_closing(base) == 0) {
      uv_close(base, [](uv_handle_t* h) {
        auto* state = static_cast<State*>(h->data);
        if (--state->open_handles == 0) {
          delete state;
        }
      });
    }
  }
  void stop(const std::string& reason) {
    if (why.empty()) {
      why = reason;
    }
    if (!exited) {
      ::kill(-process.pid, SIGKILL);  // with whatever it started
    } else if (!output_ended) {       // a descendant holds the pipe
      uv_read_stop(reinterpret_cast<uv_stream_t*>(&output));
      output_ended = true;
      ended();
    }
  }
  void take(std::string_view bytes) {
    while (!bytes.empty() && !told && why.empty()) {
      const std::size_t end = bytes.find('\n');
      line.append(bytes.substr(0, end));
      if (line.size() > kMaxLineBytes) {
        stop("it wrote an endless line");
        return;
      }
      if (end == std::string_view::npos) {
        return;
      }
      bytes.remove_prefix(end + 1);
      const std::string whole = std::exchange(line, {});
      events.on_line(whole);
    }
  }
  // Tells of the end once all it wrote has been read. Last use of `this` by the caller.
  void ended() {
    if (exited && output_ended) {
      close(&input);
      close(&output);
      close(&process);
      if (!told) {
        told = true;
        const auto tell = events.on_exit;  // may destroy the WorkerProcess
        tell(why);
      }
    }
  }
};

namespace {

using State = WorkerProcess::State;

State* state_of(const void* data) {
  return static_cast<State*>(const_cast<void*>(data));
}

void on_exit(uv_process_t* process, std::int64_t status, int signal) {
  State* state = state_of(process->data);
  state->exited = true;
  if (state->why.empty()) {
    state->why = signal != 0 ? "ended by signal " + std::to_string(signal)
                             : "ended with status " + std::to_string(status);
  }
  state->ended();
}

void on_read(uv_stream_t* stream, ssize_t count, const uv_buf_t* buffer) {
  State* state = state_of(stream->data);
  if (count > 0) {
    state->take({buffer->base, static_cast<std::size_t>(count)});
  }
  delete[] buffer->base;
  if (count < 0) {
    uv_read_stop(stream);
    state->output_ended = true;
    if (!state->exited && !state->ends_by_itself) {
      state->stop("it closed its output");
    }
    state->ended();
  }
}

}  // namespace

core::Result<std::unique_ptr<WorkerProcess>> WorkerProcess::start(uv_loop_s* loop,
                                                                  const Command& command,
                                                                  Events events) {
  auto* state = new State;
  state->events = std::move(events);
  state->ends_by_itself = command.ends_by_itself;
  uv_pipe_init(loop, &state->input, 0);
  uv_pipe_init(loop, &state->output, 0);
  state->process.data = state->input.data = state->output.data = state;

  std::vector<char*> arguments{const_cast<char*>(command.program.c_str())};
  for (const std::string& argument : command.arguments) {
    arguments.push_back(const_cast<char*>(argument.c_str()));
  }
  arguments.push_back(nullptr);
  uv_stdio_container_t stdio[3] = {};
  stdio[0].flags = static_cast<uv_stdio_flags>(UV_CREATE_PIPE | UV_READABLE_PIPE);
  stdio[0].data.stream = reinterpret_cast<uv_stream_t*>(&state->input);
  stdio[1].flags = static_cast<uv_stdio_flags>(UV_CREATE_PIPE | UV_WRITABLE_PIPE);
  stdio[1].data.stream = reinterpret_cast<uv_stream_t*>(&state->output);
  stdio[2].flags = UV_INHERIT_FD;
  stdio[2].data.fd = 2;

  uv_process_options_t options = {};
  options.file = command.program.c_str();
  options.args = arguments.data();
  options.stdio_count = 3;
  options.stdio = stdio;
  options.exit_cb = on_exit;
  options.flags = UV_PROCESS_DETACHED;  // a process group of its own, to be killed as a whole
  if (command.uid >= 0) {
    options.flags |= UV_PROCESS_SETUID | UV_PROCESS_SETGID;
    options.uid = static_cast<uv_uid_t>(command.uid);
    options.gid = static_cast<uv_gid_t>(command.gid);
  }
  state->open_handles = 3;
  const int failed = uv_spawn(loop, &state->process, &options);
  if (failed != 0) {
    state->told = true;
    state->exited = state->output_ended = true;
    state->ended();
    return core::make_error(core::ErrorCode::kUnavailable,
                            command.program + ": " + uv_strerror(failed));
  }
  uv_read_start(
      reinterpret_cast<uv_stream_t*>(&state->output),
      [](uv_handle_t*, std::size_t, uv_buf_t* buffer) {
        constexpr unsigned kBytes = 65536;
        // on_read frees it. NOLINTNEXTLINE(clang-analyzer-cplusplus.NewDeleteLeaks)
        *buffer = uv_buf_init(new char[kBytes], kBytes);
      },
      on_read);
  return std::unique_ptr<WorkerProcess>(new WorkerProcess(state));
}

WorkerProcess::~WorkerProcess() {
  if (state_->told) {
    return;  // it is closing, or gone
  }
  state_->told = true;
  if (!state_->exited) {
    ::kill(-state_->process.pid, SIGKILL);
  }
  state_->close(&state_->input);
  state_->close(&state_->output);
  state_->close(&state_->process);
}

void WorkerProcess::write(std::string line) {
  struct Request {
    uv_write_t write{};
    std::string text;
  };
  if (state_->exited || uv_is_closing(reinterpret_cast<uv_handle_t*>(&state_->input)) != 0) {
    return;
  }
  auto* request = new Request{{}, std::move(line) + "\n"};
  request->write.data = request;
  uv_buf_t buffer = uv_buf_init(request->text.data(), static_cast<unsigned>(request->text.size()));
  const auto done = [](uv_write_t* write, int) { delete static_cast<Request*>(write->data); };
  if (uv_write(&request->write, reinterpret_cast<uv_stream_t*>(&state_->input), &buffer, 1, done) !=
      0) {
    delete request;
  }
}

void WorkerProcess::close_input() {
  state_->close(&state_->input);
}

void WorkerProcess::kill(const std::string& why) {
  state_->stop(why);
}

int WorkerProcess::pid() const {
  return state_->process.pid;
}

}  // namespace reformer::daemon
