#include <doctest/doctest.h>

#include <algorithm>

#include "attestations/artifact.h"
#include "attestations/cyclonedx.h"
#include "attestations/license.h"
#include "attestations/provenance.h"
#include "attestations/spdx.h"
#include "json/json.h"

using namespace nixery;
using namespace nixery::attestations;

namespace {

store::StorePath store_path(char hash, std::string_view name) {
  return *store::StorePath::parse("/nix/store/" + std::string(32, hash) + "-" + std::string(name));
}

// curl (its programs) -> libcurl -> glibc; cacert beside them.
struct Image {
  store::Closure closure;
  nix::Resolution resolution;
  nix::Revision revision{std::string(40, 'c'), "https://host.example/NixOS/nixpkgs.git", true};
  image::Descriptor manifest{image::MediaType::oci_manifest, image::Digest::of("manifest"), 8, {}, {}};

  Image() {
    const auto curl = store_path('1', "curl-8.7.1-bin"), libcurl = store_path('2', "curl-8.7.1"),
               glibc = store_path('3', "glibc-2.39-52"), cacert = store_path('4', "nss-cacert-3.98");
    closure.paths = {{curl, std::string(64, '1'), 100, {1, 2}},
                     {libcurl, std::string(64, '2'), 200, {2}},
                     {glibc, std::string(64, '3'), 300, {}},
                     {cacert, std::string(64, '4'), 400, {}}};
    nix::Package package;
    package.requested = "curl";
    package.attribute = "curl";
    package.drv_path = "/nix/store/" + std::string(32, 'd') + "-curl-8.7.1.drv";
    package.outputs = {{"bin", curl}};
    package.name = "curl-8.7.1";
    package.pname = "curl";
    package.version = "8.7.1";
    package.description = "transfers files";
    package.homepage = "https://curl.example/";
    package.licenses = {"curl"};
    resolution.packages = {package};
    resolution.cacert.emplace();
    resolution.cacert->attribute = resolution.cacert->requested = "cacert";
    resolution.cacert->outputs = {{"out", cacert}};
    resolution.cacert->version = "3.98";
    resolution.cacert->pname = "nss-cacert";
  }

  nix::NixpkgsSettings nixpkgs;

  Subject subject() const {
    return {"shell/curl", "latest", manifest, {"arm64", "linux", "v8"}, resolution, revision, closure, nixpkgs};
  }
};

json::Document parsed(const std::string& bytes) {
  return json::parse(bytes, "the document");
}

const json::Value& package_named(const json::Document& spdx, std::string_view path) {
  for (const json::Value& package : spdx["packages"].GetArray())
    if (json::string_or(package, "packageFileName", "") == path) return package;
  throw std::runtime_error("no package " + std::string(path));
}

bool has_relationship(const json::Document& spdx, std::string_view from, std::string_view type, std::string_view to) {
  const auto list = spdx["relationships"].GetArray();
  return std::any_of(list.begin(), list.end(), [&](const json::Value& relationship) {
    return json::string_or(relationship, "spdxElementId", "") == from &&
           json::string_or(relationship, "relationshipType", "") == type &&
           json::string_or(relationship, "relatedSpdxElement", "") == to;
  });
}

}  // namespace

TEST_CASE("a store path's name is split into name, version (by Nix's rule) and usual outputs") {
  const auto check = [](std::string_view text, std::string_view name, std::string_view version,
                        std::string_view output) {
    const auto parts = parse_name(text);
    CHECK(parts.name == name);
    CHECK(parts.version == version);
    CHECK(parts.output == output);
  };
  check("openssl-3.0.11", "openssl", "3.0.11", "");
  check("openssl-3.0.11-bin", "openssl", "3.0.11", "bin");
  check("glibc-2.39-52", "glibc", "2.39-52", "");
  check("python3.11-requests-2.28.1", "python3.11-requests", "2.28.1", "");
  check("hook.sh", "hook.sh", "", "");
  check("foo-dev", "foo-dev", "", "");
  check("trailing-", "trailing-", "", "");
}

