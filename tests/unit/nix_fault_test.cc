#include <doctest/doctest.h>
#include <sys/stat.h>

#include <atomic>
#include <filesystem>
#include <string>
#include <thread>

#include "nix/build_probe.h"
#include "nix/fault.h"
#include "nix/inherited_modes.h"
#include "temporary_directory.h"

using namespace nixery;
using nix::NixFault;
using std::chrono::hours;

TEST_CASE("faults of Nix itself are recognised by the messages of 2.8 and 2.34") {
  const auto is = [](NixFault fault, const char* words) {
    CHECK_MESSAGE(nix::fault_in(words) == fault, words);
    CHECK_FALSE_MESSAGE(nix::is_build_failure(words), words);
  };
  is(NixFault::disk,
     "error: executing SQLite statement 'pragma synchronous = normal': disk I/O error (in "
     "'/nix/var/nix/db/db.sqlite')");
  is(NixFault::disk,
     "error: executing SQLite statement '…': database or disk is full (in '/nix/var/nix/db/db.sqlite')");
  is(NixFault::disk, "error: writing to file: No space left on device");
  is(NixFault::disk, "error: write of 53 bytes: No space left on device");
  is(NixFault::disk, "error: remounting /nix/store writable: Invalid argument");
  is(NixFault::disk, "error: remounting \"/nix/store\" writable: Invalid argument");
  is(NixFault::build_users, "error: the group 'nixbld' specified in 'build-users-group' does not exist");
  is(NixFault::build_users, "error: the build users group 'nixbld' has no members");
  is(NixFault::build_users, "error: the user 'nixbld1' in the group 'nixbld' does not exist");
  is(NixFault::limits, "error: creating pipe: Too many open files");
  is(NixFault::limits, "error: unable to fork: Resource temporarily unavailable");
  is(NixFault::sandbox,
     "error: this system does not support the kernel namespaces that are required for sandboxing; use '--no-sandbox' "
     "to "
     "disable sandboxing");
  is(NixFault::sandbox, "error: unexpected EOF reading a line");
  is(NixFault::gc_roots, "error: '/nix/var/nix/gcroots/auto' is not a directory");
  is(NixFault::gc_roots, "error: creating directory \"/nix/var/nix/gcroots/auto\": Not a directory");
  is(NixFault::store,
     "error: executing SQLite statement '…': database disk image is malformed (in '/nix/var/nix/db/db.sqlite')");
  is(NixFault::store, "error: opening lock file '/nix/var/nix/db/big-lock': Permission denied");
  is(NixFault::daemon, "error: cannot connect to socket at '/nix/var/nix/daemon-socket/socket': Connection refused");
  is(NixFault::daemon,
     "error: cannot open connection to remote store 'daemon': error: reading from file: Connection reset by peer");
}

TEST_CASE("a build's failure is not a fault of Nix unless Nix's own message says so") {
  for (const char* words :
       {"error: builder for '/nix/store/x-y.drv' failed with exit code 1",
        "error: Cannot build '/nix/store/x-y.drv'.\n       Reason: builder failed with exit code 1.",
        "error: hash mismatch in fixed-output derivation '/nix/store/x.drv':\n  specified: a\n  got: b",
        "error: 1 dependencies of derivation '/nix/store/x.drv' failed to build",
        "error: Cannot build '/nix/store/x.drv'.\n       Reason: 1 dependency failed.",
        "error: build of '/nix/store/x.drv', '/nix/store/y.drv' failed"}) {
    CHECK_MESSAGE(nix::is_build_failure(words), words);
    CHECK_FALSE_MESSAGE(nix::build_fault_in(words), words);
  }
  CHECK(nix::build_fault_in(
            "error: builder for '/nix/store/x.drv' failed with exit code 1;\n       note: build failure may "
            "have been caused by lack of free disk space") == NixFault::disk);
  CHECK(nix::build_fault_in("error: builder for '/nix/store/x.drv' failed due to signal 9 (Killed)") ==
        NixFault::killed);
  CHECK(nix::is_failed_dependency("error: 2 dependencies of derivation '/nix/store/x.drv' failed to build"));
  CHECK(nix::is_failed_dependency("error: Cannot build '/nix/store/x.drv'.\n       Reason: 2 dependencies failed."));
  CHECK(nix::is_failed_dependency("error: build of '/nix/store/x.drv', '/nix/store/y.drv' failed"));
  CHECK_FALSE(nix::is_failed_dependency("error: builder for '/nix/store/x.drv' failed with exit code 1"));
}

