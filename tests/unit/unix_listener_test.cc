#include "os/unix_listener.h"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "error.h"
#include "temporary_directory.h"

using namespace nixery;
using os::UnixListener;

namespace {

constexpr int backlog = 128;  // above the number of probes, as no test accepts them

bool answers_at(const std::filesystem::path& path) {
  const os::Fd client(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  std::memcpy(name.sun_path, path.c_str(), path.string().size() + 1);
  return connect(client.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0;
}

// A process that listens at `path` from the time `start` until it is killed; writes '1' into `result` if it listens, or
// '0' if another process does.
pid_t listen_in_child(const std::filesystem::path& path, int start, int result) {
  const pid_t pid = fork();
  if (pid != 0) return pid;
  char byte;
  if (start >= 0 && read(start, &byte, 1) < 0) _exit(1);
  try {
    const auto listener = UnixListener::make(path, 0600, backlog);
    if (write(result, "1", 1) == 1) pause();
  } catch (const Error& error) {
    const bool is_told = std::string(error.what()).starts_with("another worker listens on " + path.string());
    if (write(result, is_told ? "0" : "?", 1) != 1) _exit(1);
  }
  _exit(0);
}

void kill_and_reap(pid_t pid) {
  kill(pid, SIGKILL);
  REQUIRE(waitpid(pid, nullptr, 0) == pid);
}

struct Pipe {
  os::Fd read, write;
  Pipe() {
    int fds[2];
    REQUIRE(pipe(fds) == 0);
    read = os::Fd(fds[0]);
    write = os::Fd(fds[1]);
  }
};

char next_byte(const Pipe& pipe) {
  char byte = 0;
  REQUIRE(read(pipe.read.get(), &byte, 1) == 1);
  return byte;
}

}  // namespace

TEST_CASE("of processes that start at the same time on a leftover socket, exactly one listens") {
  const test::TemporaryDirectory dir;
  const auto path = dir.path() / "s";
  {
    const Pipe result;
    const pid_t killed = listen_in_child(path, -1, result.write.get());
    REQUIRE(next_byte(result) == '1');
    kill_and_reap(killed);
    REQUIRE(std::filesystem::is_socket(path));
  }
  constexpr int processes = 8;
  Pipe start, result;
  std::vector<pid_t> children;
  for (int i = 0; i < processes; ++i) children.push_back(listen_in_child(path, start.read.get(), result.write.get()));
  REQUIRE(write(start.write.get(), "12345678", processes) == processes);
  std::string results;
  for (int i = 0; i < processes; ++i) results += next_byte(result);
  CHECK(std::count(results.begin(), results.end(), '1') == 1);
  CHECK(std::count(results.begin(), results.end(), '0') == processes - 1);
  CHECK(answers_at(path));
  for (const pid_t child : children) kill_and_reap(child);
}

TEST_CASE("a listening socket has its mode, and its name and its lock are removed with it") {
  const test::TemporaryDirectory dir;
  const auto path = dir.path() / "new directory" / "s";
  {
    const auto listener = UnixListener::make(path, 0640, backlog);
    struct stat status {};
    REQUIRE(stat(path.c_str(), &status) == 0);
    CHECK((status.st_mode & 0777) == 0640);
    CHECK(answers_at(path));
  }
  CHECK(std::filesystem::is_empty(path.parent_path()));
}

TEST_CASE("connections queued when the name is removed can still be accepted") {
  const test::TemporaryDirectory dir;
  const auto path = dir.path() / "s";
  auto listener = UnixListener::make(path, 0600, backlog);
  REQUIRE(answers_at(path));
  listener.name.remove();
  const auto successor = UnixListener::make(path, 0600, backlog);
  const os::Fd accepted(accept(listener.fd.get(), nullptr, nullptr));
  CHECK(accepted);
  listener = {};
  CHECK(answers_at(path));  // the successor answers
}

TEST_CASE("a name that another process has taken is not removed") {
  const test::TemporaryDirectory dir;
  const auto path = dir.path() / "s";
  auto listener = UnixListener::make(path, 0600, backlog);
  listener.fd.reset();
  REQUIRE(std::filesystem::remove(path.string() + ".lock"));  // by a clean-up job
  const auto successor = UnixListener::make(path, 0600, backlog);
  listener.name.remove();
  CHECK(answers_at(path));
}

TEST_CASE("a socket on which another program listens, and a file that is not a socket, are not replaced") {
  const test::TemporaryDirectory dir;
  const auto path = dir.path() / "s";
  auto other = UnixListener::make(path, 0600, backlog);
  REQUIRE(std::filesystem::remove(path.string() + ".lock"));  // as if the program used no lock
  CHECK_THROWS_WITH_AS(UnixListener::make(path, 0600, backlog), doctest::Contains("another worker listens on"), Error);
  CHECK(answers_at(path));

  const auto file = dir.path() / "file";
  std::ofstream(file) << "content";
  CHECK_THROWS_WITH_AS(UnixListener::make(file, 0600, backlog), doctest::Contains("is no socket"), Error);
  CHECK(std::filesystem::file_size(file) == 7);
  CHECK_THROWS_WITH_AS(UnixListener::make(dir.path() / std::string(200, 'x'), 0600, backlog),
                       doctest::Contains("too long"), Error);
}
