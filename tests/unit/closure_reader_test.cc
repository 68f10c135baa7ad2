// Packages with links that lead out of their store path, in a fabricated store.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>

#include "error.h"
#include "layer/closure_reader.h"
#include "layer/nar.h"
#include "layer/remembered_files.h"
#include "layer/rootfs.h"
#include "layer/tar.h"
#include "layer/walk.h"
#include "layer_test_store.h"
#include "os/beneath.h"

using namespace nixery;
using namespace nixery::layer;
using namespace nixery::test;

namespace {

// A closure of "a", "b" and "c"; "outside" is in the store, but not in the closure.
struct Fixture {
  Store store;
  store::Closure closure;
  TemporaryDirectory host;

  Fixture() {
    for (const char* name : {"a", "b", "c", "outside"}) store.directory(name, "");
    for (const char* name : {"a", "b", "c"}) closure.paths.push_back(store.info(name));
    fs::create_directories(host.path() / "directory");
    store.file("outside", "file", "outside");
  }

  std::string at(const std::string& name, const std::string& inside = "") const {
    return std::string(store.info(name).path.base_name()) + (inside.empty() ? "" : "/" + inside);
  }
  ClosureReader reader(ClosureReader::Limits limits = {}) const { return {store.root(), closure, {}, limits}; }
  // The path that it leads to; "" if it leads nowhere.
  std::string resolve(const std::string& name, const std::string& inside) const {
    const auto object = reader().resolve(at(name, inside));
    return object ? object->path : "";
  }
};

Failure failure_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& error) {
    return error.failure();
  }
  FAIL("no error");
  return Failure::bad_name;
}

int error_of(const os::Fd& fd) {
  return fd ? 0 : errno;
}

}  // namespace

