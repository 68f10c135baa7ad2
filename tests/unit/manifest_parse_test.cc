#include <doctest/doctest.h>

#include "error.h"
#include "image/oci_layout.h"
#include "image/parse.h"
#include "json/json.h"

using namespace nixery;
using image::Digest;
using image::MediaType;

namespace {

std::string refusal_of(const std::string& bytes) {
  const Digest digest = Digest::of(bytes);
  try {
    image::parse_manifest(bytes, digest);
  } catch (const Error& error) {
    CHECK(error.failure() == Failure::corrupt);
    CHECK(std::string_view(error.what()).find(digest.str()) != std::string_view::npos);
    return error.what();
  }
  return "";
}

image::Descriptor descriptor_of(const std::string& bytes) {
  return {MediaType::oci_manifest, Digest::of(bytes), bytes.size(), {}, {}};
}

// name -> digest, in the order of the entries.
std::vector<std::pair<std::string, std::string>> entries_of(const std::string& index) {
  std::vector<std::pair<std::string, std::string>> entries;
  for (const auto& entry : image::parse_manifest(index, Digest::of(index)).members) {
    const auto name = entry.annotations.find(image::layout_name_annotation);
    entries.emplace_back(name == entry.annotations.end() ? "" : name->second, entry.digest.str());
  }
  return entries;
}

}  // namespace

TEST_CASE("what is written as a manifest or an index is read as the same") {
  const image::Manifest manifest{image::Format::docker,
                                 {MediaType::docker_config, Digest::of("c"), 1, {}, {}},
                                 {{MediaType::docker_layer_gzip, Digest::of("l"), 2, {}, {}}},
                                 {}};
  const std::string bytes = image::to_json(manifest);
  const auto parsed = image::parse_manifest(bytes, Digest::of(bytes));
  CHECK(parsed.type == MediaType::docker_manifest);
  CHECK_FALSE(parsed.is_index());
  CHECK(parsed.config->digest == Digest::of("c"));
  CHECK(parsed.config->media_type == image::name_of(MediaType::docker_config));
  REQUIRE(parsed.layers.size() == 1);
  CHECK(parsed.layers[0].size == 2);

  image::Index index{image::Format::oci, {descriptor_of(bytes)}, {{"k", "v"}}};
  index.manifests[0].platform = {"arm64", "linux", "v8"};
  const std::string of_index = image::to_json(index);
  const auto read = image::parse_manifest(of_index, Digest::of(of_index));
  CHECK(read.type == MediaType::oci_index);
  CHECK(read.is_index());
  CHECK(read.annotations == image::Annotations{{"k", "v"}});
  REQUIRE(read.members.size() == 1);
  CHECK(read.members[0].architecture() == "arm64");
  CHECK(read.members[0].size == bytes.size());
}

TEST_CASE("a manifest without a media type, as OCI allows, is what its contents are") {
  const auto type = [](const std::string& bytes) { return image::parse_manifest(bytes, Digest::of(bytes)).type; };
  CHECK(type(R"({"schemaVersion":2,"manifests":[]})") == MediaType::oci_index);
  CHECK(type(R"({"schemaVersion":2,"config":{"digest":")" + Digest::of("").str() + R"(","size":0}})") ==
        MediaType::oci_manifest);
}

TEST_CASE("what is no manifest is refused by its digest") {
  CHECK(refusal_of("{").find("is no JSON") != std::string::npos);
  CHECK(refusal_of("{}").find("is neither an image's nor an index") != std::string::npos);
  CHECK(refusal_of(R"({"mediaType":"text/plain","manifests":[]})").find("text/plain") != std::string::npos);
  CHECK(refusal_of(R"({"mediaType":"application/vnd.oci.image.manifest.v1+json","manifests":[]})") != "");
  CHECK(refusal_of(R"({"manifests":[{"size":1}]})").find("without a digest") != std::string::npos);
}

