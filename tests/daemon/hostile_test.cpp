// Peers and workers that break the rules.
#include "core/problem_text.h"
#include "tests/daemon/running_daemon.h"
#include "tests/sanitized.h"

#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstring>
#include <fstream>
#include <memory>
#include <vector>

using namespace reformer;
using namespace reformer::testing;
namespace wire = core::wire;
using nlohmann::json;

namespace {

bool serves(const RunningDaemon& daemon) {
  TestClient client(daemon.socket());
  return client.connected() && client.ask<wire::Pong>(wire::Ping{}).has_value();
}

// A worker program that greets as it should, then does as `body` says with each request line.
std::string fake_worker(const std::string& body) {
  return "#!/bin/sh\n"
         "echo '{\"hello\":1,\"protocol\":1,\"pid\":1,\"library\":\"\",\"cudnn\":91900,"
         "\"device\":\"NVIDIA H200/sm90/132\",\"timer\":\"recorded\"}'\n"
         "while read -r line; do\n"
         "id=$(printf '%s' \"$line\" | sed 's/.*\"id\":\\([0-9]*\\).*/\\1/')\n" +
         body + "\ndone\n";
}

// More requests than the daemon queues while it is busy; how many of them it refused.
std::size_t fill_administrative_queue(TestClient& client) {
  for (int i = 0; i < 300; ++i) {
    client.send(wire::AdminRequest{json{{"request", "stats"}}.dump()});
  }
  client.send(wire::Ping{});  // answered when all of these were taken
  std::size_t refused = 0;
  for (auto reply = client.receive(); reply && !std::holds_alternative<wire::Pong>(*reply);
       reply = client.receive()) {
    refused += std::holds_alternative<wire::ErrorMessage>(*reply) ? 1 : 0;
  }
  return refused;
}

wire::Query batch(std::uint32_t context, int count, int filters) {
  wire::Query query;
  query.context_id = context;
  query.verify_miss = false;
  for (int i = 0; i < count; ++i) {
    query.problems.push_back(core::parse_problem(sample_problem(64 + i, filters)).value());
  }
  return query;
}

struct Misbehaviour {
  const char* name;
  std::string body;
};
std::ostream& operator<<(std::ostream& out, const Misbehaviour& one) {
  return out << one.name;
}
const std::vector<Misbehaviour> kMisbehaviours{
    {"dies", "exit 3"},
    {"hangs", "sleep 1000"},
    {"writes_garbage", "echo 'not json at all'"},
    {"answers_another_request", "echo '{\"id\":4711,\"error\":\"failed\"}'"},
    {"lies_about_the_problem", "echo '{\"id\":'$id',\"record\":" + sample_line(8, 1) + "}'"},
    {"sends_half_a_record", "echo '{\"id\":'$id',\"record\":{\"schema\":\"reformer\"}}'"},
    {"nests_its_answer_without_end",
     "printf '{\"id\":%s,\"error\":' $id; head -c 1000000 /dev/zero | tr '\\0' '['; echo"},
    {"closes_its_output", "exec 1>&-; sleep 1000"},
    {"never_ends_a_line", "head -c 9000000 /dev/zero; sleep 1000"},
};

}  // namespace

BOOST_AUTO_TEST_SUITE(hostile)

