#include "cli/reply.h"

#include "cli/units.h"
#include "interchange/json_depth.h"

#include <fmt/format.h>

#include <limits>
#include <memory>
#include <new>
#include <optional>

namespace reformer::cli {
namespace {

// Of what failed in this process: that a file is unavailable does not mean that the daemon is.
ExitCode exit_code_of(core::ErrorCode code) {
  switch (code) {
    case core::ErrorCode::kInvalidArgument:
      return kExitUsage;
    case core::ErrorCode::kNotFound:
      return kExitNotFound;
    default:
      return kExitFailed;
  }
}

Failure failure_of_daemon(const core::Error& error) {
  const bool away =
      error.code == core::ErrorCode::kUnavailable || error.code == core::ErrorCode::kTimeout;
  return {away ? kExitUnavailable : exit_code_of(error.code), printable(error.message)};
}

Failure senseless(const char* name, const char* expected) {
  return {kExitFailed, fmt::format("the reply makes no sense: \"{}\" {}", name, expected)};
}

const Json* find(const Json& object, const char* name) {
  if (!object.is_object()) {
    throw Failure(kExitFailed,
                  fmt::format("the reply makes no sense: no object around \"{}\"", name));
  }
  const auto found = object.find(name);
  return found == object.end() ? nullptr : &*found;
}

const Json* present(const Json& object, const char* name) {
  const Json* found = find(object, name);
  return found == nullptr || found->is_null() ? nullptr : found;
}

// Opens the real one for the first request, so that wrong usage is told before a missing daemon.
class LazyChannel : public AdminChannel {
 public:
  explicit LazyChannel(const OpenChannel& open) : open_(open) {}

  core::Status ask(std::string_view request, const OnPiece& on_piece) override {
    if (!channel_) {
      auto opened = open_();
      if (!opened) {
        return opened.error();
      }
      channel_ = *std::move(opened);
    }
    return channel_->ask(request, on_piece);
  }

 private:
  const OpenChannel& open_;
  std::unique_ptr<AdminChannel> channel_;
};

Json parse_piece(std::string_view text) {
  if (interchange::nested_too_deeply(text, interchange::kMostNestedInReplies)) {
    throw Failure(kExitFailed, "the reply makes no sense: it is nested too deeply");
  }
  Json piece = Json::parse(text, nullptr, false);
  if (!piece.is_object()) {
    throw Failure(kExitFailed, "the reply makes no sense: it is not a JSON object");
  }
  return piece;
}

}  // namespace

Failure::Failure(const core::Error& error)
    : Failure(exit_code_of(error.code), printable(error.message)) {}

const Json& member(const Json& object, const char* name) {
  const Json* found = find(object, name);
  if (found == nullptr) {
    throw senseless(name, "is missing");
  }
  return *found;
}

const Json& array_of(const Json& object, const char* name) {
  const Json& value = member(object, name);
  if (!value.is_array()) {
    throw senseless(name, "is not a list");
  }
  return value;
}

const Json& object_of(const Json& object, const char* name) {
  const Json& value = member(object, name);
  if (!value.is_object()) {
    throw senseless(name, "is not an object");
  }
  return value;
}

std::string text_of(const Json& object, const char* name) {
  const Json& value = member(object, name);
  if (!value.is_string()) {
    throw senseless(name, "is not text");
  }
  return value.get<std::string>();
}

double number_of(const Json& object, const char* name) {
  const Json& value = member(object, name);
  if (value.is_null()) {
    return std::numeric_limits<double>::quiet_NaN();
  }
  if (!value.is_number()) {
    throw senseless(name, "is not a number");
  }
  return value.get<double>();
}

std::int64_t integer_of(const Json& object, const char* name) {
  const Json& value = member(object, name);
  if (!value.is_number_integer()) {
    throw senseless(name, "is not an integer");
  }
  return value.get<std::int64_t>();
}

std::uint64_t count_of(const Json& object, const char* name) {
  const Json& value = member(object, name);
  if (!value.is_number_integer() ||
      (!value.is_number_unsigned() && value.get<std::int64_t>() < 0)) {
    throw senseless(name, "is not a count");
  }
  return value.get<std::uint64_t>();
}

bool flag_of(const Json& object, const char* name) {
  const Json& value = member(object, name);
  if (!value.is_boolean()) {
    throw senseless(name, "is neither true nor false");
  }
  return value.get<bool>();
}

std::string text_or(const Json& object, const char* name, std::string otherwise) {
  return present(object, name) == nullptr ? std::move(otherwise) : text_of(object, name);
}

double number_or_nan(const Json& object, const char* name) {
  return present(object, name) == nullptr ? std::numeric_limits<double>::quiet_NaN()
                                          : number_of(object, name);
}

std::uint64_t count_or(const Json& object, const char* name, std::uint64_t otherwise) {
  return present(object, name) == nullptr ? otherwise : count_of(object, name);
}

bool flag_or(const Json& object, const char* name, bool otherwise) {
  return present(object, name) == nullptr ? otherwise : flag_of(object, name);
}

Json ask(AdminChannel& channel, const Json& request) {
  std::optional<Json> reply;
  const core::Status asked = channel.ask(request.dump(), [&](std::string_view piece) {
    reply = parse_piece(piece);
    return true;
  });
  if (!asked) {
    throw failure_of_daemon(asked.error());
  }
  if (!reply) {
    throw Failure(kExitFailed, "the reply is empty");
  }
  return *std::move(reply);
}

Json ask_rows(AdminChannel& channel, const Json& request, const OnRow& on_row) {
  Json totals = Json::object();
  const core::Status asked = channel.ask(request.dump(), [&](std::string_view text) {
    const Json piece = parse_piece(text);
    for (const auto& [name, value] : piece.items()) {
      if (name != "rows") {
        totals[name] = value;
        continue;
      }
      if (!value.is_array()) {
        throw senseless("rows", "is not a list");
      }
      for (const Json& row : value) {
        on_row(row);
      }
    }
    return true;
  });
  if (!asked) {
    throw failure_of_daemon(asked.error());
  }
  return totals;
}

void conduct_alone(Session& session, const std::function<void()>& work) {
  try {
    work();
  } catch (const Failure& failure) {
    *session.err << "reformerctl: " << failure.what() << '\n';
    session.exit_code = failure.code();
  } catch (const std::bad_alloc&) {
    *session.err << "reformerctl: not enough memory\n";
    session.exit_code = kExitFailed;
  } catch (const std::exception& error) {
    *session.err << "reformerctl: " << error.what() << '\n';
    session.exit_code = kExitFailed;
  }
}

void conduct(Session& session, const std::function<void(AdminChannel&)>& work) {
  conduct_alone(session, [&] {
    LazyChannel channel(session.open_channel);
    work(channel);
  });
}

void print_json(Session& session, const Json& reply) {
  *session.out << reply.dump(2, ' ', false, Json::error_handler_t::replace) << '\n';
}

void print_json_rows(Session& session, AdminChannel& channel, const Json& request) {
  const auto dump = [](const Json& value) {
    return value.dump(-1, ' ', false, Json::error_handler_t::replace);
  };
  *session.out << "{\"rows\": [";
  const char* before = "\n";
  const Json totals = ask_rows(channel, request, [&](const Json& row) {
    *session.out << before << dump(row);
    before = ",\n";
  });
  *session.out << "\n]";
  for (const auto& [name, value] : totals.items()) {
    *session.out << ", " << dump(Json(name)) << ": " << dump(value);
  }
  *session.out << "}\n";
}

}  // namespace reformer::cli
