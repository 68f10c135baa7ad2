#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "os/fd.h"
#include "os/file.h"
#include "os/user.h"
#include "temporary_directory.h"

using namespace nixery;

TEST_CASE("concurrent look-ups of users and groups do not mix") {
  const auto root = os::user_of(0), daemon = os::user_of(1);
  REQUIRE(root.name == "root");
  REQUIRE(daemon.name != root.name);
  std::atomic<int> wrong = 0;
  const auto look_up = [&](uid_t uid, const os::User& expected) {
    for (int i = 0; i < 2000; ++i) {
      const auto by_number = os::user_of(uid);
      const auto by_name = os::user_named(expected.name);
      if (by_number.name != expected.name || by_number.home != expected.home || !by_name || by_name->uid != uid)
        ++wrong;
    }
  };
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) threads.emplace_back(look_up, i % 2, std::cref(i % 2 ? daemon : root));
  }
  CHECK(wrong == 0);
  CHECK_FALSE(os::user_named("no-such-user-here"));
  CHECK(os::user_of(4'000'000'000).name == "4000000000");
  CHECK(os::members_of_group("no-such-group-here") == 0);
}

TEST_CASE("only a regular file of limited size is read by a name from outside") {
  const test::TemporaryDirectory dir;
  const auto file = dir.path() / "file", link = dir.path() / "link", fifo = dir.path() / "fifo",
             sparse = dir.path() / "sparse";
  std::ofstream(file) << "0123456789";
  CHECK(os::read_regular_file(file, 10) == "0123456789");
  CHECK_FALSE(os::read_regular_file(file, 9));
  std::filesystem::create_symlink(file, link);
  CHECK_FALSE(os::read_regular_file(link, 10));
  REQUIRE(mkfifo(fifo.c_str(), 0600) == 0);
  CHECK_FALSE(os::read_regular_file(fifo, 10));  // and does not wait for a writer
  CHECK_FALSE(os::read_regular_file(dir.path(), 10));
  CHECK_FALSE(os::read_regular_file("/dev/zero", 10));
  CHECK_FALSE(os::read_regular_file(dir.path() / "nothing", 10));
  std::ofstream(sparse).close();
  std::filesystem::resize_file(sparse, std::uintmax_t{1} << 40);
  CHECK_FALSE(os::read_regular_file(sparse, 1 << 20));
}
