#include "nix/unpack.h"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <map>
#include <string>
#include <vector>

#include "error.h"
#include "os/file.h"
#include "os/path.h"
#include "temporary_directory.h"

using namespace nixery;
namespace fs = std::filesystem;

namespace {

struct Member {
  std::string name;
  char type = '0';  // of ustar: '0' file, '1' hard link, '2' symlink, '3' device, '5' directory, '6' FIFO
  std::string text = {};
  std::string target = {};
  int mode = 0644;
};

std::string header_of(const Member& member) {
  std::string header(512, '\0');
  const auto put = [&](std::size_t at, std::string_view text) { header.replace(at, text.size(), text); };
  put(0, member.name);
  put(100, fmt::format("{:07o}", member.mode));
  put(108, "0000000");
  put(116, "0000000");
  put(124, fmt::format("{:011o}", member.text.size()));
  put(136, "00000000000");
  put(148, "        ");
  put(156, std::string(1, member.type));
  put(157, member.target);
  put(257, std::string("ustar\0"
                       "00",
                       8));
  unsigned sum = 0;
  for (const char c : header) sum += static_cast<unsigned char>(c);
  put(148, fmt::format("{:06o}", sum) + std::string("\0 ", 2));
  return header;
}

std::string tar_of(const std::vector<Member>& members) {
  std::string tar;
  for (const Member& member : members) {
    tar += header_of(member) + member.text;
    tar.resize((tar.size() + 511) / 512 * 512);
  }
  return tar + std::string(1024, '\0');
}

// What a directory holds: names -> contents, or "-> target", or "/".
std::map<std::string, std::string> contents_of(const fs::path& directory) {
  std::map<std::string, std::string> found;
  for (const auto& entry : fs::recursive_directory_iterator(directory))
    found[entry.path().lexically_relative(directory)] =
        entry.is_symlink()     ? "-> " + fs::read_symlink(entry.path()).string()
        : entry.is_directory() ? "/"
                               : os::read_if_exists(entry.path()).value_or("?");
  return found;
}

class Unpacked {
 public:
  explicit Unpacked(const std::vector<Member>& members, nix::UnpackLimits limits = {}) {
    fs::create_directories(directory() / "into");
    os::write_file(directory() / "archive", tar_of(members));
    try {
      nix::unpack(directory() / "archive", directory() / "into", limits, {});
    } catch (const Error& error) {
      refusal = error.what();
      failure = error.failure();
    }
    fs::remove(directory() / "archive");
    contents = contents_of(directory() / "into");
    const auto all = contents_of(directory());
    escaped = all.size() != contents.size() + 1;
  }
  const fs::path& directory() const { return directory_.path(); }

  std::map<std::string, std::string> contents;
  std::string refusal;
  Failure failure = Failure::corrupt;
  bool escaped = false;  // a file exists outside of `into`

 private:
  test::TemporaryDirectory directory_;
};

}  // namespace

TEST_CASE("an archive is unpacked without the first component of its names") {
  const Unpacked unpacked({{"source-1/", '5'},
                           {"source-1/default.nix", '0', "{}", "", 0600},
                           {"source-1/run", '0', "#!", "", 0777},
                           {"source-1/a/b/c", '0', "deep"},
                           {"source-1/a/b", '5'},
                           {"source-1/a/up", '2', "", "../default.nix"},
                           {"source-1/away", '2', "", "/etc/passwd"},
                           {"./source-1/a/same", '1', "", "source-1/a/b/c"},
                           {"source-1/z\xc3\xa9", '0', "utf-8"},
                           {"source-1/z\xe9", '0', "latin-1"}});
  CHECK(unpacked.refusal == "");
  CHECK(unpacked.contents == std::map<std::string, std::string>{{"default.nix", "{}"},
                                                                {"run", "#!"},
                                                                {"a", "/"},
                                                                {"a/b", "/"},
                                                                {"a/b/c", "deep"},
                                                                {"a/up", "-> ../default.nix"},
                                                                {"away", "-> /etc/passwd"},
                                                                {"a/same", "deep"},
                                                                {"z\xc3\xa9", "utf-8"},
                                                                {"z\xe9", "latin-1"}});
  struct stat status;
  REQUIRE(stat((unpacked.directory() / "into/default.nix").c_str(), &status) == 0);
  CHECK((status.st_mode & 07777) == 0644);
  REQUIRE(stat((unpacked.directory() / "into/run").c_str(), &status) == 0);
  CHECK((status.st_mode & 07777) == 0755);
}

