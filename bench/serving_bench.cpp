// Serving, from end to end: a real reformerd, its socket and its table, Redis beside it. Prints the
// tables of docs/performance.md. scripts/bench runs it.
//
//   serving_bench [--quick] [SECTION...]     tiers throughput misses clients records variants sizes
#include "bench/load.h"
#include "bench/synthetic_records.h"

#include "core/codec.h"
#include "daemon/admin.h"
#include "libclient/client.h"
#include "model/model_file.h"
#include "storage/database.h"
#include "tests/daemon/running_daemon.h"
#include "tests/resident_memory.h"

#include <fmt/core.h>

#include <hiredis/hiredis.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace reformer;
using namespace reformer::bench;
using reformer::testing::Folder;
using reformer::testing::RunningDaemon;
namespace wire = core::wire;

constexpr const char* kModel = REFORMER_SOURCE_DIR "/data/h200.reformer";
bool quick = false;

int scaled(int count) {
  return quick ? count / 10 : count;
}
double p50(std::vector<double>& times) {
  return percentile(times, 0.50);
}
double p99(std::vector<double>& times) {
  return percentile(times, 0.99);
}

const SyntheticRecords& synthetic() {
  static const SyntheticRecords records;
  return records;
}

// Records 0 to count - 1 in the state directory of a daemon that is not running yet. Returns bytes
// of disk a record, compacted.
double fill(const Folder& folder, std::uint64_t count) {
  const auto directory = daemon::database_directory(folder.path() / "state");
  std::filesystem::create_directories(directory.parent_path());
  auto database = storage::Database::open(directory, storage::OpenMode::kReadWrite, nullptr);
  for (std::uint64_t i = 0; i < count; ++i) {
    (void)(*database)->put_record(
        synthetic().record(i), storage::Database::Merge::kForce, storage::Durability::kBuffered);
  }
  (void)(*database)->compact();
  return static_cast<double>((*database)->counts()->disk_bytes) / static_cast<double>(count);
}

// Waits until every measured answer is in the shared table.
void wait_for_table(const RunningDaemon& running) {
  testing::TestClient client(running.socket());
  testing::eventually([&] {
    const auto status = client.admin({{"request", "status"}});
    return status.contains("table_complete") && status["table_complete"] == true;
  });
}

