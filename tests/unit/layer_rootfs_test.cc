#include <doctest/doctest.h>

#include <set>

#include "layer/rootfs.h"
#include "layer_test_store.h"

using namespace nixery;
using namespace nixery::layer;
using namespace nixery::test;

namespace {

struct Set {
  Store store;
  store::Closure closure;

  PackageOutput package(const std::string& name, int priority = 5) {
    store.directory(name, "");
    if (std::none_of(closure.paths.begin(), closure.paths.end(),
                     [&](const auto& info) { return info.path == store.info(name).path; }))
      closure.paths.push_back(store.info(name));
    return {store.info(name).path, priority};
  }
  std::string at(const std::string& name, const std::string& inside) {
    return store.info(name).path.str() + '/' + inside;
  }
  Rootfs plan(const std::vector<PackageOutput>& packages, const std::optional<store::StorePath>& cacert = {}) {
    return plan_rootfs(packages, cacert, closure, store.root());
  }
};

// "d755", "-> target", "f644"; "" if it does not exist.
std::string entry(const Rootfs& rootfs, const std::string& name) {
  for (const Entry& entry : rootfs.entries) {
    if (entry.name != name) continue;
    if (entry.kind == Entry::Kind::symlink) return "-> " + entry.content;
    return fmt::format("{}{:o}", entry.kind == Entry::Kind::directory ? 'd' : 'f', entry.mode);
  }
  return "";
}

}  // namespace

TEST_CASE("an empty image has the files that programs expect of any system") {
  Set set;
  const Rootfs rootfs = set.plan({});
  CHECK(entry(rootfs, "etc/passwd") == "f644");
  CHECK(entry(rootfs, "etc/group") == "f644");
  CHECK(entry(rootfs, "etc/nsswitch.conf") == "f644");
  for (const Entry& each : rootfs.entries) {
    if (each.name != "etc/passwd" && each.name != "etc/group") continue;
    for (const char* name : {"root:x:0:", "daemon:x:1:", "mail:x:8:", "nobody:x:65534:"})
      CHECK_MESSAGE(("\n" + each.content).find(std::string("\n") + name) != std::string::npos, each.name, " ", name);
  }
  CHECK(entry(rootfs, "var/empty") == "d755");
  CHECK(entry(rootfs, "var/mail") == "d755");
  CHECK(entry(rootfs, "tmp") == "d1777");
  CHECK(entry(rootfs, "var/tmp") == "d1777");
  CHECK(entry(rootfs, "root") == "d700");
  CHECK(entry(rootfs, "run") == "d755");
  CHECK(entry(rootfs, "bin/sh") == "");
  CHECK(entry(rootfs, "usr/bin/env") == "");
  CHECK(entry(rootfs, "nix") == "");
  CHECK(!rootfs.has_certificates);
  CHECK(rootfs.programs.empty());
}

TEST_CASE("outputs are merged: a directory of one is a link, of several a directory; the top is always a directory") {
  Set set;
  const auto curl = set.package("curl"), git = set.package("git");
  set.store.file("curl", "bin/curl", "", 0555);
  set.store.file("curl", "share/man/man1/curl.1", "");
  set.store.file("curl", "share/curl/scripts", "");
  set.store.file("git", "bin/git", "", 0555);
  set.store.file("git", "share/man/man1/git.1", "");
  set.store.file("git", "nix-support/setup-hook", "");
  set.store.file("git", "LICENSE", "");
  const Rootfs rootfs = set.plan({curl, git});
  CHECK(entry(rootfs, "bin") == "d755");
  CHECK(entry(rootfs, "bin/curl") == "-> " + set.at("curl", "bin/curl"));
  CHECK(entry(rootfs, "bin/git") == "-> " + set.at("git", "bin/git"));
  CHECK(entry(rootfs, "share") == "d755");
  CHECK(entry(rootfs, "share/curl") == "-> " + set.at("curl", "share/curl"));
  CHECK(entry(rootfs, "share/man") == "d755");
  CHECK(entry(rootfs, "share/man/man1") == "d755");
  CHECK(entry(rootfs, "share/man/man1/git.1") == "-> " + set.at("git", "share/man/man1/git.1"));
  CHECK(entry(rootfs, "nix-support") == "");
  CHECK(entry(rootfs, "LICENSE") == "");
  CHECK(rootfs.conflicts.empty());
  CHECK(rootfs.programs == std::vector<std::string>{"curl", "git"});
}

