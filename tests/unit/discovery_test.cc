#include "registry_api/discovery.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <thread>

#include "directory_tree.h"
#include "error.h"
#include "http/answers.h"
#include "json/json.h"
#include "os/file.h"
#include "pipeline/export_tree.h"
#include "temporary_directory.h"
#include "tree/listing.h"
#include "tree/referrers.h"

using namespace nixery;
namespace fs = std::filesystem;

namespace {

using Names = std::vector<std::string>;

// A tree with one manifest as the target of all tags.
struct Shelf {
  const test::TemporaryDirectory dir;
  const tree::Layout layout{dir.path() / "tree", dir.path() / "state"};
  const tree::Tree tree = test::tree_at(layout);
  const image::Digest manifest = [this] {
    tree.store().prepare();
    return tree.publish_manifest("{}", image::MediaType::oci_manifest);
  }();

  void tag(std::string_view repository, std::string_view tag) const { tree.publish_tag(repository, tag, manifest); }

  // An image of one config and one layer.
  image::Digest publish_image(std::string_view content) const {
    const auto config = tree.publish_blob(std::string(content) + " config"), layer = tree.publish_blob(content);
    return tree.publish_manifest(
        image::to_json(image::Manifest{image::Format::oci,
                                       {image::MediaType::oci_config, config, content.size() + 7, {}, {}},
                                       {{image::MediaType::oci_layer_gzip, layer, content.size(), {}, {}}},
                                       {}}),
        image::MediaType::oci_manifest);
  }

  image::Descriptor publish_referrer_of(const image::Digest& subject, std::string_view content,
                                        std::string type) const {
    image::ArtifactManifest manifest_of_referrer;
    manifest_of_referrer.artifact_type = type;
    manifest_of_referrer.config = {"application/x", "config", {}};
    manifest_of_referrer.layer = {type, content, {}};
    manifest_of_referrer.annotations = {{"made-from", "x"}};
    const std::string bytes = image::to_json(manifest_of_referrer);
    tree.publish_blob("config");
    tree.publish_blob(content);
    const auto digest = tree.publish_manifest(bytes, image::MediaType::oci_manifest);
    const image::Descriptor referrer{image::MediaType::oci_manifest, digest, bytes.size(),
                                     {{"made-from", "x"}},           {},     std::move(type)};
    tree::publish_referrers(tree, subject, {{referrer}});
    return referrer;
  }

  Names files(const fs::path& top) const {
    Names names;
    for (const auto& entry : fs::recursive_directory_iterator(top))
      if (entry.is_symlink() || entry.is_regular_file()) names.push_back(entry.path().lexically_relative(top));
    std::sort(names.begin(), names.end());
    return names;
  }
};

// Like the request boundary.
http::Response answer(const std::function<http::Response()>& handler) {
  try {
    return handler();
  } catch (const Error& error) {
    return http::answer_error(error);
  }
}

std::string header_of(const http::Response& response, std::string_view name) {
  for (const auto& [key, value] : response.headers)
    if (key == name) return value;
  return {};
}

std::string code_of(const http::Response& response) {
  const auto document = json::parse(response.body, "answer");
  return json::string_or(document["errors"][0], "code", "");
}

Names names_in(const http::Response& response, const char* key) {
  return json::strings_at(json::parse(response.body, "answer"), key);
}

Names digests_in(const http::Response& response) {
  Names digests;
  const auto document = json::parse(response.body, "answer");
  for (const auto& manifest : document["manifests"].GetArray())
    digests.push_back(json::string_or(manifest, "digest", ""));
  return digests;
}

const std::string empty_index =
    R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]})";

}  // namespace

