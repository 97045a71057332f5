#include "interchange/json_depth.h"

namespace reformer::interchange {
namespace {

// The place behind the string whose opening quote stands before `at`.
std::size_t behind_string(std::string_view json, std::size_t at) {
  while (at < json.size() && json[at] != '"') {
    at += json[at] == '\\' ? 2 : 1;  // what is escaped may be a quote
  }
  return at + 1;
}

}  // namespace

bool nested_too_deeply(std::string_view json, std::size_t most) {
  std::size_t depth = 0;
  std::size_t at = 0;
  while (at < json.size()) {
    switch (json[at++]) {
      case '"':
        at = behind_string(json, at);
        break;
      case '[':
      case '{':
        if (++depth > most) {
          return true;
        }
        break;
      case ']':
      case '}':
        depth -= depth > 0 ? 1 : 0;
        break;
      default:
        break;
    }
  }
  return false;
}

}  // namespace reformer::interchange
