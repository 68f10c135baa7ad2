#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <ctime>
#include <fstream>
#include <set>
#include <string>

#include "os/directory_limit.h"
#include "temporary_directory.h"

using namespace nixery;
namespace fs = std::filesystem;

namespace {

class Directory {
 public:
  void add(const std::string& name, std::size_t bytes, long seconds_ago) const {
    std::ofstream(path() / name) << std::string(bytes, 'x');
    const timespec stamp{std::time(nullptr) - seconds_ago, 0};
    const timespec times[2] = {stamp, stamp};
    REQUIRE(utimensat(AT_FDCWD, (path() / name).c_str(), times, 0) == 0);
  }
  std::set<std::string> names() const {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(path())) names.insert(entry.path().filename().string());
    return names;
  }
  const fs::path& path() const { return directory_.path(); }

 private:
  const test::TemporaryDirectory directory_;
};

using Names = std::set<std::string>;

}  // namespace

TEST_CASE("a directory above its limit loses the files that were modified longest ago") {
  Directory directory;
  for (int i = 0; i < 5; ++i) directory.add(std::to_string(i), 10, 1000 - i * 100);
  CHECK(os::enforce_limit(directory.path(), {5, 50}) == 0);
  CHECK(os::enforce_limit(directory.path(), {3, 50}) == 2);
  CHECK(directory.names() == Names{"2", "3", "4"});
  CHECK(os::enforce_limit(directory.path(), {3, 29}) == 1);
  CHECK(directory.names() == Names{"3", "4"});
  CHECK(os::enforce_limit(directory.path(), {0, 0}) == 2);
  CHECK(directory.names().empty());
  CHECK(os::enforce_limit(directory.path() / "none", {0, 0}) == 0);
}

TEST_CASE("files with a time in the future are the first to be removed, though not those of a clock slightly ahead") {
  Directory directory;
  directory.add("old", 1, 1000);
  directory.add("of another host", 1, -60);
  for (int i = 0; i < 3; ++i) directory.add("in two years " + std::to_string(i), 1, -2 * 365 * 86'400L);
  os::enforce_limit(directory.path(), {2, 100});
  CHECK(directory.names() == Names{"old", "of another host"});
}

TEST_CASE("a limit keeps directories, temporary files and files in use") {
  Directory directory;
  for (const char* name : {"used", ".tmp-1", "free"}) directory.add(name, 10, 1000);
  fs::create_directory(directory.path() / "directory");
  const auto in_use = [](const fs::path& path) { return path.filename() == "used"; };
  CHECK(os::enforce_limit(directory.path(), {0, 0}, in_use) == 1);
  CHECK(directory.names() == Names{"used", ".tmp-1", "directory"});
}