TEST_CASE("tags and repositories are listed in the order of their bytes") {
  const Shelf shelf;
  CHECK(tree::repositories(shelf.tree.store()).empty());
  CHECK(tree::tags(shelf.tree.store(), "never/built").empty());
  for (const char* tag : {"b", "a", "B", "_x", "10", "9", "a.b", "a-b"}) shelf.tag("git", tag);
  CHECK(tree::tags(shelf.tree.store(), "git") == Names{"10", "9", "B", "_x", "a", "a-b", "a.b", "b"});
  for (const char* name : {"a/b", "a", "a-b", "a.b", "a/b/c", "tags", "a0"}) shelf.tag(name, "latest");
  CHECK(tree::repositories(shelf.tree.store()) == Names{"a", "a-b", "a.b", "a/b", "a/b/c", "a0", "git", "tags"});
}

TEST_CASE("only well-formed links to existing manifests are listed") {
  const Shelf shelf;
  const tree::Layout& layout = shelf.layout;
  shelf.tag("git", "latest");
  const fs::path tags = layout.tag("git", "x").parent_path();
  const auto hex = shelf.manifest.hex();
  fs::create_symlink("../../../manifests/sha256/" + std::string(64, '0'), tags / "evicted");
  fs::create_symlink("../../../manifests/sha256/short", tags / "short");
  fs::create_symlink("../../../referrers/sha256/" + hex, tags / "elsewhere");
  fs::create_symlink("../../../manifests/sha256/" + hex, tags / ".tmp-1");
  fs::create_symlink("../../../manifests/sha256/" + hex, tags / "no tag");
  os::write_file(tags / "file", "");
  fs::create_directory(tags / "directory");
  CHECK(tree::tags(shelf.tree.store(), "git") == Names{"latest"});

  fs::create_directory_symlink("git", layout.tree / "tags/link");
  fs::create_directory_symlink("..", layout.tree / "tags/git/round");
  shelf.tag("Capitals", "latest");
  shelf.tag("dropped", "latest");
  shelf.tree.drop_tag("dropped", "latest");
  CHECK(tree::repositories(shelf.tree.store()) == Names{"git"});
}

TEST_CASE("listing works while tags are added and removed") {
  const Shelf shelf;
  shelf.tag("stays", "latest");
  std::jthread writer([&](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      shelf.tag("stays", "moving");
      shelf.tag("goes/deep", "latest");
      shelf.tree.drop_tag("stays", "moving");
      fs::remove_all(shelf.layout.tree / "tags/goes");
    }
  });
  for (int i = 0; i < 300; ++i) {
    const auto repositories = tree::repositories(shelf.tree.store());
    CHECK(std::count(repositories.begin(), repositories.end(), "stays") == 1);
    const auto tags = tree::tags(shelf.tree.store(), "stays");
    CHECK(std::count(tags.begin(), tags.end(), "latest") == 1);
  }
}

TEST_CASE("a list of tags has the repository's name and a link to the next page") {
  const Shelf shelf;
  for (const char* tag : {"a", "b", "c"}) shelf.tag("shell/git", tag);
  const auto list = [&](std::string_view query) {
    return answer([&] { return registry_api::tags_page(shelf.tree, "shell/git", query); });
  };
  CHECK(list("").body == R"({"name":"shell/git","tags":["a","b","c"]})");
  CHECK(header_of(list(""), "Content-Type") == "application/json");
  CHECK(header_of(list(""), "Link").empty());
  CHECK(list("ns=example.org&x").body == list("").body);

  CHECK(names_in(list("n=2"), "tags") == Names{"a", "b"});
  CHECK(header_of(list("n=2"), "Link") == "</v2/shell/git/tags/list?n=2&last=b>; rel=\"next\"");
  CHECK(names_in(list("n=2&last=b"), "tags") == Names{"c"});
  CHECK(header_of(list("n=2&last=b"), "Link").empty());
  CHECK(header_of(list("n=3"), "Link").empty());
  CHECK(names_in(list("last=aa"), "tags") == Names{"b", "c"});
  CHECK(names_in(list("last=%61"), "tags") == Names{"b", "c"});
  CHECK(names_in(list("last=zzz"), "tags").empty());
  CHECK(list("n=0").body == R"({"name":"shell/git","tags":[]})");
  CHECK(header_of(list("n=0"), "Link").empty());
  CHECK(names_in(list("n=99999999999999999999999"), "tags").size() == 3);
}

