#include "layer/root_additions.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <set>

#include "error.h"
#include "layer_test_store.h"

using namespace nixery;
using namespace nixery::layer;
using namespace nixery::test;
using reference::RootAdditions;

namespace {

struct Image {
  Store store;
  store::Closure closure;
  std::vector<PackageOutput> packages;

  // A package with these files.
  void package(const std::string& name, const std::vector<std::string>& files) {
    store.directory(name, "");
    for (const std::string& file : files) store.file(name, file, "x");
    closure.paths.push_back(store.info(name));
    packages.push_back({store.info(name).path});
  }
  std::string at(const std::string& name, const std::string& inside) {
    return store.info(name).path.str() + '/' + inside;
  }
  Rootfs plan(const RootAdditions& additions) {
    Rootfs rootfs = plan_rootfs(packages, {}, closure, store.root());
    ClosureReader reader(store.root(), closure);
    add_to(rootfs, additions, reader);
    return rootfs;
  }
};

const Entry* find(const Rootfs& rootfs, const std::string& name) {
  for (const Entry& entry : rootfs.entries)
    if (entry.name == name) return &entry;
  return nullptr;
}

// "d755 0:0", "f640 0:101 content", "-> target"; "" if it does not exist.
std::string shown(const Rootfs& rootfs, const std::string& name) {
  const Entry* entry = find(rootfs, name);
  if (!entry) return "";
  if (entry->kind == Entry::Kind::symlink) return "-> " + entry->content;
  const bool is_directory = entry->kind == Entry::Kind::directory;
  return fmt::format("{}{:o} {}:{}{}{}", is_directory ? 'd' : 'f', entry->mode, entry->uid, entry->gid,
                     is_directory ? "" : " ", entry->content);
}

std::string content(const Rootfs& rootfs, const std::string& name) {
  const Entry* entry = find(rootfs, name);
  return entry && entry->kind == Entry::Kind::file ? entry->content : "";
}

std::string refusal(Image& image, const RootAdditions& additions) {
  try {
    image.plan(additions);
  } catch (const Error& error) {
    CHECK(error.failure() == Failure::bad_declaration);
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("declared directories and files have their owners, and their parents are root's") {
  Image image;
  const Rootfs rootfs =
      image.plan({{}, {{"/srv/a/data", {101, 102}, 0750}}, {{"/etc/app/app.conf", "text", {0, 101}, 0640}}});
  CHECK(shown(rootfs, "srv/a") == "d755 0:0");
  CHECK(shown(rootfs, "srv/a/data") == "d750 101:102");
  CHECK(shown(rootfs, "etc/app") == "d755 0:0");
  CHECK(shown(rootfs, "etc/app/app.conf") == "f640 0:101 text");
  std::set<std::string> seen;
  for (const Entry& entry : rootfs.entries) {
    const auto slash = entry.name.rfind('/');
    CHECK_MESSAGE((slash == std::string::npos || seen.contains(entry.name.substr(0, slash))), entry.name);
    CHECK_MESSAGE(seen.insert(entry.name).second, entry.name);
  }
}

TEST_CASE("declared users are in the image's accounts and have homes") {
  Image image;
  image.package("bash", {"bin/bash"});
  RootAdditions additions{
      {{"web", 101, 101, "/srv/web", ""}, {"job", 102, 101, "/tmp", "/bin/bash"}, {"app", 103, 0, "/home/app", ""}},
      {},
      {}};
  const Rootfs rootfs = image.plan(additions);
  const std::string passwd = content(rootfs, "etc/passwd"), group = content(rootfs, "etc/group");
  CHECK(passwd.starts_with("root:x:0:0:"));
  CHECK(
      passwd.ends_with("\nweb:x:101:101:web:/srv/web:/bin/sh\njob:x:102:101:job:/tmp:/bin/bash\n"
                       "app:x:103:0:app:/home/app:/bin/sh\n"));
  CHECK(group.starts_with("root:x:0:\n"));
  CHECK(group.ends_with("\nweb:x:101:\n"));  // the others have groups that exist
  CHECK(shown(rootfs, "srv/web") == "d755 101:101");
  CHECK(shown(rootfs, "tmp") == "d1777 0:0");  // an existing directory stays as it is
  CHECK(shown(rootfs, "home/app") == "d755 103:0");
  CHECK(rootfs.warnings.empty());

  additions.directories = {{"/srv/web", {101, 0}, 0700}};
  CHECK(shown(image.plan(additions), "srv/web") == "d700 101:0");
}

TEST_CASE("without a shell declared users have none") {
  Image image;
  CHECK(
      content(image.plan({{{"web", 101, 101, "/srv", ""}}, {}, {}}), "etc/passwd").ends_with(":/srv:/sbin/nologin\n"));
}

TEST_CASE("a package's accounts are replaced by the base users and the declared ones, with a warning") {
  Image image;
  image.package("accounts", {"etc/passwd"});
  CHECK(shown(image.plan({}), "etc/passwd") == "-> " + image.at("accounts", "etc/passwd"));
  const Rootfs rootfs = image.plan({{{"web", 101, 101, "/srv", ""}}, {}, {}});
  CHECK(content(rootfs, "etc/passwd").starts_with("root:x:0:0:"));
  CHECK(content(rootfs, "etc/passwd").find("\nnobody:x:65534:65534:") != std::string::npos);
  CHECK(content(rootfs, "etc/passwd").find("\nweb:x:101:101:") != std::string::npos);
  CHECK(rootfs.warnings == std::vector<std::string>{"/etc/passwd of a package is replaced by the declared users"});
}

TEST_CASE("what is declared replaces a package's file, and links on the way become directories that keep their files") {
  Image image;
  image.package("nginx", {"etc/nginx/conf.d/a.conf", "etc/nginx/nginx.conf", "etc/nginx/mime.types"});
  const std::string in_package = "-> " + image.at("nginx", "etc/nginx/");
  const Rootfs rootfs =
      image.plan({{}, {{"/etc/nginx/conf.d", {7, 7}, 0700}}, {{"/etc/nginx/nginx.conf", "mine", {}, 0644}}});
  CHECK(shown(rootfs, "etc/nginx") == "d755 0:0");
  CHECK(shown(rootfs, "etc/nginx/nginx.conf") == "f644 0:0 mine");
  CHECK(shown(rootfs, "etc/nginx/mime.types") == in_package + "mime.types");
  CHECK(shown(rootfs, "etc/nginx/conf.d") == "d700 7:7");
  CHECK(shown(rootfs, "etc/nginx/conf.d/a.conf") == in_package + "conf.d/a.conf");
}

TEST_CASE("links of the root on the way are followed") {
  Image image;
  Rootfs rootfs;
  rootfs.entries = {Entry::directory("bin"), Entry::directory("usr"), Entry::symlink("usr/bin", "../bin"),
                    Entry::symlink("usr/loop", "loop"), Entry::symlink("usr/sbin", "/bin")};
  ClosureReader reader(image.store.root(), image.closure);
  add_to(rootfs, {{}, {}, {{"/usr/bin/a", "1", {}, 0755}, {"/usr/sbin/b", "2", {}, 0755}}}, reader);
  CHECK(shown(rootfs, "bin/a") == "f755 0:0 1");
  CHECK(shown(rootfs, "bin/b") == "f755 0:0 2");
  CHECK(shown(rootfs, "usr/bin") == "-> ../bin");
  CHECK_THROWS_WITH_AS(add_to(rootfs, {{}, {}, {{"/usr/loop/a", "", {}, 0644}}}, reader),
                       "'/usr/loop' is a link that leads nowhere", Error);
}

TEST_CASE("something declared below a package's file, or a file in a directory's place, is refused") {
  Image image;
  image.package("app", {"etc/app", "etc/conf/a"});
  CHECK(refusal(image, {{}, {}, {{"/etc/app/a", "", {}, 0644}}}) ==
        "'/etc/app' is a file in the image, and something in it is declared");
  CHECK(refusal(image, {{}, {{"/etc/app", {}, 0755}}, {}}) ==
        "'/etc/app' is a file in the image, and something in it is declared");
  CHECK(refusal(image, {{}, {}, {{"/etc/conf", "", {}, 0644}}}) ==
        "'/etc/conf' is a directory in the image, and is declared as a file");
  CHECK(refusal(image, {{}, {}, {{"/etc", "", {}, 0644}}}) ==
        "'/etc' is a directory in the image, and is declared as a file");
}
