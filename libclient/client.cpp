#include "libclient/client.h"

#include "libclient/cancellation.h"
#include "libclient/current_pid.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <map>
#include <utility>
#include <vector>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace reformer::client {
namespace {

using core::Decision;
using core::ErrorCode;
using core::KeyHash;
using core::Problem;
namespace wire = core::wire;

constexpr std::uint16_t kEntriesAsked = 16;
constexpr std::size_t kProblemsPerRequest = 256;
constexpr std::chrono::microseconds kDefaultDeadline{3000};
constexpr std::chrono::microseconds kDeadlinePerExtraProblem{100};

std::string environment(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : otherwise;
}

bool unconstrained(const core::Constraints& constraints) {
  return constraints == core::Constraints{};
}

// Mixes what else decides an answer into a key.
KeyHash mix(const KeyHash& key, const void* more, std::size_t bytes) {
  std::uint64_t words[2];
  std::memcpy(words, key.bytes.data(), sizeof words);
  const XXH128_hash_t hash = XXH3_128bits_withSeed(more, bytes, words[0]);
  words[0] ^= hash.low64;
  words[1] ^= hash.high64;
  KeyHash mixed;
  std::memcpy(mixed.bytes.data(), words, sizeof words);
  return mixed;
}

// What an answer stands under in this process: two libraries of the same version are told apart
// here, though not by the daemon's key, and so are constraints.
KeyHash variant_key(std::size_t context, const KeyHash& key, const core::Constraints& constraints) {
  if (context == 0 && unconstrained(constraints)) {
    return key;
  }
  const std::array<std::uint64_t, 5> more{
      context,
      constraints.forbidden_numerical_notes,
      constraints.forbidden_behavior_notes,
      static_cast<std::uint64_t>(constraints.max_workspace_bytes),
      std::bit_cast<std::uint32_t>(constraints.max_build_us)};
  return mix(key, more.data(), sizeof more);
}

KeyHash config_key(const KeyHash& key, const core::EngineConfig& config) {
  std::array<std::int32_t, 1 + 2 * core::kMaxKnobs> words{};
  std::size_t count = 0;
  words[count++] = config.engine();
  for (const core::Knob& knob : config.knobs()) {
    words[count++] = knob.type;
    words[count++] = knob.value;
  }
  return mix(key, words.data(), count * sizeof words[0]);
}

std::int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now().time_since_epoch())
      .count();
}

}  // namespace

void UseCounter::add_time(float gpu_us) {
  if (!std::isfinite(gpu_us) || gpu_us <= 0) {
    return;
  }
  const std::uint32_t index = times_seen_.fetch_add(1, std::memory_order_relaxed);
  times_[index % kTimes].store(gpu_us, std::memory_order_relaxed);
}

float UseCounter::take_median() {
  const std::size_t seen =
      std::min<std::size_t>(times_seen_.exchange(0, std::memory_order_relaxed), kTimes);
  std::array<float, kTimes> sorted{};
  for (std::size_t i = 0; i < seen; ++i) {
    sorted[i] = times_[i].load(std::memory_order_relaxed);
  }
  std::sort(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(seen));
  const float median = seen == 0 ? core::kNoTime : sorted[seen / 2];
  return median > 0 ? median : core::kNoTime;  // zero: another thread's store is still on its way
}

struct Client::Process {
  Process(const Options& options, pid_t process_id)
      : pid(process_id), link(options.socket_path, options.name, options.deadline) {
    table.set_path(options.socket_path + ".table");
  }
  const pid_t pid;
  std::mutex tables;  // guards inserting into the maps, and `table`
  SharedTable table;
  std::mutex socket;  // guards `link`; taken before `tables` where both are
  DaemonLink link;
  std::string last_failure;                                // under `tables`
  std::map<std::size_t, std::vector<Problem>> unanswered;  // by context; under `tables`
};

Client::Client(Options options) : options_(std::move(options)) {
  if (options_.socket_path.empty()) {
    options_.socket_path = environment("REFORMER_SOCKET", "/run/reformerd/socket");
  }
  if (options_.deadline.count() <= 0) {
    const long asked = std::strtol(environment("REFORMER_DEADLINE_US", "0").c_str(), nullptr, 10);
    options_.deadline =
        asked > 0 && asked <= 60'000'000 ? std::chrono::microseconds(asked) : kDefaultDeadline;
  }
  if (!options_.freeze_file) {
    options_.freeze_file = environment("REFORMER_FREEZE", "");
  }
}