TEST_CASE("an invalid page is 400, an unknown repository 404") {
  const Shelf shelf;
  shelf.tag("git", "latest");
  const auto list = [&](std::string_view name, std::string_view query) {
    return answer([&] { return registry_api::tags_page(shelf.tree, name, query); });
  };
  for (const char* query : {"n=-1", "n=", "n", "n=x", "n=1x", "n=%zz", "n=1.0", "last=%4"}) {
    CAPTURE(query);
    CHECK(list("git", query).status == 400);
    CHECK(code_of(list("git", query)) == "UNSUPPORTED");
    CHECK(answer([&] { return registry_api::catalog_page(nullptr, query); }).status == 400);
  }
  CHECK(list("curl", "").status == 404);
  CHECK(code_of(list("curl", "")) == "NAME_UNKNOWN");
  for (const char* name : {"", "Git", "../x", "_tags", "a//b"}) {
    CAPTURE(name);
    CHECK(list(name, "").status == 400);
    CHECK(code_of(list(name, "")) == "NAME_INVALID");
  }
}

TEST_CASE("the catalog lists what has been built") {
  const Shelf shelf;
  const auto list = [&](std::string_view query) {
    return answer([&] {
      const Names all = tree::repositories(shelf.tree.store());
      return registry_api::catalog_page(&all, query);
    });
  };
  CHECK(list("").body == R"({"repositories":[]})");
  for (const char* name : {"a/b", "a", "a-b"}) shelf.tag(name, "latest");
  CHECK(names_in(list(""), "repositories") == Names{"a", "a-b", "a/b"});
  CHECK(header_of(list("n=1&last=a"), "Link") == "</v2/_catalog?n=1&last=a-b>; rel=\"next\"");
  CHECK(names_in(list("n=1&last=a%2Db"), "repositories") == Names{"a/b"});
  const auto later = answer([] { return registry_api::catalog_page(nullptr, ""); });
  CHECK(later.status == 429);
  CHECK_FALSE(header_of(later, "Retry-After").empty());
}

TEST_CASE("concatenated pages are the whole list") {
  const Shelf shelf;
  for (int i = 0; i < 97; ++i) shelf.tag("git", "t" + std::to_string(i));
  const auto all = tree::tags(shelf.tree.store(), "git");
  for (const char* n : {"1", "10", "96", "97", "98"}) {
    Names seen;
    std::string query = std::string("n=") + n;
    for (std::size_t pages = 0; !query.empty() && pages < 100; ++pages) {
      const auto page = registry_api::tags_page(shelf.tree, "git", query);
      for (auto& tag : names_in(page, "tags")) seen.push_back(tag);
      const std::string link = header_of(page, "Link");
      query = link.empty() ? "" : link.substr(link.find('?') + 1, link.find('>') - link.find('?') - 1);
    }
    CHECK(seen == all);
  }
}

TEST_CASE("any well-formed digest has a list of referrers, a malformed one is 400") {
  const Shelf shelf;
  const auto list = [&](std::string_view digest) {
    return answer([&] { return registry_api::referrers_list(shelf.tree, digest, ""); });
  };
  for (const std::string& digest :
       {"sha256:" + std::string(64, 'a'), "sha512:" + std::string(128, 'a'), shelf.manifest.str()}) {
    CHECK(list(digest).status == 200);
    CHECK(list(digest).body == empty_index);
    CHECK(header_of(list(digest), "Content-Type") == "application/vnd.oci.image.index.v1+json");
  }
  for (const std::string& digest :
       {std::string(), std::string("sha256:"), "sha256:" + std::string(63, 'a'), "sha256:" + std::string(64, 'A'),
        "sha512:" + std::string(64, 'a'), std::string(64, 'a'), std::string("latest")}) {
    CAPTURE(digest);
    CHECK(list(digest).status == 400);
    CHECK(code_of(list(digest)) == "DIGEST_INVALID");
  }
}

