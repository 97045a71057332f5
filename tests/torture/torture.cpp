// A whole reformerd under load, hurt again and again; counts what was acknowledged and lost.
//
//   torture --minutes N [--seed S] [--only kill,stop,damage,full,hostile,slow,readonly,failing]
//
// Each round is one of: kill -9 at a random moment, with a sound disk or a slow one; a stopped
// (SIGSTOP) daemon against a client; a file of the database damaged; the file system of the state
// full, read-only or with I/O errors for a while; hostile connections. After each round every
// acknowledged measurement must be there, whole; after damage, all but those that docs/storage.md
// allows (after a round: the newest and some of the others; after damage and at the end, all). Ends
// with one summary line, and with exit code 1 if anything was lost or grew: memory beyond what new
// answers take, descriptors, latency (in a run of minutes).
#include "core/problem_text.h"
#include "core/wire.h"
#include "libclient/client.h"
#include "tests/daemon/running_daemon.h"
#include "tests/resident_memory.h"
#include "tests/torture/disk_faults.h"

#include <fmt/core.h>
#include <fmt/format.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace reformer;
using namespace reformer::testing;
namespace fs = std::filesystem;
namespace wire = core::wire;
using Clock = std::chrono::steady_clock;

struct Tally {
  std::uint64_t kills = 0, stops = 0, damages = 0, full_disks = 0, hostile = 0;
  std::uint64_t slow_disks = 0, read_only_disks = 0, failing_disks = 0;
  std::uint64_t acknowledged = 0, lost = 0, lost_with_damaged_files = 0, restarts = 0;
  std::uint64_t too_much = 0;  // rounds in which damage cost more than it may
  std::uint64_t unserved = 0;  // rounds after which the daemon did not serve
  std::uint64_t late = 0;  // rounds in which a hung daemon cost three clients more than 5 ms each
  double first_mib = 0, last_mib = 0;
  std::size_t first_files = 0, last_files = 0;
  std::vector<double> query_us;  // the median of each check
};

