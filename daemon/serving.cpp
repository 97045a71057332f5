// The loop's side of queries and reports.
#include "daemon/daemon.h"
#include "daemon/trusted_library.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <utility>

namespace reformer::daemon {
namespace {

namespace wire = core::wire;

constexpr std::size_t kMaxKnownContexts = 16;
constexpr std::size_t kMaxPendingUses = 100000;
constexpr std::size_t kMaxLookedForPlan = 100000;
constexpr std::size_t kMaxTrustedLibraries = 256;
constexpr std::uint64_t kHitsBetweenClocks = 16;  // of those that come together
// What a problem of an unfinished query takes.
constexpr std::size_t kBytesOfAMiss =
    sizeof(core::Problem) + sizeof(core::KeyHash) + sizeof(core::Decision) + sizeof(std::size_t);
constexpr std::size_t kBytesOfAnEntry = sizeof(core::DecisionEntry);

// GPU time of one execution at a tenth of a large GPU's rate, plus a launch: only to order work.
double rough_us(const core::Problem& problem) {
  return 3 + core::flops(problem) / 50e6;
}

}  // namespace

// Lives from the query until its answer is sent and its misses are queued.
struct Daemon::PendingAnswer {
  std::uint64_t client = 0;
  std::uint32_t uid = 0;
  std::uint32_t request_id = 0;
  ClientContext context;
  wire::Query query;
  std::size_t bytes = 0;  // about
  std::vector<core::KeyHash> hashes;
  std::vector<core::Decision> decisions;
  std::size_t next = 0;             // the first problem that nobody has looked at
  std::size_t looked_up = 0;        // problems that wait for the storage thread
  std::vector<std::size_t> absent;  // on disk, too: to be predicted
  std::vector<std::size_t> misses;  // indices into query.problems
  std::size_t queued = 0;           // of `misses`, from the front
  bool answered = false;
  bool in_line = false;  // in batches_
  std::chrono::steady_clock::time_point asked;
};

void Daemon::on_context(const ClientContext& context) {
  if (context.library.empty() || trusted_libraries_.contains(context.library)) {
    return;
  }
  (void)storage_->try_submit([this, path = context.library] {
    if (const auto file = trusted_library(path)) {
      loop_.post([this, path, file = *file] {
        if (trusted_libraries_.size() >= kMaxTrustedLibraries) {
          trusted_libraries_.clear();  // others are looked at again when they are named
        }
        trusted_libraries_.emplace(path, file);
      });
    }
  });
}

// What the worker that measures the job is to load, and as whom. Nothing in particular where the
// client's user may not say so: any library of that version does.
void Daemon::choose_library(std::uint32_t uid,
                            const std::string& named,
                            storage::QueuedJob& job) const {
  const auto& allowed = config_.allowed_libraries;
  job.uid = uid;
  if (uid == ::getuid() || std::find(allowed.begin(), allowed.end(), named) != allowed.end()) {
    job.library = named;
  } else if (const auto trusted = trusted_libraries_.find(named);
             trusted != trusted_libraries_.end()) {
    job.library = trusted->second;
    job.uid = kTrustedLibrary;
  }
}

// What is measured and asked for without constraints is copied from the table as it is.
bool Daemon::on_plain_query(Client& client,
                            std::uint32_t request_id,
                            const wire::PlainQuery& query,
                            std::vector<std::byte>& out) {
  const bool timed = counters_.hits % kHitsBetweenClocks == 0 || out.empty();
  const auto asked =
      timed ? std::chrono::steady_clock::now() : std::chrono::steady_clock::time_point();
  const std::uint64_t context = client.contexts[query.context_id].context_hash;
  const std::size_t count = query.problems.size() / sizeof(core::Problem);
  const std::size_t start = out.size();
  wire::begin_answer(request_id, static_cast<std::uint16_t>(count), out);
  for (std::size_t i = 0; i < count; ++i) {
    core::Problem problem;
    std::memcpy(&problem, query.problems.data() + i * sizeof problem, sizeof problem);
    if (!answers_.copy_measured(core::hash_problem(context, problem), out)) {
      out.resize(start);
      return false;
    }
  }
  wire::end_answer(start, out);
  if (out.size() - start > wire::kHeaderBytes + wire::kMaxPayloadBytes) {
    out.resize(start);
    return false;
  }
  client.queries += count;
  client.hits += count;
  counters_.queries += count;
  counters_.hits += count;
  if (timed) {
    const auto took = std::chrono::steady_clock::now() - asked;
    hit_latency_.add(static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::nanoseconds>(took).count()));
  }
  return true;
}

