// Stores records until it is killed. Each number goes to standard output, as four bytes, only after
// the database has acknowledged that record.
//
//   storage_crash_writer DIRECTORY FIRST_NUMBER synced|buffered
#include "storage/database.h"
#include "tests/storage/sample_records.h"

#include <unistd.h>

#include <cstdlib>
#include <string_view>

int main(int argc, char** argv) {
  using namespace reformer;
  if (argc != 4) {
    return 2;
  }
  const auto durability = std::string_view(argv[3]) == "synced" ? storage::Durability::kSynced
                                                                : storage::Durability::kBuffered;
  const auto database = storage::Database::open(argv[1], storage::OpenMode::kReadWrite, nullptr);
  if (!database.ok()) {
    return 1;
  }
  for (auto number = static_cast<std::uint32_t>(std::atoi(argv[2]));; ++number) {
    const auto stored = (*database)->put_record(
        storage::testing::sample_record(number), storage::Database::Merge::kForce, durability);
    if (!stored.ok() || ::write(STDOUT_FILENO, &number, sizeof number) != sizeof number) {
      return 1;
    }
  }
}
