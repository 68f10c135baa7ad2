#include "reference/reference.h"

#include <doctest/doctest.h>

#include "error.h"
#include "reference/near_matches.h"

using namespace nixery;
using reference::parse;

namespace {

std::vector<std::string> packages_of(std::string_view name) {
  std::vector<std::string> texts;
  for (const auto& path : parse(name).packages) texts.push_back(path.text);
  return texts;
}

Failure failure_of(std::string_view repository, std::string_view tag = "latest") {
  try {
    parse(repository, tag);
  } catch (const Error& error) {
    CHECK(std::string_view(error.what()).size() > 10);
    return error.failure();
  }
  FAIL("accepted: " << repository << ":" << tag);
  return Failure::corrupt;
}

}  // namespace

TEST_CASE("a name is its sorted set of packages, regardless of the typed order") {
  CHECK(packages_of("git") == std::vector<std::string>{"git"});
  CHECK(packages_of("jq/git/jq") == std::vector<std::string>{"git", "jq"});
  CHECK(packages_of("git/jq") == packages_of("jq/git"));
  CHECK(packages_of("python3packages.requests:latest") == std::vector<std::string>{"python3packages.requests"});
}

TEST_CASE("shell stands for bash, coreutils, moreutils and nano") {
  CHECK(packages_of("shell") == std::vector<std::string>{"bashinteractive", "coreutils", "moreutils", "nano"});
  CHECK(packages_of("shell/curl") == packages_of("curl/shell"));
  CHECK(parse("shell/curl").has_shell);
  CHECK_FALSE(parse("curl").has_shell);
}

TEST_CASE("arm64 and amd64 choose the platform, once") {
  CHECK(parse("arm64/git").platform->nix_system == "aarch64-linux");
  CHECK(parse("git/amd64").platform->nix_system == "x86_64-linux");
  CHECK_FALSE(parse("git").platform);
  CHECK(failure_of("arm64/amd64/git") == Failure::bad_name);
}

TEST_CASE("zstd and gzip are encodings only in front of a package, otherwise packages") {
  CHECK(parse("zstd/shell/curl").encoding == "zstd");
  CHECK(packages_of("zstd/curl") == std::vector<std::string>{"curl"});
  CHECK(packages_of("zstd") == std::vector<std::string>{"zstd"});
  CHECK(packages_of("curl/zstd") == std::vector<std::string>{"curl", "zstd"});
  CHECK_FALSE(parse("gzip").encoding);
}

TEST_CASE("a name of meta-packages alone says that a package is missing") {
  CHECK(failure_of("arm64") == Failure::bad_name);
  CHECK_NOTHROW(parse("shell"));
}

TEST_CASE("names that violate the distribution-spec's grammar are refused") {
  for (const char* name :
       {"",     "/",      "git/",    "/git",  "git//jq", "Git",   "git jq", "../etc", "git/..",   ".git", "-git",
        "git-", "git._x", "git..jq", "a___b", "git\n",   "git\"", "${git}", "git'",   "git;true", "gït",  "_git"})
    CHECK_MESSAGE(failure_of(name) == Failure::bad_name, name);
  CHECK(failure_of(std::string("gi\0t", 4)) == Failure::bad_name);
  CHECK(failure_of(std::string(256, 'a')) == Failure::bad_name);
  CHECK_NOTHROW(parse(std::string(255, 'a'), "latest"));
  for (const char* name : {"a.b", "a_b", "a__b", "a-b", "a---b", "a.b_c-d"}) CHECK_NOTHROW(parse(name, "latest"));
}

TEST_CASE("more packages than an image may hold are refused") {
  std::string name = "p0";
  for (int i = 1; i < 65; ++i) name += "/p" + std::to_string(i);
  CHECK(failure_of(name) == Failure::bad_name);
}

TEST_CASE("tags that violate the grammar are refused") {
  for (const char* tag : {"", ".x", "-x", "a b", "a/b", "a:b", "$(x)"})
    CHECK(failure_of("git", tag) == Failure::bad_tag);
  CHECK(failure_of("git", std::string(129, 'a')) == Failure::bad_tag);
  for (const char* tag : {"latest", "nixos-23.11", "_x", "A.b-c"}) CHECK_NOTHROW(parse("git", tag));
}

TEST_CASE("probes of signature tools are distinguished from revisions") {
  const std::string hex(64, 'a');
  CHECK(reference::is_digest_tag("sha256-" + hex + ".sig"));
  CHECK(reference::is_digest_tag("sha256-" + hex));
  CHECK_FALSE(reference::is_digest_tag("sha256-short"));
  CHECK(reference::is_commit(std::string(40, 'f')));
  CHECK_FALSE(reference::is_commit(std::string(40, 'F')));
}

TEST_CASE("messages quote what was wrong without its control characters") {
  try {
    parse("git/a\nb", "latest");
    FAIL("accepted");
  } catch (const Error& error) {
    CHECK(std::string(error.what()).find("'a?b'") != std::string::npos);
  }
}

TEST_CASE("edit distance counts insertions, deletions, replacements and swaps") {
  using reference::edit_distance;
  CHECK(edit_distance("curl", "curl", 3) == 0);
  CHECK(edit_distance("crul", "curl", 3) == 1);
  CHECK(edit_distance("curl", "url", 3) == 1);
  CHECK(edit_distance("curl", "curls", 3) == 1);
  CHECK(edit_distance("curl", "card", 3) == 2);
  CHECK(edit_distance("kitten", "sitting", 3) == 3);
  CHECK(edit_distance("abcdef", "uvwxyz", 3) == 4);
  CHECK(edit_distance("", "abc", 3) == 3);
}

TEST_CASE("near matches are sorted by distance and limited") {
  const std::vector<std::string> names = {"curl", "curlie", "cargo", "git", "perl", "python3Packages", "gitFull"};
  CHECK(reference::near_matches("crul", names).front() == "curl");
  CHECK(reference::near_matches("python3package", names).front() == "python3Packages");
  CHECK(reference::near_matches("zzzzzzzz", names).empty());
  CHECK(reference::near_matches("gti", names) == std::vector<std::string>{"git"});
}