core::Problem known(std::uint64_t number) {
  return synthetic().key(number).problem;
}
// A problem that nothing was measured of.
core::Problem unknown(std::uint64_t number) {
  core::Problem problem = synthetic().key(number % 5'000).problem;
  // No recorded batch is odd but 1.
  problem.x.dims[0] = 3 + 2 * static_cast<std::int64_t>(number / 5'000);
  problem.y.dims[0] = problem.x.dims[0];
  return problem;
}

std::vector<std::vector<std::byte>> frames(std::uint64_t count,
                                           core::Problem (*problem)(std::uint64_t),
                                           std::uint64_t of) {
  std::vector<std::vector<std::byte>> all;
  std::mt19937_64 random(7);
  for (std::uint64_t i = 0; i < count; ++i) {
    all.push_back(query_frame({problem(of > 0 ? random() % of : i)}));
  }
  return all;
}

std::vector<double> round_trips(const RawConnection& connection,
                                const std::vector<std::vector<std::byte>>& requests,
                                int count) {
  return times_of(count, [&](int i) {
    connection.send(requests[static_cast<std::size_t>(i) % requests.size()]);
    (void)connection.receive_frame();
  });
}

std::vector<std::byte> bytes_of(const std::string& text) {
  const auto span = std::as_bytes(std::span(text));
  return {span.begin(), span.end()};
}
std::string redis_get(const std::string& key) {
  return fmt::format("*2\r\n$3\r\nGET\r\n${}\r\n{}\r\n", key.size(), key);
}
void redis_set(const Redis& redis, const std::string& key, const std::string& value) {
  redisContext* peer = redisConnectUnix(redis.socket().c_str());
  freeReplyObject(
      redisCommand(peer, "SET %b %b", key.data(), key.size(), value.data(), value.size()));
  redisFree(peer);
}

std::unique_ptr<client::Client> make_client(const std::string& socket) {
  client::Options options;
  options.socket_path = socket;
  options.freeze_file = "";
  options.deadline = std::chrono::seconds(1);
  options.verify_misses = false;
  return std::move(*client::Client::create(std::move(options)));
}
std::size_t add_context(client::Client& made) {
  client::ContextInfo info;
  info.context = testing::recorded_context();
  return *made.add_context(std::move(info));
}

// A GET whose request and reply have as many bytes as ours.
std::string redis_key(std::size_t request_bytes) {
  return std::string(request_bytes - 28, 'k');  // "*2\r\n$3\r\nGET\r\n$nnn\r\n" and "\r\n"
}

void row(const std::string& what, std::vector<double> times, const std::string& note = "") {
  fmt::print("| {} | {:.3g} | {:.3g} | {} |\n", what, p50(times), p99(times), note);
}

// One request at a time, by the same client code, in turn, for what else runs here to hit both.
// What a round trip costs hangs above all on whether the other process has to be woken on another
// processor: so the placement is fixed for both, and each is a row.
void compare_round_trips(const RunningDaemon& daemon,
                         const Redis& redis,
                         const std::vector<std::vector<std::byte>>& requests,
                         const std::vector<std::byte>& get,
                         std::size_t reply_bytes,
                         int count) {
  const auto connection = greet(daemon.socket());
  const auto peer = redis.runs() ? std::optional<RawConnection>(redis.socket()) : std::nullopt;
  const auto allowed = processors();
  std::vector<std::size_t> sizes;  // of our replies, which differ by some bytes
  for (const auto& request : requests) {
    connection.send(request);
    sizes.push_back(connection.receive_frame().size());
  }
  const auto exchange = [&](const RawConnection& with, const auto& what, const auto& bytes_back) {
    return times_of(count / 2, [&](int i) {
      const std::size_t index = static_cast<std::size_t>(i) % what.size();
      with.send(what[index]);
      with.receive(bytes_back[index]);
    });
  };
  const std::vector<std::vector<std::byte>> gets{get};
  for (const bool together : {true, false}) {
    if (!together && allowed.size() < 2) {
      continue;
    }
    const int server = together ? allowed.front() : allowed[1];
    const Pinned client_here(0, allowed.front());
    const Pinned daemon_there(daemon.pid(), server);
    std::vector<double> ours;
    std::vector<double> theirs;
    for (int round = 0; round < 10; ++round) {
      const auto more = exchange(connection, requests, sizes);
      ours.insert(ours.end(), more.begin(), more.end());
      if (peer) {
        const Pinned redis_there(redis.pid(), server);
        const auto same = exchange(*peer, gets, std::vector<std::size_t>{reply_bytes});
        theirs.insert(theirs.end(), same.begin(), same.end());
      }
    }
    const char* where = together ? "same processor" : "two processors";
    const double ratio = peer ? p50(ours) / p50(theirs) : 0;
    row(fmt::format("socket, measured; {}", where),
        std::move(ours),
        fmt::format("{} B there, {} B back", requests[0].size(), reply_bytes));
    if (peer) {
      row(fmt::format("Redis GET of the same size; {}", where),
          std::move(theirs),
          fmt::format("ours / Redis {:.2f}; goal 1", ratio));
    }
  }
}

std::vector<double> ping_pong(std::size_t there, std::size_t back, int count) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return {};
  }
  const auto receive = [](int fd, std::size_t bytes) {
    char buffer[8192];
    while (bytes > 0) {
      const ssize_t got = ::recv(fd, buffer, std::min(bytes, sizeof buffer), 0);
      if (got <= 0) {
        return false;
      }
      bytes -= static_cast<std::size_t>(got);
    }
    return true;
  };
  const std::vector<char> bytes(std::max(there, back));
  std::jthread echo([&] {
    while (receive(ends[1], there)) {
      (void)::send(ends[1], bytes.data(), back, MSG_NOSIGNAL);
    }
  });
  auto times = times_of(count, [&](int) {
    (void)::send(ends[0], bytes.data(), there, MSG_NOSIGNAL);
    (void)receive(ends[0], back);
  });
  ::shutdown(ends[0], SHUT_RDWR);
  echo.join();
  ::close(ends[0]);
  ::close(ends[1]);
  return times;
}