Client::~Client() {
  delete process_.load();
  for (auto& context : contexts_) {
    delete context.load();
  }
}

core::Result<std::unique_ptr<Client>> Client::create(Options options) {
  std::unique_ptr<Client> client(new Client(std::move(options)));
  if (!client->options_.freeze_file->empty()) {
    auto snapshot = Snapshot::open(*client->options_.freeze_file);
    if (!snapshot) {
      return snapshot.error();
    }
    client->snapshot_ = std::move(*snapshot);
  }
  return client;
}

// The state of this process. After a fork the parent's is left alone: another thread may have held
// its locks. It is leaked, once a fork, but for the descriptor, which the parent keeps using.
Client::Process& Client::process() {
  const pid_t pid = current_pid();
  Process* present = process_.load(std::memory_order_acquire);
  if (present != nullptr && present->pid == pid) {
    return *present;
  }
  auto fresh = std::make_unique<Process>(options_, pid);
  if (!process_.compare_exchange_strong(present, fresh.get(), std::memory_order_acq_rel)) {
    return *present;  // another thread of this process was faster
  }
  if (present != nullptr) {  // counted by the parent, reported by it
    counters_.for_each(
        [](UseCounter& counter) { counter.count_.store(0, std::memory_order_relaxed); });
  }
  return *fresh.release();
}

core::Result<std::size_t> Client::add_context(ContextInfo info) {
  info.hash = core::hash_context(info.context);
  auto fresh = std::make_unique<const ContextInfo>(std::move(info));
  for (std::size_t i = 0; i < kMaxContexts; ++i) {
    const ContextInfo* present = nullptr;
    if (contexts_[i].compare_exchange_strong(present, fresh.get(), std::memory_order_acq_rel)) {
      (void)fresh.release();
      return i;
    }
    if (present->context == fresh->context && present->library == fresh->library &&
        present->gpu == fresh->gpu) {
      return i;
    }
  }
  return core::make_error(ErrorCode::kExhausted, "more than 64 contexts");
}

KeyHash Client::daemon_key(std::size_t context, const Problem& problem) const {
  return core::hash_problem(contexts_[context].load(std::memory_order_acquire)->hash, problem);
}

core::Result<const Answer*> Client::query(std::size_t context,
                                          const Problem& problem,
                                          const core::Constraints& constraints) {
  if (context >= kMaxContexts || contexts_[context].load(std::memory_order_acquire) == nullptr) {
    return core::make_error(ErrorCode::kInvalidArgument, "unknown context");
  }
  // First by the problem as it was put, which spares its canonical form.
  const KeyHash raw_key = daemon_key(context, problem);
  const KeyHash raw = variant_key(context, raw_key, constraints);
  if (const Answer* known = answers_.find(raw)) {
    statistics_.process_hits.fetch_add(1, std::memory_order_relaxed);
    return known;
  }
  const core::Result<Problem> canonical = core::canonicalise(problem);
  if (!canonical) {
    return canonical.error();
  }
  const bool as_put = std::memcmp(&*canonical, &problem, sizeof problem) == 0;
  const KeyHash key = as_put ? raw_key : daemon_key(context, *canonical);
  const Answer* answer = as_put ? nullptr : answers_.find(variant_key(context, key, constraints));
  if (answer != nullptr) {
    statistics_.process_hits.fetch_add(1, std::memory_order_relaxed);
  } else if (const core::Status resolved =
                 resolve(context, {&*canonical, 1}, {&key, 1}, constraints, {&answer, 1});
             !resolved) {
    return resolved.error();
  }
  if (!as_put && answers_.keys() < kMaxAnswers) {
    Process& mine = process();
    const std::lock_guard lock(mine.tables);
    answers_.alias(raw, const_cast<Answer*>(answer));  // the map never changes a value
  }
  return answer;
}