TEST_CASE("a conflict goes to the lower priority, then to the first, and is reported") {
  Set set;
  const auto a = set.package("a"), b = set.package("b"), c = set.package("c", 4);
  for (const char* name : {"a", "b", "c"}) set.store.file(name, "bin/vi", name, 0555);
  set.store.file("a", "bin/ed", "a", 0555);
  set.store.file("b", "bin/ed", "b", 0555);
  const Rootfs rootfs = set.plan({a, b, c});
  CHECK(entry(rootfs, "bin/vi") == "-> " + set.at("c", "bin/vi"));
  CHECK(entry(rootfs, "bin/ed") == "-> " + set.at("a", "bin/ed"));
  REQUIRE(rootfs.conflicts.size() == 2);
  CHECK(rootfs.conflicts[0].path == "bin/ed");
  CHECK(rootfs.conflicts[1].path == "bin/vi");
  CHECK(rootfs.conflicts[1].winner == set.at("c", "bin/vi"));
  CHECK(rootfs.conflicts[1].losers == std::vector{set.at("a", "bin/vi"), set.at("b", "bin/vi")});
  CHECK(rootfs.warnings[0] == "/bin/ed is " + set.at("a", "bin/ed") + ", not " + set.at("b", "bin/ed"));
  CHECK(entry(set.plan({b, a}), "bin/ed") == "-> " + set.at("b", "bin/ed"));
}

TEST_CASE("a thousand conflicts are described, further ones counted") {
  Set set;
  const auto a = set.package("a"), b = set.package("b");
  for (const char* name : {"a", "b"})
    for (int i = 0; i < 1100; ++i) set.store.file(name, fmt::format("bin/{:04}", i), "");
  const Rootfs rootfs = set.plan({a, b});
  REQUIRE(rootfs.conflicts.size() == 1000);
  CHECK(rootfs.conflicts.back().path == "bin/0999");
  CHECK(rootfs.programs.size() == 1100);
  REQUIRE(rootfs.warnings.size() == 1001);
  CHECK(rootfs.warnings.back() == "100 more files are in several packages");
}

TEST_CASE("two links to one file do not conflict") {
  Set set;
  const auto a = set.package("a"), b = set.package("b");
  set.package("real");
  set.store.file("real", "bin/tool", "", 0555);
  set.store.symlink("a", "bin/tool", set.at("real", "bin/tool"));
  set.store.symlink("b", "bin/tool", set.at("a", "bin/tool"));
  CHECK(set.plan({a, b}).conflicts.empty());
}

TEST_CASE("a file against a directory: the winner's kind decides") {
  Set set;
  const auto a = set.package("a"), b = set.package("b", 1);
  set.store.file("a", "share/thing", "a file");
  set.store.file("b", "share/thing/inside", "");
  CHECK(entry(set.plan({a, b}), "share/thing") == "-> " + set.at("b", "share/thing"));
  CHECK(set.plan({a, b}).conflicts.size() == 1);
  const Rootfs other = set.plan({{a.path, 0}, b});
  CHECK(entry(other, "share/thing") == "-> " + set.at("a", "share/thing"));
  CHECK(other.conflicts.size() == 1);
}

TEST_CASE("a symlink to a directory is a directory; a loop is not followed") {
  Set set;
  const auto a = set.package("a"), b = set.package("b");
  set.store.file("a", "bin/tool", "", 0555);
  set.store.symlink("a", "sbin", "bin");
  set.store.symlink("a", "bin/self", ".");
  set.store.symlink("b", "bin/self", ".");
  set.store.file("b", "sbin/other", "", 0555);
  set.store.symlink("b", "bin/dangling", "/nowhere");
  const Rootfs rootfs = set.plan({a, b});
  CHECK(entry(rootfs, "sbin") == "d755");
  CHECK(entry(rootfs, "sbin/tool") == "-> " + set.at("a", "sbin/tool"));
  CHECK(entry(rootfs, "sbin/other") == "-> " + set.at("b", "sbin/other"));
  CHECK(entry(rootfs, "bin/self") == "-> " + set.at("a", "bin/self"));
  CHECK(entry(rootfs, "bin/dangling") == "-> " + set.at("b", "bin/dangling"));
}

