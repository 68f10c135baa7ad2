#include <doctest/doctest.h>

#include "image/digest.h"
#include "image/manifest.h"

using namespace nixery;
using namespace std::chrono_literals;
using image::Digest;

TEST_CASE("digests are sha256 and 64 lower-case hex, and nothing else") {
  const std::string hex(64, 'a');
  CHECK(Digest::parse("sha256:" + hex)->hex() == hex);
  for (const std::string& wrong :
       {std::string(""), hex, "sha256:" + hex + "a", "sha256:" + hex.substr(1), "SHA256:" + hex, "sha512:" + hex,
        "sha256:" + std::string(64, 'A'), "sha256:" + std::string(64, 'g')})
    CHECK_FALSE(Digest::parse(wrong));
}

TEST_CASE("SHA-256 agrees with FIPS 180-4's example") {
  CHECK(Digest::of("abc").str() == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST_CASE("keys over different fields with equal concatenation differ") {
  const auto key = [](std::vector<std::string> fields) {
    image::KeyBuilder builder("image");
    for (const auto& field : fields) builder.add(field);
    return builder.finish();
  };
  CHECK(key({"jq", "jqa"}) == key({"jq", "jqa"}));
  CHECK(key({"jq", "jqa"}) != key({"jqj", "qa"}));
  CHECK(key({"a", ""}) != key({"a"}));
  CHECK(key({"1:a"}) != key({"a"}));
}

TEST_CASE("a config has its keys in a fixed order and omits empty ones") {
  image::Config config;
  config.platform = {"arm64", "linux", "v8"};
  config.created = "1970-01-01T00:00:01Z";
  config.env = {"PATH=/bin"};
  config.cmd = {"bash"};
  config.exposed_ports = {"80/tcp"};
  config.labels = {{"b", "2"}, {"a", "1"}};
  config.layers = {{Digest::of("x"), "alone: 1 MB"}};
  CHECK(
      image::to_json(config) ==
      R"({"created":"1970-01-01T00:00:01Z","architecture":"arm64","os":"linux","variant":"v8",)"
      R"("config":{"ExposedPorts":{"80/tcp":{}},"Env":["PATH=/bin"],"Cmd":["bash"],"Labels":{"a":"1","b":"2"}},)"
      R"("rootfs":{"type":"layers","diff_ids":["sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"]},)"
      R"("history":[{"created":"1970-01-01T00:00:01Z","created_by":"alone: 1 MB"}]})");
}

TEST_CASE("a config has Docker's extensions with times in nanoseconds") {
  image::Config config;
  config.volumes = {"/data", "/logs"};
  config.stop_signal = "SIGQUIT";
  config.shell = {"/bin/bash", "-c"};
  config.healthcheck = image::Healthcheck{{"CMD", "curl"}, 90s, 5s, 0s, 500ms, 3};
  CHECK(image::to_json(config).find(
            R"("config":{"Volumes":{"/data":{},"/logs":{}},"StopSignal":"SIGQUIT","Shell":["/bin/bash","-c"],)"
            R"("Healthcheck":{"Test":["CMD","curl"],"Interval":90000000000,"Timeout":5000000000,)"
            R"("StartInterval":500000000,"Retries":3}})") != std::string::npos);
}

TEST_CASE("a manifest is OCI's or docker's, with matching media types") {
  image::Manifest manifest{
      image::Format::oci, {image::MediaType::oci_config, Digest::of("c"), 1, {}, {}}, {}, {{"k", "v"}}};
  manifest.layers.push_back({image::MediaType::oci_layer_gzip, Digest::of("l"), 2, {}, {}});
  const std::string oci = image::to_json(manifest);
  CHECK(oci.starts_with(
      R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":)"));
  CHECK(oci.find(R"("annotations":{"k":"v"})") != std::string::npos);
  manifest.format = image::Format::docker;
  CHECK(image::to_json(manifest).find("annotations") == std::string::npos);
}
