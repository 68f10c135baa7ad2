#include "nix/nix.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>

#include "error.h"
#include "nix/attribute_names.h"
#include "nix/blocked.h"
#include "nix/error_message.h"
#include "nix/git_source.h"
#include "nix/path_source.h"
#include "nix/request.h"
#include "os/file.h"
#include "os/process.h"
#include "temporary_directory.h"

using namespace nixery;
namespace fs = std::filesystem;

namespace {

std::string run(const fs::path& dir, const std::string& script) {
  os::Command command;
  command.argv = {"sh", "-ec", "cd \"$0\"; " + script, dir.string()};
  command.env = {{"GIT_AUTHOR_NAME", "a"},
                 {"GIT_AUTHOR_EMAIL", "a@b"},
                 {"GIT_COMMITTER_NAME", "a"},
                 {"GIT_COMMITTER_EMAIL", "a@b"}};
  const auto outcome = os::run(command);
  REQUIRE_MESSAGE(outcome.ok(), outcome.error_tail);
  return outcome.output.substr(0, outcome.output.find('\n'));
}

Failure failure_of(nix::Source& source, const std::string& tag) {
  try {
    source.find(tag);
  } catch (const Error& error) {
    return error.failure();
  }
  return Failure::corrupt;
}

}  // namespace

TEST_CASE("nix's error is found among its traces, in old and new formats") {
  CHECK(nix::error_message("warning: x\nerror: undefined variable 'foo'\n\n       at /x:1:2:\n") ==
        "undefined variable 'foo'");
  CHECK(nix::error_message("error:\n       … while evaluating\n         at /x:1\n\n       error: attribute 'a' "
                           "missing\n       at /x:2\n") == "attribute 'a' missing");
  CHECK(nix::error_message("trace: the error: in a line\n").empty());
  CHECK(nix::error_message("").empty());
}

TEST_CASE("what is blocked is looked for at the paths that end as a name does, and nowhere that costs a whole set") {
  using Step = nix::AliasCandidate::Step;
  using Candidates = std::vector<nix::AliasCandidate>;
  const auto candidates = [](std::vector<std::string> globs, const std::string& name) {
    auto all = nix::alias_candidates_of(nix::NameList(std::move(globs)), {{name}});
    Candidates list = std::move(all.everywhere);
    for (auto& candidate : all.named[name]) list.push_back(std::move(candidate));
    return list;
  };
  CHECK(candidates({"python2Packages.*"}, "python2.pkgs.Foo") ==
        Candidates{{{Step{"python2packages", ""}}, "python2.pkgs.foo"},
                   {{Step{"python2packages", ""}}, "pkgs.foo"},
                   {{Step{"python2packages", ""}}, "foo"}});
  CHECK(candidates({"a.b"}, "c.b.out") == Candidates{{{Step{"a", ""}}, "b"}});
  CHECK(candidates({"py*.b"}, "x") == Candidates{{{Step{"", "py.*"}}, "b"}});
  CHECK(candidates({"g++*"}, "x") == Candidates{{{Step{"", "g\\+\\+.*"}}, "x"}});
  CHECK(candidates({"*"}, "a.b") == Candidates{{{}, "a.b"}, {{}, "b"}});
  CHECK(candidates({"*.b", "[ab]", "a.[b", "\\a"}, "c.b").empty());
  CHECK(candidates({}, "a").empty());
}

TEST_CASE("thousands of blocked names are sent once, not once for each package") {
  std::vector<std::string> words;
  for (int i = 0; i < 5000; ++i) words.push_back("blocked-" + std::to_string(i));
  std::vector<reference::AttributePath> names;
  for (int i = 0; i < 64; ++i) names.push_back({"package" + std::to_string(i)});
  nix::NixSettings settings;
  settings.blocked = nix::NameList(words);
  const std::string request = nix::request_json(settings, names, reference::platforms[0], nix::Examples::wanted);
  CHECK(request.size() > (128u << 10));
  CHECK(request.size() < (1u << 20));
}