double median(std::vector<double> values) {
  if (values.empty()) {
    return 0;
  }
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

std::size_t open_files(pid_t pid) {
  std::error_code error;
  std::size_t count = 0;
  for (fs::directory_iterator entry("/proc/" + std::to_string(pid) + "/fd", error), end;
       !error && entry != end;
       entry.increment(error)) {
    ++count;
  }
  return count;
}

// Shares a page with the library that is preloaded into the daemon.
class Disk {
 public:
  explicit Disk(const Folder& folder) {
    const fs::path file = folder.write("faults", std::string(4096, '\0'));
    const int descriptor = ::open(file.c_str(), O_RDWR | O_CLOEXEC);
    void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    ::close(descriptor);
    if (page == MAP_FAILED) {
      throw std::runtime_error("no page for the disk's faults");
    }
    faults_ = new (page) DiskFaults;
    ::setenv(kFaultsFile, file.c_str(), 1);
    ::setenv(kFaultsFolder, (folder.path() / "state").c_str(), 1);
#if defined(DISK_FAULTS)
    ::setenv("LD_PRELOAD", DISK_FAULTS, 1);
#else
    fmt::print("torture: built with a sanitizer: no slow, read-only or failing disks\n");
#endif
  }
  void fail(int error, unsigned thousandths = 1000) {
    faults_->thousandths = thousandths;
    faults_->error = static_cast<std::uint32_t>(error);
  }
  void slow(unsigned us) {
    faults_->delay_us = us;
  }
  void heal() {
    fail(0);
    slow(0);
  }

 private:
  DiskFaults* faults_;
};

class Torture {
 public:
  explicit Torture(unsigned seed) : random_(seed), disk_(folder_) { start(); }

  // `only`: names of kinds of rounds; empty for all.
  void round(std::string_view only) {
    // As often as they come up.
    static constexpr std::pair<const char*, void (Torture::*)()> kRounds[] = {
      {"kill", &Torture::kill_round},
      {"kill", &Torture::kill_round},
      {"kill", &Torture::kill_round},
      {"kill", &Torture::kill_round},
      {"stop", &Torture::stopped_daemon},
      {"damage", &Torture::damaged_file},
      {"full", &Torture::full_disk},
      {"hostile", &Torture::hostile_connections},
#if defined(DISK_FAULTS)
      {"slow", &Torture::slow_disk},
      {"readonly", &Torture::read_only_disk},
      {"failing", &Torture::failing_disk},
#endif
    };
    const auto& [name, run] = kRounds[random_() % std::size(kRounds)];
    if (!only.empty() && only.find(name) == std::string_view::npos) {
      return;
    }
    history_.emplace_back(name);
    try {
      (this->*run)();
    } catch (const std::exception& error) {  // of a daemon that does not answer
      ++tally_.unserved;
      fmt::print(stderr, "torture: {}: {}\n{}\n", name, error.what(), last_lines(daemon_->log()));
      disk_.heal();
      start();
    }
  }
  void finish() {
    check("at the end", 0, SIZE_MAX);
    note_growth();
  }
  [[nodiscard]] const Tally& tally() const {
    return tally_;
  }

 private:
  void start(std::vector<std::string> more = {"--timer", "none"}) {
    daemon_.reset();
    daemon_ = std::make_unique<RunningDaemon>(folder_, std::move(more));
    ++tally_.restarts;
    if (!TestClient(daemon_->socket()).connected()) {
      ++tally_.unserved;
      const auto status = daemon_->ended();
      fmt::print(stderr,
                 "torture: it does not start: {}\n{}\n",
                 !status       ? "running, without an answer"
                 : *status < 0 ? fmt::format("signal {}", -*status)
                               : fmt::format("exit code {}", *status),
                 last_lines(daemon_->log()));
    }
  }
  static std::string last_lines(const std::string& log) {
    std::size_t begin = log.size();
    for (int lines = 0; lines < 6 && begin != 0 && begin != std::string::npos; ++lines) {
      begin = log.rfind('\n', begin - 1);
    }
    return log.substr(begin == std::string::npos ? 0 : begin);
  }
  static std::string problem(int id) {
    return sample_problem(8 * (1 + id % kChannels), 8 * (1 + id / kChannels));
  }
  static double best_us(int id) {
    return 1 + id % 97;
  }
  // Stores measurements of new problems until `stop` or the end of the connection.
  void write_until(const std::atomic<bool>& stop, std::size_t most = SIZE_MAX) {
    TestClient client(daemon_->socket());
    for (std::size_t i = 0; i < most && !stop; ++i) {
      const int id = next_++;
      const std::string line =
          sample_line(8 * (1 + id % kChannels), best_us(id), 8 * (1 + id / kChannels));
      const auto reply = client.admin({{"request", "import"}, {"lines", {line}}});
      if (reply.value("stored", 0) != 1) {
        return;  // not acknowledged: it may be there or not
      }
      acknowledged_.insert(id);
      ++tally_.acknowledged;
    }
  }
  // Acknowledged measurements, as they were given: the `newest`, and as many again of the others.
  // Returns how many are lost; those that may be are no failure.
  std::uint64_t check(const char* when,
                      std::uint64_t may_be_lost = 0,
                      std::size_t newest = kNewest) {
    TestClient client(daemon_->socket());
    if (!client.connected()) {
      ++tally_.unserved;
      return 0;
    }
    client.greet();
    std::uint64_t lost = 0;
    bool waited = false;
    std::vector<double> query_us;
    for (const int id : to_check(newest)) {
      const auto is_whole = [id](const core::Decision& found) {
        return found.source == core::Source::kMeasured && found.entries.size() == 2 &&
               found.entries[0].time_us == static_cast<float>(best_us(id));
      };
      const auto asked = Clock::now();
      auto found = client.query(problem(id));
      query_us.push_back(std::chrono::duration<double, std::micro>(Clock::now() - asked).count());
      if (!is_whole(found) && !waited) {  // it is published a moment after it was acknowledged
        std::this_thread::sleep_for(std::chrono::milliseconds(500));
        waited = true;
        found = client.query(problem(id));
      }
      const bool whole = is_whole(found);
      lost += whole ? 0 : 1;
      if (!whole && lost == may_be_lost + 1) {
        fmt::print(stderr,
                   "torture: {}: number {} of {}: {}, {} entries\n",
                   when,
                   id,
                   next_ - 1,
                   static_cast<int>(found.source),
                   found.entries.size());
      }
      if (!whole) {
        acknowledged_.erase(id);
      }
    }
    tally_.query_us.push_back(median(std::move(query_us)));
    (may_be_lost > 0 ? tally_.lost_with_damaged_files : tally_.lost) += lost;
    if (lost > may_be_lost) {
      fmt::print(stderr, "torture: {} lost {}, of which {} may be\n", lost, when, may_be_lost);
      tally_.too_much += may_be_lost > 0 ? 1 : 0;
      keep_evidence();
    }
    return lost;
  }
  // What somebody needs who looks for the reason; of the first such loss, as it was found and as
  // the daemon left it.
  void keep_evidence() {
    const std::size_t last = std::min<std::size_t>(history_.size(), 8);
    fmt::print(stderr,
               "torture: the last rounds: {}\n",
               fmt::join(history_.end() - static_cast<std::ptrdiff_t>(last), history_.end(), " "));
    const fs::path evidence = folder_.path().string() + "-evidence";
    if (!fs::exists(evidence)) {
      fs::copy(folder_.path() / "state", evidence, fs::copy_options::recursive);
      fmt::print(
          stderr, "torture: kept as {}\n{}\n", evidence.string(), last_lines(daemon_->log()));
    }
  }
  std::vector<int> to_check(std::size_t newest) {
    std::vector<int> chosen(acknowledged_.begin(), acknowledged_.end());
    if (chosen.size() / 2 > newest) {
      const auto old = chosen.end() - static_cast<std::ptrdiff_t>(newest);
      std::shuffle(chosen.begin(), old, random_);
      chosen.erase(chosen.begin(), old - static_cast<std::ptrdiff_t>(newest));
    }
    return chosen;
  }
  void note_growth() {
    const double mib = resident_mib(daemon_->pid());
    const std::size_t files = open_files(daemon_->pid());
    if (tally_.first_files == 0) {
      tally_.first_mib = mib;
      tally_.first_files = files;
    }
    tally_.last_mib = mib;
    tally_.last_files = files;
  }

  void kill_round() {
    kill_under_load(60'000);
  }
  void kill_under_load(unsigned within_us) {
    const std::atomic<bool> stop = false;
    std::jthread killer([pid = daemon_->pid(), after = random_() % within_us] {
      std::this_thread::sleep_for(std::chrono::microseconds(after));
      ::kill(pid, SIGKILL);
    });
    write_until(stop);
    killer.join();
    daemon_->wait();
    ++tally_.kills;
    start();
    check("after kill -9");
  }

  // Milliseconds that a new client waits in a thousand questions.
  double time_waited() {
    client::Options options;
    options.socket_path = daemon_->socket();
    options.freeze_file = "";
    const auto made = std::move(*client::Client::create(options));
    client::ContextInfo info;
    info.context = recorded_context();
    const auto context = *made->add_context(std::move(info));
    double waited_ms = 0;
    for (int i = 0; i < 1000; ++i) {
      const auto problem = core::parse_problem(sample_problem(8 * kChannels + 8 * (1 + i))).value();
      const auto start = Clock::now();
      (void)made->query(context, problem);
      const double ms = std::chrono::duration<double, std::milli>(Clock::now() - start).count();
      waited_ms += ms > 0.5 ? ms : 0;  // the rest is the look-up itself
    }
    return waited_ms;
  }

  void stopped_daemon() {
    daemon_->signal(SIGSTOP);
    ++tally_.stops;
    bool late = true;
    for (int attempt = 0; attempt < 3 && late; ++attempt) {
      late = time_waited() > 10;  // 5 ms, and what else runs on this machine
    }
    tally_.late += late ? 1 : 0;
    daemon_->signal(SIGCONT);
    check("after SIGSTOP");
  }

  // What 64 damaged bytes in such a file may cost: docs/storage.md.
  static std::uint64_t may_cost(const fs::path& file) {
    if (file.extension() == ".log") {
      return 2;  // an entry is longer than that
    }
    constexpr std::uint64_t kRecordBytes = 40;  // of two candidates, with its key; at least
    return file.extension() == ".sst" ? 2 * 4096 / kRecordBytes : 0;
  }

  void damaged_file() {
    const std::atomic<bool> stop = false;
    write_until(stop, 20);
    if (random_() % 2 == 0) {
      TestClient(daemon_->socket()).admin({{"request", "compact"}});  // into tables
      write_until(stop, 5);
    }
    daemon_->signal(random_() % 2 == 0 ? SIGKILL : SIGTERM);
    daemon_->wait();
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(folder_.path() / "state" / "database")) {
      if (entry.is_regular_file() && entry.file_size() > 0) {
        files.push_back(entry.path());
      }
    }
    // As it was, for keep_evidence().
    const fs::path before = folder_.path() / "state" / "before";
    fs::remove_all(before);
    fs::copy(folder_.path() / "state" / "database", before);
    std::uint64_t may_be_lost = 0;
    std::string name = "no file";
    if (!files.empty()) {
      const fs::path& file = files[random_() % files.size()];
      may_be_lost = may_cost(file);
      name = file.filename().string();
      const auto size = static_cast<std::int64_t>(fs::file_size(file));
      std::fstream bytes(file, std::ios::in | std::ios::out | std::ios::binary);
      bytes.seekp(static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(size)));
      const std::string garbage(std::min<std::size_t>(static_cast<std::size_t>(size), 64), '\x5a');
      bytes.write(garbage.data(), static_cast<std::streamsize>(garbage.size()));
    }
    ++tally_.damages;
    start();
    check(("with damage in " + name).c_str(), may_be_lost, SIZE_MAX);
    remove_set_aside();
  }
  // As an administrator would in the end: the disk is not endless.
  void remove_set_aside() {
    for (const auto& entry : fs::directory_iterator(folder_.path() / "state")) {
      if (entry.path().filename().string().find(".set-aside") != std::string::npos) {
        fs::remove_all(entry.path());
      }
    }
  }

  void slow_disk() {
    disk_.slow(static_cast<unsigned>(1000 + random_() % 4000));
    ++tally_.slow_disks;
    kill_under_load(400'000);
    disk_.heal();
  }

  // The daemon serves what it has, refuses what it cannot keep, and does not start on such a disk.
  void read_only_disk() {
    disk_.fail(EROFS);
    ++tally_.read_only_disks;
    const std::atomic<bool> stop = false;
    const auto before = tally_.acknowledged;
    write_until(stop, 5);
    if (tally_.acknowledged != before) {
      fmt::print(stderr, "torture: stored on a read-only disk\n");
      ++tally_.unserved;
    }
    check("with a read-only disk");
    if (random_() % 2 == 0) {
      daemon_->signal(SIGKILL);
      daemon_->wait();
      daemon_ =
          std::make_unique<RunningDaemon>(folder_, std::vector<std::string>{"--timer", "none"});
      if (TestClient(daemon_->socket()).connected()) {
        fmt::print(stderr, "torture: it starts on a read-only disk\n");
        ++tally_.unserved;
      }
      disk_.heal();
      start();
    }
    disk_.heal();
    expect_stored("after a read-only disk");
  }

  void failing_disk() {
    disk_.fail(random_() % 2 == 0 ? EIO : ENOSPC, 200);
    ++tally_.failing_disks;
    const std::atomic<bool> stop = false;
    for (int i = 0; i < 10; ++i) {
      write_until(stop, 5);  // ends at the first that is refused
    }
    check("with a failing disk");
    if (random_() % 2 == 0) {
      daemon_->signal(SIGKILL);
      daemon_->wait();
      disk_.heal();
      start();
    }
    disk_.heal();
    expect_stored("after a failing disk");
  }

  void expect_stored(const char* when) {
    const std::atomic<bool> stop = false;
    const auto before = tally_.acknowledged;
    write_until(stop, 5);
    if (tally_.acknowledged == before) {
      fmt::print(stderr, "torture: nothing can be stored {}: {}\n", when, daemon_->log());
      ++tally_.unserved;
    }
    check(when);
  }

  // RLIMIT_FSIZE stops the log from growing, as a full disk does; then there is room again.
  void full_disk() {
    rlimit limit{};
    ::prlimit(daemon_->pid(), RLIMIT_FSIZE, nullptr, &limit);
    rlimit tight = limit;
    tight.rlim_cur = 4096;
    ::prlimit(daemon_->pid(), RLIMIT_FSIZE, &tight, nullptr);
    const std::atomic<bool> stop = false;
    write_until(stop, 20);
    check("with a full disk");
    ::prlimit(daemon_->pid(), RLIMIT_FSIZE, &limit, nullptr);
    ++tally_.full_disks;
    expect_stored("after a full disk");
  }

  void hostile_connections() {
    std::vector<std::byte> hello;
    wire::encode(wire::Hello{1, "torture", "torture"}, 1, hello);
    std::vector<std::unique_ptr<TestClient>> held;
    for (int i = 0; i < 50; ++i, ++tally_.hostile) {
      auto client = std::make_unique<TestClient>(daemon_->socket());
      auto bytes = hello;
      switch (random_() % 5) {
        case 0:  // garbage
          for (std::byte& byte : bytes) {
            byte = static_cast<std::byte>(random_());
          }
          break;
        case 1:  // cut short
          bytes.resize(random_() % bytes.size());
          break;
        case 2:  // too long
          bytes[14] = std::byte{0xff};
          break;
        case 3:  // one bit
          bytes[random_() % bytes.size()] ^= std::byte{1};
          break;
        default: {  // a flood of queries whose answers are not read
          const auto id = client->greet();
          wire::Query query;
          query.context_id = id;
          query.verify_miss = false;
          query.problems.assign(64, core::parse_problem(sample_problem(8)).value());
          std::vector<std::byte> frame;
          wire::encode(query, 2, frame);
          bytes = frame;
        }
      }
      client->send_bytes(bytes);
      if (random_() % 2 == 0) {
        held.push_back(std::move(client));
      }
    }
    check("beside hostile connections");
    held.clear();
    note_growth();
  }

  static constexpr std::size_t kNewest = 1000;
  static constexpr int kChannels = 4096;  // numbers of channels, each with any number of filters

  std::mt19937_64 random_;
  Folder folder_;
  Disk disk_;
  std::unique_ptr<RunningDaemon> daemon_;
  std::set<int> acknowledged_;
  std::vector<std::string> history_;  // of rounds
  int next_ = 1;
  Tally tally_;
};

}  // namespace