TEST_CASE("licences become SPDX expressions, and unknown ones a LicenseRef") {
  const auto expression = [](std::string_view given) { return license_of(given).expression; };
  CHECK(expression("MIT") == "MIT");
  CHECK(expression("mit") == "MIT");
  CHECK(expression("GPL-2.0+") == "GPL-2.0+");
  CHECK(expression("Apache-2.0+") == "Apache-2.0+");
  CHECK(expression("GPL-3.0-or-later WITH gcc-exception-3.1") == "GPL-3.0-or-later WITH GCC-exception-3.1");
  CHECK(expression("(MIT OR  Apache-2.0) AND curl") == "(MIT OR Apache-2.0) AND curl");
  CHECK(expression("unfree") == "LicenseRef-nix-unfree");
  CHECK(expression("LicenseRef-house") == "LicenseRef-house");
  CHECK(expression("MIT OR unfree") == "MIT OR LicenseRef-nix-unfree");
  CHECK(license_of("MIT OR unfree").refs.at("LicenseRef-nix-unfree") == "unfree");

  CHECK(license_of("MIT").kind == License::Kind::identifier);
  CHECK(license_of("GPL-2.0+").kind == License::Kind::identifier);
  CHECK(license_of("Apache-2.0+").kind == License::Kind::expression);
  CHECK(license_of("unfree").kind == License::Kind::other);

  // Free text, malformed expressions and arbitrary bytes: one reference each, of characters that SPDX allows.
  for (const std::string_view odd : {"", " ", "Lizenz für \"alle\"", "MIT AND", "AND", "(MIT", "MIT)",
                                     "MIT WITH nothing", "a/b", "a b", "a_b", "\x01\x02"}) {
    const License license = license_of(odd);
    CAPTURE(odd);
    CHECK(license.kind == License::Kind::other);
    CHECK(license.expression.starts_with("LicenseRef-nix-"));
    CHECK(license.expression.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") ==
          std::string::npos);
    CHECK(license.refs.at(license.expression) == odd);
  }
  CHECK(expression("a/b") != expression("a b"));
  CHECK(license_of(std::string(100000, '(')).kind == License::Kind::other);

  CHECK(joined_expression({}) == "");
  CHECK(joined_expression({license_of("MIT OR curl"), license_of("Zlib")}) == "(MIT OR curl) AND Zlib");
  CHECK(joined_expression({license_of("MIT OR curl")}) == "MIT OR curl");
}

TEST_CASE("the SPDX document describes each path and relates the image to all of them") {
  const Image image;
  const auto spdx = parsed(spdx_document(image.subject()));
  CHECK(json::string_or(spdx, "spdxVersion", "") == "SPDX-2.3");
  CHECK(json::string_or(spdx["creationInfo"], "created", "") == "1970-01-01T00:00:01Z");
  CHECK(spdx["packages"].Size() == 5);
  const std::string image_sum = spdx["packages"][0]["checksums"][0]["checksumValue"].GetString();
  CHECK(image_sum == image.manifest.digest.hex());
  CHECK(json::string_or(spdx["packages"][0]["externalRefs"][0], "referenceLocator", "") ==
        "pkg:oci/curl@sha256%3A" + image.manifest.digest.hex() + "?arch=arm64");

  const auto& curl = package_named(spdx, image.closure.paths[0].path.str());
  CHECK(json::string_or(curl, "name", "") == "curl");
  CHECK(json::string_or(curl, "versionInfo", "") == "8.7.1");
  CHECK(json::string_or(curl, "licenseDeclared", "") == "curl");
  CHECK(json::string_or(curl, "homepage", "") == "https://curl.example/");
  CHECK(json::string_or(curl["checksums"][0], "checksumValue", "") == std::string(64, '1'));
  CHECK(json::string_or(curl["externalRefs"][0], "referenceLocator", "") ==
        "pkg:nix/nixpkgs/curl@8.7.1?commit=" + std::string(40, 'c') + "&output=bin");

  const auto& glibc = package_named(spdx, image.closure.paths[2].path.str());
  CHECK(json::string_or(glibc, "name", "") == "glibc");
  CHECK(json::string_or(glibc, "versionInfo", "") == "2.39-52");
  CHECK(json::string_or(glibc, "licenseDeclared", "") == "NOASSERTION");

  const auto id = [](char hash, const std::string& name) { return "SPDXRef-" + std::string(32, hash) + "-" + name; };
  CHECK(has_relationship(spdx, "SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-image"));
  CHECK(has_relationship(spdx, "SPDXRef-image", "CONTAINS", id('4', "nss-cacert-3.98")));
  CHECK(has_relationship(spdx, id('1', "curl-8.7.1-bin"), "DEPENDS_ON", id('3', "glibc-2.39-52")));
  CHECK(spdx["relationships"].Size() == 1 + 4 + 3);
}

TEST_CASE("the CycloneDX document has a component and a dependency of each path") {
  const Image image;
  const auto bom = parsed(cyclonedx_document(image.subject()));
  CHECK(json::string_or(bom, "specVersion", "") == "1.5");
  CHECK(bom["components"].Size() == 4);
  CHECK(json::string_or(bom["components"][0], "type", "") == "application");
  CHECK(json::string_or(bom["components"][0]["licenses"][0]["license"], "id", "") == "curl");
  CHECK(json::string_or(bom["components"][1], "type", "") == "library");
  CHECK(json::string_or(bom["components"][1]["hashes"][0], "content", "") == std::string(64, '2'));
  CHECK(bom["dependencies"].Size() == 5);
  CHECK(json::strings_at(bom["dependencies"][0], "dependsOn") ==
        std::vector<std::string>{image.closure.paths[0].path.str(), image.closure.paths[3].path.str()});
  CHECK(json::strings_at(bom["dependencies"][1], "dependsOn") ==
        std::vector<std::string>{image.closure.paths[1].path.str(), image.closure.paths[2].path.str()});
}

