// The loop's side of administrative requests, which other threads answer piece by piece.
#include "daemon/daemon.h"

#include <grp.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace reformer::daemon {
namespace {

namespace wire = core::wire;

constexpr std::size_t kPieceBacklog = 1 << 20;            // unread bytes of a long reply
constexpr auto kPieceTimeout = std::chrono::seconds(10);  // then the client is dropped
// For how long a client may let the daemon wait within one reply, and how much more for each byte.
constexpr auto kReplyPatience = std::chrono::seconds(30);
constexpr auto kPatiencePerByte = std::chrono::microseconds(1);

bool in_group(std::uint32_t uid, std::uint32_t gid, const std::string& name) {
  const group* wanted = name.empty() ? nullptr : ::getgrnam(name.c_str());
  const passwd* user = ::getpwuid(uid);
  if (wanted == nullptr) {
    return false;
  }
  const gid_t id = wanted->gr_gid;
  if (gid == id || user == nullptr) {
    return gid == id;
  }
  std::vector<gid_t> groups(256);
  int count = static_cast<int>(groups.size());
  if (::getgrouplist(user->pw_name, user->pw_gid, groups.data(), &count) < 0) {
    return false;
  }
  return std::find(groups.begin(), groups.begin() + count, id) != groups.begin() + count;
}

}  // namespace

struct Daemon::ReplyTo {
  std::uint64_t client = 0;
  std::uint32_t request_id = 0;
  std::chrono::steady_clock::duration patience = kReplyPatience;  // what is left of it
};

struct Daemon::AdminJob {
  ReplyTo to;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::string admin_group;  // at the time of the request
  std::string json;
};

void Daemon::on_admin(Client& client, std::uint32_t request_id, const std::string& json) {
  const AdminJob job{{client.id, request_id}, client.uid, client.gid, config_.admin_group, json};
  const auto busy = [this](const ReplyTo& to) {
    server_->send_error(to.client,
                        to.request_id,
                        core::make_error(core::ErrorCode::kExhausted, "the daemon is busy"));
  };
  const bool taken = background_->try_submit([this, job, busy] {
    if (!AdminService::takes_long(job.json)) {
      answer_admin(*admin_, job);
    } else if (!reader_->try_submit([this, job] { answer_admin(*reading_, job); })) {
      loop_.post([busy, to = job.to] { busy(to); });
    }
  });
  if (!taken) {
    busy(job.to);
  }
}

void Daemon::answer_admin(AdminService& service, const AdminJob& job) {
  const bool may_write =
      job.uid == 0 || job.uid == ::getuid() || in_group(job.uid, job.gid, job.admin_group);
  if (!may_write && reader_of(job.to.client) == Reader::kGone) {
    return;  // nothing would come of it
  }
  const auto status =
      service.handle(job.json,
                     {may_write ? Rights::kWrite : Rights::kRead, "uid " + std::to_string(job.uid)},
                     [this, to = job.to](std::string piece, bool more) mutable {
                       return send_piece(to, std::move(piece), more);
                     });
  if (!status) {
    loop_.post([this, to = job.to, error = status.error()] {
      server_->send_error(to.client, to.request_id, error);
    });
  }
}

Daemon::Reader Daemon::reader_of(std::uint64_t client) {
  return ask_loop([this, client] {
           return server_->find(client) == nullptr          ? Reader::kGone
                  : server_->unread(client) < kPieceBacklog ? Reader::kReady
                                                            : Reader::kBehind;
         })
      .value_or(Reader::kGone);  // the daemon is stopping
}

bool Daemon::send_piece(ReplyTo& to, std::string json, bool more) {
  using namespace std::chrono_literals;
  const auto began = std::chrono::steady_clock::now();
  to.patience += kPatiencePerByte * static_cast<std::int64_t>(json.size());
  const auto give_up =
      began + std::min<std::chrono::steady_clock::duration>(kPieceTimeout, to.patience);
  auto reader = more ? reader_of(to.client) : Reader::kReady;
  while (reader == Reader::kBehind && std::chrono::steady_clock::now() < give_up) {
    std::this_thread::sleep_for(2ms);  // the client's pace
    reader = reader_of(to.client);
  }
  to.patience -= std::chrono::steady_clock::now() - began;
  if (reader == Reader::kBehind) {
    loop_.post([this, id = to.client] { server_->drop_slow(id); });
  }
  if (reader != Reader::kReady) {
    return false;
  }
  loop_.post([this, to, reply = wire::AdminReply{more, std::move(json)}] {
    server_->send(to.client, to.request_id, reply);
  });
  return true;
}

}  // namespace reformer::daemon