void tiers() {
  constexpr int kKnown = 1000;
  Folder folder;
  fill(folder, kKnown);
  RunningDaemon daemon(folder, {"--timer", "none", "--model", kModel});
  wait_for_table(daemon);
  const int count = scaled(100'000);
  std::vector<core::Problem> problems;
  for (int i = 0; i < kKnown; ++i) {
    problems.push_back(known(static_cast<std::uint64_t>(i)));
  }
  fmt::print("\n### Look-up tiers (microseconds)\n\n| | p50 | p99 | |\n|---|---|---|---|\n");
  {
    const auto made = make_client(daemon.socket());
    const auto context = add_context(*made);
    for (const auto& problem : problems) {
      (void)made->query(context, problem);
    }
    constexpr int kAtOnce = 50;  // the clock costs as much as the look-up
    auto times = times_of(count / kAtOnce, [&](int i) {
      for (int j = 0; j < kAtOnce; ++j) {
        const auto index = static_cast<std::size_t>(i * kAtOnce + j) % problems.size();
        (void)*made->query(context, problems[index]);
      }
    });
    for (double& time : times) {
      time /= kAtOnce;
    }
    row("table of the process", std::move(times), "goal: p50 0.1");
  }
  {
    std::vector<double> times;
    std::vector<double> attach;
    std::uint64_t hits = 0;
    for (int round = 0; round < std::max(3, count / 10'000); ++round) {
      const auto made = make_client(daemon.socket());
      const auto context = add_context(*made);
      for (std::size_t i = 0; i < problems.size(); ++i) {
        const auto start = Clock::now();
        (void)*made->query(context, problems[i]);
        (i == 0 ? attach : times).push_back(us_since(start));
      }
      hits += made->statistics().shared_hits;
    }
    const auto shared =
        100.0 * static_cast<double>(hits) / static_cast<double>(times.size() + attach.size());
    row("shared table, each problem for the first time",
        std::move(times),
        fmt::format("goal: p50 1; {:.0f} % of them from the table", shared));
    row("  the first one, which maps it", std::move(attach));
  }
  const auto requests = frames(1000, known, kKnown);
  const auto connection = greet(daemon.socket());
  connection.send(requests[0]);
  const std::size_t reply_bytes = connection.receive_frame().size();
  const std::size_t request_bytes = requests[0].size();
  const Redis redis(folder.path().string());
  const std::string key = redis_key(request_bytes);
  if (redis.runs()) {
    redis_set(redis, key, std::string(reply_bytes - 8, 'v'));
  }
  compare_round_trips(daemon, redis, requests, bytes_of(redis_get(key)), reply_bytes, count / 10);
  row("floor: two threads, same bytes over a socket pair",
      ping_pong(request_bytes, reply_bytes, count / 4));
  row("floor: a system call", times_of(count, [](int) { (void)::syscall(SYS_getppid); }));
  std::vector<char> from(1 << 20), to(1 << 20);
  auto copies = times_of(count / 4, [&](int) {
    std::memcpy(to.data(), from.data(), 4096);
    asm volatile("" : : "r"(to.data()) : "memory");
  });
  row("floor: memcpy of 4 KiB (with the clock, 0.02 to 0.04)", std::move(copies));
}

// As many requests as fit, `depth` in flight on each of `connections`; requests a second of wall
// time, and of the server's CPU time.
struct Throughput {
  double wall = 0;
  double cpu = 0;
};
Throughput pipelined(const std::vector<RawConnection>& connections,
                     const std::vector<std::byte>& batch,
                     std::size_t reply_bytes,
                     int depth,
                     int rounds,
                     pid_t server) {
  const double before = cpu_seconds(server);
  const auto start = Clock::now();
  for (int round = 0; round < rounds; ++round) {
    for (const auto& connection : connections) {
      connection.send(batch);
    }
    for (const auto& connection : connections) {
      connection.receive(reply_bytes);
    }
  }
  const double requests =
      static_cast<double>(rounds) * depth * static_cast<double>(connections.size());
  return {requests / us_since(start) * 1e6, requests / (cpu_seconds(server) - before)};
}

void throughput() {
  constexpr int kKnown = 1000;
  Folder folder;
  fill(folder, kKnown);
  RunningDaemon daemon(folder, {"--timer", "none"});
  wait_for_table(daemon);
  Redis redis(folder.path().string());
  fmt::print(
      "\n### Pipelined throughput (requests a second of the server's CPU time)\n\n"
      "| in flight | reformerd | Redis | ratio | wall: reformerd, Redis "
      "|\n|---|---|---|---|---|\n");
  const auto requests = frames(256, known, kKnown);
  for (const int depth : {1, 16, 64}) {
    std::vector<RawConnection> ours;
    std::vector<RawConnection> theirs;
    for (int i = 0; i < 4; ++i) {
      ours.push_back(greet(daemon.socket()));
      if (redis.runs()) {
        theirs.emplace_back(redis.socket());
      }
    }
    std::vector<std::byte> batch;
    std::size_t replies = 0;
    for (int i = 0; i < depth; ++i) {
      const auto& request = requests[static_cast<std::size_t>(i)];
      batch.insert(batch.end(), request.begin(), request.end());
      ours[0].send(request);
      replies += ours[0].receive_frame().size();
    }
    const std::string key = redis_key(requests[0].size());
    const std::string value(replies / static_cast<std::size_t>(depth) - 8, 'v');
    const std::string get = redis_get(key);
    std::string gets;
    for (int i = 0; i < depth; ++i) {
      gets += get;
    }
    const std::string bulk = fmt::format("${}\r\n{}\r\n", value.size(), value);
    if (redis.runs()) {
      theirs[0].send(bytes_of(fmt::format(
          "*3\r\n$3\r\nSET\r\n${}\r\n{}\r\n${}\r\n{}\r\n", key.size(), key, value.size(), value)));
      theirs[0].receive(5);  // +OK
    }
    const int rounds = std::max(20, scaled(200'000) / depth / 4);
    std::vector<double> mine_wall, mine_cpu, other_wall, other_cpu;
    for (int repeat = 0; repeat < 5; ++repeat) {
      const auto mine = pipelined(ours, batch, replies, depth, rounds, daemon.pid());
      mine_wall.push_back(mine.wall);
      mine_cpu.push_back(mine.cpu);
      if (redis.runs()) {
        const auto other = pipelined(theirs,
                                     bytes_of(gets),
                                     bulk.size() * static_cast<std::size_t>(depth),
                                     depth,
                                     rounds,
                                     redis.pid());
        other_wall.push_back(other.wall);
        other_cpu.push_back(other.cpu);
      }
    }
    fmt::print("| 4 x {} | {:.0f} | {:.0f} | {:.2f} | {:.0f}, {:.0f} |\n",
               depth,
               p50(mine_cpu),
               p50(other_cpu),
               p50(mine_cpu) / p50(other_cpu),
               p50(mine_wall),
               p50(other_wall));
  }
}

void misses() {
  Folder folder;
  fill(folder, 1000);
  RunningDaemon daemon(folder, {"--timer", "none", "--model", kModel});
  wait_for_table(daemon);
  fmt::print(
      "\n### Misses, answered by the model over the socket (microseconds)\n\n"
      "| | p50 | p99 | |\n|---|---|---|---|\n");
  const auto requests = frames(static_cast<std::uint64_t>(scaled(50'000)), unknown, 0);
  const auto one = greet(daemon.socket());
  row("one client", round_trips(one, requests, static_cast<int>(requests.size())), "goal: p50 60");
  std::vector<RawConnection> hundred;
  for (int i = 0; i < 100; ++i) {
    hundred.push_back(greet(daemon.socket()));
  }
  for (const double rate : {1000.0, 5000.0, 10000.0}) {
    row(fmt::format("100 clients, {:.0f} a second together", rate),
        open_loop(hundred,
                  rate,
                  scaled(50'000),
                  [&](int i) -> const std::vector<std::byte>& {
                    return requests[static_cast<std::size_t>(i) % requests.size()];
                  }),
        "goal: p99 250");
  }
  for (const std::size_t batch : {16U, 53U, 256U, 1024U}) {  // ResNet-50 has 53
    std::vector<std::vector<std::byte>> batches;
    for (std::uint64_t i = 0; i < 20; ++i) {
      std::vector<core::Problem> problems;
      for (std::uint64_t j = 0; j < batch; ++j) {
        problems.push_back(unknown(i * batch + j));
      }
      batches.push_back(query_frame(problems));
    }
    row(fmt::format("one request with {} misses", batch), round_trips(one, batches, scaled(1000)));
  }
}

void clients() {
  Folder folder;
  fill(folder, 1000);
  RunningDaemon daemon(folder, {"--timer", "none", "--model", kModel});
  wait_for_table(daemon);
  const auto hits = frames(1000, known, 1000);
  const auto miss = frames(5000, unknown, 0);
  fmt::print(
      "\n### Against the number of clients: 5 000 requests a second together (microseconds)\n\n"
      "| clients | measured p50 | p99 | predicted p50 | p99 |\n|---|---|---|---|---|\n");
  for (const int count : {1, 10, 100, 1000}) {
    std::vector<RawConnection> connections;
    for (int i = 0; i < count; ++i) {
      connections.push_back(greet(daemon.socket()));
    }
    const auto run = [&](const auto& requests) {
      return open_loop(
          connections, 5000, scaled(30'000), [&](int i) -> const std::vector<std::byte>& {
            return requests[static_cast<std::size_t>(i) % requests.size()];
          });
    };
    auto hit = run(hits);
    auto predicted = run(miss);
    fmt::print("| {} | {:.0f} | {:.0f} | {:.0f} | {:.0f} |\n",
               count,
               p50(hit),
               p99(hit),
               p50(predicted),
               p99(predicted));
  }
}

void records() {
  fmt::print(
      "\n### Against the number of records\n\n| records | bytes of disk each | start, ms | table "
      "complete, s "
      "| memory, MiB | of it the table | socket p50, us | shared table p50, us | on disk p50, us "
      "|\n"
      "|---|---|---|---|---|---|---|---|---|\n");
  for (const std::uint64_t count : {1'000U, 10'000U, 100'000U, 1'000'000U}) {
    if (quick && count > 100'000) {
      continue;
    }
    Folder folder;
    const double bytes = fill(folder, count);
    std::vector<double> disk;
    {
      auto database = storage::Database::open(daemon::database_directory(folder.path() / "state"),
                                              storage::OpenMode::kReadWrite,
                                              nullptr);
      std::mt19937_64 random(5);
      disk = times_of(scaled(50'000), [&](int) {
        (void)(*database)->find_record(synthetic().key(random() % count));
      });
    }
    const auto started = Clock::now();
    RunningDaemon daemon(folder, {"--timer", "none"});
    const double start_ms = us_since(started) / 1000;
    wait_for_table(daemon);
    const double complete_s = us_since(started) / 1e6;
    const auto requests = frames(20'000, known, count);
    const auto connection = greet(daemon.socket());
    auto socket = round_trips(connection, requests, scaled(50'000));
    std::vector<double> shared;
    const auto made = make_client(daemon.socket());
    const auto context = add_context(*made);
    std::mt19937_64 random(9);
    for (int i = 0; i < scaled(50'000); ++i) {
      const core::Problem problem = known(random() % count);
      const auto before = made->statistics().shared_hits.load();
      const auto start = Clock::now();
      (void)made->query(context, problem);
      const double took = us_since(start);
      if (i > 0 && made->statistics().shared_hits.load() > before) {
        shared.push_back(took);
      }
    }
    testing::TestClient admin(daemon.socket());
    const auto status = admin.admin({{"request", "status"}});
    fmt::print("| {} | {:.0f} | {:.0f} | {:.1f} | {:.0f} | {:.0f} | {:.1f} | {:.2f} | {:.1f} |\n",
               count,
               bytes,
               start_ms,
               complete_s,
               testing::resident_mib(daemon.pid()),
               static_cast<double>(status["table"]["bytes"].get<std::uint64_t>()) / (1 << 20),
               p50(socket),
               p50(shared),
               p50(disk));
    std::fflush(stdout);
  }
}

void variants() {
  fmt::print(
      "\n### Against the number of loaded models: a miss over the socket (microseconds), memory\n\n"
      "| models | p50 | p99 | memory, MiB |\n|---|---|---|---|\n");
  auto data = model::read_model(kModel);
  if (!data) {
    fmt::print(stderr, "{}\n", data.error().message);
    std::exit(1);
  }
  for (const int count : {0, 1, 2, 4, 8, 16}) {
    Folder folder;
    std::vector<std::string> arguments{"--timer", "none"};
    for (int i = 0; i < count; ++i) {
      data->info.name = fmt::format("copy-{}", i);
      const auto path = folder.path() / fmt::format("{}.reformer", i);
      (void)model::write_model(*data, path);
      arguments.insert(arguments.end(), {"--model", path.string()});
    }
    RunningDaemon daemon(folder, arguments);
    const auto requests = frames(static_cast<std::uint64_t>(scaled(30'000)), unknown, 0);
    const auto one = greet(daemon.socket());
    auto times = round_trips(one, requests, static_cast<int>(requests.size()));
    fmt::print("| {} | {:.1f} | {:.1f} | {:.0f} |\n",
               count,
               p50(times),
               p99(times),
               testing::resident_mib(daemon.pid()));
  }
}

void sizes() {
  std::vector<double> starts;
  for (int i = 0; i < 5; ++i) {
    Folder folder;
    const auto start = Clock::now();
    RunningDaemon daemon(folder, {"--timer", "none", "--model", kModel});
    starts.push_back(us_since(start) / 1000);
  }
  Folder folder;
  RunningDaemon daemon(folder, {"--timer", "none", "--model", kModel});
  const double before = testing::resident_mib(daemon.pid());
  const int count = quick ? 1000 : 10'000;
  std::vector<RawConnection> idle;
  for (int i = 0; i < count; ++i) {
    idle.push_back(greet(daemon.socket()));
  }
  fmt::print(
      "\n### Sizes\n\n| | |\n|---|---|\n| start with an empty database | {:.0f} ms (goal 100) |\n"
      "| memory, idle | {:.0f} MiB |\n| memory with {} idle clients | {:.0f} MiB (goal 200) |\n",
      p50(starts),
      before,
      count,
      testing::resident_mib(daemon.pid()));
}

}  // namespace

int main(int argc, char** argv) {
  std::set<std::string> wanted;
  for (int i = 1; i < argc; ++i) {
    if (std::string(argv[i]) == "--quick") {
      quick = true;
    } else {
      wanted.insert(argv[i]);
    }
  }
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
  const std::pair<const char*, void (*)()> sections[] = {{"tiers", tiers},
                                                         {"throughput", throughput},
                                                         {"misses", misses},
                                                         {"clients", clients},
                                                         {"records", records},
                                                         {"variants", variants},
                                                         {"sizes", sizes}};
  for (const auto& [name, run] : sections) {
    if (wanted.empty() || wanted.contains(name)) {
      run();
      std::fflush(stdout);
    }
  }
}