TEST_CASE("names and globs are found without regard to case") {
  const nix::NameList list({"Steam", "steam", "python2Packages.*", "_7zz", "a[bc]d"});
  CHECK(list.names() == std::vector<std::string>{"_7zz", "steam"});
  CHECK(list.str() == "_7zz steam a[bc]d python2packages.*");
  for (const char* name : {"steam", "STEAM", "python2packages.requests", "_7zz", "acd"}) CHECK(list.has(name));
  for (const char* name : {"steam2", "", "7zz", "python2packages", "ad"}) CHECK_FALSE(list.has(name));
  CHECK_FALSE(nix::NameList().has(""));
}

TEST_CASE("near matches are names that can be typed") {
  const std::vector<std::string> outermost = {"",          ".",    "curl",   "_7zz", "python311",
                                              "nodejs_20", "go-1", "__curl", "b.d"};
  const auto message = [&](const std::string& requested, std::string_view within = "",
                           std::vector<std::string> names = {}) {
    return std::string(nix::unknown_package(requested, within, within.empty() ? outermost : names, outermost).what());
  };
  CHECK(message("crul") == "no package 'crul': did you mean 'curl'?");
  CHECK(message("7z") == "no package '7z': did you mean '7zz'?");
  CHECK(message("x") == "no package 'x'");
  CHECK(message("bd") == "no package 'bd'");
  CHECK(message("python3.11", "python3", {"pkgs", "override", "1.1"}) ==
        "no package 'python3.11': did you mean 'python311'?");
  CHECK(message("nodejs.20", "nodejs", {"pkgs"}) == "no package 'nodejs.20': did you mean 'nodejs_20'?");
  CHECK(message("go.1", "go", {"out"}) == "no package 'go.1': did you mean 'go-1'?");
  CHECK(message("python3packages.request", "python3Packages", {"requests", "__functionArgs"}) ==
        "no package 'python3packages.request': did you mean 'python3packages.requests'?");
  CHECK(message("7x.packages.requets", "_7x.packages", {"requests"}) ==
        "no package '7x.packages.requets': did you mean '7x.packages.requests'?");
  CHECK(message("curl.x.y", "curl", {"__unfix__", ""}) == "no package 'curl.x.y'");
}

TEST_CASE("the names of a set are remembered though one of them cannot be written down, and per configuration") {
  const test::TemporaryDirectory dir;
  const nix::Revision revision{"r", "", false};
  nix::NixpkgsSettings nixpkgs;
  const nix::AttributeNames names(dir.path() / "names", revision, nixpkgs, reference::platforms[0]);
  names.remember("", {"", ".", "curl", "a\nb", "_7zz", "python311", "python3"});
  CHECK(names.names("") == std::vector<std::string>{"curl", "_7zz", "python311", "python3"});
  CHECK_NOTHROW(names.refuse_unknown({{"curl"}, {"7zz"}, {"_7ZZ"}}));
  CHECK_THROWS_WITH_AS(names.refuse_unknown({{"curls"}}), doctest::Contains("did you mean 'curl'"), Error);
  names.remember("python3", {"pkgs"});
  CHECK_THROWS_WITH_AS(names.refuse_unknown({{"python3.11"}}), doctest::Contains("did you mean 'python311'"), Error);
  nixpkgs.config = "{ overlays = [ (final: prev: { curls = prev.curl; }) ]; }";
  CHECK_NOTHROW(nix::AttributeNames(dir.path() / "names", revision, nixpkgs, reference::platforms[0])
                    .refuse_unknown({{"curls"}}));
}

TEST_CASE("a directory has only latest, and its revision depends on its contents, not its location") {
  const test::TemporaryDirectory dir;
  fs::create_directories(dir.path() / "a/sub");
  os::write_file(dir.path() / "a/default.nix", "{}");
  os::write_file(dir.path() / "a/sub/x.nix", "1");
  fs::copy(dir.path() / "a", dir.path() / "b", fs::copy_options::recursive);
  nix::SourceSettings settings{nix::SourceSettings::Kind::path, dir.path() / "a", {}, {}, {}, {}};
  nix::PathSource a(settings, dir.path() / "state", std::chrono::milliseconds(0));
  settings.location = dir.path() / "b";
  nix::PathSource b(settings, dir.path() / "state");

  const auto first = a.find("latest");
  CHECK(first.id.starts_with("sha256:"));
  CHECK(first.moving);
  CHECK(a.find("latest").id == first.id);
  CHECK(b.find("latest").id == first.id);
  os::write_file(dir.path() / "a/sub/x.nix", "2");
  CHECK(a.find("latest").id != first.id);
  CHECK(failure_of(a, "v1") == Failure::unknown_tag);
  CHECK(failure_of(a, std::string(40, 'a')) == Failure::unknown_tag);
}

