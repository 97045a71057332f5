#pragma once

#include <cstddef>
#include <string_view>

// How deeply JSON from outside may be nested. Code that copies or prints a JSON value calls itself
// once for each level, so that a line of a hundred thousand brackets would take its whole stack.
namespace reformer::interchange {

// Lists and objects in one another. A measurement line has four, a request of docs/admin.md five.
inline constexpr std::size_t kMostNested = 12;
// A reply may have a part of a request in it: the provenance of a model.
inline constexpr std::size_t kMostNestedInReplies = 16;

// Whether text that is to be parsed as JSON goes deeper than `most`. Text that is not JSON may get
// either answer; the parser gets no deeper than `most` into what is not too deep. Reads once, at
// about a tenth of what parsing costs. Threads: any.
[[nodiscard]] bool nested_too_deeply(std::string_view json, std::size_t most = kMostNested);

}  // namespace reformer::interchange