int main(int argc, char** argv) {
  double minutes = 0.1;
  unsigned seed = std::random_device{}();
  std::string only;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::string(argv[i]) == "--minutes") {
      minutes = std::atof(argv[i + 1]);
    } else if (std::string(argv[i]) == "--seed") {
      seed = static_cast<unsigned>(std::atoi(argv[i + 1]));
    } else if (std::string(argv[i]) == "--only") {
      only = argv[i + 1];
    }
  }
  ::signal(SIGPIPE, SIG_IGN);
  fmt::print("torture: seed {}\n", seed);
  Torture torture(seed);
  const auto end = Clock::now() + std::chrono::duration<double>(minutes * 60);
  while (Clock::now() < end) {
    torture.round(only);
  }
  torture.finish();
  const Tally& t = torture.tally();
  const auto faults = t.kills + t.stops + t.damages + t.full_disks + t.slow_disks +
                      t.read_only_disks + t.failing_disks + t.hostile;
  // New answers take room: what must not grow is beyond that.
  const double room_mib = static_cast<double>(t.acknowledged) * 0.002;
  const std::size_t tenth = t.query_us.size() / 10 + 1;
  const double first_us =
      median({t.query_us.begin(), t.query_us.begin() + static_cast<std::ptrdiff_t>(tenth)});
  const double last_us =
      median({t.query_us.end() - static_cast<std::ptrdiff_t>(tenth), t.query_us.end()});
  // In a run of seconds a tenth is a few checks, and beside other programs they say nothing.
  constexpr std::size_t kTelling = 20;
  const bool slower = tenth >= kTelling && last_us > 2 * first_us + 50;