TEST_CASE("a directory's remembered revision with a flipped bit is its old self or is computed again") {
  const test::TemporaryDirectory dir;
  os::write_file(dir.path() / "set/default.nix", "{}");
  const nix::SourceSettings settings{nix::SourceSettings::Kind::path, dir.path() / "set", {}, {}, {}, {}};
  nix::PathSource source(settings, dir.path() / "state", std::chrono::milliseconds(0));
  const auto id = source.find("latest").id;
  const fs::path memo = fs::directory_iterator(dir.path() / "state")->path();
  const std::string whole = os::read_if_exists(memo).value();
  for (std::size_t bit = 0; bit < 8 * whole.size(); ++bit) {
    std::string flipped = whole;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    os::write_file(memo, flipped, false);
    CHECK_MESSAGE(source.find("latest").id == id, bit);
    CHECK(os::read_if_exists(memo) == whole);  // it is written again
  }
}

TEST_CASE("a directory without default.nix is refused with the variable's name") {
  const test::TemporaryDirectory dir;
  const nix::SourceSettings settings{nix::SourceSettings::Kind::path, dir.path(), {}, {}, {}, {}};
  CHECK_THROWS_WITH_AS(nix::PathSource(settings, dir.path()), doctest::Contains("NIXERY_PKGS_PATH"), Error);
}

TEST_CASE("a git repository: branches, tags and commits of allowed branches, and nothing else") {
  const test::TemporaryDirectory dir;
  const fs::path origin = dir.path() / "origin";
  fs::create_directories(origin);
  run(origin,
      "git init -q -b main; echo 1 > default.nix; git add .; git commit -qm 1; git tag -a -m x v1; "
      "echo 2 > default.nix; git commit -qam 2; git checkout -q -b secret; echo 3 > default.nix; git commit -qam 3; "
      "git checkout -q main");
  const std::string one = run(origin, "git rev-parse main~1"), two = run(origin, "git rev-parse main"),
                    three = run(origin, "git rev-parse secret");
  // A commit that is on no branch, like a fork's commit in its parent repository.
  const std::string loose = run(origin, "git commit-tree -m loose HEAD^{tree}");

  nix::GitSource source({nix::SourceSettings::Kind::git, "file://" + origin.string(), {"main"}, {}, {}, {}},
                        dir.path() / "state");
  CHECK(source.find("latest").id == two);
  CHECK(source.find("latest").moving);
  CHECK(source.find("main").id == two);
  CHECK(source.find("v1").id == one);
  CHECK(source.find(one).id == one);
  CHECK_FALSE(source.find(one).moving);
  CHECK(source.find(one.substr(0, 8)).id == one);
  CHECK(failure_of(source, "secret") == Failure::forbidden);
  CHECK(failure_of(source, three) == Failure::forbidden);
  CHECK(failure_of(source, loose) == Failure::unknown_tag);
  CHECK(failure_of(source, "nowhere") == Failure::unknown_tag);
  CHECK(failure_of(source, std::string(40, 'a')) == Failure::unknown_tag);
  CHECK(failure_of(source, "sha256-" + std::string(64, 'a') + ".sig") == Failure::unknown_tag);

  const auto pinned = source.fetch(source.find(one));
  CHECK(os::read_if_exists(pinned.directory / "default.nix") == "1\n");
  CHECK(pinned.directory.filename() == "source");
  CHECK(source.fetch(source.find(one)).directory == pinned.directory);

  run(origin, "echo 4 > default.nix; git commit -qam 4");
  const auto moved = source.find("latest");
  CHECK(moved.id != two);
  CHECK(os::read_if_exists(source.fetch(moved).directory / "default.nix") == "4\n");
}

