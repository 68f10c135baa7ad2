// The arguments of nix-store: a script of that name records them.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "nix/nix.h"
#include "os/argument_batches.h"
#include "os/file.h"
#include "temporary_directory.h"

using namespace nixery;
namespace fs = std::filesystem;

namespace {

class FakeNixStore {
 public:
  FakeNixStore() : path_(std::getenv("PATH")) {
    const fs::path program = directory_.path() / "nix-store";
    os::write_file(program, fmt::format("#!/bin/sh\nprintf '%s\\n' \"$*\" >> {}\n", calls_file().string()));
    fs::permissions(program, fs::perms::owner_all);
    setenv("PATH", fmt::format("{}:{}", directory_.path().string(), path_).c_str(), 1);
  }
  ~FakeNixStore() { setenv("PATH", path_.c_str(), 1); }

  // The words of each call.
  std::vector<std::vector<std::string>> calls() const {
    std::vector<std::vector<std::string>> calls;
    std::istringstream lines(os::read_if_exists(calls_file()).value_or(""));
    for (std::string line, word; std::getline(lines, line);) {
      calls.emplace_back();
      for (std::istringstream words(line); words >> word;) calls.back().push_back(word);
    }
    return calls;
  }
  const fs::path& directory() const { return directory_.path(); }

 private:
  fs::path calls_file() const { return directory_.path() / "calls"; }

  test::TemporaryDirectory directory_;
  std::string path_;
};

// 40,000 long names exceed 4 MiB, twice the usual limit for arguments.
std::vector<store::StorePath> many_paths() {
  std::vector<store::StorePath> paths;
  for (int i = 0; i < 40'000; ++i)
    paths.push_back(*store::StorePath::parse(fmt::format("/nix/store/{:032}-{}", i, std::string(60, 'x'))));
  return paths;
}

std::vector<std::string> all_that_begin(const std::vector<std::vector<std::string>>& calls, std::string_view start) {
  std::vector<std::string> words;
  for (const auto& call : calls)
    for (const std::string& word : call)
      if (word.starts_with(start)) words.push_back(word);
  return words;
}

void check_all_were_given(const FakeNixStore& nix, const std::vector<store::StorePath>& paths) {
  const auto given = all_that_begin(nix.calls(), "/nix/store/");
  REQUIRE(given.size() == paths.size());
  for (std::size_t i = 0; i < paths.size(); ++i)
    if (given[i] != paths[i].str()) FAIL("out of order: " << given[i]);
}

}  // namespace

TEST_CASE("words are split into batches that fit a command line") {
  using Batches = std::vector<std::vector<std::string>>;
  CHECK(os::argument_batches({}).empty());
  CHECK(os::argument_batches({"a", "b"}) == Batches{{"a", "b"}});
  CHECK(os::argument_batches({"a", "b", "c"}, 20) == Batches{{"a", "b"}, {"c"}});
  CHECK(os::argument_batches({"a", std::string(50, 'b'), "c"}, 20) == Batches{{"a"}, {std::string(50, 'b')}, {"c"}});
}

TEST_CASE("more paths than a command line holds are passed in batches") {
  const auto paths = many_paths();
  {
    const FakeNixStore nix;
    CHECK(nix::valid_of(paths, {}).size() == paths.size());
    check_all_were_given(nix, paths);
  }
  {
    const FakeNixStore nix;
    nix::realise_paths({}, paths, {});
    check_all_were_given(nix, paths);
    for (const auto& call : nix.calls()) CHECK(call[0] == "--realise");
  }
  {
    const FakeNixStore nix;
    nix::closure_of(paths, {});
    check_all_were_given(nix, paths);
  }
}

TEST_CASE("packages with very many outputs are realised in batches, each with its own roots") {
  const auto path = *store::StorePath::parse(fmt::format("/nix/store/{:032}-x", 0));
  std::vector<nix::Package> packages(3);
  std::vector<const nix::Package*> wanted;
  std::size_t outputs = 0;
  for (const std::size_t count : {15'000U, 15'000U, 1U}) {
    nix::Package& package = packages[wanted.size()];
    package.drv_path = fmt::format("/nix/store/{:032}-x.drv", wanted.size());
    for (std::size_t n = 0; n < count; ++n) package.outputs.push_back({fmt::format("output{:05}", n), path});
    wanted.push_back(&package);
    outputs += count;
  }
  for (const bool dry : {true, false}) {
    const FakeNixStore nix;
    if (dry) {
      nix::missing_for(wanted, {});
    } else {
      nix::realise({}, wanted, nix.directory() / "roots", {});
    }
    std::size_t given = 0;
    for (const std::string& word : all_that_begin(nix.calls(), "/nix/store/")) {
      CHECK(word.size() < (20u << 10));
      given += static_cast<std::size_t>(std::count(word.begin(), word.end(), ',')) + 1;
    }
    CHECK(given == outputs);
    if (dry) continue;
    REQUIRE(nix.calls().size() > 1);
    for (std::size_t i = 0; i < nix.calls().size(); ++i)
      CHECK(all_that_begin(nix.calls(), (nix.directory() / "roots").string())[i] ==
            (nix.directory() / "roots" / fmt::format("{}", i)).string());
  }
}