BOOST_AUTO_TEST_CASE(bytes_of_another_protocol_end_the_connection_and_nothing_else) {
  Folder folder;
  RunningDaemon daemon(folder, {"--timer", "none"});
  for (const char* text : {"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "\0\0\0\0\0\0\0\0"}) {
    TestClient client(daemon.socket());
    std::vector<std::byte> bytes(64);
    std::memcpy(bytes.data(), text, std::min<std::size_t>(std::strlen(text), 64));
    client.send_bytes(bytes);
    BOOST_TEST(client.closed());
  }
  BOOST_TEST(serves(daemon));
}

BOOST_AUTO_TEST_CASE(an_unknown_version_is_refused_politely) {
  Folder folder;
  RunningDaemon daemon(folder, {"--timer", "none"});
  TestClient client(daemon.socket());
  std::vector<std::byte> bytes;
  wire::encode(wire::Hello{1, "from the future", "test"}, 9, bytes);
  bytes[4] = std::byte{99};
  client.send_bytes(bytes);
  const auto reply = client.receive();
  BOOST_REQUIRE(reply.has_value());
  const auto* error = std::get_if<wire::ErrorMessage>(&*reply);
  BOOST_REQUIRE(error != nullptr);
  BOOST_TEST((error->code == core::ErrorCode::kUnsupported));
  BOOST_TEST(client.closed());
}

BOOST_AUTO_TEST_CASE(a_payload_too_long_and_a_truncated_message_are_refused) {
  Folder folder;
  RunningDaemon daemon(folder, {"--timer", "none"});
  std::vector<std::byte> bytes;
  wire::encode(wire::Hello{1, "client", "program"}, 9, bytes);
  {
    TestClient client(daemon.socket());
    auto huge = bytes;
    huge[15] = std::byte{0x7f};  // payload length, highest byte
    client.send_bytes(huge);
    BOOST_TEST(client.closed());
  }
  {
    TestClient client(daemon.socket());
    auto shorter = bytes;
    shorter[12] = std::byte{3};  // says 3 bytes: not a whole Hello
    client.send_bytes(shorter);
    BOOST_TEST(client.closed());
  }
  BOOST_TEST(serves(daemon));
}

BOOST_AUTO_TEST_CASE(a_message_in_single_bytes_is_understood) {
  Folder folder;
  RunningDaemon daemon(folder, {"--timer", "none"});
  TestClient client(daemon.socket());
  std::vector<std::byte> bytes;
  wire::encode(wire::Hello{1, "client", "program"}, 9, bytes);
  for (const std::byte byte : bytes) {
    client.send_bytes({byte});
  }
  const auto reply = client.receive();
  BOOST_TEST((reply && std::holds_alternative<wire::Welcome>(*reply)));
}

BOOST_AUTO_TEST_CASE(a_client_that_does_not_read_is_dropped_and_others_are_served) {
  Folder folder;
  RunningDaemon daemon(folder, {"--timer", "none", "--max-client-bytes", "65536"});
  TestClient deaf(daemon.socket());
  TestClient other(daemon.socket());
  other.admin({{"request", "import"}, {"lines", {sample_line(64, 10)}}});
  wire::Query query;
  query.context_id = deaf.greet();
  query.problems.assign(1024, core::parse_problem(sample_problem(64)).value());
  BOOST_TEST(eventually([&] {
    deaf.send(query);  // answers of 100 kB each, never read
    return other.admin({{"request", "status"}})["clients"] == 1;
  }));
}

// Nor does it keep the daemon from stopping.
BOOST_AUTO_TEST_CASE(a_client_that_stops_reading_a_long_reply_is_dropped_and_others_are_answered) {
  using std::chrono::steady_clock;
  using namespace std::chrono_literals;
  Folder folder;
  RunningDaemon daemon(folder, {"--timer", "none"});
  TestClient other(daemon.socket());
  for (int first = 1; first <= 4000; first += 500) {  // more than sockets and the daemon hold back
    json lines = json::array();
    for (int i = first; i < first + 500; ++i) {
      lines.push_back(sample_line(i, 10));
    }
    BOOST_REQUIRE(other.admin({{"request", "import"}, {"lines", lines}})["stored"] == 500);
  }
  const auto begin_export = [](TestClient& client) {
    client.send(wire::AdminRequest{json{{"request", "export"}}.dump()});
    return client.receive().has_value();
  };
  TestClient deaf(daemon.socket());
  BOOST_TEST(begin_export(deaf));
  const auto asked = steady_clock::now();
  BOOST_TEST(other.admin({{"request", "status"}})["clients"] == 2);
  BOOST_TEST((steady_clock::now() - asked < 5s));
  BOOST_TEST(other.admin({{"request", "list"}, {"limit", 1}})["total"] ==
             4000);  // after the export
  BOOST_TEST(eventually([&] { return other.admin({{"request", "status"}})["clients"] == 1; }));
  BOOST_TEST(daemon.log().find("it does not read") != std::string::npos);

  TestClient again(daemon.socket());
  BOOST_TEST(begin_export(again));
  daemon.signal(SIGTERM);
  const auto told = steady_clock::now();
  BOOST_TEST(daemon.wait().value_or(-1) == 0);
  BOOST_TEST((steady_clock::now() - told < 1s));
}

BOOST_AUTO_TEST_CASE(a_sighup_that_meets_a_full_queue_is_not_lost) {
  Folder folder;
  const auto file = folder.write("reformerd.toml", "timer = \"none\"\nqueue_bound = 7\n");
  RunningDaemon daemon(folder, {"--config", file.string()});
  TestClient client(daemon.socket());
  // A model that nobody writes yet keeps the thread of these requests busy.
  const std::string pipe = (folder.path() / "pipe").string();
  BOOST_REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  client.send(wire::AdminRequest{json{{"request", "add_model"}, {"path", pipe}}.dump()});
  folder.write("reformerd.toml", "timer = \"none\"\nqueue_bound = 9\n");
  // Again, because the thread takes the request that it will wait for out of the queue some time.
  BOOST_TEST(eventually([&] {
    const bool full = fill_administrative_queue(client) > 0;
    daemon.signal(SIGHUP);
    return full && daemon.log().find("reload: waits") != std::string::npos;
  }));
  std::ofstream(pipe).close();  // it ends before it begins
  TestClient other(daemon.socket());
  BOOST_TEST(eventually([&] {
    return other.admin({{"request", "status"}})["queue"]["bound"] == 9;
  }));
}

BOOST_AUTO_TEST_CASE(too_many_clients_are_told) {
  Folder folder;
  RunningDaemon daemon(folder, {"--timer", "none", "--max-clients", "5"});
  std::vector<std::unique_ptr<TestClient>> clients;
  bool refused = false;
  for (int i = 0; i < 8; ++i) {
    clients.push_back(std::make_unique<TestClient>(daemon.socket()));
    clients.back()->send(wire::Ping{});
    const auto reply = clients.back()->receive();
    refused = refused || (reply && std::holds_alternative<wire::ErrorMessage>(*reply));
  }
  BOOST_TEST(refused);
  clients.clear();
  BOOST_TEST(eventually([&] { return serves(daemon); }));
}

BOOST_AUTO_TEST_CASE(administrative_nonsense_gets_an_error_each_time) {
  Folder folder;
  RunningDaemon daemon(folder, {"--timer", "none"});
  TestClient client(daemon.socket());
  for (const json& request : {json("text"),
                              json(nullptr),
                              json::array(),
                              json::object(),
                              json{{"request", 5}},
                              json{{"request", "selfdestruct"}},
                              json{{"request", "show"}},
                              json{{"request", "show"}, {"problem", "x"}},
                              json{{"request", "query"}, {"problem", 7}},
                              json{{"request", "import"}, {"lines", 3}},
                              json{{"request", "verify"}, {"problem", sample_problem(64)}},
                              json{{"request", "promote"}, {"model", "nobody"}}}) {
    BOOST_TEST_CONTEXT(request.dump()) {
      BOOST_TEST(client.admin(request).contains("error"));
    }
  }
  const json rejected = client.admin({{"request", "import"}, {"lines", {"{", sample_line(64, 1)}}});
  BOOST_TEST(rejected["stored"] == 1);
  BOOST_TEST(rejected["rejected"].size() == 1U);
}

BOOST_AUTO_TEST_CASE(what_follows_a_batch_waits_until_that_is_answered) {
  Folder folder;
  RunningDaemon daemon(folder, {"--timer", "none"});
  TestClient client(daemon.socket());
  const auto context = client.greet();
  std::vector<std::byte> bytes;
  for (std::uint32_t i = 0; i < 3; ++i) {
    wire::encode(batch(context, 512, 64), i, bytes);  // all misses: many turns of the loop
    wire::encode(wire::Ping{}, i, bytes);
  }
  BOOST_REQUIRE(client.send_bytes(bytes));
  for (int i = 0; i < 3; ++i) {
    const auto answer = client.receive();
    BOOST_REQUIRE((answer && std::holds_alternative<wire::Answer>(*answer)));
    BOOST_TEST(std::get<wire::Answer>(*answer).decisions.size() == 512U);
    const auto pong = client.receive();
    BOOST_REQUIRE((pong && std::holds_alternative<wire::Pong>(*pong)));
  }
}

BOOST_AUTO_TEST_CASE(batches_for_which_there_is_no_room_wait_and_are_answered) {
  Folder folder;
  // Room for the answers of one such batch at a time, and for all requests.
  RunningDaemon daemon(folder, {"--timer", "none", "--max-total-bytes", "8388608"});
  std::vector<std::unique_ptr<TestClient>> clients;
  for (int i = 0; i < 8; ++i) {
    clients.push_back(std::make_unique<TestClient>(daemon.socket()));
    wire::Query query = batch(clients.back()->greet(), 1024, 64 + i);
    query.max_entries = 16;
    BOOST_TEST(clients.back()->send(query));
  }
  TestClient other(daemon.socket());
  BOOST_TEST((other.query(sample_problem(32)).source == core::Source::kAbstain));
  for (const auto& client : clients) {
    const auto answer = client->receive();
    BOOST_TEST((answer && std::holds_alternative<wire::Answer>(*answer)));
  }
}

BOOST_AUTO_TEST_CASE(the_names_of_a_connections_contexts_are_bounded) {
  Folder folder;
  RunningDaemon daemon(folder, {"--timer", "none"});
  TestClient client(daemon.socket());
  int taken = 0;
  while (taken < 64 && client.ask<wire::ContextId>(
                           wire::ContextMessage{recorded_context(), std::string(4000, '/'), 0})) {
    ++taken;
  }
  BOOST_TEST(taken == 4);
  BOOST_TEST(client.closed());
  BOOST_TEST(serves(daemon));
}

#ifdef REFORMER_MODEL
// A model's prediction takes tens of microseconds: what counts is how many are made in a row.
BOOST_AUTO_TEST_CASE(many_batches_keep_others_waiting_no_longer_than_one) {
  constexpr int kClients = 120;
  Folder folder;
  RunningDaemon daemon(folder, {"--timer", "none", "--model", REFORMER_MODEL});
  std::vector<std::unique_ptr<TestClient>> clients;
  std::uint32_t context = 0;
  for (int i = 0; i < kClients; ++i) {
    clients.push_back(std::make_unique<TestClient>(daemon.socket()));
    context = clients.back()->greet();
  }
  std::vector<std::byte> bytes;
  wire::encode(batch(context, 512, 64), 1, bytes);
  for (const auto& client : clients) {
    BOOST_REQUIRE(client->send_bytes(bytes));
  }
  TestClient other(daemon.socket());
  std::vector<std::chrono::steady_clock::duration> waits(9);
  for (auto& wait : waits) {
    const auto asked = std::chrono::steady_clock::now();
    BOOST_REQUIRE(other.ask<wire::Pong>(wire::Ping{}).has_value());
    wait = std::chrono::steady_clock::now() - asked;
  }
  std::sort(waits.begin(), waits.end());
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(waits[4]).count();
  BOOST_TEST_MESSAGE("wait beside " << kClients << " clients' batches: " << ms << " ms");
  BOOST_TEST((kSanitized || ms < 100));
  for (const auto& client : clients) {
    const auto answer = client->receive();
    BOOST_REQUIRE((answer && std::holds_alternative<wire::Answer>(*answer)));
  }
}
#endif

BOOST_DATA_TEST_CASE(a_worker_that_misbehaves_twice_puts_the_problem_into_quarantine,
                     boost::unit_test::data::make(kMisbehaviours)) {
  Folder folder;
  const auto worker = folder.write("worker", fake_worker(sample.body), true);
  RunningDaemon daemon(
      folder,
      {"--timer", "recorded:ignored", "--worker", worker.string(), "--worker-timeout-ms", "300"});
  TestClient client(daemon.socket());
  client.query(sample_problem(64));
  BOOST_TEST(eventually([&] {
    return client.admin({{"request", "status"}})["queue"]["quarantined"] == 1;
  }));
  const json status = client.admin({{"request", "status"}});
  BOOST_TEST(status["records"] == 0);
  BOOST_TEST(status["workers"][0]["failed"] == 2);
  client.query(sample_problem(64));  // is not tried a third time
  BOOST_TEST(client.admin({{"request", "status"}})["queue"]["length"] == 0);
}

BOOST_AUTO_TEST_SUITE_END()