TEST_CASE("CycloneDX has names of licences or one expression, never both") {
  Image image;
  const auto licenses = [&](std::vector<std::string> given) {
    image.resolution.packages[0].licenses = std::move(given);
    const auto bom = parsed(cyclonedx_document(image.subject()));
    json::Buffer buffer;
    json::Writer writer(buffer);
    if (const auto* list = json::find(bom["components"][0], "licenses")) list->Accept(writer);
    return std::string(buffer.GetString());
  };
  CHECK(licenses({}) == "");
  CHECK(licenses({"mit", "un \"free\""}) == R"([{"license":{"id":"MIT"}},{"license":{"name":"un \"free\""}}])");
  CHECK(licenses({"MIT OR Zlib", "unfree"}) == R"([{"expression":"(MIT OR Zlib) AND LicenseRef-nix-unfree"}])");
}

TEST_CASE("provenance names the reference, the revision and the derivations") {
  Image image;
  const auto statement = parsed(provenance_statement(image.subject(), "https://builder.example/1"));
  CHECK(json::string_or(statement, "_type", "") == "https://in-toto.io/Statement/v1");
  CHECK(json::string_or(statement, "predicateType", "") == "https://slsa.dev/provenance/v1");
  CHECK(json::string_or(statement["subject"][0]["digest"], "sha256", "") == image.manifest.digest.hex());
  const auto& definition = statement["predicate"]["buildDefinition"];
  CHECK(json::string_or(definition["externalParameters"], "reference", "") == "shell/curl:latest");
  CHECK(json::string_or(definition["externalParameters"], "platform", "") == "linux/arm64/v8");
  CHECK(json::strings_at(definition["externalParameters"], "packages") == std::vector<std::string>{"curl"});
  const auto& source = definition["resolvedDependencies"][0];
  CHECK(json::string_or(source, "uri", "") == "git+https://host.example/NixOS/nixpkgs.git@" + std::string(40, 'c'));
  CHECK(json::string_or(source["digest"], "gitCommit", "") == std::string(40, 'c'));
  CHECK(json::string_or(definition["resolvedDependencies"][1], "uri", "") ==
        "nix:" + image.resolution.packages[0].drv_path);
  CHECK(json::string_or(statement["predicate"]["runDetails"]["builder"], "id", "") == "https://builder.example/1");

  image.revision = {"sha256:" + std::string(64, 'a'), "", true};
  const auto local = parsed(provenance_statement(image.subject(), ""));
  const auto& directory = local["predicate"]["buildDefinition"]["resolvedDependencies"][0];
  CHECK(json::string_or(directory["digest"], "nixeryContents", "") == std::string(64, 'a'));
  CHECK(json::string_or(local["predicate"]["runDetails"]["builder"], "id", "") == unnamed_builder);
}

TEST_CASE("provenance lists the settings for nixpkgs") {
  Image image;
  const auto plain = parsed(provenance_statement(image.subject(), ""));
  CHECK(json::find(plain["predicate"]["buildDefinition"], "internalParameters") == nullptr);
  image.nixpkgs.unfree = nix::NameList({"Steam", "nvidia-*"});
  image.nixpkgs.insecure = nix::NameList({"openssl-1.1.1w"});
  image.nixpkgs.config = "{ }";
  const auto statement = parsed(provenance_statement(image.subject(), ""));
  const auto& definition = statement["predicate"]["buildDefinition"];
  CHECK(json::strings_at(definition["internalParameters"], "allowUnfree") ==
        std::vector<std::string>{"steam", "nvidia-*"});
  CHECK(json::strings_at(definition["internalParameters"], "allowInsecure") ==
        std::vector<std::string>{"openssl-1.1.1w"});
  CHECK(json::find(definition["internalParameters"], "allowBroken") == nullptr);
  const auto& configuration = definition["resolvedDependencies"][1];
  CHECK(json::string_or(configuration, "name", "") == "nixpkgs configuration");
  CHECK(json::string_or(configuration["digest"], "sha256", "") == image::Digest::of("{ }").hex());
}