#if defined(DISK_FAULTS)
  constexpr double kGrowthMib = 16;
#else
  constexpr double kGrowthMib = 256;  // a sanitizer keeps so much of what was freed
#endif
  const bool grew = slower || t.last_files > t.first_files + 16 ||
                    t.last_mib > t.first_mib + room_mib + kGrowthMib;
  fmt::print(
      "torture: {} faults ({} kills, {} stops, {} full disks, {} slow, {} read-only, {} failing, "
      "{} "
      "damaged files, {} hostile connections), {} measurements acknowledged, {} lost; with damaged "
      "files {}, {} times more than those may cost; {} rounds not served, {} clients held up, "
      "{:.0f} -> {:.0f} MiB, {} -> {} descriptors, {:.0f} -> {:.0f} us a query\n",
      faults,
      t.kills,
      t.stops,
      t.full_disks,
      t.slow_disks,
      t.read_only_disks,
      t.failing_disks,
      t.damages,
      t.hostile,
      t.acknowledged,
      t.lost,
      t.lost_with_damaged_files,
      t.too_much,
      t.unserved,
      t.late,
      t.first_mib,
      t.last_mib,
      t.first_files,
      t.last_files,
      first_us,
      last_us);
  return t.lost == 0 && t.too_much == 0 && t.unserved == 0 && t.late == 0 && !grew ? 0 : 1;
}
