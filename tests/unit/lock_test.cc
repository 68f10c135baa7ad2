#include "os/lock.h"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "temporary_directory.h"

using namespace nixery;
namespace fs = std::filesystem;

TEST_CASE("one file serves any number of independent locks") {
  const test::TemporaryDirectory dir;
  const fs::path file = dir.path() / "locks/keys.lock";
  const os::LockName first(file, 1), second(file, 2), last(file, (std::uint64_t{1} << 62) - 1);
  CHECK_FALSE(os::Lock::is_held(first));
  CHECK_FALSE(fs::exists(file));  // is_held() makes none

  std::optional<os::Lock> one(std::in_place, first);
  CHECK_FALSE(os::Lock::try_lock(first));
  CHECK(os::Lock::is_held(first));
  for (const os::LockName& other : {second, last}) {
    CHECK_FALSE(os::Lock::is_held(other));
    CHECK(os::Lock::try_lock(other));
  }
  one.reset();
  CHECK_FALSE(os::Lock::is_held(first));
  CHECK(os::Lock::try_lock(first));
  CHECK(std::distance(fs::directory_iterator(file.parent_path()), fs::directory_iterator()) == 1);
  CHECK(fs::file_size(file) == 0);
}

TEST_CASE("many can share the lock of a key, and an exclusive holder excludes them") {
  const test::TemporaryDirectory dir;
  const os::LockName name(dir.path() / "keys.lock", 7);
  std::optional<os::Lock> first(std::in_place, name, std::stop_token{}, os::Lock::Mode::shared);
  std::optional<os::Lock> second(std::in_place, name, std::stop_token{}, os::Lock::Mode::shared);
  CHECK_FALSE(os::Lock::is_held(name));  // nobody holds it exclusively
  CHECK_FALSE(os::Lock::try_lock(name));
  first.reset();
  CHECK_FALSE(os::Lock::try_lock(name));
  second.reset();
  CHECK(os::Lock::try_lock(name));
}

TEST_CASE("the lock of a key passes to a waiter, from this process and from one that dies") {
  const test::TemporaryDirectory dir;
  const os::LockName name(dir.path() / "keys.lock", 7);
  int ready[2];
  REQUIRE(pipe(ready) == 0);
  const pid_t child = fork();
  if (child == 0) {
    const os::Lock lock(name);
    (void)!write(ready[1], "x", 1);
    pause();
    _exit(0);
  }
  char byte = 0;
  REQUIRE(read(ready[0], &byte, 1) == 1);
  CHECK(os::Lock::is_held(name));
  std::jthread waiting([&] { const os::Lock lock(name); });
  REQUIRE(kill(child, SIGKILL) == 0);
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child);
  waiting.join();
  CHECK(os::Lock::try_lock(name));
  close(ready[0]);
  close(ready[1]);
}

TEST_CASE("after the file of many locks is removed, no lock of the old file is used") {
  const test::TemporaryDirectory dir;
  const os::LockName name(dir.path() / "keys.lock", 7);
  std::optional<os::Lock> old(std::in_place, name);
  std::jthread waiting([&] {
    const os::Lock lock(name);
    CHECK_FALSE(os::Lock::try_lock(name));
  });
  fs::remove(name.file);
  old.reset();
  waiting.join();
  CHECK(fs::exists(name.file));
}