TEST_CASE("referrers are listed by type, then digest, and filtered by type") {
  const Shelf shelf;
  const auto spdx = shelf.publish_referrer_of(shelf.manifest, "spdx", "application/spdx+json");
  const auto one = shelf.publish_referrer_of(shelf.manifest, "one", "application/a"),
             two = shelf.publish_referrer_of(shelf.manifest, "two", "application/a");
  const auto list = [&](std::string_view query) {
    return registry_api::referrers_list(shelf.tree, shelf.manifest.str(), query);
  };

  Names a{one.digest.str(), two.digest.str()};
  std::sort(a.begin(), a.end());
  CHECK(digests_in(list("")) == Names{a[0], a[1], spdx.digest.str()});
  CHECK(header_of(list(""), "OCI-Filters-Applied").empty());
  CHECK(os::read_if_exists(shelf.layout.referrers_index(shelf.manifest)) == list("").body);

  for (const char* query : {"artifactType=application/spdx+json", "ns=x&artifactType=application%2Fspdx%2Bjson"}) {
    CHECK(digests_in(list(query)) == Names{spdx.digest.str()});
    CHECK(header_of(list(query), "OCI-Filters-Applied") == "artifactType");
  }
  CHECK(list("artifactType=application/none").body == empty_index);
  CHECK(list("artifactType=").body == list("").body);
  CHECK(answer([&] { return list("artifactType=%"); }).status == 400);

  const auto document = json::parse(list("artifactType=application/spdx%2Bjson").body, "answer");
  const auto& descriptor = document["manifests"][0];
  CHECK(json::string_or(descriptor, "mediaType", "") == "application/vnd.oci.image.manifest.v1+json");
  CHECK(json::integer_at(descriptor, "size") == static_cast<std::int64_t>(spdx.size));
  CHECK(json::string_or(descriptor, "artifactType", "") == "application/spdx+json");
  CHECK(json::string_or(descriptor["annotations"], "made-from", "") == "x");
}

TEST_CASE("publishing a referrer again changes nothing; torn descriptors are ignored") {
  const Shelf shelf;
  const auto referrer = shelf.publish_referrer_of(shelf.manifest, "sbom", "application/spdx+json");
  const fs::path index = shelf.layout.referrers_index(shelf.manifest);
  fs::last_write_time(index, fs::last_write_time(index) - std::chrono::hours(1));
  const auto before = fs::last_write_time(index);
  const auto files = shelf.files(shelf.layout.tree);
  tree::publish_referrers(shelf.tree, shelf.manifest, {{referrer}});
  CHECK(fs::last_write_time(index) == before);
  CHECK(shelf.files(shelf.layout.tree) == files);

  const auto other = *image::Digest::parse_hex(std::string(64, 'f'));
  os::write_file(shelf.layout.referrer(shelf.manifest, other), R"({"mediaType":)");
  CHECK(tree::referrers_of(shelf.tree.store(), shelf.manifest).size() == 1);
}

TEST_CASE("referrers published at the same time are all in the list") {
  const Shelf shelf;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; ++i)
      threads.emplace_back(
          [&shelf, i] { shelf.publish_referrer_of(shelf.manifest, "r" + std::to_string(i), "application/a"); });
  }
  const auto index = os::read_if_exists(shelf.layout.referrers_index(shelf.manifest));
  CHECK(json::parse(*index, "index")["manifests"].Size() == 8);
}

TEST_CASE("a fallback tag names its subject") {
  const auto subject = image::Digest::of("x");
  CHECK(tree::subject_of_fallback_tag("sha256-" + subject.hex()) == subject);
  for (const std::string& tag : {"sha256-" + subject.hex() + ".sig", subject.hex(), std::string("latest")})
    CHECK_FALSE(tree::subject_of_fallback_tag(tag));
}

