#pragma once

#include "core/record.h"
#include "core/result.h"
#include "daemon/worker/timer.h"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>

// The lines between reformerd and reformer-worker; docs/worker-protocol.md is the specification.
namespace reformer::worker {

inline constexpr int kWorkerProtocol = 1;

struct Cancel {
  std::uint64_t id = 0;
};
using Request = std::variant<Job, Cancel>;

// A request line that is wrong, with the id to answer to (0 where it has none).
struct BadRequest {
  std::uint64_t id = 0;
  std::string message;
};

[[nodiscard]] std::variant<Request, BadRequest> parse_request(std::string_view line);

// Lines without their newline.
[[nodiscard]] std::string format_hello(const Timer& timer);
[[nodiscard]] std::string format_record(std::uint64_t id,
                                        const core::Record& record,
                                        std::span<const core::StoredPlan> plans);
[[nodiscard]] std::string format_error(std::uint64_t id, const core::Error& error, bool recorded);
[[nodiscard]] std::string format_bad_request(const BadRequest& bad);

}  // namespace reformer::worker