core::Status Client::query_batch(std::size_t context,
                                 std::span<const Problem> problems,
                                 const core::Constraints& constraints,
                                 std::span<const Answer*> answers) {
  if (context >= kMaxContexts || contexts_[context].load(std::memory_order_acquire) == nullptr) {
    return core::make_error(ErrorCode::kInvalidArgument, "unknown context");
  }
  std::vector<Problem> unknown;
  std::vector<KeyHash> keys;
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < problems.size(); ++i) {
    const core::Result<Problem> canonical = core::canonicalise(problems[i]);
    if (!canonical) {
      return core::in_context("problem " + std::to_string(i), canonical.error());
    }
    const KeyHash key = daemon_key(context, *canonical);
    answers[i] = answers_.find(variant_key(context, key, constraints));
    if (answers[i] == nullptr) {
      unknown.push_back(*canonical);
      keys.push_back(key);
      places.push_back(i);
    } else {
      statistics_.process_hits.fetch_add(1, std::memory_order_relaxed);
    }
  }
  std::vector<const Answer*> found(unknown.size());
  for (std::size_t start = 0; start < unknown.size(); start += kProblemsPerRequest) {
    const std::size_t count = std::min(kProblemsPerRequest, unknown.size() - start);
    const core::Status resolved = resolve(context,
                                          std::span(unknown).subspan(start, count),
                                          std::span(keys).subspan(start, count),
                                          constraints,
                                          std::span(found).subspan(start, count));
    if (!resolved) {
      return resolved;
    }
  }
  for (std::size_t i = 0; i < places.size(); ++i) {
    answers[places[i]] = found[i];
  }
  return core::ok_status();
}

std::optional<Decision> Client::look_in_tables(Process& mine,
                                               const KeyHash& key,
                                               const core::Constraints& constraints) {
  std::optional<Decision> decision = snapshot_ ? snapshot_->find(key) : std::nullopt;
  std::atomic<std::uint64_t>* hits = &statistics_.frozen_hits;
  if (!decision) {
    const std::lock_guard lock(mine.tables);
    decision = mine.table.find(key);
    hits = &statistics_.shared_hits;
  }
  if (decision && !unconstrained(constraints)) {
    std::erase_if(decision->entries, [&constraints](const core::DecisionEntry& entry) {
      return !core::passes(entry, constraints);
    });
    if (decision->entries.empty()) {
      return std::nullopt;  // the table holds the first few only; the daemon has the record
    }
  }
  if (decision) {
    hits->fetch_add(1, std::memory_order_relaxed);
  }
  return decision;
}

const Answer* Client::keep(Process& mine, const KeyHash& variant, Answer answer) {
  if (answer.failure) {
    statistics_.failures.fetch_add(1, std::memory_order_relaxed);
  }
  if (answer.decision.source == core::Source::kAbstain) {
    statistics_.abstentions.fetch_add(1, std::memory_order_relaxed);
  }
  const std::lock_guard lock(mine.tables);
  return answers_.emplace(variant, std::move(answer));
}

core::Status Client::resolve(std::size_t context,
                             std::span<const Problem> problems,
                             std::span<const KeyHash> keys,
                             const core::Constraints& constraints,
                             std::span<const Answer*> answers) {
  if (answers_.keys() + problems.size() > kMaxAnswers) {
    return core::make_error(ErrorCode::kExhausted, "too many different problems in this process");
  }
  Process& mine = process();
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < problems.size(); ++i) {
    if (std::optional<Decision> decision = look_in_tables(mine, keys[i], constraints)) {
      answers[i] = keep(mine,
                        variant_key(context, keys[i], constraints),
                        {keys[i], std::move(*decision), std::nullopt});
    } else {
      places.push_back(i);
    }
  }
  if (places.empty()) {
    return core::ok_status();
  }
  const Deadline deadline =
      Clock::now() + options_.deadline + kDeadlinePerExtraProblem * (problems.size() - 1);
  const ContextInfo& info = *contexts_[context].load(std::memory_order_acquire);
  wire::Query query;
  query.constraints = constraints;
  query.max_entries = kEntriesAsked;
  for (const std::size_t place : places) {
    query.problems.push_back(problems[place]);
  }
  // Workers measure convolutions alone.
  query.verify_miss = options_.verify_misses &&
                      std::none_of(problems.begin(), problems.end(), [](const Problem& p) {
                        return p.fusion != 0;
                      });
  core::Result<wire::Answer> reply = wire::Answer{};
  {
    const std::lock_guard lock(mine.socket);
    reply = Clock::now() < deadline
                ? mine.link.ask(info, context, std::move(query), deadline)
                : core::make_error(ErrorCode::kTimeout, "other threads were asking");
    if (reply && !mine.link.table_path().empty()) {
      const std::lock_guard tables(mine.tables);
      mine.table.set_path(mine.link.table_path(), options_.socket_path);
    }
  }
  for (std::size_t i = 0; i < places.size(); ++i) {
    const Problem& problem = problems[places[i]];
    const KeyHash& key = keys[places[i]];
    Answer answer{key, {}, std::nullopt};
    if (reply) {
      answer.decision = std::move(reply->decisions[i]);
      statistics_.socket_hits.fetch_add(1, std::memory_order_relaxed);
    } else {
      answer.failure = reply.error();
      const std::lock_guard lock(mine.tables);
      if (auto& missed = mine.unanswered[context];
          problem.fusion == 0 && missed.size() < kProblemsPerRequest) {
        missed.push_back(problem);
      }
    }
    answers[places[i]] = keep(mine, variant_key(context, key, constraints), std::move(answer));
  }
  return core::ok_status();
}

