// An ECDSA key on P-256 (FIPS 186-4), like cosign's own key pairs.
//
// Keys are made with `openssl ecparam -genkey -name prime256v1 -noout -out key.pem`, in SEC 1 or PKCS #8. Encrypted
// keys, such as cosign's, are not supported because a server cannot prompt for a passphrase.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace nixery::attestations {

// Thread-safe once made; copies share the key.
class SigningKey {
 public:
  // Throws Error{bad_config} that names the file if it is unreadable, encrypted, not a key, or not on P-256.
  static SigningKey from_file(const std::filesystem::path& file);
  // `what` names the text in messages.
  static SigningKey from_pem(std::string_view pem, std::string_view what);

  // ECDSA of the SHA-256 of `message`, in DER; each call gives a different signature. Throws Error{unavailable} if
  // OpenSSL fails.
  std::string sign(std::string_view message) const;
  // Whether `signature`, in DER, is this key's signature of `message`. Accepts any bytes.
  bool verify(std::string_view message, std::string_view signature) const;

  // "-----BEGIN PUBLIC KEY-----…", for verifiers (cosign verify --key).
  std::string public_key_pem() const;

 private:
  struct Impl;
  explicit SigningKey(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

}  // namespace nixery::attestations