TEST_CASE("propagated packages are included, with lower priority than requested ones") {
  Set set;
  const auto a = set.package("a"), b = set.package("b", 900);
  set.package("pulled");
  set.package("deep");
  set.store.file("a", "nix-support/propagated-user-env-packages", set.store.info("pulled").path.str() + "\n");
  set.store.file("pulled", "nix-support/propagated-user-env-packages", " " + set.store.info("deep").path.str());
  set.store.file("pulled", "bin/x", "", 0555);
  set.store.file("b", "bin/x", "", 0555);
  set.store.file("deep", "bin/y", "", 0555);
  set.store.file("pulled", "bin/y", "", 0555);
  const Rootfs rootfs = set.plan({a, b});
  CHECK(entry(rootfs, "bin/x") == "-> " + set.at("b", "bin/x"));
  CHECK(entry(rootfs, "bin/y") == "-> " + set.at("pulled", "bin/y"));
}

TEST_CASE("/bin/sh and /usr/bin/env come from the packages, else from the closure") {
  Set set;
  const auto bash = set.package("bash"), dash = set.package("dash"), coreutils = set.package("coreutils");
  set.store.file("bash", "bin/bash", "", 0555);
  set.store.file("dash", "bin/sh", "", 0555);
  set.store.file("coreutils", "bin/env", "", 0555);

  const Rootfs with_bash = set.plan({bash});
  CHECK(entry(with_bash, "bin/sh") == "-> " + set.at("bash", "bin/bash"));
  CHECK(entry(with_bash, "usr/bin/env") == "-> " + set.at("coreutils", "bin/env"));
  CHECK(with_bash.programs == std::vector<std::string>{"bash", "sh"});

  CHECK(entry(set.plan({bash, dash}), "bin/sh") == "-> " + set.at("dash", "bin/sh"));
  const Rootfs neither = set.plan({coreutils});
  CHECK(entry(neither, "bin/sh") == "-> " + set.at("bash", "bin/bash"));  // the first by name
  CHECK(entry(neither, "bin/bash") == "");
  CHECK(std::string(neither.entries[0].name) == "bin");
}

TEST_CASE("a package's files take precedence over ours, and our directories over its links") {
  Set set;
  const auto a = set.package("a"), cacert = set.package("cacert");
  set.store.file("a", "etc/passwd", "");
  set.store.file("a", "etc/ssl/openssl.cnf", "");
  set.store.file("a", "tmp/left", "");
  set.store.file("cacert", "etc/ssl/certs/ca-bundle.crt", "");
  const Rootfs rootfs = set.plan({a}, cacert.path);
  CHECK(entry(rootfs, "etc/passwd") == "-> " + set.at("a", "etc/passwd"));
  CHECK(entry(rootfs, "etc/group") == "f644");
  CHECK(entry(rootfs, "etc/ssl") == "d755");
  CHECK(entry(rootfs, "etc/ssl/openssl.cnf") == "-> " + set.at("a", "etc/ssl/openssl.cnf"));
  CHECK(entry(rootfs, "etc/ssl/certs/ca-bundle.crt") == "-> " + set.at("cacert", "etc/ssl/certs/ca-bundle.crt"));
  CHECK(entry(rootfs, "etc/ssl/certs/ca-certificates.crt") == "-> " + set.at("cacert", "etc/ssl/certs/ca-bundle.crt"));
  CHECK(rootfs.has_certificates);
  CHECK(entry(rootfs, "tmp") == "d1777");
}

TEST_CASE("entries are unique, parents first, and deterministic") {
  Set set;
  std::vector<PackageOutput> packages;
  for (int p = 0; p < 20; ++p) {
    packages.push_back(set.package(fmt::format("p{}", p)));
    for (int i = 0; i < 150; ++i)
      set.store.symlink(fmt::format("p{}", p), fmt::format("lib/{}/sub-{}", i, p), "../../lib");
    set.store.file(fmt::format("p{}", p), "lib-x/y", "");
  }
  const Rootfs rootfs = set.plan(packages);
  CHECK(rootfs.entries == set.plan(packages).entries);
  CHECK(rootfs.entries.size() > 3000);
  std::set<std::string> seen;
  for (const Entry& entry : rootfs.entries) {
    CHECK(seen.insert(entry.name).second);
    if (const auto slash = entry.name.rfind('/'); slash != std::string::npos)
      CHECK(seen.contains(entry.name.substr(0, slash)));
  }
}