TEST_CASE("no member of an archive is written outside the directory, or through a link") {
  const test::TemporaryDirectory outside;
  const std::string evil = (outside.path() / "evil").string();
  const std::vector<std::vector<Member>> archives = {
      {{"x/" + evil, '0', "1"}},
      {{evil, '0', "1"}},
      {{"/" + evil, '0', "1"}},
      {{"x/../../evil", '0', "1"}},
      {{"x/..", '5'}},
      {{"../evil", '0', "1"}},
      {{"x/./evil", '0', "1"}},
      {{"x/a//evil", '0', "1"}},
      {{"", '0', "1"}},
      {{"evil", '0', "1"}},  // nothing would be left of its name
      {{"x/link", '2', "", outside.path().string()}, {"x/link/evil", '0', "1"}},
      {{"x/link", '2', "", ".."}, {"x/link/evil", '0', "1"}},
      {{"x/link", '2', "", evil}, {"x/link", '0', "1"}},
      {{"x/link", '2', "", outside.path().string()}, {"x/link", '5'}, {"x/link/evil", '0', "1"}},
      {{"x/a/b", '0', "1"}, {"x/a", '2', "", outside.path().string()}, {"x/a/evil", '0', "1"}},
      {{"x/link", '2', "", "/etc"}, {"x/hard", '1', "", "x/link/hostname"}},
      {{"x/hard", '1', "", "/etc/hostname"}},
      {{"x/hard", '1', "", "x//etc/hostname"}},
      {{"x/hard", '1', "", "x/../../../etc/hostname"}},
      {{"x/hard", '1', "", "x"}},
      {{"x/link", '2', "", "/etc/hostname"}, {"x/hard", '1', "", "x/link"}},
      {{"x/a", '0', "1"}, {"x/" + evil, '1', "", "x/a"}},
      {{"x/device", '3'}},
      {{"x/fifo", '6'}},
      {{"x/a", '0', "1"}, {"x/a", '0', "2"}},
      {{"x/a", '0', "1"}, {"x/a/b", '0', "2"}},
      {{"x/a", '0', "1"}, {"x/a", '5'}},
      {{"x/" + std::string(97, 'a'), '2', "", ""}},
  };
  for (const auto& members : archives) {
    CAPTURE(members.back().name);
    const Unpacked unpacked(members);
    CHECK(unpacked.failure == Failure::unavailable);
    CHECK(unpacked.refusal != "");
    CHECK_FALSE(unpacked.escaped);
    CHECK(contents_of(outside.path()).empty());
  }
}

TEST_CASE("an archive beyond a limit of bytes, members, directories or time is refused") {
  CHECK(Unpacked({{"x/a", '0', std::string(900, 'a')}, {"x/b", '0', std::string(124, 'b')}}, {.bytes = 1024}).refusal ==
        "");
  CHECK(Unpacked({{"x/a", '0', std::string(900, 'a')}, {"x/b", '0', std::string(125, 'b')}}, {.bytes = 1024}).refusal ==
        "it is larger than 1024 bytes");
  CHECK(Unpacked({{"x/a"}, {"x/b"}}, {.entries = 2}).refusal == "");
  CHECK(Unpacked({{"x/a"}, {"x/b"}, {"x/c"}}, {.entries = 2}).refusal == "it has more than 2 members");
  CHECK(Unpacked({{"x/1/2/3/4/5/a"}, {"x/b"}}, {.entries = 6}).refusal == "it has more than 6 members");
  CHECK(Unpacked({{"x/a"}}, {.time = std::chrono::seconds(0)}).refusal == "it takes longer than 0 s");
}

TEST_CASE("unpacking stops on request, and a damaged archive is an error with the reason") {
  const test::TemporaryDirectory dir;
  const std::string tar = tar_of({{"x/a", '0', "text"}});
  os::write_file(dir.path() / "archive", tar);
  std::stop_source stop;
  stop.request_stop();
  CHECK_THROWS_WITH_AS(nix::unpack(dir.path() / "archive", dir.path(), {}, stop.get_token()), "stopped", Error);
  os::write_file(dir.path() / "archive", tar.substr(0, 514));
  CHECK_THROWS_AS(nix::unpack(dir.path() / "archive", dir.path(), {}, {}), Error);
  os::write_file(dir.path() / "archive", "no archive at all, but long enough to be looked at");
  CHECK_THROWS_AS(nix::unpack(dir.path() / "archive", dir.path(), {}, {}), Error);
}

TEST_CASE("a name from outside is joined only if it stays below the directory") {
  for (const char* name : {"a", "a/b.c", "..a", "a..", "...", "-", "~"}) {
    CHECK(os::stays_below(name));
    CHECK(os::join_below("/dir", name) == fs::path("/dir") / name);
  }
  using namespace std::string_view_literals;
  for (const std::string_view name : {""sv, "/"sv, "/etc"sv, "//etc"sv, "."sv, ".."sv, "a/.."sv, "../a"sv, "a/../b"sv,
                                      "./a"sv, "a/."sv, "a/"sv, "a//b"sv, "a\0b"sv}) {
    CAPTURE(name);
    CHECK_FALSE(os::stays_below(name));
    CHECK_THROWS_AS(os::join_below("/dir", name), Error);
  }
}
