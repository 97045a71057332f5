#pragma once

#include <filesystem>
#include <span>

namespace reformer::cli {

// Writes a whole file through a temporary one beside it, so that a reader sees the old or the new
// one, also after a crash. Throws a Failure that names the path.
void write_atomically(const std::filesystem::path& path, std::span<const std::byte> bytes);

// For what is written at the end of long work: throws a Failure that names the path where a file
// cannot be made beside it, or where it is a folder.
void require_writable(const std::filesystem::path& path);

}  // namespace reformer::cli
