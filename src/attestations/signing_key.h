// An ECDSA key on P-256 (FIPS 186-4), which is what cosign's own key pairs are.
//
// Signatures are deterministic (RFC 6979): signing the same bytes again gives the same signature, so that workers and
// rebuilds do not pile up signatures of one image. OpenSSL has that from 3.2 only, hence the nonce is computed here;
// everything else is OpenSSL's.
//
// Keys are made with `openssl ecparam -genkey -name prime256v1 -noout -out key.pem`, in SEC 1 or PKCS #8. Encrypted
// ones, cosign's among them, are not supported: nobody is there to type a passphrase.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace nixery::attestations {

// Thread-safe once made; copies share the key.
class SigningKey {
 public:
  // Throws Error{bad_config} that names the file: unreadable, encrypted, no key, or not on P-256.
  static SigningKey from_file(const std::filesystem::path& file);
  // `what` names the text in messages.
  static SigningKey from_pem(std::string_view pem, std::string_view what);

  // ECDSA of the SHA-256 of `message`, in DER.
  std::string sign(std::string_view message) const;

  // "-----BEGIN PUBLIC KEY-----…": what verifiers need (cosign verify --key).
  std::string public_key_pem() const;

 private:
  struct Impl;
  explicit SigningKey(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

}  // namespace nixery::attestations