TEST_CASE("an export has exactly what the images refer to") {
  const Shelf shelf;
  const auto git = shelf.publish_image("git"), curl = shelf.publish_image("curl");
  shelf.tree.publish_tag("git", "latest", git);
  shelf.tree.publish_tag("shell/git", "v1", git);
  shelf.tree.publish_tag("curl", "latest", curl);
  const auto sbom = shelf.publish_referrer_of(git, "sbom", "application/spdx+json");
  shelf.tree.publish_tag("git", "sha256-" + git.hex() + ".sig", shelf.publish_image("signature"));
  const fs::path copy = shelf.dir.path() / "copy";

  const Names wanted = [&] {
    Names names = shelf.files(shelf.layout.tree);
    std::erase_if(names, [&](const std::string& name) {
      const bool of_git = name.find("curl") == name.npos && name.find(curl.hex()) == name.npos &&
                          name.find(shelf.manifest.hex()) == name.npos;
      return !of_git || name.ends_with(".json") || name.starts_with("tags/shell") ||
             name.find(image::Digest::of("curl").hex()) != name.npos ||
             name.find(image::Digest::of("curl config").hex()) != name.npos;
    });
    return names;
  }();
  const std::vector<reference::Reference> references{reference::parse("git")};
  const auto exported = pipeline::export_tree(shelf.tree, references, copy);
  CHECK(shelf.files(copy) == wanted);
  CHECK(exported.images == std::vector{git});
  CHECK(exported.tags == 2);
  CHECK(exported.manifests == 3);
  CHECK(exported.blobs == 6);
  CHECK(exported.added_bytes == exported.bytes);
  CHECK_FALSE(fs::exists(copy / "incoming"));

  const tree::Layout copied_layout{copy, {}};
  const tree::Tree copied = test::tree_at(copied_layout);
  CHECK(copied.manifest(*copied.digest_of_tag("git", "latest"))->digest == git);
  CHECK(registry_api::referrers_list(shelf.tree, git.str(), "").body ==
        os::read_if_exists(copied_layout.referrers_index(git)));
  CHECK(copied.has_blob(image::Digest::of("sbom")));

  CHECK(pipeline::export_tree(shelf.tree, references, copy).added_bytes == 0);
  CHECK(shelf.files(copy) == wanted);
}

TEST_CASE("an export copies the members of an index and fixes a truncated blob") {
  const Shelf shelf;
  const auto member = shelf.publish_image("layer");
  const auto index = shelf.tree.publish_manifest(
      R"({"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1,"digest":")" +
          member.str() + R"("}]})",
      image::MediaType::oci_index);
  shelf.tree.publish_tag("git", "latest", index);
  const tree::Layout copied_layout{shelf.dir.path() / "copy", {}};
  const tree::Tree copied = test::tree_at(copied_layout);
  const auto layer = image::Digest::of("layer");
  os::write_file(copied_layout.blob(layer), "lay");
  pipeline::export_tree(shelf.tree, std::vector{reference::parse("git")}, copied_layout.tree);
  CHECK(copied.manifest(index));
  CHECK(copied.manifest(member));
  CHECK(os::read_if_exists(copied_layout.blob(layer)) == "layer");
}

TEST_CASE("an export of a missing image writes nothing and names what to build") {
  const Shelf shelf;
  const fs::path copy = shelf.dir.path() / "copy";
  const auto complaint = [&](std::string_view name) -> std::string {
    try {
      pipeline::export_tree(shelf.tree, std::vector{reference::parse("whole"), reference::parse(name)}, copy);
    } catch (const Error& error) {
      return error.what();
    }
    return "none";
  };
  shelf.tree.publish_tag("whole", "latest", shelf.publish_image("whole"));
  CHECK(complaint("git:v1") == "git:v1 is not in the tree: run `nixery build git:v1` first");
  shelf.tree.publish_tag("torn", "latest", shelf.publish_image("torn"));
  fs::remove(shelf.layout.blob(image::Digest::of("torn")));
  CHECK(complaint("torn").starts_with("the blob sha256:"));
  CHECK(complaint("torn").ends_with("of torn:latest is not in the tree: run `nixery build torn:latest` first"));
  shelf.tag("evicted", "latest");
  fs::remove_all(shelf.layout.manifest_dir(shelf.manifest));
  CHECK(complaint("evicted").starts_with("the manifest sha256:"));
  CHECK_FALSE(fs::exists(copy));
}