TEST_CASE("messages quote what a manifest and a config say without its control characters") {
  CHECK(
      refusal_of(R"({"mediaType":"application/\u007f\u001b[2J"})").ends_with("has the media type 'application/??[2J'"));
  const std::string config = R"({"rootfs":{"diff_ids":["sha256:\u007f"]}})";
  try {
    image::parse_config(config, Digest::of(config));
    FAIL("was read");
  } catch (const Error& error) {
    CHECK(std::string(error.what()).ends_with("has the diff id 'sha256:?'"));
  }
}

TEST_CASE("a referrer's descriptor follows from its manifest alone") {
  const std::string with_type =
      R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"text/sbom",)"
      R"("config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":")" +
      Digest::of("{}").str() + R"(","size":2},"layers":[],"annotations":{"k":"v"}})";
  const auto descriptor = image::referrer_descriptor(with_type, Digest::of(with_type));
  CHECK(descriptor.type == MediaType::oci_manifest);
  CHECK(descriptor.size == with_type.size());
  CHECK(descriptor.artifact_type == "text/sbom");
  CHECK(descriptor.annotations == image::Annotations{{"k", "v"}});
  const std::string without =
      R"({"config":{"mediaType":"text/config","digest":")" + Digest::of("{}").str() + R"(","size":2}})";
  CHECK(image::referrer_descriptor(without, Digest::of(without)).artifact_type == "text/config");
}

TEST_CASE("a config is read as it was written") {
  image::Config config;
  config.platform = {"arm64", "linux", "v8"};
  config.labels = {{"a", "1"}};
  config.layers = {{Digest::of("x"), "root"}, {Digest::of("y"), "alone"}};
  const std::string bytes = image::to_json(config);
  const auto parsed = image::parse_config(bytes, Digest::of(bytes));
  CHECK(parsed.architecture == "arm64");
  CHECK(parsed.os == "linux");
  CHECK(parsed.labels == config.labels);
  CHECK(parsed.diff_ids == std::vector<Digest>{Digest::of("x"), Digest::of("y")});
  CHECK(parsed.created_by == std::vector<std::string>{"root", "alone"});
  CHECK_THROWS_AS(image::parse_config("[", Digest::of("[")), Error);
}

TEST_CASE("a layout keeps the images that it has, also those of other programs") {
  const auto first = image::with_image(std::nullopt, descriptor_of("1"), "a:latest", "index.json");
  CHECK(entries_of(first) == std::vector<std::pair<std::string, std::string>>{{"a:latest", Digest::of("1").str()}});
  const auto second = image::with_image(first, descriptor_of("2"), "b:latest", "index.json");
  const auto third = image::with_image(second, descriptor_of("3"), "a:latest", "index.json");
  CHECK(entries_of(third) == std::vector<std::pair<std::string, std::string>>{{"b:latest", Digest::of("2").str()},
                                                                              {"a:latest", Digest::of("3").str()}});

  const std::string foreign =
      R"({"schemaVersion":2,"x-tool":[1],"manifests":[{"mediaType":"text/any","digest":"sha512:0",)"
      R"("size":1,"urls":["u"]}]})";
  const auto beside = json::parse(image::with_image(foreign, descriptor_of("1"), "a:latest", "index.json"), "index");
  CHECK(beside["x-tool"][0].GetInt() == 1);
  REQUIRE(beside["manifests"].Size() == 2);
  CHECK(beside["manifests"][0]["urls"].Size() == 1);

  CHECK_THROWS_WITH_AS(image::with_image("{}", descriptor_of("1"), "a", "DIR/index.json"),
                       doctest::Contains("DIR/index.json"), Error);
  CHECK_NOTHROW(image::check_layout_version(image::layout_version_file, "oci-layout"));
  CHECK_THROWS_AS(image::check_layout_version(R"({"imageLayoutVersion":"2.0.0"})", "oci-layout"), Error);
}
