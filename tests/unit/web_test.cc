#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <chrono>

#include "directory_tree.h"
#include "image/manifest.h"
#include "json/json.h"
#include "nix/attribute_names.h"
#include "os/file.h"
#include "os/lock.h"
#include "pipeline/planner.h"
#include "temporary_directory.h"
#include "tree/failures.h"
#include "tree/recent.h"
#include "tree/tree.h"
#include "web/compose_page.h"
#include "web/image_report.h"

using namespace nixery;
namespace fs = std::filesystem;

namespace {

struct Shelf {
  const test::TemporaryDirectory dir;
  const tree::Layout layout{dir.path() / "tree", dir.path() / "state"};
  const tree::Tree tree = test::tree_at(layout);
  Shelf() { tree.store().prepare(); }
};

std::string key_of(int number) {
  return image::KeyBuilder("test").add(std::to_string(number)).finish();
}

void set_time(const fs::path& path, std::time_t seconds) {
  const timespec times[2] = {{seconds, 0}, {seconds, 0}};
  REQUIRE(utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW) == 0);
}

http::Response compose(std::string query, std::string host = "registry.example.org", std::string scheme = "https") {
  http::Request request;
  request.query = std::move(query);
  request.host = std::move(host);
  request.scheme = std::move(scheme);
  return web::compose_page(request);
}

}  // namespace

TEST_CASE("failures are kept by build, newest first, up to a limit") {
  const Shelf shelf;
  const auto& layout = shelf.layout;
  CHECK(tree::recent_failures(shelf.tree.store(), 10).empty());
  for (int i = 0; i < static_cast<int>(tree::kept_failures) + 20; ++i) {
    tree::write_failure(shelf.tree.store(), key_of(i),
                        {fmt::format("p{}", i), "latest", "build_failed", "why", "log", 1000 + i});
    set_time(layout.failure(key_of(i)), 1000 + i);
  }
  const auto recent = tree::recent_failures(shelf.tree.store(), 3);
  REQUIRE(recent.size() == 3);
  CHECK(recent[0].repository == fmt::format("p{}", tree::kept_failures + 19));
  CHECK(recent[1].repository == fmt::format("p{}", tree::kept_failures + 18));
  CHECK(tree::recent_failures(shelf.tree.store(), 1000).size() <= tree::kept_failures + 1);
  CHECK_FALSE(tree::read_failure(shelf.tree.store(), key_of(0)));
  const auto last = tree::read_failure(shelf.tree.store(), key_of(50));
  REQUIRE(last);
  CHECK((last->message == "why" && last->detail == "log" && last->time == 1050));
  tree::remove_failure(shelf.tree.store(), key_of(50));
  CHECK_FALSE(tree::read_failure(shelf.tree.store(), key_of(50)));
  os::write_file(layout.failure(key_of(51)), "{\"repository\":\"p");
  CHECK_FALSE(tree::read_failure(shelf.tree.store(), key_of(51)));
}

