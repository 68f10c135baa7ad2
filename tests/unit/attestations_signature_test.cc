#include <doctest/doctest.h>
#include <openssl/evp.h>

#include <algorithm>

#include "attestations/signature.h"
#include "error.h"
#include "json/json.h"
#include "os/file.h"
#include "os/process.h"
#include "temporary_directory.h"

using namespace nixery;
using namespace nixery::attestations;

namespace {

image::Descriptor image_manifest() {
  return {image::MediaType::oci_manifest, image::Digest::of("manifest"), 8, {}, {}};
}

json::Document parsed(const std::string& bytes) {
  return json::parse(bytes, "the document");
}

std::string base64(std::string_view bytes) {
  std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');
  text.resize(static_cast<std::size_t>(EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                                                       reinterpret_cast<const unsigned char*>(bytes.data()),
                                                       static_cast<int>(bytes.size()))));
  return text;
}

std::string unbase64(std::string_view text) {
  std::string bytes(text.size(), '\0');
  const int size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()),
                                   reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
  REQUIRE(size > 0);
  const auto padding = std::count(text.begin(), text.end(), '=');
  bytes.resize(static_cast<std::size_t>(size - padding));
  return bytes;
}

std::string unhex(std::string_view hex) {
  std::string bytes;
  for (std::size_t i = 0; i < hex.size(); i += 2)
    bytes += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
  return bytes;
}

// The key of RFC 6979's examples (A.2.5), which everybody knows, as SEC 1 writes it.
std::string published_key() {
  const std::string der = unhex(
      "303102010104"
      "20"
      "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721"
      "a00a06082a8648ce3d030107");
  return "-----BEGIN EC "
         "PRIVATE KEY-----\n" +
         base64(der) +
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

TEST_CASE("signatures are those of RFC 6979, A.2.5") {
  const auto key = SigningKey::from_pem(published_key(), "the RFC's key");
  CHECK(key.sign("sample") == unhex("3046"
                                    "022100efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
                                    "022100f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"));
  CHECK(key.sign("test") == unhex("3045"
                                  "022100f1abb023518351cd71d881567b1ea663ed3efcf6c5132b354f28d3b0b7d38367"
                                  "0220019f4113742a2b14bd25926b49c649155f267e60d3814b4c0cc84250e46f0083"));
}

TEST_CASE("a signature is verified by openssl, is the same each time, and stands in both manifests") {
  const test::TemporaryDirectory directory;
  const std::string file = directory.path() / "key.pem", payload_file = directory.path() / "payload",
                    signature_file = directory.path() / "signature", public_file = directory.path() / "public.pem";
  openssl({"ecparam", "-genkey", "-name", "prime256v1", "-out", file});  // with its parameters before it
  const auto key = SigningKey::from_file(file);
  CHECK(key.public_key_pem() == openssl({"ec", "-in", file, "-pubout"}));
  const Signature signature = sign(key, "registry.example.org/curl", image_manifest());
  CHECK(sign(SigningKey::from_file(file), "registry.example.org/curl", image_manifest()).referrer.manifest ==
        signature.referrer.manifest);

  CHECK(signature.tag == "sha256-" + image_manifest().digest.hex() + ".sig");
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
    os::write_file(signature_file,
                   unbase64(json::string_or(layer["annotations"], "dev.cosignproject.cosign/signature", "")), false);
    CHECK(openssl({"dgst", "-sha256", "-verify", public_file, "-signature", signature_file, payload_file}) ==
          "Verified OK\n");
  }
}

TEST_CASE("hundreds of messages are signed, each with a signature that its check lets pass") {
  const auto key = SigningKey::from_pem(published_key(), "the RFC's key");
  for (int i = 0; i < 200; ++i) CHECK(key.sign(std::to_string(i)) == key.sign(std::to_string(i)));
}

TEST_CASE("a key that cannot be used is refused with the file's name and the reason") {
  const test::TemporaryDirectory directory;
  const std::string file = directory.path() / "key.pem";
  const auto made = [&](std::vector<std::string> words) {
    words.insert(words.end(), {"-out", file});
    openssl(words);
    return *os::read_if_exists(file);
  };
  CHECK(refusal("") == "signing key /etc/key.pem: that is no private key in PEM");
  CHECK(refusal("-----BEGIN EC "
                "PRIVATE KEY-----\nAAAA\n-----END EC "
                "PRIVATE KEY-----\n")
            .find("no private key") != std::string::npos);
  const std::string curve = "ec_paramgen_curve:";
  CHECK(refusal(made({"genpkey", "-algorithm", "EC", "-pkeyopt", curve + "P-256"})) == "");  // PKCS #8 is fine
  CHECK(refusal(made({"genpkey", "-algorithm", "EC", "-pkeyopt", curve + "P-384"})).find("P-256") != std::string::npos);
  CHECK(refusal(made({"genpkey", "-algorithm", "ED25519"})).find("P-256") != std::string::npos);
  CHECK(refusal(made({"genpkey", "-algorithm", "EC", "-pkeyopt", curve + "P-256", "-aes256", "-pass", "pass:x"}))
            .find("encrypted keys are not supported") != std::string::npos);
  CHECK(refusal(SigningKey::from_pem(published_key(), "").public_key_pem()).find("no private key") !=
        std::string::npos);
  try {
    SigningKey::from_file(directory.path() / "absent.pem");
    FAIL("an absent file is no key");
  } catch (const Error& error) {
    CHECK(error.failure() == Failure::bad_config);
    CHECK(std::string(error.what()).find("absent.pem: there is no such file") != std::string::npos);
  }
}
