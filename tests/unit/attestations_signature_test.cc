#include <doctest/doctest.h>

#include <thread>

#include "attestations/signature.h"
#include "error.h"
#include "images.h"
#include "json/json.h"
#include "os/file.h"
#include "os/process.h"
#include "pipeline/attach.h"
#include "temporary_directory.h"
#include "text/encoding.h"
#include "tree/referrers.h"

using namespace nixery;
using namespace nixery::attestations;

namespace {

image::Descriptor image_manifest() {
  return {image::MediaType::oci_manifest, image::Digest::of("manifest"), 8, {}, {}};
}

json::Document parsed(const std::string& bytes) {
  return json::parse(bytes, "the document");
}

std::string unhex(std::string_view hex) {
  std::string bytes;
  for (std::size_t i = 0; i < hex.size(); i += 2)
    bytes += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
  return bytes;
}

// The public example key of RFC 6979 (A.2.5), in SEC 1 form.
std::string published_key() {
  const std::string der = unhex(
      "303102010104"
      "20"
      "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721"
      "a00a06082a8648ce3d030107");
  return "-----BEGIN EC "
         "PRIVATE KEY-----\n" +
         text::base64(der) +
         "\n-----END EC "
         "PRIVATE KEY-----\n";
}

std::string openssl(std::vector<std::string> words) {
  words.insert(words.begin(), "openssl");
  os::Command command;
  command.argv = std::move(words);
  const auto outcome = os::run(command);
  INFO(outcome.error_tail);
  REQUIRE(outcome.ok());
  return outcome.output;
}

SigningKey new_key() {
  return SigningKey::from_pem(openssl({"ecparam", "-genkey", "-name", "prime256v1", "-noout"}), "a new key");
}

std::string refusal(const std::string& pem) {
  try {
    SigningKey::from_pem(pem, "/etc/key.pem");
  } catch (const Error& error) {
    CHECK(error.failure() == Failure::bad_config);
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("each signature is different, and valid for its message and key only") {
  const auto key = SigningKey::from_pem(published_key(), "the RFC's key");
  const std::string signature = key.sign("sample"), second = key.sign("sample");
  CHECK(signature != second);
  CHECK(key.verify("sample", signature));
  CHECK(key.verify("sample", second));
  CHECK_FALSE(key.verify("sampl", signature));
  CHECK_FALSE(key.verify("sample", ""));
  CHECK_FALSE(key.verify("sample", "no DER"));
  CHECK_FALSE(key.verify("sample", signature.substr(0, signature.size() - 1)));
  CHECK_FALSE(new_key().verify("sample", signature));
  for (int i = 0; i < 200; ++i) CHECK(key.verify(std::to_string(i), key.sign(std::to_string(i))));
  // RFC 6979, A.2.5: signatures of earlier versions.
  CHECK(key.verify("sample", unhex("3046"
                                   "022100efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
                                   "022100f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8")));
}

TEST_CASE("openssl verifies a signature, and both manifests contain it") {
  const test::TemporaryDirectory directory;
  const std::string file = directory.path() / "key.pem", payload_file = directory.path() / "payload",
                    signature_file = directory.path() / "signature", public_file = directory.path() / "public.pem";
  openssl({"ecparam", "-genkey", "-name", "prime256v1", "-out", file});  // with its parameters in front
  const auto key = SigningKey::from_file(file);
  CHECK(key.public_key_pem() == openssl({"ec", "-in", file, "-pubout"}));
  const Signature signature = sign(key, "registry.example.org/curl", image_manifest());

  CHECK(signature_tag(image_manifest().digest) == "sha256-" + image_manifest().digest.hex() + ".sig");
  CHECK(signature.referrer.descriptor.artifact_type == "application/vnd.dev.cosign.artifact.sig.v1+json");
  const std::string payload = signature.tagged.blobs[1];
  CHECK(payload == R"({"critical":{"identity":{"docker-reference":"registry.example.org/curl"},"image":)"
                   R"({"docker-manifest-digest":")" +
                       image_manifest().digest.str() +
                       R"("},"type":"cosign container image signature"},"optional":null})");
  CHECK(signature.referrer.blobs[1] == payload);

  os::write_file(payload_file, payload, false);
  os::write_file(public_file, key.public_key_pem(), false);
  for (const Artifact& artifact : {signature.tagged, signature.referrer}) {
    const auto manifest = parsed(artifact.manifest);
    const auto& layer = manifest["layers"][0];
    CHECK(json::string_or(layer, "mediaType", "") == "application/vnd.dev.cosign.simplesigning.v1+json");
    CHECK(json::string_or(layer, "digest", "") == image::Digest::of(payload).str());
    CHECK((json::find(manifest, "subject") != nullptr) == (artifact.descriptor.artifact_type != ""));
    const auto bytes = text::base64_decode(json::string_or(layer["annotations"], signature_annotation.data(), ""));
    REQUIRE(bytes);
    os::write_file(signature_file, *bytes, false);
    CHECK(openssl({"dgst", "-sha256", "-verify", public_file, "-signature", signature_file, payload_file}) ==
          "Verified OK\n");
  }
}

