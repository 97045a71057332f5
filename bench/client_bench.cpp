// The client's look-up tiers: this process's table, the shared table, the socket.
#include "core/problem_text.h"
#include "core/shared_table.h"
#include "libclient/client.h"
#include "libclient/reformer.h"
#include "tests/libclient/fake_daemon.h"

#include <benchmark/benchmark.h>

#include <fstream>
#include <memory>
#include <string>
#include <vector>

namespace {

namespace core = reformer::core;
namespace client = reformer::client;
namespace shared_table = reformer::core::shared_table;

const core::Context kContext{{"NVIDIA H200", 90, 132}, 91900};

core::Problem problem(int n) {
  std::string text = "fwd f16 nhwc c64 h56 w56 k64 r3 s3 pad1 n";
  text.append(std::to_string(n));
  return *core::parse_problem(text);
}

// Eight entries of six knobs, as measured answers have.
core::Decision typical_decision() {
  core::Decision decision;
  decision.source = core::Source::kMeasured;
  for (int i = 0; i < 8; ++i) {
    core::DecisionEntry entry;
    entry.config = core::EngineConfig(i);
    for (int knob = 0; knob < 6; ++knob) {
      (void)entry.config.add_knob({knob * 5, i});
    }
    decision.entries.push_back(entry);
  }
  return decision;
}

std::unique_ptr<client::Client> make_client(const std::string& socket) {
  client::Options options;
  options.socket_path = socket;
  options.freeze_file = "";
  options.deadline = std::chrono::seconds(1);
  return std::move(*client::Client::create(std::move(options)));
}

std::size_t add_context(client::Client& made) {
  client::ContextInfo info;
  info.context = kContext;
  return *made.add_context(std::move(info));
}

void process_table(benchmark::State& state) {
  const reformer::test::TemporaryFolder folder;
  reformer::test::FakeDaemon daemon(folder.file("socket"),
                                    reformer::test::Behaviour::kAnswer,
                                    [](auto&, auto&) { return typical_decision(); });
  const auto made = make_client(folder.file("socket"));
  const std::size_t context = add_context(*made);
  std::vector<core::Problem> problems;
  for (int n = 1; n <= 1000; ++n) {
    problems.push_back(problem(n));
    (void)*made->query(context, problems.back());
  }
  std::size_t i = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(*made->query(context, problems[i++ % problems.size()]));
  }
}
BENCHMARK(process_table);

void process_table_by_the_c_library(benchmark::State& state) {
  const reformer::test::TemporaryFolder folder;
  reformer::test::FakeDaemon daemon(folder.file("socket"),
                                    reformer::test::Behaviour::kAnswer,
                                    [](auto&, auto&) { return typical_decision(); });
  const std::string socket = folder.file("socket");
  reformer_options options{};
  options.socket_path = socket.c_str();
  options.deadline_us = 1'000'000;
  options.freeze_file = "";
  reformer_client* made = nullptr;
  uint32_t id = 0;
  const reformer_context context{"NVIDIA H200", 90, 132, 91900, nullptr, -1};
  reformer_problem asked{};
  reformer_decision decision{};
  if (reformer_connect(&options, &made) != REFORMER_OK ||
      reformer_add_context(made, &context, &id) != REFORMER_OK ||
      reformer_problem_parse("fwd f16 nhwc n32 c64 h56 w56 k64 r3 s3 pad1", &asked) !=
          REFORMER_OK) {
    state.SkipWithError(reformer_last_error());
    return;
  }
  for (auto _ : state) {
    benchmark::DoNotOptimize(reformer_query(made, id, &asked, nullptr, &decision));
  }
  reformer_disconnect(made);
}
BENCHMARK(process_table_by_the_c_library);

// A look-up in the mapped table, with the table of a process that starts fresh: every iteration
// asks for another of 4 096 problems, and clients are replaced when they know all of them.
void shared_table_lookup(benchmark::State& state) {
  constexpr int kProblems = 4096;
  const reformer::test::TemporaryFolder folder;
  std::vector<std::byte> memory(shared_table::table_bytes(2 * 8192, 8U << 20));
  shared_table::Writer writer(memory, 2 * 8192, 8U << 20, 1);
  std::vector<core::Problem> problems;
  const std::uint64_t context_hash = core::hash_context(kContext);
  for (int n = 1; n <= kProblems; ++n) {
    problems.push_back(problem(n));
    (void)writer.put(core::hash_problem(context_hash, problems.back()), typical_decision());
  }
  {
    std::ofstream file(folder.file("socket.table"), std::ios::binary);
    file.write(reinterpret_cast<const char*>(memory.data()),
               static_cast<std::streamsize>(memory.size()));
  }
  std::unique_ptr<client::Client> made;
  std::size_t context = 0;
  std::size_t i = 0;
  for (auto _ : state) {
    if (i % kProblems == 0) {
      state.PauseTiming();
      made = make_client(folder.file("socket"));
      context = add_context(*made);
      state.ResumeTiming();
    }
    benchmark::DoNotOptimize(*made->query(context, problems[i++ % kProblems]));
  }
}
BENCHMARK(shared_table_lookup);

// A round trip to a daemon in another thread that does nothing but answer.
void socket_round_trip(benchmark::State& state) {
  const reformer::test::TemporaryFolder folder;
  reformer::test::FakeDaemon daemon(folder.file("socket"),
                                    reformer::test::Behaviour::kAnswer,
                                    [](auto&, auto&) { return typical_decision(); });
  const auto made = make_client(folder.file("socket"));
  const std::size_t context = add_context(*made);
  int n = 0;
  core::Problem asked = problem(1);
  for (auto _ : state) {
    asked.x.dims[0] = asked.y.dims[0] = ++n;
    benchmark::DoNotOptimize(*made->query(context, asked));
  }
}
BENCHMARK(socket_round_trip)->Iterations(20000);

}  // namespace

BENCHMARK_MAIN();
