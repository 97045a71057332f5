// The program reformer-worker itself, replaying a file.
#include "tests/worker/sample.h"

#include <boost/test/unit_test.hpp>

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>

#include <array>
#include <csignal>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

using namespace reformer::testing;
using nlohmann::json;

namespace {

// A worker with its ends of the two pipes.
class Program {
 public:
  explicit Program(std::vector<std::string> arguments) {
    std::array<int, 2> in{};
    std::array<int, 2> out{};
    BOOST_REQUIRE(::pipe2(in.data(), O_CLOEXEC) == 0);
    BOOST_REQUIRE(::pipe2(out.data(), O_CLOEXEC) == 0);
    arguments.insert(arguments.begin(), WORKER);
    std::vector<char*> raw;
    for (std::string& argument : arguments) {
      raw.push_back(argument.data());
    }
    raw.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(in[0], STDIN_FILENO);
      ::dup2(out[1], STDOUT_FILENO);
      ::dup2(::open("/dev/null", O_WRONLY), STDERR_FILENO);
      ::execv(raw[0], raw.data());
      _exit(127);
    }
    ::close(in[0]);
    ::close(out[1]);
    to_ = in[1];
    from_ = out[0];
  }
  ~Program() {
    close_input();
    ::close(from_);
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  void say(const std::string& line) const {
    const std::string text = line + "\n";
    std::size_t done = 0;
    while (done < text.size()) {
      const ssize_t count = ::write(to_, text.data() + done, text.size() - done);
      BOOST_REQUIRE(count > 0);
      done += static_cast<std::size_t>(count);
    }
  }
  void close_input() {
    if (to_ >= 0) {
      ::close(to_);
    }
    to_ = -1;
  }
  // The next line; empty at the end of the output, or after 20 s.
  std::optional<json> hear() {
    while (true) {
      if (const std::size_t end = read_.find('\n'); end != std::string::npos) {
        const json line = json::parse(read_.substr(0, end));
        read_.erase(0, end + 1);
        return line;
      }
      pollfd ready{from_, POLLIN, 0};
      std::array<char, 4096> buffer;
      if (::poll(&ready, 1, 20000) <= 0) {
        return std::nullopt;
      }
      const ssize_t count = ::read(from_, buffer.data(), buffer.size());
      if (count <= 0) {
        return std::nullopt;
      }
      read_.append(buffer.data(), static_cast<std::size_t>(count));
    }
  }
  int wait() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  pid_t pid_ = -1;
  int to_ = -1;
  int from_ = -1;
  std::string read_;
};

std::string request(int id, int channels) {
  return R"({"id":)" + std::to_string(id) + R"(,"problem":")" + problem_text(channels) + "\"}";
}

}  // namespace

BOOST_AUTO_TEST_SUITE(program)

BOOST_AUTO_TEST_CASE(it_greets_answers_in_order_and_ends_with_its_input) {
  const TemporaryFile recorded(line_of(8, 91900, 5));
  Program worker({"--recorded", recorded.path().string()});
  const auto hello = worker.hear();
  BOOST_REQUIRE(hello.has_value());
  BOOST_TEST((*hello)["hello"] == 1);
  BOOST_TEST((*hello)["protocol"] == 1);
  BOOST_TEST((*hello)["timer"] == "recorded");
  worker.say(request(1, 8));
  worker.say(request(2, 16));
  const auto first = worker.hear();
  BOOST_REQUIRE(first.has_value());
  BOOST_TEST((*first)["id"] == 1);
  BOOST_TEST((*first)["record"]["candidates"].size() == 1U);
  const auto second = worker.hear();
  BOOST_REQUIRE(second.has_value());
  BOOST_TEST((*second)["id"] == 2);
  BOOST_TEST((*second)["error"] == "not_recorded");
  worker.close_input();
  BOOST_TEST(!worker.hear().has_value());
  BOOST_TEST(worker.wait() == 0);
}

BOOST_AUTO_TEST_CASE(nonsense_is_answered_and_survived) {
  const TemporaryFile recorded(line_of(8, 91900, 5));
  Program worker({"--recorded", recorded.path().string()});
  BOOST_REQUIRE(worker.hear().has_value());
  for (const std::string& line :
       {std::string("nonsense"), std::string(R"({"id":3})"), std::string((1 << 20) + 5, 'x')}) {
    worker.say(line);
    const auto reply = worker.hear();
    BOOST_REQUIRE(reply.has_value());
    BOOST_TEST((*reply)["error"] == "invalid");
  }
  worker.say(R"({"cancel":99})");  // nothing of that number: no answer
  worker.say(request(4, 8));
  const auto reply = worker.hear();
  BOOST_REQUIRE(reply.has_value());
  BOOST_TEST((*reply)["id"] == 4);
  BOOST_TEST(reply->contains("record"));
}

BOOST_AUTO_TEST_CASE(wrong_options_are_refused) {
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
           {}, {"--gpu", "minus-one"}, {"--recorded"}, {"--recorded", "a", "--gpu", "0"}}) {
    BOOST_TEST(Program(arguments).wait() == 2);
  }
}

BOOST_AUTO_TEST_SUITE_END()