Server::Taken Daemon::on_query(Client& client, std::uint32_t request_id, const wire::Query& query) {
  const std::size_t count = query.problems.size();
  const std::size_t bytes = count * (kBytesOfAMiss + query.max_entries * kBytesOfAnEntry);
  const auto room = static_cast<std::size_t>(config_.max_total_bytes);
  // Long ones leave half of it to the short ones.
  if (pending_bytes_ > 0 && pending_bytes_ + bytes > (count > kMissesInATurn ? room / 2 : room)) {
    return Server::Taken::kNoRoom;
  }
  const auto pending = std::make_shared<PendingAnswer>();
  pending->asked = std::chrono::steady_clock::now();
  pending->client = client.id;
  pending->uid = client.uid;
  pending->request_id = request_id;
  pending->context = client.contexts[query.context_id];
  pending->query = query;
  pending->bytes = bytes;
  pending->hashes.resize(count);
  pending->decisions.resize(count);
  pending_bytes_ += bytes;
  go_on(pending);
  return Server::Taken::kYes;
}

void Daemon::go_on(const std::shared_ptr<PendingAnswer>& pending) {
  if (pending->in_line) {
    return;
  }
  const bool gone = !pending->answered && server_->find(pending->client) == nullptr;
  if (!gone && (!answer_some(pending) || (pending->answered && !enqueue_some(*pending)))) {
    pending->in_line = true;
    batches_.push_back(pending);
    if (batches_.size() == 1) {
      loop_.post([this] { run_batches(); });
    }
    return;
  }
  if (pending->looked_up == 0 && (gone || pending->answered)) {
    pending_bytes_ -= pending->bytes;
    server_->done(pending->client);
    server_->room();
  }
}

// One slice each turn of the loop, whatever waits; others get their turn in between.
void Daemon::run_batches() {
  turn_.begin(loop_.turn_ms());
  std::size_t waiting = batches_.size();
  for (; waiting > 0 && !turn_.is_spent(); --waiting) {
    const auto pending = batches_.front();
    batches_.pop_front();
    pending->in_line = false;
    go_on(pending);
  }
  if (waiting > 0) {
    loop_.post([this] { run_batches(); });
  }
}

// False: there is more to do than this turn allows.
bool Daemon::answer_some(const std::shared_ptr<PendingAnswer>& pending) {
  if (pending->answered) {
    return true;
  }
  const wire::Query& query = pending->query;
  auto& absent = pending->absent;
  while (!absent.empty() || pending->next < query.problems.size()) {
    if (!absent.empty()) {
      if (!turn_.spend(loop_.turn_ms())) {
        return false;
      }
      answer_miss(*pending, absent.back());
      absent.pop_back();
      continue;
    }
    const std::size_t i = pending->next++;
    const auto hash = core::hash_problem(pending->context.context_hash, query.problems[i]);
    pending->hashes[i] = hash;
    auto measured = answers_.measured(hash, query.constraints, query.max_entries);
    if (measured.decision) {
      pending->decisions[i] = std::move(*measured.decision);
    } else if (measured.needs_record || !table_complete_) {
      look_up_record(pending, i);
    } else {
      absent.push_back(i);
    }
  }
  if (pending->looked_up == 0) {
    pending->answered = true;
    finish_answer(*pending);
  }
  return true;
}

// Not while the client waits. False: there is more to do than this turn allows.
bool Daemon::enqueue_some(PendingAnswer& pending) {
  while (pending.query.verify_miss && pending.queued < pending.misses.size()) {
    if (!turn_.spend(loop_.turn_ms())) {
      return false;
    }
    const std::size_t index = pending.misses[pending.queued++];
    enqueue(pending, index, pending.decisions[index]);
  }
  return true;
}