UseCounter* Client::use_counter(std::size_t context,
                                const KeyHash& key,
                                const core::EngineConfig& config) {
  const KeyHash name = config_key(key, config);
  UseCounter* counter = counters_.find(name);
  if (counter == nullptr && context < kMaxContexts && counters_.keys() < kMaxAnswers) {
    Process& mine = process();
    const std::lock_guard lock(mine.tables);
    counter = counters_.emplace(name, context, key, config);
  }
  return counter;
}

void Client::note_failure(std::string_view what) noexcept {
  surprises_.fetch_add(1, std::memory_order_relaxed);
  try {
    Process& mine = process();
    const std::lock_guard lock(mine.tables);
    mine.last_failure.assign(what);
  } catch (...) {  // counted all the same
  }
}

void Client::flush_if_due(std::chrono::milliseconds interval) {
  const std::int64_t now = now_ms();
  std::int64_t last = flushed_at_ms_.load(std::memory_order_relaxed);
  if (interval.count() > 0 &&
      (now - last < interval.count() || !flushed_at_ms_.compare_exchange_strong(last, now))) {
    return;
  }
  Process& mine = process();
  const std::unique_lock lock(mine.socket, std::try_to_lock);
  if (lock.owns_lock()) {
    send_reports(mine);
  }
}

void Client::flush_at_exit() noexcept {
  const Uncancelled uncancelled;
  Process* mine = process_.load(std::memory_order_acquire);
  if (mine == nullptr || mine->pid != current_pid()) {
    return;
  }
  const std::unique_lock lock(mine->socket, std::try_to_lock);
  if (!lock.owns_lock() || !mine->link.connected()) {
    return;
  }
  try {
    send_reports(*mine);
  } catch (...) {  // a hint that is lost
  }
}

// What the daemon did not answer in time it can still measure, for the next process.
void Client::mention_unanswered(Process& mine) {
  std::map<std::size_t, std::vector<Problem>> unanswered;
  {
    const std::lock_guard tables(mine.tables);
    unanswered.swap(mine.unanswered);
  }
  if (!options_.verify_misses) {
    return;
  }
  for (auto& [context, problems] : unanswered) {
    wire::Query query;
    query.max_entries = 1;
    query.problems = std::move(problems);
    (void)mine.link.mention(context, std::move(query));
  }
}

void Client::send_reports(Process& mine) {
  std::array<wire::Report, kMaxContexts> reports;
  std::array<bool, kMaxContexts> wanted{};
  counters_.for_each([&](UseCounter& counter) {
    wire::Report& report = reports[counter.context_];
    if (report.uses.size() == wire::kMaxUsesPerReport) {
      return;  // next time
    }
    const std::uint32_t count = counter.count_.exchange(0, std::memory_order_relaxed);
    if (count > 0) {
      report.uses.push_back({counter.key_, count, counter.take_median(), counter.config_});
      wanted[counter.context_] = true;
    }
  });
  mention_unanswered(mine);
  if (passed_through_.load() > 0 || surprises_.load() > 0) {
    wanted[0] = true;
    reports[0].passed_through = passed_through_.exchange(0);
    reports[0].failures = surprises_.exchange(0);
    const std::lock_guard tables(mine.tables);
    reports[0].last_failure = mine.last_failure;
  }
  for (std::size_t i = 0; i < kMaxContexts; ++i) {
    const ContextInfo* info = contexts_[i].load(std::memory_order_acquire);
    if (wanted[i] && info != nullptr && !mine.link.tell(*info, i, std::move(reports[i]))) {
      return;  // uses are a hint: what cannot be sent is not kept
    }
  }
}

}  // namespace reformer::client