TEST_CASE("builds that are not allowed are recognised by the messages of 2.8 and 2.34") {
  CHECK(nix::is_disabled_build(
      "error: unable to start any build; either increase '--max-jobs' or enable remote builds."));
  CHECK(
      nix::is_disabled_build("error: Cannot build '/nix/store/x.drv'.\n       Reason: local builds are disabled "
                             "(max-jobs = 0)\n       Hint: set 'max-jobs' to a non-zero value"));
  CHECK_FALSE(nix::is_disabled_build("error: builder for '/nix/store/x.drv' failed with exit code 1"));
}

TEST_CASE("a package's own message in an evaluation is not a fault") {
  CHECK(nix::evaluation_fault_in("writing to file: No space left on device") == NixFault::disk);
  CHECK(nix::evaluation_fault_in("creating pipe: Too many open files") == NixFault::limits);
  CHECK_FALSE(nix::evaluation_fault_in("Could not resolve the attribute"));
  CHECK_FALSE(nix::evaluation_fault_in("Package 'x' is marked as broken, refusing to evaluate."));
}

namespace {

void set_mode(const std::filesystem::path& directory, mode_t mode) {
  std::filesystem::create_directory(directory);
  REQUIRE(chmod(directory.c_str(), mode) == 0);
}

}  // namespace

TEST_CASE("a directory whose setgid bit builds inherit is found, unless Nix's settings make it harmless") {
  const test::TemporaryDirectory top;
  const nix::BuildPlaces places{top.path() / "store", top.path() / "builds", top.path() / "tmp"};
  set_mode(places.store, 0755);
  set_mode(places.temporary, 0755);
  CHECK(nix::directory_that_forbids_modes(places, "").empty());
  set_mode(places.temporary, 02775);
  CHECK(nix::directory_that_forbids_modes(places, "") == places.temporary);
  CHECK(nix::directory_that_forbids_modes(places, "no JSON") == places.temporary);
  CHECK(nix::directory_that_forbids_modes(places, R"({"filter-syscalls":{"value":false}})").empty());
  set_mode(places.builds, 0755);  // Nix 2.30 builds there instead
  CHECK(nix::directory_that_forbids_modes(places, "").empty());
  set_mode(places.builds, 02755);
  CHECK(nix::directory_that_forbids_modes(places, "") == places.builds);
  CHECK(nix::directory_that_forbids_modes(places, "{\"build-dir\":{\"value\":\"" + places.store.string() + "\"}}")
            .empty());
  set_mode(places.builds, 0755);
  set_mode(places.store, 02775);
  CHECK(nix::directory_that_forbids_modes(places, R"({"sandbox":{"value":true}})").empty());
  CHECK(nix::directory_that_forbids_modes(places, R"({"sandbox":{"value":"true"}})").empty());
  CHECK(nix::directory_that_forbids_modes(places, R"({"sandbox":{"value":false}})") == places.store);
}

TEST_CASE("the build probe runs again only if its last result is too old") {
  int runs = 0;
  std::optional<std::string> result;
  nix::BuildProbe probe([&](const std::stop_token&) {
    ++runs;
    return result;
  });
  CHECK_FALSE(probe.last());
  CHECK(probe.trouble(hours(1), {}) == "");  // no result
  CHECK(probe.last() == "");
  CHECK(probe.trouble(hours(1), {}) == "");
  CHECK(runs == 2);
  result = "the disk is full";
  CHECK(probe.trouble(hours(1), {}) == "the disk is full");
  CHECK(probe.trouble(hours(1), {}) == "the disk is full");
  CHECK(runs == 3);
  result = std::nullopt;  // the last result stays
  CHECK(probe.trouble(hours(0), {}) == "the disk is full");
  result = "";
  CHECK(probe.trouble(hours(0), {}) == "");
  CHECK(probe.last() == "");
  CHECK(runs == 5);
}

TEST_CASE("one build probe runs at a time, and all callers wait for it") {
  std::atomic<int> runs{0}, asking{0};
  std::atomic<bool> go{false};
  nix::BuildProbe probe([&](const std::stop_token&) -> std::optional<std::string> {
    ++runs;
    go.wait(false);
    return "no build users";
  });
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 5; ++i)
      threads.emplace_back([&] {
        ++asking;
        CHECK(probe.trouble(hours(1), {}) == "no build users");
      });
    while (asking < 5 || runs < 1) std::this_thread::yield();
    go = true;
    go.notify_all();
  }
  CHECK(runs == 1);
}

TEST_CASE("a build probe that throws reports the reason") {
  nix::BuildProbe probe(
      [](const std::stop_token&) -> std::optional<std::string> { throw std::runtime_error("cannot run nix-store"); });
  CHECK(probe.trouble(hours(1), {}) == "cannot run nix-store");
}