void Daemon::look_up_record(const std::shared_ptr<PendingAnswer>& pending, std::size_t index) {
  const core::Key key{pending->context.context, pending->query.problems[index]};
  const bool taken = storage_->try_submit([this, pending, index, key] {
    auto record = database_->find_record(key);
    std::optional<core::Decision> decision;
    if (record && *record) {
      decision = decide_with_plans(plans_.get(),
                                   **record,
                                   pending->query.constraints,
                                   line_.config.build_policy,
                                   pending->query.max_entries);
    }
    loop_.post([this, pending, index, decision = std::move(decision)] {
      --pending->looked_up;
      if (decision) {
        pending->decisions[index] = *decision;
      } else {
        pending->absent.push_back(index);
      }
      go_on(pending);
    });
  });
  if (taken) {
    ++pending->looked_up;
  } else {
    pending->absent.push_back(index);
  }
}

void Daemon::answer_miss(PendingAnswer& pending, std::size_t index) {
  pending.misses.push_back(index);
  const core::Key key{pending.context.context, pending.query.problems[index]};
  const auto& query = pending.query;
  auto older =
      winner_of_older_version(key.context, key.problem, query.constraints, query.max_entries);
  pending.decisions[index] =
      older ? std::move(*older) : answers_.predicted(key, query.constraints, query.max_entries);
}

// After an upgrade of cuDNN: what was measured to be best with the version before is tried first.
std::optional<core::Decision> Daemon::winner_of_older_version(const core::Context& context,
                                                              const core::Problem& problem,
                                                              const core::Constraints& constraints,
                                                              std::size_t max_entries) const {
  for (const auto& [known, hash] : known_contexts_) {  // newest first
    if (known.device != context.device || known.cudnn_version >= context.cudnn_version) {
      continue;
    }
    auto found =
        answers_.measured(core::hash_problem(hash, problem), constraints, max_entries).decision;
    if (found && !found->entries.empty()) {
      found->source = core::Source::kPredicted;
      found->model = "winner-of-" + std::to_string(known.cudnn_version);
      found->confidence = 0.5F;  // until the new version's measurement is there
      for (auto& entry : found->entries) {
        entry.time_us = core::kNoTime;
      }
      return found;
    }
  }
  return std::nullopt;
}

std::vector<core::EngineConfig> Daemon::choices_for(const core::Key& key) {
  const auto entries = static_cast<std::size_t>(line_.config.max_entries);
  std::vector<core::EngineConfig> choices;
  const auto add = [&choices](const core::Decision& decision) {
    for (const core::DecisionEntry& entry : decision.entries) {
      if (std::find(choices.begin(), choices.end(), entry.config) == choices.end()) {
        choices.push_back(entry.config);
      }
    }
  };
  if (const auto older = winner_of_older_version(key.context, key.problem, {}, entries)) {
    add(*older);
  }
  add(answers_.predicted(key, {}, entries));
  return choices;
}

void Daemon::note_context(const core::Context& context) {
  const auto known = std::find_if(known_contexts_.begin(),
                                  known_contexts_.end(),
                                  [&](const auto& pair) { return pair.first == context; });
  if (known == known_contexts_.end() && known_contexts_.size() < kMaxKnownContexts) {
    known_contexts_.emplace_back(context, core::hash_context(context));
    std::sort(known_contexts_.begin(), known_contexts_.end(), [](const auto& a, const auto& b) {
      return a.first.cudnn_version > b.first.cudnn_version;
    });
  }
}

void Daemon::enqueue(const PendingAnswer& pending,
                     std::size_t index,
                     const core::Decision& answer) {
  if (!supervisor_->can_measure() || !supervisor_->may_have_gpu(pending.context.gpu)) {
    return;
  }
  storage::QueuedJob job;
  job.key = {pending.context.context, pending.query.problems[index]};
  choose_library(pending.uid, pending.context.library, job);
  job.gpu = pending.context.gpu;
  job.queued_at_s = std::time(nullptr);
  const double doubt = answer.source == core::Source::kAbstain ? 0.2 : 1 - answer.confidence;
  job.predicted_gain_us = static_cast<float>(doubt * rough_us(job.key.problem));
  if (queue_->add(job, job.queued_at_s) == VerificationQueue::Added::kQueued) {
    supervisor_->hold();
  }
}