TEST_CASE("a commit's branches are the present ones, not those at the time of the mirror") {
  const test::TemporaryDirectory dir;
  const fs::path origin = dir.path() / "origin";
  fs::create_directories(origin);
  run(origin,
      "git init -q -b main; echo 1 > default.nix; git add .; git commit -qm 1; git checkout -q -b feature; "
      "echo 2 > default.nix; git commit -qam 2; git checkout -q main; echo 3 > default.nix; git commit -qam 3");
  const std::string feature = run(origin, "git rev-parse feature"), three = run(origin, "git rev-parse main");
  nix::GitSource source({nix::SourceSettings::Kind::git, "file://" + origin.string(), {"main"}, {}, {}, {}},
                        dir.path() / "state");
  CHECK(failure_of(source, feature) == Failure::forbidden);
  CHECK(source.find(three).id == three);
  run(origin, "git reset -q --hard feature");
  // A killed fetch may have left its locks.
  fs::path mirror;
  for (const auto& entry : fs::directory_iterator(dir.path() / "state")) mirror = entry.path() / "mirror.git";
  REQUIRE(fs::exists(mirror / "HEAD"));
  for (const char* lock : {"packed-refs.lock", "refs/heads/main.lock"}) os::write_file(mirror / lock, "");
  CHECK(source.find(feature).id == feature);
  CHECK(failure_of(source, three) == Failure::forbidden);
}

TEST_CASE("only allowed revisions of a git repository are served, under any name") {
  const test::TemporaryDirectory dir;
  const fs::path origin = dir.path() / "origin";
  fs::create_directories(origin);
  run(origin,
      "git init -q -b main; echo 1 > default.nix; git add .; git commit -qm 1; git tag -a -m x v1; git branch stable; "
      "git symbolic-ref refs/heads/alias refs/heads/main; "
      "echo 2 > default.nix; git commit -qam 2; git tag v2; git branch also-main; git checkout -q -b secret; "
      "echo 3 > default.nix; git commit -qam 3; git tag v3; git checkout -q main");
  const std::string one = run(origin, "git rev-parse stable"), two = run(origin, "git rev-parse main");
  const auto source = [&](std::vector<std::string> allowed) {
    return nix::GitSource({nix::SourceSettings::Kind::git, "file://" + origin.string(), std::move(allowed), {}, {}, {}},
                          dir.path() / "state");
  };

  auto all = source({"*"});
  for (const char* tag : {"latest", "main", "alias", "also-main", "v2"}) CHECK(all.find(tag).id == two);

  auto main = source({"main"});
  CHECK(main.find("latest").id == two);
  CHECK(main.find("v1").id == one);  // it is on main
  CHECK(failure_of(main, "v3") == Failure::forbidden);

  // The default branch is not allowed, so latest is the allowed one.
  for (const char* only : {"stable", "v1"}) {
    auto one_name = source({only});
    CHECK(one_name.find("latest").id == one);
    CHECK(one_name.find(only).id == one);
    for (const char* tag : {"main", "also-main", "v2"}) CHECK(failure_of(one_name, tag) == Failure::forbidden);
  }
  // Ambiguous with several. That main is at the same commit now does not count.
  auto several = source({"also-*", "stable"});
  CHECK(failure_of(several, "latest") == Failure::forbidden);
  CHECK(several.find("v2").id == two);

  // A detached HEAD is served through the branches that contain it.
  run(origin, "git checkout -q --detach v1");
  for (const char* name : {"v1", "*-main", "*"}) CHECK(source({name, "x"}).find("latest").id == one);
  auto other = source({"v2", "x"});
  CHECK(failure_of(other, "latest") == Failure::forbidden);
}

TEST_CASE("a git repository that cannot be reached is unavailable, and its password is in no message") {
  const test::TemporaryDirectory dir;
  nix::GitSource source({nix::SourceSettings::Kind::git, "http://user:hunter2@127.0.0.1:1/x.git", {"*"}, {}, {}, {}},
                        dir.path());
  try {
    source.find("latest");
    FAIL("reached");
  } catch (const Error& error) {
    CHECK(error.failure() == Failure::unavailable);
    CHECK((std::string(error.what()) + error.detail()).find("hunter2") == std::string::npos);
  }
}
