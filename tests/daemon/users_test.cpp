// Several users on one host: what one of them can do to the others, and how many there may be.
#include "core/problem_text.h"
#include "tests/daemon/running_daemon.h"
#include "tests/resident_memory.h"
#include "tests/sanitized.h"

#include <boost/test/unit_test.hpp>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <memory>

using namespace reformer;
using namespace reformer::testing;
namespace wire = core::wire;
using nlohmann::json;

namespace {

constexpr uid_t kNobody = 65534;

// Runs `work` as another user; whether it returned true. Only root can.
template <typename Work>
bool as_nobody(const Folder& folder, Work work) {
  std::filesystem::permissions(folder.path(), std::filesystem::perms(0755));
  const pid_t child = ::fork();
  if (child == 0) {
    const bool changed = ::setgid(kNobody) == 0 && ::setuid(kNobody) == 0;
    bool right = false;
    try {
      right = changed && work();
    } catch (...) {
    }
    ::_exit(right ? 0 : 1);
  }
  int status = 0;
  return ::waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool may_become_others() {
  if (::geteuid() != 0) {
    BOOST_TEST_MESSAGE("SKIPPED: only root can be another user");
    return false;
  }
  return true;
}

// Whether the daemon answers a Ping of this client; too many are told so and closed.
bool served(TestClient& client) {
  return client.connected() && client.ask<wire::Pong>(wire::Ping{}).has_value();
}

}  // namespace

BOOST_AUTO_TEST_SUITE(users)

// SO_PEERCRED says who somebody is, whatever he says.
BOOST_AUTO_TEST_CASE(a_client_of_another_user_can_change_nothing) {
  if (!may_become_others()) {
    return;
  }
  const Folder folder;
  // A worker that never comes up, so that what is queued stays.
  const auto worker = folder.write("worker", "#!/bin/sh\nexit 1\n", true);
  const RunningDaemon daemon(folder,
                             {"--timer", "gpu", "--worker", worker.string(), "--queue-bound", "5"});
  TestClient own(daemon.socket());
  BOOST_REQUIRE(own.admin({{"request", "import"}, {"lines", {sample_line(64, 10)}}})["stored"] ==
                1);
  const std::string problem = sample_problem(64);
  BOOST_REQUIRE(eventually([&] { return own.query(problem).source == core::Source::kMeasured; }));
  const core::Decision before = own.query(problem);
  const json record = own.admin({{"request", "show"}, {"problem", problem}});

  const bool refused = as_nobody(folder, [&] {
    TestClient client(daemon.socket());
    bool all = true;
    for (const json& request :
         {json{{"request", "import"}, {"lines", {sample_line(64, 1), sample_line(72, 1)}}},
          json{{"request", "forget"}, {"problem", problem}},
          json{{"request", "forget"}, {"all", true}},
          json{{"request", "verify"}, {"problem", problem}},
          json{{"request", "promote"}, {"model", "reformer"}},
          json{{"request", "add_model"}, {"path", "/tmp/model"}},
          json{{"request", "acknowledge"}},
          json{{"request", "reload"}},
          json{{"request", "compact"}}}) {
      const json reply = client.admin(request);
      all = all && reply.contains("error") &&
            reply["error"].get<std::string>().find("is for root") != std::string::npos;
    }
    // What he may do: say what he ran, a thousand times and with times that are not so.
    const auto id = client.greet();
    for (int i = 0; i < 1000; ++i) {
      const auto hash = core::hash_key({recorded_context(), core::parse_problem(problem).value()});
      client.send(wire::Report{id, 0, 0, "broken", {{hash, 1'000'000, 0.001F, {}}}});
    }
    // And ask, and have it measured in its turn.
    for (int i = 0; i < 20; ++i) {
      const json asked = client.admin(
          {{"request", "query"}, {"problem", sample_problem(80 + 8 * i)}, {"verify", true}});
      all = all && asked.contains("source");
    }
    const core::Decision seen = client.query(problem);
    return all && seen.source == core::Source::kMeasured && seen.entries == before.entries;
  });
  BOOST_TEST(refused);
  TestClient fresh(daemon.socket());
  const json queue = fresh.admin({{"request", "status"}})["queue"];
  BOOST_TEST(queue["length"] == 5);
  BOOST_TEST(queue["dropped"] >= 15);
  BOOST_TEST((fresh.query(problem).entries == before.entries));
  BOOST_TEST((fresh.query(sample_problem(72)).source != core::Source::kMeasured));
  const json after = fresh.admin({{"request", "show"}, {"problem", problem}});
  BOOST_TEST(after["candidates"] == record["candidates"]);
  BOOST_TEST(fresh.admin({{"request", "status"}})["records"] == 1);
}

BOOST_AUTO_TEST_CASE(one_user_cannot_take_all_connections) {
  const Folder folder;
  const RunningDaemon daemon(folder,
                             {"--timer", "none", "--max-clients", "8", "--max-user-clients", "4"});
  std::vector<std::unique_ptr<TestClient>> clients;
  int got = 0;
  for (int i = 0; i < 8; ++i) {
    clients.push_back(std::make_unique<TestClient>(daemon.socket()));
    got += served(*clients.back()) ? 1 : 0;
  }
  BOOST_TEST(got == 4);
  if (may_become_others()) {
    BOOST_TEST(as_nobody(folder, [&] {
      TestClient other(daemon.socket());
      return served(other);
    }));
  }
  clients.clear();
  BOOST_TEST(eventually([&] {
    TestClient again(daemon.socket());
    return served(again);
  }));
}

BOOST_AUTO_TEST_CASE(ten_thousand_idle_clients_take_less_than_200_mib) {
  constexpr std::size_t kClients = 10'000;
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const rlimit before = limit;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_max < kClients + 500) {
    BOOST_TEST_MESSAGE("SKIPPED: only " << limit.rlim_max << " descriptors");
    return;
  }
  {
    const Folder folder;
    const RunningDaemon daemon(folder, {"--timer", "none"});
    const double idle = resident_mib(daemon.pid());
    std::vector<std::unique_ptr<TestClient>> clients;
    for (std::size_t i = 0; i < kClients; ++i) {
      clients.push_back(std::make_unique<TestClient>(daemon.socket()));
      BOOST_REQUIRE(clients.back()->connected());
      (void)clients.back()->greet();
    }
    const double full = resident_mib(daemon.pid());
    BOOST_TEST_MESSAGE(kClients << " idle clients: " << full << " MiB, " << idle << " without");
    BOOST_TEST((kSanitized || full < 200));
    BOOST_TEST(served(*clients.front()));
    BOOST_TEST(served(*clients.back()));
  }
  ::setrlimit(RLIMIT_NOFILE, &before);
}

BOOST_AUTO_TEST_SUITE_END()