TEST_CASE("a file is opened beneath a directory without following a symlink, with openat2 and without") {
  const TemporaryDirectory dir;
  fs::create_directories(dir.path() / "top/real");
  std::ofstream(dir.path() / "top/real/file") << "x";
  fs::create_symlink("real", dir.path() / "top/link");
  fs::create_symlink("file", dir.path() / "top/real/last");
  const os::Fd top(open((dir.path() / "top").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  for (const auto open : {os::open_beneath, os::open_beneath_by_component}) {
    const auto read = [&](const char* path) { return error_of(open(top.get(), path, O_RDONLY)); };
    CHECK(read("real/file") == 0);
    CHECK(read("real") == 0);
    CHECK(read("link/file") == ELOOP);
    CHECK(read("real/last") == ELOOP);
    CHECK(error_of(open(top.get(), "real/last", O_PATH)) == 0);
    CHECK(read("real/file/below") == ENOTDIR);
    CHECK(read("absent/file") == ENOENT);
    CHECK(read("") == ENOENT);
    CHECK(read("..") == EXDEV);
    CHECK(read("real/../../top/real/file") == EXDEV);
    CHECK(read("/etc/passwd") == EXDEV);
    CHECK(fcntl(open(top.get(), "real/file", O_RDONLY).get(), F_GETFD) == FD_CLOEXEC);
  }
}

TEST_CASE("links are followed within the closure, absolute and relative, through other packages") {
  Fixture set;
  set.store.file("b", "share/doc/file", "text");
  set.store.symlink("a", "relative", "../" + set.at("b", "share"));
  set.store.symlink("a", "absolute", "/nix/store/" + set.at("b", "share"));
  set.store.symlink("a", "up", "../../store/./" + set.at("b") + "//share/doc/../doc/");
  set.store.symlink("c", "chain", "/nix/store/" + set.at("a", "relative"));
  CHECK(set.resolve("a", "relative/doc/file") == set.at("b", "share/doc/file"));
  CHECK(set.resolve("a", "absolute/doc/file") == set.at("b", "share/doc/file"));
  CHECK(set.resolve("a", "up") == set.at("b", "share/doc"));
  CHECK(set.resolve("c", "chain/doc/file") == set.at("b", "share/doc/file"));
  CHECK(set.resolve("a", "relative/absent") == "");
  CHECK(set.resolve("b", "share/doc/file/below") == "");
  CHECK(set.resolve("b", "share/doc/file/..") == "");
  CHECK(set.reader().read(set.at("c", "chain/doc/file")) == "text");
}

TEST_CASE("a link out of the closure is not followed") {
  Fixture set;
  std::string up;
  for (int i = 0; i < 30; ++i) up += "../";
  const std::string host = set.host.path().string();
  std::size_t count = 0;
  const std::vector<std::string> targets = {host,
                                            up + host.substr(1),
                                            set.store.root().string(),
                                            "/",
                                            "/etc",
                                            "/nix",
                                            "/nix/store",
                                            "..",
                                            "../..",
                                            "../../..",
                                            "/nix/var",
                                            "/nix/store/" + set.at("outside"),
                                            "/proc/self",
                                            "/proc/self/fd/0",
                                            "../" + set.at("outside", "file"),
                                            "/proc/self/root",
                                            "/nix/../etc",
                                            "/nixx/store",
                                            "/nix/store/" + set.at("a") + "/../../../etc"};
  for (const std::string& target : targets) {
    const std::string name = fmt::format("link-{}", count++);
    set.store.symlink("a", name, target);
    CAPTURE(target);
    CHECK(set.resolve("a", name) == "");
    CHECK(set.resolve("a", name + "/passwd") == "");
    CHECK(!set.reader().read(set.at("a", name)));
  }
  // Even if it leads back into the closure: in the image, there may be something else.
  fs::create_symlink(set.store.place("b"), set.host.path() / "back");
  set.store.symlink("a", "back", host + "/back");
  CHECK(set.resolve("a", "back") == "");
  CHECK(set.resolve("outside", "file") == "");
}

TEST_CASE("forty links are followed, as in Linux, and loops end") {
  Fixture set;
  set.store.file("a", "file", "");
  set.store.symlink("a", "1", "file");
  for (int i = 2; i <= 41; ++i) set.store.symlink("a", fmt::format("{}", i), fmt::format("{}", i - 1));
  set.store.symlink("a", "self", "self");
  set.store.symlink("a", "there", "/nix/store/" + set.at("b", "back"));
  set.store.symlink("b", "back", "/nix/store/" + set.at("a", "there"));
  set.store.symlink("a", "grows", "grows/grows");
  CHECK(set.resolve("a", "40") == set.at("a", "file"));
  CHECK(set.resolve("a", "41") == "");
  for (const char* loop : {"self", "there", "grows"}) CHECK(set.resolve("a", loop) == "");
}

TEST_CASE("only regular files are read, up to a limit") {
  Fixture set;
  set.store.file("a", "file", "12345");
  const fs::path sparse = set.store.file("a", "sparse", "", 0644);
  REQUIRE(truncate(sparse.c_str(), off_t{1} << 40) == 0);
  REQUIRE(mkfifo((set.store.place("a") / "fifo").c_str(), 0600) == 0);
  const os::Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const fs::path socket_path = set.store.place("a") / "s";
  REQUIRE(socket_path.string().size() < sizeof address.sun_path);
  socket_path.string().copy(address.sun_path, sizeof address.sun_path - 1);
  REQUIRE(bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);

  ClosureReader reader = set.reader({.file_size = 5});
  CHECK(reader.read(set.at("a", "file")) == "12345");
  CHECK(!reader.read(set.at("a", "fifo")));
  CHECK(!reader.read(set.at("a", "s")));
  CHECK(!reader.read(set.at("a")));
  CHECK(!reader.read(set.at("a", "absent")));
  CHECK(failure_of([&] { reader.read(set.at("a", "sparse")); }) == Failure::package_too_large);
  CHECK(failure_of([&] { set.reader({.file_size = 4}).read(set.at("a", "file")); }) == Failure::package_too_large);
}

TEST_CASE("a file that changes its type while it is read is an error, and nothing else is opened") {
  Fixture set;
  set.store.file("a", "file", "");
  set.store.directory("a", "directory/below");
  StoreFiles files(set.store.root());
  const std::string top = set.store.place("a").string();
  CHECK(files.list(set.at("a")).size() == 2);
  fs::remove_all(top + "/directory");
  fs::create_symlink("/etc", top + "/directory");
  CHECK(failure_of([&] { files.list(set.at("a", "directory")); }) == Failure::corrupt);
  CHECK(!files.kind_of(set.at("a", "directory/passwd")));
  CHECK(failure_of([&] { files.open(set.at("a", "directory")); }) == Failure::corrupt);
  fs::remove(top + "/directory");
  set.store.file("a", "directory", "");
  CHECK(failure_of([&] { files.list(set.at("a", "directory")); }) == Failure::corrupt);
  fs::remove(top + "/file");
  REQUIRE(mkfifo((top + "/file").c_str(), 0600) == 0);
  CHECK(failure_of([&] { files.open(set.at("a", "file")); }) == Failure::corrupt);
}

TEST_CASE("a store path with a FIFO or a device makes no layer, and is not opened") {
  Fixture set;
  REQUIRE(mkfifo((set.store.place("a") / "fifo").c_str(), 0600) == 0);
  StringSink sink;
  const auto path = set.store.info("a").path;
  CHECK(failure_of([&] { append_store_path(sink, set.store.root(), path); }) == Failure::storage);
  CHECK(failure_of([&] { nar_of(set.store.root(), path); }) == Failure::storage);
}

TEST_CASE("a store path that is a symlink is a symlink in its layer") {
  Fixture set;
  fs::remove(set.store.place("a"));
  fs::create_symlink("/etc", set.store.place("a"));
  StringSink sink;
  append_store_path(sink, set.store.root(), set.store.info("a").path);
  sink.finish();
  CHECK(sink.bytes == tar_header(Entry::symlink("nix/store/" + set.at("a"), "/etc")));
  CHECK(set.resolve("a", "passwd") == "");
}

TEST_CASE("limits: entries, time, the size of a listing, a stop") {
  Fixture set;
  for (int i = 0; i < 20; ++i) set.store.file("a", fmt::format("bin/{}", i), "");
  CHECK(set.reader({.entries = 20}).list(set.at("a", "bin")).size() == 20);
  CHECK(failure_of([&] { set.reader({.entries = 19}).list(set.at("a", "bin")); }) == Failure::package_too_large);
  ClosureReader twice = set.reader({.entries = 39});
  twice.list(set.at("a", "bin"));
  CHECK(failure_of([&] { twice.list(set.at("a", "bin")); }) == Failure::package_too_large);
  CHECK(failure_of([&] { set.reader({.time = {}}).list(set.at("a", "bin")); }) == Failure::timed_out);
  CHECK(failure_of([&] { StoreFiles(set.store.root()).list(set.at("a", "bin"), 50); }) == Failure::package_too_large);
  std::stop_source source;
  ClosureReader stopped(set.store.root(), set.closure, source.get_token());
  stopped.list(set.at("a", "bin"));
  source.request_stop();
  CHECK(failure_of([&] { stopped.list(set.at("a", "bin")); }) == Failure::unavailable);
}

TEST_CASE("a root file system is made of the closure only") {
  Fixture set;
  const std::string host = set.host.path().string();
  std::ofstream(host + "/directory/secret") << "x";
  set.store.symlink("a", "share", host);
  set.store.symlink("a", "lib/host", host);
  set.store.symlink("a", "etc/ssl", host);
  set.store.symlink("a", "libexec", "/nix/store");
  set.store.symlink("a", "sbin", "/nix/store/" + set.at("b", "sbin"));
  set.store.symlink("a", "nix-support/propagated-user-env-packages", "/dev/zero");
  set.store.file("b", "sbin/tool", "");
  set.store.file("b", "lib/host/real", "");
  set.store.file("b", "nix-support/propagated-user-env-packages", "/nix/store/" + set.at("outside") + "\n");
  set.store.symlink("c", "bin", host);
  set.store.file("outside", "bin/outside", "");
  std::ofstream(host + "/sh") << "x";
  const Rootfs root =
      plan_rootfs({{set.store.info("a").path}, {set.store.info("b").path}}, {}, set.closure, set.store.root());
  std::vector<std::string> links;
  for (const Entry& entry : root.entries)
    if (entry.kind == Entry::Kind::symlink) links.push_back(entry.name + " -> " + entry.content);
  CHECK(links == std::vector<std::string>{"etc/ssl -> /nix/store/" + set.at("a", "etc/ssl"),
                                          "lib/host -> /nix/store/" + set.at("a", "lib/host"),
                                          "sbin/tool -> /nix/store/" + set.at("a", "sbin/tool")});
}

TEST_CASE("infinitely nested directory merges are an error and use bounded memory") {
  Fixture set;
  // Two packages, since a directory of one alone is a link. Each level doubles what is below.
  for (const char* name : {"a", "b"})
    for (int i = 0; i < 40; ++i)
      for (const char* side : {"l", "r"})
        set.store.symlink(name, fmt::format("share/{}/{}", i, side), fmt::format("../{}", i + 1));
  for (const char* name : {"a", "b"}) set.store.file(name, "share/40/end", "");
  const auto plan = [&] {
    plan_rootfs({{set.store.info("a").path}, {set.store.info("b").path}}, {}, set.closure, set.store.root());
  };
  const auto failure = failure_of(plan);
  // The limit of time comes first on a machine that is slow enough.
  CHECK((failure == Failure::package_too_large || failure == Failure::timed_out));
}

TEST_CASE("directories of 990 levels are merged and layered") {
  Fixture set;
  std::string deep = "share";
  for (int i = 0; i < 990; ++i) deep += "/d";
  for (const char* name : {"a", "b"}) set.store.file(name, deep + '/' + name, "");
  const Rootfs root =
      plan_rootfs({{set.store.info("a").path}, {set.store.info("b").path}}, {}, set.closure, set.store.root());
  const auto is_last = [&](const Entry& entry) { return entry.name == deep + "/b"; };
  CHECK(std::any_of(root.entries.begin(), root.entries.end(), is_last));
  StringSink sink;
  append_store_path(sink, set.store.root(), set.store.info("a").path);
  CHECK(sink.total() > 990 * tar_block);
}

TEST_CASE("a path that is too long to be opened is not merged") {
  Fixture set;
  const std::string part(200, 'x');
  for (const char* name : {"a", "b"}) {
    for (int i = 0; i < 25; ++i)
      set.store.symlink(name, fmt::format("share/{}/{}", i, part), fmt::format("../{}", i + 1));
    set.store.file(name, "share/25/end", "");
  }
  CHECK(failure_of([&] {
          plan_rootfs({{set.store.info("a").path}, {set.store.info("b").path}}, {}, set.closure, set.store.root());
        }) == Failure::package_too_large);
}

TEST_CASE("the files that later ones may be linked to are bounded in number") {
  RememberedFiles files;
  const auto path = [](std::uint64_t i) {
    return fmt::format("hash-package/share/some/directory/file-number-{:010}", i);
  };
  constexpr std::uint64_t most = RememberedFiles::max_paths / RememberedFiles::overhead;
  for (std::uint64_t i = 0; i < 2 * most; ++i) {
    struct stat info {};
    info.st_size = static_cast<off_t>(i);
    files.add(path(i), info, false);
  }
  CHECK(files.size() > most / 2);
  CHECK(files.size() < most);
  const std::uint64_t last = files.size() - 1;
  CHECK(files.path_of(files[files.first(last)]) == path(last));
  CHECK(files.first(last + 1) == RememberedFiles::none);
}

TEST_CASE("a limited number of files of one size is remembered, in order") {
  RememberedFiles files;
  struct stat info {};
  info.st_size = 7;
  for (int i = 0; i < 20; ++i) files.add(fmt::format("{}", i), info, false);
  std::vector<std::string> paths;
  for (auto i = files.first(7); i != RememberedFiles::none; i = files[i].next) paths.push_back(files.path_of(files[i]));
  REQUIRE(paths.size() == RememberedFiles::each_size);
  CHECK(paths.front() == "0");
  CHECK(paths.back() == "15");
}