TEST_CASE("failures dated two years ahead are replaced by new ones") {
  const Shelf shelf;
  const auto& layout = shelf.layout;
  const auto write = [&](int i) {
    tree::write_failure(shelf.tree.store(), key_of(i),
                        {fmt::format("p{}", i), "latest", "build_failed", "why", "log", 1000 + i});
  };
  const std::int64_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  for (int i = 0; i < static_cast<int>(tree::kept_failures); ++i) {
    write(i);
    set_time(layout.failure(key_of(i)), now + 2 * 365 * 86'400);
  }
  for (int i = 1000; i < 1003; ++i) write(i);
  for (int i = 1000; i < 1003; ++i) CHECK(tree::read_failure(shelf.tree.store(), key_of(i)));
}

TEST_CASE("recent builds come first, without signatures") {
  const Shelf shelf;
  const auto manifest = shelf.tree.publish_manifest("{}", image::MediaType::oci_manifest);
  for (int i = 0; i < 5; ++i) {
    shelf.tree.publish_tag(fmt::format("r{}", i), "latest", manifest);
    set_time(shelf.layout.tag(fmt::format("r{}", i), "latest"), 1000 + (i * 7) % 5);
  }
  shelf.tree.publish_tag("r0", fmt::format("sha256-{}.sig", manifest.hex()), manifest);
  const auto recent = tree::recent_tags(shelf.tree, 3);
  REQUIRE(recent.size() == 3);
  CHECK((recent[0].repository == "r2" && recent[0].time == 1004));
  CHECK((recent[1].repository == "r4" && recent[2].repository == "r1"));
  CHECK(tree::recent_tags(shelf.tree, 100).size() == 5);
}

TEST_CASE("checking a lock does not hold it") {
  const test::TemporaryDirectory dir;
  const fs::path path = dir.path() / "a.lock";
  CHECK_FALSE(os::Lock::is_held(path));
  CHECK_FALSE(fs::exists(path));
  {
    const os::Lock lock(path);
    CHECK(os::Lock::is_held(path));
    CHECK(os::Lock::is_held(path));
  }
  CHECK_FALSE(os::Lock::is_held(path));
}

TEST_CASE("a report is stored like a failure, and found") {
  int runs = 0;
  pipeline::PlanQueue jobs({1, 10, std::chrono::hours(1)}, true);
  const auto work = [&](pipeline::Progress&, const std::stop_token&) {
    ++runs;
    return std::string("report");
  };
  CHECK_FALSE(jobs.find("k"));
  jobs.submit("a", "k", work);
  jobs.wait_until_idle();
  const auto job = jobs.submit("b", "k", work);
  REQUIRE(job->result());
  CHECK((job->result()->value == "report" && runs == 1));
  CHECK(jobs.find("k") == job);

  pipeline::PlanQueue forgetful({1, 10, std::chrono::seconds(0)}, true);
  forgetful.submit("a", "k", work);
  forgetful.wait_until_idle();
  CHECK_FALSE(forgetful.find("k"));
}

TEST_CASE("the names of a set are found in any case, and a missing set is refused") {
  const test::TemporaryDirectory dir;
  const nix::AttributeNames names(dir.path() / "attributes", {"r", "u", false}, {}, reference::platforms[0]);
  CHECK_FALSE(names.names(""));
  names.remember("", {"curl", "python3Packages"});
  CHECK(names.names("") == std::vector<std::string>{"curl", "python3Packages"});
  CHECK_FALSE(names.names("python3packages"));
  names.remember("python3Packages", {"requests"});
  CHECK(names.names("python3packages") == std::vector<std::string>{"requests"});
  CHECK_THROWS_AS(names.names("nothing"), Error);
}

TEST_CASE("the files of sets' names are limited in number, and the newest stay") {
  const test::TemporaryDirectory dir;
  const nix::AttributeNames names(dir.path(), {"r", "u", false}, {}, reference::platforms[0]);
  names.remember("", {"hello"});
  const auto files = [&] { return std::distance(fs::directory_iterator(dir.path()), fs::directory_iterator()); };
  const auto most = static_cast<std::ptrdiff_t>(nix::attribute_names_limit.files);
  for (std::ptrdiff_t i = 0; i < most + 20; ++i) names.remember(fmt::format("pkgs.{}", i), {"hello"});
  CHECK(files() == most);
  CHECK_FALSE(names.names(""));  // the oldest: it costs an evaluation, once
  names.remember("", {"hello"});
  CHECK(names.names(""));
}

TEST_CASE("the form of the start page becomes commands") {
  const auto page = compose("packages=Git%2C+curl&shell=1&platform=arm64&encoding=zstd&tag=v1");
  CHECK(page.status == 200);
  CHECK(page.body.find("docker run --rm -it registry.example.org/zstd/arm64/shell/git/curl:v1 bash") != page.body.npos);
  CHECK(page.body.find("--tls-verify=false") == page.body.npos);
  CHECK(compose("packages=git", "127.0.0.1:8080", "http")
            .body.find("podman run --rm -it --tls-verify=false 127.0.0.1:8080/git<") != std::string::npos);
  // As the first match, it would choose the layers' encoding.
  CHECK(compose("packages=zstd+git").body.find("/git/zstd<") != std::string::npos);
}

TEST_CASE("a malformed form gets an error, and none of its text becomes HTML") {
  for (const char* query : {"", "packages=", "packages=%3Cscript%3E", "packages=%zz", "packages=git&tag=%3Cb%3E",
                            "packages=git&platform=%22%3E%3Cscript%3E", "packages=-x", "packages=a\"onload=b"}) {
    const auto page = compose(query);
    CAPTURE(query);
    CHECK(page.status == 400);
    CHECK(page.body.find("<script") == page.body.npos);
    CHECK(page.body.find("<b>") == page.body.npos);
  }
  for (const char* host : {"<b>", "a\"b", "", "a/b", "a b"}) {
    const auto page = compose("packages=git", host);
    CHECK(page.body.find("docker run --rm -it HOST/git<") != page.body.npos);
  }
}

TEST_CASE("an image is summed up from its manifest") {
  const Shelf shelf;
  const image::Manifest manifest{image::Format::oci,
                                 {image::MediaType::oci_config, shelf.tree.publish_blob("c"), 1, {}, {}},
                                 {{image::MediaType::oci_layer_gzip, shelf.tree.publish_blob("layer"), 5, {}, {}}},
                                 {{"org.opencontainers.image.version", "8.7"}}};
  const auto digest = shelf.tree.publish_manifest(image::to_json(manifest), image::MediaType::oci_manifest);
  const auto one = web::summary_of(shelf.tree, digest);
  CHECK((one.size == 6 && one.layers == 1 && one.version == "8.7"));
  image::Index index{image::Format::oci,
                     {{image::MediaType::oci_manifest, digest, 1, {}, image::PlatformName{"amd64", "linux", ""}}},
                     {}};
  const auto whole = shelf.tree.publish_manifest(image::to_json(index), image::MediaType::oci_index);
  CHECK(web::summary_of(shelf.tree, whole).architectures == std::vector<std::string>{"amd64"});
  CHECK(web::summary_of(shelf.tree, whole).size == 6);
  CHECK(web::summary_of(shelf.tree, image::Digest::of("gone")).size == 0);

  // Without config, SBOM and recipes there is still a report.
  const auto report = json::parse(web::image_report(shelf.tree, "curl", "latest", digest), "the report");
  CHECK(json::find(report, "images")->Size() == 1);
  const auto both = json::parse(web::image_report(shelf.tree, "curl", "latest", whole), "the report");
  CHECK(json::find(both, "images")->Size() == 1);
  CHECK(json::string_or((*json::find(both, "images"))[0], "digest", "") == digest.str());
  CHECK(json::find(both, "referrers"));
  CHECK_THROWS_AS(web::image_report(shelf.tree, "curl", "latest", image::Digest::of("gone")), Error);
}

TEST_CASE("a response in pieces has no Content-Length") {
  http::Response response;
  response.streamed = true;
  CHECK(http::head_of(response) == "Status: 200 OK\r\n\r\n");
}