TEST_CASE("documents are valid JSON for any package metadata, and contain it") {
  Image image;
  auto& package = image.resolution.packages[0];
  const std::string odd = "a \"quoted\" \\ line\nwith \t\x01 and ünïcode </script>";
  package.description = odd;
  package.homepage = "https://host.example/a b";
  package.licenses = {odd};
  package.pname = odd;
  package.version = "1.0+git&x=\"";
  image.closure.paths[2].path = store_path('3', "a+b_c?d=e-1.0");
  const auto spdx = parsed(spdx_document(image.subject()));
  const auto& curl = package_named(spdx, image.closure.paths[0].path.str());
  CHECK(json::string_or(curl, "summary", "") == odd);
  CHECK(json::find(curl, "homepage") == nullptr);
  CHECK(json::string_or(spdx["hasExtractedLicensingInfos"][0], "name", "") == odd);
  CHECK(json::string_or(curl, "licenseDeclared", "") ==
        json::string_or(spdx["hasExtractedLicensingInfos"][0], "licenseId", ""));
  CHECK(json::string_or(curl["externalRefs"][0], "referenceLocator", "").find("@1.0%2Bgit%26x%3D%22?") !=
        std::string::npos);
  CHECK(has_relationship(spdx, "SPDXRef-image", "CONTAINS", "SPDXRef-" + std::string(32, '3') + "-a-b-c-d-e-1.0"));
  const auto bom = parsed(cyclonedx_document(image.subject()));
  CHECK(json::string_or(bom["components"][0], "name", "") == odd);
  CHECK(json::find(bom["components"][0], "externalReferences") == nullptr);
  parsed(provenance_statement(image.subject(), odd));
}

TEST_CASE("equal images have equal documents under any name; different images have different ones") {
  Image image;
  auto renamed = image.subject();
  renamed.repository = "curl/shell";
  renamed.tag = "main";
  CHECK(spdx_document(image.subject()) == spdx_document(renamed));
  CHECK(cyclonedx_document(image.subject()) == cyclonedx_document(renamed));
  CHECK(provenance_statement(image.subject(), "") != provenance_statement(renamed, ""));

  const auto ids = [&] {
    return std::pair(json::string_or(parsed(spdx_document(image.subject())), "documentNamespace", ""),
                     json::string_or(parsed(cyclonedx_document(image.subject())), "serialNumber", ""));
  };
  const auto before = ids();
  CHECK(before.first != before.second);
  CHECK(before.second.starts_with("urn:uuid:"));
  CHECK(before.second.size() == 9 + 36);
  image.resolution.packages[0].description += "!";
  CHECK(ids().first != before.first);
  CHECK(ids().second != before.second);
}

TEST_CASE("an artifact is a manifest of one layer whose subject is the image") {
  const Image image;
  const auto artifacts = document_artifacts(image.subject(), "");
  REQUIRE(artifacts.size() == 3);
  CHECK(artifacts[0].descriptor.artifact_type == "application/spdx+json");
  CHECK(artifacts[1].descriptor.artifact_type == "application/vnd.cyclonedx+json");
  CHECK(artifacts[2].descriptor.artifact_type == "application/vnd.in-toto+json");
  CHECK(artifacts[2].descriptor.annotations.at("in-toto.io/predicate-type") == "https://slsa.dev/provenance/v1");
  for (const Artifact& artifact : artifacts) {
    CHECK(artifact.descriptor.digest == image::Digest::of(artifact.manifest));
    CHECK(artifact.descriptor.size == artifact.manifest.size());
    const auto manifest = parsed(artifact.manifest);
    for (const char* key : {"config", "layers"}) {
      const auto& descriptor = std::string_view(key) == "config" ? manifest["config"] : manifest["layers"][0];
      const std::string& blob = artifact.blobs[std::string_view(key) == "config" ? 0 : 1];
      CHECK(json::string_or(descriptor, "digest", "") == image::Digest::of(blob).str());
      CHECK(json::integer_at(descriptor, "size") == static_cast<std::int64_t>(blob.size()));
    }
    CHECK(json::string_or(manifest, "artifactType", "") == artifact.descriptor.artifact_type);
  }
  const std::string document = "text";
  const auto small = make_artifact({"text/plain", document, {}}, image.manifest);
  CHECK(small.manifest ==
        R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"text/plain",)"
        R"("config":{"mediaType":"application/vnd.oci.empty.v1+json",)"
        R"("digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},)"
        R"("layers":[{"mediaType":"text/plain",)"
        R"("digest":"sha256:982d9e3eb996f559e633f4d194def3761d909f5a3b647d1a851fead67c32c9d1","size":4}],)"
        R"("subject":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":")" +
            image.manifest.digest.str() +
            R"(","size":8},"annotations":{"org.opencontainers.image.created":"1970-01-01T00:00:01Z"}})");
}
