#include "daemon/trusted_library.h"

#include "tests/daemon/running_daemon.h"

#include <boost/test/unit_test.hpp>

#include <filesystem>

using namespace reformer;
using namespace reformer::testing;
using daemon::trusted_library;

BOOST_AUTO_TEST_SUITE(trusted_library_of_root)

BOOST_AUTO_TEST_CASE(a_file_of_root_in_folders_of_root_is_trusted_by_its_own_name) {
  const auto shell = std::filesystem::canonical("/bin/sh").string();
  BOOST_TEST((trusted_library("/bin/sh") == shell));
  // Whoever owns the link cannot make the answer lead elsewhere.
  const Folder folder;
  std::filesystem::create_symlink("/bin/sh", folder.path() / "link");
  BOOST_TEST((trusted_library((folder.path() / "link").string()) == shell));
}

BOOST_AUTO_TEST_CASE(a_file_below_a_folder_that_others_can_write_to_is_not) {
  const Folder folder;  // in /tmp
  const auto file = folder.write("library.so", "", true);
  BOOST_TEST(!trusted_library(file.string()).has_value());
}

BOOST_AUTO_TEST_CASE(what_is_no_file_is_not) {
  for (const char* path :
       {"", "bin/sh", "sh", "/", "/bin", "/dev/null", "/not/there", "/bin/sh/"}) {
    BOOST_TEST_CONTEXT(path) {
      BOOST_TEST(!trusted_library(path).has_value());
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