void Daemon::finish_answer(PendingAnswer& pending) {
  Client* client = server_->find(pending.client);
  Client nobody;
  Client& counts = client != nullptr ? *client : nobody;
  for (const core::Decision& decision : pending.decisions) {
    const bool abstained = decision.source == core::Source::kAbstain;
    const bool hit = decision.source == core::Source::kMeasured;
    for (auto [own, all] : {std::pair(&counts.queries, &counters_.queries),
                            hit         ? std::pair(&counts.hits, &counters_.hits)
                            : abstained ? std::pair(&counts.abstained, &counters_.abstained)
                                        : std::pair(&counts.predicted, &counters_.predicted)}) {
      ++*own;
      ++*all;
    }
  }
  server_->send(pending.client, pending.request_id, wire::Answer{pending.decisions});
  const auto took = std::chrono::steady_clock::now() - pending.asked;
  const auto ns = static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(took).count());
  (pending.misses.empty() ? hit_latency_ : miss_latency_).add(ns);
  if (!pending.misses.empty() && config_.awake_after_miss_us > 0 && several_processors_) {
    loop_.stay_awake(std::chrono::microseconds(config_.awake_after_miss_us));
  }
}

void Daemon::on_report(Client& client, const ClientContext& context, const wire::Report& report) {
  ++counters_.reports;
  client.passed_through += report.passed_through;
  client.failures += report.failures;
  if (!report.last_failure.empty()) {
    client.last_failure = report.last_failure;
  }
  for (const wire::Use& use : report.uses) {
    counters_.uses += use.count;
    queue_->add_uses(use.key, use.count);
    const auto known = answers_.measured(use.key, {}, core::kMaxDecisionEntries).decision;
    if (known) {
      look_for_plan(client, context, use, *known);
    }
    if (known && (pending_uses_.size() < kMaxPendingUses || pending_uses_.contains(use.key))) {
      auto& sum = pending_uses_[use.key];
      sum.executions += use.count;
      sum.last_used_s = std::time(nullptr);
      if (!std::isnan(use.gpu_us)) {
        sum.in_application_us = use.gpu_us;
      }
    }
  }
}

void Daemon::look_for_plan(const Client& client,
                           const ClientContext& context,
                           const wire::Use& use,
                           const core::Decision& known) {
  const auto compiled = [&use](const core::DecisionEntry& entry) {
    return entry.config == use.config &&
           (entry.behavior_notes & core::behavior_note::kRuntimeCompilation) != 0 &&
           entry.build_us > kLoadingUs;
  };
  if (plans_ == nullptr || !supervisor_->has_gpu() || !supervisor_->may_have_gpu(context.gpu) ||
      looked_for_plan_.size() >= kMaxLookedForPlan || looked_for_plan_.contains(use.key) ||
      std::ranges::none_of(known.entries, compiled)) {
    return;
  }
  storage::QueuedJob job;
  choose_library(client.uid, context.library, job);
  job.gpu = context.gpu;
  job.queued_at_s = std::time(nullptr);
  job.predicted_gain_us = kLoadingUs;  // in each process
  const bool taken = storage_->try_submit([this, job, hash = use.key]() mutable {
    const auto record = database_->find_record(hash);
    if (record && *record) {
      job.key = (*record)->key;
      loop_.post([this, job] { (void)queue_->add(job, job.queued_at_s); });
    }
  });
  if (taken) {
    looked_for_plan_.insert(use.key);
  }
}

void Daemon::flush_uses() {
  if (pending_uses_.empty()) {
    return;
  }
  auto batch = std::make_shared<decltype(pending_uses_)>();
  batch->swap(pending_uses_);
  const bool taken = storage_->try_submit([this, batch] {
    for (const auto& [hash, uses] : *batch) {
      if (const auto status = database_->add_uses(hash, uses); !status) {
        spdlog::error("use counts not stored: {}", status.error().message);
        return;
      }
    }
  });
  if (!taken) {
    pending_uses_.swap(*batch);  // again at the next tick
  }
}

}  // namespace reformer::daemon