TEST_CASE("only a published signature of the same key, name and image is reused") {
  const auto key = new_key();
  const std::string name = "registry.example.org/curl";
  const Signature first = sign(key, name, image_manifest());
  const auto is_first = [&](const std::vector<std::string>& published) {
    const Signature again = sign(key, name, image_manifest(), published);
    CHECK((again.tagged.manifest == first.tagged.manifest) == (again.referrer.manifest == first.referrer.manifest));
    return again.referrer.manifest == first.referrer.manifest;
  };
  CHECK_FALSE(is_first({}));
  CHECK(is_first({first.tagged.manifest}));
  CHECK(is_first({first.referrer.manifest}));
  const std::string other_key = sign(new_key(), name, image_manifest()).tagged.manifest,
                    other_name = sign(key, "registry.example.org/jq", image_manifest()).tagged.manifest;
  auto other_image = image_manifest();
  other_image.digest = image::Digest::of("other");
  const std::string of_other_image = sign(key, name, other_image).referrer.manifest;
  CHECK(is_first({"", "{}", "[1]", R"({"layers":[1,{"annotations":2}]})", other_key, other_name, of_other_image,
                  first.referrer.manifest}));
  CHECK_FALSE(is_first({other_key, other_name, of_other_image}));
  // The layer is right, its signature is not.
  const auto damaged = [&](std::string manifest) {
    const auto at = manifest.find(signature_annotation) + signature_annotation.size() + 13;
    manifest[at] = manifest[at] == 'A' ? 'B' : 'A';
    return manifest;
  };
  CHECK_FALSE(is_first({damaged(first.tagged.manifest)}));
}

TEST_CASE("an image that several workers publish again at the same time keeps its one signature") {
  test::Images images;
  const auto subject = images.add("tool", {"layer"});
  const auto tag = "sha256-" + subject.hex() + ".sig";
  const auto signatures = [&] { return tree::referrers_of(images.tree.store(), subject); };
  const auto key = new_key();
  const auto sign = [&] { pipeline::attach_signatures(images.tree, key, "registry.example.org", "tool", subject); };
  {
    std::vector<std::jthread> workers;
    for (int i = 0; i < 4; ++i) workers.emplace_back(sign);
  }
  const auto first = signatures();
  REQUIRE(first.size() == 1);
  const auto tagged = images.tree.digest_of_tag("tool", tag);
  REQUIRE(tagged);

  SUBCASE("unchanged") {}
  SUBCASE("also without its tag") {
    images.tree.drop_tag("tool", tag);
  }
  SUBCASE("also without its referrer") {
    std::filesystem::remove_all(images.layout.referrers_dir(subject));
  }
  sign();
  CHECK(signatures().size() == 1);
  CHECK(signatures().front().digest == first.front().digest);
  CHECK(images.tree.digest_of_tag("tool", tag) == tagged);

  // Another name or key gives another signature.
  pipeline::attach_signatures(images.tree, key, "registry.example.org", "other", subject);
  CHECK(signatures().size() == 2);
  pipeline::attach_signatures(images.tree, new_key(), "registry.example.org", "tool", subject);
  CHECK(signatures().size() == 3);
  CHECK(images.tree.digest_of_tag("tool", tag) != tagged);
}

TEST_CASE("an unusable key is refused with the file's name and the reason") {
  const test::TemporaryDirectory directory;
  const std::string file = directory.path() / "key.pem";
  const auto made = [&](std::vector<std::string> words) {
    words.insert(words.end(), {"-out", file});
    openssl(words);
    return *os::read_if_exists(file);
  };
  CHECK(refusal("") == "signing key /etc/key.pem: it is not a private key in PEM");
  CHECK(refusal("-----BEGIN EC "
                "PRIVATE KEY-----\nAAAA\n-----END EC "
                "PRIVATE KEY-----\n")
            .find("not a private key") != std::string::npos);
  const std::string curve = "ec_paramgen_curve:";
  CHECK(refusal(made({"genpkey", "-algorithm", "EC", "-pkeyopt", curve + "P-256"})) == "");  // PKCS #8 is fine
  CHECK(refusal(made({"genpkey", "-algorithm", "EC", "-pkeyopt", curve + "P-384"})).find("P-256") != std::string::npos);
  CHECK(refusal(made({"genpkey", "-algorithm", "ED25519"})).find("P-256") != std::string::npos);
  CHECK(refusal(made({"genpkey", "-algorithm", "EC", "-pkeyopt", curve + "P-256", "-aes256", "-pass", "pass:x"}))
            .find("encrypted keys are not supported") != std::string::npos);
  CHECK(refusal(SigningKey::from_pem(published_key(), "").public_key_pem()).find("not a private key") !=
        std::string::npos);
  try {
    SigningKey::from_file(directory.path() / "absent.pem");
    FAIL("an absent file is accepted");
  } catch (const Error& error) {
    CHECK(error.failure() == Failure::bad_config);
    CHECK(std::string(error.what()).find("absent.pem: the file does not exist") != std::string::npos);
  }
}
